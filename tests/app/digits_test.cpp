// The digit classifier's training, and the protocol by which models of digits are scored.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "app/digits/classifier_training.h"
#include "app/digits/digits_report.h"
#include "app/digits/front_end.h"
#include "app/digits/previous_sample_model.h"
#include "model/trainer.h"
#include "tests/app/digits.h"
#include "tests/support/check.h"
#include "tests/support/temporary_folder.h"

namespace nigiri::app {
namespace {

namespace fs = std::filesystem;

ClassifierTrainingOptions quick_training() {
    ClassifierTrainingOptions o;
    o.network.model.width = 16;
    o.network.model.layers = 1;
    o.network.features = 6;
    o.batch = 10;
    o.epochs = 20;
    o.rate = 1e-2;
    o.seed = 3;
    return o;
}

TEST(FrontEnd, HearsLevelsRelativeToTheLoudest) {
    std::vector<float> tone(16000);
    for (size_t i = 0; i < 8000; ++i) tone[i] = static_cast<float>(0.4 * std::sin(0.4 * static_cast<double>(i)));
    std::vector<float> frames;
    append_frames(tone, frames);
    ASSERT_EQ(frames.size(), 64u * 32);
    const auto row = [&](size_t t) { return std::span(frames).subspan(t * 32, 32); };
    EXPECT_FLOAT_EQ(*std::max_element(frames.begin(), frames.end()), 1);
    EXPECT_FLOAT_EQ(*std::min_element(frames.begin(), frames.end()), -1);
    // 1019 Hz: the same band is loudest wherever the tone sounds, and nothing sounds after half a second.
    const auto loudest = [&](size_t t) { return std::max_element(row(t).begin(), row(t).end()) - row(t).begin(); };
    EXPECT_EQ(loudest(5), loudest(25));
    for (size_t t = 34; t < 64; ++t)
        for (const float v : row(t)) EXPECT_FLOAT_EQ(v, -1);
    // Ten times softer is the same.
    std::vector<float> soft = tone, again;
    for (float& x : soft) x /= 10;
    append_frames(soft, again);
    for (size_t i = 0; i < frames.size(); ++i) EXPECT_NEAR(again[i], frames[i], 1e-4);
    again.clear();
    append_frames(std::vector<float>(16000), again);
    for (const float v : again) EXPECT_FLOAT_EQ(v, -1) << "silence";
    EXPECT_THROW(append_frames(std::vector<float>(15999), again), Error);
}

TEST(Selection, IsThePublishedOne) {
    std::vector<double> bits;
    for (int i = 0; i < 20; ++i) bits.push_back((i * 7) % 20);
    const auto kept = kept_by_likelihood(bits, published_lower, published_upper);
    // Ascending likelihood is descending bits: ranks 8 to 18 of 20 have bits 11 down to 1.
    ASSERT_EQ(kept.size(), 11u);
    for (size_t i = 0; i < kept.size(); ++i) EXPECT_EQ(bits[kept[i]], 11 - static_cast<double>(i));
    // Of 5120, as published: 2048 to 4863.
    EXPECT_EQ(kept_by_likelihood(std::vector<double>(5120), 0.40, 0.95).size(), 2816u);
    EXPECT_EQ(kept_by_likelihood(std::vector<double>(5120), 0.40, 0.95)[0], 2048u);
    EXPECT_EQ(kept_by_likelihood(bits, 0, 1).size(), 20u);
    EXPECT_THROW(kept_by_likelihood(bits, 0.5, 0.5), Error);
    EXPECT_THROW(kept_by_likelihood(bits, -0.1, 0.5), Error);
    EXPECT_THROW(kept_by_likelihood(bits, 0.1, std::nan("")), Error);
}

TEST(PreviousSampleModel, RepeatsWhatItHasCounted) {
    // After 128 always 130, after 130 always 128: of 16000 transitions in ten clips half a sample a pair remains for
    // others.
    std::vector<DigitClip> clips(10);
    for (DigitClip& c : clips)
        for (int64_t i = 0; i < digit_samples; ++i) c.codes.push_back(i % 2 == 0 ? 130 : 128);
    const DigitClips made = previous_sample_clips(clips, 3, 9);
    ASSERT_EQ(made.size(), 3u);
    for (size_t k = 0; k < 3; ++k) {
        ASSERT_EQ(made.codes[k].size(), 16000u);
        int64_t as_counted = 0;
        uint8_t before = 128;
        for (const uint8_t c : made.codes[k]) {
            as_counted += c == (before == 128 ? 130 : 128);
            before = c;
        }
        // The other of the two codes has half of 16 weights beside 80000: 1.6 exceptions are expected in a clip, of
        // some 13 bits each, beside 16000 x 1.4e-4 bits for what is usual.
        EXPECT_GE(as_counted, 15980);
        EXPECT_LT(made.bits[k], 20 * 13.5);
        EXPECT_GE(made.bits[k], -16000 * std::log2((80000 + 8.1) / 80016));
    }
    EXPECT_EQ(previous_sample_clips(clips, 1, 9).codes[0], made.codes[0]);
    // Counted from something richer, other streams and seeds are other clips.
    for (DigitClip& c : clips)
        for (size_t i = 0; i < c.codes.size(); ++i) c.codes[i] = static_cast<uint8_t>(i * i / 16);
    const DigitClips even = previous_sample_clips(clips, 2, 9);
    EXPECT_NE(even.codes[0], even.codes[1]);
    EXPECT_NE(even.codes[0], previous_sample_clips(clips, 1, 10).codes[0]);
}

class ScoredDigits : public testing::Test {
  protected:
    void SetUp() override {
        test::make_digits(folder / "data", "train", 6, test::seed());
        test::make_digits(folder / "data", "valid", 2, test::seed());
        test::make_digits(folder / "data", "test", 4, test::seed());
    }
    fs::path classifier(double epochs = quick_training().epochs) {
        const DigitSet data = read_digits(folder / "data");
        auto options = quick_training();
        options.epochs = epochs;
        training = train_digit_classifier(data, backend, options);
        save_classifier(folder / "c.safetensors", *training.classifier, front_end_name,
                        classifier_facts(training, options, data, "data", "CC0"));
        return folder / "c.safetensors";
    }
    // A network that has learned nothing.
    fs::path model(const std::string& name, int64_t width = 4) {
        Config config;
        config.model.width = width;
        config.model.layers = 1;
        config.model.outer = config.model.centre = layer_by_name("mamba-s4");
        config.model.outer.ssm.state = config.model.centre.ssm.state = 4;
        const Network network(backend, config.model, DType::f32, 1, 64);
        save_checkpoint(folder / name, config, network, nullptr, {}, {{"data", "elsewhere"}});
        return folder / name;
    }
    DigitScoringOptions options() {
        DigitScoringOptions o;
        o.data = folder / "data";
        o.clips_folder = folder / "clips";
        o.clips.count = 10;
        o.clips.batch = 4;
        return o;
    }
    test::TemporaryFolder folder;
    std::shared_ptr<Backend> backend = make_backend("cpu");
    ClassifierTrainingResult training;
};

TEST_F(ScoredDigits, AreHeardByAClassifierThatWasTrained) {
    const fs::path file = classifier();
    EXPECT_GE(training.valid_accuracy.value(), 0.9) << "tones that differ by a third or more";
    EXPECT_GE(training.test_accuracy.value(), 0.9);
    EXPECT_EQ(training.steps, 120);
    const ClassifierFile read = ClassifierFile::read(file);
    EXPECT_EQ(read.facts().at("licence"), "CC0");
    EXPECT_EQ(read.facts().at("train_clips"), "60");

    // The same options, the same numbers; another seed, others.
    const DigitSet data = read_digits(folder / "data");
    auto again = quick_training();
    again.epochs = 1;
    const auto one = train_digit_classifier(data, backend, again), two = train_digit_classifier(data, backend, again);
    EXPECT_EQ(one.train_nats, two.train_nats);
    again.seed = 4;
    EXPECT_NE(train_digit_classifier(data, backend, again).train_nats, one.train_nats);

    // Stopped early it is judged and kept all the same; without a digit there is no classifier.
    const auto stopped = train_digit_classifier(data, backend, quick_training(),
                                                [](const ClassifierTrainingProgress& p) { return p.step < 2; });
    EXPECT_TRUE(stopped.stopped);
    EXPECT_EQ(stopped.steps, 2);
    EXPECT_TRUE(stopped.test_accuracy.has_value());
    DigitSet fewer = data;
    std::erase_if(fewer.clips[0], [](const DigitClip& c) { return c.digit == 3; });
    EXPECT_THROW(train_digit_classifier(fewer, backend, again), Error);
}

TEST_F(ScoredDigits, StandBesideRecordingsAndATrivialModel) {
    auto o = options();
    o.classifier = classifier();
    o.models = {model("a.safetensors")};
    const DigitScoring result = score_digits(o, backend);
    EXPECT_TRUE(result.complete);
    ASSERT_EQ(result.rows.size(), 5u);
    const auto& train = result.rows[0];
    EXPECT_EQ(train.name, "recordings, train");
    EXPECT_NEAR(train.scores.fid, 0, 1e-6) << "its own features";
    EXPECT_EQ(train.scored, 60);
    const auto& test_row = result.rows[2];
    EXPECT_EQ(test_row.name, "recordings, test");
    EXPECT_EQ(test_row.scored, 40);
    EXPECT_GE(test_row.accuracy.value(), 0.9);
    const auto& trivial = result.rows[3];
    EXPECT_EQ(trivial.kind, DigitRowKind::trivial);
    const auto& network = result.rows[4];
    EXPECT_EQ(network.name, "a");
    for (const auto* r : {&trivial, &network}) {
        EXPECT_EQ(r->made, 10);
        EXPECT_EQ(r->scored, 5) << "ranks 4 to 8";
        EXPECT_TRUE(r->unselected.has_value());
        EXPECT_GT(r->bits_per_sample.value(), 0);
        EXPECT_EQ(r->unchosen.size(), 2u);
        EXPECT_FALSE(r->clearest.empty());
        // Noise: far from what recordings of the same kind score, whatever the classifier makes of it.
        EXPECT_GT(r->scores.fid, 3 * test_row.scores.fid);
        EXPECT_LT(r->scores.inception, test_row.scores.inception);
        double sum = 0;
        for (const double share : r->heard) sum += share;
        EXPECT_NEAR(sum, 1, 1e-9);
    }
    EXPECT_NEAR(network.bits_per_sample.value(), 8, 1) << "it has learned nothing";

    const auto report = to_json(o, result);
    EXPECT_EQ(report["protocol"]["lower"], 0.40);
    EXPECT_EQ(report["protocol"]["upper"], 0.95);
    EXPECT_EQ(report["rows"][4]["fid"], network.scores.fid);
    EXPECT_EQ(report["rows"][4]["layer"], "mamba-s4 (modified)");
    const std::string page = to_html(o, result), text = to_markdown(o, result);
    for (const std::string& written : {page, text}) {
        EXPECT_NE(written.find("never with published ones"), std::string::npos);
        EXPECT_NE(written.find("0.40 and 0.95"), std::string::npos);
        EXPECT_NE(written.find("previous sample"), std::string::npos);
    }
    EXPECT_NE(page.find("data:audio/flac;base64,"), std::string::npos);
    EXPECT_NE(text.find("trained on a folder named"), std::string::npos);
}

TEST_F(ScoredDigits, GoOnFromFinishedBatches) {
    auto o = options();
    o.classifier = classifier(1);  // whatever it hears
    o.models = {model("a.safetensors")};
    // Stopped when the third of three batches begins: two stay.
    const DigitScoring stopped = score_digits(o, backend, [&](double, const std::string& what) {
        return what.find(" 8 of 10 clips") == std::string::npos || !fs::exists(folder / "clips/a/0001.safetensors");
    });
    EXPECT_FALSE(stopped.complete);
    EXPECT_EQ(stopped.rows.size(), 4u);
    EXPECT_TRUE(fs::exists(folder / "clips/a/0001.safetensors"));
    EXPECT_FALSE(fs::exists(folder / "clips/a/0002.safetensors"));
    const auto made = fs::last_write_time(folder / "clips/a/0000.safetensors");
    const DigitScoring resumed = score_digits(o, backend);
    EXPECT_TRUE(resumed.complete);
    EXPECT_EQ(fs::last_write_time(folder / "clips/a/0000.safetensors"), made) << "not made again";
    auto fresh = o;
    fresh.clips_folder = folder / "other";
    const DigitScoring whole = score_digits(fresh, backend);
    EXPECT_EQ(to_json(o, resumed), to_json(fresh, whole)) << "as if never stopped";

    // Clips of other settings, of another model, or damaged ones are not taken for these.
    auto other = o;
    other.clips.sampling.temperature = 0.5;
    const DigitScoring wrong = score_digits(other, backend);
    EXPECT_FALSE(wrong.complete);
    EXPECT_NE(wrong.rows[4].error.find("made otherwise"), std::string::npos) << wrong.rows[4].error;
    model("a.safetensors", 5);
    EXPECT_NE(score_digits(o, backend).rows[4].error.find("made otherwise"), std::string::npos);
    std::ofstream(folder / "clips/a/0000.safetensors") << "damaged";
    EXPECT_NE(score_digits(o, backend).rows[4].error, "");
}

TEST_F(ScoredDigits, RefuseWhatCannotBeScored) {
    auto o = options();
    o.classifier = folder / "nothing.safetensors";
    EXPECT_THROW(score_digits(o, backend), Error);
    o.classifier = model("m.safetensors");
    EXPECT_THROW(score_digits(o, backend), Error) << "a model is no classifier";
    const SequenceClassifier deaf(backend, quick_training().network, DType::f32, 1);
    save_classifier(folder / "deaf.safetensors", deaf, "other-ears", {});
    o.classifier = folder / "deaf.safetensors";
    EXPECT_THROW(score_digits(o, backend), Error) << "made for other inputs";
    save_classifier(folder / "deaf.safetensors", deaf, front_end_name, {});
    o.lower = 0.95, o.upper = 0.4;
    EXPECT_THROW(score_digits(o, backend), Error);
    o.lower = 0.4, o.upper = 0.95, o.data = folder / "clips";
    EXPECT_THROW(score_digits(o, backend), Error) << "no digits";
}

}  // namespace
}  // namespace nigiri::app
