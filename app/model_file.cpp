#include "app/model_file.h"

#include <nlohmann/json.hpp>

#include "audio/write.h"

namespace nigiri::app {

namespace fs = std::filesystem;

fs::path model_path(const fs::path& given) {
    std::error_code code;
    if (!fs::exists(given, code))
        throw Error("there is no model " + given.string(), "give a checkpoint or a run folder");
    if (!fs::is_directory(given, code)) return given;
    for (const char* name : {"best.safetensors", "last.safetensors"}) {
        const fs::path path = given / "checkpoints" / name;
        if (fs::exists(path, code)) return path;
    }
    throw Error(given.string() + " is a folder without a trained model",
                "give a checkpoint, or the --run folder of nigiri train");
}

std::vector<float> waveform(const Clip& clip, const SignalConfig& signal) {
    std::vector<float> samples(clip.codes.size());
    decode(clip.codes, parse_quantization(signal.quantization), samples);
    return samples;
}

nlohmann::json clip_facts(const Clip& clip, size_t index, const fs::path& model, const Checkpoint& checkpoint,
                          const SamplingOptions& sampling, const std::string& prompt) {
    return {{"model", model.filename().string()},
            {"layer", layer_name(checkpoint.config().model)},
            {"step", checkpoint.state().step},
            {"seed", sampling.seed},
            {"clip", index},
            {"temperature", sampling.temperature},
            {"top_k", sampling.top_k},
            {"top_p", sampling.top_p},
            {"prompt", prompt},
            {"prompt_samples", clip.prompt},
            {"samples", clip.generated()},
            {"log2_likelihood_per_sample", clip.log2_likelihood_per_sample()}};
}

void write_clip(const fs::path& path, std::span<const float> samples, int rate, const nlohmann::json& facts) {
    const std::string comment = facts.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    write_audio(path, samples, rate, SampleFormat::pcm16,
                {{"software", "nigiri"},
                 {"title", "nigiri, seed " + std::to_string(facts.value("seed", uint64_t{0}))},
                 {"comment", comment}});
}

void write_preview(const Network& network, const Config& config, const fs::path& path, const std::atomic<bool>& stop) {
    const auto samples = static_cast<int64_t>(config.training.preview_seconds * config.signal.sample_rate);
    SamplingOptions sampling;
    sampling.seed = config.training.seed;
    const auto clips =
        generate(network, 1, samples, {}, sampling, [&](const std::vector<Clip>&) { return !stop.load(); });
    if (stop.load()) return;  // half a preview could not be compared with the others
    fs::create_directories(path.parent_path());
    write_audio(path, waveform(clips[0], config.signal), config.signal.sample_rate, SampleFormat::pcm16,
                {{"software", "nigiri"}, {"comment", "preview, seed " + std::to_string(sampling.seed)}});
}

}  // namespace nigiri::app
