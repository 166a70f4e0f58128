// A Config from a preset, a config.toml and options. Every field has a path ("model.outer.ssm.state"), taken from its
// JSON form; options, files and --set all assign to paths.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/config.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace nigiri::app {

// One assignment: a path and its value as text ("4,4" for a list).
using Assignment = std::pair<std::string, std::string>;

// Applies assignments in order and validates. Throws Error on an unknown path or a value of the wrong type.
Config assigned(const Config& config, const std::vector<Assignment>& assignments);

// The model's and the training's options on a command.
class ConfigOptions {
  public:
    // `training`: the options of TrainingConfig too, not only the model's.
    void declare(CLI::App& command, bool training);

    // Whether any option speaks about the model (preset, layer, sizes), so that it must be compared with an existing
    // run's.
    bool names_model() const;
    // Whether an option, --set or a --config speaks about this field.
    bool gives(const std::string& path) const;
    // From the preset (default `small`) and everything given.
    Config make() const;
    // What was given, on top of `base`; a --layer or --preset replaces the base's.
    Config apply(const Config& base) const;

  private:
    struct Named {
        std::vector<std::string> paths;
        std::string value;
        CLI::Option* option = nullptr;
    };
    std::vector<Assignment> assignments(bool model_only) const;

    std::string preset_ = "small", layer_, centre_layer_, config_file_;
    std::vector<std::string> set_, selective_;
    std::vector<std::unique_ptr<Named>> named_;
    CLI::Option *preset_option_ = nullptr, *config_option_ = nullptr, *selective_option_ = nullptr;
};

// TOML with a section for each group. `head` goes first, as top-level keys ("data").
std::string to_toml(const Config& config, const std::vector<Assignment>& head);
// Assignments of a TOML file; keys of `head` (without a section) are returned under their own name.
std::vector<Assignment> read_toml(const std::filesystem::path& path);

}  // namespace nigiri::app
