// nigiri demo-data: the piano recordings the demo learns from, rendered from the project's own scores.
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/text.h"
#include "audio/demo_data.h"

namespace nigiri::app {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

class DemoDataCommand final : public Command {
  public:
    void declare(CLI::App& parent) override {
        CLI::App& c = add(parent, "demo-data", "render the demo's piano pieces with FluidSynth");
        c.add_option("-o,--output", output_, "folder to write train, valid and test into")->required();
        c.add_option("--minutes", options_.minutes, "at least this much audio")->check(CLI::Range(1.0, 600.0));
        c.add_option("--scores", scores_, "folder of scores in ABC notation");
        c.add_option("--soundfont", options_.soundfont, "General MIDI soundfont; empty: the system's");
    }

    int run() override {
        options_.jobs = common.threads;
        if (parser()->get_option("--seed")->count() > 0) options_.seed = common.seed;
        ProgressLine line(common.quiet);
        const DemoDataReport report =
            render_demo_data(scores_, output_, options_, [&](const DemoPiece& piece, size_t done, size_t total) {
                line.show("rendering " + std::to_string(done) + " of " + std::to_string(total) + ": " + piece.title);
                if (stop_requested().load())
                    throw Error("stopped", "what was rendered is kept; the same command goes on");
            });
        line.finish();
        json pieces = json::array();
        for (const DemoPiece& p : report.pieces)
            pieces.push_back({{"name", p.name},
                              {"title", p.title},
                              {"split", p.split},
                              {"seconds", p.seconds},
                              {"file", p.audio.string()}});
        say(std::to_string(report.pieces.size()) + " pieces, " + fixed(report.minutes(), 1) + " minutes of piano in " +
            output_.string() + " (train " + fixed(report.minutes("train"), 1) + ", valid " +
            fixed(report.minutes("valid"), 1) + ", test " + fixed(report.minutes("test"), 1) + ")");
        print_json({{"minutes", report.minutes()},
                    {"pieces", pieces},
                    {"folder", output_.string()},
                    {"soundfont", report.soundfont.string()}});
        return 0;
    }

  private:
    fs::path output_, scores_ = fs::path(NIGIRI_ASSETS_DIR) / "scores";
    DemoDataOptions options_;
};

}  // namespace

std::unique_ptr<Command> make_demo_data_command() { return std::make_unique<DemoDataCommand>(); }

}  // namespace nigiri::app
