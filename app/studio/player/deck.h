// The player at the bottom of the window: one sound, its picture, and the buttons and keys that play it.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "app/studio/sessions/background.h"
#include "app/studio/widgets/messages.h"
#include "app/studio/player/gap_advice.h"
#include "app/studio/player/sound_view.h"
#include "audio/analysis.h"
#include "audio/player.h"

namespace nigiri::studio {

class Deck {
  public:
    explicit Deck(const Wake& wake);

    // Reads a file beside the window, shows it and plays it. What fails becomes a message.
    void open(const std::filesystem::path& path);
    // Shows a sound, also one that still grows. `path`: the file it is from, if any.
    void show(const std::string& name, std::shared_ptr<const Sound> sound, bool play,
              const std::filesystem::path& path = {});

    // Several sounds that run side by side, of which one is heard and shown. `hidden`: neither picture nor levels nor
    // remarks, which would tell in a blind test what is heard.
    void show_tracks(const std::string& name, std::vector<Track> tracks, bool play, bool hidden = false);
    void clear();
    // Goes on at the same place in another of them.
    void select(size_t track);
    void rename(const std::string& name) { name_ = name; }
    // Differs after every show() and show_tracks(): whether what is there is still what one has put there.
    uint64_t showing() const { return showing_; }

    // The file shown or being read; empty: none.
    const std::filesystem::path& path() const { return path_; }
    const std::string& name() const { return name_; }
    std::shared_ptr<const Sound> sound() const { return view_.sound(); }
    // The selected samples; nothing where nothing is selected.
    std::optional<SoundRange> selection() const { return view_.selection; }
    Player& player() { return player_; }
    // What part of the sound is in sight; pages that draw along the sound show and move the same.
    ViewRange& range() { return view_.range; }

    // Every frame: takes over what was read; looks at the device.
    void update(Messages& messages);
    void draw(float height, float& volume);
    float height() const;  // design units it wants
    Picture picture() const { return view_.picture; }
    void set_picture(Picture picture) { view_.picture = picture; }
    // Space, L, Home, End; called while no text is being typed.
    void handle_keys();
    bool moving() const;

  private:
    struct Read {
        std::filesystem::path path;
        std::shared_ptr<const Sound> sound;
    };
    void analyse_when_final();
    void note_state(const PlayerStatus& status) const;
    void draw_transport(float& volume);
    void draw_meter(float width, float height);
    void draw_hidden(const PlayerStatus& status);

    Player player_;
    SoundView view_;
    std::string name_;
    std::vector<Track> tracks_;  // of show_tracks()
    bool hidden_ = false;
    uint64_t showing_ = 0;
    std::filesystem::path path_, wanted_;
    std::mutex mutex_;  // of read_ and analysis_
    std::optional<Read> read_;
    std::optional<Analysis> analysis_;
    std::shared_ptr<const Sound> analysed_;
    std::string told_problem_;
    GapAdvice gap_advice_;
    uint64_t seen_reads_ = 0;
    float shown_level_ = 0;
    Background reading_, analysing_;  // last: they use the others
};

}  // namespace nigiri::studio
