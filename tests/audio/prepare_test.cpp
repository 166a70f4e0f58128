#include "audio/prepare.h"

#include <functional>
#include <nlohmann/json.hpp>
#include <set>

#include "audio/dataset.h"
#include "tests/audio/support.h"
#include "tests/support/check.h"

namespace nigiri {
namespace {

namespace fs = std::filesystem;
using test::TemporaryFolder;

void fill(const fs::path& folder, int count, uint64_t seed = 1) {
    fs::create_directories(folder);
    for (int i = 0; i < count; ++i)
        write_audio(folder / ("piece" + std::to_string(i) + ".wav"),
                    test::noise(static_cast<size_t>(53000 + 100 * i), 0.1, seed * 100 + static_cast<uint64_t>(i)),
                    44100);
}

// The codes of every split by the order of their content, so that names do not matter.
std::multiset<std::string> codes_of(const Dataset& data, Split split) {
    std::multiset<std::string> all;
    for (const Recording& r : data.recordings(split)) all.emplace(r.codes.begin(), r.codes.end());
    return all;
}

void expect_same_codes(const fs::path& raw, const fs::path& prepared) {
    const Dataset a = Dataset::load(raw), b = Dataset::load(prepared);
    EXPECT_FALSE(a.report().prepared);
    EXPECT_TRUE(b.report().prepared);
    for (const Split split : all_splits) EXPECT_TRUE(codes_of(a, split) == codes_of(b, split)) << name_of(split);
}

TEST(Prepare, GivesTheCodesOfTheRawFolder) {
    for (const int count : {1, 2, 5, 20}) {
        const TemporaryFolder folder;
        fill(folder / "raw", count);
        test::write_bytes(folder / "raw/notes.txt", "text");
        const PrepareReport report = prepare(folder / "raw", folder / "data");
        EXPECT_EQ(report.written, count < 3 ? count + 2 : count);
        EXPECT_EQ(report.kept, 0);
        expect_same_codes(folder / "raw", folder / "data");
    }
}

TEST(Prepare, KeepsSplitFoldersAndNamesApart) {
    const TemporaryFolder folder;
    fill(folder / "raw/train", 2, 1);
    fill(folder / "raw/train/sub", 2, 2);
    fill(folder / "raw/valid", 2, 3);
    fill(folder / "raw/test", 2, 4);
    write_audio(folder / "raw/train/piece0.flac", test::noise(20000, 0.1, 77),
                16000);  // differs from piece0.wav by its ending alone
    write_audio(folder / "raw/train/Piece0.wav", test::noise(20000, 0.1, 78), 16000);  // and by its case
    const auto before = test::snapshot(folder / "raw");
    prepare(folder / "raw", folder / "data");
    EXPECT_EQ(test::snapshot(folder / "raw"), before) << "the source is not touched";
    expect_same_codes(folder / "raw", folder / "data");
    EXPECT_EQ(test::snapshot(folder / "data").size(), 3u + 1 + 10) << "three folders, a manifest, ten recordings";
}

TEST(Prepare, TwiceIsOnce) {
    for (const int count : {2, 6}) {
        const TemporaryFolder folder;
        fill(folder / "raw", count);
        prepare(folder / "raw", folder / "data");
        const auto before = test::snapshot(folder / "data");
        const PrepareReport again = prepare(folder / "raw", folder / "data");
        EXPECT_EQ(test::snapshot(folder / "data"), before);
        if (count == 6) {
            EXPECT_EQ(again.written, 0);
            EXPECT_EQ(again.kept, 6);
        }
        EXPECT_EQ(again.scan.used_files(), static_cast<size_t>(count));
    }
}

TEST(Prepare, FollowsChangesOfTheSource) {
    const TemporaryFolder folder;
    fill(folder / "raw", 2);  // cut into pieces
    prepare(folder / "raw", folder / "data");
    fill(folder / "raw/more", 6, 2);  // now whole files are set aside
    prepare(folder / "raw", folder / "data");
    expect_same_codes(folder / "raw", folder / "data");
    write_audio(folder / "raw/piece0.wav", test::noise(30000, 0.1, 1234), 16000);
    const PrepareReport changed = prepare(folder / "raw", folder / "data");
    EXPECT_EQ(changed.written, 1);
    EXPECT_EQ(changed.kept, 7);
    expect_same_codes(folder / "raw", folder / "data");
    ScanOptions options;
    options.seed = 5;  // another division of the same files: moved, not converted
    const PrepareReport moved = prepare(folder / "raw", folder / "data", options);
    EXPECT_EQ(moved.written, 0);
    const Dataset a = Dataset::load(folder / "raw", {.seed = 5}), b = Dataset::load(folder / "data");
    for (const Split split : all_splits) EXPECT_TRUE(codes_of(a, split) == codes_of(b, split)) << name_of(split);
    fs::remove(folder / "raw/piece1.wav");
    const PrepareReport fewer = prepare(folder / "raw", folder / "data", options);
    EXPECT_EQ(fewer.scan.used_files(), 7u);
    EXPECT_EQ(Dataset::load(folder / "data").report().used_files(), 7u);
}

TEST(Prepare, NeverTouchesWhatIsNotItsOwn) {
    const TemporaryFolder folder;
    fill(folder / "raw", 5);
    // A folder of the user's.
    test::write_bytes(folder / "mine/letter.txt", "dear");
    EXPECT_THROW(prepare(folder / "raw", folder / "mine"), Error);
    EXPECT_EQ(test::snapshot(folder / "mine"), (std::map<std::string, std::string>{{"letter.txt", "dear"}}));
    test::write_bytes(folder / "foreign/manifest.json", "{\"format\":\"something else\"}");
    EXPECT_THROW(prepare(folder / "raw", folder / "foreign"), Error);
    // A file.
    test::write_bytes(folder / "file", "x");
    EXPECT_THROW(prepare(folder / "raw", folder / "file"), Error);
    EXPECT_EQ(test::bytes_of(folder / "file"), "x");
    // Inside or around the source, by whatever name.
    const auto raw = test::snapshot(folder / "raw");
    EXPECT_THROW(prepare(folder / "raw", folder / "raw"), Error);
    EXPECT_THROW(prepare(folder / "raw", folder / "raw/data"), Error);
    EXPECT_THROW(prepare(folder / "raw", folder / "mine/../raw/./data"), Error);
    EXPECT_THROW(prepare(folder / "raw", folder.path()), Error);
    fs::create_directory_symlink(folder / "raw", folder / "link");
    EXPECT_THROW(prepare(folder / "raw", folder / "link/data"), Error);
    EXPECT_EQ(test::snapshot(folder / "raw"), raw);
    // Data of another source.
    prepare(folder / "raw", folder / "data");
    fill(folder / "other", 5, 9);
    const auto data = test::snapshot(folder / "data");
    EXPECT_THROW(prepare(folder / "other", folder / "data"), Error);
    EXPECT_THROW(prepare(folder / "data", folder / "again"), Error) << "prepared already";
    EXPECT_EQ(test::snapshot(folder / "data"), data);
    EXPECT_FALSE(fs::exists(folder / "again"));
}

TEST(Prepare, LeavesFilesTheUserPutBesideItsOwn) {
    const TemporaryFolder folder;
    fill(folder / "raw", 5);
    prepare(folder / "raw", folder / "data");
    test::write_bytes(folder / "data/train/new.flac", "mine");
    test::write_bytes(folder / "data/valid/new.flac", "mine too");
    write_audio(folder / "raw/new.wav", test::noise(30000, 0.1, 4321), 16000);
    prepare(folder / "raw", folder / "data");
    EXPECT_EQ(test::bytes_of(folder / "data/train/new.flac"), "mine");
    EXPECT_EQ(test::bytes_of(folder / "data/valid/new.flac"), "mine too");
    const Dataset data = Dataset::load(folder / "data");
    EXPECT_EQ(data.report().used_files(), 6u);
    EXPECT_FALSE(data.report().notes.empty());
}

TEST(Prepare, LeavesNothingBehindWhenItFails) {
    const TemporaryFolder folder;
    fill(folder / "raw", 4);
    EXPECT_THROW(prepare(folder / "raw", folder / "data", {}, [](double, const std::string&) { return false; }),
                 Cancelled);
    EXPECT_FALSE(fs::exists(folder / "data"));
    test::write_bytes(folder / "nothing/a.txt", "x");
    EXPECT_THROW(prepare(folder / "nothing", folder / "data"), Error);
    EXPECT_FALSE(fs::exists(folder / "data"));
    EXPECT_THROW(prepare(folder / "missing", folder / "data"), Error);
    // Cancelled at the last moment, over existing data.
    prepare(folder / "raw", folder / "data");
    const auto before = test::snapshot(folder / "data");
    fill(folder / "raw/more", 2, 8);
    EXPECT_THROW(prepare(folder / "raw", folder / "data", {}, [](double f, const std::string&) { return f < 0.98; }),
                 Cancelled);
    EXPECT_EQ(test::snapshot(folder / "data"), before);
}

TEST(Prepare, RepeatsWhatWasInterrupted) {
    const TemporaryFolder folder;
    fill(folder / "raw", 4);
    prepare(folder / "raw", folder / "data");
    const auto before = test::snapshot(folder / "data");
    // As a call that is killed between its moves leaves it.
    auto manifest = nlohmann::json::parse(before.at("manifest.json"));
    manifest["complete"] = false;
    test::write_bytes(folder / "data/manifest.json", manifest.dump());
    fs::remove((folder / "data") / manifest["files"][0]["file"].get<std::string>());
    test::write_bytes(folder / "data/.nigiri-incoming/0.flac", "half");
    EXPECT_THROW(Dataset::load(folder / "data"), Error);
    prepare(folder / "raw", folder / "data");
    EXPECT_EQ(test::snapshot(folder / "data"), before);
    // A first call killed while it read.
    test::write_bytes(folder / "fresh/.nigiri-incoming/0.flac", "half");
    prepare(folder / "raw", folder / "fresh");
    expect_same_codes(folder / "raw", folder / "fresh");
}

TEST(Prepare, NoticesChangedPreparedFiles) {
    const TemporaryFolder folder;
    fill(folder / "raw", 8);
    prepare(folder / "raw", folder / "data");
    std::vector<fs::path> files;
    for (const auto& e : fs::directory_iterator(folder / "data/train")) files.push_back(e.path());
    write_audio(files[0], test::noise(20000, 0.1, 55), 16000);
    fs::remove(files[1]);
    const Dataset data = Dataset::load(folder / "data");
    int damaged = 0, missing = 0;
    for (const FileReport& f : data.report().files)
        damaged += f.fault == AudioFault::damaged, missing += f.fault == AudioFault::unreadable;
    EXPECT_EQ(damaged, 1);
    EXPECT_EQ(missing, 1);
    EXPECT_EQ(data.report().used_files(), 6u);
}

TEST(Prepare, RefusesHostileManifests) {
    const TemporaryFolder folder;
    fill(folder / "raw", 4);
    prepare(folder / "raw", folder / "data");
    const std::string good = test::bytes_of(folder / "data/manifest.json");
    const auto with = [&](const std::function<void(nlohmann::json&)>& change) {
        auto j = nlohmann::json::parse(good);
        change(j);
        test::write_bytes(folder / "data/manifest.json", j.dump());
    };
    for (const char* file :
         {"../raw/piece0.wav", "/etc/passwd", "train/../../raw/piece0.flac", "train/", "valid/x.flac", "train/.x"}) {
        with([&](auto& j) { j["files"][0]["split"] = "train", j["files"][0]["file"] = file; });
        EXPECT_THROW(Dataset::load(folder / "data"), Error) << file;
    }
    with([](auto& j) { j["version"] = 99; });
    EXPECT_THROW(Dataset::load(folder / "data"), Error);
    with([](auto& j) { j["files"][0].erase("hash"); });
    EXPECT_THROW(Dataset::load(folder / "data"), Error);
    with([](auto& j) { j["files"][0]["hash"] = "no number"; });
    EXPECT_THROW(Dataset::load(folder / "data"), Error);
    with([](auto& j) { j["files"][0]["end"] = -5; });
    EXPECT_THROW(Dataset::load(folder / "data"), Error);
    with([](auto& j) { j["files"] = 7; });
    EXPECT_THROW(Dataset::load(folder / "data"), Error);
    with([](auto& j) { j["sample_rate"] = 0; });
    EXPECT_THROW(Dataset::load(folder / "data"), Error);
    // No manifest at all: a raw folder like any other.
    test::write_bytes(folder / "data/manifest.json", good.substr(0, good.size() / 2));
    EXPECT_FALSE(Dataset::load(folder / "data").report().prepared);
}

TEST(Prepare, SurvivesDifficultNames) {
    const TemporaryFolder folder;
    int i = 0;
    for (const std::string& name :
         {std::string("\xff\xfe.wav"), std::string("new\nline.wav"), std::string("a:b*c?.wav"), std::string("-rf.wav"),
          std::string(200, 'x') + "1.wav", std::string(200, 'x') + "2.wav", std::string("\xE5\x9B\x9B.wav"),
          std::string("con.tar.wav")}) {
        fs::create_directories(folder / "raw");
        write_audio(folder / "raw" / fs::path(name), test::noise(20000, 0.1, static_cast<uint64_t>(++i)), 16000);
    }
    const PrepareReport report = prepare(folder / "raw", folder / "data");
    EXPECT_EQ(report.written, 8);
    expect_same_codes(folder / "raw", folder / "data");
    EXPECT_EQ(prepare(folder / "raw", folder / "data").written, 0);
}

}  // namespace
}  // namespace nigiri
