#include "model/stream.h"

#include <algorithm>
#include <chrono>

namespace nigiri {

namespace {

using Clock = std::chrono::steady_clock;

// So long a block takes: short beside the tenth of a second in which a stop or a hand's wish has its effect, and long
// beside what it costs to start an engine that draws. Such an engine is asked for as many samples as fit, and ended
// where they take much longer.
constexpr auto block_time = std::chrono::milliseconds(20);
constexpr auto longest_block = std::chrono::milliseconds(50);
constexpr int64_t first_block = 32;  // samples, as long as its speed is not known
constexpr int64_t most_draws = 1 << 18;

}  // namespace

void SamplingControls::set(const SamplingOptions& options) {
    validate(options);
    temperature_.store(options.temperature, std::memory_order_relaxed);
    top_k_.store(options.top_k, std::memory_order_relaxed);
    top_p_.store(options.top_p, std::memory_order_relaxed);
}

SamplingOptions SamplingControls::get() const {
    return {.temperature = temperature_.load(std::memory_order_relaxed),
            .top_k = top_k_.load(std::memory_order_relaxed),
            .top_p = top_p_.load(std::memory_order_relaxed),
            .seed = seed_};
}

StreamSnapshot branch(StreamSnapshot snapshot, uint32_t k) {
    if (k == 0) return snapshot;
    const uint64_t stream = (snapshot.random.stream() & 0xffffffff) | static_cast<uint64_t>(k) << 32;
    snapshot.random = Random(snapshot.random.seed(), stream);
    return snapshot;
}

Stream::Stream(std::unique_ptr<RecurrentEngine> engine, std::shared_ptr<const SamplingControls> controls, int32_t code)
    : engine_(std::move(engine)), controls_(std::move(controls)), pace_(first_block) {
    const auto n = static_cast<size_t>(engine_->streams());
    const uint64_t seed = controls_->get().seed;
    for (size_t i = 0; i < n; ++i) voices_.push_back({.random = Random(seed, i)});
    codes_.assign(n, code);
    if (engine_->can_draw())
        request_.controls = [this](int64_t stream) { return controls_of(stream); };
    else
        logits_.resize(n * static_cast<size_t>(engine_->vocabulary()));
    request_.ahead = std::clamp<int64_t>(most_draws / streams(), 64, 4096);
}

DrawControls Stream::controls_of(int64_t stream) const {
    const SamplingOptions o = controls_->get();
    const double temperature = o.temperature * voices_[static_cast<size_t>(stream)].warmth;
    // Engines compute in float32; colder than this is equally cold in the sampler.
    return {.temperature = temperature > 0 ? std::max(temperature, 1e-30) : 0, .top_k = o.top_k, .top_p = o.top_p};
}

void Stream::step() {
    engine_->advance(codes_.data(), logits_.data());
    const SamplingOptions options = controls_->get();
    const auto vocabulary = static_cast<size_t>(engine_->vocabulary());
    const size_t row = draws_.size();
    draws_.resize(row + voices_.size());
    for (size_t i = 0; i < voices_.size(); ++i) {
        SamplingOptions own = options;
        own.temperature *= voices_[i].warmth;
        sampler_.set_options(own);
        const auto draw =
            sampler_.draw(std::span(logits_).subspan(i * vocabulary, vocabulary), voices_[i].random.uniform());
        codes_[i] = draw.code;
        draws_[row + i] = {draw.code, static_cast<float>(-draw.log2_probability)};
    }
}

void Stream::step_by_step(int64_t most) {
    const auto end = Clock::now() + block_time;
    for (int64_t made = 0; made < most && (made == 0 || Clock::now() < end); ++made) {
        try {
            step();
        } catch (...) {
            if (made == 0) throw;
            failure_ = std::current_exception();
            draws_.resize(static_cast<size_t>(made) * voices_.size());
            return;
        }
    }
}

void Stream::draw_on_engine(int64_t most) {
    const size_t width = voices_.size();
    request_.samples = std::min(most, pace_);
    request_.codes = codes_;
    request_.dice.clear();
    for (const Voice& v : voices_) request_.dice.push_back(v.random);
    const auto begin = Clock::now();
    try {
        engine_->draw(request_, [&](int64_t samples, const int32_t* codes, const float* bits) {
            const size_t had = draws_.size(), count = static_cast<size_t>(samples) * width;
            draws_.resize(had + count);
            for (size_t i = 0; i < count; ++i) draws_[had + i] = {codes[i], bits[i]};
            // It is slower than expected: somebody else uses the device.
            return Clock::now() - begin < longest_block;
        });
        if (draws_.empty()) throw Error("the engine " + engine_->description() + " drew nothing");
    } catch (...) {
        if (draws_.empty()) throw;
        failure_ = std::current_exception();
    }
    const size_t samples = draws_.size() / width;
    for (size_t i = 0; i < width; ++i) {
        codes_[i] = draws_[(samples - 1) * width + i].code;
        Random& r = voices_[i].random;
        r = Random(r.seed(), r.stream(), r.position() + samples);
    }
    const auto seconds = [](auto time) { return std::chrono::duration<double>(time).count(); };
    const double blocks = seconds(Clock::now() - begin) / seconds(block_time);
    pace_ = std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(samples) / std::max(blocks, 1e-6)));
}

StreamBlock Stream::draw(int64_t most) {
    if (failure_) std::rethrow_exception(failure_);
    draws_.clear();
    most = std::clamp<int64_t>(most, 1, std::max<int64_t>(1, most_draws / streams()));
    if (engine_->can_draw())
        draw_on_engine(most);
    else
        step_by_step(most);
    return {.samples = static_cast<int64_t>(draws_.size() / voices_.size()), .streams = streams(), .draws = draws_};
}

StreamSnapshot Stream::freeze(int64_t stream) const {
    const auto i = static_cast<size_t>(stream);
    return {.state = engine_->state(stream), .code = codes_[i], .random = voices_[i].random};
}

void Stream::restore(int64_t stream, const StreamSnapshot& snapshot) {
    engine_->set_state(stream, snapshot.state);
    failure_ = nullptr;
    codes_[static_cast<size_t>(stream)] = snapshot.code;
    voices_[static_cast<size_t>(stream)].random = snapshot.random;
}

}  // namespace nigiri
