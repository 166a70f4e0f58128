// Audio samples as 8-bit codes and back. The formulas are those of the published SaShiMi code, so that bits
// per sample can be compared; `tests/golden/quantize.safetensors` holds its numbers.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>

namespace nigiri {

enum class Quantization { mu_law, linear };

// How a waveform is brought to the range that is quantised.
enum class Scaling {
    full_scale,      // a file's own full scale, [-1, 1], is the range: one mapping for all audio
    segment_minmax,  // as published: every segment's own minimum and maximum are the range; level and offset
                     // depend on the crop
};

inline constexpr int code_count = 256;
// The code of 0.0: the first input of every sequence.
inline constexpr int zero_code = 128;

// "mu-law", "linear"; "full-scale", "segment-minmax". Parsing anything else throws Error.
const char* name_of(Quantization quantization);
const char* name_of(Scaling scaling);
Quantization parse_quantization(const std::string& name);
Scaling parse_scaling(const std::string& name);

// x in [-1, 1]; values outside are clamped and NaN becomes zero_code.
// mu-law: f = sign(x) log(1 + 255 |x + 1e-8|) / log 256, s = (f + 1) / 2; linear: s = (x + 1) / 2;
// code = floor(s (256 - 0.01) + 0.005).
uint8_t encode(double x, Quantization quantization);
// y = code / 128 - 1; mu-law: sign(y) (256^|y| - 1) / 255. Not centred in its step: as published, the value
// is the step's lower edge, so that code 128 is exactly 0.
double decode(int code, Quantization quantization);

// `codes` has the size of `samples`. decode() gives the values of decode_table().
void encode(std::span<const float> samples, Quantization quantization, std::span<uint8_t> codes);
void decode(std::span<const uint8_t> codes, Quantization quantization, std::span<float> samples);
// What each of the 256 codes is played and written as: the 16-bit sample nearest to decode(code) that encode() takes
// back to the code. The edge itself may fall to the code below, so that a clip read back would be another one; it is
// moved by a hundredth of a step at most, and by a unit of 16 bits.
const std::array<float, code_count>& decode_table(Quantization quantization);

// Scaling::full_scale of 16-bit samples (v / 32768), by table: the same codes as encode(v / 32768.0).
void encode(std::span<const int16_t> samples, Quantization quantization, std::span<uint8_t> codes);
// Scaling::segment_minmax of a sample of a segment with these extremes: t = (x - minimum) / (maximum -
// minimum + 1e-6), then linear s = t, mu-law x = 2t - 1. The 1e-6 moves even a segment that spans [-1, 1] by
// a hair: there 0.0 becomes code 127.
uint8_t encode_minmax(double x, double minimum, double maximum, Quantization quantization);
// The same for a whole segment, x = v / 32768. A constant segment becomes the lowest code throughout, as
// published.
void encode_minmax(std::span<const int16_t> samples, Quantization quantization, std::span<uint8_t> codes);

// The nearest 16-bit sample of x in [-1, 1) (x * 32768, clamped; NaN becomes 0), which is what libsndfile
// reads back as x.
int16_t to_pcm16(float x);

}  // namespace nigiri
