#include "audio/write.h"

#include <sys/stat.h>

#include "tests/audio/support.h"
#include "tests/support/check.h"

namespace nigiri {
namespace {

namespace fs = std::filesystem;
using test::TemporaryFolder;

TEST(AudioWriter, ReturnsWhatWasWritten) {
    const TemporaryFolder folder;
    const auto x = test::noise(20000, 0.2, test::seed());
    struct Case {
        const char* name;
        SampleFormat format;
        double step;  // half of it is the largest rounding error
    };
    for (const Case& c : {Case{"a.wav", SampleFormat::pcm16, 0x1p-15}, Case{"b.wav", SampleFormat::pcm24, 0x1p-23},
                          Case{"c.wav", SampleFormat::float32, 0}, Case{"d.flac", SampleFormat::pcm16, 0x1p-15},
                          Case{"e.FLAC", SampleFormat::pcm24, 0x1p-23}}) {
        write_audio(folder / c.name, x, 16000, c.format);
        const Audio back = read_audio(folder / c.name);
        EXPECT_EQ(back.rate, 16000);
        ASSERT_EQ(back.samples.size(), x.size()) << c.name;
        for (size_t i = 0; i < x.size(); ++i) {
            const double limit = std::abs(x[i]) < 1 ? c.step / 2 : 1;
            ASSERT_NEAR(back.samples[i], x[i], limit * 1.0001) << c.name << "[" << i << "], seed " << test::seed();
        }
    }
}

TEST(AudioWriter, KeepsSixteenBitSamplesExactly) {
    const TemporaryFolder folder;
    std::vector<int16_t> all;
    for (int v = -32768; v <= 32767; ++v) all.push_back(static_cast<int16_t>(v));
    for (const char* name : {"x.wav", "x.flac"})
        for (const SampleFormat format : {SampleFormat::pcm16, SampleFormat::pcm24}) {
            AudioWriter writer(folder / name, 16000, format);
            writer.write(std::span<const int16_t>(all));
            writer.close();
            const Audio back = read_audio(folder / name);
            ASSERT_EQ(back.samples.size(), all.size());
            for (size_t i = 0; i < all.size(); ++i) ASSERT_EQ(back.samples[i] * 32768, all[i]) << name;
        }
}

TEST(AudioWriter, ClampsAndWritesNaNAsZero) {
    const TemporaryFolder folder;
    const std::vector<float> x = {2.0f, -2.0f, std::nanf(""), 1.0f};
    for (const SampleFormat format : {SampleFormat::pcm16, SampleFormat::pcm24}) {
        write_audio(folder / "x.wav", x, 16000, format);
        const auto back = read_audio(folder / "x.wav").samples;
        EXPECT_NEAR(back[0], 1, 1e-4);
        EXPECT_EQ(back[1], -1);
        EXPECT_EQ(back[2], 0);
        EXPECT_NEAR(back[3], 1, 1e-4);
    }
}

TEST(AudioWriter, CarriesText) {
    const TemporaryFolder folder;
    std::string config = "{\"seed\":7,\"name\":\"D\xC3\xA9j\xC3\xA0 vu\",\"padding\":\"";
    config += std::string(6000, 'x') + "\"}";
    const Tags tags = {
        {"title", "Prelude"}, {"comment", config}, {"software", "nigiri"}, {"artist", "nobody"}, {"date", "2026"}};
    for (const char* name : {"x.wav", "x.flac"}) {
        write_audio(folder / name, test::sine(440, 0.1, 16000), 16000, SampleFormat::pcm16, tags);
        const Tags back = read_tags(folder / name);
        for (const auto& [key, text] : tags) {
            ASSERT_TRUE(back.count(key)) << name << " " << key;
            // libsndfile adds its own name to the software field.
            if (key == "software")
                EXPECT_TRUE(back.at(key).starts_with(text)) << back.at(key);
            else
                EXPECT_EQ(back.at(key), text) << name;
        }
        EXPECT_EQ(read_audio(folder / name).samples.size(), 1600u) << "text must not become samples";
    }
    EXPECT_THROW(write_audio(folder / "y.wav", {}, 16000, SampleFormat::pcm16, {{"mood", "grey"}}), Error);
}

TEST(AudioWriter, IsAllOrNothing) {
    const TemporaryFolder folder;
    test::write_bytes(folder / "x.wav", "old");
    {
        AudioWriter writer(folder / "x.wav", 16000);
        writer.write(std::span<const float>(test::sine(440, 1, 16000)));
        EXPECT_EQ(test::bytes_of(folder / "x.wav"), "old") << "the target must not change before close()";
    }
    EXPECT_EQ(test::snapshot(folder.path()), (std::map<std::string, std::string>{{"x.wav", "old"}}))
        << "an abandoned writer leaves nothing";
    write_audio(folder / "x.wav", test::sine(440, 1, 16000), 16000);
    EXPECT_EQ(read_audio(folder / "x.wav").samples.size(), 16000u);
    EXPECT_EQ(test::snapshot(folder.path()).size(), 1u);
}

TEST(AudioWriter, FailsWithAReasonAndLeavesNothing) {
    const TemporaryFolder folder;
    fs::create_directory(folder / "folder.wav");
    const int descriptors = test::open_descriptors();
    const auto x = test::sine(440, 0.1, 16000);
    EXPECT_THROW(write_audio(folder / "folder.wav", x, 16000), Error);
    EXPECT_THROW(write_audio(folder / "missing/x.wav", x, 16000), Error);
    EXPECT_THROW(write_audio(folder / "x.mp3", x, 16000), Error);
    EXPECT_THROW(write_audio(folder / "x", x, 16000), Error);
    EXPECT_THROW(write_audio(folder / "x.flac", x, 16000, SampleFormat::float32), Error);
    EXPECT_THROW(write_audio(folder / "x.wav", x, 0), Error);
    EXPECT_EQ(test::snapshot(folder.path()).size(), 1u) << "only the folder of the test itself";
    EXPECT_EQ(test::open_descriptors(), descriptors);
}

TEST(AudioWriter, TakesTheLongestNamesThereAre) {
    const TemporaryFolder folder;
    const std::string name = std::string(251, 'n') + ".wav";
    write_audio(folder / name, test::sine(440, 0.1, 16000), 16000);
    EXPECT_EQ(read_audio(folder / name).samples.size(), 1600u);
}

// As if the power had failed: what a growing file is at some moment, copied away.
TEST(GrowingFile, CanBeReadWhereverItIsCutOff) {
    const auto x = test::noise(100000, 0.2, test::seed());
    for (const std::string name : {"x.wav", "x.flac"}) {
        const TemporaryFolder folder;
        AudioWriter writer(folder / name, 16000, SampleFormat::pcm16, {{"comment", "a tag"}}, FileLife::growing);
        EXPECT_EQ(writer.written_to(), folder / name);
        size_t written = 0;
        for (int part = 0; part < 10; ++part) {
            writer.write(std::span(x).subspan(written, 10000));
            written += 10000;
            if (part < 2) continue;
            fs::copy_file(folder / name, folder / ("cut-" + name), fs::copy_options::overwrite_existing);
            const Audio cut = read_audio(folder / ("cut-" + name));
            EXPECT_GE(cut.samples.size() + 20000, written) << name;
            ASSERT_LE(cut.samples.size(), written);
            for (size_t i = 0; i < cut.samples.size(); ++i)
                ASSERT_NEAR(cut.samples[i], x[i], 0x1p-15) << name << ", seed " << test::seed();
            EXPECT_EQ(read_tags(folder / ("cut-" + name)).at("comment"), "a tag");
        }
        writer.close();
        EXPECT_EQ(read_audio(folder / name).samples.size(), x.size());
    }
}

TEST(GrowingFile, StaysWhenItsWriterGoesAway) {
    const TemporaryFolder folder;
    {
        AudioWriter writer(folder / "x.wav", 16000, SampleFormat::pcm16, {}, FileLife::growing);
        writer.write(std::vector<float>(12345, 0.25f));
    }
    EXPECT_EQ(read_audio(folder / "x.wav").samples.size(), 12345u);
}

TEST(GrowingFile, TakesAnothersPlaceOnlyWhenWhole) {
    const TemporaryFolder folder;
    write_audio(folder / "x.wav", std::vector<float>(100, 0.5f), 16000);
    {
        AudioWriter writer(folder / "x.wav", 16000, SampleFormat::pcm16, {}, FileLife::growing);
        EXPECT_EQ(writer.written_to(), folder / "x.part.wav");
        writer.write(std::vector<float>(200, 0.25f));
        AudioWriter second(folder / "x.wav", 16000, SampleFormat::pcm16, {}, FileLife::growing);
        EXPECT_NE(second.written_to(), writer.written_to());
        second.write(std::vector<float>(300, 0.25f));
        EXPECT_EQ(read_audio(folder / "x.wav").samples.size(), 100u);
        writer.close();
        EXPECT_EQ(read_audio(folder / "x.wav").samples.size(), 200u);
        EXPECT_FALSE(fs::exists(folder / "x.part.wav"));
    }
    EXPECT_EQ(read_audio(folder / "x.part2.wav").samples.size(), 300u) << "what was not closed is not lost";
    EXPECT_GT(AudioWriter(folder / "y.wav", 16000).most(), int64_t{36} * 3600 * 16000);
}

}  // namespace
}  // namespace nigiri
