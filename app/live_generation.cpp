#include "app/live_generation.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "app/steering.h"
#include "audio/held_sound.h"
#include "audio/quantize.h"

namespace nigiri::app {

namespace {

constexpr int64_t samples_a_piece = 1024;  // between two looks at the player, where they take no more than a block
constexpr size_t events_kept = 1000;
constexpr auto ring_pause = std::chrono::milliseconds(4);

class Live {
  public:
    Live(GuardedStream& stream, const SignalConfig& signal, const GuardOptions* guard, LiveRequest request,
         int64_t prompt, const std::atomic<bool>& stop)
        : stream_(stream),
          value_(decode_table(parse_quantization(signal.quantization))),
          request_(std::move(request)),
          prompt_(prompt),
          held_(guard ? static_cast<int64_t>(held_seconds(*guard, request_.output != nullptr) * signal.sample_rate) : 0,
                std::max<int64_t>(1, static_cast<int64_t>(seam_seconds * signal.sample_rate))),
          stop_(stop) {
        if (request_.output)
            player_ = std::make_unique<LivePlayer>(
                std::move(request_.output),
                LiveOptions{.samples = request_.samples > 0 ? prompt + request_.samples : 0});
    }

    LiveResult run(std::span<const uint8_t> prompt, const std::function<void(const LiveStatus&)>& progress) {
        result_.clip.prompt = prompt_;
        if (request_.keep_codes) result_.clip.codes.assign(prompt.begin(), prompt.end());
        for (int64_t i = 0; i < prompt_; ++i) {
            held_.put(i, value_[prompt[static_cast<size_t>(i)]]);
            if (i % 4096 == 4095) deliver();
        }
        if (player_) player_->measure_from_here();
        const int64_t most = request_.file ? request_.file->most() - prompt_ : INT64_MAX;
        const int64_t wanted = std::min(request_.samples > 0 ? request_.samples : INT64_MAX, most);
        while (!stop_ && result_.samples < wanted) {
            const double before = now();
            try {
                draw(std::min(samples_a_piece, wanted - result_.samples));
            } catch (...) {
                keep_file();
                throw;
            }
            result_.seconds += now() - before;
            deliver();
            if (progress) progress(status());
        }
        result_.stopped = result_.samples < request_.samples;
        held_.finish();
        deliver();
        result_.joins = held_.joins();
        if (request_.file) request_.file->close();
        if (request_.on_made) request_.on_made(result_);
        if (player_) listen(progress);
        return std::move(result_);
    }

  private:
    double now() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count(); }

    LiveStatus status() const { return {result_.samples, result_.seconds, player_.get(), result_.event_count}; }

    void draw(int64_t most) {
        const StreamSteps steps = stream_.next(most);
        const int64_t begin = steps.positions[0], count = steps.block.samples;
        if (request_.keep_codes) result_.clip.codes.resize(static_cast<size_t>(prompt_ + begin));
        for (int64_t t = 0; t < count; ++t) {
            const int32_t code = steps.block.at(t, 0).code;
            held_.put(prompt_ + begin + t, value_[static_cast<size_t>(code)]);
            if (request_.keep_codes) result_.clip.codes.push_back(static_cast<uint8_t>(code));
        }
        result_.samples = begin + count;
        result_.bits = steps.total_bits[0];
        result_.clip.log2_likelihood = -result_.bits;
        for (GuardEvent& e : stream_.take_events()) {
            ++result_.event_count;
            if (result_.events.size() == events_kept) result_.events.erase(result_.events.begin());
            result_.events.push_back(e);
            if (request_.keep_codes) result_.clip.events.push_back(e);
        }
    }

    // Where nothing more can be made: what was made stays.
    void keep_file() {
        if (player_) player_->stop();
        held_.finish();
        deliver();
        if (request_.file) request_.file->close();
    }

    // Hands on what is no longer kept back; waits for the ear where that is behind.
    void deliver() {
        while (const size_t n = held_.take(block_)) {
            const std::span<const float> samples = std::span<const float>(block_).first(n);
            if (request_.file) request_.file->write(samples);
            for (size_t at = 0; player_ && at < n;) {
                at += player_->write(samples.subspan(at));
                pump();
                if (at == n || stop_) break;
                std::this_thread::sleep_for(ring_pause);
            }
        }
        if (player_) pump();
    }

    void pump() {
        player_->pump(now());
        if (player_->playing() && !result_.began_to_play) result_.began_to_play = now();
    }

    void listen(const std::function<void(const LiveStatus&)>& progress) {
        player_->finish();
        while (!stop_ && !player_->done()) {
            pump();
            if (progress) progress(status());
            std::this_thread::sleep_for(ring_pause);
        }
        result_.heard_seconds = player_->heard_seconds();
        result_.dry_runs = player_->dry_runs();
        result_.underruns = player_->underruns();
        if (stop_) player_->stop();
    }

    GuardedStream& stream_;
    const std::array<float, code_count>& value_;
    LiveRequest request_;
    const int64_t prompt_;
    HeldSound held_;
    const std::atomic<bool>& stop_;
    std::unique_ptr<LivePlayer> player_;
    LiveResult result_;
    std::array<float, 1024> block_{};
    const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

}  // namespace

double held_seconds(const GuardOptions& guard, bool played) {
    const double noticed = static_cast<double>(RunawayGuard::latency(guard)) / static_cast<double>(guard.sample_rate);
    // Saves are up to one interval older than the trouble and its margin, and one more each attempt.
    const double saves = played ? guard.snapshot_seconds : guard.snapshot_seconds * (guard.snapshots + 1);
    return noticed + saves + 0.3;
}

LiveResult generate_live(GuardedStream& stream, std::span<const uint8_t> prompt, const SignalConfig& signal,
                         const GuardOptions* guard, LiveRequest request, const std::atomic<bool>& stop,
                         const std::function<void(const LiveStatus&)>& progress) {
    if (stream.streams() != 1) throw Error("one stream can be heard while it is made, not several");
    Live live(stream, signal, guard, std::move(request), static_cast<int64_t>(prompt.size()), stop);
    return live.run(prompt, progress);
}

}  // namespace nigiri::app
