#include "app/studio/pages/compare_table.h"

#include <imgui.h>

#include "app/studio/widgets/marks.h"
#include "app/studio/widgets/theme.h"
#include "app/studio/widgets/widgets.h"

namespace nigiri::studio {

namespace {

constexpr const char* floor_help =
    "What pieces of real recordings score against other recordings: the best one can expect. Differences well below it "
    "mean nothing.";

void right_aligned(const std::string& text) {
    const float width = ImGui::CalcTextSize(text.c_str()).x;
    ImGui::SetCursorPosX(ImGui::GetCursorPosX() + std::max(0.0f, ImGui::GetContentRegionAvail().x - width));
    ImGui::TextUnformatted(text.c_str());
}

void header(const std::string& text, const char* help = nullptr) {
    ImGui::TableNextColumn();
    const float avail = ImGui::GetContentRegionAvail().x;
    ImGui::PushFont(theme().strong);
    right_aligned(ui::shortened(text, avail));
    ImGui::PopFont();
    ui::help(help != nullptr ? std::string(help) : text);
}

void draw_row(const app::TableRow& row, bool floor, const std::string& id) {
    ImGui::TableNextRow();
    ImGui::TableNextColumn();
    ImGui::BeginGroup();
    ImGui::TextUnformatted(row.name.c_str());
    if (!row.unit.empty()) {
        ImGui::SameLine();
        ImGui::TextDisabled("%s", row.unit.c_str());
    }
    ImGui::EndGroup();
    ui::mark(id);
    ui::help(row.definition);
    if (floor) {
        ImGui::TableNextColumn();
        ImGui::PushStyleColor(ImGuiCol_Text, theme().colours.muted);
        right_aligned(row.held_out);
        ImGui::PopStyleColor();
    }
    for (size_t i = 0; i < row.cells.size(); ++i) {
        ImGui::TableNextColumn();
        const bool best = static_cast<int>(i) == row.best;
        if (best) {
            ImGui::PushFont(theme().strong);
            ImGui::PushStyleColor(ImGuiCol_Text, theme().colours.accent);
        }
        right_aligned(row.cells[i]);
        if (best) ImGui::PopStyleColor(), ImGui::PopFont();
        marks().note("compare." + id + "/" + std::to_string(i), row.cells[i]);
    }
}

void draw_table(const app::Table& table, const Comparison& comparison, bool floor) {
    ui::heading(table.title.c_str());
    const int columns = static_cast<int>(comparison.result.models.size()) + (floor ? 2 : 1);
    if (!ImGui::BeginTable(table.title.c_str(), columns, ImGuiTableFlags_RowBg | ImGuiTableFlags_BordersInnerH)) return;
    ImGui::TableSetupColumn("", ImGuiTableColumnFlags_WidthStretch, 2.2f);
    for (int i = 1; i < columns; ++i) ImGui::TableSetupColumn("", ImGuiTableColumnFlags_WidthStretch, 1);
    ImGui::TableNextRow();
    ImGui::TableNextColumn();
    if (floor) header("recordings", floor_help);
    for (const app::ComparedModel& m : comparison.result.models) header(m.name);
    for (const app::TableRow& row : table.rows) draw_row(row, floor, "row/" + row.name);
    ImGui::EndTable();
    ImGui::Dummy({0, theme().units(6)});
}

}  // namespace

void draw_compare_tables(const Comparison& comparison) {
    draw_table(comparison.models, comparison, false);
    for (const std::string& d : app::differences(comparison.result)) ui::muted(d);
    if (!comparison.similarity.rows.empty()) draw_table(comparison.similarity, comparison, true);
    for (const std::string& note : comparison.result.notes) ui::muted(note);
    for (const app::ComparedModel& m : comparison.result.models)
        if (!m.error.empty()) ui::problem(m.name + " failed: " + m.error);
}

}  // namespace nigiri::studio
