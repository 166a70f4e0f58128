// nigiri generate: clips from a model, ranked by their exact likelihood.
#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "app/clips.h"
#include "app/command.h"
#include "app/model_file.h"
#include "app/text.h"
#include "audio/analysis.h"
#include "audio/file.h"
#include "audio/output.h"

namespace nigiri::app {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

class GenerateCommand final : public Command {
  public:
    void declare(CLI::App& parent) override {
        CLI::App& c = add(parent, "generate", "generate audio from a model");
        c.add_option("--model", model_, "checkpoint or run folder")->required();
        c.add_option("--seconds", seconds_, "length of what is generated")->check(CLI::Range(0.0, 86400.0));
        c.add_option("--count", count_, "clips")->check(CLI::Range(1, 4096));
        c.add_option("--temperature", sampling_.temperature, "below 1 plays safe, 0 takes the likeliest")
            ->check(CLI::Range(0.0, 100.0));
        c.add_option("--top-k", sampling_.top_k, "keep the k likeliest codes, 0 for all")->check(CLI::Range(0, 256));
        c.add_option("--top-p", sampling_.top_p, "keep the likeliest codes that make up this probability")
            ->check(CLI::Range(1e-6, 1.0));
        c.add_option("--prompt", prompt_, "audio file to continue; its end is what counts");
        c.add_option("--prompt-seconds", prompt_seconds_, "how much of the prompt's beginning to take, 0 for all")
            ->check(CLI::Range(0.0, 3600.0));
        c.add_option("-o,--output", output_, "a .wav or .flac file, or a folder for the clips")->required();
        c.add_option("--format", format_, "in a folder: wav or flac")->check(CLI::IsMember({"wav", "flac"}));
        CLI::Option* play = c.add_flag("--play", play_, "play the likeliest clip afterwards");
        c.add_option("--buffer-ms", buffer_ms_, "with --play: what the device holds ahead, 0 for its own choice")
            ->check(CLI::Range(0, 2000))
            ->needs(play);
    }

    int run() override {
        check_output();
        sampling_.seed = common.seed;
        const fs::path path = model_path(model_);
        const Checkpoint checkpoint = Checkpoint::read(path);
        const Config& config = checkpoint.config();
        const std::vector<uint8_t> prompt = read_prompt(config.signal);
        const auto backend = open_backend();
        const auto network = checkpoint.make_network(backend);
        const auto samples = static_cast<int64_t>(seconds_ * config.signal.sample_rate);
        if (samples < 1) throw Error("--seconds " + fixed(seconds_, 3) + " is less than one sample", "ask for more");

        ProgressLine line(common.quiet);
        const auto started = std::chrono::steady_clock::now();
        const auto elapsed = [&] {
            return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
        };
        int64_t done = 0;
        const auto clips = generate(*network, count_, samples, prompt, sampling_, [&](const std::vector<Clip>& c) {
            done = c[0].generated();
            const double rate = static_cast<double>(done) / elapsed();
            if (done % 64 == 0)
                line.show(fixed(static_cast<double>(done) / config.signal.sample_rate, 2) + " of " +
                          fixed(seconds_, 2) + " s  " + thousands(rate) + "samples/s a clip  " +
                          fixed(rate / config.signal.sample_rate, 3) + " x real time  " +
                          duration(static_cast<double>(samples - done) / rate) + " left");
            return !stop_requested().load();
        });
        line.finish();
        const double seconds = elapsed();
        if (done < samples) say("stopped: what was made is kept");
        write(clips, config, path, checkpoint, static_cast<double>(done * count_) / seconds);
        return 0;
    }

  private:
    bool is_file() const {
        std::string ending = output_.extension().string();
        std::transform(ending.begin(), ending.end(), ending.begin(), [](unsigned char c) { return std::tolower(c); });
        return ending == ".wav" || ending == ".flac";
    }

    // Before the long work: what cannot be written is said at once.
    void check_output() const {
        if (!is_file()) {
            std::error_code code;
            fs::create_directories(output_, code);
            if (code || !fs::is_directory(output_))
                throw Error("cannot make the folder " + output_.string(),
                            "give a folder, or a file ending in .wav or .flac");
        } else if (output_.has_parent_path() && !fs::is_directory(output_.parent_path())) {
            throw Error("the folder " + output_.parent_path().string() + " does not exist", "make it first");
        }
    }

    std::vector<uint8_t> read_prompt(const SignalConfig& signal) const {
        if (prompt_.empty()) return {};
        Audio audio = read_audio(prompt_, signal.sample_rate);
        const auto wanted = static_cast<size_t>(prompt_seconds_ * signal.sample_rate);
        if (wanted > 0 && audio.samples.size() > wanted) audio.samples.resize(wanted);
        return prompt_codes(std::move(audio.samples), signal);
    }

    // Best first, named by rank: clip-1.wav, clip-2.wav, ...; with `count` clips and one file, clip 2 is NAME-2.wav.
    fs::path path_of(size_t rank) const {
        if (!is_file()) return output_ / ("clip-" + std::to_string(rank + 1) + "." + format_);
        if (rank == 0) return output_;
        return output_.parent_path() /
               (output_.stem().string() + "-" + std::to_string(rank + 1) + output_.extension().string());
    }

    void write(const std::vector<Clip>& clips, const Config& config, const fs::path& model,
               const Checkpoint& checkpoint, double samples_per_second) {
        const std::vector<size_t> order = by_likelihood(clips);
        const ClipSettings settings =
            clip_settings(model, config, checkpoint.state().step, sampling_, prompt_.filename().string());
        json files = json::array(), likelihoods = json::array();
        for (size_t rank = 0; rank < order.size(); ++rank) {
            const Clip& clip = clips[order[rank]];
            const fs::path path = path_of(rank);
            const std::vector<float> samples = waveform(clip, config.signal);
            write_clip(path, samples, config.signal.sample_rate, clip_facts(clip, order[rank], settings));
            const Analysis analysis =
                analyse(std::span(samples).subspan(static_cast<size_t>(clip.prompt)), config.signal.sample_rate);
            std::string text = path.string() + "  " + fixed(clip.log2_likelihood_per_sample(), 3) + " bits/sample  " +
                               to_text(analysis);
            for (const std::string& warning : analysis.warnings) text += "  (" + warning + ")";
            say(text);
            files.push_back(path.string());
            likelihoods.push_back(clip.log2_likelihood_per_sample());
        }
        say(thousands(samples_per_second) + "samples/s in all, " +
            fixed(samples_per_second / static_cast<double>(count_) / config.signal.sample_rate, 3) +
            " x real time a clip");
        print_json({{"files", files},
                    {"log2_likelihood_per_sample", likelihoods},
                    {"samples_per_second", samples_per_second},
                    {"realtime_factor", samples_per_second / static_cast<double>(count_) / config.signal.sample_rate},
                    {"seed", sampling_.seed}});
        if (play_) play_clip(waveform(clips[order[0]], config.signal), config.signal.sample_rate);
    }

    void play_clip(const std::vector<float>& samples, int rate) {
        std::string message;
        const auto output = open_output("auto", rate, message, buffer_ms_ / 1000.0);
        say(message.empty() ? "playing on " + output->description() : message);
        if (message.empty())
            play(*output, samples, [](double, const std::string&) { return !stop_requested().load(); });
    }

    fs::path model_, prompt_, output_;
    double seconds_ = 4, prompt_seconds_ = 0;
    int count_ = 1, buffer_ms_ = 0;
    std::string format_ = "wav";
    bool play_ = false;
    SamplingOptions sampling_;
};

}  // namespace

std::unique_ptr<Command> make_generate_command() { return std::make_unique<GenerateCommand>(); }

}  // namespace nigiri::app
