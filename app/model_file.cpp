#include "app/model_file.h"

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

std::string model_name(const fs::path& given) {
    fs::path named = given.lexically_normal();
    if (!named.has_filename()) named = named.parent_path();  // "runs/piano/"
    const fs::path run = named.parent_path().parent_path();
    if (named.parent_path().filename() == "checkpoints" && run.has_filename()) named = run;
    return (named.extension() == ".safetensors" ? named.stem() : named.filename()).string();
}

std::vector<float> waveform(const Clip& clip, const SignalConfig& signal) {
    std::vector<float> samples(clip.codes.size());
    decode(clip.codes, parse_quantization(signal.quantization), samples);
    return samples;
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
