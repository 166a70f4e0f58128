#include <imgui.h>

#include <algorithm>
#include <cmath>

#include "app/studio/widgets/marks.h"
#include "app/studio/widgets/theme.h"
#include "app/studio/pages/train_panels.h"
#include "app/studio/widgets/widgets.h"
#include "app/model_file.h"
#include "app/text.h"

namespace nigiri::studio {

namespace fs = std::filesystem;

namespace {

constexpr float column = 92;  // of the names left of the fields
constexpr float card = 356;
const std::string from_nothing = "nothing (from the beginning)", from_file = "another file\u2026";
constexpr double most_minutes = 60 * 24 * 60, most_steps = 1e8;

void note(const std::string& text) {
    ImGui::PushFont(theme().small);
    ui::muted(text);
    ImGui::PopFont();
}

const char* words(TrainingStage stage) {
    switch (stage) {
        case TrainingStage::idle:
            return "";
        case TrainingStage::reading:
            return "Reading the recordings";
        case TrainingStage::preparing:
            return "Preparing";
        case TrainingStage::training:
            return "Training";
        case TrainingStage::pausing:
            return "Pausing after this step";
        case TrainingStage::paused:
            return "Paused and saved";
        case TrainingStage::stopping:
            return "Stopping after this step";
        case TrainingStage::stopped:
            return "Stopped and saved";
        case TrainingStage::finished:
            return "Finished";
        case TrainingStage::failed:
            return "Something went wrong";
    }
    return "";
}

// For marks.
const char* code(TrainingStage stage) {
    static constexpr const char* names[] = {"idle",   "reading",  "preparing", "training", "pausing",
                                            "paused", "stopping", "stopped",   "finished", "failed"};
    return names[static_cast<size_t>(stage)];
}

bool whole_number(const char* label, double& value, double most) {
    int v = static_cast<int>(std::lround(std::clamp(value, 1.0, most)));
    const int before = v;
    ui::number(label, v, 1, static_cast<int>(most), 124);
    if (v == before) return false;
    value = v;
    return true;
}

}  // namespace

const char* const bits_explained =
    "How many yes-or-no questions the network would still have to ask, on average, to know the next sample of a "
    "recording. 8 is blind guessing; the fewer, the better it knows the music. Training: on what it learns from. "
    "Validation: on recordings that it never learns from, which is what counts.";

std::string with_commas(int64_t value) {
    const std::string digits = std::to_string(value);
    std::string text;
    for (size_t i = 0; i < digits.size(); ++i) {
        if (i > 0 && (digits.size() - i) % 3 == 0 && digits[i - 1] != '-') text += ',';
        text += digits[i];
    }
    return text;
}

void TrainingPanel::draw(Desk& desk, TrainView& view, const TrainingSnapshot& now) {
    marks().note("training.stage", code(now.stage));
    marks().note("training.step", std::to_string(now.step));
    ui::begin_card("training", card, 0);
    const bool ended = now.stage != TrainingStage::idle && !now.active() && !now.resumable;
    if (now.active() || now.resumable || (ended && !done_))
        draw_work(desk, view, now);
    else if (view.go_on)
        draw_continuation(desk, view);
    else
        draw_form(desk, view);
    ui::end_card();
}

void TrainingPanel::draw_data(Desk& desk) {
    ui::label("Recordings", column);
    const float room = ImGui::GetContentRegionAvail().x - theme().units(84);
    ImGui::AlignTextToFramePadding();
    const std::string name = desk.data.empty() ? "none yet" : desk.data.filename().string();
    ImGui::TextUnformatted(ui::shortened(name, room).c_str());
    if (!desk.data.empty()) ui::help(desk.data.string());
    ImGui::SameLine(ImGui::GetContentRegionMax().x - theme().units(72));
    if (ui::button("Choose"))
        desk.dialog.open({.wanted = FileDialog::Wanted::folder,
                          .title = "Choose a folder of recordings",
                          .start = desk.data,
                          .places = desk.settings.recent_data},
                         [&desk](const fs::path& folder) {
                             desk.data = desk.settings.last_data = folder;
                             remember(desk.settings.recent_data, folder);
                         });
}

void TrainingPanel::begin_with(Desk& desk, const fs::path& model) {
    remember(desk.settings.recent_models, model);
    models_.refresh();
    form_.choose_model(model);
}

void TrainingPanel::draw_model(Desk& desk) {
    models_.want(model_places(desk.settings));
    std::vector<std::string> labels = {from_nothing};
    std::string chosen = form_.from.empty() ? from_nothing : app::model_name(form_.from);
    for (const ModelEntry& m : models_.value()) {
        labels.push_back(m.label);
        if (m.path == form_.from) chosen = m.label;
    }
    labels.push_back(from_file);
    ui::label("Begin with", column);
    if (ui::choice("##from", chosen, labels)) {
        if (chosen == from_nothing) form_.choose_model({});
        for (const ModelEntry& m : models_.value())
            if (m.label == chosen) form_.choose_model(m.path);
        if (chosen == from_file)
            desk.dialog.open({.wanted = FileDialog::Wanted::file,
                              .title = "Open a model to begin with",
                              .start = form_.from.has_parent_path() ? form_.from.parent_path() : fs::path(),
                              .endings = {".safetensors"},
                              .places = {desk.settings.runs_folder(), fs::path(NIGIRI_ASSETS_DIR) / "models"}},
                             [this, &desk](const fs::path& path) { begin_with(desk, path); });
    }
    ui::help(
        "A model that has learned already goes on learning, from your recordings: it gets good far sooner than one "
        "from nothing. The model itself stays as it is." +
        (form_.from.empty() ? "" : "\n\n" + form_.from.string()));
    starting_.want(form_.from);
    if (const auto found = starting_.result(); found && found->network && !form_.ready())
        form_.take_model(*found->network);
}

void TrainingPanel::draw_network() {
    const bool fixed = !form_.from.empty();
    static const char* const why = "Those of the model: its weights fit no other network.";
    std::string preset = form_.ready() ? form_.size() : "";
    ui::label("Size", column);
    ImGui::BeginDisabled(fixed);
    if (ui::choice("##preset", preset, preset_names())) form_.choose_preset(preset);
    ImGui::EndDisabled();
    ui::help(fixed ? why
                   : "How large a network is trained. A larger one ends up better and takes longer for every step.");
    if (!fixed) note(preset_explained(preset));
    std::string layer = !fixed ? form_.layer : form_.model ? layer_name(form_.model->config.model) : "";
    ui::label("Layer", column);
    ImGui::BeginDisabled(fixed);
    if (ui::choice("##layer", layer, layer_names())) form_.layer = layer;
    ImGui::EndDisabled();
    ui::help(fixed ? why : "How the network remembers what it has heard.");
    if (!fixed) note(layer_explained(layer));
    if (form_.model) {
        note(why);
        if (!form_.model->licence.empty()) note("Its licence holds for what becomes of it: " + form_.model->licence);
    }
    marks().note("train.size", preset);
    marks().note("train.layer", layer);
}

void TrainingPanel::draw_amount() {
    ui::label("Train for", column);
    double amount = form_.by_steps ? form_.steps : form_.minutes;
    if (whole_number("##amount", amount, form_.by_steps ? most_steps : most_minutes)) {
        if (form_.by_steps)
            form_.steps = static_cast<int>(amount);
        else
            form_.minutes = amount;
    }
    ImGui::SameLine();
    std::string unit = form_.by_steps ? "steps" : "minutes";
    if (ui::choice("##unit", unit, {"minutes", "steps"})) form_.by_steps = unit == "steps";
    ui::help(
        "You may pause or stop at any time, keep what was learned, and go on later. A fixed number of steps gives the "
        "same result every time; a number of minutes depends on the machine.");
}

void TrainingPanel::draw_form(Desk& desk, TrainView& view) {
    const fs::path runs = desk.settings.runs_folder();
    draw_data(desk);
    draw_model(desk);
    draw_network();
    draw_amount();
    if (form_.name == suggested_) form_.name = suggested_ = form_.free_name(runs);
    ui::label("Name", column);
    ui::text_field("##name", form_.name);
    ui::help("The run is kept in a folder of this name in " + runs.string());
    draw_advanced();
    if (form_.ready())
        draw_memory(desk, form_.config());
    else if (const auto found = starting_.result())
        ui::problem(found->error, found->hint);
    else
        note("Reading the model\u2026");

    const std::string problem = form_.name_problem(runs);
    if (!problem.empty()) ui::warning(problem);
    if (desk.data.empty()) note("Choose a folder of recordings to learn from; half an hour of one instrument is good.");
    if (ui::primary("Start training", !desk.data.empty() && problem.empty() && form_.ready()))
        start(desk, view, form_.plan(run_path(runs), desk.data));
}

void TrainingPanel::draw_advanced() {
    ImGui::PushStyleColor(ImGuiCol_Header, theme().colours.panel);
    const bool open = ImGui::CollapsingHeader("Advanced");
    ImGui::PopStyleColor();
    ui::mark("Advanced");
    if (!open) return;
    ui::label("Batch", column);
    ui::number("##batch", form_.batch, 1, 4096);
    ui::help("Pieces of recordings that are learned from at once, at every step. More needs more memory.");
    ui::label("Length", column);
    ui::number("##length", form_.length, 16, 1 << 22);
    ui::help("Samples of each piece; 16,000 are a second. More needs more memory.");
    ui::label("Rate", column);
    double thousandths = form_.learning_rate * 1e3;
    if (ui::slider("##rate", thousandths, 0.05, 10, "%.2f / 1000")) form_.learning_rate = thousandths / 1e3;
    ui::help("How far each step moves the network. Too high and it falls apart, too low and it learns slowly.");
    ui::label("Preview", column);
    ui::number("##preview", form_.preview_every, 0, 10'000'000);
    ui::help("Every so many steps the network plays a second of what it knows; 0: never.");
    ui::label("Seed", column);
    ui::number("##seed", form_.seed, 0, 999'999'999);
    ui::help("Where everything random begins. The same seed and the same number of steps give the same network.");
}

void TrainingPanel::draw_memory(const Desk& desk, const Config& config) {
    try {
        validate(config);
    } catch (const Error& e) {
        ui::warning(e.what());
        return;
    }
    memory_.want(config, desk.settings.compute_device, desk.settings.threads);
    const auto result = memory_.result();
    if (!result) {
        note("Measuring how much memory this needs\u2026");
        return;
    }
    if (!result->error.empty()) {
        ui::problem(result->error);
        return;
    }
    const std::string needs = "Needs about " + app::bytes_text(result->need.needed) +
                              (result->need.available > 0 ? " of " + app::bytes_text(result->need.available) : "") +
                              " of memory";
    if (result->need.fits())
        note(needs + " on " + result->device);
    else
        ui::problem(needs + ", more than there is. " + result->advice);
    ui::mark("memory");
}

void TrainingPanel::draw_continuation(Desk& desk, TrainView& view) {
    Continuation& c = *view.go_on;
    ui::heading(("Go on with " + c.run.filename().string()).c_str());
    ui::fact("So far", with_commas(static_cast<int64_t>(c.step)) + " steps, " + app::duration(c.minutes * 60), column);
    ui::fact("Layer", layer_name(c.config.model), column);
    ui::fact("Recordings", c.data.empty() ? "none yet" : c.data.filename().string(), column);
    if (!c.data.empty()) ui::help(c.data.string());
    ui::label("For another", column);
    whole_number("##more", c.more, c.by_steps ? most_steps : most_minutes);
    ImGui::SameLine();
    ImGui::AlignTextToFramePadding();
    ImGui::TextUnformatted(c.by_steps ? "steps" : "minutes");
    note(c.left() > 0 ? "This is what was left of it when it was stopped. It goes on exactly where it was."
                      : "It had reached its end. It goes on from there, at first with larger steps again.");
    draw_memory(desk, c.config);
    if (ui::primary("Go on training", !c.data.empty())) {
        start(desk, view, c.plan());
        return;
    }
    ImGui::SameLine();
    if (ui::button("Cancel")) view.go_on.reset();
}

void TrainingPanel::start(Desk& desk, TrainView& view, TrainingPlan plan) {
    plan.device = desk.settings.compute_device;
    plan.threads = desk.settings.threads;
    const fs::path run = plan.run;
    if (!view.session.start(std::move(plan))) return;
    done_ = false;
    view.go_on.reset();
    view.select(run);
}

void TrainingPanel::draw_work(Desk& desk, TrainView& view, const TrainingSnapshot& now) {
    ui::heading(now.run.filename().string().c_str());
    if (now.config) {
        std::string facts = layer_name(now.config->model);
        if (now.parameters > 0) facts += ", " + with_commas(now.parameters) + " parameters";
        facts += ", " + std::to_string(now.config->training.batch) + " x " + with_commas(now.config->training.length) +
                 " samples a step";
        if (!now.from.empty()) facts += ", begun with " + app::model_name(now.from);
        note(facts);
    }
    ImGui::Dummy({0, theme().units(2)});
    std::string line = words(now.stage);
    if (now.stage == TrainingStage::reading && !now.what.empty())
        line += ": " + ui::shortened(fs::path(now.what).filename().string(), theme().units(140));
    ui::progress(now.fraction, line);
    if (now.stage == TrainingStage::failed) ui::problem(now.error, now.hint);
    if (now.step > 0 || now.stage == TrainingStage::training) {
        ui::fact("Step", with_commas(now.step), column);
        ui::fact("Time",
                 app::duration(now.seconds) + (now.active() && now.seconds_left >= 0
                                                   ? ", about " + app::duration(std::ceil(now.seconds_left)) + " left"
                                                   : ""),
                 column);
        ui::mark("time");
        if (now.last)
            ui::fact("Speed", with_commas(std::llround(now.last->tokens_per_second)) + " samples a second", column);
        if (now.last) ui::fact("Training", app::fixed(now.last->train_bits, 3) + " bits per sample", column);
        ui::help(bits_explained);
        ui::fact("Validation",
                 now.valid_bits >= 0 ? app::fixed(now.valid_bits, 3) + " bits per sample" : "not measured yet", column);
        ui::help(bits_explained);
        if (now.baseline) {
            note("For scale: " + app::fixed(now.baseline->order0, 2) +
                 " bits if one knows only how often each value occurs, " + app::fixed(now.baseline->order1, 2) +
                 " if one knows the sample before, too.");
        }
    }
    if (now.memory.needed > 0) note("About " + app::bytes_text(now.memory.needed) + " of memory, on " + now.device);
    if (now.train_seconds > 0)
        note(app::duration(now.train_seconds) + " of recordings to learn from, " + app::duration(now.valid_seconds) +
             " to check with" +
             (now.skipped_files > 0 ? "; " + std::to_string(now.skipped_files) + " files skipped (see Data)" : ""));
    ImGui::Dummy({0, theme().units(4)});
    draw_controls(desk, view, now);
}

void TrainingPanel::draw_controls(Desk& desk, TrainView& view, const TrainingSnapshot& now) {
    TrainingSession& session = view.session;
    if (now.active()) {
        const bool asked = now.stage == TrainingStage::pausing || now.stage == TrainingStage::stopping;
        if (ui::button("Pause", now.stage == TrainingStage::preparing || now.stage == TrainingStage::training))
            session.pause();
        ui::help("Saves, and leaves the processor to you until you go on.");
        ImGui::SameLine();
        if (ui::button("Stop", !asked || now.stage == TrainingStage::pausing)) session.stop();
        ui::help("Saves and ends. The network can be used, and trained further at any time.");
        return;
    }
    if (now.resumable) {
        const bool failed = now.stage == TrainingStage::failed;
        if (ui::primary(failed ? "Try again" : "Resume")) session.resume();
        ImGui::SameLine();
        if (ui::button(failed ? "Save and stop" : "Stop")) session.stop();
        ui::help("Saves, if it is not saved yet, and gives the memory back.");
        if (!failed) return;
        ImGui::SameLine();
        if (ui::button("Discard")) session.discard();
        ui::help("Forgets what was learned since it was last saved.");
        return;
    }
    const RunEntry* entry = view.all_runs.find(now.run);
    if (ui::primary("Generate with this", entry != nullptr && entry->has_model)) {
        desk.model = now.run;
        desk.page = "generate";
    }
    ImGui::SameLine();
    if (ui::button("New training")) done_ = true;
}

}  // namespace nigiri::studio
