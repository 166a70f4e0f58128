// Generating on the device, through everything that the program uses: clips, prompts, the guard, stopping, speed.
#include "model/generator.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "app/bench_generate.h"
#include "audio/quantize.h"
#include "model/recurrent_program.h"
#include "tests/cuda/support.h"

namespace nigiri {
namespace {

double seconds_since(std::chrono::steady_clock::time_point begin) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

class CudaGenerate : public testing::TestWithParam<std::string> {
  protected:
    void SetUp() override {
        if (!test::cuda_backend()) GTEST_SKIP() << "no CUDA device here";
    }
    static std::unique_ptr<Network> network(const std::shared_ptr<Backend>& backend, const std::string& layer) {
        ModelConfig c = preset_by_name("base").model;
        c.outer = c.centre = layer_by_name(layer);
        return std::make_unique<Network>(backend, c, DType::f32, 3, 1024);
    }
    static GenerationSetup setup(WeightFormat weights) { return {.engine = {.weights = weights}, .guard = {}}; }
};

std::string test_name(const testing::TestParamInfo<std::string>& info) {
    std::string name = info.param;
    std::replace(name.begin(), name.end(), '-', '_');
    return name;
}

INSTANTIATE_TEST_SUITE_P(Base, CudaGenerate, testing::Values("mamba-s4", "mamba-s6", "s4-mlp"), test_name);

// How far `uniform` is from choosing `code`, in probability; 0 where it does.
double distance_to(std::span<const float> logits, int32_t code, double temperature, double uniform) {
    const double peak = *std::max_element(logits.begin(), logits.end());
    std::vector<double> below = {0};
    for (const float x : logits) below.push_back(below.back() + std::exp((x - peak) / temperature));
    const auto at = static_cast<size_t>(code);
    const double from = below[at] / below.back(), to = below[at + 1] / below.back();
    return uniform < from ? from - uniform : uniform > to ? uniform - to : 0;
}

// The same seed, prompt and float32 weights: the same clip, up to a draw that falls on the edge between two codes. From
// there on they are two clips.
TEST_P(CudaGenerate, ClipsAreTheProcessorsUpToDrawsAtTheEdge) {
    SCOPED_TRACE(testing::Message() << "seed " << test::seed());
    const auto cpu = network(make_backend("cpu", 4), GetParam()), cuda = network(test::cuda_backend(), GetParam());
    constexpr int64_t samples = 300;
    constexpr size_t count = 12;
    const SamplingOptions sampling{.temperature = 0.9, .seed = test::seed()};
    Random random(test::seed(), 77);
    std::vector<std::vector<uint8_t>> prompts(count);
    for (auto& p : prompts)
        for (int i = 0; i < 333; ++i) p.push_back(static_cast<uint8_t>(random.below(256)));
    const auto a = generate(*cpu, prompts, samples, sampling, {}, setup(WeightFormat::f32)),
               b = generate(*cuda, prompts, samples, sampling, {}, setup(WeightFormat::f32));
    int64_t alike = 0, whole = 0;
    for (size_t i = 0; i < count; ++i) {
        ASSERT_EQ(b[i].generated(), samples);
        const auto differs = std::mismatch(a[i].codes.begin(), a[i].codes.end(), b[i].codes.begin());
        const int64_t same = differs.first - a[i].codes.begin() - a[i].prompt;
        alike += same;
        if (same == samples) {
            ++whole;
            EXPECT_NEAR(a[i].log2_likelihood, b[i].log2_likelihood, samples * 1e-4);
            continue;
        }
        // The processor's probabilities there.
        const std::vector<uint8_t> known(b[i].codes.begin(), b[i].codes.begin() + a[i].prompt + same);
        NetworkState state = cpu->make_state(1);
        std::vector<int32_t> inputs = {start_code(cpu->config())};
        inputs.insert(inputs.end(), known.begin(), known.end());
        const auto length = static_cast<int64_t>(inputs.size());
        const Tensor tokens = cpu->backend().allocate({1, length}, DType::i32);
        cpu->backend().upload(inputs.data(), tokens);
        std::vector<float> logits(static_cast<size_t>(length) * 256);
        cpu->backend().download(cpu->advance(tokens, state), logits.data());
        const double uniform = Random(sampling.seed, i, static_cast<uint64_t>(same)).uniform();
        // 1e-4 is the bound on log-probabilities, which moves an edge by less than that.
        EXPECT_LT(distance_to(std::span(logits).last(256), *differs.second, sampling.temperature, uniform), 1e-4)
            << "clip " << i << " after " << same << " samples";
    }
    RecordProperty("whole", std::to_string(whole));
    std::cout << GetParam() << ": " << whole << " of " << count << " clips alike as a whole, "
              << 100.0 * static_cast<double>(alike) / (samples * count) << " % of the samples before they part\n";
    EXPECT_GT(alike, samples * static_cast<int64_t>(count) / 2);
}

// The rounding of weights to bfloat16 and the number of streams beside do not change what a seed means on a device.
TEST_P(CudaGenerate, RepeatsItself) {
    const auto n = network(test::cuda_backend(), GetParam());
    EngineReport report;
    GenerationSetup s;
    s.engine.report = [&](const EngineReport& r) { report = r; };
    const auto a = generate(*n, 3, 1500, {}, {.seed = test::seed()}, {}, s),
               b = generate(*n, 3, 1500, {}, {.seed = test::seed()}, {}, s);
    EXPECT_EQ(report.plain_because, "");
    EXPECT_EQ(report.weights, WeightFormat::bf16);
    for (size_t i = 0; i < 3; ++i) EXPECT_EQ(a[i].codes, b[i].codes);
    EXPECT_NE(a[0].codes, a[1].codes);
}

TEST_P(CudaGenerate, StopsWithinATenthOfASecondAndKeepsWhatWasMade) {
    const auto n = network(test::cuda_backend(), GetParam());
    for (const int64_t count : {int64_t{1}, int64_t{200}}) {
        std::atomic<bool> stop{false};
        std::chrono::steady_clock::time_point asked;
        std::jthread hand([&] {
            std::this_thread::sleep_for(std::chrono::milliseconds(300));
            asked = std::chrono::steady_clock::now();
            stop = true;
        });
        const auto clips = generate(*n, count, 100'000'000 / count, {}, {.seed = 1},
                                    [&](const std::vector<Clip>&) { return !stop.load(); });
        hand.join();
        const double seconds = seconds_since(asked);
        std::cout << GetParam() << ": " << count << " streams stopped after " << 1e3 * seconds << " ms, "
                  << clips[0].generated() << " samples\n";
        EXPECT_LT(seconds, 0.1);
        EXPECT_GT(clips[0].generated(), 100);
    }
}

// Streams are saved every second; trouble sends them back, each for itself, the same way twice.
TEST(CudaGuard, GoesBackOnTheDevice) {
    if (!test::cuda_backend()) GTEST_SKIP() << "no CUDA device here";
    ModelConfig c = preset_by_name("tiny").model;
    c.outer = c.centre = layer_by_name("mamba-s4");
    const Network n(test::cuda_backend(), c, DType::f32, 3, 1024);
    GuardOptions guard;
    guard.value = decode_table(Quantization::mu_law);
    guard.expected_bits = 3;  // a network without training makes noise of eight
    guard.attempts = 2;
    const auto make = [&] {
        return generate(n, 3, 20000, {}, {.seed = test::seed()}, {}, {.engine = {}, .guard = guard});
    };
    const auto begin = std::chrono::steady_clock::now();
    const auto a = make();
    std::cout << "3 guarded clips of 1.25 s in " << seconds_since(begin) << " s, " << a[0].events.size()
              << " alarms in the first\n";
    const auto b = make();
    for (size_t i = 0; i < a.size(); ++i) {
        EXPECT_EQ(a[i].codes, b[i].codes);
        ASSERT_FALSE(a[i].events.empty());
        EXPECT_EQ(a[i].events.size(), b[i].events.size());
        EXPECT_EQ(a[i].generated(), 20000);
    }
}

TEST_P(CudaGenerate, FreezesReturnsAndBranches) {
    const auto n = network(test::cuda_backend(), GetParam());
    const auto stream =
        open_stream(*n, std::vector<std::vector<uint8_t>>(1),
                    std::make_shared<SamplingControls>(SamplingOptions{.seed = 7}), setup(WeightFormat::f32));
    const auto draw = [&](int64_t samples) {
        std::vector<int32_t> codes;
        while (static_cast<int64_t>(codes.size()) < samples) {
            const StreamSteps steps = stream->next(samples - static_cast<int64_t>(codes.size()));
            for (int64_t t = 0; t < steps.block.samples; ++t) codes.push_back(steps.block.at(t, 0).code);
        }
        return codes;
    };
    draw(421);
    const FrozenStream frozen = stream->freeze(0);
    const auto went_on = draw(500);
    stream->resume(0, frozen, false);
    const auto again = draw(500);
    stream->resume(0, frozen, true);
    const auto other = draw(500);
    // A state is taken up within rounding (recurrent_engine.h), so a draw at the edge may part them.
    const auto same = std::mismatch(again.begin(), again.end(), went_on.begin()).first - again.begin();
    std::cout << GetParam() << ": the return goes the same way for " << same << " of 500 samples\n";
    EXPECT_GT(same, 50);
    EXPECT_NE(std::vector<int32_t>(other.begin(), other.begin() + 20),
              std::vector<int32_t>(went_on.begin(), went_on.begin() + 20));
}

TEST_P(CudaGenerate, DeclinesWhatItCannot) {
    const auto n = network(test::cuda_backend(), GetParam());
    EXPECT_THROW(make_engine(*n, 1, {.weights = WeightFormat::int8}), Error);
    EngineChoice declined;
    EngineReport report;
    declined.report = [&](const EngineReport& r) { report = r; };
    declined.make = [](const RecurrentProgram&, int64_t, WeightFormat) -> std::unique_ptr<RecurrentEngine> {
        throw Error("this model does not fit");
    };
    const auto clips = generate(*n, 2, 20, {}, {.seed = 4}, {}, {.engine = declined, .guard = {}});
    EXPECT_EQ(clips[1].generated(), 20) << "operation by operation";
    EXPECT_EQ(report.plain_because, "this model does not fit");
    EXPECT_EQ(report.weights, WeightFormat::f32);
}

// Printed only: what it costs to start anew for every block, and what remains in the program's way of it.
TEST(CudaGenerateSpeed, OfBlocksOfDifferentLengths) {
    if (!test::cuda_backend()) GTEST_SKIP() << "no CUDA device here";
    Config config = preset_by_name("base");
    config.model.outer = config.model.centre = layer_by_name("mamba-s6");
    const Network n(test::cuda_backend(), config.model, DType::f32, 3, 1024);
    for (const int64_t streams : {132, 1056}) {
        const auto engine = make_engine(n, streams, {});
        DrawRequest request;
        request.codes.assign(static_cast<size_t>(streams), 128);
        request.controls = [](int64_t) { return DrawControls{}; };
        request.ahead = (1 << 18) / streams;
        uint64_t position = 0;
        for (const int64_t samples : {1000, 50, 100, 200, 400}) {
            const auto begin = std::chrono::steady_clock::now();
            int64_t drawn = 0;
            while (drawn < 1000) {
                request.samples = samples;
                request.dice.clear();
                for (int64_t s = 0; s < streams; ++s) request.dice.emplace_back(1, static_cast<uint64_t>(s), position);
                const int64_t now = engine->draw(request, [&](int64_t count, const int32_t* codes, const float*) {
                    request.codes.assign(codes + (count - 1) * streams, codes + count * streams);
                    return true;
                });
                drawn += now, position += static_cast<uint64_t>(now);
            }
            std::cout << streams << " streams, " << samples
                      << " samples a launch: " << static_cast<double>(drawn) / seconds_since(begin) << " steps/s\n";
        }
        const std::atomic<bool> stop{false};
        const auto speed = app::bench_generate(test::cuda_backend(), config, streams, {}, 1, 0.4, stop);
        std::cout << streams << " streams, as the program does it: " << speed.steps_per_second << " steps/s, "
                  << speed.engine.engine << "\n";
        EXPECT_GT(speed.steps_per_second, 0);
    }
}

}  // namespace
}  // namespace nigiri
