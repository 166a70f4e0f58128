// The models one can choose from: those that come with Nigiri, those that were trained here, those opened lately.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace nigiri::studio {

struct ModelEntry {
    std::string label;           // "small-mamba-s4 (comes with Nigiri)"
    std::filesystem::path path;  // checkpoint or run folder
};

// Run folders below `runs` that hold a checkpoint, latest first; then `recent` files that are still there; then the
// models in `shipped`. Reads names only; what cannot be read is left out.
std::vector<ModelEntry> list_models(const std::filesystem::path& runs, const std::vector<std::filesystem::path>& recent,
                                    const std::filesystem::path& shipped);

}  // namespace nigiri::studio
