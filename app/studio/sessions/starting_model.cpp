#include "app/studio/sessions/starting_model.h"

#include <algorithm>

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

}  // namespace

ModelNetwork read_network(const fs::path& model) {
    const Checkpoint checkpoint = Checkpoint::read(app::model_path(model));
    const Config& config = checkpoint.config();
    const auto licence = checkpoint.facts().find("licence");
    return {.config = config,
            .preset = preset_of(config.model),
            .parameters = checkpoint.parameters(),
            .licence = licence != checkpoint.facts().end() ? licence->second.substr(0, longest_licence) : ""};
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
