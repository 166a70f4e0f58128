#include "app/compare/saved_comparison.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "app/json_fields.h"
#include "audio/file.h"
#include "kernels/error.h"

namespace nigiri::app {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr uintmax_t most_report_bytes = 64 << 20;
constexpr size_t most_models = 64, most_clips_read = 1024;
constexpr int64_t most_samples = int64_t{1} << 31;

// Reports are files like any other: whatever is missing or of another kind keeps its default (app/json_fields.h).
int64_t count(const json& from, const char* key) { return std::llround(json_number(from, key, 0, 9e15)); }
bool flag(const json& from, const char* key) {
    const auto it = from.find(key);
    return it != from.end() && it->is_boolean() && it->get<bool>();
}
const json& list(const json& from, const char* key) {
    static const json nothing = json::array();
    const auto it = from.find(key);
    return it != from.end() && it->is_array() ? *it : nothing;
}

json read(const fs::path& path) {
    std::error_code code;
    const auto size = fs::file_size(path, code);
    const Error none("there is no comparison in '" + path.parent_path().string() + "'",
                     "choose a folder that a comparison was saved to");
    if (code || size > most_report_bytes) throw none;
    std::ifstream in(path, std::ios::binary);
    json report = json::parse(std::string{std::istreambuf_iterator<char>(in), {}}, nullptr, false);
    if (!report.is_object() || list(report, "models").empty()) throw none;
    return report;
}

Runaway runaway(const json& clip) {
    const std::string name = json_text(clip, "ran_away");
    for (const Runaway r : {Runaway::silence, Runaway::noise, Runaway::loud, Runaway::offset})
        if (name == name_of(r)) return r;
    return Runaway::none;
}

std::optional<Similarity> similarity(const json& values) {
    if (!values.is_object()) return {};
    Similarity s;
    for (const MetricInfo& m : similarity_metrics()) s.values.push_back(json_number(values, m.key.c_str()));
    if (const auto t = json_number(values, "transposition"))
        s.transposition = static_cast<int>(std::clamp(*t, -12.0, 12.0));
    return s;
}

class Reader {
  public:
    Reader(const fs::path& given, const Progress& progress) : progress_(progress) {
        fs::path path = given;
        if (path.extension() == ".json") path.replace_extension(".html");
        saved_.files = report_files(path);
    }

    SavedComparison read_all() {
        const json report = read(saved_.files.json);
        read_options(report);
        const json& models = list(report, "models");
        for (size_t i = 0; i < std::min(models.size(), most_models); ++i)
            if (models[i].is_object()) read_model(models[i]);
        const auto held_out = report.find("held_out");
        if (held_out != report.end() && held_out->is_object()) read_held_out(*held_out);
        for (const json& note : list(report, "notes"))
            if (note.is_string()) saved_.result.notes.push_back(note.get<std::string>());
        saved_.missing_clips = missing_;
        if (missing_ > 0)
            saved_.result.notes.push_back(std::to_string(missing_) + " clips of this comparison cannot be read.");
        saved_.options.evaluate = std::any_of(saved_.result.models.begin(), saved_.result.models.end(),
                                              [](const ComparedModel& m) { return m.evaluation.has_value(); });
        return std::move(saved_);
    }

  private:
    void read_options(const json& report) {
        ComparisonOptions& o = saved_.options;
        o.data = json_text(report, "data");
        for (const Split split : {Split::train, Split::valid, Split::test})
            if (json_text(report, "split") == name_of(split)) o.split = split;
        for (const Precision p : {Precision::automatic, Precision::f32, Precision::bf16})
            if (json_text(report, "precision") == to_string(p)) o.precision = p;
        o.clips_folder = saved_.files.clips;
        o.clips = static_cast<int>(json_number(report, "clips", 1, most_clips_read, 1));
        o.seconds = json_number(report, "seconds", 0, 3600);
        o.prompt_seconds = json_number(report, "prompt_seconds", 0, 3600);
        const auto seed = report.find("seed");
        if (seed != report.end() && seed->is_number_unsigned()) o.sampling.seed = seed->get<uint64_t>();
        o.sampling.temperature = json_number(report, "temperature", 0, 100, 1);
        o.sampling.top_k = count(report, "top_k");
        o.sampling.top_p = json_number(report, "top_p", 0, 1, 1);
        saved_.result.device = json_text(report, "device");
        saved_.result.complete = flag(report, "complete");
    }

    void read_model(const json& from) {
        ComparedModel m;
        m.name = json_text(from, "name");
        m.file = json_text(from, "model");
        m.layer = json_text(from, "layer");
        m.parameters = count(from, "parameters");
        m.step = count(from, "step");
        m.tokens = count(from, "tokens");
        m.training_seconds = json_number(from, "training_seconds", 0, 1e12);
        m.train_tokens_per_second = json_number(from, "train_tokens_per_second");
        m.steps_per_second = json_number(from, "steps_per_second", 0, 1e12);
        m.memory_bytes = static_cast<size_t>(count(from, "memory_bytes"));
        m.error = json_text(from, "error");
        m.clips_complete = flag(from, "clips_complete");
        const size_t missing = missing_;
        m.clips = read_clips(list(from, "clips"), m.name);
        if (missing_ > missing) m.clips_complete = false;
        if (const auto it = from.find("metrics"); it != from.end()) m.similarity = similarity(*it);
        if (const auto bits = json_number(from, "bits_per_sample")) {
            m.evaluation.emplace();
            m.evaluation->total = evaluation(from);
            for (const json& r : list(from, "recordings"))
                if (r.is_object()) m.evaluation->recordings.push_back({json_text(r, "name"), evaluation(r)});
        }
        saved_.options.models.push_back(m.file);
        saved_.result.models.push_back(std::move(m));
    }

    static Evaluation evaluation(const json& from) {
        Evaluation e;
        e.samples = count(from, "samples");
        e.bits = json_number(from, "bits_per_sample", 0, 1e6) * static_cast<double>(e.samples);
        return e;
    }

    void read_held_out(const json& from) {
        ComparisonResult& r = saved_.result;
        r.held_out_seconds = json_number(from, "seconds", 0, 1e12);
        r.reference_seconds = json_number(from, "reference_seconds", 0, 1e12);
        r.recordings = static_cast<size_t>(count(from, "recordings"));
        if (const auto it = from.find("metrics"); it != from.end()) r.floor = similarity(*it);
        r.held_out = read_clips(list(from, "clips"), "held-out audio");
    }

    // As many as there are before the first that cannot be read: clip i of one model belongs to clip i of the others.
    std::vector<ComparedClip> read_clips(const json& from, const std::string& whose) {
        std::vector<ComparedClip> clips;
        const size_t all = std::min(from.size(), most_clips_read);
        for (size_t i = 0; i < all; ++i) {
            if (progress_ && !progress_(static_cast<double>(i) / static_cast<double>(all), whose)) throw Cancelled();
            try {
                clips.push_back(read_clip(from[i]));
            } catch (const Cancelled&) {
                throw;
            } catch (const Error&) {
                missing_ += all - i;
                break;
            }
        }
        return clips;
    }

    // As the report says, from its own folder; a report cannot point out of that. Where the report was given another
    // name its clips may lie in a folder that it does not know: there only the file's name counts.
    fs::path clip_file(const std::string& said) const {
        const fs::path path = fs::path(said).lexically_normal(), name = path.filename();
        if (name.empty() || name == "." || name == "..") throw Error("a clip has no file");
        const fs::path here = saved_.files.json.parent_path() / path;
        std::error_code code;
        if (path.is_relative() && *path.begin() != ".." && fs::exists(here, code)) return here;
        return saved_.files.clips / name;
    }

    ComparedClip read_clip(const json& from) {
        if (!from.is_object()) throw Error("this is no clip");
        ComparedClip c;
        c.file = clip_file(json_text(from, "file"));
        if (read_audio_info(c.file).frames > most_samples) throw Error("a clip is too long");
        Audio audio = read_audio(c.file);
        c.rate = audio.rate;
        c.samples = std::move(audio.samples);
        c.prompt = std::min<int64_t>(count(from, "prompt_samples"), static_cast<int64_t>(c.samples.size()));
        c.log2_likelihood_per_sample = json_number(from, "log2_likelihood_per_sample", -1e6, 0);
        c.analysis = analyse(std::span(c.samples).subspan(static_cast<size_t>(c.prompt)), c.rate);
        c.ran_away = runaway(from);
        return c;
    }

    const Progress& progress_;
    SavedComparison saved_;
    size_t missing_ = 0;
};

}  // namespace

SavedComparison load_comparison(const fs::path& report, const Progress& progress) {
    return Reader(report, progress).read_all();
}

}  // namespace nigiri::app
