#include "app/digits/front_end.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "audio/spectrogram.h"

namespace nigiri::app {

namespace {

constexpr float range_db = 60, silence_db = -40;
constexpr size_t frame_numbers = front_end_frames * front_end_bands;

void write_frames(std::span<const float> samples, std::span<float> out) {
    if (samples.size() != digit_samples) throw Error("a digit is a clip of one second");
    MelOptions mel;
    mel.window = 512;
    mel.hop = digit_samples / front_end_frames;
    mel.bands = front_end_bands;
    const Spectrogram s = log_mel(samples, digit_rate, mel);  // one frame more than wanted, behind the end
    const auto levels = std::span(s.values).first(frame_numbers);
    const float top = std::max(silence_db, *std::max_element(levels.begin(), levels.end()));
    std::transform(levels.begin(), levels.end(), out.begin(),
                   [&](float l) { return std::max(l - top, -range_db) / (range_db / 2) + 1; });
}

}  // namespace

void append_frames(std::span<const float> samples, std::vector<float>& out) {
    out.resize(out.size() + frame_numbers);
    write_frames(samples, std::span(out).last(frame_numbers));
}

std::vector<float> digit_waveform(std::span<const uint8_t> codes, Quantization quantization) {
    std::vector<float> samples(codes.size());
    decode(codes, quantization, samples);
    return samples;
}

std::vector<float> frames_of(std::span<const ClipCodes> clips, int threads, Quantization quantization) {
    for (const ClipCodes& c : clips)
        if (c.size() != digit_samples) throw Error("a digit is a clip of one second");
    if (threads <= 0) threads = static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 16u));
    std::vector<float> out(clips.size() * frame_numbers);
    std::atomic<size_t> next{0};
    std::vector<std::jthread> pool;
    for (int t = 0; t < threads; ++t)
        pool.emplace_back([&] {
            for (size_t i; (i = next++) < clips.size();)
                write_frames(digit_waveform(clips[i], quantization),
                             std::span(out).subspan(i * frame_numbers, frame_numbers));
        });
    pool.clear();  // waits
    return out;
}

std::vector<ClipCodes> codes_of(const std::vector<DigitClip>& clips) {
    std::vector<ClipCodes> codes;
    for (const DigitClip& c : clips) codes.push_back(c.codes);
    return codes;
}

}  // namespace nigiri::app
