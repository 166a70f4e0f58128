#include "model/stream.h"

namespace nigiri {

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
    : engine_(std::move(engine)), controls_(std::move(controls)) {
    const auto n = static_cast<size_t>(engine_->streams());
    const uint64_t seed = controls_->get().seed;
    for (size_t i = 0; i < n; ++i) voices_.push_back({.random = Random(seed, i)});
    codes_.assign(n, code);
    logits_.resize(n * static_cast<size_t>(engine_->vocabulary()));
    draws_.resize(n);
}

std::span<const StreamDraw> Stream::draw() {
    engine_->advance(codes_.data(), logits_.data());
    const SamplingOptions options = controls_->get();
    const auto vocabulary = static_cast<size_t>(engine_->vocabulary());
    for (size_t i = 0; i < voices_.size(); ++i) {
        SamplingOptions own = options;
        own.temperature *= voices_[i].warmth;
        sampler_.set_options(own);
        const auto draw =
            sampler_.draw(std::span(logits_).subspan(i * vocabulary, vocabulary), voices_[i].random.uniform());
        codes_[i] = draw.code;
        draws_[i] = {draw.code, -draw.log2_probability};
    }
    return draws_;
}

StreamSnapshot Stream::freeze(int64_t stream) const {
    const auto i = static_cast<size_t>(stream);
    return {.state = engine_->state(stream), .code = codes_[i], .random = voices_[i].random};
}

void Stream::restore(int64_t stream, const StreamSnapshot& snapshot) {
    engine_->set_state(stream, snapshot.state);
    codes_[static_cast<size_t>(stream)] = snapshot.code;
    voices_[static_cast<size_t>(stream)].random = snapshot.random;
}

}  // namespace nigiri
