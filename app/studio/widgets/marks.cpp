#include "app/studio/widgets/marks.h"

#include <imgui.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

namespace nigiri::studio {

void Marks::item(const std::string& name) {
    if (!on() || !ImGui::IsItemVisible()) return;
    const ImVec2 a = ImGui::GetItemRectMin(), b = ImGui::GetItemRectMax();
    rectangle(name, a.x, a.y, b.x, b.y);
}

void Marks::rectangle(const std::string& name, float left, float top, float right, float bottom) {
    if (!on()) return;
    const nlohmann::json box = {std::lround(left), std::lround(top), std::lround(right), std::lround(bottom)};
    frame_[name] = box.dump();
}

void Marks::note(const std::string& name, const std::string& value) {
    if (on()) notes_[name] = value;
}

void Marks::end_frame() {
    if (!on()) return;
    if (frame_ != written_frame_ || notes_ != written_notes_) {
        nlohmann::json out = nlohmann::json::object();
        for (const auto& [name, box] : frame_) out[name] = nlohmann::json::parse(box);
        out["state"] = notes_;
        // Whoever reads sees the old or the new file, never half of one.
        const std::filesystem::path temporary = file_.string() + ".tmp";
        std::ofstream(temporary, std::ios::trunc)
            << out.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
        std::error_code ignored;
        std::filesystem::rename(temporary, file_, ignored);
        written_frame_ = frame_, written_notes_ = notes_;
    }
    frame_.clear(), notes_.clear();
}

Marks& marks() {
    static Marks all;
    return all;
}

}  // namespace nigiri::studio
