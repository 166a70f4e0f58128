// A stream that goes back when it has run away, and that can be sent back to where it was.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "model/runaway_guard.h"
#include "model/stream.h"

namespace nigiri {

// What happened to one stream. Positions are samples drawn; those from `resumed` on were drawn anew.
struct GuardEvent {
    int64_t stream = 0;
    Trouble trouble = Trouble::noise;
    int64_t began = 0, noticed = 0;
    int64_t resumed = -1;  // where it went on from; -1: left as it is, after all attempts
    int attempt = 1;       // at this place
    double warmth = 1;     // the temperature's factor for the second after `resumed`
    WindowFeatures window;
};

// "noise at 12.3 s (5.1 bits a sample, flatness 0.21): back to 11.0 s"
std::string to_text(const GuardEvent& event, int64_t sample_rate);

// Samples that follow each other, of every stream. Where a stream's position is not the one after its last sample, it
// has gone back: what was drawn from there on does not count any more.
struct StreamSteps {
    StreamBlock block;
    std::span<const int64_t> positions;  // (streams): samples before the block's first
    std::span<const double> total_bits;  // (streams): of all samples that count, the block's included
};

// A stream as freeze() leaves it, with what the guard knows.
struct FrozenStream {
    StreamSnapshot snapshot;
    std::shared_ptr<const RunawayGuard> guard;
};

// With a guard, a stream is saved every second. After an alarm it goes on from the last save before the trouble began,
// with other dice; where that leads to trouble again, from one save earlier each time, and cooler (after silence:
// warmer) for a second. Deterministic for a seed. Without a guard it costs nothing.
class GuardedStream {
  public:
    // Throws Error on options that make no sense.
    GuardedStream(std::unique_ptr<Stream> stream, std::optional<GuardOptions> guard);

    int64_t streams() const { return stream_->streams(); }
    const RecurrentEngine& engine() const { return stream_->engine(); }
    bool guarded() const { return guard_ != nullptr; }
    // What precedes the streams, which take it from elsewhere.
    void hear(int64_t stream, std::span<const uint8_t> prompt);

    // The next samples of every stream, 1 to `most`, as Stream::draw has them. A block ends where the guard looks.
    StreamSteps next(int64_t most);
    // Since the last call.
    std::vector<GuardEvent> take_events() { return std::exchange(events_, {}); }

    FrozenStream freeze(int64_t stream) const;
    // Goes on from there, as if what was drawn until now had led to it: positions go on. `other_dice`: as another
    // stream would; otherwise as it did.
    void resume(int64_t stream, const FrozenStream& frozen, bool other_dice);

  private:
    struct Save {
        int64_t position;
        double total_bits;
        StreamSnapshot snapshot;
        RunawayGuard guard;
    };
    struct Voice {
        int64_t position = 0;
        uint32_t dice = 0;  // branches so far
        std::optional<RunawayGuard> guard;
        std::deque<Save> saves;
        int attempts = 0;
        int64_t trouble = -1;      // where it was last noticed
        int64_t warmth_ends = -1;  // -1: the temperature is as set
    };
    bool due(const Voice& v) const;
    // Samples until something may happen to it.
    int64_t until_look(const Voice& v) const;
    void judge(int64_t stream, const StreamBlock& block);
    void save(int64_t stream);
    void go_back(int64_t stream, const Alarm& alarm);

    std::unique_ptr<Stream> stream_;
    std::shared_ptr<const GuardOptions> guard_;
    int64_t save_every_ = 0;
    std::vector<Voice> voices_;
    std::vector<double> total_bits_;  // one a stream
    std::vector<int64_t> told_positions_;
    std::vector<double> told_bits_;
    std::vector<GuardEvent> events_;
};

}  // namespace nigiri
