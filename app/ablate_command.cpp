// nigiri ablate: a grid of configurations under one budget.
#include <fstream>
#include <nlohmann/json.hpp>

#include "app/ablate/ablation.h"
#include "app/ablate/report.h"
#include "app/ablate/table.h"
#include "app/command.h"
#include "app/text.h"

namespace nigiri::app {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

// As it was typed, so that it can be typed again.
std::string command_line() {
    std::ifstream in("/proc/self/cmdline", std::ios::binary);
    std::string text, word;
    for (char c; in.get(c);) {
        if (c != '\0') {
            word += c;
            continue;
        }
        const bool plain = !word.empty() && word.find_first_of(" \t\n\"'\\$`*?[]{}()<>|&;#~!") == std::string::npos;
        text += (text.empty() ? "" : " ") + (plain ? word : "'" + word + "'");
        word.clear();
    }
    return text;
}

class AblateCommand final : public Command {
  public:
    void declare(CLI::App& parent) override {
        CLI::App& c = add(parent, "ablate", "train a grid of configurations under one budget; a table with error bars");
        c.add_option("--grid", grid_, "grid file, or the name of one that is shipped: " + shipped_names())->required();
        c.add_option("--data", options_.data, "folder of audio, raw or prepared");
        c.add_option("--files", options_.files, "text file that names the training files to keep");
        c.add_option("-o,--output", options_.folder, "folder for runs and report; one that exists is continued")
            ->required();
        c.add_option("--rows", options_.rows, "only these rows, by name; * and ? stand for anything")->delimiter(',');
        c.add_option("--minutes", options_.minutes, "stop and save after so many, to go on later; 0: no limit")
            ->check(CLI::Range(0.0, 1e7));
        c.add_option("--keep", keep_,
                     "of a finished run's checkpoints: all; weights: only the last step's, matrices in 16 bits; none")
            ->check(CLI::IsMember({"all", "weights", "none"}));
        c.add_flag("--report-only", report_only_, "train and evaluate nothing; only write the report of what is there");
    }

    int run() override {
        options_.grid = read_grid(grid_path());
        options_.keep = keep_by_name(keep_);
        options_.threads = common.threads;
        options_.version = NIGIRI_VERSION;
        options_.command = command_line();
        if (parser()->get_option("--seed")->count() > 0)
            throw Error("the seeds of a grid stand in its file", "leave out --seed, or change the line seeds = [...]");
        if (!report_only_ && options_.data.empty()) throw Error("ablate needs audio", "give --data FOLDER");
        chosen_rows(options_.grid, options_.rows);  // a wrong name is said before anything is made
        std::error_code code;
        fs::create_directories(options_.folder, code);
        if (code || !fs::is_directory(options_.folder))
            throw Error("cannot make the folder " + options_.folder.string(), "choose another --output");
        AblationEnd end;
        end.finished = true;
        if (!report_only_) end = train();
        const AblationSummary summary = write_ablation_report(options_.grid, options_.folder);
        show(summary, end);
        for (const std::string& failure : end.failures) say("failed: " + failure);
        if (!end.failures.empty())
            throw Error(std::to_string(end.failures.size()) + " runs failed, the last one, " + end.failures.back(),
                        "the same command tries them again");
        print(summary, end);
        return 0;
    }

  private:
    static fs::path shipped() { return fs::path(NIGIRI_ASSETS_DIR) / "ablations"; }

    static std::string shipped_names() {
        std::vector<std::string> names;
        std::error_code code;
        for (const auto& entry : fs::directory_iterator(shipped(), code))
            if (entry.path().extension() == ".toml") names.push_back(entry.path().stem().string());
        std::sort(names.begin(), names.end());
        std::string text;
        for (const std::string& n : names) text += (text.empty() ? "" : ", ") + n;
        return text;
    }

    fs::path grid_path() const {
        std::error_code code;
        const fs::path named = shipped() / (grid_.string() + ".toml");
        return !fs::exists(grid_, code) && fs::exists(named, code) ? named : grid_;
    }

    AblationEnd train() {
        const auto backend = open_backend();
        ProgressLine line(common.quiet);
        const AblationEnd end =
            run_ablation(options_, backend, stop_requested(), [&](AblationEvent event, const AblationProgress& p) {
                std::string text = "run " + std::to_string(p.run) + " of " + std::to_string(p.runs) + ", " + p.row +
                                   ", seed " + std::to_string(p.seed) + ": ";
                text += (event == AblationEvent::failed ? "failed: " : "") + p.what;
                if (p.remaining_seconds >= 0) text += ", " + duration(p.remaining_seconds) + " left of all";
                line.show(text, event != AblationEvent::moved);
                if (event != AblationEvent::moved) line.finish();
                // What is done can be looked at while the rest is made.
                if (event == AblationEvent::finished) write_ablation_report(options_.grid, options_.folder);
            });
        line.finish();
        return end;
    }

    void show(const AblationSummary& summary, const AblationEnd& end) const {
        const GridTable table = result_table(summary);
        for (const GridLine& l : table.lines)
            say(l.name + ": " + l.cells[0].substr(0, l.cells[0].find('\n')) + " bits per sample" +
                (l.status.empty() ? "" : " (" + l.status + ")"));
        for (const std::string& note : summary.notes) say("note: " + note);
        if (!end.finished && end.failures.empty()) say("stopped and saved; the same command goes on from here");
        say("open " + ablation_files(options_.folder).html.string());
    }

    void print(const AblationSummary& summary, const AblationEnd& end) const {
        if (!common.json) return;
        json out = to_json(summary, comparison_of(summary, options_.folder), options_.folder);
        const AblationFiles files = ablation_files(options_.folder);
        out["finished"] = end.finished;
        out["files"] = {files.html.string(), files.markdown.string(), files.json.string()};
        print_json(out);
    }

    fs::path grid_;
    AblationOptions options_;
    std::string keep_ = "all";
    bool report_only_ = false;
};

}  // namespace

std::unique_ptr<Command> make_ablate_command() { return std::make_unique<AblateCommand>(); }

}  // namespace nigiri::app
