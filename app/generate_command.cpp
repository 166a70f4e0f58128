// nigiri generate: clips from a model, ranked by their exact likelihood, or one that is heard while it is made.
#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "app/clips.h"
#include "app/command.h"
#include "app/generation_setup.h"
#include "app/live_generation.h"
#include "app/model_file.h"
#include "app/text.h"
#include "app/write_file.h"
#include "audio/analysis.h"
#include "audio/file.h"

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
        c.add_option("-o,--output", output_,
                     "a .wav or .flac file, or a folder for the clips; may be left out with "
                     "--play");
        c.add_option("--format", format_, "in a folder: wav or flac")->check(CLI::IsMember({"wav", "flac"}));
        CLI::Option* play =
            c.add_flag("--play", play_, "one clip: play it while it is made; several: play the likeliest afterwards");
        c.add_option("--buffer-ms", buffer_ms_, "with --play: what the device holds ahead, 0 for its own choice")
            ->check(CLI::Range(0, 2000))
            ->needs(play);
        c.add_option("--play-on", play_on_, "auto, null, file:PATH, or a sound device's name or number");
        c.add_flag("--endless", endless_, "go on until Ctrl-C, or for --seconds if they are given; the file grows");
        c.add_flag("--guard", guard_, "go back and try again where the sound decays into noise or silence");
        add_weights_option(c, weights_);
        c.callback([this] {
            if (output_.empty() && !play_) throw CLI::RequiredError("--output");
            if (endless_ && count_ > 1) throw CLI::ValidationError("--endless", "makes one clip, not several");
            if (endless_ && !output_.empty() && !is_file())
                throw CLI::ValidationError("--endless", "writes to one file: end --output in .wav or .flac");
        });
    }

    int run() override {
        check_output();
        sampling_.seed = common.seed;
        path_ = model_path(model_);
        const Checkpoint checkpoint = Checkpoint::read(path_);
        config_ = checkpoint.config();
        const std::vector<uint8_t> prompt = read_prompt(config_.signal);
        const auto backend = open_backend();
        const auto network = checkpoint.make_network(backend);
        const auto samples = static_cast<int64_t>(seconds_ * config_.signal.sample_rate);
        if (samples < 1) throw Error("--seconds " + fixed(seconds_, 3) + " is less than one sample", "ask for more");
        settings_ = clip_settings(path_, config_, checkpoint.state().step, sampling_, prompt_.filename().string());
        setup_.engine = {.weights = weight_format_by_name(weights_), .threads = std::min(common.threads, 64)};
        setup_.engine.report = [this](const EngineReport& report) {
            engine_ = report.engine;
            if (const std::string note = slow_note(report); !note.empty()) say(note);
        };
        if (guard_) setup_.guard = guard_options(config_, checkpoint.state());
        if (endless_ || (play_ && count_ == 1))
            live(*network, prompt, samples);
        else
            side_by_side(*network, prompt, samples);
        return 0;
    }

  private:
    using Clock = std::chrono::steady_clock;

    int rate() const { return config_.signal.sample_rate; }

    bool is_file() const {
        std::string ending = output_.extension().string();
        std::transform(ending.begin(), ending.end(), ending.begin(), [](unsigned char c) { return std::tolower(c); });
        return ending == ".wav" || ending == ".flac";
    }

    // Before the long work: what cannot be written is said at once.
    void check_output() const {
        if (output_.empty()) return;
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

    static std::string gone_back(int64_t times) {
        return times == 0 ? "" : "  went back " + std::to_string(times) + (times == 1 ? " time" : " times");
    }

    void side_by_side(const Network& network, const std::vector<uint8_t>& prompt, int64_t samples) {
        ProgressLine line(common.quiet);
        const auto started = Clock::now();
        const auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - started).count(); };
        int64_t done = 0;
        const auto show = [&](const std::vector<Clip>& c) {
            done = samples;
            int64_t events = 0;
            for (const Clip& clip : c) {
                done = std::min(done, clip.generated());
                events += static_cast<int64_t>(clip.events.size());
            }
            if (done > 0) {
                const double speed = static_cast<double>(done) / elapsed();
                line.show(fixed(static_cast<double>(done) / rate(), 2) + " of " + fixed(seconds_, 2) + " s  " +
                          thousands(speed) + "samples/s a clip  " + fixed(speed / rate(), 3) + " x real time  " +
                          duration(static_cast<double>(samples - done) / speed) + " left" + gone_back(events));
            }
            return !stop_requested().load();
        };
        setup_.rescue = [&](const std::vector<Clip>& made) {
            line.finish();
            write(made, static_cast<double>(done * count_) / elapsed());
        };
        const auto clips = generate(network, count_, samples, prompt, sampling_, show, setup_);
        line.finish();
        const double seconds = elapsed();
        if (done < samples) say("stopped: what was made is kept");
        json out = write(clips, static_cast<double>(done * count_) / seconds);
        print_json(out);
        if (play_) play_clip(waveform(clips[by_likelihood(clips)[0]], config_.signal));
    }

    // Best first, named by rank: clip-1.wav, clip-2.wav, ...; with `count` clips and one file, clip 2 is NAME-2.wav.
    fs::path path_of(size_t rank) const {
        if (!is_file()) return output_ / ("clip-" + std::to_string(rank + 1) + "." + format_);
        if (rank == 0) return output_;
        return output_.parent_path() /
               (output_.stem().string() + "-" + std::to_string(rank + 1) + output_.extension().string());
    }

    json write(const std::vector<Clip>& clips, double samples_per_second) {
        const std::vector<size_t> order = by_likelihood(clips);
        json files = json::array(), likelihoods = json::array(), events = json::array();
        for (size_t rank = 0; rank < order.size(); ++rank) {
            const Clip& clip = clips[order[rank]];
            const std::vector<float> samples = waveform(clip, config_.signal);
            std::string text;
            if (!output_.empty()) {
                const fs::path path = path_of(rank);
                write_clip(path, samples, rate(), clip_facts(clip, order[rank], settings_));
                files.push_back(path.string());
                text = path.string() + "  ";
            }
            const Analysis analysis = analyse(std::span(samples).subspan(static_cast<size_t>(clip.prompt)), rate());
            text += fixed(clip.log2_likelihood_per_sample(), 3) + " bits/sample  " + to_text(analysis);
            for (const std::string& warning : analysis.warnings) text += "  (" + warning + ")";
            say(text);
            for (const GuardEvent& e : clip.events) {
                say("  " + to_text(e, rate()));
                events.push_back(to_json(e, rate()));
            }
            likelihoods.push_back(clip.log2_likelihood_per_sample());
        }
        const double factor = samples_per_second / static_cast<double>(clips.size()) / rate();
        say(thousands(samples_per_second) + "samples/s in all, " + fixed(factor, 3) + " x real time a clip");
        json out = {{"files", files},
                    {"log2_likelihood_per_sample", likelihoods},
                    {"samples_per_second", samples_per_second},
                    {"realtime_factor", factor},
                    {"engine", engine_},
                    {"seed", sampling_.seed}};
        if (guard_) out["guard"] = events;
        return out;
    }

    std::unique_ptr<AudioOutput> open_play() {
        std::string message;
        auto output = open_output(play_on_, rate(), message, buffer_ms_ / 1000.0);
        say(message.empty() ? "playing on " + output->description() : message);
        return output;
    }

    void play_clip(const std::vector<float>& samples) {
        play(*open_play(), samples, [](double, const std::string&) { return !stop_requested().load(); });
    }

    void live(const Network& network, const std::vector<uint8_t>& prompt, int64_t samples) {
        const bool bounded = !endless_ || parser()->get_option("--seconds")->count() > 0;
        const auto stream =
            open_stream(network, std::vector<std::vector<uint8_t>>{prompt},
                        std::make_shared<SamplingControls>(sampling_), setup_, [] { return !stop_requested().load(); });
        if (!stream) throw Error("stopped before the first sample");
        LiveRequest request;
        request.samples = bounded ? samples : 0;
        request.keep_codes = !endless_;
        if (play_) request.output = open_play();
        if (endless_ && !output_.empty()) {
            json facts = clip_facts({}, 0, settings_);
            for (const char* unknown : {"samples", "log2_likelihood_per_sample"}) facts.erase(unknown);
            request.file = std::make_unique<AudioWriter>(output_, rate(), SampleFormat::pcm16,
                                                         Tags{{"software", "nigiri"}, {"comment", facts.dump()}},
                                                         FileLife::growing);
            if (const fs::path& growing = request.file->written_to(); growing != output_)
                say("grows as " + growing.string() + " and then takes the place of " + output_.string());
        }
        ProgressLine line(common.quiet);
        json out;
        request.on_made = [&](const LiveResult& made) {
            line.finish();
            if (play_ && !honest_ && made.seconds > 0) {  // made before its speed was known
                honest_ = true;
                say(fixed(static_cast<double>(made.samples) / made.seconds / rate(), 2) +
                    " x real time: playing begins at once");
            }
            if (made.stopped) say("stopped: what was made is kept");
            out = report(made);
        };
        const LiveResult r =
            generate_live(*stream, prompt, config_.signal, setup_.guard ? &*setup_.guard : nullptr, std::move(request),
                          stop_requested(), [&](const LiveStatus& s) { show(line, s, bounded ? samples : 0); });
        line.finish();
        if (play_)
            out["played"] = {{"began_after", r.began_to_play ? json(*r.began_to_play) : json(nullptr)},
                             {"heard_seconds", r.heard_seconds},
                             {"waits", r.dry_runs},
                             {"underruns", r.underruns}};
        print_json(out);
    }

    void show(ProgressLine& line, const LiveStatus& s, int64_t wanted) {
        const double speed = s.seconds > 0 ? static_cast<double>(s.samples) / s.seconds / rate() : 0;
        if (s.player && s.player->speed() && !honest_) honest_ = say_honestly(line, *s.player, wanted == 0);
        std::string text = fixed(static_cast<double>(s.samples) / rate(), 2);
        text += wanted > 0 ? " of " + fixed(static_cast<double>(wanted) / rate(), 2) + " s  " : " s  ";
        text += fixed(s.player ? s.player->speed().value_or(speed) : speed, 2) + " x real time";
        if (s.player) {
            if (s.player->playing())
                text += "  playing, " + fixed(s.player->heard_seconds(), 1) + " s heard";
            else if (const auto wait = s.player->wait_seconds())
                text += "  playing begins in " + duration(std::ceil(*wait));
            if (const int64_t n = s.player->dry_runs(); n > 0) text += "  had to wait " + std::to_string(n) + " times";
        }
        line.show(text + gone_back(s.gone_back));
    }

    // What to expect, once it is known. Returns false where that is not yet.
    bool say_honestly(ProgressLine& line, const LivePlayer& player, bool no_end) {
        const std::string speed = fixed(*player.speed(), 2) + " x real time: ";
        std::string text;
        const auto wait = player.wait_seconds();
        if (!player.playing() && !wait) return false;
        const double seconds = std::ceil(wait.value_or(0));
        if (player.playing() || seconds < 1)
            text = speed + "playing begins at once";
        else if (const auto lasts = player.lasts_seconds(); lasts && no_end)
            text = speed + "too slow to play without a stop: it gathers for " + duration(seconds) + ", plays for " +
                   duration(*lasts) + ", and so on";
        else
            text = speed + "playing begins after " + duration(seconds) + " so that it does not stop";
        line.finish();
        say(text);
        return true;
    }

    json report(const LiveResult& r) {
        const double per_second = r.seconds > 0 ? static_cast<double>(r.samples) / r.seconds : 0;
        json out;
        if (!endless_) {
            out = write({r.clip}, per_second);
        } else {
            const double likelihood = r.samples > 0 ? -r.bits / static_cast<double>(r.samples) : 0;
            json files = json::array();
            if (!output_.empty()) {
                files.push_back(output_.string());
                json facts = clip_facts(r.clip, 0, settings_);
                facts["samples"] = r.samples;
                facts["log2_likelihood_per_sample"] = likelihood;
                fs::path sidecar = output_;
                write_file(sidecar += ".json", facts.dump(2) + "\n");
            }
            say((output_.empty() ? "" : output_.string() + "  ") + duration(static_cast<double>(r.samples) / rate()) +
                "  " + fixed(likelihood, 3) + " bits/sample" + gone_back(r.event_count));
            out = {{"files", files},
                   {"log2_likelihood_per_sample", {likelihood}},
                   {"samples_per_second", per_second},
                   {"realtime_factor", per_second / rate()},
                   {"engine", engine_},
                   {"seed", sampling_.seed}};
            json events = json::array();
            for (const GuardEvent& e : r.events) {
                say("  " + to_text(e, rate()));
                events.push_back(to_json(e, rate()));
            }
            if (guard_) out["guard"] = events;
        }
        out["samples"] = r.samples;
        out["stopped"] = r.stopped;
        if (guard_) out["joins"] = r.joins;
        return out;
    }

    fs::path model_, prompt_, output_, path_;
    double seconds_ = 4, prompt_seconds_ = 0;
    int count_ = 1, buffer_ms_ = unhurried_buffer_ms;
    std::string engine_, format_ = "wav", play_on_ = "auto", weights_ = "auto";
    bool play_ = false, endless_ = false, guard_ = false, honest_ = false;
    SamplingOptions sampling_;
    Config config_;
    ClipSettings settings_;
    GenerationSetup setup_;
};

}  // namespace

std::unique_ptr<Command> make_generate_command() { return std::make_unique<GenerateCommand>(); }

}  // namespace nigiri::app
