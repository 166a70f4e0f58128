#include "audio/quantize.h"

#include <algorithm>
#include <limits>

#include "model/safetensors.h"
#include "tests/audio/support.h"
#include "tests/support/check.h"

namespace nigiri {
namespace {

constexpr Quantization both[] = {Quantization::mu_law, Quantization::linear};

const SafeTensorsFile& golden() {
    static const SafeTensorsFile file = SafeTensorsFile::read(NIGIRI_SOURCE_DIR "/tests/golden/quantize.safetensors");
    return file;
}

TEST(Quantize, EncodesAsThePublishedCode) {
    const auto audio = golden().values("in.audio");
    for (const Quantization q : both) {
        const auto expected = golden().values(q == Quantization::mu_law ? "out.mu_law" : "out.linear");
        ASSERT_EQ(audio.size(), expected.size());
        const auto [low, high] = std::minmax_element(audio.begin(), audio.end());
        int different = 0;
        for (size_t i = 0; i < audio.size(); ++i) {
            // The published encoders scale to the extremes first.
            EXPECT_EQ(encode_minmax(audio[i], *low, *high, q), expected[i]) << name_of(q) << " of " << audio[i];
            // The clip spans [-1, 1], so the full scale differs by that scaling's 1e-6 alone: by one code, at
            // values on an edge.
            EXPECT_LE(std::abs(encode(audio[i], q) - expected[i]), 1);
            different += encode(audio[i], q) != expected[i];
        }
        EXPECT_LE(different, static_cast<int>(audio.size()) / 100 + 1);
    }
}

TEST(Quantize, DecodesAsThePublishedCode) {
    const auto codes = golden().values("in.codes");
    for (const Quantization q : both) {
        const auto expected = golden().values(q == Quantization::mu_law ? "out.mu_law_decoded" : "out.linear_decoded");
        for (size_t i = 0; i < codes.size(); ++i) {
            const int code = static_cast<int>(codes[i]);
            // The same formula in the same precision: a few roundings.
            EXPECT_NEAR(decode(code, q), expected[i], 1e-14) << name_of(q) << " of " << code;
        }
    }
}

// A clip that was written as 16-bit samples and read back is the same clip.
TEST(Quantize, WhatIsWrittenIsReadBackAsTheSameCode) {
    for (const Quantization q : both)
        for (int code = 0; code < code_count; ++code) {
            const float x = decode_table(q)[static_cast<size_t>(code)];
            EXPECT_EQ(encode(static_cast<double>(x), q), code) << name_of(q);
            EXPECT_EQ(static_cast<float>(to_pcm16(x)) / 32768.0f, x) << name_of(q) << " of " << code;
            const double step = std::abs(code < 255 ? decode(code + 1, q) - decode(code, q) : 1 - decode(code, q));
            EXPECT_NEAR(static_cast<double>(x), decode(code, q), 0.01 * step + 1.0 / 32768)
                << name_of(q) << " of " << code;
        }
}

TEST(Quantize, ZeroIsTheZeroCodeAndBack) {
    for (const Quantization q : both) {
        EXPECT_EQ(encode(0.0, q), zero_code);
        EXPECT_EQ(encode(-0.0, q), zero_code);
        EXPECT_EQ(decode(zero_code, q), 0.0);
        EXPECT_EQ(decode_table(q)[zero_code], 0.0f);
    }
}

TEST(Quantize, ClampsAndGivesNaNTheZeroCode) {
    const double infinity = std::numeric_limits<double>::infinity();
    for (const Quantization q : both) {
        EXPECT_EQ(encode(1.0, q), 255);
        EXPECT_EQ(encode(7.0, q), 255);
        EXPECT_EQ(encode(infinity, q), 255);
        EXPECT_EQ(encode(-1.0, q), 0);
        EXPECT_EQ(encode(-7.0, q), 0);
        EXPECT_EQ(encode(-infinity, q), 0);
        EXPECT_EQ(encode(std::nan(""), q), zero_code);
    }
}

TEST(Quantize, IsMonotoneAndUsesEveryCode) {
    for (const Quantization q : both) {
        std::array<int, code_count> seen{};
        int last = 0;
        for (int v = -32768; v <= 32767; ++v) {
            const int code = encode(v / 32768.0, q);
            EXPECT_GE(code, last) << name_of(q) << " at " << v;
            last = code;
            ++seen[static_cast<size_t>(code)];
        }
        for (int c = 0; c < code_count; ++c) EXPECT_GT(seen[static_cast<size_t>(c)], 0) << name_of(q) << " code " << c;
    }
}

TEST(Quantize, DecodedValuesLieWithinTheirStep) {
    // A value is a step's lower edge away from zero's side at most one step off: |decode(encode(x)) - x| is
    // at most the width of the step, which is 1/128 for linear codes and at most ln(256)/128 * (|x| + 1/255)
    // for mu-law ones (the curve's slope), with the 0.01 of the formula as slack.
    Random random(test::seed());
    for (int i = 0; i < 20000; ++i) {
        const double x = random.uniform(-1, 1);
        EXPECT_LE(std::abs(decode(encode(x, Quantization::linear), Quantization::linear) - x), 1.01 / 128 + 1e-4);
        const double step = std::log(256.0) / 128 * (std::abs(x) + 1.0 / 255);
        EXPECT_LE(std::abs(decode(encode(x, Quantization::mu_law), Quantization::mu_law) - x), 1.05 * step + 1e-4) << x;
    }
}

TEST(Quantize, SpansAgreeWithSingleSamples) {
    const auto floats = test::noise(5000, 0.4, test::seed());
    const auto integers = test::noise16(5000, 0.4, test::seed() + 1);
    std::vector<uint8_t> a(floats.size()), b(integers.size());
    for (const Quantization q : both) {
        encode(std::span<const float>(floats), q, a);
        encode(std::span<const int16_t>(integers), q, b);
        for (size_t i = 0; i < floats.size(); ++i) {
            ASSERT_EQ(a[i], encode(static_cast<double>(floats[i]), q));
            ASSERT_EQ(b[i], encode(integers[i] / 32768.0, q));
        }
        std::vector<float> back(a.size());
        decode(a, q, back);
        for (size_t i = 0; i < a.size(); ++i) ASSERT_EQ(back[i], decode_table(q)[a[i]]);
    }
    std::vector<uint8_t> wrong(3);
    EXPECT_THROW(encode(std::span<const float>(floats), Quantization::linear, wrong), Error);
}

TEST(Quantize, SegmentMinmaxScalesToTheSegment) {
    // Minimum to code 0, maximum to code 255 (the 1e-6 of the formula is far below a step here), whatever the
    // offset.
    const std::vector<int16_t> samples = {1000, 1500, 3000, 2000, 1000};
    std::vector<uint8_t> codes(samples.size());
    for (const Quantization q : both) {
        encode_minmax(samples, q, codes);
        EXPECT_EQ(codes[0], 0);
        EXPECT_EQ(codes[2], 255);
        EXPECT_EQ(codes[4], 0);
        for (size_t i = 0; i < samples.size(); ++i) {
            const double t = (samples[i] - 1000) / 32768.0 / (2000 / 32768.0 + 1e-6);
            // The published form, written out: linear codes from [0, 1], mu-law codes from [-1, 1].
            const double s =
                q == Quantization::linear
                    ? t
                    : ((2 * t - 1 > 0 ? 1 : -1) * std::log1p(255 * std::abs(2 * t - 1 + 1e-8)) / std::log(256) + 1) / 2;
            EXPECT_EQ(codes[i], static_cast<int>(std::floor(s * 255.99 + 0.005))) << i;
        }
    }
}

TEST(Quantize, SegmentMinmaxOfLongSegmentsIsThatOfTheirSamples) {
    // Long segments go by a table; every value of the whole range, of a narrow one, and noise.
    std::vector<int16_t> all, narrow;
    for (int v = -32768; v <= 32767; ++v) all.push_back(static_cast<int16_t>(v));
    for (int i = 0; i < 6000; ++i) narrow.push_back(static_cast<int16_t>(100 + i % 40));
    const auto random = test::noise16(10000, 0.05, test::seed());
    for (const auto& samples : {all, narrow, random}) {
        const auto [low, high] = std::minmax_element(samples.begin(), samples.end());
        std::vector<uint8_t> codes(samples.size());
        for (const Quantization q : both) {
            encode_minmax(samples, q, codes);
            for (size_t i = 0; i < samples.size(); ++i)
                ASSERT_EQ(codes[i], encode_minmax(samples[i] / 32768.0, *low / 32768.0, *high / 32768.0, q))
                    << name_of(q) << " " << samples[i];
        }
    }
}

TEST(Quantize, SegmentMinmaxOfAConstantIsTheLowestCode) {
    const std::vector<int16_t> samples(10, 77);
    std::vector<uint8_t> codes(10, 99);
    for (const Quantization q : both) {
        encode_minmax(samples, q, codes);
        EXPECT_EQ(codes, std::vector<uint8_t>(10, 0));
    }
    encode_minmax({}, Quantization::mu_law, {});
}

TEST(Quantize, Pcm16RoundsClampsAndSurvivesNaN) {
    for (int v = -32768; v <= 32767; ++v) ASSERT_EQ(to_pcm16(static_cast<float>(v) / 32768.0f), v);
    EXPECT_EQ(to_pcm16(1.0f), 32767);
    EXPECT_EQ(to_pcm16(-5.0f), -32768);
    EXPECT_EQ(to_pcm16(std::numeric_limits<float>::infinity()), 32767);
    EXPECT_EQ(to_pcm16(std::nanf("")), 0);
}

TEST(Quantize, NamesAreParsedBack) {
    for (const Quantization q : both) EXPECT_EQ(parse_quantization(name_of(q)), q);
    for (const Scaling s : {Scaling::full_scale, Scaling::segment_minmax}) EXPECT_EQ(parse_scaling(name_of(s)), s);
    EXPECT_THROW(parse_quantization("a-law"), Error);
    EXPECT_THROW(parse_scaling(""), Error);
}

}  // namespace
}  // namespace nigiri
