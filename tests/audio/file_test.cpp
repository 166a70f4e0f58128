#include "audio/file.h"

#include <sndfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <limits>

#include "audio/resample.h"
#include "tests/audio/support.h"
#include "tests/support/check.h"

namespace nigiri {
namespace {

namespace fs = std::filesystem;
using test::TemporaryFolder;

// Writes interleaved samples in any of libsndfile's formats.
void write_any(const fs::path& path, int format, const std::vector<float>& interleaved, int rate, int channels) {
    SF_INFO info{};
    info.format = format;
    info.samplerate = rate;
    info.channels = channels;
    SNDFILE* file = sf_open(path.c_str(), SFM_WRITE, &info);
    ASSERT_NE(file, nullptr) << path << ": " << sf_strerror(nullptr);
    sf_command(file, SFC_SET_CLIPPING, nullptr, SF_TRUE);
    EXPECT_EQ(sf_write_float(file, interleaved.data(), static_cast<sf_count_t>(interleaved.size())),
              static_cast<sf_count_t>(interleaved.size()));
    sf_close(file);
}

AudioFault fault_of(const fs::path& path) {
    try {
        read_audio(path, 16000);
    } catch (const AudioError& e) {
        EXPECT_NE(std::string(e.what()), "");
        return e.fault();
    }
    return AudioFault::none;
}

TEST(AudioReader, ReadsEveryFormatOfLibsndfile) {
    const TemporaryFolder folder;
    const auto x = test::sine(440, 1.0, 48000);
    struct Case {
        const char* name;
        int format;
        double error;  // RMS; lossy codecs keep a sine's shape to a few per cent of its RMS of 0.354, 16 bits
                       // to 1e-5
    };
    for (const Case& c :
         {Case{"a.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_16, 1e-4}, Case{"b.wav", SF_FORMAT_WAV | SF_FORMAT_DOUBLE, 1e-5},
          Case{"c.wav", SF_FORMAT_WAV | SF_FORMAT_ULAW, 0.01}, Case{"d.flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_24, 1e-5},
          Case{"e.aiff", SF_FORMAT_AIFF | SF_FORMAT_PCM_16, 1e-4}, Case{"f.au", SF_FORMAT_AU | SF_FORMAT_PCM_16, 1e-4},
          Case{"g.caf", SF_FORMAT_CAF | SF_FORMAT_PCM_16, 1e-4}, Case{"h.w64", SF_FORMAT_W64 | SF_FORMAT_PCM_16, 1e-4},
          Case{"i.rf64", SF_FORMAT_RF64 | SF_FORMAT_PCM_16, 1e-4},
          Case{"j.ogg", SF_FORMAT_OGG | SF_FORMAT_VORBIS, 0.02}, Case{"k.opus", SF_FORMAT_OGG | SF_FORMAT_OPUS, 0.02},
          Case{"l.mp3", SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III, 0.02}}) {
        write_any(folder / c.name, c.format, x, 48000, 1);
        const AudioInfo info = read_audio_info(folder / c.name);
        EXPECT_EQ(info.rate, 48000) << c.name;
        EXPECT_EQ(info.channels, 1);
        EXPECT_FALSE(info.format.empty());
        const Audio audio = read_audio(folder / c.name, 16000);
        // Codecs may add a frame or two of padding.
        EXPECT_NEAR(static_cast<double>(audio.samples.size()), 16000, 16000 * 0.06) << c.name;
        // The amplitude of the 440-Hz component in the middle, whatever delay a codec has.
        double re = 0, im = 0, energy = 0;
        const size_t begin = 4000, end = 12000;
        for (size_t i = begin; i < end; ++i) {
            const double phase = 2 * std::numbers::pi * 440 * static_cast<double>(i) / 16000;
            re += audio.samples[i] * std::cos(phase), im += audio.samples[i] * std::sin(phase);
            energy += audio.samples[i] * audio.samples[i];
        }
        const double n = static_cast<double>(end - begin), amplitude = 2 * std::hypot(re, im) / n;
        EXPECT_NEAR(amplitude, 0.5, 2 * c.error) << c.name;
        EXPECT_LT(std::sqrt(std::max(0.0, energy / n - amplitude * amplitude / 2)), 2 * c.error + 1e-3)
            << c.name << ": something else is in it";
    }
}

TEST(AudioReader, AveragesChannels) {
    const TemporaryFolder folder;
    for (const int channels : {2, 8, 100}) {
        std::vector<float> interleaved;
        for (int i = 0; i < 5000; ++i)
            for (int c = 0; c < channels; ++c) interleaved.push_back(static_cast<float>((i % 64) * (c + 1)) / 65536.0f);
        write_any(folder / "x.wav", SF_FORMAT_WAV | SF_FORMAT_FLOAT, interleaved, 16000, channels);
        const Audio audio = read_audio(folder / "x.wav");
        ASSERT_EQ(audio.samples.size(), 5000u);
        for (int i = 0; i < 5000; ++i) {
            const double expected = (i % 64) * (channels + 1) / 2.0 / 65536;
            ASSERT_NEAR(audio.samples[static_cast<size_t>(i)], expected, 1e-6) << channels << " channels, frame " << i;
        }
    }
}

TEST(AudioReader, BlocksGiveWhatTheWholeGives) {
    const TemporaryFolder folder;
    write_audio(folder / "x.wav", test::noise(100000, 0.2, test::seed()), 44100);
    const Audio whole = read_audio(folder / "x.wav", 16000);
    ASSERT_EQ(static_cast<int64_t>(whole.samples.size()), resampled_length(100000, 44100, 16000));
    AudioReader reader(folder / "x.wav", 16000);
    std::vector<float> all, block(777);
    double last = 0;
    for (size_t n; (n = reader.read(block)) > 0;) {
        all.insert(all.end(), block.begin(), block.begin() + static_cast<std::ptrdiff_t>(n));
        EXPECT_GE(reader.fraction(), last);
        last = reader.fraction();
    }
    EXPECT_EQ(reader.fraction(), 1);
    EXPECT_EQ(reader.read(block), 0u) << "after the end";
    EXPECT_EQ(all, whole.samples);
}

TEST(AudioReader, CountsClippedSamplesAndThePeak) {
    const TemporaryFolder folder;
    std::vector<float> x(4000, 0.1f);
    x[10] = 1.5f, x[11] = -1.0f, x[12] = 0.999f;
    write_audio(folder / "x.wav", x, 16000, SampleFormat::float32);
    AudioReader reader(folder / "x.wav");
    std::vector<float> out(5000);
    EXPECT_EQ(reader.read(out), 4000u);
    EXPECT_EQ(reader.clipped(), 2);
    EXPECT_FLOAT_EQ(static_cast<float>(reader.peak()), 1.5f);
}

TEST(AudioReader, NamesWhatIsWrongWithAFile) {
    const TemporaryFolder folder;
    const auto file = [&](const std::string& name, const std::string& bytes) {
        test::write_bytes(folder / name, bytes);
        return folder / name;
    };
    const int descriptors = test::open_descriptors();
    const auto sound = test::noise(20000, 0.2, 3);
    const std::string good = test::wav_bytes(test::pcm16_bytes(sound));
    EXPECT_EQ(fault_of(file("good.wav", good)), AudioFault::none);
    EXPECT_EQ(fault_of(folder / "missing.wav"), AudioFault::unreadable);
    EXPECT_EQ(fault_of(folder.path()), AudioFault::not_regular);
    EXPECT_EQ(fault_of(file("empty.wav", "")), AudioFault::empty);
    EXPECT_EQ(fault_of(file("text.wav", "This is not a sound file. It only looks like one from afar.\n")),
              AudioFault::not_audio);
    EXPECT_EQ(fault_of(file("zeros.wav", std::string(5000, '\0'))), AudioFault::not_audio);
    EXPECT_EQ(fault_of(file("headerless.gsm", std::string(5000, 'u'))), AudioFault::not_audio)
        << "guessed from the ending";
    EXPECT_EQ(fault_of(file("headerless.vox", std::string(5000, 'u'))), AudioFault::not_audio)
        << "guessed from the ending";
    EXPECT_EQ(fault_of(file("no_samples.wav", test::wav_bytes(""))), AudioFault::empty);
    EXPECT_EQ(fault_of(file("cut.wav", good.substr(0, 30000))), AudioFault::truncated);
    EXPECT_NE(fault_of(file("header_only.wav", good.substr(0, 20))), AudioFault::none);
    EXPECT_EQ(fault_of(file("huge.wav", test::wav_bytes("abcd", 16000, 1, 16, 1, 0x70000000))), AudioFault::truncated);
    EXPECT_EQ(fault_of(file("slow.wav", test::wav_bytes(test::pcm16_bytes(sound), 1))), AudioFault::bad_format);
    EXPECT_EQ(fault_of(file("fast.wav", test::wav_bytes(test::pcm16_bytes(sound), 0x7FFFFFFF))),
              AudioFault::bad_format);
    EXPECT_NE(fault_of(file("no_channels.wav", test::wav_bytes(test::pcm16_bytes(sound), 16000, 0))), AudioFault::none);
    EXPECT_NE(fault_of(file("many_channels.wav", test::wav_bytes(test::pcm16_bytes(sound), 16000, 65535))),
              AudioFault::none);
    std::vector<float> broken = sound;
    broken[15000] = std::nanf("");
    EXPECT_EQ(fault_of(file("nan.wav", test::wav_bytes(test::float_bytes(broken), 16000, 1, 32, 3))),
              AudioFault::non_finite);
    broken[15000] = std::numeric_limits<float>::infinity();
    EXPECT_EQ(fault_of(file("infinite.wav", test::wav_bytes(test::float_bytes(broken), 16000, 1, 32, 3))),
              AudioFault::non_finite);
    ASSERT_EQ(::mkfifo((folder / "pipe.wav").c_str(), 0600), 0);
    EXPECT_EQ(fault_of(folder / "pipe.wav"), AudioFault::not_regular) << "and must not wait for a writer";
    EXPECT_EQ(test::open_descriptors(), descriptors) << "a failed opening must close its file";
}

TEST(AudioReader, ReadsWhatAProgramWroteIntoAPipe) {
    // Sizes that could not be filled in afterwards: ffmpeg writes all ones, sox 0x7FFFF000 and more.
    const TemporaryFolder folder;
    const auto sound = test::noise(5000, 0.2, 3);
    for (const uint64_t size : {0xFFFFFFFFull, 0x7FFFF000ull}) {
        test::write_bytes(folder / "x.wav", test::wav_bytes(test::pcm16_bytes(sound), 16000, 1, 16, 1, size));
        EXPECT_EQ(read_audio(folder / "x.wav").samples.size(), 5000u) << size;
    }
}

TEST(AudioReader, NoticesEveryTruncatedFormat) {
    const TemporaryFolder folder;
    const auto sound = test::noise(48000, 0.2, 5);
    for (const auto& [name, format] : {std::pair{"x.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_16},
                                       {"x.flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_16},
                                       {"x.aiff", SF_FORMAT_AIFF | SF_FORMAT_PCM_16},
                                       {"x.au", SF_FORMAT_AU | SF_FORMAT_PCM_16},
                                       {"x.caf", SF_FORMAT_CAF | SF_FORMAT_PCM_16},
                                       {"x.rf64", SF_FORMAT_RF64 | SF_FORMAT_PCM_16}}) {
        write_any(folder / name, format, sound, 48000, 1);
        ASSERT_EQ(fault_of(folder / name), AudioFault::none) << name;
        const std::string whole = test::bytes_of(folder / name);
        for (const double share : {0.5, 0.9, 0.999}) {
            test::write_bytes(folder / name,
                              whole.substr(0, static_cast<size_t>(share * static_cast<double>(whole.size()))));
            const AudioFault fault = fault_of(folder / name);
            EXPECT_TRUE(fault == AudioFault::truncated || fault == AudioFault::damaged)
                << name << " cut to " << share << ": " << name_of(fault);
        }
    }
}

TEST(AudioReader, NoticesDamageWithinAFlacFile) {
    // FLAC frames carry checksums: a changed byte anywhere in the sound must not pass for sound.
    const TemporaryFolder folder;
    write_any(folder / "x.flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_16, test::noise(48000, 0.2, 5), 16000, 1);
    const std::string whole = test::bytes_of(folder / "x.flac");
    Random random(test::seed());
    for (int round = 0; round < 20; ++round) {
        std::string bytes = whole;
        const size_t at = 9000 + random.below(bytes.size() - 9000);  // behind the header
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.below(8)));
        test::write_bytes(folder / "x.flac", bytes);
        const AudioFault fault = fault_of(folder / "x.flac");
        EXPECT_TRUE(fault == AudioFault::damaged || fault == AudioFault::truncated)
            << at << ": " << name_of(fault) << ", seed " << test::seed();
    }
}

TEST(AudioReader, NeverCrashesOnDamagedFiles) {
    // Bytes overwritten at random, mostly in the header, in seven formats. Whatever comes of it: samples that
    // are finite and not more than the file can hold, or an AudioError.
    const TemporaryFolder folder;
    const auto sound = test::sine(440, 0.3, 16000);
    Random random(test::seed());
    SCOPED_TRACE("seed " + std::to_string(test::seed()));
    const int descriptors = test::open_descriptors();
    int read = 0, refused = 0;
    for (const auto& [name, format] : {std::pair{"x.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_16},
                                       {"x.flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_16},
                                       {"x.aiff", SF_FORMAT_AIFF | SF_FORMAT_PCM_16},
                                       {"x.caf", SF_FORMAT_CAF | SF_FORMAT_PCM_16},
                                       {"x.ogg", SF_FORMAT_OGG | SF_FORMAT_VORBIS},
                                       {"x.opus", SF_FORMAT_OGG | SF_FORMAT_OPUS},
                                       {"x.mp3", SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III}}) {
        write_any(folder / name, format, sound, 16000, 1);
        const std::string whole = test::bytes_of(folder / name);
        for (int round = 0; round < 60; ++round) {
            std::string bytes = whole;
            const uint64_t range = round % 3 ? std::min<uint64_t>(bytes.size(), 128) : bytes.size();
            for (uint64_t k = 0; k <= random.below(6); ++k)
                bytes[random.below(range)] = static_cast<char>(random.below(256));
            if (round % 5 == 0) bytes.resize(random.below(bytes.size()));
            test::write_bytes(folder / name, bytes);
            try {
                const Audio audio = read_audio(folder / name, 16000);
                // The highest compression of these formats, times the highest upsampling.
                EXPECT_LE(audio.samples.size(), bytes.size() * 16 * 600) << name;
                for (const float x : audio.samples) ASSERT_TRUE(std::isfinite(x)) << name;
                ++read;
            } catch (const AudioError&) {
                ++refused;
            }
        }
    }
    EXPECT_GT(read, 0);
    EXPECT_GT(refused, 0);
    EXPECT_EQ(test::open_descriptors(), descriptors);
}

TEST(ReadAudio, CanBeCancelled) {
    const TemporaryFolder folder;
    write_audio(folder / "x.wav", test::noise(200000, 0.1, 1), 16000);
    int calls = 0;
    EXPECT_THROW(read_audio(folder / "x.wav", 16000, [&](double, const std::string&) { return ++calls < 2; }),
                 Cancelled);
    EXPECT_EQ(calls, 2);
}

}  // namespace
}  // namespace nigiri
