#include "app/clips.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "app/write_file.h"
#include "audio/quantize.h"

namespace nigiri::app {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

// A sidecar of a clip has some hundred bytes; what is far larger is something else.
constexpr uintmax_t largest_sidecar = 1 << 20;

fs::path sidecar_of(fs::path path) { return path += ".json"; }

void stretch_to_full_scale(std::vector<float>& samples) {
    if (samples.empty()) return;
    const auto [low, high] = std::minmax_element(samples.begin(), samples.end());
    const float from = *low, range = *high - *low + 1e-6f;
    for (float& x : samples) x = 2 * (x - from) / range - 1;
}

}  // namespace

ClipSettings clip_settings(const fs::path& model, const Config& config, int64_t step, const SamplingOptions& sampling,
                           const std::string& prompt) {
    return {.model = model.filename().string(),
            .layer = layer_name(config.model),
            .step = step,
            .sampling = sampling,
            .prompt = prompt};
}

std::vector<uint8_t> prompt_codes(std::vector<float> samples, const SignalConfig& signal) {
    if (parse_scaling(signal.scaling) == Scaling::segment_minmax) stretch_to_full_scale(samples);
    std::vector<uint8_t> codes(samples.size());
    encode(samples, parse_quantization(signal.quantization), codes);
    return codes;
}

std::vector<size_t> by_likelihood(const std::vector<Clip>& clips) {
    std::vector<size_t> order(clips.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
        return clips[a].log2_likelihood_per_sample() > clips[b].log2_likelihood_per_sample();
    });
    return order;
}

json clip_facts(const Clip& clip, size_t index, const ClipSettings& settings) {
    return {{"model", settings.model},
            {"layer", settings.layer},
            {"step", settings.step},
            {"seed", settings.sampling.seed},
            {"clip", index},
            {"temperature", settings.sampling.temperature},
            {"top_k", settings.sampling.top_k},
            {"top_p", settings.sampling.top_p},
            {"prompt", settings.prompt},
            {"prompt_samples", clip.prompt},
            {"samples", clip.generated()},
            {"log2_likelihood_per_sample", clip.log2_likelihood_per_sample()}};
}

void write_clip(const fs::path& path, std::span<const float> samples, int rate, const json& facts,
                SampleFormat format) {
    const auto text = [&](int indent) { return facts.dump(indent, ' ', false, json::error_handler_t::replace); };
    Tags tags = {{"software", "nigiri"}, {"comment", text(-1)}};
    if (const auto seed = facts.find("seed"); seed != facts.end()) tags["title"] = "nigiri, seed " + seed->dump();
    write_audio(path, samples, rate, format, tags);
    write_file(sidecar_of(path), text(2) + "\n");
}

json read_clip_facts(const fs::path& path) {
    const auto facts_in = [](const std::string& text) {
        json facts = json::parse(text, nullptr, /*allow_exceptions=*/false);
        return facts.is_object() && facts.contains("seed") ? facts : json();
    };
    std::error_code code;
    const fs::path sidecar = sidecar_of(path);
    if (fs::is_regular_file(sidecar, code) && fs::file_size(sidecar, code) <= largest_sidecar) {
        std::ifstream in(sidecar);
        json facts = facts_in({std::istreambuf_iterator<char>(in), {}});
        if (!facts.is_null()) return facts;
    }
    const Tags tags = read_tags(path);
    const auto comment = tags.find("comment");
    return comment == tags.end() ? json() : facts_in(comment->second);
}

}  // namespace nigiri::app
