// Plays sound while it is made, in memory that does not grow.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "audio/output.h"
#include "audio/ring.h"
#include "audio/transport.h"

namespace nigiri {

struct LiveOptions {
    int64_t samples = 0;          // there will be in all; 0: no end in sight
    double gather_seconds = 600;  // kept at most of a sound with an end
    double endless_seconds = 10;  // the same without one
};

// One thread makes samples, writes them here and calls pump() a few times a second at least; nothing here waits.
// Playing begins when what is there and what will come at the measured speed lasts to the end, or, where the sound has
// no end, when it is made as fast as it is played, or else when the memory is full.
class LivePlayer {
  public:
    LivePlayer(std::unique_ptr<AudioOutput> output, const LiveOptions& options);

    // Takes as many as there is room for; returns how many.
    size_t write(std::span<const float> samples);
    size_t room() const { return capacity_ - std::min(capacity_, ring_.size()); }
    // What was there beforehand, such as a prompt, says nothing about speed: it is measured from now on.
    void measure_from_here() { growth_.reset(), measured_from_ = written_; }
    // Nothing more comes; what is there is played.
    void finish() { finished_ = true; }
    // Forgets what is there: silence at once.
    void stop();
    // `now` in seconds, never falling.
    void pump(double now);

    bool playing() const { return playing_; }
    // All that was written has been heard.
    bool done() const;
    // Samples made a second over samples played a second; nothing until a quarter of a second was seen, and what it was
    // last while the memory is full.
    std::optional<double> speed() const { return speed_; }
    // Seconds until playing begins, while it does not.
    std::optional<double> wait_seconds() const;
    // Seconds that playing lasts before it must gather again, at the measured speed and from a full gathering; nothing
    // where it lasts.
    std::optional<double> lasts_seconds() const;
    double heard_seconds() const;
    int64_t dry_runs() const { return dry_runs_; }  // times it had to stop and gather again
    int64_t underruns() const { return output_->underruns(); }
    const AudioOutput& output() const { return *output_; }

  private:
    double missing() const;

    std::unique_ptr<AudioOutput> output_;
    LiveOptions options_;
    size_t capacity_;
    Ring<float> ring_;
    GrowthMeter growth_;
    std::optional<double> speed_;
    int64_t written_ = 0, measured_from_ = 0, sent_ = 0, began_with_ = 0, dry_runs_ = 0;
    bool playing_ = false, finished_ = false, stopped_ = false, told_end_ = false;
    std::vector<float> block_;
};

}  // namespace nigiri
