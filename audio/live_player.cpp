#include "audio/live_player.h"

#include <algorithm>
#include <cmath>

namespace nigiri {
namespace {

constexpr double trust = 0.95;          // of the measured speed: generation does not run evenly
constexpr double margin_seconds = 0.2;  // more than the estimate asks for
constexpr double endless_start = 0.5;   // seconds there must be of a sound that is made fast enough
constexpr size_t block_samples = 1024;

size_t capacity_of(const LiveOptions& o, int rate) {
    const double seconds = o.samples > 0 ? o.gather_seconds : o.endless_seconds;
    const double most = std::max(seconds, 1.0) * rate;
    const double wanted = o.samples > 0 ? std::min(most, static_cast<double>(o.samples)) : most;
    return static_cast<size_t>(std::max(wanted, static_cast<double>(rate)));
}

}  // namespace

LivePlayer::LivePlayer(std::unique_ptr<AudioOutput> output, const LiveOptions& options)
    : output_(std::move(output)),
      options_(options),
      capacity_(capacity_of(options, output_->rate())),
      ring_(capacity_),
      block_(block_samples) {}

size_t LivePlayer::write(std::span<const float> samples) {
    if (stopped_) return samples.size();
    const size_t n = ring_.write(samples.first(std::min(samples.size(), room())));
    written_ += static_cast<int64_t>(n);
    return n;
}

void LivePlayer::stop() {
    stopped_ = finished_ = true;
    ring_.drop();
    output_->drop();
    output_->finish();
}

// Samples that must still come before playing can begin.
double LivePlayer::missing() const {
    const double rate = output_->rate(), there = static_cast<double>(ring_.size());
    const double full = static_cast<double>(capacity_) - there;
    if (finished_ || full <= 0) return 0;
    if (!speed_) return full;
    if (options_.samples == 0) return trust * *speed_ >= 1 ? std::min(full, endless_start * rate - there) : full;
    const double left = static_cast<double>(options_.samples - sent_);
    const double share = std::clamp(1 - trust * *speed_, 0.0, 1.0);
    return std::min(full, std::min(left, left * share + margin_seconds * rate) - there);
}

std::optional<double> LivePlayer::wait_seconds() const {
    if (playing_ || !speed_ || *speed_ <= 0) return std::nullopt;
    return std::max(0.0, missing()) / (*speed_ * output_->rate());
}

std::optional<double> LivePlayer::lasts_seconds() const {
    if (!speed_ || *speed_ >= 1) return std::nullopt;
    const double rate = output_->rate();
    const double lasts = static_cast<double>(capacity_) / rate / (1 - *speed_);
    if (options_.samples > 0 && lasts >= static_cast<double>(options_.samples) / rate) return std::nullopt;
    return lasts;
}

double LivePlayer::heard_seconds() const { return static_cast<double>(output_->played()) / output_->rate(); }

bool LivePlayer::done() const { return finished_ && ring_.size() == 0 && output_->queued() == 0; }

void LivePlayer::pump(double now) {
    if (stopped_) return;
    // A full memory makes the maker wait, which says nothing about how fast it is; neither does what comes before the
    // first sample.
    if (room() == 0 || finished_ || written_ == measured_from_)
        growth_.reset();
    else
        growth_.note(now, written_);
    if (const auto growth = growth_.rate()) speed_ = *growth / output_->rate();

    if (playing_ && sent_ > began_with_ && output_->queued() == 0 && !finished_) {
        // Ran empty. Playing on in crumbs would be worse than a stop.
        ++dry_runs_;
        playing_ = false;
        growth_.reset();  // what was measured proved wrong
        output_->finish();
    }
    if (!playing_ && ring_.size() > 0 && missing() <= 0) {
        playing_ = true;
        began_with_ = sent_;
    }
    while (playing_ && ring_.size() > 0 && output_->room() > 0) {
        const size_t n = ring_.read(std::span(block_).first(std::min(block_.size(), output_->room())));
        output_->write(std::span<const float>(block_).first(n));
        sent_ += static_cast<int64_t>(n);
    }
    if (finished_ && ring_.size() == 0 && !told_end_) {
        output_->finish();
        told_end_ = true;
    }
}

}  // namespace nigiri
