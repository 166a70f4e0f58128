#include "model/generator.h"

#include <algorithm>
#include <array>

#include "model/plain_engine.h"
#include "model/recurrent_program.h"

namespace nigiri {

namespace {

// Tokens of the parallel pass at a time, of all streams together: bounds the memory, and how long giving up takes.
constexpr int64_t prompt_piece = 2048;

void check(const Network& network, std::span<const std::vector<uint8_t>> prompts) {
    const int64_t vocabulary = network.config().vocabulary;
    if (vocabulary != 256)
        throw Error("generation needs a model of 256 codes, this one has " + std::to_string(vocabulary));
    if (network.dtype() != DType::f32) throw Error("generation runs in float32");
    if (prompts.empty()) throw Error("generation needs at least one clip of at least no samples");
    for (const auto& prompt : prompts)
        if (prompt.size() != prompts[0].size()) throw Error("prompts of clips made together must be equally long");
}

// The start code and all of the prompts but their last codes, which the streams take in themselves. Returns false where
// it was given up.
bool take_in(const Network& network, std::span<const std::vector<uint8_t>> prompts, NetworkState& state,
             const KeepOn& keep_on) {
    Backend& backend = network.backend();
    const auto count = static_cast<int64_t>(prompts.size()), known = static_cast<int64_t>(prompts[0].size());
    const int64_t unit = network.config().pool_product();
    const int64_t piece = std::max<int64_t>(1, prompt_piece / count / unit) * unit;
    std::vector<int32_t> host;
    for (int64_t at = 0; at < known; at += piece) {
        if (keep_on && !keep_on()) return false;
        const int64_t length = std::min(piece, known - at);
        host.clear();
        for (const auto& prompt : prompts)
            for (int64_t t = at; t < at + length; ++t)
                host.push_back(t == 0 ? start_code(network.config()) : prompt[static_cast<size_t>(t - 1)]);
        const Tensor tokens = backend.allocate({count, length}, DType::i32);
        backend.upload(host.data(), tokens);
        network.advance(tokens, state);
    }
    return true;
}

// As many streams a block as the engine thinks best, or, where so many do not fit, fewer.
std::unique_ptr<RecurrentEngine> cuda_engine(const RecurrentProgram& program, int64_t streams, WeightFormat weights) {
    CudaEngineOptions options{.streams = streams, .weights = weights};
    for (const int fewer : {4, 2, 1}) {
        try {
            return make_cuda_engine(program, options);
        } catch (const Error&) {
            if (streams == 1) throw;
            options.streams_per_block = fewer;
        }
    }
    return make_cuda_engine(program, options);
}

// Throws Error where the device has no engine for this network.
std::unique_ptr<RecurrentEngine> device_engine(const Network& network, int64_t streams, WeightFormat weights,
                                               const EngineChoice& choice) {
    const RecurrentProgram program = recurrent_program(network);
    if (choice.make) return choice.make(program, streams, weights);
    if (network.backend().name() == "cuda") return cuda_engine(program, streams, weights);
    return make_cpu_engine(program, {.streams = streams, .weights = weights, .threads = choice.threads});
}

// What the streams have drawn. Clips that are complete wait for the others.
void append(std::vector<Clip>& clips, const StreamSteps& steps, int64_t samples) {
    constexpr size_t tile = 16;  // streams beside each other in a line of the block
    std::array<uint8_t*, tile> end{};
    const int64_t count = steps.block.samples;
    for (size_t first = 0; first < clips.size(); first += tile) {
        const size_t last = std::min(clips.size(), first + tile);
        for (size_t i = first; i < last; ++i) {
            Clip& clip = clips[i];
            end[i - first] = nullptr;
            clip.fresh = clip.generated() == samples ? 0 : count;
            if (clip.fresh == 0) continue;
            clip.codes.resize(static_cast<size_t>(clip.prompt + steps.positions[i] + count));
            clip.log2_likelihood = -steps.total_bits[i];
            end[i - first] = clip.codes.data() + clip.codes.size();
        }
        for (int64_t t = 0; t < count; ++t)
            for (size_t i = first; i < last; ++i)
                if (end[i - first])
                    end[i - first][t - count] = static_cast<uint8_t>(steps.block.at(t, static_cast<int64_t>(i)).code);
    }
}

}  // namespace

std::unique_ptr<RecurrentEngine> make_engine(const Network& network, int64_t streams, const EngineChoice& choice) {
    if (network.dtype() != DType::f32) throw Error("generation runs in float32");
    const bool cuda = network.backend().name() == "cuda";
    EngineReport report;
    report.weights = choice.weights.value_or(cuda && !choice.plain ? WeightFormat::bf16 : WeightFormat::f32);
    if (cuda && report.weights == WeightFormat::int8)
        throw Error("weights of 8 bits need the processor's engine", "use --weights bf16 or f32, or --device cpu");
    std::unique_ptr<RecurrentEngine> engine;
    const bool known = has_recurrent_program(network.config());
    if (!choice.plain && !known) report.plain_because = "no engine knows the layer " + layer_name(network.config());
    try {
        if (!choice.plain && known) engine = device_engine(network, streams, report.weights, choice);
    } catch (const Error& e) {
        if (!cuda && !choice.make) throw;  // the processor's runs all there is
        report.plain_because = e.what();
    }
    if (!engine) {
        const std::string why = report.plain_because.empty() ? "" : ": " + report.plain_because;
        if (choice.weights.value_or(WeightFormat::f32) != WeightFormat::f32)
            throw Error("weights of 16 or 8 bits need an engine" + why, "use --weights f32");
        report.weights = WeightFormat::f32;
        engine = std::make_unique<PlainEngine>(network, streams);
    }
    report.engine = engine->description();
    if (choice.report) choice.report(report);
    return engine;
}

std::unique_ptr<GuardedStream> open_stream(const Network& network, std::span<const std::vector<uint8_t>> prompts,
                                           std::shared_ptr<const SamplingControls> controls,
                                           const GenerationSetup& setup, const KeepOn& keep_on) {
    check(network, prompts);
    const auto count = static_cast<int64_t>(prompts.size());
    auto engine = make_engine(network, count, setup.engine);
    if (!prompts[0].empty()) {
        NetworkState state = network.make_state(count);
        if (!take_in(network, prompts, state, keep_on)) return nullptr;
        for (int64_t i = 0; i < count; ++i) engine->set_state(i, stream_state(network, state, i));
    }
    auto stream = std::make_unique<Stream>(std::move(engine), std::move(controls), start_code(network.config()));
    if (!prompts[0].empty())
        for (int64_t i = 0; i < count; ++i) stream->set_code(i, prompts[static_cast<size_t>(i)].back());
    std::optional<GuardOptions> guard = setup.guard;
    if (guard) guard->period = network.config().pool_product();
    auto guarded = std::make_unique<GuardedStream>(std::move(stream), std::move(guard));
    for (int64_t i = 0; i < count; ++i) guarded->hear(i, prompts[static_cast<size_t>(i)]);
    return guarded;
}

std::vector<Clip> generate(const Network& network, int64_t count, int64_t samples, std::span<const uint8_t> prompt,
                           const SamplingOptions& options, const GenerationProgress& progress,
                           const GenerationSetup& setup) {
    const std::vector<std::vector<uint8_t>> prompts(static_cast<size_t>(std::max<int64_t>(0, count)),
                                                    {prompt.begin(), prompt.end()});
    return generate(network, prompts, samples, options, progress, setup);
}

std::vector<Clip> generate(const Network& network, std::span<const std::vector<uint8_t>> prompts, int64_t samples,
                           const SamplingOptions& options, const GenerationProgress& progress,
                           const GenerationSetup& setup) {
    if (samples < 0) throw Error("generation needs at least one clip of at least no samples");
    std::vector<Clip> clips(prompts.size());
    for (size_t i = 0; i < clips.size(); ++i) {
        clips[i].codes.reserve(prompts[i].size() + static_cast<size_t>(samples));
        clips[i].codes = prompts[i];
        clips[i].prompt = static_cast<int64_t>(prompts[i].size());
    }
    const auto stream = open_stream(network, prompts, std::make_shared<SamplingControls>(options), setup,
                                    [&] { return !progress || progress(clips); });
    if (!stream) return clips;

    // A stream that went back is behind the others; those that are done wait for it.
    const auto done = [&](const Clip& c) { return c.generated() == samples; };
    while (!std::all_of(clips.begin(), clips.end(), done)) {
        int64_t most = samples;
        for (const Clip& c : clips)
            if (!done(c)) most = std::min(most, samples - c.generated());
        try {
            append(clips, stream->next(most), samples);
        } catch (const Error&) {
            if (setup.rescue && clips[0].generated() > 0) setup.rescue(clips);
            throw;
        }
        for (GuardEvent& e : stream->take_events())
            if (Clip& clip = clips[static_cast<size_t>(e.stream)]; !done(clip)) clip.events.push_back(std::move(e));
        if (progress && !progress(clips)) break;
    }
    for (Clip& c : clips) c.fresh = 0;
    return clips;
}

}  // namespace nigiri
