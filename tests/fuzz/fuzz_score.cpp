// Any text is either a score that can be played and written as MIDI, or an Error. The limits are lower than usual, so
// that a score at the limit is still a quick one.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "audio/midi.h"
#include "audio/performance.h"
#include "audio/score.h"
#include "kernels/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    try {
        const auto score = nigiri::parse_score({reinterpret_cast<const char*>(data), size}, "fuzz",
                                               {.bytes = 1 << 16, .notes = 4000, .seconds = 600});
        for (const auto& note : score.notes)
            if (note.start < 0 || note.duration <= 0 || note.pitch < nigiri::lowest_piano_pitch ||
                note.pitch > nigiri::highest_piano_pitch || note.voice < 0 || note.voice >= score.voices)
                __builtin_trap();
        const auto played = nigiri::perform(score);
        if (!(played.seconds > 0)) __builtin_trap();
        nigiri::midi_file(played, "fuzz");
    } catch (const nigiri::Error&) {
    }
    return 0;
}
