// Play, pause, seek, loop and switch, sample by sample: what a Player sends to its output.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "audio/sound.h"

namespace nigiri {

// One of several sounds that run side by side, such as A and B of a comparison.
struct Track {
    std::shared_ptr<const Sound> sound;
    float gain = 1;  // amplitude
};

struct SoundRange {  // samples [begin, end)
    int64_t begin = 0, end = 0;
    friend bool operator==(const SoundRange&, const SoundRange&) = default;
};

enum class PlayState {
    stopped,
    paused,
    playing,
    buffering,  // it will play as soon as enough of a growing sound is there
};

// How fast a growing sound grows, in samples a second: the mean over the last seconds.
class GrowthMeter {
  public:
    void reset() { sizes_.clear(); }
    // `now` in seconds, never falling.
    void note(double now, int64_t size);
    // Nothing before a quarter of a second was seen.
    std::optional<double> rate() const;

  private:
    std::deque<std::pair<double, int64_t>> sizes_;
};

// A stream of samples made from tracks and from what the user asks for. No clock, no thread, no device: each call of
// render() continues where the last one ended. Whatever begins, ends or jumps is faded over `fade_seconds` (raised
// cosine); two things that follow each other directly are crossfaded with gains that add up to one, so that a switch
// between equal sounds cannot be heard at all. Positions are samples of the tracks.
class Transport {
  public:
    static constexpr double fade_seconds = 0.01;
    // Silence sent after the last sound, so that a level meter falls to rest.
    static constexpr double rest_seconds = 0.06;

    // Replaces the tracks; stops, at 0, without a range. Throws Error where the rates differ or a sound is missing.
    // No tracks: nothing to play.
    void load(std::vector<Track> tracks);
    void play();
    void pause();
    void stop();  // back to the beginning of the range, or of the sound
    void seek(int64_t position);
    void select(size_t track);  // Throws Error if there is none.
    void set_gain(size_t track, float gain);
    // What a loop repeats, and where playing that entered it ends; one shorter than two fades is made longer.
    void set_range(std::optional<SoundRange> range);
    void set_loop(bool loop);
    void set_volume(float volume);
    // How much of a growing sound of unknown length must be there before it is played.
    void set_buffer(double seconds) { buffer_seconds_ = seconds; }

    // Looks at how growing sounds grow; starts or goes on where enough is there. `now` in seconds.
    void tick(double now);
    // An output forgot what it was given of the stream from `stream` on: what plays goes back to there, though not
    // to before its last jump, which was asked for.
    void send_again(int64_t stream);
    // Fills as much of `out` as there is to hear now, and returns how much that is.
    size_t render(std::span<float> out);
    // render() has something to give or will have as soon as a sound grows.
    bool active() const { return state_ == PlayState::playing || state_ == PlayState::buffering || ringing(); }

    PlayState state() const { return state_; }
    int64_t position() const { return lead_ ? lead_->position : position_; }
    int rate() const { return tracks_.empty() ? 0 : tracks_.front().sound->rate(); }
    const std::vector<Track>& tracks() const { return tracks_; }
    size_t track() const { return track_; }
    // Of the longest track; of growing ones what is announced or there.
    int64_t length() const;
    const std::optional<SoundRange>& range() const { return range_; }
    bool loop() const { return loop_; }
    float volume() const { return volume_; }
    // Times a growing sound ran dry while it was playing.
    int64_t dry_runs() const { return dry_runs_; }
    // While buffering: seconds until playing starts, by the growth so far.
    std::optional<double> wait_seconds() const;

    // Samples rendered since the transport was made, the positions at which they were taken, and where in this stream
    // the sound last came to its own end.
    int64_t rendered() const { return rendered_; }
    int64_t position_at(int64_t stream) const;
    void forget_before(int64_t stream);
    uint64_t ends() const { return ends_; }
    int64_t last_end() const { return last_end_; }

  private:
    static constexpr int64_t open_end = INT64_MAX;
    struct Voice {
        std::shared_ptr<const Sound> sound;
        float gain = 1;
        int64_t position = 0;
        int64_t end = open_end;  // of the sound, where it is known: the voice is silent by then
        int level = 0;           // into fade_: 0 silent, fade_.size() - 1 whole
    };
    struct Mark {  // from `stream` on
        int64_t stream, position;
        bool moving;
    };

    bool ringing() const { return !tails_.empty() || rest_ > 0; }
    int64_t fade() const { return static_cast<int64_t>(fade_.size()) - 1; }
    int64_t beginning() const { return range_ ? range_->begin : 0; }
    void begin_at(int64_t position);   // as soon as enough is there
    void lead_from(int64_t position);  // at once
    void cut();
    void aim();
    void mark(bool moving);
    void reach_end();
    int64_t available();
    int64_t needed_end() const;
    std::optional<double> missing() const;
    void mix(Voice& voice, int step, std::span<float> out);
    void mix(std::span<float> out);

    std::vector<Track> tracks_;
    size_t track_ = 0;
    PlayState state_ = PlayState::stopped;
    int64_t position_ = 0;  // where there is no lead
    std::optional<SoundRange> range_;
    bool loop_ = false;
    int64_t target_ = open_end;   // where the lead stops or jumps, if before the end of the sounds
    std::vector<float> fade_{0};  // raised cosine, from 0 to 1
    std::optional<Voice> lead_;
    std::vector<Voice> tails_;  // what fades out
    int64_t rest_ = 0;          // samples of silence still to send
    float volume_ = 1, heard_volume_ = 1;
    double buffer_seconds_ = 1;
    GrowthMeter growth_;
    int64_t dry_runs_ = 0;
    int64_t rendered_ = 0;
    std::deque<Mark> marks_;
    uint64_t ends_ = 0;
    int64_t last_end_ = 0;
};

}  // namespace nigiri
