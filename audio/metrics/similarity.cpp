#include "audio/metrics/similarity.h"

#include <algorithm>

#include "audio/metrics/bins.h"
#include "audio/metrics/distribution.h"
#include "audio/metrics/frechet.h"
#include "audio/metrics/onset_statistics.h"
#include "audio/metrics/pitch_classes.h"
#include "kernels/error.h"

namespace nigiri {
namespace {

constexpr MelFeatureOptions frame_options{.bands = 40, .frames = 1};
constexpr MelFeatureOptions patch_options{.bands = 16, .frames = 8};  // 288 ms at 16 kHz

std::vector<double> as_weights(const std::vector<int64_t>& counts) { return {counts.begin(), counts.end()}; }

}  // namespace

const std::vector<MetricInfo>& similarity_metrics() {
    static const std::vector<MetricInfo> all = {
        {"frechet_log_mel", "Fréchet distance, frames", "dB²", Better::lower,
         "Distance between normal distributions fitted to log-mel frames (40 bands, 64 ms): the colour of the sound."},
        {"frechet_log_mel_patches", "Fréchet distance, patches", "dB²", Better::lower,
         "The same for patches of 8 frames of 16 bands (0.29 s): how the sound develops."},
        {"ndb", "Different bins (NDB)", "share", Better::lower,
         "Share of the clusters of held-out patches that occur significantly more or less often (5 %)."},
        {"js_bins", "Divergence over the bins", "bits", Better::lower,
         "Jensen-Shannon divergence of how often the clusters occur."},
        {"js_pitch_classes", "Pitch classes", "bits", Better::lower,
         "Jensen-Shannon divergence of the shares of the twelve pitch classes."},
        {"js_pitch_classes_transposed", "Pitch classes, any key", "bits", Better::lower,
         "The same after the transposition that fits best: whether intervals are right, whatever the key."},
        {"pitch_class_entropy", "Pitch-class entropy of a clip", "bits", Better::near,
         "Mean over the clips; low: few notes, 3.58: all twelve alike, as in noise."},
        {"onsets_per_second", "Onsets", "1/s", Better::near, "How many notes begin in a second."},
        {"js_onset_intervals", "Time between onsets", "bits", Better::lower,
         "Jensen-Shannon divergence of the histograms of the time from onset to onset."},
        {"runaway", "Clips that ran away", "share", Better::lower,
         "Clips of which half, or the last second, is silence, noise, overdrive or offset beyond what held-out audio "
         "has."},
    };
    return all;
}

std::optional<double> Similarity::value(const std::string& key) const {
    const auto& all = similarity_metrics();
    const auto it = std::find_if(all.begin(), all.end(), [&](const MetricInfo& m) { return m.key == key; });
    if (it == all.end()) throw Error("there is no metric '" + key + "'");
    const auto index = static_cast<size_t>(it - all.begin());
    return index < values.size() ? values[index] : std::nullopt;
}

struct HeldOut::State {
    SoundSet sample;
    double seconds = 0;
    int rate = 0;
    std::optional<Gaussian> frames, patches;
    Features centres;
    std::vector<int64_t> counts;
    PitchClassStatistics pitch;
    OnsetStatistics onsets;
    WindowRange range;
    std::optional<Similarity> floor;
};

HeldOut::~HeldOut() = default;
HeldOut::HeldOut(HeldOut&&) noexcept = default;
const std::optional<Similarity>& HeldOut::floor() const { return state_->floor; }
const SoundSet& HeldOut::sample() const { return state_->sample; }
double HeldOut::seconds() const { return state_->seconds; }
const WindowRange& HeldOut::range() const { return state_->range; }

HeldOut::HeldOut(SoundSet pieces, const SimilarityOptions& options, const Progress& progress)
    : state_(std::make_unique<State>()) {
    if (pieces.sounds.empty()) throw Error("there is no held-out audio to compare with");
    State& s = *state_;
    SplitSounds parts = split_evenly(std::move(pieces), options.count);
    s.sample = std::move(parts.sample);
    const SoundSet& rest = parts.rest;
    s.rate = rest.rate;
    s.seconds = rest.seconds();
    const std::string what = "listening to held-out audio";
    report(progress, 0.0, what);
    const Features frames = mel_features(rest, frame_options), patches = mel_features(rest, patch_options);
    if (frames.count() > 1) s.frames = fit_gaussian(frames);
    if (patches.count() > 1) s.patches = fit_gaussian(patches);
    report(progress, 0.2, what);
    int64_t most = std::min<int64_t>(options.clusters, patches.count() / 10);
    if (const int64_t expected = mel_features(s.sample, patch_options).count(); expected > 0)
        most = std::min(most, expected / 8);
    s.centres = k_means(patches, std::max(2, static_cast<int>(most)), options.seed);
    s.counts = count_nearest(patches, s.centres);
    report(progress, 0.6, what);
    s.pitch = pitch_classes(rest);
    report(progress, 0.7, what);
    s.onsets = onset_statistics(rest);
    report(progress, 0.8, what);
    s.range = window_range(rest);
    report(progress, 0.9, what);
    if (!s.sample.sounds.empty()) s.floor = measure(s.sample);
}

Similarity HeldOut::measure(const SoundSet& sounds) const {
    const State& s = *state_;
    if (sounds.rate != s.rate)
        throw Error("sounds at " + std::to_string(sounds.rate) + " Hz cannot be compared with held-out audio at " +
                    std::to_string(s.rate) + " Hz");
    Similarity result;
    const auto add = [&](std::optional<double> value) { result.values.push_back(value); };
    const auto frechet = [&](const std::optional<Gaussian>& reference, const Features& features) {
        if (!reference || features.count() < 2) return std::optional<double>();
        return std::optional(frechet_distance(*reference, fit_gaussian(features)));
    };
    const Features patches = mel_features(sounds, patch_options);
    add(frechet(s.frames, mel_features(sounds, frame_options)));
    add(frechet(s.patches, patches));
    const std::vector<int64_t> counts = count_nearest(patches, s.centres);
    const bool binned = patches.count() > 0 && !s.counts.empty();
    add(binned ? std::optional(compare_bins(s.counts, counts).share()) : std::nullopt);
    add(binned ? jensen_shannon_bits(as_weights(s.counts), as_weights(counts)) : std::nullopt);
    const PitchClassStatistics pitch = pitch_classes(sounds);
    add(pitch_class_distance(pitch.shares, s.pitch.shares));
    const auto transposed = transposed_pitch_class_distance(pitch.shares, s.pitch.shares);
    add(transposed ? std::optional(transposed->bits) : std::nullopt);
    if (transposed) result.transposition = transposed->semitones;
    add(pitch.entropy_bits);
    const OnsetStatistics onsets = onset_statistics(sounds);
    add(sounds.samples() > 0 ? std::optional(onsets.per_second) : std::nullopt);
    add(interval_distance(onsets, s.onsets));
    for (const auto& sound : sounds.sounds) result.ran_away.push_back(nigiri::ran_away(sound, sounds.rate, s.range));
    const auto count = static_cast<double>(result.ran_away.size());
    const auto good = static_cast<double>(std::count(result.ran_away.begin(), result.ran_away.end(), Runaway::none));
    add(count > 0 ? std::optional((count - good) / count) : std::nullopt);
    return result;
}

}  // namespace nigiri
