// The models one can choose from: those that come with Nigiri, those that were trained here, those opened lately.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "app/studio/sessions/refreshed.h"
#include "app/studio/settings.h"

namespace nigiri::studio {

struct ModelEntry {
    std::string label;           // "small-mamba-s4 (comes with Nigiri)"; no two are the same
    std::filesystem::path path;  // checkpoint or run folder
};

struct ModelPlaces {
    std::filesystem::path runs, shipped;        // folders
    std::vector<std::filesystem::path> recent;  // files or run folders
    bool operator==(const ModelPlaces&) const = default;
};
// Of this user, with the models that come with Nigiri.
ModelPlaces model_places(const Settings& settings);

// Run folders below `runs` that hold a checkpoint, latest first; then `recent` ones that are still there; then the
// models in `shipped`. Reads names only; what cannot be read is left out.
std::vector<ModelEntry> list_models(const ModelPlaces& places);

using ModelList = Refreshed<ModelPlaces, std::vector<ModelEntry>>;

}  // namespace nigiri::studio
