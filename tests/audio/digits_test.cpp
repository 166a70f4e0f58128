#include "audio/digits.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "audio/augment.h"
#include "audio/file.h"
#include "audio/scan.h"
#include "tests/audio/support.h"
#include "tests/support/check.h"

namespace nigiri {
namespace {

namespace fs = std::filesystem;

class Digits : public testing::Test {
  protected:
    void tone(const std::string& name, double seconds = 0.3, int rate = 16000) {
        const fs::path path = folder / name;
        fs::create_directories(path.parent_path());
        write_audio(path, test::sine(300, seconds, rate), rate);
    }
    std::string names(const std::vector<DigitFile>& files, Split split) const {
        std::string text;
        for (const DigitFile& f : files)
            if (f.split == split) text += f.name + "=" + std::to_string(f.digit) + " ";
        return text;
    }
    test::TemporaryFolder folder;
};

TEST_F(Digits, AreFoundBySplitFoldersAndNames) {
    tone("d/train/7_ann_0.wav");
    tone("d/train/seven/ann.wav");
    tone("d/train/3/x.flac");
    tone("d/train/0_speaker/1_x.wav");  // the folder is no digit, the name is
    tone("d/train/word.wav");
    tone("d/train/42_x.wav");
    tone("d/valid/9-b.wav");
    tone("d/test/zero/a.wav");
    test::write_bytes(folder / "d/train/5_notes.txt", "no sound");
    const DigitListing listing = list_digits(folder / "d");
    EXPECT_EQ(names(listing.files, Split::train),
              "train/0_speaker/1_x.wav=1 train/3/x.flac=3 train/7_ann_0.wav=7 train/seven/ann.wav=7 ");
    EXPECT_EQ(names(listing.files, Split::valid), "valid/9-b.wav=9 ");
    EXPECT_EQ(names(listing.files, Split::test), "test/zero/a.wav=0 ");
    EXPECT_EQ(listing.others, 2);
}

TEST_F(Digits, AreFoundInSpeechCommands) {
    tone("sc/one/a.wav");
    tone("sc/one/b.wav");
    tone("sc/two/a.wav");
    tone("sc/two/c.wav");
    tone("sc/bed/a.wav");
    tone("sc/_background_noise_/hum.wav");
    test::write_bytes(folder / "sc/validation_list.txt", "one/b.wav\nbed/a.wav\n");
    test::write_bytes(folder / "sc/testing_list.txt", "two/a.wav\n");
    const DigitListing listing = list_digits(folder / "sc");
    EXPECT_EQ(names(listing.files, Split::train), "one/a.wav=1 two/c.wav=2 ");
    EXPECT_EQ(names(listing.files, Split::valid), "one/b.wav=1 ");
    EXPECT_EQ(names(listing.files, Split::test), "two/a.wav=2 ");
    EXPECT_EQ(listing.others, 2);
}

TEST_F(Digits, AreRefusedWhereNothingTellsThem) {
    EXPECT_THROW(list_digits(folder / "nowhere"), Error);
    tone("flat/one.wav");
    EXPECT_THROW(list_digits(folder / "flat"), Error) << "neither split folders nor lists";
    tone("words/train/hello.wav");
    EXPECT_THROW(list_digits(folder / "words"), Error) << "no digit to train on";
    tone("held/test/1_x.wav");
    EXPECT_THROW(list_digits(folder / "held"), Error);
    test::write_bytes(folder / "broken/train/1_x.wav", "RIFF, but no more");
    EXPECT_THROW(read_digits(folder / "broken"), Error) << "nothing can be read";
}

TEST_F(Digits, BecomeOneSecond) {
    tone("short.wav", 0.25);
    tone("long.wav", 1.5);
    tone("slow.wav", 0.5, 8000);
    const auto padded = read_digit(folder / "short.wav"), cut = read_digit(folder / "long.wav"),
               slow = read_digit(folder / "slow.wav");
    for (const auto* x : {&padded, &cut, &slow}) ASSERT_EQ(x->size(), 16000u);
    const auto whole = test::sine(300, 1.5, 16000);
    for (size_t i = 0; i < 16000; ++i) {
        // 16-bit files: a step either way.
        EXPECT_NEAR(padded[i], i < 4000 ? 32768 * whole[i] : 0, 1) << i;
        const double fade = i < 16000 - 160 ? 1 : static_cast<double>(15999 - i) / 160;
        EXPECT_NEAR(cut[i], 32768 * whole[i] * fade, 1.5) << i;
    }
    const auto energy = [](std::span<const int16_t> x) {
        return std::accumulate(x.begin(), x.end(), 0.0, [](double s, int16_t v) { return s + double(v) * v; });
    };
    EXPECT_NEAR(energy(std::span(slow).first(8000)), 8000 * 16384.0 * 16384 / 2, 0.02 * 8000 * 16384.0 * 16384 / 2);
    EXPECT_EQ(energy(std::span(slow).subspan(8000)), 0);
    EXPECT_THROW(read_digit(folder / "missing.wav"), AudioError);
}

TEST_F(Digits, AreReadAsCodesAndBrokenOnesSkipped) {
    tone("d/train/1_a.wav");
    tone("d/train/2_a.wav");
    tone("d/test/1_b.wav");
    test::write_bytes(folder / "d/train/3_a.wav", "no sound at all");
    const DigitSet set = read_digits(folder / "d", 2);
    ASSERT_EQ(set.of(Split::train).size(), 2u);
    EXPECT_EQ(set.of(Split::train)[1].digit, 2);
    EXPECT_EQ(set.of(Split::test).size(), 1u);
    EXPECT_EQ(set.of(Split::valid).size(), 0u);
    ASSERT_EQ(set.skipped.size(), 1u);
    EXPECT_NE(set.skipped[0].find("3_a.wav"), std::string::npos) << set.skipped[0];
    const auto pcm = read_digit(folder / "d/train/1_a.wav");
    const auto& codes = set.of(Split::train)[0].codes;
    ASSERT_EQ(codes.size(), pcm.size());
    for (size_t i = 0; i < codes.size(); ++i) EXPECT_EQ(codes[i], encode(pcm[i] / 32768.0, Quantization::mu_law));
}

TEST_F(Digits, ArePreparedAsTrainingData) {
    tone("sc/one/a.wav", 0.4);
    tone("sc/two/a.wav", 1.3);
    tone("sc/two/7_a.wav", 0.2);
    tone("sc/three/v.wav", 0.3);
    tone("sc/four/t.wav", 0.35);
    tone("sc/cat/t.wav");
    test::write_bytes(folder / "sc/validation_list.txt", "three/v.wav\n");
    test::write_bytes(folder / "sc/testing_list.txt", "four/t.wav\n");
    test::write_bytes(folder / "sc/five/x.wav", "broken");
    const PreparedDigits done = prepare_digits(folder / "sc", folder / "out", 2);
    EXPECT_EQ(done.written, (std::array<int64_t, 3>{3, 1, 1}));
    EXPECT_EQ(done.skipped.size(), 1u);
    EXPECT_EQ(done.others, 1);
    for (const char* name : {"train/1_a", "train/2_a", "train/2_7_a", "valid/3_v", "test/4_t"})
        EXPECT_TRUE(fs::exists(folder / "out" / (std::string(name) + ".flac"))) << name;
    EXPECT_FALSE(fs::exists(folder / "out.partial"));

    // The same clips again, and data that trains as any other, one clip a segment.
    const DigitSet before = read_digits(folder / "sc"), after = read_digits(folder / "out");
    EXPECT_EQ(after.of(Split::valid).at(0).codes, before.of(Split::valid).at(0).codes);
    EXPECT_EQ(after.of(Split::train).at(0).codes, before.of(Split::train).at(0).codes);
    const ScanReport scanned = scan(folder / "out");
    EXPECT_EQ(scanned.samples(Split::train), 3 * digit_samples);
    EXPECT_EQ(scanned.used_files(), 5u);

    EXPECT_THROW(prepare_digits(folder / "sc", folder / "out"), Error) << "it exists";
    EXPECT_THROW(prepare_digits(folder / "sc", folder / "stopped", 1, [](double, const std::string&) { return false; }),
                 Cancelled);
    EXPECT_FALSE(fs::exists(folder / "stopped"));
    EXPECT_FALSE(fs::exists(folder / "stopped.partial"));
}

TEST(Augmentation, DoesWhatItSaysAndNothingElse) {
    const auto x = test::sine(200, 1, 16000);
    const Augmentation none{
        .earlier = 0, .later = 0, .speed = 1, .gain_db = 0, .noise_low_db = -90, .noise_high_db = -90};
    Random random(test::seed());
    for (int round = 0; round < 8; ++round) {
        const auto y = augmented(x, 16000, none, random);
        ASSERT_EQ(y.size(), x.size());
        for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(y[i], x[i], 6 * 3.2e-5) << "noise of -90 dB at most";
    }
    // A step a second into the clip moves by the time drawn, and silence comes behind what moves to the left.
    Augmentation shift = none;
    shift.later = 0.25;
    std::vector<float> click(16000);
    click[4000] = 1;
    size_t least = 16000, most = 0;
    for (int round = 0; round < 100; ++round) {
        const auto y = augmented(click, 16000, shift, random);
        const auto at = static_cast<size_t>(std::max_element(y.begin(), y.end()) - y.begin());
        least = std::min(least, at), most = std::max(most, at);
    }
    EXPECT_GE(least, 4000u);
    EXPECT_LT(least, 4400u) << "a hundred draws of a uniform time";
    EXPECT_LE(most, 8000u);
    EXPECT_GT(most, 7600u);
    // Speed: the zero crossings of a tone come nearer or further apart, within the limits.
    Augmentation speed = none;
    speed.speed = 1.25;
    double slowest = 10, fastest = 0;
    for (int round = 0; round < 60; ++round) {
        const auto y = augmented(x, 16000, speed, random);
        int crossings = 0;
        for (size_t i = 1; i < 8000; ++i) crossings += y[i - 1] < 0 && y[i] >= 0;
        const double ratio = crossings / 100.0;  // 200 Hz for half a second
        slowest = std::min(slowest, ratio), fastest = std::max(fastest, ratio);
    }
    EXPECT_NEAR(slowest, 0.8, 0.05);
    EXPECT_NEAR(fastest, 1.25, 0.05);
    // The same generator makes the same sound, the next draw another one.
    Random a(5, 7), b(5, 7);
    const auto first = augmented(x, 16000, {}, a);
    EXPECT_EQ(first, augmented(x, 16000, {}, b));
    EXPECT_NE(first, augmented(x, 16000, {}, b));
}

}  // namespace
}  // namespace nigiri
