// The parts of a comparison: levels, pieces of held-out audio, names, pages.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "app/compare/compared_files.h"
#include "app/compare/held_out_pieces.h"
#include "app/compare/level_match.h"
#include "app/compare/markup.h"
#include "app/compare/picture.h"
#include "app/compare/report.h"
#include "app/compare/report_table.h"
#include "app/write_file.h"
#include "audio/analysis.h"
#include "audio/file.h"
#include "audio/flac_memory.h"
#include "tests/audio/support.h"

#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_PNG
#include <stb/stb_image.h>

namespace nigiri::app {
namespace {

namespace fs = std::filesystem;
using test::sound_rate;

double peak(const std::vector<float>& x, double gain) {
    double highest = 0;
    for (const float v : x) highest = std::max(highest, std::abs(v * gain));
    return highest;
}

TEST(LevelMatch, MakesAllEquallyLoud) {
    const std::vector<std::vector<float>> sounds = {
        test::sine(440, 2, sound_rate, 0.5), test::sine(1000, 2, sound_rate, 0.02),
        test::noise(2 * sound_rate, 0.05, 1), std::vector<float>(2 * sound_rate)};
    const LevelMatch match = match_levels(sounds, sound_rate);
    EXPECT_NEAR(match.target_lufs, -23, 1e-9);
    EXPECT_EQ(match.gains[3], 1) << "silence";
    EXPECT_LT(match.gains[0], 1);
    EXPECT_GT(match.gains[1], 1);
    for (size_t i = 0; i < 3; ++i) {
        std::vector<float> x = sounds[i];
        for (float& v : x) v = static_cast<float>(v * match.gains[i]);
        EXPECT_NEAR(integrated_loudness(x, sound_rate), -23, 0.01) << i;
    }
}

TEST(LevelMatch, LowersTheTargetRatherThanClip) {
    // A click in silence has far less loudness than its peak allows.
    std::vector<float> peaky = test::noise(2 * sound_rate, 0.01, 2);
    peaky[1000] = 0.9f;
    const std::vector<std::vector<float>> sounds = {peaky, test::sine(440, 2, sound_rate, 0.5)};
    const LevelMatch match = match_levels(sounds, sound_rate, -14);
    EXPECT_LT(match.target_lufs, -20);
    EXPECT_NEAR(peak(peaky, match.gains[0]), 1, 1e-6);
    EXPECT_LE(peak(peaky, match.gains[0]), 1);
    for (size_t i = 0; i < 2; ++i) {
        std::vector<float> x = sounds[i];
        for (float& v : x) v = static_cast<float>(v * match.gains[i]);
        EXPECT_NEAR(integrated_loudness(x, sound_rate), match.target_lufs, 0.01) << i;
    }
    const std::vector<std::vector<float>> silent(2, std::vector<float>(100));
    EXPECT_EQ(match_levels(silent, sound_rate).gains, (std::vector<double>{1, 1}));
    EXPECT_TRUE(match_levels({}, sound_rate).gains.empty());
}

TEST(HeldOutPieces, CutRecordings) {
    const auto data = Dataset::from_samples({std::vector<int16_t>(5000, 1)}, {},
                                            {std::vector<int16_t>(3500, 1), std::vector<int16_t>(900, 1)});
    const auto begins = [&](bool shorter, size_t most) {
        std::vector<std::tuple<size_t, int64_t, int64_t>> out;
        for (const Segment& s : held_out_pieces(data, Split::test, 1000, shorter, most))
            out.emplace_back(s.recording, s.begin, s.length);
        return out;
    };
    using V = std::vector<std::tuple<size_t, int64_t, int64_t>>;
    EXPECT_EQ(begins(false, 99), (V{{0, 0, 1000}, {0, 1000, 1000}, {0, 2000, 1000}}));
    EXPECT_EQ(begins(true, 99), (V{{0, 0, 1000}, {0, 1000, 1000}, {0, 2000, 1000}, {1, 0, 900}}));
    EXPECT_EQ(begins(true, 2), (V{{0, 1000, 1000}, {1, 0, 900}})) << "spread over all";
    EXPECT_THROW(held_out_pieces(data, Split::test, 0, true, 9), Error);
}

TEST(ComparedFiles, HaveNames) {
    test::TemporaryFolder folder;
    fs::create_directories(folder / "run one" / "checkpoints");
    std::ofstream(folder / "run one" / "checkpoints" / "best.safetensors") << "x";
    std::vector<ComparedModel> earlier;
    EXPECT_EQ(unique_name(folder / "run one", earlier), "run one");
    EXPECT_EQ(unique_name(folder / "run one/", earlier), "run one");
    EXPECT_EQ(unique_name(folder / "run one/checkpoints/best.safetensors", earlier), "run one (best)");
    EXPECT_EQ(unique_name("models/small.safetensors", earlier), "small");
    earlier.push_back({.name = "small"});
    EXPECT_EQ(unique_name("models/small.safetensors", earlier), "small #2");
    EXPECT_EQ(file_name("run one (best)"), "run-one-best");
    EXPECT_EQ(file_name("../../etc"), "..-..-etc") << "no way out of the folder";
    EXPECT_EQ(file_name("<>"), "model");
    EXPECT_EQ(file_name(std::string(500, 'x')).size(), 60u);
}

TEST(ComparedFiles, ReadTheSpeedOfARun) {
    test::TemporaryFolder folder;
    EXPECT_FALSE(median_tokens_per_second(folder / "none"));
    std::ofstream(folder / "m.jsonl") << "{\"tokens_per_second\": 10}\nnonsense\n[]\n{\"tokens_per_second\": \"x\"}\n"
                                      << "{\"tokens_per_second\": 30}\n{\"tokens_per_second\": 20}\n{\"tok";
    EXPECT_EQ(median_tokens_per_second(folder / "m.jsonl"), 20);
}

TEST(Markup, EscapesEverything) {
    EXPECT_EQ(html_escape("<a href=\"x\">&'</a>"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;&lt;/a&gt;");
    EXPECT_EQ(html_escape("Für Elise\n\x1b\xff"), "Für Elise???");
    EXPECT_EQ(markdown_escape("a|b*c_<d>"), "a\\|b\\*c\\_\\<d\\>");
    EXPECT_EQ(markdown_escape("a\nb"), "a?b");
    // RFC 4648, section 10.
    for (const auto& [plain, coded] : std::vector<std::pair<std::string, std::string>>{{"", ""},
                                                                                       {"f", "Zg=="},
                                                                                       {"fo", "Zm8="},
                                                                                       {"foo", "Zm9v"},
                                                                                       {"foob", "Zm9vYg=="},
                                                                                       {"fooba", "Zm9vYmE="},
                                                                                       {"foobar", "Zm9vYmFy"}})
        EXPECT_EQ(base64(plain), coded);
    EXPECT_EQ(base64("\xff\xfe\xfd"), "//79");
}

TEST(Picture, ShowsPitchUpwardsAndTimeToTheRight) {
    // First a second of silence, then one of a low tone.
    std::vector<float> x(2 * sound_rate, 0.0f);
    const auto tone = test::sine(200, 1, sound_rate);
    std::copy(tone.begin(), tone.end(), x.begin() + sound_rate);
    const Spectrogram s = picture_spectrogram(x, sound_rate);
    EXPECT_LE(s.frames, 481);
    const std::string png = spectrogram_png(s, *std::max_element(s.values.begin(), s.values.end()), 0.25);
    int width = 0, height = 0, channels = 0;
    const std::unique_ptr<unsigned char, void (*)(void*)> pixels(
        stbi_load_from_memory(reinterpret_cast<const unsigned char*>(png.data()), static_cast<int>(png.size()), &width,
                              &height, &channels, 3),
        stbi_image_free);
    ASSERT_TRUE(pixels);
    EXPECT_EQ(width, s.frames);
    EXPECT_EQ(height, 80);
    const auto brightness = [&](double at_x, double at_y) {
        const auto* p =
            pixels.get() + 3 * (static_cast<int>(at_y * (height - 1)) * width + static_cast<int>(at_x * width));
        return p[0] + p[1] + p[2];
    };
    int low = 0, high = 0;
    for (double y = 0.9; y < 1; y += 0.02) low = std::max(low, brightness(0.75, y));
    for (double y = 0; y < 0.5; y += 0.02) high = std::max(high, brightness(0.75, y));
    EXPECT_GT(low, 500);
    EXPECT_LT(high, 300);
    EXPECT_LT(brightness(0.1, 0.9), 60) << "silence";
    EXPECT_EQ(brightness(0.25, 0.5), 3 * 235) << "the line at the prompt's end";
    EXPECT_THROW(spectrogram_png({}, 0), Error);
}

TEST(Flac, InMemoryIsAFile) {
    test::TemporaryFolder folder;
    const auto x = test::noise(5000, 0.2, 3);
    test::write_bytes(folder / "x.flac", flac_bytes(x, sound_rate));
    const Audio read = read_audio(folder / "x.flac");
    EXPECT_EQ(read_audio_info(folder / "x.flac").frames, 5000) << "the header knows its length";
    ASSERT_EQ(read.samples.size(), x.size());
    for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(read.samples[i], x[i], 0.5001 / 32768);
}

TEST(WriteFile, ReplacesAsAWhole) {
    test::TemporaryFolder folder;
    write_file(folder / "a", "one");
    write_file(folder / "a", "two\n");
    EXPECT_EQ(test::bytes_of(folder / "a"), "two\n");
    fs::create_directories(folder / "b");
    EXPECT_THROW(write_file(folder / "b", "x"), Error);
    EXPECT_THROW(write_file(folder / "no" / "c", "x"), Error);
    EXPECT_EQ(test::snapshot(folder.path()).size(), 2u) << "nothing is left behind";
}

TEST(Report, NamesItsFiles) {
    const ReportFiles folder = report_files("out/here");
    EXPECT_EQ(folder.html, "out/here/report.html");
    EXPECT_EQ(folder.clips, "out/here/clips");
    const ReportFiles named = report_files("out/s4.html");
    EXPECT_EQ(named.markdown, "out/s4.md");
    EXPECT_EQ(named.json, "out/s4.json");
    EXPECT_EQ(named.clips, "out/s4-clips");
}

TEST(Report, MarksTheBestAndSaysHowSure) {
    ComparisonResult r;
    for (const std::vector<double>& bits : {std::vector<double>{3.0, 3.2, 2.8}, std::vector<double>{2.9, 3.0, 2.5}}) {
        ComparedModel m;
        m.name = "m" + std::to_string(r.models.size());
        m.evaluation.emplace();
        for (const double b : bits) {
            m.evaluation->recordings.push_back({"r", {100 * b, 100}});
            m.evaluation->total.bits += 100 * b;
            m.evaluation->total.samples += 100;
        }
        r.models.push_back(m);
    }
    EXPECT_EQ(model_table(r).rows[0].cells, (std::vector<std::string>{"3.0000", "2.8000"}));
    EXPECT_EQ(model_table(r).rows[0].best, 1);
    // Differences -0.1, -0.2, -0.3: mean -0.2, standard deviation 0.1, over the root of 3.
    ASSERT_EQ(differences(r).size(), 1u);
    EXPECT_TRUE(differences(r)[0].starts_with("m1 needs 0.200 ± 0.058 bits per sample less than m0"))
        << differences(r)[0];
    // Where being near the recordings is what counts, the nearest is the best, not the least.
    const auto with = [](double onsets) {
        Similarity s;
        s.values.resize(similarity_metrics().size());
        for (size_t i = 0; i < s.values.size(); ++i)
            if (similarity_metrics()[i].key == "onsets_per_second") s.values[i] = onsets;
        return s;
    };
    r.floor = with(4);
    r.models[0].similarity = with(1);
    r.models[1].similarity = with(5);
    for (const TableRow& row : similarity_table(r).rows) {
        if (row.name != "Onsets") {
            EXPECT_EQ(row.best, -1) << row.name;
            continue;
        }
        EXPECT_EQ(row.held_out, "4.00");
        EXPECT_EQ(row.best, 1);
    }
    // A lead of less than half the floor is none.
    for (const auto& [value, best] : {std::pair(0.9, -1), std::pair(0.4, 1)}) {
        r.floor->values[0] = 1;
        r.models[0].similarity->values[0] = 1.1;
        r.models[1].similarity->values[0] = value;
        EXPECT_EQ(similarity_table(r).rows[0].best, best) << value;
    }
    r.models[1].similarity.reset();
    EXPECT_EQ(similarity_table(r).rows[0].cells[1], "–");
}

}  // namespace
}  // namespace nigiri::app
