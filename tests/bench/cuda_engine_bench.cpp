// Drawing on the GPU: steps a second of each stream and samples a second in all, beside the published code's, with
// networks of the presets' sizes and random weights.
//   cuda_engine_bench                                    the table
//   cuda_engine_bench base mamba-s4 STREAMS PER_BLOCK together|apart|fits [SAMPLES]   one row; PER_BLOCK 0: as fits
//   cuda_engine_bench phases base mamba-s4 STREAMS PER_BLOCK together|apart|fits     cycles of each phase, as the first
//                                                                                   blocks see them
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "kernels/cuda/engine/diagnosis.h"
#include "kernels/recurrent_engine.h"
#include "tests/support/recurrent_programs.h"

namespace nigiri {
namespace {

// Samples a second in all, H100, the published code captured in a CUDA graph (width 64, 8 layers a stage).
double published(const std::string& size, const std::string& layer, int64_t streams) {
    if (size != "base") return 0;
    const std::map<std::pair<std::string, int64_t>, double> all = {
        {{"s4-mlp", 1}, 2715},   {{"s4-mlp", 528}, 599e3},   {{"s4-mlp", 4096}, 1.10e6},
        {{"mamba-s6", 1}, 3244}, {{"mamba-s6", 528}, 744e3}, {{"mamba-s6", 4096}, 2.28e6}};
    const auto found = all.find({layer, streams});
    return found == all.end() ? 0 : found->second;
}

RecurrentProgram program_of(const std::string& size, const std::string& layer) {
    return test::random_program(size == "small" ? test::preset_shape(layer, 32, 4) : test::preset_shape(layer), 1);
}

DrawRequest request_of(int64_t streams, int64_t samples) {
    DrawRequest r;
    r.samples = samples;
    r.codes.assign(static_cast<size_t>(streams), 128);
    for (int64_t s = 0; s < streams; ++s) r.dice.emplace_back(1, static_cast<uint64_t>(s));
    r.controls = [](int64_t) { return DrawControls{}; };
    return r;
}

// Steps a second: the median of three runs after one that warms up.
double steps_per_second(RecurrentEngine& engine, int64_t samples) {
    std::vector<double> rates;
    for (int i = 0; i < 4; ++i) {
        const DrawRequest request = request_of(engine.streams(), i == 0 ? samples / 8 + 1 : samples);
        const auto begin = std::chrono::steady_clock::now();
        engine.draw(request, [](int64_t, const int32_t*, const float*) { return true; });
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        if (i > 0) rates.push_back(static_cast<double>(request.samples) / seconds);
    }
    std::sort(rates.begin(), rates.end());
    return rates[1];
}

using Stages = CudaEngineOptions::Stages;

Stages stages_named(const char* name) {
    return std::strcmp(name, "together") == 0 ? Stages::together
         : std::strcmp(name, "apart") == 0    ? Stages::apart
                                              : Stages::as_fits;
}

void row(const std::string& size, const std::string& layer, int64_t streams, int per_block, Stages stages,
         int64_t samples) {
    const auto engine = make_cuda_engine(program_of(size, layer),
                                         {.streams = streams, .streams_per_block = per_block, .stages = stages});
    const double steps = steps_per_second(*engine, samples), total = steps * static_cast<double>(streams);
    const double other = published(size, layer, streams);
    std::printf("%-6s %-9s %5ld | %9.0f steps/s  %8.3f M samples/s  %6.2f us a step |", size.c_str(), layer.c_str(),
                static_cast<long>(streams), steps, total * 1e-6, 1e6 / steps);
    if (other > 0) std::printf(" x %.1f", total / other);
    std::printf("  (%s)\n", engine->description().c_str());
    std::fflush(stdout);
}

void phases(const std::string& size, const std::string& layer, int64_t streams, int per_block, Stages stages) {
    const auto engine = make_cuda_engine(program_of(size, layer),
                                         {.streams = streams, .streams_per_block = per_block, .stages = stages});
    engine->draw(request_of(streams, 1600), [](int64_t, const int32_t*, const float*) { return true; });
    std::printf("%s %s, %s: cycles a sample\n", size.c_str(), layer.c_str(), engine->description().c_str());
    for (const auto& [name, cycles] : cuda::engine::phase_cycles(*engine, request_of(streams, 1600)))
        std::printf("  %-34s %9.1f\n", name.c_str(), cycles);
}

int run(int argc, char** argv) {
    if (argc >= 7 && std::strcmp(argv[1], "phases") == 0) {
        phases(argv[2], argv[3], std::atol(argv[4]), std::atoi(argv[5]), stages_named(argv[6]));
        return 0;
    }
    if (argc >= 6) {
        row(argv[1], argv[2], std::atol(argv[3]), std::atoi(argv[4]), stages_named(argv[5]),
            argc > 6 ? std::atol(argv[6]) : 4096);
        return 0;
    }
    std::printf("ratios: the published code captured in a CUDA graph, on an H100 (512 streams beside our 528)\n");
    for (const std::string size : {"base", "small"})
        for (const std::string layer : {"mamba-s4", "mamba-s6", "s4-mlp"})
            for (const int64_t streams : {1, 132, 528, 1056, 4096})
                row(size, layer, streams, 0, Stages::as_fits, streams == 1 ? 32768 : streams < 1000 ? 4096 : 1024);
    return 0;
}

}  // namespace
}  // namespace nigiri

int main(int argc, char** argv) {
    try {
        return nigiri::run(argc, argv);
    } catch (const std::exception& e) {
        std::fprintf(stderr, "error: %s\n", e.what());
        return 1;
    }
}
