// Looking into a model beside the window: its layers' kernels, their step sizes along a sound, and where a sound
// surprises it.
#pragma once

#include <functional>
#include <limits>
#include <memory>
#include <optional>

#include "app/inspect/layers.h"
#include "app/inspect/surprise.h"
#include "app/studio/sessions/background.h"
#include "audio/sound.h"
#include "model/checkpoint.h"

namespace nigiri::studio {

struct InspectedLayer {
    std::string name;
    int64_t stride = 1, channels = 0;
    bool time_invariant = false;
};

struct InspectedModel {
    std::filesystem::path path;
    int rate = 0;  // Hz
    std::vector<InspectedLayer> layers;
};

struct InspectedKernels {
    size_t layer = 0;
    double rate = 0;  // Hz, of the layer's steps
    app::LayerKernels kernels;
};

// What was found along a sound; all in samples of the model's rate.
struct InspectedSteps {
    std::shared_ptr<const Sound> sound;  // that was asked about
    size_t layer = 0;
    int64_t channel = 0, channels = 0;
    int64_t stride = 1;                         // samples a step
    std::shared_ptr<const Sound> mean, values;  // one value a step: mean over the channels; of `channel`
    float lowest = std::numeric_limits<float>::infinity(), highest = 0;  // of both
};
struct InspectedSurprise {
    std::shared_ptr<const Sound> sound;
    int rate = 0;                              // Hz
    double total = 0;                          // bits
    std::shared_ptr<const Sound> bits, means;  // one value a sample; means over `window` samples
    int64_t window = 0;
    float highest = 0, highest_mean = 0;
    std::vector<app::SurprisingPlace> places;  // of that window
};

class InspectSession {
  public:
    explicit InspectSession(Wake wake) : work_(std::move(wake)) {}

    // Each asks for something; the last request of all is worked on when what runs has stopped, and what it gives
    // appears below. Sounds still growing are taken as far as they go.
    void open(const std::filesystem::path& model, const std::string& device, int threads);
    void ask_kernels(size_t layer, int64_t length);
    void ask_steps(size_t layer, int64_t channel, std::shared_ptr<const Sound> sound);
    // `seconds`: the window of the means.
    void ask_surprise(std::shared_ptr<const Sound> sound, double seconds);
    // Another window over what was measured.
    void ask_means(double seconds);
    void cancel();
    // The window's thread, every frame.
    void update();

    bool running() const { return wanted_ != nullptr || work_.running(); }
    Background::Status status() const { return work_.status(); }
    // Of the model opened last; null while there is none yet.
    std::shared_ptr<const InspectedModel> model() const { return get(model_); }
    std::shared_ptr<const InspectedKernels> kernels() const { return get(kernels_); }
    std::shared_ptr<const InspectedSteps> steps() const { return get(steps_); }
    std::shared_ptr<const InspectedSurprise> surprise() const { return get(surprise_); }

  private:
    struct Loaded {
        std::unique_ptr<Network> network;
        Config config;
        std::vector<StateSpaceInfo> layers;
    };
    template <class T>
    std::shared_ptr<const T> get(const std::shared_ptr<const T>& value) const {
        const std::lock_guard lock(mutex_);
        return value;
    }
    template <class T>
    void set(std::shared_ptr<const T>& place, T&& value) {
        auto fresh = std::make_shared<const T>(std::move(value));
        const std::lock_guard lock(mutex_);
        place = std::move(fresh);
    }
    void ask(std::function<void()> work);
    void load(const std::filesystem::path& model, const std::string& device, int threads);
    const Loaded& loaded() const;
    void set_means(InspectedSurprise found, const std::vector<float>& bits, double seconds);
    std::vector<float> samples_for(const Sound& sound) const;
    std::vector<uint8_t> codes_for(std::vector<float> samples) const;

    std::function<void()> wanted_;
    std::optional<Loaded> loaded_;  // the worker's
    mutable std::mutex mutex_;      // of what follows
    std::shared_ptr<const InspectedModel> model_;
    std::shared_ptr<const InspectedKernels> kernels_;
    std::shared_ptr<const InspectedSteps> steps_;
    std::shared_ptr<const InspectedSurprise> surprise_;
    Background work_;  // last: it uses the others
};

}  // namespace nigiri::studio
