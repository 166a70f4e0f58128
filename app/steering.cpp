#include "app/steering.h"

#include <algorithm>
#include <cmath>
#include <future>
#include <numbers>

#include "kernels/error.h"

namespace nigiri::app {

namespace {

constexpr double mix_seconds = 0.1;  // from one model to the other, at least
constexpr size_t most_wishes = 16;   // of a hand that presses faster than samples are made

}  // namespace

void Steering::wish(Wish wish) {
    const std::lock_guard lock(mutex_);
    if (wishes_.size() < most_wishes) wishes_.push_back(wish);
}

std::optional<Steering::Wish> Steering::take() {
    const std::lock_guard lock(mutex_);
    if (wishes_.empty()) return std::nullopt;
    const Wish wish = wishes_.front();
    wishes_.pop_front();
    return wish;
}

SteeredStream::SteeredStream(std::unique_ptr<GuardedStream> first, std::unique_ptr<GuardedStream> second,
                             const SignalConfig& signal, std::shared_ptr<Steering> steering, int64_t hold)
    : steering_(std::move(steering)), value_(decode_table(parse_quantization(signal.quantization))) {
    const auto fade = std::max<int64_t>(1, static_cast<int64_t>(seam_seconds * signal.sample_rate));
    for (auto* stream : {&first, &second})
        if (*stream) {
            if ((*stream)->streams() != 1) throw Error("streams are steered one at a time");
            voices_.push_back({.stream = std::move(*stream), .held = HeldSound(hold, fade), .frozen = {}});
        }
    if (voices_.empty()) throw Error("there is no stream to steer");
    mix_ = steering_->mix();
    mix_step_ = 1 / (mix_seconds * signal.sample_rate);
}

void SteeredStream::obey(Steering::Wish wish) {
    if (wish == Steering::Wish::freeze) {
        for (Voice& v : voices_) v.frozen = v.stream->freeze(0);
        steering_->frozen_at_.store(voices_[0].drawn, std::memory_order_relaxed);
        return;
    }
    if (!voices_[0].frozen) return;
    for (Voice& v : voices_) {
        v.stream->resume(0, *v.frozen, wish == Steering::Wish::branch);
        v.held.join();
    }
    ++joins_;
}

int64_t SteeredStream::draw(Voice& v, int64_t most) {
    const StreamSteps steps = v.stream->next(most);
    const int64_t begin = steps.positions[0], count = steps.block.samples;
    // Samples that the guard takes back do not count; those before a return to a moment were heard.
    v.drawn += begin + count - v.next;
    v.next = begin + count;
    v.bits += steps.total_bits[0] - v.last_total;
    v.last_total = steps.total_bits[0];
    for (int64_t t = 0; t < count; ++t)
        v.held.put(begin + t, value_[static_cast<size_t>(steps.block.at(t, 0).code) % value_.size()]);
    return count;
}

void SteeredStream::make(int64_t samples, std::vector<float>& out, const KeepOn& keep_on) {
    while (const auto wish = steering_->take()) obey(*wish);
    for (int64_t left = samples; left > 0 && (!keep_on || keep_on());) {
        // Where the guard sent one back, or one's block was shorter, the other waits for it.
        int64_t behind = INT64_MAX, ahead = INT64_MAX;
        for (const Voice& v : voices_) behind = std::min(behind, v.held.made());
        for (const Voice& v : voices_)
            if (v.held.made() > behind) ahead = std::min(ahead, v.held.made());
        const int64_t most = std::min(left, ahead - behind);
        int64_t least = most;
        // Engines that draw themselves do so beside each other; the processor's share its cores anyway.
        std::future<int64_t> beside;
        if (ahead == INT64_MAX && voices_.size() == 2 && voices_[1].stream->engine().can_draw()) {
            beside = std::async(std::launch::async, [&] { return draw(voices_[1], most); });
            least = std::min(draw(voices_[0], most), beside.get());
        } else {
            for (Voice& v : voices_)
                if (v.held.made() == behind) least = std::min(least, draw(v, most));
        }
        for (Voice& v : voices_)
            for (GuardEvent& e : v.stream->take_events()) events_.push_back(std::move(e));
        left -= least;
    }
    deliver(out);
}

void SteeredStream::finish(std::vector<float>& out) {
    for (Voice& v : voices_) v.held.finish();
    deliver(out);
}

void SteeredStream::deliver(std::vector<float>& out) {
    const auto take = [](HeldSound& held, size_t most, std::vector<float>& into) {
        into.resize(most);
        into.resize(held.take(into));
    };
    size_t ready = SIZE_MAX;
    for (const Voice& v : voices_) ready = std::min(ready, static_cast<size_t>(v.held.ready()));
    take(voices_[0].held, ready, first_);
    if (voices_.size() == 1) {
        out.insert(out.end(), first_.begin(), first_.end());
        return;
    }
    take(voices_[1].held, ready, second_);
    const double wanted = std::clamp(steering_->mix(), 0.0, 1.0);
    for (size_t i = 0; i < ready; ++i) {
        mix_ += std::clamp(wanted - mix_, -mix_step_, mix_step_);
        const double angle = mix_ * std::numbers::pi / 2;
        const double sum = std::cos(angle) * first_[i] + std::sin(angle) * second_[i];
        out.push_back(static_cast<float>(std::clamp(sum, -1.0, 1.0)));  // two loud models may pass full scale
    }
}

}  // namespace nigiri::app
