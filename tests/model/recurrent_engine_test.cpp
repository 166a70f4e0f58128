// The processor's engine against the plain recurrent step of the network it was made from.
#include "kernels/recurrent_engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <thread>

#include "model/recurrent_program.h"
#include "tests/audio/allocations.h"
#include "tests/model/networks.h"
#include "tests/support/check.h"

namespace nigiri {
namespace {

using Logits = std::vector<std::vector<float>>;  // of every sample, (streams, vocabulary)
using Codes = std::vector<std::vector<int32_t>>;

Codes random_codes(int64_t samples, int64_t streams, int64_t vocabulary, Random& random) {
    Codes codes(static_cast<size_t>(samples), std::vector<int32_t>(static_cast<size_t>(streams)));
    for (auto& sample : codes)
        for (auto& c : sample) c = static_cast<int32_t>(random.below(static_cast<uint64_t>(vocabulary)));
    return codes;
}

Logits run(RecurrentEngine& engine, std::span<const std::vector<int32_t>> codes) {
    Logits all;
    for (const auto& sample : codes) {
        all.emplace_back(static_cast<size_t>(engine.streams() * engine.vocabulary()));
        engine.advance(sample.data(), all.back().data());
    }
    return all;
}

Logits run(const Network& network, NetworkState& state, std::span<const std::vector<int32_t>> codes) {
    Backend& backend = network.backend();
    Logits all;
    for (const auto& sample : codes) {
        const Tensor tokens = backend.allocate({state.batch, 1}, DType::i32);
        backend.upload(sample.data(), tokens);
        const std::vector<double> out = download_values(backend, network.advance(tokens, state));
        all.emplace_back(out.begin(), out.end());
    }
    return all;
}

std::vector<double> log_probabilities(std::span<const float> logits) {
    double peak = -INFINITY, sum = 0;
    for (const float x : logits) peak = std::max(peak, static_cast<double>(x));
    for (const float x : logits) sum += std::exp(static_cast<double>(x) - peak);
    std::vector<double> out;
    for (const float x : logits) out.push_back(static_cast<double>(x) - peak - std::log(sum));
    return out;
}

// The largest difference of log-probabilities, in nats; NaN counts.
double difference(const Logits& a, const Logits& b, int64_t vocabulary) {
    EXPECT_EQ(a.size(), b.size());
    double worst = 0;
    const auto v = static_cast<size_t>(vocabulary);
    for (size_t t = 0; t < std::min(a.size(), b.size()); ++t)
        for (size_t row = 0; row < a[t].size(); row += v) {
            const auto x = log_probabilities(std::span(a[t]).subspan(row, v)),
                       y = log_probabilities(std::span(b[t]).subspan(row, v));
            for (size_t i = 0; i < v; ++i)
                if (const double d = std::abs(x[i] - y[i]); !(d <= worst)) worst = d;
        }
    return worst;
}

// A stream's part of what an engine of several gave.
Logits of_stream(const Logits& all, size_t stream, int64_t vocabulary) {
    Logits one;
    for (const auto& sample : all) {
        const auto begin = sample.begin() + static_cast<std::ptrdiff_t>(stream) * vocabulary;
        one.emplace_back(begin, begin + vocabulary);
    }
    return one;
}
Codes of_stream(const Codes& all, size_t stream) {
    Codes one;
    for (const auto& sample : all) one.push_back({sample[stream]});
    return one;
}

bool has_s4d(const ModelConfig& c) { return c.outer.ssm.kind == SsmKind::s4d || c.centre.ssm.kind == SsmKind::s4d; }

// Beside every layer, form and variant: pools, widths that fill several cache lines and none, many states.
std::vector<test::NamedModel> engine_models() {
    std::vector<test::NamedModel> models = test::all_models();
    std::erase_if(models, [](const test::NamedModel& m) { return !has_recurrent_program(m.config); });
    const auto add = [&](const std::string& name, const std::string& layer, auto&& change) {
        ModelConfig c = test::small_model(layer_by_name(layer));
        change(c);
        models.push_back({name, c});
    };
    add("pools-16-16", "mamba-s4", [](ModelConfig& c) { c.pools = {16, 16}; });
    add("pools-16-16-unet", "s4-mlp", [](ModelConfig& c) { c.pools = {16, 16}, c.form = UNetForm::unet; });
    add("pools-4-4", "mamba-s6", [](ModelConfig& c) { c.pools = {4, 4}, c.vocabulary = 256, c.width = 32; });
    add("pools-4-4-4-unet", "mamba-s4", [](ModelConfig& c) { c.pools = {4, 4, 4}, c.form = UNetForm::unet; });
    add("pool-2", "mamba-s4", [](ModelConfig& c) { c.pools = {2}; });
    for (const std::string layer : {"mamba-s4", "mamba-s6", "s4-mlp", "mamba-s4-dplr", "mamba-s6-complex"})
        add("width-40-" + layer, layer, [&](ModelConfig& c) {
            const int64_t state = layer_by_name(layer).ssm.state;
            c.width = 40, c.pools = {4, 4}, c.layers = 3, c.vocabulary = 256;
            c.outer.ssm.state = c.centre.ssm.state = state;
        });
    return models;
}

class EveryEngine : public testing::TestWithParam<test::NamedModel> {
  protected:
    std::shared_ptr<Backend> backend = make_backend("cpu");
    const ModelConfig& config = GetParam().config;
    Network network{backend, config, DType::f32, test::seed(), 256};
    RecurrentProgram program = recurrent_program(network);
    Random random{test::seed(), 0x656e67};
    ::testing::ScopedTrace trace{__FILE__, __LINE__, "seed " + std::to_string(test::seed())};

    std::unique_ptr<RecurrentEngine> engine(int64_t streams, int threads = 1, WeightFormat format = WeightFormat::f32) {
        return make_cpu_engine(program, {.streams = streams, .weights = format, .threads = threads});
    }
};

// Both compute in float32 in different orders. Single sums agree to some 1e-6, networks of this size make up to 2e-5 of
// it; 1e-4 nats are less than a hundredth of what sixteen-bit weights change.
constexpr double float32_tolerance = 1e-4;

TEST_P(EveryEngine, AgreesWithThePlainStep) {
    const Codes codes = random_codes(320, 3, config.vocabulary, random);
    NetworkState state = network.make_state(3);
    const Logits plain = run(network, state, codes);
    const auto fast = engine(3);
    const double d = difference(run(*fast, codes), plain, config.vocabulary);
    EXPECT_LT(d, float32_tolerance);
    RecordProperty("difference", std::to_string(d));
}

// Every output is the same chain of operations however the work is cut.
TEST_P(EveryEngine, GivesTheSameBitsOnAnyThreadsAndAmongOtherStreams) {
    const Codes codes = random_codes(100, 5, config.vocabulary, random);
    const Logits one = run(*engine(5), codes);
    for (const int threads : {2, 3}) EXPECT_EQ(run(*engine(5, threads), codes), one) << threads << " threads";
    for (const size_t stream : {size_t{0}, size_t{4}})
        EXPECT_EQ(run(*engine(1, 2), of_stream(codes, stream)), of_stream(one, stream, config.vocabulary))
            << "stream " << stream;
}

// A state leaves and comes back at any position: S4D layers begin a block of samples where it comes back, which rounds
// differently; all others go on with the same bits.
TEST_P(EveryEngine, GoesOnFromItsOwnState) {
    const int64_t samples = 120;
    const Codes codes = random_codes(samples, 1, config.vocabulary, random);
    const auto whole = engine(1);
    const Logits expected = run(*whole, codes);
    const auto first = engine(1);
    const auto span = std::span<const std::vector<int32_t>>(codes);
    for (int64_t at = 0; at < 70; ++at) {
        // All phases of the blocks of 16 samples, then where steps of coarse stages begin and end.
        const int64_t away = at % 16;
        if (at > 17 && away != 0 && away != 3 && away != 15) {
            run(*first, span.subspan(static_cast<size_t>(at), 1));
            continue;
        }
        const StreamState state = first->state(0);
        EXPECT_EQ(state.position, at);
        const auto second = engine(1);
        second->set_state(0, state);
        const auto count = static_cast<size_t>(std::min<int64_t>(35, samples - at)), begin = static_cast<size_t>(at);
        const Logits rest = run(*second, span.subspan(begin, count));
        const Logits wanted(expected.begin() + at, expected.begin() + at + static_cast<std::ptrdiff_t>(count));
        if (has_s4d(config))
            EXPECT_LT(difference(rest, wanted, config.vocabulary), 3e-5) << "from sample " << at;
        else
            EXPECT_EQ(rest, wanted) << "from sample " << at;
        // Reading the state changed nothing.
        EXPECT_EQ(run(*first, span.subspan(begin, 1))[0], expected[begin]);
    }
}

TEST_P(EveryEngine, TakesStatesOfTheNetworkAndGivesThemBack) {
    constexpr int64_t by_engine = 37, after_it = 36;
    const Codes codes = random_codes(150, 2, config.vocabulary, random);
    const auto part = [&](int64_t from, int64_t count) {
        return std::span(codes).subspan(static_cast<size_t>(from), static_cast<size_t>(count));
    };
    const std::vector<int64_t> places = {0, 1, 3, 4, 13, 16, 30, 63, 64, 77};
    NetworkState plain = network.make_state(2);
    Logits all;
    const auto go_to = [&](int64_t place) {
        for (auto& logits : run(network, plain, part(plain.position, place - plain.position)))
            all.push_back(std::move(logits));
    };
    std::vector<std::array<StreamState, 2>> states;
    for (const int64_t at : places) {
        go_to(at);
        states.push_back({stream_state(network, plain, 0), stream_state(network, plain, 1)});
    }
    go_to(150);
    const auto expected = [&](int64_t from, int64_t count) {
        return Logits(all.begin() + from, all.begin() + from + count);
    };
    for (size_t i = 0; i < places.size(); ++i) {
        const int64_t at = places[i], end = at + by_engine;
        const auto fast = engine(2, 2);
        for (const int64_t stream : {0, 1}) fast->set_state(stream, states[i][static_cast<size_t>(stream)]);
        EXPECT_LT(difference(run(*fast, part(at, by_engine)), expected(at, by_engine), config.vocabulary),
                  float32_tolerance);
        NetworkState after = network.make_state(2);
        for (const int64_t stream : {0, 1}) set_network_state(network, after, stream, fast->state(stream));
        EXPECT_EQ(after.position, end);
        EXPECT_LT(difference(run(network, after, part(end, after_it)), expected(end, after_it), config.vocabulary),
                  float32_tolerance);
    }
}

// bf16 keeps eight bits of a weight, int8 with a scale a row about seven. Log-probabilities of these networks move by
// some 1e-2; a mistake in packing moves them by order one.
TEST_P(EveryEngine, RoundsWeightsAsLittleAsItsFormatDoes) {
    const Codes codes = random_codes(64, 3, config.vocabulary, random);
    const Logits exact = run(*engine(3), codes);
    for (const WeightFormat format : {WeightFormat::bf16, WeightFormat::int8}) {
        const Logits rounded = run(*engine(3, 2, format), codes);
        const double d = difference(rounded, exact, config.vocabulary);
        EXPECT_LT(d, 0.25);
        EXPECT_GT(d, 1e-5) << "the weights were not rounded";
        EXPECT_EQ(run(*engine(3, 1, format), codes), rounded);
    }
}

INSTANTIATE_TEST_SUITE_P(Models, EveryEngine, testing::ValuesIn(engine_models()), test::name_of_case);

class Engine : public testing::Test {
  protected:
    static ModelConfig model() {
        ModelConfig c = test::small_model(layer_by_name("mamba-s4"));
        c.pools = {4, 4};
        return c;
    }
    std::shared_ptr<Backend> backend = make_backend("cpu");
    ModelConfig config = model();
    Network network{backend, config, DType::f32, 1, 64};
    RecurrentProgram program = recurrent_program(network);
    std::vector<float> logits = std::vector<float>(64);
};

TEST_F(Engine, SaysWhatItIs) {
    const auto engine = make_cpu_engine(program, {.streams = 2, .weights = WeightFormat::int8, .threads = 2});
    EXPECT_EQ(engine->streams(), 2);
    EXPECT_EQ(engine->vocabulary(), config.vocabulary);
    EXPECT_NE(engine->description().find("2 threads, int8"), std::string::npos) << engine->description();
    const auto wide = make_cpu_engine(program, {.streams = 2, .weights = WeightFormat::f32, .threads = 1});
    EXPECT_GT(wide->weight_bytes(), engine->weight_bytes());
    EXPECT_GE(wide->weight_bytes(), 4 * 2 * static_cast<size_t>(config.width * config.width));
}

TEST_F(Engine, RefusesOptionsOutOfRange) {
    EXPECT_THROW(make_cpu_engine(program, {.streams = 0}), Error);
    EXPECT_THROW(make_cpu_engine(program, {.streams = 1, .weights = WeightFormat::f32, .threads = -1}), Error);
    EXPECT_THROW(make_cpu_engine({}, {}), Error);
    RecurrentProgram broken = program;
    broken.stages[1].pool_up.weight.pop_back();
    EXPECT_THROW(make_cpu_engine(broken, {}), Error);
    broken = program;
    broken.stages[0].up[0].state = 1000;
    EXPECT_THROW(make_cpu_engine(broken, {}), Error);
}

TEST_F(Engine, RefusesCodesOutOfRangeAndChangesNothing) {
    const auto engine = make_cpu_engine(program, {.streams = 2, .weights = WeightFormat::f32, .threads = 2});
    const auto untouched = make_cpu_engine(program, {.streams = 2, .weights = WeightFormat::f32, .threads = 2});
    const std::vector<int32_t> good = {3, 4};
    for (const std::vector<int32_t>& bad : {std::vector<int32_t>{3, -1}, {static_cast<int32_t>(config.vocabulary), 0}})
        EXPECT_THROW(engine->advance(bad.data(), logits.data()), Error);
    EXPECT_EQ(engine->state(0).position, 0);
    EXPECT_EQ(run(*engine, {&good, 1}), run(*untouched, {&good, 1}));
}

TEST_F(Engine, RefusesStatesThatDoNotFit) {
    const auto engine = make_cpu_engine(program, {.streams = 1, .weights = WeightFormat::f32, .threads = 1});
    const StreamState good = engine->state(0);
    const auto refused = [&](auto&& change) {
        StreamState state = good;
        change(state);
        EXPECT_THROW(engine->set_state(0, state), Error);
        NetworkState of_network = network.make_state(1);
        EXPECT_THROW(set_network_state(network, of_network, 0, state), Error);
    };
    refused([](StreamState& s) { s.position = -1; });
    refused([](StreamState& s) { s.blocks.pop_back(); });
    refused([](StreamState& s) { s.blocks[1].ssm.push_back(0); });
    refused([](StreamState& s) { s.blocks[0].conv.clear(); });
    refused([](StreamState& s) { s.down.pop_back(); });
    refused([](StreamState& s) { s.up[1].clear(); });
    EXPECT_THROW(engine->state(1), Error);
    EXPECT_THROW(engine->set_state(-1, good), Error);
    engine->set_state(0, good);
}

// Streams of one engine share the phase of the pools; where one alone has moved, the next sample is refused.
TEST_F(Engine, RefusesStreamsOutOfStep) {
    Random random(test::seed());
    const auto one = make_cpu_engine(program, {.streams = 1, .weights = WeightFormat::f32, .threads = 1});
    const Codes codes = random_codes(64, 1, config.vocabulary, random);
    std::vector<StreamState> states;
    Logits expected;
    for (const auto& sample : codes) {
        states.push_back(one->state(0));
        expected.push_back(run(*one, {&sample, 1})[0]);
    }
    const auto two = make_cpu_engine(program, {.streams = 2, .weights = WeightFormat::f32, .threads = 1});
    const auto next = [&](size_t a, size_t b) {
        const std::vector<int32_t> pair = {codes[a][0], codes[b][0]};
        return run(*two, {&pair, 1})[0];
    };
    two->set_state(0, states[5]);
    EXPECT_THROW(next(5, 0), Error);
    EXPECT_EQ(two->state(1).position, 0);
    two->set_state(1, states[6]);
    EXPECT_THROW(next(5, 6), Error);
    two->set_state(1, states[5 + 16]);  // a whole period later
    const auto close = [&](std::span<const float> a, const std::vector<float>& b) {
        return difference({{a.begin(), a.end()}}, {b}, config.vocabulary) < 3e-5;
    };
    for (size_t i = 0; i < 20; ++i) {
        const std::vector<float> both = next(5 + i, 21 + i);
        EXPECT_TRUE(close(std::span(both).first(11), expected[5 + i])) << i;
        EXPECT_TRUE(close(std::span(both).last(11), expected[21 + i])) << i;
    }
    EXPECT_EQ(two->state(0).position, 25);
    EXPECT_EQ(two->state(1).position, 41);
    two->set_state(0, states[9]);  // back by one period, alone
    const std::vector<float> both = next(9, 41);
    EXPECT_TRUE(close(std::span(both).first(11), expected[9]));
    EXPECT_TRUE(close(std::span(both).last(11), expected[41]));
}

TEST_F(Engine, AllocatesNothingBetweenSamples) {
    for (const std::string layer : {"mamba-s4", "mamba-s6", "s4-mlp", "mamba-s4-dplr"}) {
        ModelConfig c = model();
        c.outer = c.centre = layer_by_name(layer);
        const Network any(backend, c, DType::f32, 1, 64);
        const auto engine =
            make_cpu_engine(recurrent_program(any), {.streams = 2, .weights = WeightFormat::f32, .threads = 2});
        const std::vector<int32_t> codes = {1, 2};
        const auto count = test::allocations_of([&] {
            for (int i = 0; i < 50; ++i) engine->advance(codes.data(), logits.data());
        });
        EXPECT_EQ(count.value_or(0), 0) << layer;
    }
}

// A sleeping team wakes up, and engines end whatever their threads are doing.
TEST_F(Engine, RestsAndEnds) {
    const std::vector<int32_t> code = {1};
    for (int i = 0; i < 20; ++i) {
        const auto engine = make_cpu_engine(program, {.streams = 1, .weights = WeightFormat::f32, .threads = 4});
        if (i % 2) engine->advance(code.data(), logits.data());
        if (i % 4 == 3) std::this_thread::sleep_for(std::chrono::milliseconds(2));
        if (i % 4) engine->advance(code.data(), logits.data());
    }
}

// The preset to play live, long enough for the slowest modes: the step does not drift from the parallel pass.
TEST_F(Engine, StaysWithTheParallelPass) {
    ModelConfig c = preset_by_name("small").model;
    c.layers = 2;
    const Network small(backend, c, DType::f32, 3, 4096);
    const auto engine = make_cpu_engine(recurrent_program(small), {.streams = 1, .weights = WeightFormat::f32});
    Random random(test::seed());
    const int64_t length = 4000;
    const Codes codes = random_codes(length, 1, 256, random);
    const Tensor tokens = backend->allocate({1, length}, DType::i32);
    for (int64_t t = 0; t < length; ++t) test::set(tokens, t, codes[static_cast<size_t>(t)][0]);
    const Tensor parallel = small.logits(tokens);
    Logits expected;
    for (int64_t t = 0; t < length; ++t) {
        const float* row = parallel.view().row<float>(t);
        expected.emplace_back(row, row + 256);
    }
    const Logits got = run(*engine, codes);
    const auto part = [&](const Logits& all, int64_t from) {
        return Logits(all.begin() + from, all.begin() + from + 200);
    };
    EXPECT_LT(difference(got, expected, 256), float32_tolerance);
    EXPECT_LT(difference(part(got, 3800), part(expected, 3800), 256), float32_tolerance);
}

}  // namespace
}  // namespace nigiri
