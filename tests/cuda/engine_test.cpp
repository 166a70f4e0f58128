// The CUDA engine on a device. Its indices are tested on the host (tests/kernels/cuda_engine_test.cpp); here the device
// shows that it computes the same, draws the same, and can be interrupted.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <span>

#include "kernels/backend.h"
#include "kernels/half.h"
#include "model/sampler.h"
#include "tests/support/check.h"
#include "tests/support/engine_compare.h"
#include "tests/support/recurrent_programs.h"

namespace nigiri {
namespace {

using test::ProgramShape;
using test::random_program;
using test::RecurrentReference;

double log2_probability(std::span<const float> logits, int32_t code) {
    const double peak = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (const float x : logits) sum += std::exp(x - peak);
    return (logits[static_cast<size_t>(code)] - peak - std::log(sum)) / std::log(2.0);
}

// The project's bound for engines in float32.
constexpr double tolerance = 1e-4;

class CudaEngineOnDevice : public ::testing::TestWithParam<ProgramShape> {
  protected:
    void SetUp() override {
        if (available_devices().front() != "cuda") GTEST_SKIP() << "no CUDA device here";
    }
    using Stages = CudaEngineOptions::Stages;
    static std::unique_ptr<RecurrentEngine> make(const RecurrentProgram& program, WeightFormat format, int64_t streams,
                                                 int per_block, Stages stages = Stages::together) {
        return make_cuda_engine(
            program, {.streams = streams, .weights = format, .streams_per_block = per_block, .stages = stages});
    }
};

TEST_P(CudaEngineOnDevice, GivesTheReferencesLogProbabilities) {
    SCOPED_TRACE(testing::Message() << "seed " << test::seed());
    const RecurrentProgram program = random_program(GetParam(), test::seed());
    const std::pair<int64_t, int> sizes[] = {{1, 1}, {3, 2}, {5, 4}, {17, 8}};
    for (const auto& [streams, per_block] : sizes) {
        const auto engine = make(program, WeightFormat::f32, streams, per_block, Stages::as_fits);
        EXPECT_LT(test::compare(*engine, program, 150, test::seed()), tolerance) << engine->description();
    }
}

TEST_P(CudaEngineOnDevice, TakesAndGivesStates) {
    SCOPED_TRACE(testing::Message() << "seed " << test::seed());
    const RecurrentProgram program = random_program(GetParam(), test::seed());
    Random random(test::seed(), 5);
    std::vector<RecurrentReference> judges(3, RecurrentReference(program));
    for (int t = 0; t < 45; ++t)
        for (auto& judge : judges) judge.step(static_cast<int32_t>(random.below(11)));
    const auto engine = make(program, WeightFormat::f32, 3, 2);
    for (size_t s = 0; s < judges.size(); ++s) engine->set_state(static_cast<int64_t>(s), judges[s].state());
    EXPECT_LT(test::compare(*engine, judges, 23, random), tolerance);
    for (size_t s = 0; s < judges.size(); ++s)
        EXPECT_LT(test::state_difference(engine->state(static_cast<int64_t>(s)), judges[s].state()), 5e-5);
    EXPECT_LT(test::compare(*engine, judges, 20, random), tolerance);
}

INSTANTIATE_TEST_SUITE_P(Odd, CudaEngineOnDevice, ::testing::ValuesIn(test::odd_programs()), [](const auto& tested) {
    std::string name = tested.param.name;
    std::replace(name.begin(), name.end(), '-', '_');
    return name;
});

class CudaEnginePresetsOnDevice : public CudaEngineOnDevice {};

TEST_P(CudaEnginePresetsOnDevice, GiveTheReferencesLogProbabilities) {
    const RecurrentProgram program = random_program(GetParam(), test::seed());
    for (const int per_block : {1, 2, 4, 8}) {
        const auto engine = make(program, WeightFormat::f32, per_block, per_block);
        EXPECT_LT(test::compare(*engine, program, 40, test::seed()), tolerance)
            << engine->description() << ", seed " << test::seed();
    }
}

// Blocks of their own for the stages compute what one block does, bit by bit, also over launches that end in the middle
// of a coarse step.
TEST_P(CudaEnginePresetsOnDevice, StagesApartAreStagesTogether) {
    const RecurrentProgram program = random_program(GetParam(), test::seed());
    for (const auto& [streams, per_block] : {std::pair<int64_t, int>{1, 1}, {2, 2}, {20, 2}}) {
        const auto together = make(program, WeightFormat::bf16, streams, per_block),
                   apart = make(program, WeightFormat::bf16, streams, per_block, Stages::apart);
        const auto width = static_cast<size_t>(streams);
        const auto run = [&](RecurrentEngine& engine) {
            DrawRequest request;
            request.codes.assign(width, 128);
            for (uint64_t s = 0; s < width; ++s) request.dice.emplace_back(test::seed(), s);
            request.controls = [](int64_t) { return DrawControls{}; };
            std::vector<int32_t> codes;
            for (const int64_t samples : {1, 2, 3, 4, 5, 18, 700}) {
                request.samples = samples;
                engine.draw(request, [&](int64_t count, const int32_t* c, const float*) {
                    codes.insert(codes.end(), c, c + count * streams);
                    return true;
                });
                request.codes.assign(codes.end() - streams, codes.end());
                for (Random& r : request.dice)
                    r = Random(r.seed(), r.stream(), r.position() + static_cast<uint64_t>(samples));
            }
            return codes;
        };
        EXPECT_EQ(run(*together), run(*apart)) << apart->description();
        EXPECT_EQ(test::state_difference(apart->state(streams - 1), together->state(streams - 1)), 0);
    }
}

// More groups than multiprocessors: blocks take turns between groups. The same codes everywhere give the same logits.
TEST_P(CudaEnginePresetsOnDevice, ManyStreamsAreManyTimesOne) {
    const RecurrentProgram program = random_program(GetParam(), test::seed());
    const auto one = make(program, WeightFormat::bf16, 1, 1), many = make(program, WeightFormat::bf16, 1100, 4);
    Random random(test::seed(), 8);
    std::vector<float> single(256), all(1100 * 256);
    for (int t = 0; t < 20; ++t) {
        const auto code = static_cast<int32_t>(random.below(256));
        const std::vector<int32_t> codes(1100, code);
        one->advance(&code, single.data());
        many->advance(codes.data(), all.data());
        for (size_t s = 1; s < 1100; ++s)
            ASSERT_TRUE(std::equal(all.begin(), all.begin() + 256, all.begin() + static_cast<int64_t>(256 * s)))
                << "stream " << s << ", sample " << t;
        // Other columns, another order of sums.
        for (size_t i = 0; i < 256; ++i) ASSERT_NEAR(all[i], single[i], 1e-4 * (1 + std::abs(single[i])));
    }
}

// The device draws codes; the same codes go through advance() and the host's sampler, which must have drawn the same
// from the same logits, apart from draws at the very edge between two codes (engine_sampling_test.cpp).
TEST_P(CudaEnginePresetsOnDevice, DrawsWhatTheSamplerDraws) {
    const RecurrentProgram program = random_program(GetParam(), test::seed());
    for (const auto& [streams, per_block] : {std::pair<int64_t, int>{1, 1}, {11, 8}, {300, 2}}) {
        const auto drawing = make(program, WeightFormat::bf16, streams, per_block),
                   plain = make(program, WeightFormat::bf16, streams, per_block);
        const auto width = static_cast<size_t>(streams);
        const SamplingOptions options{0.9, 100, 0.98, test::seed()};
        DrawRequest request;
        request.samples = 200;
        request.ahead = 16;  // the ring runs full
        request.codes.assign(width, 128);
        for (uint64_t s = 0; s < width; ++s) request.dice.emplace_back(options.seed, s);
        request.controls = [&](int64_t) { return DrawControls{options.temperature, options.top_k, options.top_p}; };
        std::vector<int32_t> codes;
        std::vector<float> bits;
        const int64_t drawn = drawing->draw(request, [&](int64_t count, const int32_t* c, const float* b) {
            codes.insert(codes.end(), c, c + count * streams);
            bits.insert(bits.end(), b, b + count * streams);
            return true;
        });
        ASSERT_EQ(drawn, 200);
        ASSERT_EQ(codes.size(), 200 * width);
        std::vector<int32_t> last(width, 128);
        std::vector<float> logits(width * 256);
        Sampler sampler(options);
        int64_t other = 0;
        for (size_t t = 0; t < 200; ++t) {
            plain->advance(last.data(), logits.data());
            for (size_t s = 0; s < width; ++s) {
                const std::span<const float> row(logits.data() + 256 * s, 256);
                const int32_t code = codes[t * width + s];
                other += sampler.draw(row, request.dice[s].uniform()).code != code;
                const double expected = -log2_probability(row, code);
                ASSERT_NEAR(bits[t * width + s], expected, 2e-5 * (1 + expected)) << "stream " << s << " sample " << t;
                last[s] = code;
            }
        }
        EXPECT_LE(other, std::max<int64_t>(1, 200 * streams / 200)) << drawing->description();
        EXPECT_LT(test::state_difference(drawing->state(streams - 1), plain->state(streams - 1)), 1e-6);
    }
}

// Ends in the middle, keeps all streams in step, loses nothing, and goes on as if nothing had happened.
TEST_P(CudaEnginePresetsOnDevice, StopsAndGoesOn) {
    const RecurrentProgram program = random_program(GetParam(), test::seed());
    constexpr int64_t streams = 150;
    const auto whole = make(program, WeightFormat::bf16, streams, 1),
               parts = make(program, WeightFormat::bf16, streams, 1);
    const auto draw = [&](RecurrentEngine& engine, DrawRequest& request, int64_t stop_after,
                          std::vector<int32_t>& codes) {
        int64_t got = 0;
        const auto begin = std::chrono::steady_clock::now();
        auto stopped = begin;
        const int64_t drawn = engine.draw(request, [&](int64_t count, const int32_t* c, const float*) {
            codes.insert(codes.end(), c, c + count * streams);
            got += count;
            stopped = std::chrono::steady_clock::now();
            return got < stop_after;
        });
        EXPECT_EQ(drawn, got);
        request.codes.assign(codes.end() - streams, codes.end());
        for (Random& r : request.dice) r = Random(r.seed(), r.stream(), r.position() + static_cast<uint64_t>(drawn));
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - stopped).count();
    };
    DrawRequest a;
    a.codes.assign(streams, 128);
    for (uint64_t s = 0; s < streams; ++s) a.dice.emplace_back(test::seed(), s);
    a.controls = [](int64_t) { return DrawControls{}; };
    a.ahead = 64;
    DrawRequest b = a;
    std::vector<int32_t> left, right;
    b.samples = 1'000'000'000;
    EXPECT_LT(draw(*parts, b, 100, right), 0.1);  // seconds from the sink's word to the end
    const auto made = static_cast<int64_t>(right.size()) / streams;
    EXPECT_LT(made, 100 + 2 * 64 + 40);
    b.samples = 50;
    draw(*parts, b, 1000, right);
    a.samples = made + 50;
    draw(*whole, a, INT64_MAX, left);
    EXPECT_EQ(left, right);
}

// Temperature 0 takes the likeliest; the change arrives while the launch runs.
TEST_P(CudaEnginePresetsOnDevice, ControlsChangeWhileItDraws) {
    const RecurrentProgram program = random_program(GetParam(), test::seed());
    const auto engine = make(program, WeightFormat::bf16, 1, 1);
    DrawRequest request;
    request.codes = {128};
    request.dice = {Random(test::seed())};
    request.samples = 5000;
    request.ahead = 32;
    double temperature = 50;
    request.controls = [&](int64_t) { return DrawControls{temperature, 0, 1}; };
    std::vector<float> bits;
    engine->draw(request, [&](int64_t count, const int32_t*, const float* b) {
        bits.insert(bits.end(), b, b + count);
        if (bits.size() > 2000) temperature = 0;
        return true;
    });
    const auto mean = [&](size_t begin, size_t end) {
        double sum = 0;
        for (size_t i = begin; i < end; ++i) sum += bits[i];
        return sum / static_cast<double>(end - begin);
    };
    EXPECT_GT(mean(0, 2000), mean(4000, 5000) + 1);
}

TEST_P(CudaEnginePresetsOnDevice, SaysWhenTheOutputIsNotANumber) {
    RecurrentProgram program = random_program(GetParam(), test::seed());
    program.head.bias[3] = NAN;
    const auto engine = make(program, WeightFormat::bf16, 2, 1);
    DrawRequest request;
    request.codes = {1, 2};
    request.dice = {Random(1), Random(2)};
    request.samples = 100;
    request.controls = [](int64_t) { return DrawControls{}; };
    EXPECT_THROW(engine->draw(request, [](int64_t, const int32_t*, const float*) { return true; }), Error);
}

INSTANTIATE_TEST_SUITE_P(Base, CudaEnginePresetsOnDevice,
                         ::testing::Values(test::preset_shape("mamba-s4"), test::preset_shape("mamba-s6"),
                                           test::preset_shape("s4-mlp")),
                         [](const auto& tested) {
                             std::string name = tested.param.name;
                             std::replace(name.begin(), name.end(), '-', '_');
                             return name;
                         });

}  // namespace
}  // namespace nigiri
