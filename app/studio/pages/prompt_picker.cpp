#include "app/studio/pages/prompt_picker.h"

#include <algorithm>
#include <array>

#include "app/studio/widgets/widgets.h"
#include "app/text.h"

namespace nigiri::studio {

namespace {

const std::array<std::string, 4> source_names = {"silence", "an audio file", "the selection in the player",
                                                 "the microphone"};  // as Source
constexpr double longest_recording = 60;                             // seconds

std::string seconds_of(int64_t samples, int rate) { return app::fixed(static_cast<double>(samples) / rate, 2) + " s"; }

}  // namespace

void PromptPicker::use_file(const std::filesystem::path& file) {
    file_ = file;
    source_ = Source::file;
}

void PromptPicker::update(Desk& desk) {
    if (!recorder_ || recorder_->status().state != RecorderStatus::State::finished) return;
    const RecorderStatus status = recorder_->status();
    if (recorder_->sound()->size() > 0) {
        recorded_ = recorder_->sound();
        desk.deck.show("recording", recorded_, false);
    }
    if (!status.problem.empty()) desk.messages.fail(status.problem);
    recorder_.reset();
}

void PromptPicker::draw(Desk& desk, float label_width) {
    ui::label("Begin with", label_width);
    std::string name = source_names[static_cast<size_t>(source_)];
    if (ui::choice("##prompt", name, {source_names.begin(), source_names.end()}, 0))
        source_ = static_cast<Source>(std::find(source_names.begin(), source_names.end(), name) - source_names.begin());
    if (source_ == Source::silence) return;
    ui::label("", label_width);
    if (source_ == Source::file) {
        draw_file(desk, label_width);
    } else if (source_ == Source::selection) {
        const auto selection = desk.deck.selection();
        const auto sound = desk.deck.sound();
        ui::muted(selection && sound
                      ? seconds_of(selection->end - selection->begin, sound->rate()) + " of " + desk.deck.name()
                      : "drag over the waveform below to select a part");
    } else {
        draw_microphone();
    }
}

void PromptPicker::draw_file(Desk& desk, float label_width) {
    if (ui::small_button("Choose##prompt-file"))
        desk.dialog.open({.wanted = FileDialog::Wanted::file,
                          .title = "Choose the audio to continue",
                          .start = file_.has_parent_path() ? file_.parent_path() : desk.data,
                          .endings = {".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff", ".aif", ".au", ".caf"}},
                         [this](const std::filesystem::path& path) { file_ = path; });
    ImGui::SameLine();
    ui::muted(file_.empty() ? "no file yet" : file_.filename().string());
    ui::label("Take the first", label_width);
    ui::slider("##prompt-seconds", file_seconds_, 0, 30, file_seconds_ > 0 ? "%.1f s" : "all of it", 0);
}

void PromptPicker::draw_microphone() {
    if (!recorder_) {
        if (ui::small_button("Record")) {
            RecorderOptions options;
            options.longest_seconds = longest_recording;
            options.on_change = wake_;
            recorder_ = std::make_unique<Recorder>(options);
        }
        ImGui::SameLine();
        ui::muted(recorded_ ? seconds_of(recorded_->size(), recorded_->rate()) + " recorded" : "nothing recorded yet");
        return;
    }
    if (ui::small_button("Stop recording")) recorder_->stop();
    ImGui::SameLine();
    ui::muted(seconds_of(recorder_->sound()->size(), recorder_->sound()->rate()));
}

bool PromptPicker::take(Desk& desk, GenerationRequest& request) const {
    request.prompt.clear();
    request.prompt_rate = 0;
    request.prompt_name.clear();
    request.prompt_file.clear();
    if (source_ == Source::silence) return true;
    if (source_ == Source::file) {
        if (file_.empty()) {
            desk.messages.fail("There is no audio to begin with", "choose a file, or begin with silence");
            return false;
        }
        request.prompt_file = file_;
        request.prompt_seconds = file_seconds_;
        request.prompt_name = file_.filename().string();
        return true;
    }
    const bool selected = source_ == Source::selection;
    const std::shared_ptr<const Sound> sound = selected ? desk.deck.sound() : recorded_;
    const auto range =
        selected ? desk.deck.selection() : std::optional<SoundRange>(SoundRange{0, sound ? sound->size() : 0});
    if (!sound || !range || range->end <= range->begin) {
        desk.messages.fail(selected ? "Nothing is selected in the player" : "Nothing was recorded yet",
                           selected ? "drag over the waveform" : "press Record");
        return false;
    }
    request.prompt.resize(static_cast<size_t>(range->end - range->begin));
    sound->read(range->begin, request.prompt);
    request.prompt_rate = sound->rate();
    request.prompt_name = selected ? desk.deck.name() : "microphone";
    return true;
}

}  // namespace nigiri::studio
