// What the studio's tests share: a tiny configuration, a training of it, and reports read back.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "model/config.h"
#include "tests/audio/support.h"
#include "tests/support/wait.h"

namespace nigiri::test {

// One layer of width 8 on each side of one pool: a step takes milliseconds.
inline Config tiny_config() {
    Config c = preset_by_name("tiny");
    c.model.width = 8;
    c.model.layers = 1;
    c.model.pools = {4};
    return c;
}

// The same, trained on one short segment a step.
inline Config tiny_training() {
    Config c = tiny_config();
    c.training.batch = 1;
    c.training.length = 256;
    return c;
}

// A run of so many steps, every one of them logged, that is kept only where the session keeps it.
inline Config tiny_run(int64_t steps) {
    Config c = tiny_training();
    c.training.steps = steps;
    c.training.minutes = 0;
    c.training.log_every = 1;
    c.training.validate_every = 10;
    c.training.validation_segments = 2;
    c.training.checkpoint_every = 0;
    c.training.preview_every = 0;
    return c;
}

// Waits, and fails the test where that takes for ever.
template <class Condition>
void wait(const Condition& condition) {
    ASSERT_TRUE(soon(condition)) << "it never comes true";
}

inline nlohmann::json read_json(const fs::path& file) { return nlohmann::json::parse(bytes_of(file)); }

}  // namespace nigiri::test
