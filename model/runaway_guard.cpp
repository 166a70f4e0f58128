#include "model/runaway_guard.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/error.h"

namespace nigiri {

namespace {

constexpr int window_hops = 5;       // half a second
constexpr int lasting_hops = 5;      // of trouble, before it is believed
constexpr int healthy_hops = 10;     // before an alarm may be given again
constexpr int past_hops_least = 20;  // before the own past says anything
constexpr int past_memory = 100;     // hops

double dbfs(double mean_square) {
    // Rounding leaves something of a constant: far below the smallest step of 16 bits, so nothing.
    return mean_square > 1e-14 ? 10 * std::log10(mean_square) : -std::numeric_limits<double>::infinity();
}

}  // namespace

const char* name_of(Trouble trouble) {
    switch (trouble) {
        case Trouble::noise:
            return "noise";
        case Trouble::silence:
            return "silence";
        case Trouble::loud:
            return "loud";
        case Trouble::offset:
            return "offset";
    }
    return "noise";
}

int64_t RunawayGuard::hop(const GuardOptions& o) {
    const int64_t periods = (o.sample_rate / 10 + o.period - 1) / o.period;
    return std::max<int64_t>(1, periods) * o.period;
}

int64_t RunawayGuard::latency(const GuardOptions& o) {
    const auto silence = static_cast<int64_t>(std::ceil(o.silence_seconds * static_cast<double>(o.sample_rate)));
    return std::max(silence, (window_hops + lasting_hops) * hop(o)) + hop(o);
}

RunawayGuard::RunawayGuard(std::shared_ptr<const GuardOptions> options) : options_(std::move(options)) {
    const GuardOptions& o = *options_;
    if (o.sample_rate < 1 || o.period < 1) throw Error("a guard needs a sample rate and a period");
    if (!(o.silence_seconds > 0) || !(o.snapshot_seconds > 0) || o.snapshots < 1 || o.attempts < 1 ||
        !(o.cooling > 0 && o.cooling <= 1))
        throw Error("the guard's options make no sense");
    hop_samples_ = hop(o);
    recent_.assign(static_cast<size_t>(window_hops * hop_samples_), 0.0f);
    hops_.resize(window_hops);
}

void RunawayGuard::hear(std::span<const uint8_t> codes) {
    const auto last = static_cast<size_t>(options_->silence_seconds * static_cast<double>(options_->sample_rate));
    codes = codes.last(std::min(codes.size(), last));
    if (codes.empty()) return;
    double sum = 0, squares = 0;
    for (const uint8_t c : codes) {
        const double x = options_->value[c];
        sum += x, squares += x * x;
    }
    const double n = static_cast<double>(codes.size());
    silence_asked_for_ = dbfs(squares / n - sum / n * (sum / n)) < options_->silence_dbfs;
}

WindowFeatures RunawayGuard::window() {
    double bits = 0, sum = 0, squares = 0;
    for (const Hop& h : hops_) bits += h.bits, sum += h.sum, squares += h.squares;
    const double n = static_cast<double>(recent_.size()), mean = sum / n;
    WindowFeatures w;
    w.bits = bits / n;
    w.level_dbfs = dbfs(squares / n - mean * mean);
    w.offset = std::abs(mean);
    // The transform is worth its time only where it can decide something.
    const bool surprising = (options_->expected_bits > 0 && w.bits > options_->expected_bits + options_->noise_bits) ||
                            (past_hops_ >= past_hops_least && w.bits > past_bits_ + options_->noise_bits);
    if (surprising && options_->flatness) {
        std::vector<float> samples(recent_.size());
        const auto oldest = recent_.begin() + static_cast<ptrdiff_t>(samples_ % static_cast<int64_t>(recent_.size()));
        std::copy(recent_.begin(), oldest, std::copy(oldest, recent_.end(), samples.begin()));
        for (float& x : samples) x -= static_cast<float>(mean);
        w.flatness = options_->flatness(samples);
    } else if (surprising) {
        w.flatness = 1;
    }
    return w;
}

std::optional<Trouble> RunawayGuard::judge(const WindowFeatures& w) {
    if (w.offset > options_->largest_offset) return Trouble::offset;
    if (w.level_dbfs > options_->loud_dbfs) return Trouble::loud;
    if (w.flatness > options_->noise_flatness) return Trouble::noise;
    // Of the last tenth: a window would still hear what was before.
    const Hop& last = hops_[static_cast<size_t>((samples_ / hop_samples_ - 1) % window_hops)];
    const double n = static_cast<double>(hop_samples_), mean = last.sum / n;
    if (dbfs(last.squares / n - mean * mean) >= options_->silence_dbfs) {
        silence_asked_for_ = false;
        return std::nullopt;
    }
    if (silence_asked_for_) return std::nullopt;
    return Trouble::silence;
}

std::optional<Alarm> RunawayGuard::take(int32_t code, double bits) {
    const float x = options_->value[static_cast<size_t>(code) % options_->value.size()];
    recent_[static_cast<size_t>(samples_ % static_cast<int64_t>(recent_.size()))] = x;
    hop_.bits += bits, hop_.sum += x, hop_.squares += static_cast<double>(x) * x;
    if (++samples_ % hop_samples_ != 0) return std::nullopt;

    hops_[static_cast<size_t>((samples_ / hop_samples_ - 1) % window_hops)] = hop_;
    const double hop_bits = hop_.bits / static_cast<double>(hop_samples_);
    hop_ = {};
    // Before there is a whole window only silence can be heard.
    const bool whole = samples_ >= static_cast<int64_t>(recent_.size());
    const WindowFeatures w = whole ? window() : WindowFeatures{.level_dbfs = -std::numeric_limits<double>::infinity()};
    const std::optional<Trouble> trouble = judge(w);
    for (size_t k = 0; k < lasting_.size(); ++k)
        lasting_[k] = trouble && static_cast<size_t>(*trouble) == k ? lasting_[k] + 1 : 0;
    if (!trouble) {
        past_hops_ = std::min(past_hops_ + 1, past_memory);
        past_bits_ += (hop_bits - past_bits_) / past_hops_;
        if (++healthy_ >= healthy_hops) armed_ = true;
        return std::nullopt;
    }
    healthy_ = 0;
    const auto silent_hops = static_cast<int>(std::ceil(
        options_->silence_seconds * static_cast<double>(options_->sample_rate) / static_cast<double>(hop_samples_)));
    const int lasting = lasting_[static_cast<size_t>(*trouble)];
    const bool silence = *trouble == Trouble::silence;
    if (!armed_ || lasting < (silence ? silent_hops : lasting_hops)) return std::nullopt;
    armed_ = false;
    const int64_t before = (lasting + (silence ? 0 : window_hops)) * hop_samples_;
    return Alarm{
        .trouble = *trouble, .began = std::max<int64_t>(0, samples_ - before), .noticed = samples_, .window = w};
}

}  // namespace nigiri
