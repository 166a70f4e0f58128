// nigiri studio: the desktop application.
#include "app/command.h"
#include "app/studio/studio.h"

namespace nigiri::app {

namespace {

class StudioCommand final : public Command {
  public:
    void declare(CLI::App& parent) override {
        CLI::App& c = add(parent, "studio", "the desktop application: train, generate, listen and compare");
        c.add_option("folder", options_.data, "folder of recordings to open");
        c.add_option("--settings", options_.settings, "settings file; default: in the user's configuration folder");
        // For tests that drive the window from outside.
        c.add_option("--marks", options_.marks, "write here where every control is")->group("");
        c.add_option("--picture", options_.picture, "write the window as a PNG after some frames, and close")
            ->group("");
        c.add_option("--picture-frames", options_.picture_frames, "how many frames that takes")->group("");
    }

    int run() override {
        options_.stop = &stop_requested();
        studio::run_studio(options_);
        return 0;
    }

  private:
    studio::StudioOptions options_;
};

}  // namespace

std::unique_ptr<Command> make_studio_command() { return std::make_unique<StudioCommand>(); }

}  // namespace nigiri::app
