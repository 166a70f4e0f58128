// The CUDA engine's phases on the host (tests/support/emulated_engine.h): the same indices and the same order of
// arithmetic as on the device, apart from the special function unit's last bits and the order of sums in its products.
#include <gtest/gtest.h>

#include "kernels/cuda/engine/host_lanes.h"

#include "kernels/cuda/engine/sampling.h"
#include "kernels/half.h"
#include "tests/support/check.h"
#include "tests/support/emulated_engine.h"
#include "tests/support/engine_compare.h"
#include "tests/support/recurrent_programs.h"

namespace nigiri {
namespace {

using test::EmulatedEngine;
using test::ProgramShape;
using test::random_program;
using test::RecurrentReference;

// Float32 sums differ by some 1e-6 from float64 ones; the project's bound for engines in float32 is 1e-4.
constexpr double engine_tolerance = 5e-5;

ProgramShape shape_named(const std::string& name) {
    for (const ProgramShape& s : test::odd_programs())
        if (s.name == name) return s;
    throw Error("no program " + name);
}

std::string identifier(std::string name) {
    std::replace(name.begin(), name.end(), '-', '_');
    return name;
}

class CudaEnginePhases : public ::testing::TestWithParam<ProgramShape> {};

// 26 samples complete blocks of the outer stage's S4D layers and three of the coarsest steps. Streams stand differently
// in a block of each size; the last group is not full.
TEST_P(CudaEnginePhases, GiveTheReferencesLogProbabilities) {
    SCOPED_TRACE(testing::Message() << "seed " << test::seed());
    const RecurrentProgram program = random_program(GetParam(), test::seed());
    const int other = 2 << (GetParam().name.size() % 3);
    for (const int per_group : {1, other}) {
        EmulatedEngine engine(program, WeightFormat::f32, per_group == 1 ? 1 : per_group + 1, per_group);
        EXPECT_LT(test::compare(engine, program, 26, test::seed()), engine_tolerance) << per_group << " a group";
    }
}

// What a warp may not see before the next barrier is there in one of the two orders.
TEST_P(CudaEnginePhases, DoNotDependOnTheOrderOfWarps) {
    const RecurrentProgram program = random_program(GetParam(), test::seed());
    EmulatedEngine forwards(program, WeightFormat::bf16, 2, 2), backwards(program, WeightFormat::bf16, 2, 2, true);
    const auto vocabulary = static_cast<size_t>(program.vocabulary);
    std::vector<float> a(2 * vocabulary), b = a;
    for (int32_t t = 0; t < 18; ++t) {
        const int32_t codes[] = {t % 11, (3 * t + 1) % 11};
        forwards.advance(codes, a.data());
        backwards.advance(codes, b.data());
        ASSERT_EQ(a, b) << "sample " << t << ", seed " << test::seed();
    }
}

// The state of the reference in the middle of blocks and coarse steps goes in; the engine goes on like the reference,
// and gives the reference's state back.
TEST_P(CudaEnginePhases, TakeAndGiveStates) {
    SCOPED_TRACE(testing::Message() << "seed " << test::seed());
    const RecurrentProgram program = random_program(GetParam(), test::seed());
    Random random(test::seed(), 5);
    std::vector<RecurrentReference> judges(2, RecurrentReference(program));
    for (int t = 0; t < 45; ++t)
        for (auto& judge : judges) judge.step(static_cast<int32_t>(random.below(11)));
    EmulatedEngine engine(program, WeightFormat::f32, 2, 2);
    for (size_t s = 0; s < 2; ++s) engine.set_state(static_cast<int64_t>(s), judges[s].state());
    EXPECT_LT(test::compare(engine, judges, 7, random), engine_tolerance);
    // States are float32: 6e-8 a step, over the steps that a state remembers.
    for (size_t s = 0; s < 2; ++s)
        EXPECT_LT(test::state_difference(engine.state(static_cast<int64_t>(s)), judges[s].state()), 2e-5);
    EXPECT_LT(test::compare(engine, judges, 12, random), engine_tolerance);
}

INSTANTIATE_TEST_SUITE_P(Odd, CudaEnginePhases, ::testing::ValuesIn(test::odd_programs()),
                         [](const auto& tested) { return identifier(tested.param.name); });

// All stages complete blocks of their S4D layers: the coarsest step is eight samples.
TEST(CudaEngine, FollowsTheReferenceForLong) {
    const RecurrentProgram program = random_program(shape_named("mamba-s4"), test::seed());
    EmulatedEngine engine(program, WeightFormat::f32, 1, 1);
    EXPECT_LT(test::compare(engine, program, 300, test::seed()), engine_tolerance) << "seed " << test::seed();
}

class CudaEnginePresets : public ::testing::TestWithParam<std::string> {};

TEST_P(CudaEnginePresets, GiveTheReferencesLogProbabilities) {
    const RecurrentProgram program = random_program(test::preset_shape(GetParam(), 64, 2), test::seed());
    EmulatedEngine engine(program, WeightFormat::f32, 1, 1);
    EXPECT_LT(test::compare(engine, program, 18, test::seed()), engine_tolerance) << "seed " << test::seed();
}

INSTANTIATE_TEST_SUITE_P(Base, CudaEnginePresets, ::testing::Values("mamba-s4", "mamba-s6", "s4-mlp"),
                         [](const auto& tested) { return identifier(tested.param); });

// A program whose matrices hold bfloat16 numbers, and whose norms do not scale them, loses in bf16 what the inputs of
// products lose, of which 16 bits stay: 8e-6 a product, against 2e-3 of a weight that is rounded.
TEST(CudaEngine, RoundsLittleButWeightsInBf16) {
    constexpr double bound = 3e-4;
    for (const char* name : {"mamba-s4", "mamba-s6", "s4-mlp"}) {
        RecurrentProgram program = random_program(shape_named(name), test::seed());
        const auto round = [](LinearMap& m) {
            for (float& w : m.weight) w = static_cast<float>(BFloat16(w));
        };
        const auto even = [](NormMap& n) { std::fill(n.weight.begin(), n.weight.end(), 1.0f); };
        even(program.norm), round(program.head);
        for (StageProgram& s : program.stages) {
            round(s.pool_down), round(s.pool_up);
            for (auto* blocks : {&s.down, &s.up})
                for (BlockStep& b : *blocks) even(b.norm), round(b.in), round(b.out), round(b.ssm.x_proj);
        }
        EmulatedEngine engine(program, WeightFormat::bf16, 4, 4);
        EXPECT_LT(test::compare(engine, program, 20, test::seed()), bound) << name << ", seed " << test::seed();
    }
}

// The mean is taken out of products, not of their inputs: float32 loses as many bits as the mean is larger than what
// varies about it. 20 times is more than residual streams show.
TEST(CudaEngine, BearsAResidualStreamFarFromZero) {
    for (const char* name : {"mamba-s6", "s4-mlp"}) {
        RecurrentProgram program = random_program(shape_named(name), test::seed());
        for (float& x : program.embedding) x += 20;
        EmulatedEngine engine(program, WeightFormat::f32, 1, 1);
        EXPECT_LT(test::compare(engine, program, 20, test::seed()), 1e-4) << name << ", seed " << test::seed();
    }
}

// A stream goes back by whole periods, here one that is no multiple of an S4D block, while the others go on.
TEST(CudaEngine, SetsOneStreamWhileOthersGoOn) {
    const RecurrentProgram program = random_program(shape_named("mamba-s4"), test::seed());
    EmulatedEngine engine(program, WeightFormat::f32, 3, 2);
    Random random(test::seed(), 9);
    std::vector<RecurrentReference> judges(3, RecurrentReference(program));
    EXPECT_LT(test::compare(engine, judges, 11, random), engine_tolerance);
    const StreamState kept = engine.state(1);
    const RecurrentReference then = judges[1];
    EXPECT_EQ(kept.position, 11);
    EXPECT_LT(test::compare(engine, judges, 24, random), engine_tolerance);  // three periods of eight
    engine.set_state(1, kept);
    judges[1] = then;
    EXPECT_EQ(engine.state(1).position, 11);
    EXPECT_LT(test::compare(engine, judges, 20, random), engine_tolerance);
    EXPECT_EQ(engine.state(1).position, 31);
    EXPECT_EQ(engine.state(0).position, 55);
}

TEST(CudaEngine, RefusesWhatDoesNotFit) {
    const RecurrentProgram program = random_program(shape_named("mamba-s4"), test::seed());
    EmulatedEngine engine(program, WeightFormat::f32, 2, 2);
    std::vector<float> logits(22);
    const int32_t bad[] = {3, 11}, good[] = {3, 10};
    EXPECT_THROW(engine.advance(bad, logits.data()), Error);
    EXPECT_EQ(engine.state(0).position, 0);
    engine.advance(good, logits.data());
    EXPECT_THROW(engine.state(2), Error);
    StreamState state = engine.state(0);
    state.position += 3;
    engine.set_state(0, state);
    EXPECT_THROW(engine.advance(good, logits.data()), Error);  // stream 1 stands elsewhere
    state.position += 8;
    engine.set_state(1, state);
    engine.advance(good, logits.data());
    state.blocks[0].ssm.pop_back();
    EXPECT_THROW(engine.set_state(0, state), Error);
    const auto make = [&](const RecurrentProgram& p, WeightFormat format, int per_group) {
        EmulatedEngine(p, format, 1, per_group);
    };
    EXPECT_THROW(make(program, WeightFormat::int8, 1), Error);
    EXPECT_THROW(make(program, WeightFormat::bf16, 3), Error);
    RecurrentProgram broken = program;
    broken.stages[0].up[0].in.weight.pop_back();
    EXPECT_THROW(make(broken, WeightFormat::bf16, 1), Error);
    broken = program;
    broken.stages[1].up.clear();
    EXPECT_THROW(make(broken, WeightFormat::bf16, 1), Error);
    RecurrentProgram wide = random_program(
        [] {
            ProgramShape s;
            s.width = 4096, s.layers = 1, s.states = 1, s.expand = 1, s.pools = {};
            return s;
        }(),
        test::seed());
    EXPECT_THROW(make(wide, WeightFormat::bf16, 8), Error);  // no block has so much memory
}

TEST(CudaEngine, HasTheSameUniformNumbers) {
    Random random(0x123456789abcdefull, 0xfedcba987654321ull, (uint64_t{1} << 32) - 2);
    for (uint64_t i = 0; i < 5; ++i)
        EXPECT_EQ(cuda::engine::random_uniform(random.seed(), random.stream(), (uint64_t{1} << 32) - 2 + i),
                  random.uniform());
}

}  // namespace
}  // namespace nigiri
