// Whether a training would fit into memory: measured beside the window, on two short passes of the network.
#pragma once

#include <optional>

#include "app/studio/sessions/background.h"
#include "app/training_run.h"

namespace nigiri::studio {

// For the window's thread.
class MemoryEstimate {
  public:
    explicit MemoryEstimate(Wake wake) : work_(std::move(wake)) {}

    // What is about to be trained; every frame while it may change. Asking for the same again costs nothing.
    void want(const Config& config, const std::string& device, int threads);

    struct Result {
        app::MemoryNeed need;
        std::string device;  // what was measured on
        std::string advice;  // what to make smaller, where it does not fit
        std::string error;   // why nothing could be measured
    };
    // For what is wanted; nothing while it is being measured.
    std::optional<Result> result() const;

  private:
    struct Key {
        Config config;
        std::string device;
        int threads = 0;
        bool operator==(const Key&) const = default;
    };
    Result measure(const Key& key) const;

    std::optional<Key> wanted_, started_;
    mutable std::mutex mutex_;  // of what follows
    std::optional<std::pair<Key, Result>> measured_;
    Background work_;  // last: it uses the others
};

}  // namespace nigiri::studio
