// What can be said of a sound without listening: level, loudness, noisiness, onsets.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

namespace nigiri {

// Levels are in dBFS: 20 log10 of an amplitude, 1 being 0 dB. So a full-scale sine has peak 0 and RMS -3.01.
// Silence is -infinity.
struct Level {
    double peak_dbfs = 0;
    double rms_dbfs = 0;
    double dc = 0;             // mean of the samples
    double clipped_share = 0;  // of the samples: those at LevelOptions::clipping or beyond
    double silent_share = 0;   // of consecutive 20-ms blocks: those whose RMS is below LevelOptions::silence_dbfs
};

struct LevelOptions {
    double clipping =
        1 - 1.0 / 32768;  // the largest positive 16-bit sample; of 8-bit codes the largest is less (decode(255))
    double silence_dbfs = -60;
};

// Samples that are not finite count as 0; of no samples, the levels are -infinity and the rest 0.
Level measure_level(std::span<const float> samples, int rate, const LevelOptions& options = {});

// Integrated loudness in LUFS (ITU-R BS.1770-4 / EBU R128, by libebur128); -infinity where every block of 400
// ms is below the gate, or there is none.
double integrated_loudness(std::span<const float> samples, int rate);

// Geometric over arithmetic mean of a frame's power spectrum (Hann, 1024 by 512), averaged over the frames
// louder than -60 dBFS RMS: 0 for a sine, exp(-0.5772) = 0.561 for white noise (its power is exponentially
// distributed). 0 where no frame counts.
double spectral_flatness(std::span<const float> samples, int rate);

// Times in seconds where notes begin: peaks of the spectral flux, the mean rise of 40 log-mel bands from
// frame to frame (windows and hops of about 64 and 16 ms, bands below -60 dB of the loudest not counted),
// that stand 1 dB or more above the mean of their 0.3 s surroundings, no two within 50 ms. Good to about a
// window's half; soft or legato beginnings are missed.
std::vector<double> onsets(std::span<const float> samples, int rate);

struct Analysis {
    double seconds = 0;
    Level level;
    double loudness_lufs = 0;
    double flatness = 0;
    double onsets_per_second = 0;
    // What a user should know before believing the sound: "silent", "clipped", "noise", "constant offset",
    // ...; empty if nothing.
    std::vector<std::string> warnings;
};

Analysis analyse(std::span<const float> samples, int rate, const LevelOptions& options = {});
// Infinities become null: JSON has none.
nlohmann::json to_json(const Analysis& analysis);
// One line: "4.0 s, peak -1.2 dBFS, RMS -20.3 dBFS, -21.0 LUFS, flatness 0.02, 3.1 onsets/s".
std::string to_text(const Analysis& analysis);

}  // namespace nigiri
