#include "model/generator.h"

#include <algorithm>

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

}  // namespace

std::unique_ptr<RecurrentEngine> make_engine(const Network& network, int64_t streams, const EngineChoice& choice) {
    if (!choice.plain && network.backend().name() == "cpu" && network.dtype() == DType::f32)
        return make_cpu_engine(recurrent_program(network),
                               {.streams = streams, .weights = choice.weights, .threads = choice.threads});
    if (choice.weights != WeightFormat::f32)
        throw Error("weights of 16 or 8 bits need the processor's engine", "use --device cpu, or --weights f32");
    return std::make_unique<PlainEngine>(network, streams);
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
        const auto steps = stream->next();
        for (size_t i = 0; i < clips.size(); ++i) {
            Clip& clip = clips[i];
            if (done(clip)) continue;
            clip.codes.resize(static_cast<size_t>(clip.prompt + steps[i].position));
            clip.codes.push_back(static_cast<uint8_t>(steps[i].code));
            clip.log2_likelihood = -steps[i].total_bits;
        }
        for (GuardEvent& e : stream->take_events())
            if (Clip& clip = clips[static_cast<size_t>(e.stream)]; !done(clip)) clip.events.push_back(std::move(e));
        if (progress && !progress(clips)) break;
    }
    return clips;
}

}  // namespace nigiri
