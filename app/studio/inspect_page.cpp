// Inspect: what a model's layers learned, and where a sound surprises it.
#include <imgui.h>

#include <algorithm>
#include <cmath>

#include "app/compare/picture.h"
#include "app/studio/inspect_session.h"
#include "app/studio/line_plot.h"
#include "app/studio/marks.h"
#include "app/studio/model_list.h"
#include "app/studio/studio.h"
#include "app/studio/texture.h"
#include "app/studio/theme.h"
#include "app/studio/widgets.h"
#include "app/text.h"

namespace nigiri::studio {

namespace fs = std::filesystem;

namespace {

constexpr size_t places_listed = 12;
constexpr int64_t overview_budget = 4'000'000;  // new values a frame: some eight milliseconds

// A curve along a sound that can be drawn at any zoom.
class Curve {
  public:
    void set(int rate, std::vector<float> values) {
        range_ = plot_range(values);
        overview_.emplace(std::make_shared<const Sound>(rate, std::move(values)));
    }
    bool there() const { return overview_.has_value(); }
    std::pair<double, double> range() const { return range_; }
    // `begin` to `end` in values, which may be fractions.
    void draw(const PlotArea& area, double begin, double end, ImU32 colour) {
        overview_->update(overview_budget);
        columns_.resize(static_cast<size_t>(area.size.x));
        const auto first = static_cast<int64_t>(std::floor(begin));
        overview_->query(first, std::max(first + 1, static_cast<int64_t>(std::ceil(end))), columns_);
        plot_columns(area, columns_, colour);
    }

  private:
    std::optional<Overview> overview_;
    std::vector<SampleSummary> columns_;
    std::pair<double, double> range_{0, 1};
};

class InspectPage final : public Page {
  public:
    explicit InspectPage(const Wake& wake) : session_(wake) {}

    const char* name() const override { return "inspect"; }
    const char* title() const override { return "Inspect"; }

    bool dropped(Desk& desk, const fs::path& path) override {
        std::error_code code;
        if (path.extension() != ".safetensors" && !fs::exists(path / "checkpoints", code)) return false;
        choose(desk, path);
        return true;
    }

    void update(Desk& desk) override {
        session_.update();
        const Background::Status status = session_.status();
        if (status.ended != seen_) {
            seen_ = status.ended;
            if (!status.error.empty()) desk.messages.fail(status.error, status.hint);
        }
        if (session_.kernels() != kernels_) {
            kernels_ = session_.kernels();
            responses_.clear();
        }
        if (session_.surprise() != surprise_) {
            surprise_ = session_.surprise();
            take_surprise();
        }
        if (session_.steps() != steps_) {
            steps_ = session_.steps();
            take_steps();
        }
    }

    void draw(Desk& desk) override {
        ui::title("Inspect");
        draw_model(desk);
        const Background::Status status = session_.status();
        if (session_.running()) {
            ImGui::SameLine();
            if (ui::button("Cancel", !status.stopping)) session_.cancel();
            ui::progress(status.fraction, status.what);
        }
        if (!session_.model() || !ImGui::BeginTabBar("tabs")) return;
        tab("Surprise", [&] { draw_surprise(desk); });
        tab("Kernels", [&] { draw_kernels(); });
        tab("Delta", [&] { draw_delta(desk); });
        ImGui::EndTabBar();
    }

  private:
    template <class Draw>
    void tab(const char* label, Draw&& draw) {
        const bool open = ImGui::BeginTabItem(label);
        ui::mark(std::string("tab/") + label);
        if (!open) return;
        ImGui::BeginChild(label);
        ImGui::Dummy({0, theme().units(2)});
        draw();
        ImGui::EndChild();
        ImGui::EndTabItem();
    }

    void choose(Desk& desk, const fs::path& path) {
        desk.model = path;
        remember(desk.settings.recent_models, path);
        models_.clear();
    }

    void draw_model(Desk& desk) {
        if (models_.empty() || ImGui::GetTime() - models_read_ > 10) {
            models_ = list_models(desk.settings.runs_folder(), desk.settings.recent_models,
                                  fs::path(NIGIRI_ASSETS_DIR) / "models");
            models_read_ = ImGui::GetTime();
        }
        if (desk.model.empty() && !models_.empty()) desk.model = models_.back().path;
        std::string chosen = desk.model.filename().string();
        std::vector<std::string> labels;
        for (const ModelEntry& m : models_) {
            labels.push_back(m.label);
            if (m.path == desk.model) chosen = m.label;
        }
        if (ui::choice("##model", chosen, labels, 330))
            for (const ModelEntry& m : models_)
                if (m.label == chosen) desk.model = m.path;
        ImGui::SameLine();
        if (ui::button("Open\u2026"))
            desk.dialog.open({.wanted = FileDialog::Wanted::file,
                              .title = "Open a model",
                              .start = {},
                              .endings = {".safetensors"},
                              .places = {desk.settings.runs_folder(), fs::path(NIGIRI_ASSETS_DIR) / "models"}},
                             [this, &desk](const fs::path& path) { choose(desk, path); });
        ImGui::SameLine();
        if (ui::button("Open a sound\u2026"))
            desk.dialog.open({.wanted = FileDialog::Wanted::file,
                              .title = "Choose a sound to look at",
                              .start = desk.data,
                              .endings = {".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff", ".aif", ".au", ".caf"}},
                             [&desk](const fs::path& path) { desk.deck.open(path); });
        ui::help("What is looked at is what the player below holds.");
        if (desk.model != opened_ && !desk.model.empty()) {
            opened_ = desk.model;
            layer_ = selective_ = 0;
            session_.open(opened_, desk.settings.compute_device, desk.settings.threads);
        }
    }

    // The sound below, if there is one to look at.
    std::shared_ptr<const Sound> sound_of(Desk& desk) const { return desk.deck.sound(); }

    // Whether what was found belongs to the sound that the player shows.
    template <class Found>
    static bool current(Desk& desk, const std::shared_ptr<const Found>& found) {
        return found && found->sound == desk.deck.sound();
    }

    // A plot that shows the same stretch of the sound as the player, and moves it. Horizontal axis in seconds.
    template <class Draw>
    void along(Desk& desk, const char* id, ImVec2 size, const std::string& unit, std::pair<double, double> range,
               Draw&& draw) {
        ViewRange& view = desk.deck.range();
        const double rate = desk.deck.sound()->rate();
        const PlotArea area = begin_plot(id, size,
                                         {.left = view.begin() / rate,
                                          .right = view.end() / rate,
                                          .bottom = range.first,
                                          .top = range.second,
                                          .horizontal = "s",
                                          .vertical = unit});
        draw(area);
        plot_mark(area, static_cast<double>(desk.deck.player().status().position) / rate,
                  packed(theme().colours.playhead));
        end_plot();
        const ImGuiIO& io = ImGui::GetIO();
        if (area.hovered && io.MouseWheel != 0)
            view.zoom(std::pow(0.8, static_cast<double>(io.MouseWheel)), area.value_at(io.MousePos.x) * rate);
        if (area.pressed) desk.deck.player().seek(static_cast<int64_t>(*area.pressed * rate));
    }

    // ---- surprise

    void take_surprise() {
        raw_ = smooth_ = Curve();
        places_.clear();
        if (!surprise_) return;
        raw_.set(surprise_->rate, surprise_->bits);
        smooth_surprise();
    }

    void smooth_surprise() {
        const auto window = static_cast<int64_t>(std::max(1.0, window_ms_ / 1000 * surprise_->rate));
        smooth_.set(surprise_->rate, app::smoothed(surprise_->bits, window));
        places_ = app::most_surprising(surprise_->bits, window, places_listed);
    }

    void draw_surprise(Desk& desk) {
        const auto sound = sound_of(desk);
        if (ui::primary("Measure the surprise", sound != nullptr && !session_.running())) session_.ask_surprise(sound);
        ImGui::SameLine();
        ui::muted(sound ? "of " + desk.deck.name()
                        : "Play a recording or a clip first: it is looked at as it stands below.");
        if (!current(desk, surprise_)) {
            ui::paragraph(
                "The model tells for every sample how likely it was, given all that came before. What it did not "
                "expect costs "
                "many bits: note beginnings, noise, a wrong note. Their mean is its bits per sample.");
            return;
        }
        const double n = static_cast<double>(std::max<size_t>(surprise_->bits.size(), 1));
        ui::heading((app::fixed(surprise_->total / n, 3) + " bits per sample, " + app::thousands(surprise_->total) +
                     " bits in all")
                        .c_str());
        marks().note("inspect.bits", app::fixed(surprise_->total, 3));
        ui::checkbox("every sample", show_raw_);
        ImGui::SameLine(0, theme().units(20));
        ui::label("Mean over", 76);
        if (ui::slider("##window", window_ms_, 1, 1000, "%.0f ms", 200)) stale_ = true;
        // Not at every move of the slider: a long sound takes a moment.
        if (stale_ && !ImGui::IsItemActive()) stale_ = false, smooth_surprise();
        const float list = theme().units(300);
        const ImVec2 size = {ImGui::GetContentRegionAvail().x - list - theme().units(10),
                             std::max(ImGui::GetContentRegionAvail().y, theme().units(120))};
        const double scale = static_cast<double>(surprise_->rate) / sound->rate();
        auto range = show_raw_ ? raw_.range() : smooth_.range();
        range.first = std::min(range.first, 0.0);
        along(desk, "surprise", size, "bits", range, [&](const PlotArea& area) {
            const double begin = desk.deck.range().begin() * scale, end = desk.deck.range().end() * scale;
            if (show_raw_) raw_.draw(area, begin, end, packed(theme().colours.wave, 0.35f));
            smooth_.draw(area, begin, end, packed(theme().colours.accent));
        });
        ImGui::SameLine(0, theme().units(10));
        draw_places(desk, scale);
    }

    void draw_places(Desk& desk, double scale) {
        if (!ImGui::BeginTable("places", 3, ImGuiTableFlags_ScrollY | ImGuiTableFlags_RowBg)) return;
        ImGui::TableSetupScrollFreeze(0, 1);
        ImGui::TableSetupColumn("Most surprising at", ImGuiTableColumnFlags_WidthStretch, 1.6f);
        ImGui::TableSetupColumn("Bits", ImGuiTableColumnFlags_WidthStretch, 1);
        ImGui::TableSetupColumn("Of all", ImGuiTableColumnFlags_WidthStretch, 1);
        ImGui::TableHeadersRow();
        for (size_t i = 0; i < places_.size(); ++i) {
            const app::SurprisingPlace& p = places_[i];
            ImGui::TableNextRow();
            ImGui::TableNextColumn();
            const std::string at = time_text(static_cast<double>(p.begin) / surprise_->rate, 1);
            ImGui::PushID(static_cast<int>(i));
            if (ImGui::Selectable(at.c_str(), false, ImGuiSelectableFlags_SpanAllColumns)) {
                const double begin = static_cast<double>(p.begin) / scale;
                desk.deck.player().seek(static_cast<int64_t>(begin));
                desk.deck.range().follow(begin);
            }
            ui::mark("place/" + std::to_string(i + 1));
            ui::help("Press to hear it from here.");
            ImGui::PopID();
            ImGui::TableNextColumn();
            ImGui::Text("%.2f", p.mean_bits);
            ImGui::TableNextColumn();
            ImGui::Text("%.2f %%", 100 * p.share);
        }
        ImGui::EndTable();
    }

    // ---- layers

    // Chooses among the layers of a kind; -1 where there are none.
    int choose_layer(bool time_invariant, size_t& chosen) {
        const auto model = session_.model();
        std::vector<std::string> names;
        std::vector<size_t> indices;
        for (size_t i = 0; i < model->layers.size(); ++i) {
            const InspectedLayer& l = model->layers[i];
            if (l.time_invariant != time_invariant) continue;
            names.push_back(l.name + (l.stride > 1 ? ", every " + std::to_string(l.stride) + " samples" : ""));
            indices.push_back(i);
        }
        if (indices.empty()) return -1;
        chosen = std::min(chosen, indices.size() - 1);
        std::string shown = names[chosen];
        ui::label("Layer", 44);
        if (ui::choice(time_invariant ? "##kernel-layer" : "##delta-layer", shown, names, 240))
            chosen = static_cast<size_t>(std::find(names.begin(), names.end(), shown) - names.begin());
        ImGui::SameLine(0, theme().units(16));
        return static_cast<int>(indices[chosen]);
    }

    void draw_kernels() {
        const int layer = choose_layer(true, layer_);
        if (layer < 0) {
            ui::muted("All layers of this model are selective: they have no fixed kernels. Look at their delta.");
            return;
        }
        const int channels = static_cast<int>(session_.model()->layers[static_cast<size_t>(layer)].channels);
        first_channel_ = std::min(first_channel_, channels - 1);
        ui::label("Channel", 60);
        ui::number("##channel", first_channel_, 0, channels - 1, 110);
        ui::help("0 to " + std::to_string(channels - 1));
        ImGui::SameLine(0, theme().units(16));
        ui::label("and the next", 88);
        ui::number("##more", more_channels_, 0, 7, 100);
        ImGui::SameLine(0, theme().units(16));
        std::string steps = std::to_string(kernel_length_) + " steps";
        if (ui::choice("##length", steps, {"256 steps", "1024 steps", "4096 steps", "16384 steps"}, 120))
            kernel_length_ = std::stoi(steps);
        ImGui::SameLine(0, theme().units(16));
        ui::checkbox("log time", log_time_);
        const bool fits =
            kernels_ && kernels_->layer == static_cast<size_t>(layer) && kernels_->kernels.length == kernel_length_;
        if (!fits) {
            if (!session_.running()) session_.ask_kernels(static_cast<size_t>(layer), kernel_length_);
            return;
        }
        draw_kernel_plots(std::min(more_channels_ + 1, channels - first_channel_));
    }

    void draw_kernel_plots(int count) {
        const app::LayerKernels& k = kernels_->kernels;
        const double rate = kernels_->rate;
        if (responses_.empty() || shown_first_ != first_channel_ || shown_count_ != count) {
            shown_first_ = first_channel_, shown_count_ = count;
            responses_.clear();
            for (int c = 0; c < count; ++c)
                responses_.push_back(app::frequency_response(k.channel(first_channel_ + c), rate));
        }
        std::vector<double> ms(static_cast<size_t>(k.length));
        // On a logarithmic axis the first step stands where the second begins.
        for (size_t i = 0; i < ms.size(); ++i) ms[i] = 1000 * (static_cast<double>(i) + (log_time_ ? 1 : 0)) / rate;
        std::vector<float> all;
        for (int c = 0; c < count; ++c) {
            const auto values = k.channel(first_channel_ + c);
            all.insert(all.end(), values.begin(), values.end());
        }
        const auto [low, high] = plot_range(all);
        const float height = (ImGui::GetContentRegionAvail().y - theme().units(50)) / 2;
        ui::muted("In time: what a click turns into (milliseconds).");
        const PlotArea time = begin_plot("kernel", {ImGui::GetContentRegionAvail().x, height},
                                         {.left = ms.front(),
                                          .right = ms.back(),
                                          .bottom = low,
                                          .top = high,
                                          .logarithmic = log_time_,
                                          .horizontal = "ms",
                                          .vertical = ""});
        for (int c = count; c-- > 0;)
            plot_line(time, ms, k.channel(first_channel_ + c), series_colour(static_cast<size_t>(c)));
        end_plot();
        ui::muted("In frequency: which pitches it lets through (hertz, decibels).");
        std::vector<float> loud;
        std::vector<std::vector<float>> levels;
        for (const auto& r : responses_) {
            levels.emplace_back(r.decibels.begin() + 1, r.decibels.end());
            loud.insert(loud.end(), levels.back().begin(), levels.back().end());
        }
        auto [quiet, loudest] = plot_range(loud);
        quiet = std::max(quiet, loudest - 90);
        const std::span<const double> hertz = std::span(responses_[0].hertz).subspan(1);
        const PlotArea tone = begin_plot("spectrum", {ImGui::GetContentRegionAvail().x, height},
                                         {.left = std::max(hertz.front(), 5.0),
                                          .right = hertz.back(),
                                          .bottom = quiet,
                                          .top = loudest,
                                          .logarithmic = true,
                                          .horizontal = "Hz",
                                          .vertical = "dB"});
        for (int c = count; c-- > 0;)
            plot_line(tone, hertz, levels[static_cast<size_t>(c)], series_colour(static_cast<size_t>(c)));
        end_plot();
    }

    void take_steps() {
        mean_ = channel_ = Curve();
        if (!steps_) return;
        // Of the curve's own values; the rate only tells sounds apart.
        mean_.set(1, steps_->steps.mean);
        channel_.set(1, steps_->steps.channel);
        const Spectrogram& s = steps_->picture;
        if (s.values.empty()) return;
        const double loudest = static_cast<double>(*std::max_element(s.values.begin(), s.values.end()));
        picture_.set(static_cast<int>(s.frames), s.bands, app::spectrogram_pixels(s, loudest));
    }

    void draw_delta(Desk& desk) {
        const int layer = choose_layer(false, selective_);
        if (layer < 0) {
            ui::muted(
                "No layer of this model is selective: their steps are the same at all times. Look at their kernels.");
            return;
        }
        const int channels = static_cast<int>(session_.model()->layers[static_cast<size_t>(layer)].channels);
        delta_channel_ = std::min(delta_channel_, channels - 1);
        ui::label("Channel", 60);
        ui::number("##delta-channel", delta_channel_, 0, channels - 1, 110);
        ImGui::SameLine(0, theme().units(16));
        const auto sound = sound_of(desk);
        if (ui::primary("Measure delta", sound != nullptr && !session_.running()))
            session_.ask_steps(static_cast<size_t>(layer), delta_channel_, sound);
        ImGui::SameLine();
        ui::muted(sound ? "of " + desk.deck.name() : "Play a recording or a clip first.");
        if (!current(desk, steps_)) {
            ui::paragraph(
                "Delta is how far a selective layer turns its clock with each step: where it is large, the layer takes "
                "in what it "
                "hears and forgets what was; where it is small, it holds on to what it has.");
            return;
        }
        const float width = ImGui::GetContentRegionAvail().x;
        const float height = ImGui::GetContentRegionAvail().y - theme().units(30);
        draw_picture(desk, {width, height * 0.45f});
        const app::LayerSteps& s = steps_->steps;
        const double scale =
            static_cast<double>(session_.model()->rate) / sound->rate() / static_cast<double>(s.stride);
        const auto range = std::pair(std::min({0.0, mean_.range().first, channel_.range().first}),
                                     std::max(mean_.range().second, channel_.range().second));
        along(desk, "delta", {width, height * 0.55f}, "delta", range, [&](const PlotArea& area) {
            const double begin = desk.deck.range().begin() * scale, end = desk.deck.range().end() * scale;
            channel_.draw(area, begin, end, series_colour(0, 0.7f));
            mean_.draw(area, begin, end, packed(theme().colours.accent));
        });
        ImGui::TextColored(theme().colours.accent, "mean of %lld channels", static_cast<long long>(s.channels));
        ImGui::SameLine(0, theme().units(16));
        ImGui::TextColored(theme().colours.series[0], "channel %lld", static_cast<long long>(steps_->channel));
    }

    void draw_picture(Desk& desk, ImVec2 size) {
        const ViewRange& view = desk.deck.range();
        const auto length = static_cast<float>(desk.deck.sound()->size());
        const ImVec2 at = ImGui::GetCursorScreenPos();
        ImGui::Image(picture_.id(), size, {static_cast<float>(view.begin()) / length, 0},
                     {static_cast<float>(view.end()) / length, 1});
        const float x = view.x_of(static_cast<double>(desk.deck.player().status().position), at.x, size.x);
        ImDrawList& draw = *ImGui::GetWindowDrawList();
        if (x >= at.x && x <= at.x + size.x)
            draw.AddLine({x, at.y}, {x, at.y + size.y}, packed(theme().colours.playhead), theme().units(1.5f));
    }

    InspectSession session_;
    std::vector<ModelEntry> models_;
    double models_read_ = 0;
    fs::path opened_;
    uint64_t seen_ = 0;

    std::shared_ptr<const InspectedSurprise> surprise_;
    Curve raw_, smooth_;
    std::vector<app::SurprisingPlace> places_;
    double window_ms_ = 50;
    bool show_raw_ = true, stale_ = false;

    std::shared_ptr<const InspectedKernels> kernels_;
    std::vector<app::FrequencyResponse> responses_;
    size_t layer_ = 0, selective_ = 0;
    int first_channel_ = 0, more_channels_ = 3, kernel_length_ = 1024, shown_first_ = -1, shown_count_ = 0;
    bool log_time_ = false;

    std::shared_ptr<const InspectedSteps> steps_;
    Curve mean_, channel_;
    int delta_channel_ = 0;
    Texture picture_;
};

}  // namespace

std::unique_ptr<Page> make_inspect_page(const Wake& wake) { return std::make_unique<InspectPage>(wake); }

}  // namespace nigiri::studio
