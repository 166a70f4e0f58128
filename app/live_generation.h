// One stream on its way to the ear and to a file while it is made.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "audio/live_player.h"
#include "audio/write.h"
#include "model/config.h"
#include "model/generator.h"

namespace nigiri::app {

struct LiveRequest {
    int64_t samples = 0;                  // 0: until it is stopped
    std::unique_ptr<AudioOutput> output;  // where it is heard; null: nowhere
    std::unique_ptr<AudioWriter> file;    // grows with it; null: none. Closed at the end
    bool keep_codes = false;              // in LiveResult::clip; their number has no bound
    // Called once all is made and the file is closed, before the rest of it is heard.
    std::function<void(const struct LiveResult&)> on_made;
};

struct LiveStatus {
    int64_t samples = 0;  // made, without the prompt
    double seconds = 0;   // that making them took, without waiting for the ear
    const LivePlayer* player = nullptr;
    int64_t gone_back = 0;  // times the guard sent it back
};

struct LiveResult {
    Clip clip;            // without codes unless they were asked for
    int64_t samples = 0;  // made, without the prompt
    double bits = 0;      // of these, in all
    double seconds = 0;   // that making them took, without waiting for the ear
    // The last thousand, and how many there were.
    std::vector<GuardEvent> events;
    int64_t event_count = 0;
    int64_t joins = 0;  // times the guard replaced what had been heard or written already, with a crossfade
    std::optional<double> began_to_play;  // after so many seconds
    double heard_seconds = 0;
    int64_t dry_runs = 0, underruns = 0;
    bool stopped = false;  // before its end
};

// Seconds that a guarded stream is kept back: so long that what goes wrong once is replaced before it is heard. Where
// trouble repeats itself the stream goes back further than that, and the seam is crossfaded. Of what nobody hears
// meanwhile (`played` false) everything the guard can go back to is kept back, so that a file has no seams.
double held_seconds(const GuardOptions& guard, bool played);

// Makes sound from a stream of one until it is done or `stop` is set (looked at after every block), and returns once it
// has been heard. The file holds what was made, whatever happens; nothing grows with the length of it.
LiveResult generate_live(GuardedStream& stream, std::span<const uint8_t> prompt, const SignalConfig& signal,
                         const GuardOptions* guard, LiveRequest request, const std::atomic<bool>& stop,
                         const std::function<void(const LiveStatus&)>& progress = {});

}  // namespace nigiri::app
