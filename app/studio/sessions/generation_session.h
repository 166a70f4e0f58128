// Generating clips beside the window: the first one can be heard while it grows.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "app/clips.h"
#include "app/studio/sessions/background.h"
#include "audio/sound.h"

namespace nigiri::studio {

struct GenerationRequest {
    std::filesystem::path model;  // checkpoint or run folder
    double seconds = 8;
    int count = 1;
    SamplingOptions sampling;
    // What is continued: samples at prompt_rate, or the beginning of a file (prompt_seconds, 0: all of it), or nothing.
    std::vector<float> prompt;
    int prompt_rate = 0;
    std::filesystem::path prompt_file;
    double prompt_seconds = 0;
    std::string prompt_name;
    std::string device = "auto";  // where to compute
    int threads = 0;
    std::filesystem::path folder;  // where the clips are written
};

struct GenerationProgressNow {
    int64_t samples = 0, wanted = 0;  // of each clip, without the prompt
    double samples_per_second = 0;    // of each clip
    int sample_rate = 0;
    int count = 0;
    std::string device;  // what computes

    double realtime_factor() const { return sample_rate > 0 ? samples_per_second / sample_rate : 0; }
    double seconds_left() const {
        return samples_per_second > 0 ? static_cast<double>(wanted - samples) / samples_per_second : -1;
    }
};

// A clip on disk, with what it was made with.
struct MadeClip {
    std::filesystem::path file;
    nlohmann::json facts;  // clips.h
};

class GenerationSession {
  public:
    explicit GenerationSession(Wake wake) : work_(std::move(wake)) {}

    // Returns false while one runs.
    bool start(GenerationRequest request);
    // What was made until then is kept.
    void cancel() { work_.stop(); }
    Background::Status status() const { return work_.status(); }
    GenerationProgressNow progress() const;
    // The first clip, prompt included, growing; nothing before the model is loaded.
    std::shared_ptr<const Sound> sound() const;
    // Clips written since the last call, likeliest first.
    std::vector<MadeClip> take_made();

  private:
    struct Loaded;
    void work(const GenerationRequest& request);
    const Loaded& load(const GenerationRequest& request);
    void write(const GenerationRequest& request, const Loaded& model, const std::vector<Clip>& clips);

    std::shared_ptr<const Loaded> loaded_;  // kept for the next time; the worker's
    mutable std::mutex mutex_;              // of what follows
    GenerationProgressNow progress_;
    std::shared_ptr<Sound> sound_;
    std::vector<MadeClip> made_;
    Background work_;  // last: it uses the others
};

}  // namespace nigiri::studio
