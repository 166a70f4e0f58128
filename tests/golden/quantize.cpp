// Judge of quantize.safetensors.
#include "audio/quantize.h"

#include <algorithm>

#include "tests/golden/golden.h"

namespace nigiri::golden {
namespace {

void quantize(const SafeTensorsFile& file, DType dtype) {
    if (dtype != DType::f64) return;  // codes are made in double from whatever samples
    const auto audio = file.values("in.audio"), codes = file.values("in.codes");
    const auto [low, high] = std::minmax_element(audio.begin(), audio.end());
    for (const Quantization q : {Quantization::mu_law, Quantization::linear}) {
        const std::string name = q == Quantization::mu_law ? "out.mu_law" : "out.linear";
        const auto encoded = file.values(name), decoded = file.values(name + "_decoded");
        ASSERT_EQ(encoded.size(), audio.size());
        ASSERT_EQ(decoded.size(), codes.size());
        // The published encoders scale to the clip's extremes first.
        for (size_t i = 0; i < audio.size(); ++i)
            EXPECT_EQ(encode_minmax(audio[i], *low, *high, q), encoded[i]) << name << "[" << i << "]";
        for (size_t i = 0; i < codes.size(); ++i)
            EXPECT_NEAR(decode(static_cast<int>(codes[i]), q), decoded[i], tolerance(dtype))
                << name << "[" << i << "]";
    }
}

const Registration registration("quantize", quantize);

}  // namespace
}  // namespace nigiri::golden
