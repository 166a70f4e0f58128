#include "app/digits/clip_store.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "audio/digits.h"
#include "model/safetensors.h"

namespace nigiri::app {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr const char* format_name = "nigiri-digit-clips";

std::string file_of(int64_t batch) {
    std::string number = std::to_string(batch);
    return std::string(number.size() < 4 ? 4 - number.size() : 0, '0') + number + ".safetensors";
}

std::string settings_of(const Network& network, const std::string& model_id, const DigitClipOptions& o) {
    return json({{"model", model_id},
                 {"seed", o.sampling.seed},
                 {"temperature", o.sampling.temperature},
                 {"top_k", o.sampling.top_k},
                 {"top_p", o.sampling.top_p},
                 {"weights", o.engine.weights ? static_cast<int>(*o.engine.weights) : -1},
                 {"device", network.backend().name()},
                 {"batch", o.batch}})
        .dump();
}

void save(const fs::path& path, const std::string& settings, const std::vector<Clip>& clips) {
    std::vector<uint8_t> codes;
    std::vector<double> bits;
    for (const Clip& c : clips) {
        codes.insert(codes.end(), c.codes.begin(), c.codes.end());
        bits.push_back(-c.log2_likelihood);
    }
    SafeTensorsWriter writer;
    const auto n = static_cast<int64_t>(clips.size());
    writer.add("codes", "U8", {n, digit_samples}, codes);
    writer.add("bits", "F64", {n}, {reinterpret_cast<const uint8_t*>(bits.data()), bits.size() * sizeof(double)});
    writer.set_metadata("format", format_name);
    writer.set_metadata("settings", settings);
    writer.write(path);
}

void load(const fs::path& path, const std::string& settings, int64_t count, DigitClips& clips) {
    const SafeTensorsFile file = SafeTensorsFile::read(path);
    const auto field = [&](const char* key) {
        const auto it = file.metadata().find(key);
        return it == file.metadata().end() ? std::string() : it->second;
    };
    if (field("format") != format_name || field("settings") != settings)
        throw Error(path.string() + " holds clips that were made otherwise",
                    "choose another --output, or the settings and the model they were made with");
    const std::vector<int64_t> shape = {count, digit_samples};
    if (file.at("codes").dtype != "U8" || file.at("codes").shape != shape ||
        file.at("bits").shape != std::vector<int64_t>{count})
        throw Error(path.string() + " does not hold " + std::to_string(count) + " clips of one second",
                    "choose the --count and --batch they were made with, or another --output");
    const auto codes = file.data("codes");
    const auto bits = file.values("bits");
    for (size_t i = 0; i < bits.size(); ++i) {
        if (!std::isfinite(bits[i])) throw Error(path.string() + " is damaged", "remove it: it is made again");
        const auto clip = codes.subspan(i * digit_samples, digit_samples);
        clips.codes.emplace_back(clip.begin(), clip.end());
        clips.bits.push_back(bits[i]);
    }
}

}  // namespace

DigitClips digit_clips(const Network& network, const std::string& model_id, const DigitClipOptions& options,
                       const fs::path& folder, const DigitClipProgress& progress) {
    if (options.count < 1 || options.batch < 1) throw Error("digits to be scored need a number");
    std::error_code code;
    fs::create_directories(folder, code);
    if (code)
        throw Error("cannot make the folder " + folder.string() + ": " + code.message(), "choose another --output");
    const std::string settings = settings_of(network, model_id, options);
    DigitClips all;
    for (int64_t batch = 0, first = 0; first < options.count; ++batch, first += options.batch) {
        const int64_t count = std::min(options.batch, options.count - first);
        const fs::path path = folder / file_of(batch);
        if (!fs::exists(path, code)) {
            if (progress && !progress(first, 0)) throw Cancelled();
            SamplingOptions sampling = options.sampling;
            sampling.seed += static_cast<uint64_t>(batch) << 32;
            const auto clips = generate(network, count, digit_samples, {}, sampling,
                                        [&](const std::vector<Clip>& c) {
                                            return !progress || progress(first, static_cast<double>(c[0].generated()) /
                                                                                    static_cast<double>(digit_samples));
                                        },
                                        {.engine = options.engine, .guard = std::nullopt});
            for (const Clip& c : clips)
                if (c.generated() != digit_samples) throw Cancelled();
            save(path, settings, clips);
        }
        load(path, settings, count, all);
    }
    return all;
}

std::vector<size_t> kept_by_likelihood(const std::vector<double>& bits, double lower, double upper) {
    if (!(lower >= 0) || !(lower < upper) || !(upper <= 1))
        throw Error("the thresholds must be shares from 0 to 1, the lower one below the upper one");
    std::vector<size_t> order(bits.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return bits[a] > bits[b]; });
    // A share such as 0.95 is no binary fraction; the hair above keeps 0.95 x 5120 from becoming 4863.
    const auto rank = [&](double share) {
        return static_cast<std::ptrdiff_t>(std::floor(share * static_cast<double>(bits.size()) + 1e-9));
    };
    return {order.begin() + rank(lower), order.begin() + rank(upper)};
}

}  // namespace nigiri::app
