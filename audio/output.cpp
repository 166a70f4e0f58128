#include "audio/output.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <thread>

#include "audio/playback_queue.h"
#include "audio/write.h"

namespace nigiri {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double queue_seconds = 2;

void check_playable(int rate) {
    if (rate < 1000 || rate > 768000) throw Error("cannot play at " + std::to_string(rate) + " Hz");
}

class NullOutput : public AudioOutput {
  public:
    NullOutput(int rate, bool real_time)
        : AudioOutput(rate), queue_(static_cast<size_t>(queue_seconds * rate)), real_time_(real_time) {
        if (real_time) thread_ = std::jthread([this](const std::stop_token& stop) { consume(stop); });
    }

    std::string description() const override { return "null"; }
    size_t write(std::span<const float> samples) override {
        if (!real_time_) {
            taken_ += static_cast<int64_t>(samples.size());
            return samples.size();
        }
        const size_t n = queue_.write(samples);
        queue_.set_finished(false);  // only now: an empty queue before the first sample is no underrun
        return n;
    }
    size_t room() const override { return real_time_ ? queue_.room() : queue_.capacity(); }
    int64_t queued() const override { return static_cast<int64_t>(queue_.queued()); }
    int64_t played() const override { return real_time_ ? static_cast<int64_t>(queue_.played()) : taken_; }
    int64_t underruns() const override { return static_cast<int64_t>(queue_.underruns()); }
    size_t block() const override { return queue_.block(); }
    void finish() override { queue_.set_finished(true); }
    void drop() override { queue_.drop(); }
    void set_paused(bool paused) override { queue_.set_paused(paused); }
    bool paused() const override { return queue_.paused(); }
    void set_volume(float volume) override { queue_.set_volume(volume); }

  private:
    void consume(const std::stop_token& stop) {
        const size_t block = std::max<size_t>(1, static_cast<size_t>(rate()) / 100);
        std::vector<float> sink(block);
        std::mutex mutex;
        std::condition_variable_any timer;
        std::unique_lock lock(mutex);
        auto next = Clock::now();
        while (!stop.stop_requested()) {
            queue_.fill(sink.data(), block, 1);
            next += std::chrono::nanoseconds(static_cast<int64_t>(1e9 * static_cast<double>(block) / rate()));
            timer.wait_until(lock, stop, next, [] { return false; });
        }
    }

    PlaybackQueue queue_;
    bool real_time_;
    int64_t taken_ = 0;
    std::jthread thread_;  // last: it uses the others
};

class FileOutput : public AudioOutput {
  public:
    FileOutput(const std::filesystem::path& path, int rate) : AudioOutput(rate), path_(path), writer_(path, rate) {}

    std::string description() const override { return "file " + path_.string(); }
    size_t write(std::span<const float> samples) override {
        if (paused_) return 0;
        writer_.write(samples);
        taken_ += static_cast<int64_t>(samples.size());
        return samples.size();
    }
    size_t room() const override { return paused_ ? 0 : 1 << 16; }
    int64_t queued() const override { return 0; }
    int64_t played() const override { return taken_; }
    int64_t underruns() const override { return 0; }
    void finish() override { writer_.close(); }
    void drop() override {}
    void set_paused(bool paused) override { paused_ = paused; }
    bool paused() const override { return paused_; }
    void set_volume(float) override {}

  private:
    std::filesystem::path path_;
    AudioWriter writer_;
    int64_t taken_ = 0;
    bool paused_ = false;
};

}  // namespace

std::unique_ptr<AudioOutput> open_null_output(int rate, bool real_time) {
    check_playable(rate);
    return std::make_unique<NullOutput>(rate, real_time);
}

std::unique_ptr<AudioOutput> open_file_output(const std::filesystem::path& path, int rate) {
    check_playable(rate);
    return std::make_unique<FileOutput>(path, rate);
}

std::unique_ptr<AudioOutput> open_output(const std::string& what, int rate, std::string& message,
                                         double buffer_seconds) {
    message.clear();
    if (what == "null") return open_null_output(rate);
    if (what.starts_with("file:")) return open_file_output(what.substr(5), rate);
    if (what.empty() || what == "auto") {
        try {
            return open_device_output(rate, -1, buffer_seconds);
        } catch (const Error& e) {
            message = std::string(e.what()) + ": playing in silence (null output)";
            return open_null_output(rate);
        }
    }
    return open_device_output(rate, find_device(output_devices(), what, "use null or file:PATH").index, buffer_seconds);
}

bool play(AudioOutput& output, std::span<const float> samples, const Progress& progress) {
    const int64_t before = output.played(), total = static_cast<int64_t>(samples.size());
    const auto tell = [&] {
        const double share = total > 0 ? static_cast<double>(output.played() - before) / static_cast<double>(total) : 1;
        return !progress || progress(std::clamp(share, 0.0, 1.0), output.description());
    };
    const auto pause = std::chrono::milliseconds(20);
    for (size_t at = 0; at < samples.size();) {
        const auto block = samples.subspan(at, std::min<size_t>(samples.size() - at, 1 << 14));
        const size_t taken = output.write(block);
        at += taken;
        if (!tell()) {
            output.drop();
            output.finish();
            return false;
        }
        if (taken < block.size()) std::this_thread::sleep_for(pause);
    }
    output.finish();
    while (output.queued() > 0) {
        if (!tell()) {
            output.drop();
            return false;
        }
        std::this_thread::sleep_for(pause);
    }
    tell();
    return true;
}

}  // namespace nigiri
