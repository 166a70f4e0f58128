// Lists that are read from a disk beside the window: what they find, and that nobody waits for them.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <thread>

#include "app/studio/sessions/comparison_session.h"
#include "app/studio/sessions/model_list.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/wait.h"

namespace nigiri::studio {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using test::soon;

// A disk that answers when the test lets it.
class SlowDisk {
  public:
    int read(int what) {
        ++asked;
        while (!open) std::this_thread::sleep_for(1ms);
        ++answered;
        return 10 * what + answers;
    }

    std::atomic<bool> open{true};
    std::atomic<int> answers{0}, asked{0}, answered{0};
};

TEST(StudioLists, ASlowDiskNeverMakesTheWindowWait) {
    SlowDisk disk;
    std::atomic<int> wakes{0};
    Refreshed<int, int> list([&] { ++wakes; }, [&](int what) { return disk.read(what); });
    EXPECT_EQ(list.value(), 0);
    ASSERT_TRUE(soon([&] {
        list.want(1);
        return list.value() == 10;
    }));
    EXPECT_TRUE(soon([&] { return wakes == 1; })) << "the window looks when there is something new";

    // The disk hangs: a thousand frames pass, and show what was read last. The disk is let go only after them, so that
    // a frame that waited for it would never end.
    disk.open = false;
    disk.answers = 5;
    list.refresh();
    for (int frame = 0; frame < 1000; ++frame) {
        list.want(1);
        ASSERT_EQ(list.value(), 10);
    }
    ASSERT_TRUE(soon([&] { return disk.asked == 2; }));
    for (int frame = 0; frame < 1000; ++frame) {
        list.refresh();
        list.want(2);  // somewhere else by now
    }
    EXPECT_EQ(disk.asked, 2) << "one reading at a time";
    EXPECT_EQ(disk.answered, 1);
    disk.open = true;
    EXPECT_TRUE(soon([&] {
        list.want(2);
        return list.value() == 25;
    })) << "and then what is wanted now";
    EXPECT_EQ(disk.asked, 3);
    // Nothing new is wanted: not read again with every frame.
    for (int frame = 0; frame < 100; ++frame) list.want(2);
    std::this_thread::sleep_for(20ms);
    list.want(2);
    EXPECT_EQ(disk.asked, 3);
}

TEST(StudioLists, AReadingThatFailsLeavesWhatThereWas) {
    std::atomic<int> readings{0};
    Refreshed<int, int> list({}, [&](int what) {
        if (++readings == 2) throw Error("the disk is gone");
        return what;
    });
    ASSERT_TRUE(soon([&] {
        list.want(7);
        return list.value() == 7;
    }));
    ASSERT_TRUE(soon([&] {
        list.want(8);
        return readings == 2;
    }));
    EXPECT_EQ(list.value(), 7);
    list.refresh();
    EXPECT_TRUE(soon([&] {
        list.want(8);
        return list.value() == 8;
    })) << "the next one is tried all the same";
}

std::vector<std::string> labels(const std::vector<ModelEntry>& models) {
    std::vector<std::string> all;
    for (const ModelEntry& m : models) all.push_back(m.label);
    return all;
}

void touch(const fs::path& file) {
    fs::create_directories(file.parent_path());
    std::ofstream(file) << "x";
}

TEST(StudioLists, ModelsAppearAsTheyAreTrained) {
    const test::TemporaryFolder folder;
    ModelPlaces places{.runs = folder / "runs",
                       .shipped = folder / "shipped",
                       .recent = {folder / "mine.safetensors", folder / "gone"}};
    touch(folder / "shipped" / "b.safetensors");
    touch(folder / "shipped" / "a.safetensors");
    touch(folder / "shipped" / "notes.txt");
    touch(folder / "mine.safetensors");
    fs::create_directories(folder / "runs" / "only begun");
    ModelList list({}, list_models);
    const auto shows = [&](const std::vector<std::string>& expected) {
        return soon([&] {
            list.want(places);
            return labels(list.value()) == expected;
        });
    };
    EXPECT_TRUE(shows({"mine.safetensors", "a (comes with Nigiri)", "b (comes with Nigiri)"}));

    touch(folder / "runs" / "first" / "checkpoints" / "last.safetensors");
    fs::last_write_time(folder / "runs" / "first" / "checkpoints" / "last.safetensors",
                        fs::file_time_type::clock::now() - 60s);
    touch(folder / "runs" / "second" / "checkpoints" / "last.safetensors");
    list.refresh();
    const std::vector<std::string> all = {"second (trained here)", "first (trained here)", "mine.safetensors",
                                          "a (comes with Nigiri)", "b (comes with Nigiri)"};
    EXPECT_TRUE(shows(all));
    EXPECT_EQ(list.value()[0].path, folder / "runs" / "second");

    // Two files of one name can be told apart.
    touch(folder / "other" / "mine.safetensors");
    places.recent.push_back(folder / "other" / "mine.safetensors");
    EXPECT_TRUE(shows({all[0], all[1], all[2], all[2] + ", in " + (folder / "other").string(), all[3], all[4]}));

    places.recent.clear();
    EXPECT_TRUE(shows({all[0], all[1], all[3], all[4]})) << "other places are looked at at once";
    places.runs = folder / "nowhere";
    EXPECT_TRUE(shows({all[3], all[4]}));
}

TEST(StudioLists, ComparisonsAppearLatestFirst) {
    const test::TemporaryFolder folder;
    ComparisonList list({}, list_comparisons);
    fs::create_directories(folder / "2026-01-01");  // made, but nothing in it
    for (const char* name : {"2026-01-02", "2026-01-03"}) {
        const fs::path report = app::report_files(folder / name).json;
        touch(report);
    }
    EXPECT_TRUE(soon([&] {
        list.want(folder.path());
        return list.value() == std::vector<fs::path>{folder / "2026-01-03", folder / "2026-01-02"};
    }));
}

}  // namespace
}  // namespace nigiri::studio
