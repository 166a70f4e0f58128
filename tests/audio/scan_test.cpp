#include "audio/scan.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "audio/hash.h"
#include "tests/audio/support.h"
#include "tests/support/check.h"

namespace nigiri {
namespace {

namespace fs = std::filesystem;
using test::TemporaryFolder;

// A folder of `count` different recordings of a second and a bit.
void fill_pieces(const fs::path& folder, int count, const std::string& prefix = "piece") {
    fs::create_directories(folder);
    for (int i = 0; i < count; ++i)
        write_audio(folder / (prefix + std::to_string(i) + ".wav"),
                    test::noise(static_cast<size_t>(16000 + 100 * i), 0.1, fnv1a(prefix) + static_cast<uint64_t>(i)),
                    16000);
}

const FileReport& find(const ScanReport& report, const std::string& name) {
    const auto it =
        std::find_if(report.files.begin(), report.files.end(), [&](const auto& f) { return f.name == name; });
    if (it == report.files.end()) throw Error("no report on " + name);
    return *it;
}

std::set<std::string> files_of(const ScanReport& report, Split split) {
    std::set<std::string> names;
    for (const Part& p : report.parts)
        if (p.split == split) names.insert(report.files[p.file].name);
    return names;
}

bool noted(const ScanReport& report, const std::string& words) {
    return std::any_of(report.notes.begin(), report.notes.end(),
                       [&](const auto& n) { return n.find(words) != std::string::npos; });
}

TEST(Scan, ReportsEveryBrokenFileAndUsesTheGood) {
    const TemporaryFolder folder;
    fill_pieces(folder.path(), 4);
    const auto file = [&](const std::string& name, const std::string& bytes) {
        test::write_bytes(folder / name, bytes);
    };
    const auto sound = test::noise(20000, 0.2, 99);
    const std::string pcm = test::pcm16_bytes(sound), good = test::wav_bytes(pcm);
    const auto with = [&](size_t at, float x) {
        auto y = sound;
        y[at] = x;
        return test::wav_bytes(test::float_bytes(y), 16000, 1, 32, 3);
    };
    std::map<std::string, AudioFault> expected;
    const auto bad = [&](const std::string& name, const std::string& bytes, AudioFault fault) {
        file(name, bytes);
        expected[name] = fault;
    };
    bad("truncated.wav", good.substr(0, 20000), AudioFault::truncated);
    bad("empty.flac", "", AudioFault::empty);
    bad("zero.wav", test::wav_bytes(""), AudioFault::empty);
    bad("nan.wav", with(100, std::nanf("")), AudioFault::non_finite);
    bad("loud.wav", with(100, 12345.0f), AudioFault::out_of_range);
    bad("silent.wav", test::wav_bytes(std::string(40000, '\0')), AudioFault::silent);
    bad("constant.wav", test::wav_bytes(test::pcm16_bytes(std::vector<float>(20000, 0.3f))), AudioFault::silent);
    bad("short.wav", test::wav_bytes(pcm.substr(0, 2 * 1023)), AudioFault::too_short);
    bad("notes.txt", "Recorded on a rainy afternoon.\n", AudioFault::not_audio);
    bad("sub/fake.mp3", "This is no MP3 file, whatever its name says.\n", AudioFault::not_audio);
    bad("huge.wav", test::wav_bytes("abcd", 16000, 1, 16, 1, 0x7F000000), AudioFault::truncated);
    bad("rate.wav", test::wav_bytes(pcm, 3), AudioFault::bad_format);
    bad("twin.wav", test::bytes_of(folder / "piece1.wav"), AudioFault::duplicate);
    fs::create_directories(folder / "folder.wav");
    expected["folder.wav"] = AudioFault::not_regular;
    ASSERT_EQ(::mkfifo((folder / "pipe.wav").c_str(), 0600), 0);
    expected["pipe.wav"] = AudioFault::not_regular;
    fs::create_symlink("nowhere.wav", folder / "dangling.wav");
    expected["dangling.wav"] = AudioFault::unreadable;
    if (::geteuid() != 0) {  // root reads everything
        file("secret.wav", good);
        fs::permissions(folder / "secret.wav", fs::perms::none);
        expected["secret.wav"] = AudioFault::unreadable;
        file("closed/inner.wav", good);
        fs::permissions(folder / "closed", fs::perms::none);
        expected["closed/"] = AudioFault::unreadable;
    }
    file(".hidden.wav", good);
    // Good ones of unusual kinds.
    std::string eight;
    for (int i = 0; i < 20000; ++i)
        for (int c = 0; c < 8; ++c)
            eight += test::little(static_cast<uint16_t>(to_pcm16(sound[static_cast<size_t>((i + 31 * c) % 20000)])), 2);
    file("eight.wav", test::wav_bytes(eight, 16000, 8));
    file("fast.wav", test::wav_bytes(test::pcm16_bytes(test::noise(192000, 0.2, 5)), 192000));

    const ScanReport report = scan(folder.path());
    std::string all;
    for (const FileReport& f : report.files) {
        const auto it = expected.find(f.name);
        EXPECT_EQ(f.fault, it == expected.end() ? AudioFault::none : it->second)
            << f.name << ": " << name_of(f.fault) << ", " << f.reason;
        EXPECT_EQ(f.reason.empty(), f.used()) << f.name;
        expected.erase(f.name);
    }
    for (const auto& [name, fault] : expected) ADD_FAILURE() << name << " is not in the report";
    EXPECT_EQ(report.used_files(), 6u);
    EXPECT_EQ(find(report, "fast.wav").samples, 16000);
    EXPECT_EQ(find(report, "eight.wav").info.channels, 8);
    EXPECT_TRUE(noted(report, "dot"));
    if (::geteuid() != 0) fs::permissions(folder / "closed", fs::perms::all);

    const std::string text = to_text(report);
    for (const FileReport& f : report.files) EXPECT_NE(text.find(f.name), std::string::npos) << f.name;
    const auto json = to_json(report);
    EXPECT_EQ(json["used"], 6);
    EXPECT_EQ(json["skipped"], report.files.size() - 6);
    EXPECT_EQ(json["splits"]["train"]["samples"], report.samples(Split::train));
}

TEST(Scan, GivesExactCountsAndLevels) {
    const TemporaryFolder folder;
    write_audio(folder / "a.wav", test::sine(440, 2.0, 44100, 0.5), 44100);
    write_audio(folder / "b.flac", test::sine(440, 1.0, 16000, 0.25), 16000);
    const ScanReport report = scan(folder.path());
    EXPECT_EQ(find(report, "a.wav").samples, 32000);
    EXPECT_EQ(find(report, "b.flac").samples, 16000);
    EXPECT_NEAR(find(report, "a.wav").peak, 0.5, 1e-3);
    EXPECT_EQ(find(report, "a.wav").info.rate, 44100);
    EXPECT_DOUBLE_EQ(find(report, "a.wav").info.seconds(), 2.0);
    EXPECT_EQ(report.samples(Split::train) + report.samples(Split::valid) + report.samples(Split::test), 48000);
    ScanOptions options;
    options.sample_rate = 8000;
    EXPECT_EQ(find(scan(folder.path(), options), "a.wav").samples, 16000);
}

TEST(Scan, KeepsSplitFolders) {
    const TemporaryFolder folder;
    fill_pieces(folder / "train/sub", 3, "a");
    fill_pieces(folder / "Validation", 2, "b");
    fill_pieces(folder / "test", 1, "c");
    fill_pieces(folder.path(), 1, "stray");
    const ScanReport report = scan(folder.path());
    EXPECT_EQ(files_of(report, Split::train),
              (std::set<std::string>{"train/sub/a0.wav", "train/sub/a1.wav", "train/sub/a2.wav"}));
    EXPECT_EQ(files_of(report, Split::valid), (std::set<std::string>{"Validation/b0.wav", "Validation/b1.wav"}));
    EXPECT_EQ(files_of(report, Split::test), (std::set<std::string>{"test/c0.wav"}));
    EXPECT_EQ(find(report, "stray0.wav").fault, AudioFault::outside_split);
}

TEST(Scan, KeepsTheTestsCopyOfADuplicate) {
    const TemporaryFolder folder;
    fill_pieces(folder / "train", 3, "a");
    fill_pieces(folder / "valid", 1, "b");
    fill_pieces(folder / "test", 1, "c");
    fs::copy_file(folder / "test/c0.wav", folder / "train/copy.wav");
    write_audio(folder / "train/copy.flac", read_audio(folder / "test/c0.wav").samples,
                16000);  // other bytes, same samples
    const ScanReport report = scan(folder.path());
    EXPECT_TRUE(find(report, "test/c0.wav").used());
    EXPECT_EQ(find(report, "train/copy.wav").fault, AudioFault::duplicate);
    EXPECT_EQ(find(report, "train/copy.flac").fault, AudioFault::duplicate);
}

TEST(Scan, FollowsLinksOnce) {
    const TemporaryFolder folder, elsewhere;
    fill_pieces(folder / "music", 3);
    fill_pieces(elsewhere.path(), 1, "far");
    fs::create_directory_symlink(folder.path(), folder / "music/loop");
    fs::create_directory_symlink(elsewhere.path(), folder / "far");
    const ScanReport report = scan(folder.path());
    EXPECT_EQ(report.files.size(), 4u);
    EXPECT_TRUE(find(report, "far/far0.wav").used());
    EXPECT_TRUE(noted(report, "link"));
}

TEST(Scan, ListRestrictsTrainingOnly) {
    const TemporaryFolder folder;
    fill_pieces(folder / "train", 4, "a");
    fill_pieces(folder / "valid", 1, "b");
    fill_pieces(folder / "test", 1, "c");
    test::write_bytes(folder / "list", "train/a0.wav\na2.wav\nmissing.wav\n");
    ScanOptions options;
    options.files = folder / "list";
    const ScanReport report = scan(folder.path(), options);
    EXPECT_EQ(files_of(report, Split::train), (std::set<std::string>{"train/a0.wav", "train/a2.wav"}));
    EXPECT_EQ(files_of(report, Split::valid).size(), 1u);
    EXPECT_EQ(files_of(report, Split::test).size(), 1u);
    EXPECT_EQ(find(report, "train/a1.wav").fault, AudioFault::not_listed);
    EXPECT_TRUE(noted(report, "missing.wav"));
    test::write_bytes(folder / "list", "nothing.wav\n");
    EXPECT_THROW(scan(folder.path(), options), Error);
}

TEST(Scan, DoesNotDependOnThreads) {
    const TemporaryFolder folder;
    fill_pieces(folder.path(), 12);
    ScanOptions one, four;
    one.threads = 1, four.threads = 4;
    EXPECT_EQ(to_json(scan(folder.path(), one)), to_json(scan(folder.path(), four)));
}

TEST(Scan, PrintsHostileNamesHarmlessly) {
    const TemporaryFolder folder;
    test::write_bytes(folder / "evil\x1b[2J\xff\n.wav", "nothing");
    const ScanReport report = scan(folder.path());
    const std::string text = to_text(report);
    EXPECT_EQ(text.find('\x1b'), std::string::npos);
    EXPECT_NE(text.find("evil?[2J??.wav"), std::string::npos) << text;
    EXPECT_NO_THROW(to_json(report).dump());
}

TEST(Scan, RefusesWhatIsNoFolder) {
    const TemporaryFolder folder;
    test::write_bytes(folder / "file", "x");
    EXPECT_THROW(scan(folder / "file"), Error);
    EXPECT_THROW(scan(folder / "missing"), Error);
    ScanOptions options;
    options.sample_rate = 0;
    EXPECT_THROW(scan(folder.path(), options), Error);
}

TEST(Scan, CanBeCancelledAndReportsProgress) {
    const TemporaryFolder folder;
    fill_pieces(folder.path(), 3);
    EXPECT_THROW(scan(folder.path(), {}, [](double, const std::string&) { return false; }), Cancelled);
    int calls = 0;
    scan(folder.path(), {}, [&](double f, const std::string& what) {
        ++calls;
        EXPECT_GE(f, 0);
        EXPECT_LE(f, 1);
        EXPECT_FALSE(what.empty());
        return true;
    });
    EXPECT_GT(calls, 0);
}

TEST(Scan, OfAnEmptyFolderIsEmpty) {
    const TemporaryFolder folder;
    const ScanReport report = scan(folder.path());
    EXPECT_TRUE(report.files.empty());
    EXPECT_NO_THROW(to_text(report));
}

}  // namespace
}  // namespace nigiri
