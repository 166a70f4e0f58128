#include "app/studio/player/deck.h"

#include <imgui.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "app/studio/widgets/marks.h"
#include "app/studio/widgets/theme.h"
#include "app/studio/widgets/widgets.h"
#include "app/text.h"
#include "audio/file.h"

namespace nigiri::studio {

namespace fs = std::filesystem;

namespace {

const std::array<std::string, 3> picture_names = {"Waveform", "Spectrogram", "Both"};  // as Picture

constexpr double lowest_level = -60;  // dB, the meter's left end

float meter_share(double amplitude) {
    if (amplitude <= 0) return 0;
    return static_cast<float>(std::clamp(1 - 20 * std::log10(amplitude) / lowest_level, 0.0, 1.0));
}

const char* state_name(PlayState state) {
    switch (state) {
        case PlayState::stopped:
            return "stopped";
        case PlayState::paused:
            return "paused";
        case PlayState::playing:
            return "playing";
        case PlayState::buffering:
            return "buffering";
    }
    return "";
}

PlayerOptions waking(const Wake& wake) {
    PlayerOptions options;
    options.on_change = wake;
    return options;
}

}  // namespace

Deck::Deck(const Wake& wake) : player_(waking(wake)), view_(wake), reading_(wake), analysing_(wake) {}

void Deck::open(const fs::path& path) {
    wanted_ = path;
    path_ = path;
    reading_.stop();
}

void Deck::show(const std::string& name, std::shared_ptr<const Sound> sound, bool play, const fs::path& path) {
    show_tracks(name, {{std::move(sound)}}, play);
    path_ = path;
}

void Deck::clear() { show_tracks("", {}, false); }

void Deck::show_tracks(const std::string& name, std::vector<Track> tracks, bool play, bool hidden) {
    name_ = name;
    path_.clear();
    hidden_ = hidden;
    ++showing_;
    {
        const std::lock_guard lock(mutex_);
        analysis_.reset();
    }
    view_.set_sound(hidden || tracks.empty() ? nullptr : tracks.front().sound);
    tracks_ = tracks;
    player_.load(std::move(tracks));
    if (play && !tracks_.empty()) player_.play();
}

void Deck::select(size_t track) {
    if (track >= tracks_.size()) return;
    player_.select(track);
    if (hidden_) return;
    // The same stretch of time, so that the pictures can be compared.
    const ViewRange range = view_.range;
    const auto selection = view_.selection;
    view_.set_sound(tracks_[track].sound);
    view_.range = range;
    view_.selection = selection;
}

void Deck::update(Messages& messages) {
    if (!wanted_.empty() && !reading_.running())
        reading_.start([this, path = std::exchange(wanted_, {})] {
            Audio audio = read_audio(path, 0, reading_.progress());
            auto sound = std::make_shared<const Sound>(audio.rate, std::move(audio.samples));
            const std::lock_guard lock(mutex_);
            read_ = Read{path, std::move(sound)};
        });
    const Background::Status status = reading_.status();
    if (status.ended != seen_reads_) {
        seen_reads_ = status.ended;
        if (!status.error.empty()) {
            messages.fail(status.error, status.hint);
            path_.clear();
        }
    }
    std::optional<Read> read;
    {
        const std::lock_guard lock(mutex_);
        read = std::exchange(read_, std::nullopt);
    }
    if (read && wanted_.empty()) show(read->path.filename().string(), read->sound, true, read->path);
    analyse_when_final();
    const PlayerStatus player = player_.status();
    if (player.problem != told_problem_) {
        told_problem_ = player.problem;
        if (!player.problem.empty()) messages.warn(player.problem);
    }
    if (const std::string advice = gap_advice_.update(player); !advice.empty()) messages.warn(advice);
}

void Deck::analyse_when_final() {
    const std::shared_ptr<const Sound> sound = view_.sound();
    if (!sound || sound == analysed_ || !sound->final() || sound->size() == 0 || analysing_.running()) return;
    analysed_ = sound;
    analysing_.start([this, sound] {
        Analysis analysis = analyse(sound->copy(), sound->rate());
        const std::lock_guard lock(mutex_);
        analysis_ = std::move(analysis);
    });
}

bool Deck::moving() const {
    const PlayState state = player_.status().state;
    return state == PlayState::playing || state == PlayState::buffering || shown_level_ > 0.001f;
}

void Deck::handle_keys() {
    const auto pressed = [](ImGuiKey key) { return ImGui::IsKeyPressed(ImGui::GetKeyIndex(key), false); };
    const PlayerStatus status = player_.status();
    if (ImGui::IsKeyPressed(' ', false)) player_.toggle();  // the toolkit's code of the space bar is its letter's
    if (ImGui::IsKeyPressed('L', false)) player_.set_loop(!status.loop);
    if (pressed(ImGuiKey_Home)) player_.seek(0);
    if (pressed(ImGuiKey_End)) player_.seek(std::max<int64_t>(status.available - 1, 0));
}

// For tests: what is played and shown.
void Deck::note_state(const PlayerStatus& s) const {
    const double rate = s.rate > 0 ? s.rate : 1;
    const auto seconds = [rate](auto samples) { return std::to_string(static_cast<double>(samples) / rate); };
    marks().note("deck.state", state_name(s.state));
    marks().note("deck.name", name_);
    marks().note("deck.underruns", std::to_string(s.underruns));
    marks().note("deck.dry_runs", std::to_string(s.dry_runs));
    marks().note("deck.seconds", time_text(static_cast<double>(s.length) / rate, 1));
    marks().note("deck.position", seconds(s.position));
    marks().note("deck.loop", s.loop ? "1" : "0");
    marks().note("deck.view.begin", seconds(view_.range.begin()));
    marks().note("deck.view.end", seconds(view_.range.end()));
    if (!view_.selection) return;
    marks().note("deck.selection.begin", seconds(view_.selection->begin));
    marks().note("deck.selection.end", seconds(view_.selection->end));
}

void Deck::draw_transport(float& volume) {
    const PlayerStatus s = player_.status();
    const bool there = s.tracks > 0 && (hidden_ || view_.sound());
    const bool plays = s.state == PlayState::playing || s.state == PlayState::buffering;
    if (ui::icon_button("play", plays ? ui::Icon::pause : ui::Icon::play, plays ? "Pause (Space)" : "Play (Space)",
                        false, there))
        player_.toggle();
    ImGui::SameLine();
    if (ui::icon_button("stop", ui::Icon::stop, "Stop and go back to the beginning", false, there)) player_.stop();
    ImGui::SameLine();
    if (ui::icon_button("loop", ui::Icon::loop, "Repeat the selection, or all of it (L)", s.loop, there))
        player_.set_loop(!s.loop);
    ImGui::SameLine();
    const double rate = s.rate > 0 ? s.rate : 1;
    const double at = static_cast<double>(s.position) / rate, whole = static_cast<double>(s.length) / rate;
    ImGui::AlignTextToFramePadding();
    ImGui::PushFont(theme().strong);
    const std::string time = there ? time_text(at, 10) + " / " + time_text(whole, 10) : "0:00.0";
    ImGui::TextUnformatted(time.c_str());
    ImGui::PopFont();
    if (marks().on()) note_state(s);

    ImGui::SameLine(0, theme().units(18));
    std::string text = there ? name_ : "Nothing is open: press a recording or a clip to hear it";
    if (s.state == PlayState::buffering)
        text += s.wait_seconds ? "  \u00b7  plays in " + app::duration(std::ceil(*s.wait_seconds))
                               : "  \u00b7  waiting for more";
    if (s.dry_runs > 0) text += "  \u00b7  ran dry " + std::to_string(s.dry_runs) + " times";
    if (s.underruns > 0) text += "  \u00b7  " + std::to_string(s.underruns) + " gaps";
    {
        const std::lock_guard lock(mutex_);
        if (analysis_ && analysed_ == view_.sound())
            for (const std::string& w : analysis_->warnings) text += "  \u00b7  " + w;
    }
    const float right = theme().units(480);
    ImGui::TextDisabled("%s", ui::shortened(text, ImGui::GetContentRegionAvail().x - right).c_str());
    ImGui::SameLine(ImGui::GetContentRegionMax().x - right);
    std::string picture = picture_names[static_cast<size_t>(view_.picture)];
    if (ui::choice("##picture", picture, {picture_names.begin(), picture_names.end()}, 136))
        view_.picture = static_cast<Picture>(std::find(picture_names.begin(), picture_names.end(), picture) -
                                             picture_names.begin());
    ImGui::SameLine(0, theme().units(14));
    draw_meter(theme().units(160), ImGui::GetFrameHeight());
    ImGui::SameLine(0, theme().units(14));
    ImGui::SetNextItemWidth(theme().units(150));
    if (ImGui::SliderFloat("##volume", &volume, 0, 1, "Volume %.2f", ImGuiSliderFlags_AlwaysClamp))
        player_.set_volume(volume);
    ui::mark("volume");
}

void Deck::draw_meter(float width, float height) {
    const Levels levels = player_.levels();
    ImDrawList& draw = *ImGui::GetWindowDrawList();
    const Palette& p = theme().colours;
    const ImVec2 at = ImGui::GetCursorScreenPos();
    if (hidden_) {
        ImGui::Dummy({width, height});
        shown_level_ = 0;
        return;
    }
    if (ImGui::InvisibleButton("##meter", {width, height})) player_.reset_clipped();
    ui::mark("meter");
    ui::help(
        "Level of what is heard: average (bright), peak (pale) and held peak, in dB below full scale. The lamp at "
        "the end lights when full scale was reached; press to clear it.");
    const float lamp = theme().units(8), bar = width - lamp - theme().units(4);
    const float top = at.y + height * 0.3f, bottom = at.y + height * 0.7f;
    draw.AddRectFilled({at.x, top}, {at.x + bar, bottom}, packed(p.raised), 2);
    draw.AddRectFilled({at.x, top}, {at.x + bar * meter_share(levels.peak), bottom}, packed(p.good, 0.35f), 2);
    draw.AddRectFilled({at.x, top}, {at.x + bar * meter_share(levels.rms), bottom}, packed(p.good), 2);
    if (levels.held > 0) {
        const float x = at.x + bar * meter_share(levels.held);
        draw.AddRectFilled({x - 1, top}, {x + 1, bottom}, packed(levels.held >= 0.999f ? p.error : p.text));
    }
    draw.AddRectFilled({at.x + width - lamp, top}, {at.x + width, bottom}, packed(levels.clipped ? p.error : p.raised),
                       2);
    shown_level_ = levels.peak;
}

float Deck::height() const { return view_.picture == Picture::both ? 320.0f : 196.0f; }

// Where it plays, and nothing else.
void Deck::draw_hidden(const PlayerStatus& status) {
    ImDrawList& draw = *ImGui::GetWindowDrawList();
    const Palette& p = theme().colours;
    const ImVec2 at = ImGui::GetCursorScreenPos(), size = ImGui::GetContentRegionAvail();
    const double length = static_cast<double>(std::max<int64_t>(status.length, 1));
    const float width = std::max(size.x, 32.0f), height = std::max(size.y, 16.0f);
    if (ImGui::InvisibleButton("wave", {width, height}))
        player_.seek(static_cast<int64_t>(
            std::clamp(static_cast<double>((ImGui::GetIO().MousePos.x - at.x) / width), 0.0, 1.0) * length));
    ui::mark("hidden");
    draw.AddRectFilled(at, {at.x + width, at.y + height}, packed(p.panel), theme().units(6));
    const std::string text = "The picture is hidden while the test runs: it would tell which sound is which.";
    const ImVec2 wide = ImGui::CalcTextSize(text.c_str());
    draw.AddText({at.x + (width - wide.x) / 2, at.y + (height - wide.y) / 2}, packed(p.muted), text.c_str());
    const float x = at.x + width * static_cast<float>(static_cast<double>(status.position) / length);
    draw.AddLine({x, at.y}, {x, at.y + height}, packed(p.playhead), theme().units(1.5f));
}

void Deck::draw(float height, float& volume) {
    ui::set_page("deck");
    ImGui::PushStyleColor(ImGuiCol_ChildBg, theme().colours.background);
    ImGui::BeginChild(
        "deck", {0, height}, false,
        ImGuiWindowFlags_NoScrollbar | ImGuiWindowFlags_NoScrollWithMouse | ImGuiWindowFlags_AlwaysUseWindowPadding);
    ImGui::PopStyleColor();
    draw_transport(volume);
    const PlayerStatus s = player_.status();
    const bool follow = s.state == PlayState::playing;
    if (hidden_) {
        draw_hidden(s);
        ImGui::EndChild();
        return;
    }
    const ViewEvents events = view_.draw("wave", {ImGui::GetContentRegionAvail().x, ImGui::GetContentRegionAvail().y},
                                         s.position, s.length, follow);
    if (events.seek) player_.seek(*events.seek);
    if (events.selection_changed) player_.set_range(view_.selection);
    ImGui::EndChild();
}

}  // namespace nigiri::studio
