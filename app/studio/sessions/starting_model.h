// The model whose weights a new run is to begin with, read beside the window: which network it is.
#pragma once

#include <filesystem>
#include <optional>

#include "app/studio/sessions/background.h"
#include "model/config.h"

namespace nigiri::studio {

struct ModelNetwork {
    Config config;
    std::string preset;  // whose size it has, whatever its layers are; empty: none's
    int64_t parameters = 0;
    std::string licence;  // as the file says, with those of the models that it began with; empty: nothing
};
// `model`: a file or a run folder. Throws Error where it cannot be read.
ModelNetwork read_network(const std::filesystem::path& model);

// For the window's thread.
class StartingModel {
  public:
    explicit StartingModel(Wake wake) : work_(std::move(wake)) {}

    // The model chosen, empty for none; every frame. Asking for the same again reads nothing, unless none was wanted in
    // between.
    void want(const std::filesystem::path& model);

    struct Result {
        std::optional<ModelNetwork> network;
        std::string error, hint;  // why there is none
    };
    // For what is wanted; nothing while it is being read.
    std::optional<Result> result() const;

  private:
    std::filesystem::path wanted_;
    mutable std::mutex mutex_;  // of what follows
    std::optional<std::pair<std::filesystem::path, Result>> read_;
    Background work_;  // last: it uses the others
};

}  // namespace nigiri::studio
