#include "app/ablate/run_result.h"

#include <cmath>
#include <ctime>
#include <fstream>

#include "app/write_file.h"

namespace nigiri::app {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr uintmax_t most_result_bytes = 16 << 20;

json to_json(const Similarity& s) {
    json out = json::object();
    const auto& metrics = similarity_metrics();
    for (size_t i = 0; i < metrics.size(); ++i)
        out[metrics[i].key] = s.values[i] && std::isfinite(*s.values[i]) ? json(*s.values[i]) : json(nullptr);
    return out;
}

json to_json(const SplitEvaluation& e) {
    json out = {{"samples", e.total.samples}, {"bits_per_sample", e.total.bits_per_sample()}, {"bits", e.total.bits}};
    out["recordings"] = json::array();
    for (const RecordingEvaluation& r : e.recordings)
        out["recordings"].push_back({{"name", r.name}, {"samples", r.bits.samples}, {"bits", r.bits.bits}});
    return out;
}

// Results are files like any other. What is not of its kind is an error here, not a default: a table must not be made
// from a guess.
class Fields {
  public:
    Fields(const json& object, const std::string& file) : object_(object), file_(file) {
        if (!object.is_object()) wrong("it is no JSON object");
    }

    bool has(const char* key) const { return object_.contains(key) && !object_[key].is_null(); }

    const json& at(const char* key) const {
        if (!has(key)) wrong(std::string("it has no '") + key + "'");
        return object_[key];
    }
    std::string text(const char* key) const {
        if (!at(key).is_string()) wrong_kind(key);
        return at(key).get<std::string>();
    }
    double number(const char* key) const {
        if (!at(key).is_number()) wrong_kind(key);
        return at(key).get<double>();
    }
    int64_t count(const char* key) const {
        const double value = number(key);
        if (!(value >= 0 && value < 9e15)) wrong_kind(key);
        return std::llround(value);
    }
    bool flag(const char* key) const {
        if (!at(key).is_boolean()) wrong_kind(key);
        return at(key).get<bool>();
    }
    const json& list(const char* key) const {
        if (!at(key).is_array()) wrong_kind(key);
        return at(key);
    }
    Fields inner(const char* key) const { return {at(key), file_}; }
    Fields inner(const json& object) const { return {object, file_}; }

    [[noreturn]] void wrong(const std::string& why) const {
        throw Error(file_ + " is damaged: " + why, "remove it, and the run is evaluated anew");
    }

  private:
    [[noreturn]] void wrong_kind(const char* key) const { wrong(std::string("'") + key + "' is of another kind"); }

    const json& object_;
    const std::string& file_;
};

Evaluation evaluation(const Fields& f) {
    Evaluation e;
    e.samples = f.count("samples");
    e.bits = f.number("bits");
    return e;
}

SplitEvaluation split_evaluation(const Fields& f) {
    SplitEvaluation e;
    e.total = evaluation(f);
    if (e.total.samples < 1) f.wrong("nothing was evaluated");
    for (const json& r : f.list("recordings"))
        e.recordings.push_back({f.inner(r).text("name"), evaluation(f.inner(r))});
    return e;
}

Similarity similarity(const Fields& f) {
    Similarity s;
    for (const MetricInfo& m : similarity_metrics())
        s.values.push_back(f.has(m.key.c_str()) ? std::optional(f.number(m.key.c_str())) : std::nullopt);
    return s;
}

RunClip clip(const Fields& f) {
    RunClip c;
    c.file = fs::path(f.text("file")).filename().string();  // never out of the run's folder
    c.prompt = f.count("prompt_samples");
    c.log2_likelihood_per_sample = f.number("log2_likelihood_per_sample");
    for (const Runaway r : {Runaway::silence, Runaway::noise, Runaway::loud, Runaway::offset})
        if (f.has("ran_away") && f.text("ran_away") == name_of(r)) c.ran_away = r;
    return c;
}

RunResult result(const json& object, const std::string& file) {
    const Fields f(object, file);
    RunResult r;
    r.config = config_from_json(f.at("config").dump());
    r.started = f.text("started");
    r.version = f.text("version");
    r.device = f.text("device");
    r.data = f.text("data");
    r.train_seconds = f.number("train_seconds");
    r.trained = f.flag("trained");
    if (f.has("finished")) r.finished = f.text("finished");
    if (f.has("command")) r.command = f.text("command");
    if (f.has("failed")) r.failed = f.text("failed");
    if (f.has("error")) r.error = f.text("error");
    if (!r.trained) return r;
    r.parameters = f.count("parameters");
    r.steps = f.count("steps");
    r.tokens = f.count("tokens");
    r.training_seconds = f.number("training_seconds");
    r.train_bits = f.number("train_bits_per_sample");
    if (f.has("valid_bits_per_sample")) r.valid_bits = f.number("valid_bits_per_sample");
    if (f.has("tokens_per_second")) r.tokens_per_second = f.number("tokens_per_second");
    if (f.has("memory_bytes")) r.memory_bytes = static_cast<size_t>(f.count("memory_bytes"));
    if (f.has("rounded_weights")) r.rounded_weights = f.flag("rounded_weights");
    if (f.has("bits")) {
        r.bits_settings = f.at("bits_settings");
        r.bits = split_evaluation(f.inner("bits"));
    }
    if (f.has("clips")) {
        r.clip_settings = f.at("clip_settings");
        for (const json& c : f.list("clips")) r.clips.push_back(clip(f.inner(c)));
        if (f.has("metrics")) r.similarity = similarity(f.inner("metrics"));
        if (f.has("metrics_of_held_out")) r.floor = similarity(f.inner("metrics_of_held_out"));
    }
    return r;
}

json to_json(const RunResult& r) {
    json out = {{"config", json::parse(to_json(r.config))},
                {"started", r.started},
                {"version", r.version},
                {"device", r.device},
                {"data", r.data},
                {"train_seconds", r.train_seconds},
                {"trained", r.trained}};
    if (!r.finished.empty()) out["finished"] = r.finished;
    if (!r.command.empty()) out["command"] = r.command;
    if (!r.failed.empty()) out["failed"] = r.failed;
    if (!r.error.empty()) out["error"] = r.error;
    if (!r.trained) return out;
    out["parameters"] = r.parameters;
    out["steps"] = r.steps;
    out["tokens"] = r.tokens;
    out["training_seconds"] = r.training_seconds;
    out["train_bits_per_sample"] = r.train_bits;
    if (r.valid_bits) out["valid_bits_per_sample"] = *r.valid_bits;
    if (r.tokens_per_second) out["tokens_per_second"] = *r.tokens_per_second;
    if (r.memory_bytes > 0) out["memory_bytes"] = r.memory_bytes;
    if (r.rounded_weights) out["rounded_weights"] = true;
    if (r.bits) {
        out["bits_settings"] = r.bits_settings;
        out["bits"] = to_json(*r.bits);
    }
    if (!r.clip_settings.is_null()) {
        out["clip_settings"] = r.clip_settings;
        out["clips"] = json::array();
        for (const RunClip& c : r.clips)
            out["clips"].push_back(
                {{"file", c.file},
                 {"prompt_samples", c.prompt},
                 {"log2_likelihood_per_sample", c.log2_likelihood_per_sample},
                 {"ran_away", c.ran_away == Runaway::none ? json(nullptr) : json(name_of(c.ran_away))}});
        if (r.similarity) out["metrics"] = to_json(*r.similarity);
        if (r.floor) out["metrics_of_held_out"] = to_json(*r.floor);
    }
    return out;
}

}  // namespace

fs::path run_folder(const fs::path& ablation, const GridRow& row, uint64_t seed) {
    return ablation / "runs" / row.name / ("seed-" + std::to_string(seed));
}

json bits_settings(const GridEvaluation& e) {
    return {{"split", name_of(e.split)},
            {"segment", e.segment},
            {"seconds", e.seconds},
            {"precision", to_string(e.precision)}};
}

json clip_settings(const GridEvaluation& e) {
    return {{"clips", e.clips},
            {"seconds", e.clip_seconds},
            {"seed", e.sampling.seed},
            {"temperature", e.sampling.temperature},
            {"top_k", e.sampling.top_k},
            {"top_p", e.sampling.top_p},
            {"metrics", e.metrics && e.clips > 0 ? json(name_of(e.split)) : json(nullptr)}};
}

bool answers(const RunResult& r, const GridEvaluation& e) {
    if (!r.failed.empty()) return true;
    return r.trained && r.bits && r.bits_settings == bits_settings(e) && r.clip_settings == clip_settings(e);
}

std::optional<RunResult> read_result(const fs::path& run) {
    const fs::path path = run / "result.json";
    std::error_code code;
    if (!fs::exists(path, code)) return std::nullopt;
    const std::string file = path.string();
    const Error damaged(file + " is no result of a run", "remove it, and the run is evaluated anew");
    if (fs::file_size(path, code) > most_result_bytes || code) throw damaged;
    std::ifstream in(path, std::ios::binary);
    const json object = json::parse(std::string{std::istreambuf_iterator<char>(in), {}}, nullptr, false);
    if (object.is_discarded()) throw damaged;
    return result(object, file);
}

void write_result(const fs::path& run, const RunResult& r) {
    write_file(run / "result.json", to_json(r).dump(2, ' ', false, json::error_handler_t::replace) + "\n");
}

RunCurves read_curves(const fs::path& run) {
    RunCurves curves;
    std::ifstream in(run / "metrics.jsonl");
    for (std::string line; std::getline(in, line);) {
        const json j = json::parse(line, nullptr, false);
        if (!j.is_object() || !j.contains("tokens") || !j["tokens"].is_number_integer()) continue;
        const auto tokens = j["tokens"].get<int64_t>();
        const auto add = [&](const char* key, std::vector<CurvePoint>& to) {
            if (!j.contains(key) || !j[key].is_number()) return;
            const auto bits = j[key].get<double>();
            if (std::isfinite(bits) && (to.empty() || tokens > to.back().tokens)) to.push_back({tokens, bits});
        };
        add("train_bits_per_sample", curves.train);
        add("valid_bits_per_sample", curves.valid);
    }
    return curves;
}

std::string utc_now() {
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    gmtime_r(&now, &parts);
    char text[32];
    std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
    return text;
}

}  // namespace nigiri::app
