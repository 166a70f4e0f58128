#include "audio/recorder.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "audio/resample.h"
#include "kernels/error.h"

namespace nigiri {
namespace {

constexpr auto recorder_period = std::chrono::milliseconds(20);

int64_t longest(const RecorderOptions& o) {
    if (o.rate < 1000 || o.rate > 768000) throw Error("cannot record at " + std::to_string(o.rate) + " Hz");
    if (!(o.longest_seconds > 0) || o.longest_seconds > 86400)
        throw Error("a recording must be longer than nothing and not longer than a day");
    return std::llround(o.longest_seconds * o.rate);
}

}  // namespace

Recorder::Recorder(RecorderOptions options)
    : options_(std::move(options)), longest_(longest(options_)), sound_(std::make_shared<Sound>(options_.rate)) {
    thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

Recorder::~Recorder() = default;

void Recorder::stop() {
    thread_.request_stop();
    if (thread_.joinable()) thread_.join();
}

RecorderStatus Recorder::status() const {
    const std::lock_guard lock(mutex_);
    return status_;
}

void Recorder::run(const std::stop_token& stop) {
    std::string problem;
    try {
        record(stop);
    } catch (const Error& e) {
        problem = e.what();
        if (!e.hint().empty()) problem += " (" + e.hint() + ")";
    }
    sound_->finish();
    {
        const std::lock_guard lock(mutex_);
        status_.state = RecorderStatus::State::finished;
        status_.problem = problem;
    }
    if (options_.on_change) options_.on_change();
}

void Recorder::add(std::span<const float> samples) {
    const int64_t at = sound_->size();
    samples = samples.first(std::min(samples.size(), static_cast<size_t>(longest_ - at)));
    meter_.add(at, samples, options_.rate);
    sound_->append(samples);
}

void Recorder::record(const std::stop_token& stop) {
    const auto input = options_.open(options_.device, options_.rate);
    Resampler resampler(input->rate(), options_.rate);
    {
        const std::lock_guard lock(mutex_);
        status_.state = RecorderStatus::State::recording;
        status_.device = input->description();
    }
    std::vector<float> heard(static_cast<size_t>(input->rate()) / 5), converted;
    std::mutex nothing;
    std::condition_variable_any timer;
    std::string problem;
    for (bool last = false; !last && sound_->size() < longest_;) {
        // Asked before reading: what was heard until then still counts.
        problem = input->failure();
        last = stop.stop_requested() || !problem.empty();
        for (size_t n = heard.size(); n == heard.size() && sound_->size() < longest_;) {
            n = input->read(heard);
            resampler.process(std::span<const float>(heard).first(n), converted);
            add(converted);
            converted.clear();
        }
        {
            const std::lock_guard lock(mutex_);
            status_.dropped = input->dropped();
        }
        if (last) break;
        if (options_.on_change) options_.on_change();
        std::unique_lock lock(nothing);
        timer.wait_for(lock, stop, recorder_period, [] { return false; });
    }
    resampler.finish(converted);
    add(converted);
    if (!problem.empty()) throw Error(problem);
}

}  // namespace nigiri
