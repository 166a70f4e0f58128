// Audio to codes and back. The published encoders first stretch a clip's own minimum and maximum to the whole range; a
// margin of 1e-6 keeps the largest sample inside it.
#include <algorithm>

#include "audio/quantize.h"
#include "tests/golden/golden.h"

namespace nigiri::golden {
namespace {

void judge_codes(const SafeTensorsFile& file, const std::string& name, Quantization quantization) {
    const std::vector<double> audio = file.values("in.audio"), expected = file.values("out." + name);
    ASSERT_EQ(audio.size(), expected.size()) << name;
    const auto [low, high] = std::minmax_element(audio.begin(), audio.end());
    for (size_t i = 0; i < audio.size(); ++i) {
        const double x = 2 * (audio[i] - *low) / (*high - *low + 1e-6) - 1;
        EXPECT_EQ(static_cast<double>(encode(x, quantization)), expected[i]) << name << " of sample " << i;
    }
}

void judge_values(const SafeTensorsFile& file, const std::string& name, Quantization quantization) {
    const std::vector<double> codes = file.values("in.codes"), expected = file.values("out." + name + "_decoded");
    ASSERT_EQ(codes.size(), expected.size()) << name;
    for (size_t i = 0; i < codes.size(); ++i)
        EXPECT_NEAR(decode(static_cast<int>(codes[i]), quantization), expected[i], 1e-15) << name << " " << codes[i];
}

const Registration quantizations("quantize", [](const SafeTensorsFile& file, DType) {
    for (const auto& [name, quantization] :
         {std::pair{"mu_law", Quantization::mu_law}, {"linear", Quantization::linear}}) {
        judge_codes(file, name, quantization);
        judge_values(file, name, quantization);
    }
});

}  // namespace
}  // namespace nigiri::golden
