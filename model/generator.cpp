#include "model/generator.h"

#include <algorithm>

#include "kernels/random.h"

namespace nigiri {

std::vector<Clip> generate(const Network& network, int64_t count, int64_t samples, std::span<const uint8_t> prompt,
                           const SamplingOptions& options, const GenerationProgress& progress) {
    const std::vector<std::vector<uint8_t>> prompts(static_cast<size_t>(std::max<int64_t>(0, count)),
                                                    {prompt.begin(), prompt.end()});
    return generate(network, prompts, samples, options, progress);
}

std::vector<Clip> generate(const Network& network, std::span<const std::vector<uint8_t>> prompts, int64_t samples,
                           const SamplingOptions& options, const GenerationProgress& progress) {
    validate(options);
    const auto count = static_cast<int64_t>(prompts.size());
    const int64_t vocabulary = network.config().vocabulary;
    if (vocabulary != 256)
        throw Error("generation needs a model of 256 codes, this one has " + std::to_string(vocabulary));
    if (network.dtype() != DType::f32) throw Error("generation runs in float32");
    if (count < 1 || samples < 0) throw Error("generation needs at least one clip of at least no samples");
    const size_t prompt_length = prompts[0].size();
    for (const auto& prompt : prompts)
        if (prompt.size() != prompt_length) throw Error("prompts of clips made together must be equally long");
    Backend& backend = network.backend();

    std::vector<Clip> clips(static_cast<size_t>(count));
    std::vector<Random> random;
    for (size_t i = 0; i < clips.size(); ++i) {
        clips[i].codes.reserve(prompt_length + static_cast<size_t>(samples));
        clips[i].codes.assign(prompts[i].begin(), prompts[i].end());
        clips[i].prompt = static_cast<int64_t>(prompt_length);
        random.emplace_back(options.seed, i);
    }
    if (samples == 0) return clips;

    // The prompt, in pieces that bound the memory; the last piece's last logits predict the first new sample.
    NetworkState state = network.make_state(count);
    constexpr int64_t piece = 4096;
    std::vector<int32_t> host(static_cast<size_t>(count) * piece);
    std::vector<float> logits(static_cast<size_t>(count * vocabulary));
    const int64_t known = static_cast<int64_t>(prompt_length) + 1;  // the start code, then the prompt
    for (int64_t at = 0; at < known; at += piece) {
        const int64_t length = std::min(piece, known - at);
        for (int64_t b = 0; b < count; ++b)
            for (int64_t t = 0; t < length; ++t)
                host[static_cast<size_t>(b * length + t)] =
                    at + t == 0 ? start_code(network.config())
                                : prompts[static_cast<size_t>(b)][static_cast<size_t>(at + t - 1)];
        const Tensor tokens = backend.allocate({count, length}, DType::i32);
        backend.upload(host.data(), tokens);
        const Tensor out = network.advance(tokens, state);
        const Tensor last = backend.allocate({count, vocabulary}, DType::f32);
        backend.copy({.x = out.reshaped({count, length * vocabulary}).columns((length - 1) * vocabulary, vocabulary),
                      .y = last});
        backend.download(last, logits.data());
    }

    Sampler sampler(options);
    const Tensor tokens = backend.allocate({count, 1}, DType::i32);
    for (int64_t t = 0; t < samples; ++t) {
        for (size_t b = 0; b < clips.size(); ++b) {
            const auto draw =
                sampler.draw({logits.data() + b * static_cast<size_t>(vocabulary), static_cast<size_t>(vocabulary)},
                             random[b].uniform());
            clips[b].codes.push_back(static_cast<uint8_t>(draw.code));
            clips[b].log2_likelihood += draw.log2_probability;
            host[b] = draw.code;
        }
        if (progress && !progress(clips)) break;
        if (t + 1 == samples) break;
        backend.upload(host.data(), tokens);
        backend.download(network.advance(tokens, state), logits.data());
    }
    return clips;
}

}  // namespace nigiri
