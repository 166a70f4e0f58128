#include "app/studio/sessions/memory_estimate.h"

namespace nigiri::studio {

namespace {

constexpr int64_t shortest = 1024;  // samples; shorter ones teach too little to be advised

}  // namespace

void MemoryEstimate::want(const Config& config, const std::string& device, int threads) {
    // What memory does not depend on is left out, so that changing it measures nothing.
    Key key{{.model = config.model, .signal = config.signal}, device, threads};
    key.config.training.batch = config.training.batch;
    key.config.training.length = config.training.length;
    key.config.training.precision = config.training.precision;
    key.config.training.recompute = config.training.recompute;
    key.config.training.recompute_cheap = config.training.recompute_cheap;
    wanted_ = key;
    {
        const std::lock_guard lock(mutex_);
        if (measured_ && measured_->first == key) return;
    }
    if (work_.running()) {
        if (started_ && !(*started_ == key)) work_.stop();  // it wakes the window when it has ended
        return;
    }
    started_ = key;
    work_.start([this, key = std::move(key)] {
        Result result;
        try {
            result = measure(key);
        } catch (const Cancelled&) {
            throw;
        } catch (const std::exception& e) {
            result.error = e.what();
        }
        const std::lock_guard lock(mutex_);
        measured_ = {key, std::move(result)};
    });
}

std::optional<MemoryEstimate::Result> MemoryEstimate::result() const {
    const std::lock_guard lock(mutex_);
    if (!measured_ || !wanted_ || !(measured_->first == *wanted_)) return std::nullopt;
    return measured_->second;
}

MemoryEstimate::Result MemoryEstimate::measure(const Key& key) const {
    Config config = key.config;
    validate(config);
    const auto backend = make_backend(key.device, key.threads);
    Result result{.need = app::training_memory(backend, config), .device = backend->description()};
    if (result.need.fits()) return result;
    while (config.training.batch > 1 || config.training.length / 2 >= shortest) {
        if (work_.stopping().load()) throw Cancelled();
        if (config.training.batch > 1)
            config.training.batch /= 2;
        else
            config.training.length /= 2;
        if (!app::training_memory(backend, config).fits()) continue;
        result.advice = "It would fit with a batch of " + std::to_string(config.training.batch);
        if (config.training.length != key.config.training.length)
            result.advice += " and pieces of " + std::to_string(config.training.length) + " samples";
        result.advice += " (see Advanced).";
        return result;
    }
    result.advice = "Choose a smaller size of network.";
    return result;
}

}  // namespace nigiri::studio
