#include "app/config_options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <fstream>
#include <nlohmann/json.hpp>

namespace nigiri::app {

using nlohmann::json;

namespace {

std::string pointer_of(const std::string& path) {
    std::string p = "/";
    for (const char c : path) p += c == '.' ? '/' : c;
    return p;
}

std::vector<std::string> split_list(const std::string& text) {
    std::vector<std::string> parts;
    std::string part;
    for (const char c : text + ",") {
        if (c == ',') {
            if (!part.empty()) parts.push_back(part);
            part.clear();
        } else if (c != ' ' && c != '[' && c != ']') {
            part += c;
        }
    }
    return parts;
}

template <class T>
T number(const std::string& path, const std::string& text, const char* kind) {
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size())
        throw Error("'" + text + "' is no value of " + path, std::string("give ") + kind);
    return value;
}

// The text as a value of the type that the field has now.
json typed(const std::string& path, const json& now, const std::string& text) {
    if (now.is_boolean()) {
        if (text == "true" || text == "on" || text == "1") return true;
        if (text == "false" || text == "off" || text == "0") return false;
        throw Error("'" + text + "' is no value of " + path, "give true or false");
    }
    if (now.is_number_unsigned() && path.ends_with("seed"))
        return number<uint64_t>(path, text, "a whole number from 0");
    if (now.is_number_integer()) return number<int64_t>(path, text, "a whole number");
    if (now.is_number_float()) return number<double>(path, text, "a number");
    if (now.is_array()) {
        json list = json::array();
        for (const std::string& part : split_list(text))
            list.push_back(number<int64_t>(path, part, "whole numbers with commas"));
        return list;
    }
    if (now.is_string()) return text;
    throw Error(path + " is a group of fields, not a value", "name one of its fields");
}

}  // namespace

Config assigned(const Config& config, const std::vector<Assignment>& assignments) {
    json j = json::parse(to_json(config));
    for (const auto& [path, text] : assignments) {
        const json::json_pointer pointer(pointer_of(path));
        if (path.empty() || !j.contains(pointer))
            throw Error("the configuration has no field '" + path + "'", "see a run's config.toml for all fields");
        j[pointer] = typed(path, j[pointer], text);
    }
    return config_from_json(j.dump());
}

void ConfigOptions::declare(CLI::App& command, bool training) {
    const auto joined = [](const std::vector<std::string>& names) {
        std::string text;
        for (const auto& n : names) text += (text.empty() ? "" : ", ") + n;
        return text;
    };
    const std::string model = "Model";
    preset_option_ = command.add_option("--preset", preset_, joined(preset_names()))->group(model);
    command.add_option("--layer", layer_, "sequence layer and block: " + joined(layer_names()))->group(model);
    command.add_option("--centre-layer", centre_layer_, "another layer in the innermost stage")->group(model);
    const auto add = [&](const std::string& flag, std::vector<std::string> paths, const std::string& help,
                         const std::string& group) {
        auto named = std::make_unique<Named>();
        named->paths = std::move(paths);
        named->option = command.add_option(flag, named->value, help)->group(group)->default_str("preset's");
        named_.push_back(std::move(named));
    };
    const auto both = [](const std::string& field) {
        return std::vector<std::string>{"model.outer." + field, "model.centre." + field};
    };
    add("--width", {"model.width"}, "width of the outermost stage", model);
    add("--layers", {"model.layers"}, "layers a stage", model);
    add("--pools", {"model.pools"}, "pooling factors, e.g. 4,4", model);
    add("--form", {"model.form"}, "sashimi (blocks on the way up) or unet (on both ways)", model);
    add("--norm", {"model.norm"}, "layer, rms or scalar", model);
    add("--state", both("ssm.state"), "state size N", model);
    add("--init", both("ssm.init"), "initialisation of A: lin, inv, legs, real or random", model);
    add("--discretization", both("ssm.discretization"), "zoh, bilinear, or euler (S6)", model);
    add("--dt-rank", both("ssm.dt_rank"), "rank of S6's delta, 0 for width / 16", model);
    add("--copies", both("ssm.copies"), "S4: independent copies of A and B, 0 for one a channel", model);
    selective_option_ =
        command.add_option("--selective", selective_, "which parts of S6 depend on the input: delta,b,c or none")
            ->delimiter(',')
            ->group(model)
            ->default_str("preset's")
            ->check(CLI::IsMember({"delta", "b", "c", "none"}));
    command.add_option("--set", set_, "any field by its path, e.g. model.centre.ssm.state=8")
        ->group(model)
        ->default_str("");
    add("--quantization", {"signal.quantization"}, "mu-law or linear", "Audio");
    add("--scaling", {"signal.scaling"}, "full-scale, or segment-minmax as in the papers", "Audio");
    if (!training) return;
    config_option_ = command.add_option("--config", config_file_, "replay a run's config.toml")->group("Training");
    const std::string group = "Training";
    add("--steps", {"training.steps"}, "steps to train, 0 for no limit", group);
    add("--minutes", {"training.minutes"}, "minutes to train, 0 for no limit; 10 where neither is given", group);
    add("--batch", {"training.batch"}, "sequences a step", group);
    add("--length", {"training.length"}, "samples a sequence", group);
    add("--learning-rate", {"training.learning_rate"}, "peak rate", group);
    add("--ssm-learning-rate", {"training.state_space_rate"}, "peak rate of S4's A, B and dt", group);
    add("--weight-decay", {"training.weight_decay"}, "on matrices", group);
    add("--clip", {"training.clip"}, "largest gradient norm, 0 for none", group);
    add("--precision", {"training.precision"}, "f32, or bf16 inside of layers; auto is bf16 on CUDA, f32 on the CPU",
        group);
    add("--recompute", {"training.recompute"}, "true: a fraction of the memory for a third more time", group);
    add("--recompute-cheap", {"training.recompute_cheap"}, "true: a third less memory for some more time", group);
    add("--graph", {"training.graph"}, "CUDA: a step is one launch; false: one for every operation", group);
    add("--schedule", {"training.schedule"}, "cosine, plateau or constant", group);
    add("--warmup", {"training.warmup"}, "share of the run", group);
    add("--log-every", {"training.log_every"}, "steps between log lines", group);
    add("--validate-every", {"training.validate_every"}, "steps between validations, 0 for never", group);
    add("--validation-segments", {"training.validation_segments"}, "held-out segments a validation", group);
    add("--checkpoint-every", {"training.checkpoint_every"}, "steps between checkpoints, 0 for the end only", group);
    add("--preview-every", {"training.preview_every"}, "steps between audio previews, 0 for none", group);
    add("--preview-seconds", {"training.preview_seconds"}, "length of a preview", group);
}

std::vector<Assignment> ConfigOptions::assignments(bool model_only) const {
    std::vector<Assignment> all;
    for (const auto& named : named_)
        if (named->option->count() > 0)
            for (const std::string& path : named->paths) all.emplace_back(path, named->value);
    if (selective_option_ && selective_option_->count() > 0)
        for (const std::string part : {"delta", "b", "c"}) {
            const bool on = std::find(selective_.begin(), selective_.end(), part) != selective_.end();
            for (const std::string stage : {"outer", "centre"})
                all.emplace_back("model." + stage + ".ssm.selective_" + part, on ? "true" : "false");
        }
    for (const std::string& s : set_) {
        const size_t equals = s.find('=');
        if (equals == std::string::npos) throw Error("--set " + s + " has no '='", "write --set path=value");
        all.emplace_back(s.substr(0, equals), s.substr(equals + 1));
    }
    if (model_only) std::erase_if(all, [](const Assignment& a) { return a.first.starts_with("training."); });
    return all;
}

bool ConfigOptions::names_model() const {
    return preset_option_->count() > 0 || (config_option_ && config_option_->count() > 0) || !layer_.empty() ||
           !centre_layer_.empty() || !assignments(true).empty();
}

bool ConfigOptions::gives(const std::string& path) const {
    if (!config_file_.empty()) return true;  // it has all fields
    const auto all = assignments(false);
    return std::any_of(all.begin(), all.end(), [&](const Assignment& a) { return a.first == path; });
}

Config ConfigOptions::make() const { return apply(preset_by_name(preset_)); }

Config ConfigOptions::apply(const Config& base) const {
    Config config = preset_option_->count() > 0 ? preset_by_name(preset_) : base;
    if (!config_file_.empty()) {
        std::vector<Assignment> fields;
        for (const Assignment& a : read_toml(config_file_))
            if (a.first.find('.') != std::string::npos) fields.push_back(a);
        config = assigned(config, fields);
    }
    if (!layer_.empty()) config.model.outer = config.model.centre = layer_by_name(layer_);
    if (!centre_layer_.empty()) config.model.centre = layer_by_name(centre_layer_);
    return assigned(config, assignments(false));
}

std::string to_toml(const Config& config, const std::vector<Assignment>& head) {
    const json j = json::parse(to_json(config));
    std::string out = "# The whole configuration of this run; `nigiri train --config` replays it.\n";
    for (const auto& [key, value] : head) out += key + " = " + json(value).dump() + "\n";
    const std::function<void(const std::string&, const json&)> section = [&](const std::string& path,
                                                                             const json& group) {
        if (!path.empty()) out += "\n[" + path + "]\n";
        for (const auto& [key, value] : group.items())
            if (!value.is_object()) out += key + " = " + value.dump() + "\n";
        for (const auto& [key, value] : group.items())
            if (value.is_object()) section(path.empty() ? key : path + "." + key, value);
    };
    for (const auto& [key, value] : j.items()) section(key, value);
    return out;
}

std::vector<Assignment> read_toml(const std::filesystem::path& path) {
    std::ifstream in(path);
    if (!in) throw Error("cannot read " + path.string(), "check the path of --config");
    std::vector<Assignment> all;
    try {
        for (const CLI::ConfigItem& item : CLI::ConfigTOML().from_config(in)) {
            if (item.name == "++" || item.name == "--") continue;  // CLI11's marks of a section's begin and end
            std::string name, value;
            for (const std::string& parent : item.parents) name += parent + ".";
            for (const std::string& input : item.inputs) value += (value.empty() ? "" : ",") + input;
            all.emplace_back(name + item.name, value);
        }
    } catch (const CLI::Error& e) {
        throw Error(path.string() + " is no readable configuration: " + e.what(), "give a config.toml of a run");
    }
    return all;
}

}  // namespace nigiri::app
