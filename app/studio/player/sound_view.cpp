#include "app/studio/player/sound_view.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "app/studio/widgets/theme.h"
#include "app/studio/widgets/widgets.h"

namespace nigiri::studio {

namespace {

constexpr int64_t samples_a_frame = 4'000'000;  // of a new sound's overview: some eight milliseconds

// Steps of the time axis in seconds; the first that leaves room for its numbers is taken.
constexpr std::array<double, 22> steps = {0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2,
                                          0.5,    1,      2,      5,     10,    15,    30,   60,   120,  300, 600};

}  // namespace

std::string time_text(double seconds, double span) {
    const int digits = span < 0.05 ? 4 : span < 0.5 ? 3 : span < 5 ? 2 : span < 120 ? 1 : 0;
    const double unit = std::pow(10.0, digits);
    const double rounded = std::round(std::max(seconds, 0.0) * unit) / unit;
    const auto minutes = static_cast<int64_t>(rounded / 60);
    std::array<char, 48> text{};
    std::snprintf(text.data(), text.size(), "%lld:%0*.*f", static_cast<long long>(minutes), digits > 0 ? digits + 3 : 2,
                  digits, rounded - 60.0 * static_cast<double>(minutes));
    return text.data();
}

void SoundView::set_sound(std::shared_ptr<const Sound> sound) {
    if (sound == sound_) return;
    sound_ = std::move(sound);
    overview_.reset();
    selection.reset();
    drag_from_.reset();
    spectrogram_.set_sound(sound_);
    if (sound_) overview_.emplace(sound_);
    range.reset(sound_ ? std::max(sound_->expected(), sound_->size()) : 0);
}

void SoundView::draw_waveform(ImDrawList& draw, ImVec2 at, ImVec2 size) {
    const Palette& p = theme().colours;
    const float middle = at.y + size.y / 2, half = size.y / 2 * 0.95f;
    draw.AddLine({at.x, middle}, {at.x + size.x, middle}, packed(p.line));
    if (!overview_ || overview_->size() == 0) return;
    const auto samples = static_cast<size_t>(std::max(range.span(), 1.0));
    const auto pixels = static_cast<size_t>(std::max(size.x, 1.0f));
    const ImU32 colour = packed(p.wave), body = packed(p.wave, 0.55f);
    const auto y_of = [&](float v) { return middle - std::clamp(v, -1.0f, 1.0f) * half; };
    if (samples < pixels * 2) {  // single samples, joined
        const auto begin = static_cast<int64_t>(std::floor(range.begin()));
        std::vector<float> values(samples + 3);
        sound_->read(begin, values);
        const auto there = std::min<int64_t>(static_cast<int64_t>(values.size()), sound_->size() - begin);
        ImVec2 last{};
        for (int64_t i = 0; i < there; ++i) {
            const ImVec2 point = {range.x_of(static_cast<double>(begin + i), at.x, size.x),
                                  y_of(values[static_cast<size_t>(i)])};
            if (i > 0) draw.AddLine(last, point, colour, theme().units(1.2f));
            if (samples * 6 < pixels) draw.AddCircleFilled(point, theme().units(2.2f), colour, 8);
            last = point;
        }
        return;
    }
    columns_.resize(pixels);
    overview_->query(static_cast<int64_t>(range.begin()), static_cast<int64_t>(std::ceil(range.end())), columns_);
    for (size_t i = 0; i < pixels; ++i) {
        const SampleSummary& c = columns_[i];
        if (c.lowest > c.highest) continue;
        const float x = at.x + static_cast<float>(i);
        const float top = y_of(c.highest), bottom = std::max(y_of(c.lowest), top + 1);
        draw.AddRectFilled({x, top}, {x + 1, bottom}, body);
        draw.AddRectFilled({x, y_of(c.rms)}, {x + 1, std::max(y_of(-c.rms), y_of(c.rms) + 1)}, colour);
    }
}

void SoundView::draw_time(ImDrawList& draw, ImVec2 at, ImVec2 size) const {
    if (!sound_ || sound_->rate() <= 0) return;
    const double rate = sound_->rate(), seconds = range.span() / rate;
    const double least = seconds * static_cast<double>(theme().units(90)) / static_cast<double>(std::max(size.x, 1.0f));
    const auto found = std::find_if(steps.begin(), steps.end(), [&](double s) { return s >= least; });
    const double step = found != steps.end() ? *found : std::ceil(least / 600) * 600;
    const ImU32 colour = packed(theme().colours.muted), line = packed(theme().colours.line, 0.6f);
    ImGui::PushFont(theme().small);
    for (double t = std::ceil(range.begin() / rate / step) * step; t * rate < range.end(); t += step) {
        const float x = range.x_of(t * rate, at.x, size.x);
        draw.AddLine({x, at.y}, {x, at.y + size.y}, line);
        draw.AddText({x + theme().units(4), at.y + theme().units(2)}, colour, time_text(t, step * 5).c_str());
    }
    ImGui::PopFont();
}

void SoundView::handle(ImVec2 at, ImVec2 size, ViewEvents& events) {
    const ImGuiIO& io = ImGui::GetIO();
    const double here = range.sample_at(io.MousePos.x, at.x, size.x);
    if (ImGui::IsItemHovered()) {
        if (io.MouseWheel != 0 && io.KeyShift)
            range.move(-0.1 * static_cast<double>(io.MouseWheel) * range.span());
        else if (io.MouseWheel != 0)
            range.zoom(std::pow(ui::zoom_step, static_cast<double>(io.MouseWheel)), here);
        if (io.MouseWheelH != 0) range.move(-0.1 * static_cast<double>(io.MouseWheelH) * range.span());
        if (ImGui::IsMouseDragging(ImGuiMouseButton_Middle) || ImGui::IsMouseDragging(ImGuiMouseButton_Right))
            range.move(-static_cast<double>(io.MouseDelta.x) * range.span() / static_cast<double>(size.x));
    }
    const double last = static_cast<double>(sound_->size());
    if (ImGui::IsItemActivated()) drag_from_ = std::clamp(here, 0.0, last), dragging_ = false;
    if (drag_from_ && ImGui::IsItemActive()) {
        dragging_ = dragging_ || ImGui::IsMouseDragging(ImGuiMouseButton_Left, theme().units(4));
        if (dragging_) {
            const double to = std::clamp(here, 0.0, last);
            const auto [a, b] = std::minmax(*drag_from_, to);
            selection = SoundRange{static_cast<int64_t>(a), static_cast<int64_t>(b)};
            events.selection_changed = true;
        }
    }
    if (drag_from_ && ImGui::IsItemDeactivated()) {
        if (!dragging_) {
            if (selection) events.selection_changed = true;
            selection.reset();
            events.seek = static_cast<int64_t>(*drag_from_);
        } else if (selection && selection->end <= selection->begin) {
            selection.reset();
        }
        drag_from_.reset();
    }
}

ViewEvents SoundView::draw(const char* id, ImVec2 size, int64_t position, int64_t length, bool follow) {
    ViewEvents events;
    ImDrawList& draw = *ImGui::GetWindowDrawList();
    const ImVec2 at = ImGui::GetCursorScreenPos();
    size.x = std::floor(std::max(size.x, 32.0f)), size.y = std::floor(std::max(size.y, 16.0f));
    ImGui::InvisibleButton(id, size, ImGuiButtonFlags_MouseButtonLeft);
    ui::mark(id);
    draw.AddRectFilled(at, {at.x + size.x, at.y + size.y}, packed(theme().colours.panel), theme().units(6));
    if (!sound_) return events;
    overview_->update(samples_a_frame);
    range.set_length(std::max(length, sound_->size()));
    handle(at, size, events);
    if (follow && !ImGui::IsItemActive()) range.follow(static_cast<double>(position));

    draw.PushClipRect(at, {at.x + size.x, at.y + size.y}, true);
    const float lower = picture == Picture::waveform ? 0
                      : picture == Picture::both     ? std::floor(size.y * 0.58f)
                                                     : size.y;
    const ImVec2 wave = {size.x, size.y - lower};
    if (lower > 0) spectrogram_.draw(draw, {at.x, at.y + wave.y}, {size.x, lower}, range.begin(), range.end());
    if (wave.y > 0) draw_waveform(draw, at, wave);
    draw_time(draw, at, size);
    if (selection) {
        const float a = range.x_of(static_cast<double>(selection->begin), at.x, size.x),
                    b = range.x_of(static_cast<double>(selection->end), at.x, size.x);
        draw.AddRectFilled({a, at.y}, {std::max(b, a + 1), at.y + size.y}, packed(theme().colours.selection));
    }
    const float x = range.x_of(static_cast<double>(position), at.x, size.x);
    draw.AddLine({x, at.y}, {x, at.y + size.y}, packed(theme().colours.playhead), theme().units(1.5f));
    draw.PopClipRect();
    return events;
}

}  // namespace nigiri::studio
