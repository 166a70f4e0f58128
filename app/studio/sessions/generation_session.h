// Generating clips beside the window: the first one can be heard while it grows.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "app/clips.h"
#include "app/steering.h"
#include "app/studio/sessions/background.h"
#include "audio/sound.h"

namespace nigiri::studio {

using app::Steering;

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
    EngineChoice engine;           // generator.h; its threads are those above
    std::filesystem::path folder;  // where the clips are written
    bool guard = false;            // goes back where the sound decays into noise or silence
    // One clip that follows the hand: it is made just ahead of what is heard (set_heard), and the steering's wishes and
    // the mix with a second model (empty: none) take effect on the way.
    bool steer = false;
    std::filesystem::path second_model;
};

struct GenerationProgressNow {
    int64_t samples = 0, wanted = 0;  // of each clip, without the prompt
    double samples_per_second = 0;    // of each clip
    int sample_rate = 0;
    int count = 0;
    std::string device;      // what computes
    std::string slow;        // why it does so operation by operation; empty: it does not
    int64_t gone_back = 0;   // times that the guard sent a clip back
    std::string last_event;  // what it did last
    bool waiting = false;    // for what was made to be heard

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
    // The hand on the clip being made, null where it is not steered.
    std::shared_ptr<Steering> steering() const;
    // Samples of sound() that were heard; without the prompt there are that many fewer. Steering only.
    void set_heard(int64_t samples) { heard_.store(samples, std::memory_order_relaxed); }
    // The first clip, prompt included, growing; nothing before the model is loaded.
    std::shared_ptr<const Sound> sound() const;
    // Clips written since the last call, likeliest first.
    std::vector<MadeClip> take_made();

  private:
    struct Loaded;
    struct Job;
    void work(const GenerationRequest& request);
    const Loaded& load(std::shared_ptr<const Loaded>& kept, const std::filesystem::path& model,
                       const GenerationRequest& request);
    void generate_clips(Job& job);
    void follow_the_hand(Job& job);
    GenerationSetup setup_of(Job& job, const Loaded& model);
    void tell(Job& job, int64_t samples, int64_t shown);
    void note(Job& job, const GuardEvent& event);
    void note_events(Job& job, const std::vector<Clip>& clips);
    void write(const Job& job, const std::vector<Clip>& clips);
    void write_steered(const Job& job, int64_t samples, double bits, int64_t joins);

    std::shared_ptr<const Loaded> loaded_, second_;  // kept for the next time; the worker's
    std::atomic<int64_t> heard_{0};
    mutable std::mutex mutex_;  // of what follows
    std::shared_ptr<Steering> steering_;
    GenerationProgressNow progress_;
    std::shared_ptr<Sound> sound_;
    std::vector<MadeClip> made_;
    Background work_;  // last: it uses the others
};

}  // namespace nigiri::studio
