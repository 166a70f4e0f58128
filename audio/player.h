// Plays sounds on a device while the program does something else.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "audio/level_meter.h"
#include "audio/output.h"
#include "audio/playback_clock.h"
#include "audio/transport.h"

namespace nigiri {

struct PlayerOptions {
    // As for Player::set_queue.
    double queue_seconds = 0.06;
    // A device that takes nothing for so long counts as lost.
    double patience_seconds = 2;
    // As for open_output: "auto", "null", or a device's name or number.
    std::string device = "auto";
    // Called from the player's thread, never with a lock held, whenever status() says something new other than where
    // it plays, how much is there, and how long it will take: to wake a window that sleeps.
    std::function<void()> on_change;
    std::function<std::unique_ptr<AudioOutput>(const std::string& device, int rate, std::string& message,
                                               double buffer_seconds)>
        open = open_output;
};

struct PlayerStatus {
    PlayState state = PlayState::stopped;
    int64_t position = 0;   // samples, as heard now
    int64_t length = 0;     // of the longest track, as announced
    int64_t available = 0;  // of the selected track, by now
    int rate = 0;           // Hz; 0 without tracks
    size_t tracks = 0, track = 0;
    bool loop = false;
    std::optional<SoundRange> range;
    float volume = 1;
    std::optional<double> wait_seconds;  // until playing starts, while buffering
    int64_t dry_runs = 0;                // times a growing sound was not made fast enough
    int64_t underruns = 0;               // times the device ran empty because this program was late
    bool often_late = false;             // three times within half a minute: a longer queue would help
    double queue_seconds = 0;            // as set
    uint64_t ends = 0;                   // times a sound was heard to its end
    std::string device;                  // "device 'ALSA: pulse', 48000 Hz, from 16000 Hz"; empty before first use
    std::string problem;                 // why nothing can be heard, though it plays; empty if all is well
};

// All calls come from one thread (the interface's) and return at once; a thread of the player's makes the samples and
// opens and closes devices. The device's own callback only ever reads a lock-free queue. What a call changes is heard
// when what is queued was played. A device that is missing or lost is replaced by silence that takes its time, and the
// status says so; it is tried again with open_device() and play().
class Player {
  public:
    explicit Player(PlayerOptions options = {});
    ~Player();
    Player(const Player&) = delete;
    Player& operator=(const Player&) = delete;

    // Stops, and puts these in the place of what there was (see Transport). Throws Error.
    void load(std::vector<Track> tracks);
    void load(std::shared_ptr<const Sound> sound);
    void play();
    void pause();
    void toggle();  // plays, or pauses what plays or is about to
    void stop();
    void seek(int64_t position);
    void select(size_t track);
    void set_gain(size_t track, float gain);
    void set_range(std::optional<SoundRange> range);
    void set_loop(bool loop);
    void set_volume(float volume);
    void set_buffer(double seconds);
    // Sound made ahead of the device, and as much again in the device itself, in seconds (0.02 to 0.5): how late this
    // program's thread and the device's own may be, and, both together, how long a seek takes to be heard. More is
    // made where the device takes more at a time or ran empty, up to half a second. What plays goes on from where it
    // is heard, on the device opened anew.
    void set_queue(double seconds);
    // Another device, or the same once more after it was lost: at once where something plays, otherwise when next
    // something does.
    void open_device(const std::string& device);

    PlayerStatus status() const;
    // Any thread, without a lock.
    Levels levels() const { return meter_.at(heard_.load(std::memory_order_acquire)); }
    void reset_clipped() { meter_.reset_clipped(); }

  private:
    using Lock = std::unique_lock<std::mutex>;

    template <class F>
    void change(F&& f);
    void begin();
    void run(const std::stop_token& stop);
    bool step(Lock& lock);
    void open(Lock& lock);
    void open_silence(Lock& lock, const std::string& problem);
    void begin_output(std::unique_ptr<AudioOutput> output, const std::string& problem);
    std::string failure(double now);
    void send(Lock& lock);
    void note_underruns();
    PlayerStatus status_at(double now) const;
    bool news();

    const PlayerOptions options_;
    LevelMeter meter_;
    std::atomic<int64_t> heard_{0};  // sample of the transport's stream

    // What the two threads share; no device is waited for with the lock held.
    mutable std::mutex mutex_;
    std::condition_variable_any wake_;
    Transport transport_;
    PlaybackClock clock_;
    std::string device_, description_, problem_;
    bool reopen_ = true;
    double asked_queue_seconds_, queue_seconds_;
    int64_t underruns_ = 0;
    std::deque<double> late_;  // when the device ran empty, in seconds
    bool often_late_ = false;
    uint64_t ends_heard_ = 0;
    uint64_t changes_ = 0;  // calls so far

    // The player's thread's own.
    std::unique_ptr<AudioOutput> output_;
    std::vector<float> block_;
    bool idle_ = true;
    bool finished_ = true;          // the output was told that nothing comes for now
    int64_t base_ = 0;              // sample of the stream that the output's count began with
    int64_t output_underruns_ = 0;  // of this output, those counted
    int64_t last_played_ = 0;       // for noticing a device that stands still
    double last_progress_ = 0;
    uint64_t changes_seen_ = 0;
    PlayerStatus told_;

    std::jthread thread_;  // last: it uses the others
};

}  // namespace nigiri
