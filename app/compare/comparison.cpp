#include "app/compare/comparison.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "app/compare/compared_files.h"
#include "app/compare/held_out_pieces.h"
#include "app/data_source.h"
#include "app/clips.h"
#include "app/generation_setup.h"
#include "app/model_file.h"
#include "app/text.h"

namespace nigiri::app {

namespace fs = std::filesystem;

namespace {

class Comparison {
  public:
    Comparison(const ComparisonOptions& options, const std::shared_ptr<Backend>& backend,
               const ComparisonCallback& callback)
        : options_(options), backend_(backend), callback_(callback) {}

    ComparisonResult run() {
        open_models();
        result_.device = backend_->description();
        const bool evaluate = options_.evaluate && !options_.data.empty();
        stages_ = 1 + checkpoints_.size() * (evaluate ? 2 : 1);
        if (options_.data.empty())
            go_without_held_out();
        else
            listen_to_held_out();
        try {
            for (size_t m = 0; m < checkpoints_.size(); ++m) attempt(m, [&] { generate_clips(m); });
            if (evaluate)
                for (size_t m = 0; m < checkpoints_.size(); ++m)
                    if (result_.models[m].error.empty()) attempt(m, [&] { evaluate_model(m); });
            result_.complete = std::all_of(result_.models.begin(), result_.models.end(),
                                           [](const ComparedModel& m) { return m.error.empty(); });
        } catch (const Cancelled&) {
            result_.notes.push_back("The comparison was stopped before its end; this is what was made until then.");
        }
        return std::move(result_);
    }

  private:
    int rate() const { return checkpoints_[0].config().signal.sample_rate; }
    int64_t clip_samples() const { return std::llround(options_.seconds * rate()); }
    int64_t prompt_samples() const { return std::llround(options_.prompt_seconds * rate()); }

    // All of them before the long work, so that a damaged one is found at once.
    void open_models() {
        if (options_.models.empty()) throw Error("there is no model to compare", "name checkpoints or run folders");
        validate(options_.sampling);
        for (const fs::path& given : options_.models) {
            ComparedModel m;
            m.file = model_path(given);
            checkpoints_.push_back(Checkpoint::read(m.file));
            const Checkpoint& c = checkpoints_.back();
            m.name = unique_name(given, result_.models);
            m.layer = layer_name(c.config().model);
            m.parameters = c.parameters();
            m.step = c.state().step;
            m.tokens = c.state().tokens;
            m.training_seconds = c.state().seconds;
            m.train_tokens_per_second = median_tokens_per_second(m.file.parent_path().parent_path() / "metrics.jsonl");
            if (c.config().signal.sample_rate != rate())
                throw Error(m.name + " makes sound at " + std::to_string(c.config().signal.sample_rate) + " Hz, " +
                                result_.models[0].name + " at " + std::to_string(rate()) + " Hz",
                            "compare models of one sample rate");
            if (c.config().model.vocabulary != code_count)
                throw Error(m.name + " is a model of " + std::to_string(c.config().model.vocabulary) + " codes",
                            "only models of sound with 256 codes can be compared");
            if (c.config().signal != checkpoints_[0].config().signal && !different_signals_) {
                different_signals_ = true;
                result_.notes.push_back(
                    "The models quantise or scale their audio differently: their bits per sample cannot be compared "
                    "with each other.");
            }
            result_.models.push_back(std::move(m));
        }
        if (clip_samples() < 1 || options_.clips < 1) throw Error("clips to compare need a length and a number");
    }

    // One division for all: the first model's.
    Dataset load(const SignalConfig& signal) {
        return Dataset::load(options_.data,
                             data_options(signal, checkpoints_[0].config().training.seed, {}, options_.threads),
                             [&](double, const std::string& what) { return tell(0, "reading " + what, false); });
    }

    const Dataset& data_for(size_t model) {
        const SignalConfig& signal = checkpoints_[model].config().signal;
        if (!data_ || data_signal_ != signal) {
            data_.reset();  // before the next takes its memory
            data_ = std::make_unique<Dataset>(load(signal));
            data_signal_ = signal;
        }
        return *data_;
    }

    void go_without_held_out() {
        if (options_.prompt_seconds > 0)
            throw Error("prompts are taken from held-out audio, and none was chosen",
                        "choose a folder of recordings, or let the clips begin with silence");
        result_.notes.push_back(
            "There was no held-out audio: the clips can be listened to, but not measured against recordings.");
        ++stage_;
    }

    void listen_to_held_out() {
        const Dataset& data = data_for(0);
        const std::string part = name_of(options_.split);
        if (data.samples(options_.split) == 0)
            throw Error(options_.data.string() + " has no audio in its " + part + " part", "choose another --split");
        for (const Checkpoint& c : checkpoints_)
            if (!same_division(data.report(), options_.split, c.config().training.seed)) {
                result_.notes.push_back(
                    "The models were trained with different seeds, which divide this folder differently: some may have "
                    "been trained on what is held out here. Folders made by nigiri prepare are divided once for all.");
                break;
            }
        const int64_t length = prompt_samples() + clip_samples();
        const auto most = static_cast<size_t>(
            std::max(2.0, options_.reference_seconds * rate() / static_cast<double>(length)) + options_.clips);
        pieces_ = held_out_pieces(data, options_.split, length, prompt_samples() == 0, most);
        if (pieces_.empty())
            throw Error("no recording in the " + part + " part of " + options_.data.string() + " is as long as " +
                            fixed(options_.prompt_seconds + options_.seconds, 1) + " s",
                        "ask for fewer --seconds or --prompt-seconds");
        SoundSet set{rate(), {}};
        for (const Segment& s : pieces_) {
            std::vector<float> whole = data.waveform(options_.split, s);
            set.sounds.emplace_back(whole.begin() + prompt_samples(), whole.end());
        }
        held_out_ = std::make_unique<HeldOut>(
            std::move(set), SimilarityOptions{.count = static_cast<size_t>(options_.clips)},
            [&](double fraction, const std::string& what) { return tell(fraction, what, false); });
        result_.floor = held_out_->floor();
        result_.held_out_seconds = data.seconds(options_.split);
        result_.reference_seconds = held_out_->seconds();
        result_.recordings = data.recordings(options_.split).size();
        note_small_sets();
        // The same choice as HeldOut's, now of the pieces with their prompts.
        fs::create_directories(options_.clips_folder);
        const std::vector<size_t> kept = evenly_spread(pieces_.size(), static_cast<size_t>(options_.clips));
        for (size_t i = 0; i < kept.size(); ++i) {
            ComparedClip clip;
            clip.rate = rate();
            clip.samples = data.waveform(options_.split, pieces_[kept[i]]);
            clip.prompt = prompt_samples();
            clip.analysis = analyse(std::span(clip.samples).subspan(static_cast<size_t>(clip.prompt)), rate());
            if (result_.floor) clip.ran_away = result_.floor->ran_away[i];
            clip.file = options_.clips_folder / ("held-out-clip-" + std::to_string(i + 1) + ".flac");
            write_audio(clip.file, clip.samples, clip.rate, SampleFormat::pcm16,
                        {{"title", data.recordings(options_.split)[pieces_[kept[i]].recording].name}});
            result_.held_out.push_back(std::move(clip));
            prompt_pieces_.push_back(pieces_[kept[i]]);
        }
        if (prompt_pieces_.empty()) prompt_pieces_ = pieces_;  // a single piece: prompt and reference at once
        ++stage_;
    }

    void note_small_sets() {
        if (!result_.floor)
            result_.notes.push_back(
                "There is too little held-out audio to compare it with itself: the distances have no floor.");
        else if (held_out_->sample().sounds.size() < static_cast<size_t>(options_.clips))
            result_.notes.push_back("There is little held-out audio: the floor comes from " +
                                    std::to_string(held_out_->sample().sounds.size()) +
                                    " pieces, fewer than a model's " + std::to_string(options_.clips) +
                                    " clips, and is therefore higher than it should be.");
        if (options_.clips * options_.seconds < 30)
            result_.notes.push_back(
                "Less than 30 seconds were generated by each model: small differences of the "
                "distances mean nothing.");
    }

    // The same prompts for all, in each one's codes.
    std::vector<std::vector<uint8_t>> prompts(size_t model) {
        std::vector<std::vector<uint8_t>> all(static_cast<size_t>(options_.clips));
        if (prompt_samples() == 0) return all;
        const Dataset& data = data_for(model);
        for (size_t i = 0; i < all.size(); ++i) {
            Segment s = prompt_pieces_[i % prompt_pieces_.size()];
            s.length = prompt_samples();
            all[i].resize(static_cast<size_t>(s.length));
            data.codes(options_.split, s, all[i]);
        }
        return all;
    }

    void generate_clips(size_t index) {
        ComparedModel& m = result_.models[index];
        const Checkpoint& checkpoint = checkpoints_[index];
        const auto given = prompts(index);
        backend_->reset_peak();
        const auto network = checkpoint.make_network(backend_);
        const int64_t samples = clip_samples();
        using Clock = std::chrono::steady_clock;
        Clock::time_point started = Clock::now();
        int64_t done = 0, before = 0;
        bool stopped = false;
        const auto look = [&](const std::vector<Clip>& c) {
            const auto now = Clock::now();
            done = c[0].generated();
            const double seconds = std::chrono::duration<double>(now - started).count();
            if (done > before && seconds > 0) m.steps_per_second = static_cast<double>(done - before) / seconds;
            if (before == 0) started = now, before = done;  // prompt and first block are behind us
            if (done > 0 && m.steps_per_second > 0)
                stopped =
                    !tell(static_cast<double>(done) / static_cast<double>(samples),
                          m.name + ": generating " + std::to_string(options_.clips) + " clips, " +
                              fixed(static_cast<double>(done) / rate(), 2) + " of " + fixed(options_.seconds, 2) +
                              " s, " + duration(static_cast<double>(samples - done) / m.steps_per_second) + " left",
                          false);
            return !stopped;
        };
        GenerationSetup setup;
        setup.engine.report = [&](const EngineReport& report) {
            if (const std::string note = slow_note(report); !note.empty())
                result_.notes.push_back(m.name + " was generated with " + note + ".");
        };
        const std::vector<Clip> clips = generate(*network, given, samples, options_.sampling, look, setup);
        m.memory_bytes = backend_->peak_bytes();
        keep(m, checkpoint, clips);
        m.clips_complete = !stopped;
        if (stopped) throw Cancelled();
        if (held_out_) {
            SoundSet set{rate(), {}};
            for (const ComparedClip& c : m.clips)
                set.sounds.emplace_back(c.samples.begin() + c.prompt, c.samples.end());
            m.similarity = held_out_->measure(set);
            for (size_t i = 0; i < m.clips.size(); ++i) m.clips[i].ran_away = m.similarity->ran_away[i];
        }
        finish_stage(m.name + ": clips");
    }

    void keep(ComparedModel& m, const Checkpoint& checkpoint, const std::vector<Clip>& clips) {
        fs::create_directories(options_.clips_folder);
        const auto number = static_cast<size_t>(&m - result_.models.data()) + 1;
        for (size_t i = 0; i < clips.size(); ++i) {
            ComparedClip c;
            c.rate = rate();
            c.samples = waveform(clips[i], checkpoint.config().signal);
            c.prompt = clips[i].prompt;
            c.log2_likelihood_per_sample = clips[i].log2_likelihood_per_sample();
            c.analysis = analyse(std::span(c.samples).subspan(static_cast<size_t>(c.prompt)), c.rate);
            c.file = options_.clips_folder /
                     (std::to_string(number) + "-" + file_name(m.name) + "-clip-" + std::to_string(i + 1) + ".flac");
            const std::string prompt =
                c.prompt > 0
                    ? data_->recordings(options_.split)[prompt_pieces_[i % prompt_pieces_.size()].recording].name
                    : "";
            write_clip(c.file, c.samples, c.rate,
                       clip_facts(clips[i], i,
                                  clip_settings(m.file, checkpoint.config(), checkpoint.state().step, options_.sampling,
                                                prompt)));
            m.clips.push_back(std::move(c));
        }
    }

    void evaluate_model(size_t index) {
        ComparedModel& m = result_.models[index];
        const Dataset& data = data_for(index);
        const auto network = checkpoints_[index].make_network(backend_);
        network->set_activations(activation_type(options_.precision, *backend_));
        SplitEvaluationOptions options;
        options.most_samples = std::llround(options_.evaluation_seconds * rate());
        m.evaluation =
            evaluate_split(*network, data, options_.split, options, [&](double fraction, const std::string&) {
                return tell(fraction, m.name + ": bits per sample, " + fixed(100 * fraction, 0) + " %", false);
            });
        finish_stage(m.name + ": bits per sample");
    }

    // A model that fails must not cost the others' results.
    template <class Work>
    void attempt(size_t model, Work&& work) {
        try {
            work();
        } catch (const Cancelled&) {
            throw;
        } catch (const std::bad_alloc&) {
            fail(model, "out of memory");
        } catch (const Error& e) {
            fail(model, e.what());
        }
    }

    void fail(size_t model, const std::string& why) {
        result_.models[model].error = why;
        finish_stage(result_.models[model].name + ": " + why);
    }

    bool tell(double fraction, const std::string& what, bool model_done) {
        if (!callback_) return true;
        const double all = (static_cast<double>(stage_) + fraction) / static_cast<double>(stages_);
        return callback_({std::min(1.0, all), what}, result_, model_done);
    }

    void finish_stage(const std::string& what) {
        ++stage_;
        if (!tell(0, what, true) && stage_ < stages_) throw Cancelled();
    }

    const ComparisonOptions& options_;
    std::shared_ptr<Backend> backend_;
    const ComparisonCallback& callback_;
    ComparisonResult result_;
    std::vector<Checkpoint> checkpoints_;
    bool different_signals_ = false;
    std::unique_ptr<Dataset> data_;
    SignalConfig data_signal_;
    std::vector<Segment> pieces_, prompt_pieces_;
    std::unique_ptr<HeldOut> held_out_;
    size_t stage_ = 0, stages_ = 1;
};

}  // namespace

ComparisonResult compare(const ComparisonOptions& options, const std::shared_ptr<Backend>& backend,
                         const ComparisonCallback& callback) {
    return Comparison(options, backend, callback).run();
}

}  // namespace nigiri::app
