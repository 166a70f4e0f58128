// nigiri prepare, play, demo-data: audio in and out.
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/text.h"
#include "audio/demo_data.h"
#include "audio/file.h"
#include "audio/output.h"
#include "audio/prepare.h"

namespace nigiri::app {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

class PrepareCommand final : public Command {
  public:
    void declare(CLI::App& parent) override {
        CLI::App& c = add(parent, "prepare", "turn a folder of recordings into training data");
        c.add_option("folder", source_, "folder of recordings, any format libsndfile reads")->required();
        c.add_option("-o,--output", data_, "folder to write")->required();
        c.add_option("--sample-rate", options_.sample_rate, "Hz")->check(CLI::Range(1000, 384000));
        c.add_option("--files", options_.files, "text file that names the training files to keep");
        c.add_flag("--all", all_, "list every file in the report, not only those left out");
    }

    int run() override {
        options_.threads = common.threads;
        if (parser()->get_option("--seed")->count() > 0) options_.seed = common.seed;
        ProgressLine line(common.quiet);
        const PrepareReport report = prepare(source_, data_, options_, show_progress(line));
        line.finish();
        say(to_text(report.scan, all_));
        say(report.folder.string() + ": " + std::to_string(report.written) + " files written, " +
            std::to_string(report.kept) + " kept");
        json out = to_json(report.scan);
        out["data"] = report.folder.string();
        out["written"] = report.written;
        out["kept"] = report.kept;
        print_json(out);
        return 0;
    }

  private:
    fs::path source_, data_;
    ScanOptions options_;
    bool all_ = false;
};

class PlayCommand final : public Command {
  public:
    void declare(CLI::App& parent) override {
        CLI::App& c = add(parent, "play", "play a sound file");
        c.add_option("file", file_, "any format libsndfile reads")->required();
        c.add_option("--output", output_, "auto, null, file:PATH, or a device's name or number");
        c.add_option("--buffer-ms", buffer_ms_,
                     "what the device holds ahead: more where the sound has gaps, 0 for its own choice")
            ->check(CLI::Range(0, 2000));
        c.add_flag("--list", list_, "list the sound devices first");
    }

    int run() override {
        json devices = json::array();
        if (list_)
            for (const SoundDevice& d : output_devices()) {
                say(std::to_string(d.index) + "  " + d.name + (d.is_default ? "  (default)" : ""));
                devices.push_back({{"index", d.index}, {"name", d.name}, {"default", d.is_default}});
            }
        const Audio audio = read_audio(file_);
        std::string message;
        const auto output = open_output(output_, audio.rate, message, buffer_ms_ / 1000.0);
        if (!message.empty()) say(message);
        say("playing " + file_.string() + ", " + duration(static_cast<double>(audio.samples.size()) / audio.rate) +
            ", on " + output->description());
        const bool whole =
            play(*output, audio.samples, [](double, const std::string&) { return !stop_requested().load(); });
        json out = {{"file", file_.string()},
                    {"output", output->description()},
                    {"samples", audio.samples.size()},
                    {"finished", whole},
                    {"underruns", output->underruns()}};
        if (list_) out["devices"] = devices;
        print_json(out);
        return 0;
    }

  private:
    fs::path file_;
    std::string output_ = "auto";
    int buffer_ms_ = unhurried_buffer_ms;
    bool list_ = false;
};

}  // namespace

std::unique_ptr<Command> make_prepare_command() { return std::make_unique<PrepareCommand>(); }
std::unique_ptr<Command> make_play_command() { return std::make_unique<PlayCommand>(); }

}  // namespace nigiri::app
