// The left side of the Compare page: what is compared, under which conditions, and earlier comparisons.
#pragma once

#include "app/studio/sessions/comparison_session.h"
#include "app/studio/sessions/model_list.h"
#include "app/studio/studio.h"

namespace nigiri::studio {

inline constexpr float compare_label_width = 104;  // of the whole Compare page

class CompareSetup {
  public:
    CompareSetup(ComparisonSession& session, const Wake& wake)
        : session_(session), models_(wake, list_models), earlier_(wake, list_comparisons) {}

    void add_model(Desk& desk, const std::filesystem::path& path);
    // Looks again at what models and comparisons there are, beside the window.
    void refresh();
    void draw(Desk& desk);
    // On one line.
    void draw_earlier(Desk& desk);

  private:
    bool is_chosen(const std::filesystem::path& path) const;
    void draw_models(Desk& desk);
    void draw_conditions(Desk& desk);
    void draw_measures();
    void draw_start(Desk& desk);
    void start(Desk& desk);

    ComparisonSession& session_;
    app::ComparisonOptions options_{.clips = 6, .evaluation_seconds = 60};
    int seed_ = 1;
    std::string data_;
    bool data_chosen_ = false;  // by hand; before, it follows the folder that is open
    std::vector<std::filesystem::path> chosen_;
    ModelList models_;
    ComparisonList earlier_;
};

}  // namespace nigiri::studio
