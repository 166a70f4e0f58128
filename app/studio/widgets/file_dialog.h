// Choosing a file or folder inside the window: works the same on every desktop, and without one.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace nigiri::studio {

class FileDialog {
  public:
    using Chosen = std::function<void(const std::filesystem::path&)>;
    enum class Wanted { folder, file, new_file };

    struct Request {
        Wanted wanted = Wanted::file;
        std::string title;                 // "Choose a folder of recordings"
        std::filesystem::path start;       // a folder, or for a new file its suggested path; empty: the last one
        std::vector<std::string> endings;  // files to show, such as ".wav"; empty: all
        std::vector<std::filesystem::path> places;  // shown as shortcuts
    };
    // Opens it with the next frame; `chosen` is called from draw().
    void open(Request request, Chosen chosen);
    bool is_open() const { return open_; }
    void draw();
    // The folder it was in last, kept in the settings.
    std::filesystem::path folder;

  private:
    struct Entry {
        std::string name;
        bool is_folder = false;
        uintmax_t bytes = 0;
    };
    void go_to(const std::filesystem::path& to);
    void finish(const std::filesystem::path& path);
    void draw_places();
    void draw_entries(float height);
    bool ready() const;

    Request request_;
    Chosen chosen_;
    bool open_ = false, opening_ = false, asking_to_replace_ = false;
    std::string typed_, name_, filter_, problem_;
    std::vector<Entry> entries_;
    std::string selected_;
};

}  // namespace nigiri::studio
