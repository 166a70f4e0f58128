// What the command line and the studio set a generation up with: the engine and the guard of a model.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "model/checkpoint.h"
#include "model/generator.h"

namespace CLI {
class App;
}  // namespace CLI

namespace nigiri::app {

// "f32", "bf16", "int8"; "auto" is none: as fits the device. Throws Error on anything else.
std::optional<WeightFormat> weight_format_by_name(const std::string& name);
const char* name_of(WeightFormat format);

// What there is to say where the device's engine does not run a model; empty where it does.
std::string slow_note(const EngineReport& report);

// --weights
void add_weights_option(CLI::App& command, std::string& weights);

// A guard for a model's sound: what surprises it is judged by the bits it had in training.
GuardOptions guard_options(const Config& config, const TrainingState& state);

// {"trouble", "clip", "began", "noticed", "resumed", "attempt", "temperature_factor", "bits", "level_dbfs",
// "flatness"}, times in seconds after the prompt; "resumed" is null where the stream was left as it was.
nlohmann::json to_json(const GuardEvent& event, int rate);

}  // namespace nigiri::app
