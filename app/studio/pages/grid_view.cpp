#include "app/studio/pages/grid_view.h"

#include <imgui.h>

#include "app/studio/widgets/marks.h"
#include "app/studio/widgets/theme.h"
#include "app/studio/widgets/widgets.h"

namespace nigiri::studio {

namespace {

constexpr float curves_height = 270;

}  // namespace

void GridView::draw(const std::shared_ptr<const Comparison>& comparison) {
    const app::SavedAblation& grid = *comparison->grid;
    if (shown_ != comparison) {
        shown_ = comparison;
        series_.clear();
        plot_.state.reset();
    }
    ui::heading(grid.title.empty() ? comparison->name.c_str() : grid.title.c_str());
    if (!grid.about.empty()) ui::paragraph(grid.about);
    if (grid.runs_done < grid.runs)
        ui::muted(std::to_string(grid.runs_done) + " of " + std::to_string(grid.runs) +
                  " runs are done. Nigiri ablate goes on where it stood.");
    draw_table(grid);
    draw_curves(grid);
}

void GridView::draw_table(const app::SavedAblation& grid) {
    struct Column {
        std::string name, help;
        std::string app::SavedRow::*text;
    };
    const std::vector<Column> columns = {
        {"Bits per sample",
         "Of held-out recordings, exact: mean over the seeds and their standard deviation. Lower is better.",
         &app::SavedRow::bits},
        {"Least to most", "The best seed and the worst one.", &app::SavedRow::range},
        {"Against " + grid.reference, "How many bits more or less, seed by seed.", &app::SavedRow::difference},
        {"Size", "Parameters: numbers that were learned.", &app::SavedRow::parameters},
        {"Tokens", "Samples of audio seen in training.", &app::SavedRow::tokens},
        {"Speed", "Tokens a second in training, on the machine that did it.", &app::SavedRow::speed}};
    if (!ImGui::BeginTable("grid table", static_cast<int>(columns.size()) + 1,
                           ImGuiTableFlags_RowBg | ImGuiTableFlags_BordersInnerH | ImGuiTableFlags_SizingStretchProp))
        return;
    ImGui::TableNextRow();
    ImGui::TableNextColumn();
    ImGui::PushFont(theme().strong);
    for (const Column& c : columns) {
        ImGui::TableNextColumn();
        ImGui::TextUnformatted(ui::shortened(c.name, ImGui::GetContentRegionAvail().x).c_str());
        ui::help(c.name + ". " + c.help);
    }
    ImGui::PopFont();
    for (const app::SavedRow& row : grid.rows) {
        ImGui::TableNextRow();
        ImGui::TableNextColumn();
        ImGui::TextUnformatted(row.name.c_str());
        if (row.status != "done") ImGui::TextDisabled("%s", row.status.c_str());
        for (const Column& c : columns) {
            ImGui::TableNextColumn();
            ImGui::TextUnformatted((row.*c.text).c_str());
        }
        marks().note("compare.grid/" + row.name, row.bits);
    }
    ImGui::EndTable();
    ImGui::Dummy({0, theme().units(6)});
}

void GridView::draw_curves(const app::SavedAblation& grid) {
    std::string kind = validation_ ? "validation" : "training";
    ui::label("Curves", 60);
    if (ui::choice("##curves", kind, {"validation", "training"}, 140)) {
        validation_ = kind == "validation";
        series_.clear();
    }
    if (series_.empty())
        for (size_t i = 0; i < grid.rows.size(); ++i) {
            const app::SavedRow& row = grid.rows[i];
            PlotSeries series;
            series.name = row.name;
            series.colour = i;
            for (const app::CurvePoint& p : validation_ ? row.valid : row.train)
                series.append(static_cast<double>(p.tokens), p.bits);
            series_.push_back(std::move(series));
        }
    const float height = std::max(theme().units(curves_height), ImGui::GetContentRegionAvail().y);
    plot_.draw("grid curves", {ImGui::GetContentRegionAvail().x, height}, series_, {}, "tokens", "bits per sample",
               "Nothing was measured yet");
}

}  // namespace nigiri::studio
