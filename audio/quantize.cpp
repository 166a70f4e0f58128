#include "audio/quantize.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "kernels/error.h"

namespace nigiri {
namespace {

// s in [0, 1] to a code.
uint8_t quantize(double s) {
    const double q = std::floor(s * (code_count - 0.01) + 0.005);
    return static_cast<uint8_t>(std::clamp(q, 0.0, code_count - 1.0));
}

double mu_law(double x) {
    const double sign = x > 0 ? 1 : x < 0 ? -1 : 0;
    return sign * std::log1p(255.0 * std::abs(x + 1e-8)) / std::log(256.0);
}

using Pcm16Table = std::array<uint8_t, 65536>;

std::unique_ptr<Pcm16Table> make_pcm16_table(Quantization quantization) {
    auto table = std::make_unique<Pcm16Table>();
    for (int v = -32768; v <= 32767; ++v) (*table)[static_cast<size_t>(v + 32768)] = encode(v / 32768.0, quantization);
    return table;
}

const Pcm16Table& pcm16_table(Quantization quantization) {
    static const std::unique_ptr<Pcm16Table> mu = make_pcm16_table(Quantization::mu_law);
    static const std::unique_ptr<Pcm16Table> linear = make_pcm16_table(Quantization::linear);
    return quantization == Quantization::mu_law ? *mu : *linear;
}

// From here on a table of the segment's values is quicker than a logarithm a sample: codes grow with the
// sample, so halving finds the 255 steps with some 4000 logarithms.
constexpr size_t few_samples = 4096;

// table[v - base] = code(v) for v in [low, high], given the codes of both ends.
template <class F>
void fill_monotone(std::vector<uint8_t>& table, int base, int low, int high, uint8_t at_low, uint8_t at_high,
                   const F& code) {
    if (at_low == at_high || high - low <= 1) {
        std::fill(table.begin() + (low - base), table.begin() + (high - base), at_low);
        table[static_cast<size_t>(high - base)] = at_high;
        return;
    }
    const int middle = low + (high - low) / 2;
    const uint8_t at_middle = code(middle);
    fill_monotone(table, base, low, middle, at_low, at_middle, code);
    fill_monotone(table, base, middle, high, at_middle, at_high, code);
}

std::array<float, code_count> make_decode_table(Quantization quantization) {
    std::array<float, code_count> table{};
    for (int q = 0; q < code_count; ++q) {
        const double edge = decode(q, quantization) * 32768;
        int sample = static_cast<int>(std::lround(edge));
        while (encode(sample / 32768.0, quantization) < q) ++sample;
        while (encode(sample / 32768.0, quantization) > q) --sample;
        table[static_cast<size_t>(q)] = static_cast<float>(sample) / 32768.0f;
    }
    return table;
}

void require_same(size_t a, size_t b) {
    if (a != b) throw Error("quantisation: expected as many codes as samples");
}

}  // namespace

const char* name_of(Quantization quantization) { return quantization == Quantization::mu_law ? "mu-law" : "linear"; }
const char* name_of(Scaling scaling) { return scaling == Scaling::full_scale ? "full-scale" : "segment-minmax"; }

Quantization parse_quantization(const std::string& name) {
    for (const auto q : {Quantization::mu_law, Quantization::linear})
        if (name == name_of(q)) return q;
    throw Error("unknown quantisation '" + name + "'", "use mu-law or linear");
}

Scaling parse_scaling(const std::string& name) {
    for (const auto s : {Scaling::full_scale, Scaling::segment_minmax})
        if (name == name_of(s)) return s;
    throw Error("unknown scaling '" + name + "'", "use full-scale or segment-minmax");
}

uint8_t encode(double x, Quantization quantization) {
    if (std::isnan(x)) return zero_code;
    x = std::clamp(x, -1.0, 1.0);
    return quantize(((quantization == Quantization::mu_law ? mu_law(x) : x) + 1) / 2);
}

double decode(int code, Quantization quantization) {
    const double y = std::clamp(code, 0, code_count - 1) / 128.0 - 1;
    if (quantization == Quantization::linear) return y;
    const double magnitude = (std::pow(256.0, std::abs(y)) - 1) / 255;
    return y < 0 ? -magnitude : magnitude;
}

void encode(std::span<const float> samples, Quantization quantization, std::span<uint8_t> codes) {
    require_same(samples.size(), codes.size());
    for (size_t i = 0; i < samples.size(); ++i) codes[i] = encode(static_cast<double>(samples[i]), quantization);
}

void decode(std::span<const uint8_t> codes, Quantization quantization, std::span<float> samples) {
    require_same(samples.size(), codes.size());
    const auto& table = decode_table(quantization);
    for (size_t i = 0; i < codes.size(); ++i) samples[i] = table[codes[i]];
}

const std::array<float, code_count>& decode_table(Quantization quantization) {
    static const auto mu = make_decode_table(Quantization::mu_law), linear = make_decode_table(Quantization::linear);
    return quantization == Quantization::mu_law ? mu : linear;
}

void encode(std::span<const int16_t> samples, Quantization quantization, std::span<uint8_t> codes) {
    require_same(samples.size(), codes.size());
    const Pcm16Table& table = pcm16_table(quantization);
    for (size_t i = 0; i < samples.size(); ++i) codes[i] = table[static_cast<size_t>(samples[i] + 32768)];
}

uint8_t encode_minmax(double x, double minimum, double maximum, Quantization quantization) {
    const double t = (x - minimum) / (maximum - minimum + 1e-6);
    return quantize(quantization == Quantization::linear ? t : (mu_law(2 * t - 1) + 1) / 2);
}

void encode_minmax(std::span<const int16_t> samples, Quantization quantization, std::span<uint8_t> codes) {
    require_same(samples.size(), codes.size());
    if (samples.empty()) return;
    const auto [low, high] = std::minmax_element(samples.begin(), samples.end());
    const double minimum = *low / 32768.0, maximum = *high / 32768.0;
    const auto code = [&](int v) { return encode_minmax(v / 32768.0, minimum, maximum, quantization); };
    if (samples.size() < few_samples) {
        for (size_t i = 0; i < samples.size(); ++i) codes[i] = code(samples[i]);
        return;
    }
    thread_local std::vector<uint8_t> table;
    table.resize(static_cast<size_t>(*high - *low) + 1);
    fill_monotone(table, *low, *low, *high, code(*low), code(*high), code);
    for (size_t i = 0; i < samples.size(); ++i) codes[i] = table[static_cast<size_t>(samples[i] - *low)];
}

int16_t to_pcm16(float x) {
    if (std::isnan(x)) return 0;
    return static_cast<int16_t>(std::lrint(std::clamp(x * 32768.0f, -32768.0f, 32767.0f)));
}

}  // namespace nigiri
