// The demo data set: the scores of assets/scores and generated etudes, played on FluidR3's grand piano by
// FluidSynth.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "audio/performance.h"

namespace nigiri {

struct DemoDataOptions {
    double minutes = 45;      // at least; etudes are added to the scores until it is reached
    uint64_t seed = 1;        // of the etudes, and of the unevenness of all playing
    int sample_rate = 44100;  // Hz; stereo
    double level = -23;       // dB relative to full scale, root mean square; lower where a peak would exceed -1 dB
    int jobs = 0;             // renderings at a time; 0: one a processor
    std::filesystem::path soundfont{};  // empty: find_soundfont()
};

struct DemoPiece {
    std::string name, title;
    std::string split;            // train, valid or test; a piece is in one of them
    std::filesystem::path audio;  // FLAC, 16 bits
    double seconds = 0;
    bool reused = false;                   // was there already, made from the same notes and options
    double rms_level = 0, peak_level = 0;  // dB relative to full scale; 0 where reused
};

struct DemoDataReport {
    std::vector<DemoPiece> pieces;
    std::filesystem::path soundfont;
    double minutes(const std::string& split) const;  // of one split
    double minutes() const;
};

// Called after each piece, from one thread at a time.
using DemoDataProgress = std::function<void(const DemoPiece& piece, size_t done, size_t total)>;

// FluidR3_GM.sf2, or another General MIDI soundfont, from the usual folders. Throws Error where there is
// none.
std::filesystem::path find_soundfont();

// Plays one performance into a stereo FLAC file, which appears only when it is whole. `soundfont` as in the
// options. Fills rms_level and peak_level of the result. Throws Error where FluidSynth is missing or fails.
DemoPiece render_piano(const Performance& performance, const std::filesystem::path& audio,
                       const DemoDataOptions& options = {});

// Reads every *.abc of `scores`, adds etudes, and writes output/{train,valid,test}/NAME.flac and
// output/midi/NAME.mid. A second run keeps what is there and was made from the same notes; pieces that no
// longer belong are removed (only files that have a MIDI file of ours beside them). Throws Error.
DemoDataReport render_demo_data(const std::filesystem::path& scores, const std::filesystem::path& output,
                                const DemoDataOptions& options = {}, const DemoDataProgress& progress = {});

}  // namespace nigiri
