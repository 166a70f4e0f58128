#include "app/ablate/evaluate_run.h"

#include <cmath>

#include "app/clips.h"
#include "app/compare/held_out_pieces.h"
#include "app/model_file.h"
#include "app/text.h"
#include "model/generator.h"

namespace nigiri::app {

namespace fs = std::filesystem;

namespace {

constexpr double reference_seconds = 1800;  // of held-out audio at most, as in a comparison

int64_t clip_samples(const GridEvaluation& evaluation, int rate) {
    return std::llround(evaluation.clip_seconds * rate);
}

}  // namespace

std::unique_ptr<HeldOut> held_out_for(const Dataset& data, const GridEvaluation& evaluation, const Progress& progress) {
    const int rate = data.options().sample_rate;
    const int64_t length = clip_samples(evaluation, rate);
    const auto most = static_cast<size_t>(std::max(2.0, reference_seconds / evaluation.clip_seconds)) +
                      static_cast<size_t>(evaluation.clips);
    SoundSet set{rate, {}};
    for (const Segment& s : held_out_pieces(data, evaluation.split, length, /*shorter_too=*/true, most))
        set.sounds.push_back(data.waveform(evaluation.split, s));
    if (set.sounds.empty())
        throw Error(std::string("there is no audio in the ") + name_of(evaluation.split) + " part to compare with");
    return std::make_unique<HeldOut>(std::move(set), SimilarityOptions{.count = static_cast<size_t>(evaluation.clips)},
                                     progress);
}

void measure_bits(const Checkpoint& checkpoint, const Dataset& data, const GridEvaluation& evaluation,
                  const std::shared_ptr<Backend>& backend, RunResult& result, const Progress& progress) {
    const auto network = checkpoint.make_network(backend);
    network->set_activations(activation_type(evaluation.precision, *backend));
    const SplitEvaluationOptions options = {
        .segment = evaluation.segment, .most_samples = std::llround(evaluation.seconds * data.options().sample_rate)};
    result.bits = evaluate_split(*network, data, evaluation.split, options, [&](double fraction, const std::string&) {
        return progress(fraction, "bits of the " + std::string(name_of(evaluation.split)) + " part");
    });
    result.bits_settings = bits_settings(evaluation);
}

void make_clips(const Checkpoint& checkpoint, const fs::path& run, const GridEvaluation& evaluation,
                const HeldOut* held_out, const std::shared_ptr<Backend>& processor, RunResult& result,
                const Progress& progress) {
    result.clips.clear();
    result.similarity.reset();
    result.floor.reset();
    result.clip_settings = clip_settings(evaluation);
    if (evaluation.clips == 0) return;
    const Config& config = checkpoint.config();
    const auto network = checkpoint.make_network(processor);
    const int rate = config.signal.sample_rate;
    const int64_t samples = clip_samples(evaluation, rate);
    bool stopped = false;
    const std::vector<Clip> clips =
        generate(*network, evaluation.clips, samples, {}, evaluation.sampling, [&](const std::vector<Clip>& made) {
            const int64_t done = made[0].generated();
            if (done % 64 == 0)
                stopped = !progress(static_cast<double>(done) / static_cast<double>(samples),
                                    "clips, " + fixed(static_cast<double>(done) / rate, 2) + " of " +
                                        fixed(evaluation.clip_seconds, 2) + " s");
            return !stopped;
        });
    if (stopped) throw Cancelled();

    SoundSet set{rate, {}};
    for (const Clip& clip : clips) set.sounds.push_back(waveform(clip, config.signal));
    std::vector<Runaway> ran_away;
    if (held_out) {
        result.similarity = held_out->measure(set);
        result.floor = held_out->floor();
        ran_away = result.similarity->ran_away;
    }
    fs::create_directories(run);
    const ClipSettings settings =
        clip_settings(run, config, checkpoint.state().step, evaluation.sampling, /*prompt=*/"");
    for (size_t i = 0; i < clips.size(); ++i) {
        RunClip c;
        c.file = "clip-" + std::to_string(i + 1) + ".flac";
        c.log2_likelihood_per_sample = clips[i].log2_likelihood_per_sample();
        if (i < ran_away.size()) c.ran_away = ran_away[i];
        write_clip(run / c.file, set.sounds[i], rate, clip_facts(clips[i], i, settings));
        result.clips.push_back(std::move(c));
    }
}

}  // namespace nigiri::app
