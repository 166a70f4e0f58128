// Pitch classes, onsets, runaway clips, and all metrics together on melodies that were made for it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "audio/metrics/onset_statistics.h"
#include "audio/metrics/pitch_classes.h"
#include "audio/metrics/runaway.h"
#include "audio/metrics/similarity.h"
#include "kernels/random.h"
#include "tests/audio/support.h"
#include "tests/support/check.h"

namespace nigiri {
namespace {

using test::sound_rate;
// A C major scale without its half steps; C is 0.
const std::vector<int> pentatonic = {0, 2, 4, 7, 9};

void add_tone(std::vector<float>& x, double begin, double hertz, double amplitude) {
    for (size_t i = static_cast<size_t>(begin * sound_rate); i < x.size(); ++i) {
        const double t = static_cast<double>(i) / sound_rate - begin, level = amplitude * std::exp(-5 * t);
        if (level < 1e-5) break;
        const double w = 2 * std::numbers::pi * hertz * t;
        x[i] += static_cast<float>(level * (std::sin(w) + 0.3 * std::sin(2 * w)));
    }
}

// Struck notes of the scale, one every `pace` seconds or the double.
std::vector<float> melody(uint64_t seed, double seconds = 4, int transposed = 0, double pace = 0.25) {
    Random random(seed);
    std::vector<float> x(static_cast<size_t>(seconds * sound_rate), 0.0f);
    for (double t = 0.02; t < seconds; t += pace * static_cast<double>(1 + random.below(2))) {
        const int semitones = pentatonic[random.below(pentatonic.size())] + 12 * static_cast<int>(random.below(2));
        add_tone(x, t, 261.6256 * std::pow(2, (semitones + transposed) / 12.0), 0.15 + 0.1 * random.uniform());
    }
    return x;
}

SoundSet melodies(size_t count, uint64_t seed, int transposed = 0, double pace = 0.25) {
    SoundSet set{sound_rate, {}};
    for (size_t i = 0; i < count; ++i) set.sounds.push_back(melody(1000 * seed + i, 4, transposed, pace));
    return set;
}

SoundSet noises(size_t count, double deviation = 0.1) {
    SoundSet set{sound_rate, {}};
    for (size_t i = 0; i < count; ++i) set.sounds.push_back(test::noise(4 * sound_rate, deviation, test::seed() + i));
    return set;
}

TEST(PitchClasses, NamesTheNotesOfAChord) {
    auto chord = test::sine(440, 2, sound_rate, 0.2);  // A
    const auto c = test::sine(523.2511, 2, sound_rate, 0.2), e = test::sine(659.2551, 2, sound_rate, 0.2);
    for (size_t i = 0; i < chord.size(); ++i) chord[i] += c[i] + e[i];
    const auto statistics = pitch_classes({sound_rate, {chord}});
    for (size_t k = 0; k < 12; ++k)
        EXPECT_NEAR(statistics.shares[k], k == 9 || k == 0 || k == 4 ? 1.0 / 3 : 0, 0.04) << k;  // window's scalloping
    EXPECT_NEAR(*statistics.entropy_bits, std::log2(3), 0.02);
    // A quarter of a semitone off is still the same class; the octave above as well.
    EXPECT_NEAR(pitch_classes({sound_rate, {test::sine(440 * std::pow(2, 0.25 / 12), 1, sound_rate)}}).shares[9], 1,
                1e-9);
    EXPECT_NEAR(pitch_classes({sound_rate, {test::sine(880, 1, sound_rate)}}).shares[9], 1, 1e-9);
}

TEST(PitchClasses, RotateWithATransposition) {
    const auto original = pitch_classes(melodies(6, 1));
    for (const int semitones : {1, 3, 7}) {
        const auto moved = pitch_classes(melodies(6, 1, semitones));
        for (size_t k = 0; k < 12; ++k)
            EXPECT_NEAR(moved.shares[(k + static_cast<size_t>(semitones)) % 12], original.shares[k], 0.03) << k;
        const auto fit = transposed_pitch_class_distance(original.shares, moved.shares);
        ASSERT_TRUE(fit);
        EXPECT_EQ(fit->semitones, semitones);
        EXPECT_LT(fit->bits, 0.01);
        EXPECT_GT(*pitch_class_distance(original.shares, moved.shares), 10 * fit->bits);
        EXPECT_NEAR(*moved.entropy_bits, *original.entropy_bits, 0.1);
    }
    EXPECT_EQ(pitch_class_distance(original.shares, original.shares), 0.0);
}

TEST(PitchClasses, AreEvenInNoiseAndNoneInSilence) {
    EXPECT_GT(*pitch_classes(noises(2)).entropy_bits, 3.4) << "log2 12 = 3.585, seed " << test::seed();
    const auto silent =
        pitch_classes({sound_rate, {std::vector<float>(2 * sound_rate), std::vector<float>(2 * sound_rate, 0.3f)}});
    EXPECT_EQ(silent.frames, 0);
    EXPECT_FALSE(silent.entropy_bits);
    EXPECT_FALSE(pitch_class_distance(silent.shares, silent.shares));
    EXPECT_FALSE(transposed_pitch_class_distance(silent.shares, silent.shares));
    EXPECT_EQ(pitch_classes({sound_rate, {}}).frames, 0);
}

TEST(OnsetStatistics, CountsIntervalsByHand) {
    const std::vector<std::vector<double>> times = {{0, 0.12, 0.35, 10.35}, {}, {3}, {1, 1.001}};
    const OnsetStatistics s = onset_statistics(times, 20);
    EXPECT_DOUBLE_EQ(s.per_second, 7.0 / 20);
    std::array<double, interval_bins> expected{};
    expected[2] = 1;   // 0.12: 2 log2 2.4 = 2.5
    expected[4] = 1;   // 0.23: 2 log2 4.6 = 4.4
    expected[12] = 1;  // 10 s: beyond the last edge
    expected[0] = 1;   // 1 ms
    EXPECT_EQ(s.intervals, expected);
    EXPECT_EQ(interval_distance(s, s), 0.0);
    EXPECT_FALSE(interval_distance(s, onset_statistics(std::vector<std::vector<double>>{{1}}, 4)));
    const OnsetStatistics slow = onset_statistics(std::vector<std::vector<double>>{{0, 1, 2}}, 4);
    const OnsetStatistics fast = onset_statistics(std::vector<std::vector<double>>{{0, 0.3, 0.6}}, 4);
    EXPECT_EQ(interval_distance(slow, fast), 1.0);
}

TEST(OnsetStatistics, HearTheTempo) {
    const auto slow = onset_statistics(melodies(8, 1, 0, 0.5)), again = onset_statistics(melodies(8, 2, 0, 0.5)),
               fast = onset_statistics(melodies(8, 3, 0, 0.17));
    // Every 1 or 2 paces, alike often; without the first note of each clip, which is no rise from anything before it.
    EXPECT_NEAR(slow.per_second, 1 / (1.5 * 0.5) - 0.25, 0.2);
    EXPECT_GT(fast.per_second, 2 * slow.per_second);
    EXPECT_LT(*interval_distance(slow, again), 0.15);
    EXPECT_GT(*interval_distance(slow, fast), 0.6);
}

class RunawayClips : public testing::Test {
  protected:
    WindowRange range = window_range(melodies(8, 1));
    Runaway judged(const std::vector<float>& x) const { return ran_away(x, sound_rate, range); }
};

TEST_F(RunawayClips, AreFoundByKind) {
    EXPECT_EQ(judged(melody(77)), Runaway::none);
    EXPECT_EQ(judged(test::noise(4 * sound_rate, 0.1, test::seed())), Runaway::noise);
    EXPECT_EQ(judged(std::vector<float>(4 * sound_rate)), Runaway::silence);
    EXPECT_EQ(judged(test::sine(300, 4, sound_rate, 1.0)), Runaway::loud) << "far beyond these melodies";
    EXPECT_EQ(ran_away(test::sine(300, 4, sound_rate, 1.0), sound_rate, {}), Runaway::none)
        << "-3.01 dBFS is what a sine may have";
    auto square = test::sine(300, 4, sound_rate);
    for (float& x : square) x = x < 0 ? -1 : 1;
    EXPECT_EQ(judged(square), Runaway::loud);
    auto shifted = melody(5);
    for (float& x : shifted) x += 0.3f;
    EXPECT_EQ(judged(shifted), Runaway::offset);
    EXPECT_EQ(judged(std::vector<float>(4 * sound_rate, 0.5f)), Runaway::offset);
    EXPECT_EQ(judged({}), Runaway::none);
    EXPECT_EQ(judged(std::vector<float>(100)), Runaway::silence) << "shorter than a window: one window";
    EXPECT_EQ(std::string(name_of(Runaway::offset)), "offset");
}

TEST_F(RunawayClips, DoNotComeBack) {
    const auto with_noise = [&](double from, double to) {
        auto x = melody(9);
        const auto noise = test::noise(x.size(), 0.1, test::seed());
        std::copy(noise.begin() + static_cast<std::ptrdiff_t>(from * sound_rate),
                  noise.begin() + static_cast<std::ptrdiff_t>(to * sound_rate),
                  x.begin() + static_cast<std::ptrdiff_t>(from * sound_rate));
        return judged(x);
    };
    EXPECT_EQ(with_noise(3, 4), Runaway::noise) << "the last second";
    EXPECT_EQ(with_noise(3.5, 4), Runaway::none);
    EXPECT_EQ(with_noise(1, 2), Runaway::none) << "it recovers";
    EXPECT_EQ(with_noise(0, 2), Runaway::noise) << "half of it";
}

TEST_F(RunawayClips, HaveLimitsFromHeldOutAudio) {
    const WindowRange quiet = window_range({sound_rate, {test::noise(8 * sound_rate, 0.005, test::seed())}});
    EXPECT_NEAR(quiet.silence_dbfs, -52, 0.5);  // -46 dBFS - 6 dB
    EXPECT_NEAR(quiet.loud_dbfs, -20, 1e-9);    // the fixed end
    EXPECT_NEAR(quiet.flatness, 0.5, 1e-9);     // noise itself must not become normal
    const WindowRange silent = window_range({sound_rate, {std::vector<float>(8 * sound_rate)}});
    EXPECT_EQ(silent.silence_dbfs, -70);
    EXPECT_EQ(silent.flatness, 0.05);
    EXPECT_NO_THROW(window_range({sound_rate, {}}));
}

double at(const Similarity& s, const std::string& key) {
    EXPECT_TRUE(s.value(key)) << key;
    return s.value(key).value_or(NAN);
}

class Likeness : public testing::Test {
  protected:
    static const HeldOut& held_out() {
        static const HeldOut h(melodies(40, 1), {.count = 8});
        return h;
    }
};

TEST_F(Likeness, OfASetWithItselfIsPerfect) {
    SplitSounds parts = split_evenly(melodies(40, 1), 8);
    EXPECT_EQ(parts.sample.sounds.size(), 8u);
    EXPECT_EQ(parts.rest.sounds.size(), 32u);
    EXPECT_EQ(held_out().sample().sounds, parts.sample.sounds);
    const Similarity s = held_out().measure(parts.rest);
    for (const std::string key : {"frechet_log_mel", "frechet_log_mel_patches"})
        // Roots of eigenvalues that are zero but for rounding, 1e-8 beside the largest of 1e8: 1e-4 each.
        EXPECT_NEAR(at(s, key), 0, 0.05) << key;
    for (const std::string key :
         {"ndb", "js_bins", "js_pitch_classes", "js_pitch_classes_transposed", "js_onset_intervals", "runaway"})
        EXPECT_EQ(at(s, key), 0) << key;
    EXPECT_EQ(s.transposition, 0);
    EXPECT_EQ(s.values.size(), similarity_metrics().size());
    EXPECT_THROW(s.value("beauty"), Error);
}

TEST_F(Likeness, OfMoreOfTheSameIsAtTheFloor) {
    ASSERT_TRUE(held_out().floor());
    const Similarity &floor = *held_out().floor(), more = held_out().measure(melodies(8, 2));
    for (const std::string key : {"frechet_log_mel", "frechet_log_mel_patches", "js_bins", "js_pitch_classes"}) {
        EXPECT_GT(at(floor, key), 0) << key;
        EXPECT_LT(at(more, key), 3 * at(floor, key)) << key;
    }
    EXPECT_LT(at(more, "ndb"), 0.35);
    EXPECT_EQ(at(more, "runaway"), 0);
    EXPECT_EQ(at(floor, "runaway"), 0);
    EXPECT_NEAR(at(more, "onsets_per_second"), at(floor, "onsets_per_second"), 0.6);
}

TEST_F(Likeness, OfNoiseIsNone) {
    const Similarity s = held_out().measure(noises(8));
    const Similarity& floor = *held_out().floor();
    for (const std::string key : {"frechet_log_mel", "frechet_log_mel_patches", "js_pitch_classes"})
        EXPECT_GT(at(s, key), 10 * at(floor, key)) << key;
    EXPECT_GT(at(s, "ndb"), 0.6);
    EXPECT_GT(at(s, "js_bins"), 0.5);
    EXPECT_GT(at(s, "pitch_class_entropy"), at(floor, "pitch_class_entropy") + 0.5);
    EXPECT_EQ(at(s, "runaway"), 1);
    EXPECT_EQ(s.ran_away, std::vector<Runaway>(8, Runaway::noise));
}

TEST_F(Likeness, OfATransposedCopyIsInItsIntervals) {
    const Similarity s = held_out().measure(melodies(8, 2, -4));  // down: 4 up again
    EXPECT_GT(at(s, "js_pitch_classes"), 5 * at(s, "js_pitch_classes_transposed"));
    EXPECT_EQ(s.transposition, 4);
    EXPECT_EQ(at(s, "runaway"), 0);
}

TEST_F(Likeness, OfSilenceIsUndefinedWhereThereIsNothingToMeasure) {
    const Similarity s = held_out().measure({sound_rate, {std::vector<float>(4 * sound_rate)}});
    EXPECT_FALSE(s.value("js_pitch_classes"));
    EXPECT_FALSE(s.value("pitch_class_entropy"));
    EXPECT_FALSE(s.value("js_onset_intervals"));
    EXPECT_EQ(at(s, "onsets_per_second"), 0);
    EXPECT_EQ(at(s, "runaway"), 1);
    EXPECT_GT(at(s, "frechet_log_mel"), 100);
    const Similarity nothing = held_out().measure({sound_rate, {}});
    for (const auto& value : nothing.values) EXPECT_FALSE(value);
    EXPECT_THROW(held_out().measure({8000, {}}), Error);
}

TEST(HeldOutAudio, MayBeShort) {
    EXPECT_THROW(HeldOut({sound_rate, {}}, {}), Error);
    const HeldOut one({sound_rate, {melody(1)}}, {.count = 4});
    EXPECT_FALSE(one.floor());
    EXPECT_EQ(one.seconds(), 4);
    EXPECT_NEAR(at(one.measure({sound_rate, {melody(1)}}), "frechet_log_mel"), 0, 0.05);
    const HeldOut tiny({sound_rate, {std::vector<float>(100, 0.1f)}}, {.count = 1});
    EXPECT_FALSE(tiny.measure({sound_rate, {std::vector<float>(100, 0.1f)}}).value("frechet_log_mel"));
    int calls = 0;
    EXPECT_THROW(HeldOut({sound_rate, {melody(1)}}, {}, [&](double, const std::string&) { return ++calls < 3; }),
                 Cancelled);
}

}  // namespace
}  // namespace nigiri
