#include "audio/split.h"

#include <algorithm>

#include "tests/audio/support.h"

namespace nigiri {
namespace {

std::vector<SplitCandidate> recordings(int count, int64_t samples = 100000) {
    std::vector<SplitCandidate> all;
    for (int i = 0; i < count; ++i) all.push_back({"piece" + std::to_string(i) + ".wav", samples + i, std::nullopt});
    return all;
}

int count(const Division& d, Split split) {
    return static_cast<int>(
        std::count_if(d.parts.begin(), d.parts.end(), [&](const Part& p) { return p.split == split; }));
}

// Every sample of every file is in exactly one part.
void expect_partition(const std::vector<SplitCandidate>& files, const Division& d) {
    std::vector<int64_t> reached(files.size(), 0);
    for (const Part& p : d.parts) {
        EXPECT_EQ(p.begin, reached[p.file]) << files[p.file].name;
        EXPECT_GT(p.end, p.begin);
        reached[p.file] = p.end;
    }
    for (size_t i = 0; i < files.size(); ++i) EXPECT_EQ(reached[i], files[i].samples) << files[i].name;
}

TEST(Divide, SetsWholeFilesAside) {
    for (const int n : {3, 4, 8, 20, 50, 100, 1000}) {
        const auto files = recordings(n);
        const Division d = divide(files, 1, 1024);
        const int held = std::max(1, static_cast<int>(std::lround(0.06 * n)));
        EXPECT_EQ(count(d, Split::valid), held) << n;
        EXPECT_EQ(count(d, Split::test), held) << n;
        EXPECT_EQ(count(d, Split::train), n - 2 * held) << n;
        expect_partition(files, d);
    }
}

TEST(Divide, DependsOnTheSeedAndNamesAloneNotOnTheOrder) {
    auto files = recordings(40);
    const auto names = [&](const std::vector<SplitCandidate>& f, uint64_t seed) {
        std::set<std::string> out;
        for (const Part& p : divide(f, seed, 1024).parts)
            if (p.split != Split::train) out.insert(std::string(name_of(p.split)) + f[p.file].name);
        return out;
    };
    const auto first = names(files, 1);
    EXPECT_EQ(names(files, 1), first);
    std::reverse(files.begin(), files.end());
    EXPECT_EQ(names(files, 1), first);
    int different = 0;
    for (uint64_t seed = 2; seed < 12; ++seed) different += names(files, seed) != first;
    EXPECT_GE(different, 9);
    // A new file takes at most its own place.
    files.push_back({"another.wav", 5000, std::nullopt});
    const auto after = names(files, 1);
    std::vector<std::string> gone;
    std::set_difference(first.begin(), first.end(), after.begin(), after.end(), std::back_inserter(gone));
    EXPECT_LE(gone.size(), 2u);
}

TEST(Divide, CutsTheLongestOfFewFiles) {
    for (const int n : {1, 2}) {
        const auto files = recordings(n);
        const Division d = divide(files, 1, 1024);
        expect_partition(files, d);
        EXPECT_EQ(count(d, Split::valid), 1);
        EXPECT_EQ(count(d, Split::test), 1);
        EXPECT_EQ(count(d, Split::train), n);
        ASSERT_EQ(d.notes.size(), 1u);
        for (const Part& p : d.parts) {
            if (p.split == Split::train) continue;
            EXPECT_EQ(p.file, static_cast<size_t>(n - 1)) << "the longest";
            EXPECT_EQ(p.samples(), 6000);
            EXPECT_EQ(p.end, p.split == Split::test ? files[p.file].samples : files[p.file].samples - 6000);
        }
    }
    const Division tiny = divide(recordings(1, 10000), 1, 1024);
    EXPECT_EQ(tiny.parts.size(), 1u) << "600 samples are less than 1024";
    EXPECT_EQ(tiny.notes.size(), 1u);
}

TEST(Divide, LeavesFilesInTheirFolders) {
    auto files = recordings(10);
    for (size_t i = 0; i < files.size(); ++i)
        files[i].folder = i < 7 ? Split::train : i < 9 ? Split::valid : Split::test;
    const Division d = divide(files, 1, 1024);
    expect_partition(files, d);
    EXPECT_TRUE(d.notes.empty());
    for (const Part& p : d.parts) EXPECT_EQ(p.split, *files[p.file].folder);
}

TEST(Divide, FillsAMissingFolderFromTraining) {
    auto files = recordings(10);
    for (size_t i = 0; i < files.size(); ++i) files[i].folder = i < 8 ? Split::train : Split::test;
    const Division d = divide(files, 1, 1024);
    expect_partition(files, d);
    EXPECT_EQ(count(d, Split::train), 7);
    EXPECT_EQ(count(d, Split::valid), 1);
    EXPECT_EQ(count(d, Split::test), 2);
    for (const Part& p : d.parts) EXPECT_TRUE(files[p.file].folder != Split::test || p.split == Split::test);
    EXPECT_EQ(d.notes.size(), 1u);
    // One training file: a piece of it.
    std::vector<SplitCandidate> two = {files[0], files[9]};
    const Division e = divide(two, 1, 1024);
    expect_partition(two, e);
    EXPECT_EQ(count(e, Split::valid), 1);
    EXPECT_EQ(count(e, Split::test), 1);
}

TEST(Divide, OfNothingIsNothing) { EXPECT_TRUE(divide({}, 1, 1024).parts.empty()); }

TEST(FileList, ReadsNamesAndNothingElse) {
    const test::TemporaryFolder folder;
    test::write_bytes(folder / "list.txt",
                      "\xEF\xBB\xBF# heading\r\n\r\n train/a b.flac \r\n./c.wav # why\n\n  \nd.ogg");
    EXPECT_EQ(read_file_list(folder / "list.txt"), (std::set<std::string>{"train/a b.flac", "c.wav", "d.ogg"}));
    test::write_bytes(folder / "none.txt", "# nothing\n");
    EXPECT_THROW(read_file_list(folder / "none.txt"), Error);
    test::write_bytes(folder / "binary", std::string("RIFF\0\0", 6));
    EXPECT_THROW(read_file_list(folder / "binary"), Error);
    EXPECT_THROW(read_file_list(folder / "missing.txt"), Error);
    EXPECT_THROW(read_file_list(folder.path()), Error);
}

TEST(Split, NamesAreParsedBack) {
    for (const Split s : all_splits) EXPECT_EQ(parse_split(name_of(s)), s);
    EXPECT_EQ(parse_split("Validation"), Split::valid);
    EXPECT_THROW(parse_split("dev set"), Error);
}

}  // namespace
}  // namespace nigiri
