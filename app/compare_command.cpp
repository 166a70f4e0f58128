// nigiri compare: models side by side, by number and by ear.
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/compare/report.h"
#include "app/compare/report_table.h"
#include "app/text.h"

namespace nigiri::app {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

class CompareCommand final : public Command {
  public:
    void declare(CLI::App& parent) override {
        CLI::App& c = add(parent, "compare", "compare models on held-out audio: a page with tables, clips, pictures");
        c.add_option("models", options_.models, "checkpoints or run folders")->required();
        c.add_option("--data", options_.data, "folder of audio, raw or prepared")->required();
        c.add_option("-o,--output", output_, "folder for the report, or a name ending in .html")->required();
        c.add_option("--split", split_, "the held-out part")->check(CLI::IsMember({"train", "valid", "test"}));
        c.add_option("--count", options_.clips, "clips a model")->check(CLI::Range(1, 1024));
        c.add_option("--seconds", options_.seconds, "length of a clip")->check(CLI::Range(0.01, 3600.0));
        c.add_option("--prompt-seconds", options_.prompt_seconds,
                     "held-out audio that each clip continues, the same for all models; 0: from nothing")
            ->check(CLI::Range(0.0, 3600.0));
        c.add_option("--temperature", options_.sampling.temperature, "below 1 plays safe, 0 takes the likeliest")
            ->check(CLI::Range(0.0, 100.0));
        c.add_option("--top-k", options_.sampling.top_k, "keep the k likeliest codes, 0 for all")
            ->check(CLI::Range(0, 256));
        c.add_option("--top-p", options_.sampling.top_p, "keep the likeliest codes that make up this probability")
            ->check(CLI::Range(1e-6, 1.0));
        c.add_option("--eval-seconds", options_.evaluation_seconds,
                     "held-out audio for the bits per sample, 0 for all of it")
            ->check(CLI::Range(0.0, 1e7));
        c.add_option("--precision", precision_, "of the bits per sample: f32, or bf16 inside of layers (CUDA)")
            ->check(CLI::IsMember({"auto", "f32", "bf16"}));
        c.add_flag("--no-bits", no_bits_, "leave the bits per sample out: much faster");
        c.add_flag("--replace", replace_, "write over an earlier report");
    }

    int run() override {
        options_.split = parse_split(split_);
        options_.precision = precision_by_name(precision_);
        options_.sampling.seed = common.seed;
        options_.evaluate = !no_bits_;
        options_.threads = common.threads;
        const ReportFiles files = report_files(output_);
        options_.clips_folder = files.clips;
        check_output(files);
        const auto backend = open_backend();
        ProgressLine line(common.quiet);
        const auto show = [&](const ComparisonProgress& progress, const ComparisonResult& result, bool model_done) {
            line.show(fixed(100 * progress.fraction, 0) + " %  " + progress.what, model_done);
            // What is done survives a crash or a power cut.
            if (model_done) write_report(options_, result, files);
            return !stop_requested().load();
        };
        const ComparisonResult result = compare(options_, backend, show);
        line.finish();
        write_report(options_, result, files);
        if (!result.complete && stop_requested().load()) say("stopped: what was made is kept");
        print(result, files);
        for (const ComparedModel& m : result.models)
            if (!m.error.empty())
                throw Error(m.name + " failed: " + m.error, "the report has the rest: " + files.html.string());
        json object = to_json(options_, result, files);
        object["files"] = {files.html.string(), files.markdown.string(), files.json.string()};
        print_json(object);
        return 0;
    }

  private:
    // Before the long work: what cannot be written, or would be lost, is said at once.
    void check_output(const ReportFiles& files) const {
        std::error_code code;
        for (const fs::path& file : {files.html, files.markdown, files.json})
            if (fs::exists(file, code) && !replace_)
                throw Error(file.string() + " exists already", "choose another --output, or add --replace");
        fs::create_directories(files.clips, code);
        if (code || !fs::is_directory(files.clips))
            throw Error("cannot make the folder " + files.clips.string(), "choose another --output");
    }

    void print(const ComparisonResult& result, const ReportFiles& files) const {
        for (const Table& table : {model_table(result), similarity_table(result)})
            for (const TableRow& r : table.rows) {
                std::string text = r.name + (r.unit.empty() ? "" : ", " + r.unit) + ":";
                for (size_t i = 0; i < r.cells.size(); ++i)
                    text += std::string(i ? "; " : " ") + result.models[i].name + " " + r.cells[i];
                say(text + (r.held_out.empty() ? "" : "; held-out audio " + r.held_out));
            }
        for (const std::string& note : result.notes) say("note: " + note);
        say("open " + files.html.string());
    }

    ComparisonOptions options_;
    fs::path output_;
    std::string split_ = "test", precision_ = "f32";
    bool no_bits_ = false, replace_ = false;
};

}  // namespace

std::unique_ptr<Command> make_compare_command() { return std::make_unique<CompareCommand>(); }

}  // namespace nigiri::app
