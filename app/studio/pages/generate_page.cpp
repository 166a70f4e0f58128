// Generate: a model plays; every clip is kept with what it was made with.
#include <imgui.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "app/studio/sessions/clip_library.h"
#include "app/studio/widgets/marks.h"
#include "app/studio/sessions/model_list.h"
#include "app/studio/pages/prompt_picker.h"
#include "app/studio/studio.h"
#include "app/studio/widgets/theme.h"
#include "app/studio/widgets/widgets.h"
#include "app/text.h"

namespace nigiri::studio {

namespace fs = std::filesystem;

namespace {

constexpr float generate_label_width = 110;
const std::string no_second = "none";

uint64_t fresh_seed() {
    static std::mt19937_64 engine{std::random_device{}()};
    return engine() % 1'000'000'000;  // short enough to read out and type in
}

class GeneratePage final : public Page {
  public:
    explicit GeneratePage(const Wake& wake)
        : session_(wake), library_(wake), models_(wake, list_models), prompt_(wake) {}

    const char* name() const override { return "generate"; }
    const char* title() const override { return "Generate"; }
    bool moving() const override { return prompt_.recording(); }
    std::string unfinished() const override { return session_.status().running ? "a clip is being generated" : ""; }

    bool dropped(Desk& desk, const fs::path& path) override {
        if (path.extension() == ".safetensors" || fs::exists(path / "checkpoints")) {
            choose_model(desk, path);
        } else {
            prompt_.use_file(path);
        }
        return true;
    }

    void update(Desk& desk) override {
        if (desk.settings.clips_folder() != folder_) {
            folder_ = desk.settings.clips_folder();
            library_.open(folder_);
        }
        library_.update();
        if (const auto sound = session_.sound(); sound && sound != shown_) {
            shown_ = sound;
            // A hand wants to hear soon what it does.
            desk.deck.player().set_buffer(session_.steering() ? 0.3 : 1);
            desk.deck.show("seed " + std::to_string(request_.sampling.seed), sound, play_);
        }
        const Background::Status status = session_.status();
        for (MadeClip& clip : session_.take_made()) {
            desk.messages.note("Kept " + clip.file.filename().string());
            last_made_ = clip.file;
            library_.add(std::move(clip));
        }
        if (status.ended != seen_) {
            seen_ = status.ended;
            if (!status.error.empty()) desk.messages.fail(status.error, status.hint);
        }
        if (const auto steering = session_.steering(); steering && status.running) {
            steering->controls()->set(request_.sampling);
            steering->set_mix(mix_);
            if (desk.deck.sound() == shown_) session_.set_heard(desk.deck.player().status().position);
        }
        prompt_.update(desk);
    }

    void draw(Desk& desk) override {
        ui::title("Generate");
        ImGui::BeginGroup();
        ui::begin_card("settings", 430, 0);
        draw_model(desk);
        draw_sampling();
        prompt_.draw(desk, generate_label_width);
        draw_steering();
        draw_start(desk);
        ui::end_card();
        ImGui::EndGroup();
        ImGui::SameLine();
        ImGui::BeginChild("made");
        draw_history(desk);
        ImGui::EndChild();
    }

  private:
    void choose_model(Desk& desk, const fs::path& path) {
        desk.model = path;
        remember(desk.settings.recent_models, path);
    }

    void draw_model(Desk& desk) {
        models_.want(model_places(desk.settings));
        const std::vector<ModelEntry>& models = models_.value();
        if (desk.model.empty() && !models.empty()) desk.model = models.back().path;
        std::string chosen = desk.model.filename().string();
        std::vector<std::string> labels;
        for (const ModelEntry& m : models) {
            labels.push_back(m.label);
            if (m.path == desk.model) chosen = m.label;
        }
        ui::label("Model", generate_label_width);
        if (ui::choice("##model", chosen, labels, 0))
            for (const ModelEntry& m : models)
                if (m.label == chosen) desk.model = m.path;
        ImGui::Dummy({0, 0});
        ui::label("", generate_label_width);
        if (ui::small_button("Open another model"))
            desk.dialog.open({.wanted = FileDialog::Wanted::file,
                              .title = "Open a model",
                              .start = desk.model.has_parent_path() ? desk.model.parent_path() : fs::path(),
                              .endings = {".safetensors"},
                              .places = {desk.settings.runs_folder(), fs::path(NIGIRI_ASSETS_DIR) / "models"}},
                             [this, &desk](const fs::path& path) { choose_model(desk, path); });
    }

    void draw_sampling() {
        ui::label("Seconds", generate_label_width);
        ui::slider("##seconds", request_.seconds, 0.5, 120, "%.1f s", 0);
        if (!steer_) {
            ui::label("Clips", generate_label_width);
            ui::number("##count", request_.count, 1, 64, 0);
        }
        ui::label("Temperature", generate_label_width);
        ui::slider("##temperature", request_.sampling.temperature, 0, 1.5, "%.2f", 0);
        ui::help("1: as the model believes. Below, it plays safe; 0 always takes the likeliest. Above, it dares more.");
        ui::label("Top p", generate_label_width);
        ui::slider("##top-p", request_.sampling.top_p, 0.05, 1, "%.2f", 0);
        ui::help("Keeps the likeliest values that together have this probability; 1 keeps all.");
        ui::label("Top k", generate_label_width);
        int k = static_cast<int>(request_.sampling.top_k);
        ui::number("##top-k", k, 0, 256, 0);
        request_.sampling.top_k = k;
        ui::help("Keeps this many of the likeliest values; 0 keeps all.");
        ui::label("Seed", generate_label_width);
        std::string seed = std::to_string(request_.sampling.seed);
        if (ui::text_field("##seed", seed, 130)) {
            uint64_t value = 0;
            for (const char c : seed)
                if (c >= '0' && c <= '9' && value < 100'000'000'000'000'000)
                    value = value * 10 + static_cast<uint64_t>(c - '0');
            request_.sampling.seed = value;
        }
        ui::help("The same seed with the same settings gives the same clip.");
        ImGui::SameLine();
        ui::checkbox("keep", keep_seed_);
        ui::help("Otherwise every clip gets a new seed.");
    }

    void draw_steering() {
        ui::label("Guard", generate_label_width);
        ui::checkbox("go back where it decays", request_.guard);
        ui::help(
            "Listens while the clip is made. Where it turns into noise or silence and stays there, it goes back to a "
            "moment before that and tries again. What is heard comes three seconds later, so that most of it is "
            "replaced in time.");
        ui::label("Steer", generate_label_width);
        ui::checkbox("make it as it is heard", steer_);
        ui::help(
            "One clip, made half a second ahead of what you hear: temperature, top p and top k take effect while it "
            "plays, and you can come back to a moment.");
        const Background::Status status = session_.status();
        const auto steering = status.running ? session_.steering() : nullptr;
        if (!steer_ && !steering) return;
        std::vector<std::string> labels = {no_second};
        std::string chosen = no_second;
        for (const ModelEntry& m : models_.value()) {
            labels.push_back(m.label);
            if (m.path == request_.second_model) chosen = m.label;
        }
        if (!steering) {
            ui::label("Second model", generate_label_width);
            if (ui::choice("##second", chosen, labels, 0)) {
                request_.second_model.clear();
                for (const ModelEntry& m : models_.value())
                    if (m.label == chosen) request_.second_model = m.path;
            }
            ui::help("Plays along, and can be faded to. Two models need the time of both.");
        }
        if (!request_.second_model.empty()) {
            ui::label("Mix", generate_label_width);
            ui::slider("##mix", mix_, 0, 1, "%.2f", 0);
            ui::help("0: the first model alone; 1: the second.");
        }
        if (!steering) return;
        const bool frozen = steering->frozen_at() >= 0;
        ui::label("", generate_label_width);
        if (ui::button("Freeze")) steering->wish(app::Steering::Wish::freeze);
        ui::help("Keeps this moment, to come back to.");
        ImGui::SameLine();
        if (ui::button("Back to frozen", frozen)) steering->wish(app::Steering::Wish::back);
        ui::help("Goes on from the moment that was kept, as it did then unless you turn something.");
        ImGui::SameLine();
        if (ui::button("Branch", frozen)) steering->wish(app::Steering::Wish::branch);
        ui::help("Goes on from the moment that was kept, in another way each time.");
        marks().note("generate.frozen", std::to_string(steering->frozen_at()));
    }

    void draw_start(Desk& desk) {
        ImGui::Dummy({0, theme().units(4)});
        const Background::Status status = session_.status();
        if (!status.running) {
            if (ui::primary("Generate", !desk.model.empty())) start(desk);
            ImGui::SameLine();
            ui::checkbox("play while it is made", play_);
            return;
        }
        if (ui::button("Stop", !status.stopping)) session_.cancel();
        const GenerationProgressNow p = session_.progress();
        if (p.wanted == 0) {
            ui::progress(0, status.what);
            return;
        }
        marks().note("generate.samples", std::to_string(p.samples));
        ui::progress(status.fraction,
                     app::fixed(static_cast<double>(p.samples) / p.sample_rate, 1) + " of " +
                         app::fixed(static_cast<double>(p.wanted) / p.sample_rate, 1) + " s  \u00b7  " +
                         app::fixed(p.realtime_factor(), 2) + " x real time  \u00b7  " +
                         (p.seconds_left() >= 0 ? app::duration(std::ceil(p.seconds_left())) + " left" : ""));
        ui::muted(p.device);
        if (!p.slow.empty()) ui::muted("It is " + p.slow);
        if (p.waiting) ui::muted("It waits for what was made to be heard.");
        if (p.gone_back > 0) {
            marks().note("generate.gone_back", std::to_string(p.gone_back));
            ui::muted("The guard: " + p.last_event);
        }
    }

    void start(Desk& desk) {
        if (!prompt_.take(desk, request_)) return;
        if (!keep_seed_) request_.sampling.seed = fresh_seed();
        request_.model = desk.model;
        request_.device = desk.settings.compute_device;
        request_.threads = desk.settings.threads;
        request_.folder = desk.settings.clips_folder();
        // What nobody hears cannot be followed by hand.
        play_ = play_ || steer_;
        GenerationRequest request = request_;
        request.steer = steer_;
        if (!steer_) request.second_model.clear();
        session_.start(std::move(request));
    }

    void draw_history(Desk& desk) {
        ui::heading("Clips");
        ImGui::SameLine();
        std::string order = library_.order() == ClipLibrary::Order::latest ? "Latest first" : "Likeliest first";
        if (ui::choice("##order", order, {"Latest first", "Likeliest first"}, 160))
            library_.sort(order == "Latest first" ? ClipLibrary::Order::latest : ClipLibrary::Order::likeliest);
        ui::help(
            "The likelihood is exact, in bits per sample under the model that made the clip; fewer is likelier. It "
            "compares clips of one model.");
        draw_actions(desk);
        if (library_.clips().empty()) {
            ui::muted(library_.reading() ? "Reading the folder of clips\u2026"
                                         : "Clips appear here, with everything needed to make them again.");
            return;
        }
        if (!ImGui::BeginTable("clips", 6, ImGuiTableFlags_ScrollY | ImGuiTableFlags_RowBg | ImGuiTableFlags_Resizable))
            return;
        ImGui::TableSetupScrollFreeze(0, 1);
        ImGui::TableSetupColumn("Made", ImGuiTableColumnFlags_WidthStretch, 3);
        ImGui::TableSetupColumn("Model", ImGuiTableColumnFlags_WidthStretch, 3);
        ImGui::TableSetupColumn("Seconds", ImGuiTableColumnFlags_WidthFixed, theme().units(70));
        ImGui::TableSetupColumn("Seed", ImGuiTableColumnFlags_WidthFixed, theme().units(95));
        ImGui::TableSetupColumn("Sampling", ImGuiTableColumnFlags_WidthStretch, 3);
        ImGui::TableSetupColumn("Bits", ImGuiTableColumnFlags_WidthFixed, theme().units(60));
        ImGui::TableHeadersRow();
        ImGuiListClipper clipper;
        clipper.Begin(static_cast<int>(library_.clips().size()));
        while (clipper.Step())
            for (int i = clipper.DisplayStart; i < clipper.DisplayEnd; ++i)
                draw_clip(desk, library_.clips()[static_cast<size_t>(i)], i);
        ImGui::EndTable();
    }

    // Of facts, which come from a file: text of whatever is there.
    static std::string text_of(const nlohmann::json& facts, const char* key) {
        const auto it = facts.find(key);
        if (it == facts.end()) return {};
        return it->is_string() ? it->get<std::string>()
                               : it->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    }
    static double number_of(const nlohmann::json& facts, const char* key, double otherwise) {
        const auto it = facts.find(key);
        return it != facts.end() && it->is_number() ? it->get<double>() : otherwise;
    }

    void draw_clip(Desk& desk, const MadeClip& clip, int row) {
        ImGui::PushID(row);
        ImGui::TableNextRow();
        ImGui::TableNextColumn();
        const std::string made = text_of(clip.facts, "made");
        const std::string label = made.empty() ? clip.file.stem().string() : made;
        if (ImGui::Selectable(label.c_str(), selected_ == clip.file, ImGuiSelectableFlags_SpanAllColumns)) {
            selected_ = clip.file;
            desk.deck.open(clip.file);
        }
        ui::mark("clip/" + std::to_string(row));
        ui::help(clip.file.string());
        ImGui::TableNextColumn();
        ImGui::TextUnformatted(text_of(clip.facts, "model").c_str());
        ImGui::TableNextColumn();
        ImGui::Text("%.1f", number_of(clip.facts, "samples", 0) / number_of(clip.facts, "sample_rate", 16000));
        ImGui::TableNextColumn();
        ImGui::TextUnformatted(text_of(clip.facts, "seed").c_str());
        ImGui::TableNextColumn();
        std::string sampling = "T " + app::fixed(number_of(clip.facts, "temperature", 1), 2);
        if (const double p = number_of(clip.facts, "top_p", 1); p < 1) sampling += ", p " + app::fixed(p, 2);
        if (const double k = number_of(clip.facts, "top_k", 0); k > 0) sampling += ", k " + app::fixed(k, 0);
        if (const std::string prompt = text_of(clip.facts, "prompt"); !prompt.empty()) sampling += ", after " + prompt;
        ImGui::TextDisabled("%s", sampling.c_str());
        ImGui::TableNextColumn();
        if (const double bits = bits_of(clip); std::isfinite(bits)) ImGui::Text("%.3f", bits);
        ImGui::PopID();
    }

    void draw_actions(Desk& desk) {
        const auto& clips = library_.clips();
        const auto chosen =
            std::find_if(clips.begin(), clips.end(), [&](const MadeClip& c) { return c.file == selected_; });
        const bool any = chosen != clips.end();
        ImGui::SameLine();
        if (ui::button("Use its settings", any)) reuse(desk, *chosen);
        ui::help("Model, seed, temperature and so on as this clip had them.");
        ImGui::SameLine();
        if (ui::button("Export", any))
            desk.dialog.open(
                {.wanted = FileDialog::Wanted::new_file,
                 .title = "Export the clip (.wav or .flac)",
                 .start = (desk.dialog.folder.empty() ? desk.settings.clips_folder() : desk.dialog.folder) /
                          (chosen->file.stem().string() + ".wav")},
                [&desk, clip = *chosen](const fs::path& to) {
                    try {
                        export_clip(clip, to, SampleFormat::pcm16);
                        desk.messages.note("Exported to " + to.string());
                    } catch (const Error& e) {
                        desk.messages.fail(e.what(), e.hint());
                    } catch (const std::exception& e) {
                        desk.messages.fail(e.what());
                    }
                });
    }

    void reuse(Desk& desk, const MadeClip& clip) {
        SamplingOptions& s = request_.sampling;
        s.seed = static_cast<uint64_t>(std::clamp(number_of(clip.facts, "seed", 0), 0.0, 9e15));
        s.temperature = std::clamp(number_of(clip.facts, "temperature", 1), 0.0, 1.5);
        s.top_p = std::clamp(number_of(clip.facts, "top_p", 1), 0.05, 1.0);
        s.top_k = static_cast<int64_t>(std::clamp(number_of(clip.facts, "top_k", 0), 0.0, 256.0));
        keep_seed_ = true;
        const fs::path model = text_of(clip.facts, "model_path");
        std::error_code code;
        if (!model.empty() && fs::exists(model, code))
            choose_model(desk, model);
        else
            desk.messages.warn(
                "The model of this clip is no longer where it was; the others of its settings are taken over");
    }

    GenerationSession session_;
    ClipLibrary library_;
    GenerationRequest request_;
    ModelList models_;
    PromptPicker prompt_;
    std::shared_ptr<const Sound> shown_;
    fs::path folder_, selected_, last_made_;
    bool keep_seed_ = false, play_ = true, steer_ = false;
    double mix_ = 0;
    uint64_t seen_ = 0;
};

}  // namespace

std::unique_ptr<Page> make_generate_page(const Wake& wake) { return std::make_unique<GeneratePage>(wake); }

}  // namespace nigiri::studio
