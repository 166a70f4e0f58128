// The studio: one window, five pages, a player below. Pages draw what their own state objects say and ask them to work;
// the work is done on other threads, which wake the window when there is something new.
#pragma once

#include <memory>

#include "app/studio/player/deck.h"
#include "app/studio/widgets/file_dialog.h"
#include "app/studio/widgets/messages.h"
#include "app/studio/settings.h"
#include "app/studio/widgets/window.h"

namespace nigiri::studio {

// What the pages share.
struct Desk {
    Settings settings;
    Messages messages;
    FileDialog dialog;
    Deck deck;
    Wake wake;

    std::filesystem::path data;   // the folder of audio that is open; empty: none
    std::filesystem::path model;  // the model that generates
    std::string page;             // the one shown

    explicit Desk(Wake w) : deck(w), wake(std::move(w)) {}
};

class Page {
  public:
    virtual ~Page() = default;
    virtual const char* name() const = 0;   // "data": in settings and marks
    virtual const char* title() const = 0;  // "Data"
    virtual void draw(Desk& desk) = 0;
    // Before drawing, whether shown or not: takes over what finished on other threads.
    virtual void update(Desk&) {}
    // Whether something moves on its own now, so that frames follow each other.
    virtual bool moving() const { return false; }
    // A folder or file was dropped while the page is shown; false: not for this page.
    virtual bool dropped(Desk&, const std::filesystem::path&) { return false; }
    // What would be lost or cut short if the window closed now; empty: nothing.
    virtual std::string unfinished() const { return {}; }
};

std::unique_ptr<Page> make_data_page(const Wake& wake);
std::unique_ptr<Page> make_train_page(const Wake& wake);
std::unique_ptr<Page> make_generate_page(const Wake& wake);
std::unique_ptr<Page> make_compare_page(const Wake& wake);
std::unique_ptr<Page> make_inspect_page(const Wake& wake);
std::unique_ptr<Page> make_settings_page();

struct StudioOptions {
    std::filesystem::path data;      // opened at start
    std::filesystem::path settings;  // empty: settings_file()
    std::filesystem::path marks;     // marks.h; empty: off
    std::filesystem::path picture;   // after `picture_frames` frames the window is written here and closed
    int picture_frames = 30;
    const std::atomic<bool>* stop = nullptr;  // becomes true: close, and keep everything
};

// Runs until the window is closed. Throws Error where there is no display.
void run_studio(const StudioOptions& options);

}  // namespace nigiri::studio
