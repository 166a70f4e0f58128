// The CUDA engine's phases on the host (tests/support/emulated_engine.h): the same indices and the same order of
// arithmetic as on the device, apart from the special function unit's last bits and the order of sums in its products.
#include <gtest/gtest.h>

#include "tests/support/check.h"
#include "tests/support/emulated_engine.h"
#include "tests/support/recurrent_programs.h"
#include "tests/support/recurrent_reference.h"

namespace nigiri {
namespace {

using test::EmulatedEngine;
using test::ProgramShape;
using test::random_program;
using test::RecurrentReference;

// log2 of the softmax of one stream's logits.
template <class T>
std::vector<double> log_probabilities(const T* logits, int64_t count) {
    const double peak = *std::max_element(logits, logits + count);
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += std::exp(logits[i] - peak);
    std::vector<double> r;
    for (int64_t i = 0; i < count; ++i) r.push_back((logits[i] - peak - std::log(sum)) / std::numbers::ln2);
    return r;
}

double difference(const float* logits, const std::vector<double>& expected) {
    const auto a = log_probabilities(logits, static_cast<int64_t>(expected.size()));
    const auto b = log_probabilities(expected.data(), static_cast<int64_t>(expected.size()));
    double most = 0;
    for (size_t i = 0; i < a.size(); ++i) most = std::max(most, std::isnan(a[i]) ? 1e9 : std::abs(a[i] - b[i]));
    return most;
}

// Every stream of `engine` beside a reference of its own, all fed with codes of their own. Returns the greatest
// difference of log2 probabilities.
double compare(RecurrentEngine& engine, const RecurrentProgram& program, int64_t samples, uint64_t seed) {
    Random random(seed, 3);
    std::vector<RecurrentReference> judges(static_cast<size_t>(engine.streams()), RecurrentReference(program));
    std::vector<int32_t> codes(judges.size());
    std::vector<float> logits(judges.size() * static_cast<size_t>(program.vocabulary));
    double most = 0;
    for (int64_t t = 0; t < samples; ++t) {
        for (auto& c : codes) c = static_cast<int32_t>(random.below(static_cast<uint64_t>(program.vocabulary)));
        engine.advance(codes.data(), logits.data());
        for (size_t s = 0; s < judges.size(); ++s)
            most = std::max(most, difference(logits.data() + s * static_cast<size_t>(program.vocabulary),
                                             judges[s].step(codes[s])));
    }
    return most;
}

class CudaEnginePhases : public ::testing::TestWithParam<ProgramShape> {};

// 70 samples: four blocks of the S4D layers, and every coarse step from all its phases. Float32 sums differ by some
// 1e-6 from float64 ones; the project's bound for engines in float32 is 1e-4.
TEST_P(CudaEnginePhases, GiveTheReferencesLogProbabilities) {
    SCOPED_TRACE(testing::Message() << "seed " << test::seed());
    const RecurrentProgram program = random_program(GetParam(), test::seed());
    const std::pair<int64_t, int> sizes[] = {{1, 1}, {3, 2}, {5, 4}, {9, 8}};
    for (const auto& [streams, per_group] : sizes) {
        EmulatedEngine engine(program, WeightFormat::f32, streams, per_group);
        EXPECT_LT(compare(engine, program, 70, test::seed()), 5e-5)
            << streams << " streams, " << per_group << " a group";
    }
}

INSTANTIATE_TEST_SUITE_P(Odd, CudaEnginePhases, ::testing::ValuesIn(test::odd_programs()), [](const auto& tested) {
    std::string name = tested.param.name;
    std::replace(name.begin(), name.end(), '-', '_');
    return name;
});

}  // namespace
}  // namespace nigiri
