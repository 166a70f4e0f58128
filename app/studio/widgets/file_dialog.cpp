#include "app/studio/widgets/file_dialog.h"

#include <imgui.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "app/studio/widgets/marks.h"
#include "app/studio/widgets/theme.h"
#include "app/studio/widgets/widgets.h"
#include "app/text.h"

namespace nigiri::studio {

namespace fs = std::filesystem;

namespace {

constexpr size_t most_entries = 20000;
constexpr const char* popup = "###file-dialog";

std::string lower(std::string s) {
    for (char& c : s) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return s;
}

fs::path home() {
    const char* h = std::getenv("HOME");
    return h != nullptr ? fs::path(h) : fs::path("/");
}

}  // namespace

void FileDialog::open(Request request, Chosen chosen) {
    request_ = std::move(request);
    chosen_ = std::move(chosen);
    opening_ = true;
    asking_to_replace_ = false;
    filter_.clear();
    name_.clear();
    fs::path start = request_.start.empty() ? folder : request_.start;
    if (request_.wanted == Wanted::new_file && start.has_filename()) {
        name_ = start.filename().string();
        start = start.parent_path();
    }
    std::error_code code;
    // A folder that has vanished: its nearest parent that is still there.
    while (!start.empty() && !fs::is_directory(start, code) && start.has_relative_path()) start = start.parent_path();
    go_to(fs::is_directory(start, code) ? start : home());
}

void FileDialog::go_to(const fs::path& to) {
    std::error_code code;
    fs::path real = fs::weakly_canonical(to, code);
    if (code) real = to;
    std::vector<Entry> found;
    fs::directory_iterator it(real, fs::directory_options::skip_permission_denied, code);
    if (code) {
        problem_ = "cannot open " + real.string() + ": " + code.message();
        return;
    }
    for (; it != fs::directory_iterator() && found.size() < most_entries; it.increment(code)) {
        if (code) break;
        std::error_code ignored;
        Entry entry{.name = it->path().filename().string(), .is_folder = it->is_directory(ignored)};
        if (entry.name.empty() || entry.name[0] == '.') continue;
        if (!entry.is_folder) {
            const std::string ending = lower(fs::path(entry.name).extension().string());
            const auto& wanted = request_.endings;
            if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), ending) == wanted.end()) continue;
            entry.bytes = it->file_size(ignored);
        }
        found.push_back(std::move(entry));
    }
    std::sort(found.begin(), found.end(), [](const Entry& a, const Entry& b) {
        if (a.is_folder != b.is_folder) return a.is_folder;
        return lower(a.name) < lower(b.name);
    });
    entries_ = std::move(found);
    folder = real;
    typed_ = real.string();
    selected_.clear();
    problem_.clear();
    filter_.clear();
}

bool FileDialog::ready() const {
    switch (request_.wanted) {
        case Wanted::folder:
            return true;
        case Wanted::file:
            return !selected_.empty();
        case Wanted::new_file:
            return !name_.empty() && name_.find('/') == std::string::npos;
    }
    return false;
}

void FileDialog::finish(const fs::path& path) {
    open_ = false;
    ImGui::CloseCurrentPopup();
    const Chosen chosen = std::move(chosen_);
    if (chosen) chosen(path);
}

void FileDialog::draw_places() {
    ImGui::BeginChild("places", {theme().units(170), -1});
    std::vector<std::pair<std::string, fs::path>> places = {{"Home", home()}, {"Computer", "/"}};
    for (const char* name : {"Music", "Documents", "Downloads", "Desktop"}) {
        std::error_code code;
        if (fs::is_directory(home() / name, code)) places.emplace_back(name, home() / name);
    }
    for (const fs::path& p : request_.places)
        if (!p.empty()) places.emplace_back(p.filename().string() + "##" + p.string(), p);
    for (const auto& [name, path] : places) {
        if (ImGui::Selectable(name.c_str(), folder == path)) go_to(path);
        ui::help(path.string());
    }
    ImGui::EndChild();
}

void FileDialog::draw_entries(float height) {
    ImGui::BeginChild("entries", {-1, height});
    const std::string filter = lower(filter_);
    std::vector<const Entry*> shown;
    for (const Entry& e : entries_)
        if (filter.empty() || lower(e.name).find(filter) != std::string::npos) shown.push_back(&e);
    if (shown.empty())
        ui::muted(request_.wanted == Wanted::folder || request_.endings.empty() ? "Nothing here."
                                                                                : "No file of the wanted kind here.");
    fs::path enter, take;
    ImGuiListClipper clipper;
    clipper.Begin(static_cast<int>(shown.size()));
    while (clipper.Step())
        for (int i = clipper.DisplayStart; i < clipper.DisplayEnd; ++i) {
            const Entry& e = *shown[static_cast<size_t>(i)];
            const bool fits = e.is_folder || request_.wanted != Wanted::folder;
            ImGui::BeginDisabled(!fits);
            const std::string label = (e.is_folder ? e.name + "/" : e.name) + "##" + std::to_string(i);
            if (ImGui::Selectable(label.c_str(), selected_ == e.name, ImGuiSelectableFlags_AllowDoubleClick)) {
                selected_ = e.is_folder ? std::string() : e.name;
                if (!e.is_folder && request_.wanted == Wanted::new_file) name_ = e.name;
                // A folder opens with one press, as the list is there to walk through.
                if (e.is_folder)
                    enter = folder / e.name;
                else if (ImGui::IsMouseDoubleClicked(ImGuiMouseButton_Left) && request_.wanted == Wanted::file)
                    take = folder / e.name;
            }
            ui::mark("entry/" + e.name);
            ImGui::EndDisabled();
            if (!e.is_folder && e.bytes > 0) {
                ImGui::SameLine(ImGui::GetContentRegionMax().x - theme().units(80));
                ImGui::TextDisabled("%s", app::bytes_text(static_cast<double>(e.bytes)).c_str());
            }
        }
    ImGui::EndChild();
    if (!enter.empty()) go_to(enter);
    if (!take.empty()) finish(take);
}

void FileDialog::draw() {
    ui::set_page("dialog");
    if (opening_) {
        ImGui::OpenPopup(popup);
        opening_ = false;
        open_ = true;
    }
    if (!open_) return;
    const ImVec2 size = ImGui::GetMainViewport()->WorkSize;
    ImGui::SetNextWindowSize(
        {std::min(theme().units(860), size.x * 0.9f), std::min(theme().units(560), size.y * 0.85f)}, ImGuiCond_Always);
    ImGui::SetNextWindowPos(ImGui::GetMainViewport()->GetCenter(), ImGuiCond_Always, {0.5f, 0.5f});
    bool stays = true;
    const std::string title = request_.title + popup;
    if (!ImGui::BeginPopupModal(title.c_str(), &stays, ImGuiWindowFlags_NoResize | ImGuiWindowFlags_NoMove)) {
        open_ = false;
        return;
    }
    if (ui::button("Up")) go_to(folder.parent_path());
    ImGui::SameLine();
    ImGui::SetNextItemWidth(-theme().units(190));
    if (ImGui::IsWindowAppearing()) ImGui::SetKeyboardFocusHere();
    char path[4096];
    typed_.copy(path, sizeof path - 1);
    path[std::min(typed_.size(), sizeof path - 1)] = 0;
    if (ImGui::InputText("##path", path, sizeof path, ImGuiInputTextFlags_EnterReturnsTrue)) {
        std::error_code code;
        fs::path to = path;
        if (to.is_relative()) to = folder / to;
        if (fs::is_directory(to, code))
            go_to(to);
        else if (fs::is_regular_file(to, code) && request_.wanted == Wanted::file)
            finish(to);
        else
            problem_ = "there is no " + to.string();
    } else if (ImGui::IsItemActive()) {
        typed_ = path;
    }
    ui::mark("path");
    ImGui::SameLine();
    ImGui::SetNextItemWidth(-1);
    char filter[256];
    filter_.copy(filter, sizeof filter - 1);
    filter[std::min(filter_.size(), sizeof filter - 1)] = 0;
    if (ImGui::InputTextWithHint("##filter", "Filter", filter, sizeof filter)) filter_ = filter;
    ui::mark("filter");

    const bool names = request_.wanted == Wanted::new_file;
    const float below = ImGui::GetFrameHeightWithSpacing() * (names ? 2 : 1) +
                        (problem_.empty() ? 0 : ImGui::GetTextLineHeightWithSpacing());
    ImGui::BeginChild("lists", {-1, -below});
    draw_places();
    ImGui::SameLine();
    draw_entries(-1);
    ImGui::EndChild();
    if (!problem_.empty()) ui::problem(problem_);
    if (!open_) {  // a file was chosen in the list
        ImGui::EndPopup();
        return;
    }
    if (names) {
        ui::label("Name", 60);
        if (ui::text_field("##name", name_) && asking_to_replace_) asking_to_replace_ = false, problem_.clear();
    }
    const fs::path target = request_.wanted == Wanted::folder ? folder : names ? folder / name_ : folder / selected_;
    std::error_code code;
    const char* verb = request_.wanted == Wanted::folder ? "Choose this folder" : names ? "Save" : "Open";
    if (asking_to_replace_) verb = "Replace it";
    if (ui::primary(verb, ready())) {
        if (names && !asking_to_replace_ && fs::exists(target, code)) {
            asking_to_replace_ = true;
            problem_ = target.filename().string() + " exists already";
        } else {
            finish(target);
        }
    }
    ImGui::SameLine();
    if (ui::button("Cancel") || !stays || ImGui::IsKeyPressed(ImGui::GetKeyIndex(ImGuiKey_Escape))) {
        open_ = false;
        ImGui::CloseCurrentPopup();
    }
    ImGui::EndPopup();
}

}  // namespace nigiri::studio
