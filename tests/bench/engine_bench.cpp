// One sample of a whole network: the plain recurrent step, the processor's engine, and the parts of the engine by
// themselves, each run as often as in the network. Names are preset/layer/format/threads/streams.
//   kernels_bench --benchmark_filter=engine/base
#include <map>

#include "kernels/cpu/engine/block.h"
#include "model/recurrent_program.h"
#include "tests/bench/bench.h"

namespace nigiri::bench {
namespace {

constexpr const char* formats[] = {"f32", "bf16", "int8"};

struct Model {
    std::unique_ptr<Network> network;
    RecurrentProgram program;
};

// Made once: benchmarks are run one after the other.
Model& model(const std::string& preset, const std::string& layer) {
    static std::map<std::string, Model> all;
    Model& m = all[preset + layer];
    if (!m.network) {
        ModelConfig config = preset_by_name(preset).model;
        config.outer = config.centre = layer_by_name(layer);
        m.network = std::make_unique<Network>(backend().shared_from_this(), config, DType::f32, 1, 4096);
        m.program = recurrent_program(*m.network);
    }
    return m;
}

void plain(benchmark::State& state, const std::string& preset, const std::string& layer, int64_t streams) {
    const Model& m = model(preset, layer);
    NetworkState network_state = m.network->make_state(streams);
    Random random(3);
    const Tensor codes = tokens({streams, 1}, 256);
    for (int i = 0; i < 64; ++i) m.network->advance(codes, network_state);
    for (auto _ : state) {
        for (int32_t& c : codes.span<int32_t>()) c = static_cast<int32_t>(random.below(256));
        benchmark::DoNotOptimize(m.network->advance(codes, network_state));
    }
    state.SetItemsProcessed(state.iterations() * streams);
}

void engine(benchmark::State& state, const std::string& preset, const std::string& layer, WeightFormat format,
            int threads, int64_t streams) {
    const auto engine =
        make_cpu_engine(model(preset, layer).program, {.streams = streams, .weights = format, .threads = threads});
    Random random(3);
    std::vector<int32_t> codes(static_cast<size_t>(streams));
    std::vector<float> logits(static_cast<size_t>(streams) * 256);
    const auto sample = [&] {
        for (int32_t& c : codes) c = static_cast<int32_t>(random.below(256));
        engine->advance(codes.data(), logits.data());
    };
    for (int i = 0; i < 256; ++i) sample();
    for (auto _ : state) sample();
    state.SetItemsProcessed(state.iterations() * streams);
}

// One kind of work of all blocks, on one thread and one stream: "maps", "state" (state spaces with what they read off
// the input), "conv" and "norm".
void part(benchmark::State& state, const std::string& preset, const std::string& layer, WeightFormat format,
          const std::string& kind) {
    using namespace cpu;
    const RecurrentProgram& program = model(preset, layer).program;
    std::vector<Arena> weights(1);
    Arena other;
    const StepMemory memory{1, 1, format, &weights, &other};
    const auto row = [&](int64_t width) {
        const Rows r{other.allocate<float>(padded(width)), padded(width)};
        Random random(5);
        for (int64_t i = 0; i < width; ++i) r[0][i] = static_cast<float>(random.normal());
        return r;
    };
    struct Work {
        int64_t stride;
        std::function<void(int64_t time)> run;
    };
    std::vector<std::vector<PackedMatrix>> maps;
    std::vector<std::unique_ptr<StateStep>> steps;
    std::vector<ShortConv> convs;
    std::vector<RowNorm> norms;
    std::vector<Work> all;
    maps.reserve(4096), convs.reserve(4096), norms.reserve(4096);  // the work points at them
    int64_t stride = 1, widest = 4096;
    const Rows x = row(widest), y = row(widest), z = row(widest);
    const auto add_map = [&](const LinearMap& map) {
        if (!map || kind != "maps") return;
        const PackedMatrix* m = &maps.emplace_back(pack_shares(map, 1, memory))[0];
        all.push_back({stride, [=](int64_t) { m->multiply(x, y, 1, false); }});
    };
    for (const StageProgram& stage : program.stages) {
        int64_t phase = 0;
        for (const auto* blocks : {&stage.down, &stage.up})
            for (const BlockStep& step : *blocks) {
                add_map(step.in), add_map(step.out);
                if (kind == "norm") {
                    const RowNorm* n = &norms.emplace_back(step.norm, other);
                    all.push_back({stride, [=](int64_t) { n->apply(x[0], y[0]); }});
                }
                if (kind == "conv" && step.kind == BlockStepKind::mamba) {
                    const ShortConv* c = &convs.emplace_back(step, 1, other);
                    const Share share = share_of(step.ssm.channels, Part{}, 1);
                    all.push_back({stride, [=](int64_t t) { c->step(0, t, share, x[0], y[0]); }});
                }
                if (kind == "state" && step.kind != BlockStepKind::mlp) {
                    steps.push_back(step.ssm.kind == StateSpaceKind::s4d  ? make_s4d_step(step.ssm, phase, memory)
                                    : step.ssm.kind == StateSpaceKind::s6 ? make_s6_step(step.ssm, memory)
                                                                          : make_s4_step(step.ssm, memory));
                    StateStep* s = steps.back().get();
                    phase += 2;
                    all.push_back({stride, [=](int64_t t) { s->step({}, t, x, z, y); }});
                }
            }
        if (stage.factor > 0) {
            stride *= stage.factor;
            add_map(stage.pool_down), add_map(stage.pool_up);
        } else {
            stride = 1;
            add_map(program.head);
        }
    }
    int64_t time = 0;
    const auto sample = [&] {
        for (const Work& w : all)
            if (time % w.stride == 0) w.run(time / w.stride);
        ++time;
    };
    for (int i = 0; i < 64; ++i) sample();
    for (auto _ : state) sample();
    state.SetItemsProcessed(state.iterations());
}

const int registered = [] {
    for (const std::string preset : {"small", "base"})
        for (const std::string layer : {"mamba-s4", "mamba-s6", "s4-mlp"}) {
            const std::string name = "engine/" + preset + "/" + layer;
            for (const int64_t streams : {1, 4, 16})
                benchmark::RegisterBenchmark((name + "/plain/" + std::to_string(streams)).c_str(),
                                             [=](benchmark::State& s) { plain(s, preset, layer, streams); })
                    ->UseRealTime();
            for (const int format : {0, 1, 2}) {
                const auto f = static_cast<WeightFormat>(format);
                for (const int threads : {1, 2})
                    for (const int64_t streams : {1, 4, 16})
                        benchmark::RegisterBenchmark(
                            (name + "/" + formats[format] + "/" + std::to_string(threads) + "/" +
                             std::to_string(streams))
                                .c_str(),
                            [=](benchmark::State& s) { engine(s, preset, layer, f, threads, streams); })
                            ->UseRealTime();
                for (const std::string kind : {"maps", "state", "conv", "norm"})
                    if (kind == "maps" || format == 0)
                        benchmark::RegisterBenchmark(
                            ("engine_part/" + preset + "/" + layer + "/" + formats[format] + "/" + kind).c_str(),
                            [=](benchmark::State& s) { part(s, preset, layer, f, kind); })
                            ->UseRealTime();
            }
        }
    return 0;
}();

}  // namespace
}  // namespace nigiri::bench
