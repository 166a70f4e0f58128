#include "app/studio/sessions/inspect_session.h"

#include <algorithm>
#include <cmath>

#include "app/clips.h"
#include "app/model_file.h"
#include "audio/resample.h"
#include "kernels/backend.h"

namespace nigiri::studio {

namespace fs = std::filesystem;

namespace {

constexpr size_t places_listed = 12;

}  // namespace

void InspectSession::ask(std::function<void()> work) {
    work_.stop();
    wanted_ = std::move(work);
    update();
}

void InspectSession::update() {
    if (wanted_ && !work_.running()) work_.start(std::exchange(wanted_, nullptr));
}

void InspectSession::cancel() {
    wanted_ = nullptr;
    work_.stop();
}

void InspectSession::open(const fs::path& model, const std::string& device, int threads) {
    {
        const std::lock_guard lock(mutex_);
        model_.reset(), kernels_.reset(), steps_.reset(), surprise_.reset();
    }
    ask([this, model, device, threads] { load(model, device, threads); });
}

void InspectSession::load(const fs::path& model, const std::string& device, int threads) {
    work_.report(0, "loading " + model.filename().string());
    loaded_.reset();  // its memory, before more is taken
    const Checkpoint checkpoint = Checkpoint::read(app::model_path(model));
    Loaded fresh;
    fresh.config = checkpoint.config();
    fresh.network = checkpoint.make_network(make_backend(device, threads));
    fresh.layers = fresh.network->state_spaces();
    InspectedModel seen{.path = model, .rate = fresh.config.signal.sample_rate, .layers = {}};
    for (const StateSpaceInfo& s : fresh.layers)
        seen.layers.push_back({s.name, s.stride, s.layer->channels(), s.layer->time_invariant()});
    loaded_ = std::move(fresh);
    set(model_, std::move(seen));
}

const InspectSession::Loaded& InspectSession::loaded() const {
    if (!loaded_) throw Error("no model is open", "choose one");
    return *loaded_;
}

std::vector<float> InspectSession::samples_for(const Sound& sound) const {
    const int rate = loaded().config.signal.sample_rate;
    std::vector<float> samples = sound.copy();
    if (sound.rate() != rate) samples = resample(samples, sound.rate(), rate);
    if (samples.empty()) throw Error("there is no sound to look at", "play something first");
    return samples;
}

std::vector<uint8_t> InspectSession::codes_for(std::vector<float> samples) const {
    return app::prompt_codes(std::move(samples), loaded().config.signal);
}

void InspectSession::ask_kernels(size_t layer, int64_t length) {
    ask([this, layer, length] {
        work_.report(0, "kernels");
        const Loaded& m = loaded();
        InspectedKernels found;
        found.layer = layer;
        found.kernels = app::layer_kernels(*m.network, m.layers.at(layer), length);
        found.rate = static_cast<double>(m.config.signal.sample_rate) / static_cast<double>(m.layers[layer].stride);
        set(kernels_, std::move(found));
    });
}

void InspectSession::ask_steps(size_t layer, int64_t channel, std::shared_ptr<const Sound> sound) {
    ask([this, layer, channel, sound = std::move(sound)] {
        work_.report(0, "reading the sound");
        const Loaded& m = loaded();
        InspectedSteps found;
        found.sound = sound, found.layer = layer, found.channel = channel;
        const int rate = m.config.signal.sample_rate;
        app::LayerSteps steps =
            app::layer_steps(*m.network, m.layers.at(layer), codes_for(samples_for(*sound)), channel, work_.progress());
        found.channels = steps.channels, found.stride = steps.stride;
        for (const auto* values : {&steps.mean, &steps.channel})
            for (const float v : *values)
                found.lowest = std::min(found.lowest, v), found.highest = std::max(found.highest, v);
        found.mean = std::make_shared<const Sound>(rate, std::move(steps.mean));
        found.values = std::make_shared<const Sound>(rate, std::move(steps.channel));
        set(steps_, std::move(found));
    });
}

void InspectSession::ask_surprise(std::shared_ptr<const Sound> sound, double seconds) {
    ask([this, sound = std::move(sound), seconds] {
        work_.report(0, "reading the sound");
        const Loaded& m = loaded();
        InspectedSurprise found;
        found.sound = sound;
        found.rate = m.config.signal.sample_rate;
        std::vector<float> bits = app::sample_bits(*m.network, codes_for(samples_for(*sound)), work_.progress());
        for (const float b : bits) found.total += static_cast<double>(b), found.highest = std::max(found.highest, b);
        found.bits = std::make_shared<const Sound>(found.rate, bits);
        set_means(std::move(found), bits, seconds);
    });
}

void InspectSession::ask_means(double seconds) {
    ask([this, seconds] {
        if (const auto measured = surprise()) set_means(*measured, measured->bits->copy(), seconds);
    });
}

void InspectSession::set_means(InspectedSurprise found, const std::vector<float>& bits, double seconds) {
    found.window = std::max<int64_t>(1, std::llround(seconds * found.rate));
    std::vector<float> means = app::smoothed(bits, found.window);
    found.highest_mean = means.empty() ? 0 : *std::max_element(means.begin(), means.end());
    found.means = std::make_shared<const Sound>(found.rate, std::move(means));
    found.places = app::most_surprising(bits, found.window, found.rate / 4, places_listed);
    set(surprise_, std::move(found));
}

}  // namespace nigiri::studio
