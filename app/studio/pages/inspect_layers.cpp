#include "app/studio/pages/inspect_layers.h"

#include <algorithm>

#include "app/studio/widgets/marks.h"
#include "app/studio/widgets/theme.h"
#include "app/studio/widgets/widgets.h"

namespace nigiri::studio {

namespace {

constexpr double lowest_hertz = 5;
constexpr double lowest_decibels = -120;

void gap() { ImGui::SameLine(0, theme().units(16)); }

}  // namespace

std::optional<size_t> LayerChoice::draw(const InspectedModel& model) {
    std::vector<std::string> names;
    std::vector<size_t> indices;
    for (size_t i = 0; i < model.layers.size(); ++i) {
        const InspectedLayer& l = model.layers[i];
        if (l.time_invariant != time_invariant_) continue;
        names.push_back(l.name + (l.stride > 1 ? ", every " + std::to_string(l.stride) + " samples" : ""));
        indices.push_back(i);
    }
    if (indices.empty()) return {};
    chosen_ = std::min(chosen_, indices.size() - 1);
    std::string shown = names[chosen_];
    ui::label("Layer", 44);
    if (ui::choice(time_invariant_ ? "##kernel-layer" : "##delta-layer", shown, names, 220))
        chosen_ = static_cast<size_t>(std::find(names.begin(), names.end(), shown) - names.begin());
    gap();
    channels_ = static_cast<int>(model.layers[indices[chosen_]].channels);
    ui::label("Channel", 60);
    ui::number(time_invariant_ ? "##kernel-channel" : "##delta-channel", channel, 0, channels_ - 1, 110);
    ui::help("0 to " + std::to_string(channels_ - 1));
    gap();
    return indices[chosen_];
}

void KernelView::draw(InspectSession& session) {
    const auto layer = layer_.draw(*session.model());
    if (!layer) {
        ui::muted(session.model()->layers.empty()
                      ? "The layers of this model are attention: they have no kernels."
                      : "All layers of this model are selective: they have no fixed kernels. Look at their delta.");
        return;
    }
    ui::label("and the next", 88);
    ui::number("##more", more_, 0, 7, 100);
    gap();
    std::string steps = std::to_string(length_) + " steps";
    if (ui::choice("##length", steps, {"256 steps", "1024 steps", "4096 steps", "16384 steps"}, 120))
        length_ = std::stoi(steps);
    gap();
    ui::checkbox("log time", log_time_);
    const auto found = session.kernels();
    if (!found || found->layer != *layer || found->kernels.length != length_) {
        // Once by itself; again, after a failure or a cancel, when it is asked for.
        const Asked now{session.model(), *layer, length_};
        const bool fresh = asked_ != now;
        if (!session.running() && (fresh || ui::button("Show the kernels"))) {
            asked_ = now;
            session.ask_kernels(*layer, length_);
        }
        return;
    }
    const int count = std::min(more_ + 1, layer_.channels() - layer_.channel);
    if (shown_ != found || first_ != layer_.channel || count_ != count) {
        shown_ = found, first_ = layer_.channel, count_ = count;
        take(*found, first_, count_);
        time_.state.reset(), frequency_.state.reset();
    }
    time_.state.set_scales(log_time_ ? AxisScale::logarithmic : AxisScale::linear, AxisScale::linear);
    frequency_.state.set_scales(AxisScale::logarithmic, AxisScale::linear);
    const float width = ImGui::GetContentRegionAvail().x;
    const float height = (ImGui::GetContentRegionAvail().y - theme().units(60)) / 2;
    ui::muted("What a click turns into. The first value includes the direct way past the layer's memory.");
    time_.draw("kernel", {width, height}, in_time_, {}, "ms", "", "");
    ui::muted("Which pitches it lets through, in decibels.");
    frequency_.draw("spectrum", {width, height}, in_frequency_, {}, "Hz", "dB", "");
}

void KernelView::take(const InspectedKernels& found, int first, int count) {
    in_time_.assign(static_cast<size_t>(count), {});
    in_frequency_ = in_time_;
    for (int i = 0; i < count; ++i) {
        PlotSeries &time = in_time_[static_cast<size_t>(i)], &frequency = in_frequency_[static_cast<size_t>(i)];
        time.name = frequency.name = "channel " + std::to_string(first + i);
        time.colour = frequency.colour = static_cast<size_t>(i);
        const auto kernel = found.kernels.channel(first + i);
        // Step l is drawn at l + 1 steps, so that a logarithmic axis has room for the first one.
        for (size_t l = 0; l < kernel.size(); ++l)
            time.append(1000 * static_cast<double>(l + 1) / found.rate, static_cast<double>(kernel[l]));
        const app::FrequencyResponse r = app::frequency_response(kernel, found.rate);
        for (size_t k = 0; k < r.hertz.size(); ++k)
            if (r.hertz[k] >= lowest_hertz && r.decibels[k] > lowest_decibels)
                frequency.append(r.hertz[k], r.decibels[k]);
    }
}

void DeltaView::draw(Desk& desk, InspectSession& session) {
    const auto layer = layer_.draw(*session.model());
    if (!layer) {
        ui::muted(
            session.model()->layers.empty()
                ? "The layers of this model are attention: they have no steps."
                : "No layer of this model is selective: their steps are the same at all times. Look at their kernels.");
        return;
    }
    const auto sound = desk.deck.sound();
    if (ui::primary("Measure delta", sound != nullptr && !session.running()))
        session.ask_steps(*layer, layer_.channel, sound);
    ImGui::SameLine();
    ui::muted(sound ? "of " + desk.deck.name() : "Play a recording or a clip first.");
    const auto found = session.steps();
    if (found != shown_) {
        shown_ = found;
        mean_.set(found ? found->mean : nullptr);
        channel_.set(found ? found->values : nullptr);
    }
    if (!found || found->sound != sound || found->layer != *layer) {
        ui::paragraph(
            "Delta is how far a selective layer turns its clock with each step: where it is large, the layer takes in "
            "what it hears and forgets what was; where it is small, it holds on to what it has.");
        return;
    }
    if (painted_ != sound) spectrogram_.set_sound(painted_ = sound);
    const float width = ImGui::GetContentRegionAvail().x;
    const float height = ImGui::GetContentRegionAvail().y - theme().units(46);
    const ImVec2 at = ImGui::GetCursorScreenPos(), size = {width, height * 0.45f};
    ImGui::Dummy(size);
    ui::mark("spectrogram");
    spectrogram_.draw(*ImGui::GetWindowDrawList(), at, size, desk.deck.range().begin(), desk.deck.range().end());
    const double lowest = static_cast<double>(found->lowest), highest = static_cast<double>(found->highest);
    const double room = 0.05 * (highest - lowest);
    const double scale =
        static_cast<double>(session.model()->rate) / sound->rate() / static_cast<double>(found->stride);
    draw_sound_plot(desk.deck, "delta", {width, height * 0.55f}, {.begin = lowest - room, .end = highest + room},
                    "delta",
                    {{&channel_, scale, series_colour(0, 0.7f)}, {&mean_, scale, packed(theme().colours.accent)}});
    ImGui::TextColored(theme().colours.accent, "mean of %lld channels", static_cast<long long>(found->channels));
    gap();
    ImGui::TextColored(theme().colours.series[0], "channel %lld", static_cast<long long>(found->channel));
}

}  // namespace nigiri::studio
