#include "audio/dataset.h"

#include <algorithm>
#include <map>

#include "tests/audio/support.h"
#include "tests/support/check.h"

namespace nigiri {
namespace {

namespace fs = std::filesystem;
using test::TemporaryFolder;

// Recording k of length n holds the ramp n values long from 1000 k, so that a code tells where it comes from;
// linear codes of 256 steps.
std::vector<int16_t> ramp(int64_t n, int from, int step = 256) {
    std::vector<int16_t> x;
    for (int64_t i = 0; i < n; ++i) x.push_back(static_cast<int16_t>((from + i * step) % 65536 - 32768));
    return x;
}

Dataset lengths(const std::vector<int64_t>& all, const DataOptions& options = {}) {
    std::vector<std::vector<int16_t>> train;
    for (size_t i = 0; i < all.size(); ++i) train.push_back(test::noise16(static_cast<size_t>(all[i]), 0.3, i + 1));
    return Dataset::from_samples(train, {}, {}, options);
}

TEST(Dataset, LoadsTheCodesOfTheFiles) {
    const TemporaryFolder folder;
    std::map<std::string, std::vector<int16_t>> written;
    for (const std::string name : {"train/a.flac", "train/b.wav", "valid/c.wav", "test/d.flac"}) {
        fs::create_directories((folder / name).parent_path());
        written[name] = test::noise16(5000 + written.size(), 0.2, written.size());
        AudioWriter writer(folder / name, 16000);
        writer.write(std::span<const int16_t>(written[name]));
        writer.close();
    }
    for (const Quantization q : {Quantization::mu_law, Quantization::linear}) {
        const Dataset data = Dataset::load(folder.path(), {.quantization = q});
        EXPECT_EQ(data.samples(Split::train), 5000 + 5001);
        size_t seen = 0;
        for (const Split split : all_splits)
            for (const Recording& r : data.recordings(split)) {
                ASSERT_TRUE(written.count(r.name)) << r.name;
                EXPECT_TRUE(r.name.starts_with(name_of(split)));
                ASSERT_EQ(r.samples(), static_cast<int64_t>(written[r.name].size()));
                for (size_t i = 0; i < r.codes.size(); ++i)
                    ASSERT_EQ(r.codes[i], encode(written[r.name][i] / 32768.0, q));
                ++seen;
            }
        EXPECT_EQ(seen, written.size());
    }
    const Dataset minmax = Dataset::load(folder.path(), {.scaling = Scaling::segment_minmax});
    const Recording& r = minmax.recordings(Split::train)[0];
    EXPECT_TRUE(r.codes.empty());
    EXPECT_EQ(r.pcm, written[r.name]);
}

TEST(Dataset, RefusesAFolderWithoutAudio) {
    const TemporaryFolder folder;
    test::write_bytes(folder / "a.txt", "x");
    EXPECT_THROW(Dataset::load(folder.path()), Error);
    EXPECT_THROW(Dataset::load(folder / "missing"), Error);
}

TEST(Dataset, CanBeCancelled) {
    const TemporaryFolder folder;
    write_audio(folder / "a.wav", test::noise(20000, 0.1, 1), 16000);
    EXPECT_THROW(Dataset::load(folder.path(), {}, [](double, const std::string&) { return false; }), Cancelled);
}

TEST(Dataset, SegmentsCoverEverySampleOnce) {
    const Dataset data = lengths({1000, 1024, 1025, 3000, 1});
    for (const int64_t length : {int64_t{0}, int64_t{1}, int64_t{7}, int64_t{1000}, int64_t{1024}, int64_t{5000}}) {
        std::vector<int64_t> reached(5, 0);
        for (const Segment& s : data.segments(Split::train, length)) {
            EXPECT_EQ(s.begin, reached[s.recording]);
            EXPECT_GE(s.length, 1);
            EXPECT_LE(s.length, length > 0 ? length : 3000);
            reached[s.recording] += s.length;
            const bool last = reached[s.recording] == data.recordings(Split::train)[s.recording].samples();
            EXPECT_TRUE(length == 0 || last || s.length == length) << "only the last may be shorter";
        }
        for (size_t i = 0; i < reached.size(); ++i)
            EXPECT_EQ(reached[i], data.recordings(Split::train)[i].samples()) << length;
    }
    EXPECT_TRUE(data.segments(Split::test).empty());
}

TEST(Dataset, RowsAreShiftedByOneAndPadded) {
    const Dataset data = Dataset::from_samples({ramp(100, 0)}, {}, {}, {.quantization = Quantization::linear});
    std::vector<int32_t> inputs(12), targets(12);
    data.row(Split::train, {0, 20, 10}, 12, inputs, targets);
    const auto& codes = data.recordings(Split::train)[0].codes;
    for (size_t i = 0; i < 12; ++i) {
        EXPECT_EQ(targets[i], i < 10 ? codes[20 + i] : ignored_target) << i;
        EXPECT_EQ(inputs[i], i > 0 && i < 10 ? codes[19 + i] : zero_code) << i;
    }
    EXPECT_THROW(data.row(Split::train, {0, 20, 13}, 12, inputs, targets), Error);
    EXPECT_THROW(data.row(Split::train, {0, 95, 10}, 12, inputs, targets), Error);
    EXPECT_THROW(data.row(Split::train, {1, 0, 10}, 12, inputs, targets), Error);
    EXPECT_THROW(data.row(Split::train, {0, -1, 10}, 12, inputs, targets), Error);
}

TEST(Dataset, BatchesAreReproducibleFromASavedPosition) {
    const Dataset data = lengths({5000, 700, 20000});
    Random a(test::seed(), 4);
    std::vector<int32_t> in1, out1, in2, out2;
    data.sample_batch(Split::train, a, 6, 1000, in1, out1);
    Random b(a.seed(), a.stream(), a.position());
    data.sample_batch(Split::train, a, 6, 1000, in1, out1);
    data.sample_batch(Split::train, b, 6, 1000, in2, out2);
    EXPECT_EQ(in1, in2);
    EXPECT_EQ(out1, out2);
    EXPECT_EQ(a.position(), 24u) << "two draws a row";
    EXPECT_EQ(in1.size(), 6000u);
    data.sample_batch(Split::train, a, 6, 1000, in1, out1);
    EXPECT_NE(out1, out2);
}

TEST(Dataset, BatchRowsAreSegmentsOfTheRecordings) {
    const Dataset data = lengths({5000, 300, 2000});
    Random random(test::seed());
    std::vector<int32_t> inputs, targets;
    data.sample_batch(Split::train, random, 200, 512, inputs, targets);
    int short_rows = 0;
    for (size_t b = 0; b < 200; ++b) {
        const auto row = std::span(targets).subspan(b * 512, 512), in = std::span(inputs).subspan(b * 512, 512);
        const auto end = std::find(row.begin(), row.end(), ignored_target);
        EXPECT_TRUE(std::all_of(end, row.end(), [](int32_t t) { return t == ignored_target; }));
        bool found = false;
        for (const Recording& r : data.recordings(Split::train))
            found = found || std::search(r.codes.begin(), r.codes.end(), row.begin(), end) != r.codes.end();
        EXPECT_TRUE(found) << "row " << b;
        EXPECT_EQ(in[0], zero_code);
        const auto filled = end - row.begin();
        for (std::ptrdiff_t i = 1; i < 512; ++i)
            EXPECT_EQ(in[static_cast<size_t>(i)], i < filled ? row[static_cast<size_t>(i - 1)] : zero_code);
        if (filled < 512) {
            EXPECT_EQ(filled, 300) << "only the short recording, and whole";
            ++short_rows;
        }
    }
    EXPECT_GT(short_rows, 0);
}

TEST(Dataset, VisitsEverySampleEquallyOftenOnAverage) {
    // Recordings longer than, equal to and shorter than the segment; visits a sample, recording by recording.
    const std::vector<int64_t> sizes = {40000, 1000, 1010, 5000, 250, 250};
    const Dataset data = lengths(sizes);
    Random random(test::seed());
    const int draws = 60000;
    std::vector<double> visits(sizes.size(), 0), begins(4, 0);
    for (int i = 0; i < draws; ++i) {
        const Segment s = data.random_segment(Split::train, random, 1000);
        EXPECT_EQ(s.length, std::min<int64_t>(1000, sizes[s.recording]));
        EXPECT_LE(s.begin + s.length, sizes[s.recording]);
        visits[s.recording] += static_cast<double>(s.length);
        if (s.recording == 0) begins[static_cast<size_t>(s.begin * 4 / 39001)] += 1;
    }
    const double total = 40000 + 1000 + 1010 + 5000 + 2 * 1000;  // the weights
    for (size_t i = 0; i < sizes.size(); ++i) {
        const double expected = draws * 1000.0 / total;  // visits of each sample
        const double hits = draws * static_cast<double>(std::max<int64_t>(sizes[i], 1000)) / total;
        // Five standard errors of a binomial count.
        EXPECT_NEAR(visits[i] / static_cast<double>(sizes[i]), expected, 5 * expected / std::sqrt(hits))
            << "recording " << i << ", seed " << test::seed();
    }
    const double quarter = draws / total * 40000 / 4;
    for (const double b : begins)
        EXPECT_NEAR(b, quarter, 5 * std::sqrt(quarter)) << "begins are uniform, seed " << test::seed();
}

TEST(Dataset, ReachesFirstAndLastPlace) {
    const Dataset data = lengths({105});
    Random random(test::seed());
    std::map<int64_t, int> begins;
    for (int i = 0; i < 600; ++i) ++begins[data.random_segment(Split::train, random, 100).begin];
    EXPECT_EQ(begins.size(), 6u);  // a place is missed with probability (5/6)^600
    EXPECT_EQ(begins.begin()->first, 0);
    EXPECT_EQ(begins.rbegin()->first, 5);
}

TEST(Dataset, MinmaxScalesTheCrop) {
    const Dataset data = Dataset::from_samples(
        {ramp(200, 20000, 16)}, {}, {}, {.quantization = Quantization::linear, .scaling = Scaling::segment_minmax});
    for (const Segment& s : {Segment{0, 0, 200}, Segment{0, 50, 20}}) {
        std::vector<uint8_t> codes(static_cast<size_t>(s.length));
        data.codes(Split::train, s, codes);
        EXPECT_EQ(codes.front(), 0);
        EXPECT_EQ(codes.back(), 255);
        const auto wave = data.waveform(Split::train, s);
        EXPECT_NEAR(wave[1] - wave[0], 16.0 / 32768, 1e-7) << "the waveform is as recorded";
    }
}

TEST(Dataset, WaveformIsTheDecodedCodes) {
    const Dataset data = lengths({500});
    const auto wave = data.waveform(Split::train, {0, 10, 20});
    ASSERT_EQ(wave.size(), 20u);
    for (size_t i = 0; i < 20; ++i)
        EXPECT_EQ(wave[i], decode_table(Quantization::mu_law)[data.recordings(Split::train)[0].codes[10 + i]]);
    EXPECT_THROW(data.waveform(Split::train, {0, 490, 20}), Error);
}

TEST(Dataset, AnEmptySplitIsAnError) {
    const Dataset data = lengths({500});
    Random random(1);
    EXPECT_THROW(data.random_segment(Split::valid, random, 10), Error);
    EXPECT_THROW(data.random_segment(Split::train, random, 0), Error);
}

}  // namespace
}  // namespace nigiri
