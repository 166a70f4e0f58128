#include "audio/resample.h"

#include <soxr.h>

#include <algorithm>
#include <string>

#include "kernels/error.h"

namespace nigiri {

struct Resampler::Engine {
    soxr_t handle = nullptr;
    ~Engine() { soxr_delete(handle); }
};

Resampler::Resampler(int from, int to) : from_(from), to_(to) {
    if (from < 1 || to < 1)
        throw Error("cannot resample from " + std::to_string(from) + " Hz to " + std::to_string(to) + " Hz");
    if (from == to) return;
    soxr_error_t error = nullptr;
    const soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
    const soxr_runtime_spec_t runtime =
        soxr_runtime_spec(1);  // one thread: files are read in parallel, and the result is one
    engine_ = std::make_unique<Engine>();
    engine_->handle = soxr_create(from, to, 1, &error, nullptr, &quality, &runtime);
    if (error || !engine_->handle)
        throw Error("cannot resample from " + std::to_string(from) + " Hz to " + std::to_string(to) +
                    " Hz: " + (error ? error : "out of memory"));
}

Resampler::~Resampler() = default;
Resampler::Resampler(Resampler&&) noexcept = default;
Resampler& Resampler::operator=(Resampler&&) noexcept = default;

void Resampler::process(std::span<const float> in, std::vector<float>& out) {
    consumed_ += static_cast<int64_t>(in.size());
    if (!engine_) {
        out.insert(out.end(), in.begin(), in.end());
        produced_ += static_cast<int64_t>(in.size());
        return;
    }
    while (!in.empty()) {
        const size_t block = std::min<size_t>(in.size(), 1 << 16);
        const size_t room = static_cast<size_t>(resampled_length(static_cast<int64_t>(block), from_, to_)) + 1024;
        const size_t begin = out.size();
        out.resize(begin + room);
        size_t used = 0, made = 0;
        const soxr_error_t error =
            soxr_process(engine_->handle, in.data(), block, &used, out.data() + begin, room, &made);
        out.resize(begin + made);
        if (error) throw Error(std::string("resampling failed: ") + error);
        produced_ += static_cast<int64_t>(made);
        in = in.subspan(used);
    }
}

void Resampler::finish(std::vector<float>& out) {
    const int64_t expected = resampled_length(consumed_, from_, to_);
    while (engine_ && produced_ < expected) {
        const size_t room = static_cast<size_t>(std::min<int64_t>(expected - produced_, 1 << 16));
        const size_t begin = out.size();
        out.resize(begin + room);
        size_t made = 0;
        const soxr_error_t error = soxr_process(engine_->handle, nullptr, 0, nullptr, out.data() + begin, room, &made);
        out.resize(begin + made);
        if (error) throw Error(std::string("resampling failed: ") + error);
        produced_ += static_cast<int64_t>(made);
        if (made == 0) break;
    }
    // soxr may round the last sample the other way: the length is a promise.
    if (produced_ < expected) out.insert(out.end(), static_cast<size_t>(expected - produced_), 0.0f);
    if (produced_ > expected) out.resize(out.size() - std::min(out.size(), static_cast<size_t>(produced_ - expected)));
    if (engine_) soxr_clear(engine_->handle);
    consumed_ = produced_ = 0;
}

int64_t resampled_length(int64_t n, int from, int to) {
    return static_cast<int64_t>((static_cast<__int128>(n) * to + from / 2) / from);
}

std::vector<float> resample(std::span<const float> samples, int from, int to) {
    Resampler resampler(from, to);
    std::vector<float> out;
    out.reserve(static_cast<size_t>(resampled_length(static_cast<int64_t>(samples.size()), from, to)) + 2048);
    resampler.process(samples, out);
    resampler.finish(out);
    return out;
}

}  // namespace nigiri
