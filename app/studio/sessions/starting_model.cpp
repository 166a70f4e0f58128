#include "app/studio/sessions/starting_model.h"

#include <algorithm>
#include <set>

#include "app/model_file.h"

namespace nigiri::studio {

namespace fs = std::filesystem;

namespace {

constexpr size_t longest_licence = 200;  // characters; a line for people, from a file of whoever

std::string preset_of(const ModelConfig& model) {
    const auto& names = preset_names();
    const auto it = std::find_if(names.begin(), names.end(), [&](const std::string& name) {
        ModelConfig same = preset_by_name(name).model;
        same.outer = model.outer, same.centre = model.centre;
        return same == model;
    });
    return it != names.end() ? *it : "";
}

std::string licences_of(const ModelFacts& facts) {
    std::set<std::string> all;
    for (const auto& [name, value] : facts)
        if (name == "licence" || name.ends_with(".licence")) all.insert(value);
    std::string text;
    for (const std::string& licence : all) text += (text.empty() ? "" : "; ") + licence;
    return text.substr(0, longest_licence);
}

}  // namespace

ModelNetwork read_network(const fs::path& model) {
    const Checkpoint checkpoint = Checkpoint::read(app::model_path(model));
    const Config& config = checkpoint.config();
    return {.config = config,
            .preset = preset_of(config.model),
            .parameters = checkpoint.parameters(),
            .licence = licences_of(checkpoint.facts())};
}

void StartingModel::want(const fs::path& model) {
    wanted_ = model;
    {
        const std::lock_guard lock(mutex_);
        if (wanted_.empty()) read_.reset();
        if (wanted_.empty() || (read_ && read_->first == wanted_)) return;
    }
    work_.start([this, model] {  // while another is read nothing starts; the window wakes when that has ended
        Result result;
        try {
            result.network = read_network(model);
        } catch (const Error& e) {
            result.error = e.what(), result.hint = e.hint();
        } catch (const std::exception& e) {
            result.error = e.what();
        }
        const std::lock_guard lock(mutex_);
        read_ = {model, std::move(result)};
    });
}

std::optional<StartingModel::Result> StartingModel::result() const {
    const std::lock_guard lock(mutex_);
    if (!read_ || read_->first != wanted_ || wanted_.empty()) return std::nullopt;
    return read_->second;
}

}  // namespace nigiri::studio
