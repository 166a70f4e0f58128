// Listening tests: p-values, orders, secrecy, files.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "app/compare/binomial.h"
#include "app/compare/blind_test.h"
#include "kernels/error.h"
#include "tests/support/temporary_folder.h"

namespace nigiri::app {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

BlindTestSetup setup(BlindKind kind, int trials, uint64_t seed = 1, int clips = 3) {
    return {kind, trials, seed, {"S4", "S6"}, clips};
}

std::string text_of(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

TEST(Binomial, HasTheTailsOfHand) {
    EXPECT_DOUBLE_EQ(binomial_upper_tail(10, 10), 1.0 / 1024);
    EXPECT_DOUBLE_EQ(binomial_upper_tail(9, 10), 11.0 / 1024);
    EXPECT_DOUBLE_EQ(binomial_upper_tail(8, 10), 56.0 / 1024);  // 45 + 10 + 1
    EXPECT_DOUBLE_EQ(binomial_upper_tail(0, 10), 1);
    EXPECT_DOUBLE_EQ(binomial_upper_tail(5, 5), 1.0 / 32);
    EXPECT_DOUBLE_EQ(binomial_upper_tail(0, 0), 1);
    EXPECT_NEAR(binomial_upper_tail(15, 20), 21700.0 / 1048576, 1e-15);  // 15504 + 4845 + 1140 + 190 + 20 + 1
    EXPECT_NEAR(binomial_upper_tail(60, 100), 0.028443966820490395, 1e-13);
    EXPECT_DOUBLE_EQ(binomial_upper_tail(1000, 1000), std::ldexp(1.0, -1000));
    EXPECT_NEAR(binomial_upper_tail(500, 1000) + binomial_upper_tail(501, 1000), 1, 1e-12) << "symmetry";
    EXPECT_DOUBLE_EQ(binomial_two_sided(8, 10), 112.0 / 1024);
    EXPECT_DOUBLE_EQ(binomial_two_sided(2, 10), 112.0 / 1024);
    EXPECT_DOUBLE_EQ(binomial_two_sided(5, 10), 1);
    EXPECT_DOUBLE_EQ(binomial_two_sided(1, 1), 1);
    for (const auto& [k, n] : {std::pair(-1, 5), std::pair(6, 5), std::pair(0, -1), std::pair(0, 1001)})
        EXPECT_THROW(binomial_upper_tail(k, n), Error);
}

// Goes through a whole test with answers made from the trial.
template <class Choose>
void answer_all(BlindTest& test, Choose&& choose) {
    while (!test.finished()) test.answer(choose(test.current()), 1.5);
}

std::vector<BlindTrial> order_of(const BlindTestSetup& s) {
    BlindTest test(s);
    std::vector<BlindTrial> order;
    answer_all(test, [&](const BlindTrial& t) { return order.push_back(t), 0; });
    return order;
}

TEST(BlindTest, JudgesAbx) {
    BlindTest right(setup(BlindKind::abx, 10));
    answer_all(right, [](const BlindTrial& t) { return t.x; });
    ASSERT_TRUE(right.result());
    EXPECT_EQ(right.result()->successes, 10);
    EXPECT_DOUBLE_EQ(right.result()->p_value, 1.0 / 1024);
    BlindTest wrong(setup(BlindKind::abx, 10));
    answer_all(wrong, [](const BlindTrial& t) { return 1 - t.x; });
    EXPECT_EQ(wrong.result()->successes, 0);
    EXPECT_DOUBLE_EQ(wrong.result()->p_value, 1) << "one-sided: only right answers prove hearing";
    BlindTest eight(setup(BlindKind::abx, 10));
    int i = 0;
    answer_all(eight, [&](const BlindTrial& t) { return ++i <= 8 ? t.x : 1 - t.x; });
    EXPECT_DOUBLE_EQ(eight.result()->p_value, 56.0 / 1024);
}

TEST(BlindTest, JudgesPreferenceBothWays) {
    for (const int liked : {0, 1}) {
        BlindTest test(setup(BlindKind::preference, 8));
        answer_all(test, [&](const BlindTrial& t) { return t.first == liked ? 0 : 1; });
        EXPECT_EQ(test.result()->successes, liked == 0 ? 8 : 0) << "answers for model 0";
        EXPECT_DOUBLE_EQ(test.result()->p_value, 2.0 / 256);
    }
    // Who always takes the first sound has no preference.
    BlindTest habit(setup(BlindKind::preference, 10));
    answer_all(habit, [](const BlindTrial&) { return 0; });
    EXPECT_EQ(habit.result()->successes, 5);
    EXPECT_DOUBLE_EQ(habit.result()->p_value, 1);
}

TEST(BlindTest, BalancesAndRepeatsItsOrder) {
    for (const int trials : {1, 10, 11, 37})
        for (uint64_t seed = 0; seed < 20; ++seed) {
            const auto order = order_of(setup(BlindKind::preference, trials, seed));
            int first = 0;
            std::array<int, 3> clips{};
            for (const BlindTrial& t : order) {
                EXPECT_EQ(t.first + t.second, 1);
                first += t.first;
                ++clips.at(static_cast<size_t>(t.clip));
            }
            EXPECT_LE(std::abs(trials - 2 * first), trials % 2) << trials << " seed " << seed;
            EXPECT_LE(*std::max_element(clips.begin(), clips.end()) - *std::min_element(clips.begin(), clips.end()), 1);
        }
    const auto same = [](const std::vector<BlindTrial>& a, const std::vector<BlindTrial>& b) {
        return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const BlindTrial& s, const BlindTrial& t) {
            return s.clip == t.clip && s.x == t.x && s.first == t.first && s.second == t.second;
        });
    };
    for (const BlindKind kind : {BlindKind::abx, BlindKind::preference}) {
        EXPECT_TRUE(same(order_of(setup(kind, 30, 5)), order_of(setup(kind, 30, 5))));
        EXPECT_FALSE(same(order_of(setup(kind, 30, 5)), order_of(setup(kind, 30, 6))));
    }
}

TEST(BlindTest, TossesAFairCoinForEveryX) {
    // 300 tests of 20: 6000 coins, standard deviation of the share 0.0065; and the numbers of heads in a test vary as
    // those of independent coins do (variance 5, known to 0.4), which a balanced order's would not.
    double heads = 0, square = 0;
    for (uint64_t seed = 0; seed < 300; ++seed) {
        double n = 0;
        for (const BlindTrial& t : order_of(setup(BlindKind::abx, 20, seed))) n += t.x;
        heads += n;
        square += (n - 10) * (n - 10);
    }
    EXPECT_NEAR(heads / 6000, 0.5, 0.03);
    EXPECT_NEAR(square / 300, 5, 2);
}

TEST(BlindTest, RevealsNothingBeforeItsEnd) {
    test::TemporaryFolder folder;
    for (const BlindKind kind : {BlindKind::abx, BlindKind::preference}) {
        BlindTest test(setup(kind, 5));
        for (int i = 0; i < 5; ++i) {
            EXPECT_FALSE(test.result());
            EXPECT_FALSE(test.finished());
            const json j = test.to_json();
            EXPECT_EQ(j["finished"], false);
            EXPECT_EQ(j["answered"], i);
            for (const std::string key : {"p_value", "correct", "preferred_first_model"}) EXPECT_FALSE(j.contains(key));
            for (const json& a : j["answers"])
                for (const std::string key : {"x", "correct", "first", "second", "preferred"})
                    EXPECT_FALSE(a.contains(key)) << key;
            EXPECT_EQ(test.to_csv().find("S4"), std::string::npos);
            EXPECT_EQ(test.to_csv().find("S6"), std::string::npos);
            EXPECT_EQ(test.to_csv().find("correct"), std::string::npos);
            test.answer(i % 2, 2.5);
        }
        EXPECT_TRUE(test.finished());
        EXPECT_TRUE(test.result());
        const json j = test.to_json();
        EXPECT_EQ(j["finished"], true);
        EXPECT_EQ(j["p_value"], test.result()->p_value);
        EXPECT_EQ(j["answers"].size(), 5u);
        EXPECT_TRUE(j["answers"][0].contains(kind == BlindKind::abx ? "correct" : "preferred"));
        EXPECT_THROW(test.current(), Error);
        EXPECT_THROW(test.answer(0), Error) << "no trial more, however near the result";
    }
}

TEST(BlindTest, GoesOnWhereItWasSaved) {
    test::TemporaryFolder folder;
    const fs::path path = folder.path() / "test.json";
    for (const BlindKind kind : {BlindKind::abx, BlindKind::preference}) {
        BlindTest whole(setup(kind, 12, 1ull << 63, 4)), half(setup(kind, 12, 1ull << 63, 4));
        for (int i = 0; i < 7; ++i) whole.answer(i % 3 == 0, 0.25 * i), half.answer(i % 3 == 0, 0.25 * i);
        half.save_json(path);
        BlindTest again = BlindTest::load(path);
        EXPECT_EQ(again.answered(), 7);
        EXPECT_FALSE(again.result());
        for (int i = 7; i < 12; ++i) whole.answer(1), again.answer(1);
        EXPECT_EQ(again.to_json(), whole.to_json());
        again.save_json(path);
        EXPECT_EQ(BlindTest::load(path).result()->p_value, whole.result()->p_value);
    }
    EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 1) << "no temporary file is left";
}

TEST(BlindTest, RefusesWhatItDidNotWrite) {
    test::TemporaryFolder folder;
    BlindTest test(setup(BlindKind::abx, 4));
    test.answer(1);
    const json good = test.to_json();
    EXPECT_NO_THROW(BlindTest::from_json(good));
    const auto refuses = [&](const std::string& pointer, const json& value) {
        json bad = good;
        bad[json::json_pointer(pointer)] = value;
        EXPECT_THROW(BlindTest::from_json(bad), Error) << pointer << " " << value;
    };
    refuses("/test", "abc");
    refuses("/test", 1);
    refuses("/trials", 0);
    refuses("/trials", 1e300);
    refuses("/trials", 18446744073709551615ull);
    refuses("/clips", -1);
    refuses("/seed", -1);
    refuses("/models", json::array({"one"}));
    refuses("/answers", 7);
    refuses("/answers/0/answer", 2);
    refuses("/answers/0/answer", "A");
    refuses("/answers/0/clip", 99);
    json more = good;
    for (int i = 0; i < 9; ++i) more["answers"].push_back(good["answers"][0]);
    EXPECT_THROW(BlindTest::from_json(more), Error);
    EXPECT_THROW(BlindTest::from_json(json::array()), Error);
    EXPECT_THROW(BlindTest::load(folder.path() / "none.json"), Error);
    std::ofstream(folder.path() / "text.json") << "{\"test\": ";
    EXPECT_THROW(BlindTest::load(folder.path() / "text.json"), Error);
    EXPECT_THROW(BlindTest(setup(BlindKind::abx, 0)), Error);
    EXPECT_THROW(BlindTest(setup(BlindKind::abx, 1001)), Error);
    EXPECT_THROW(BlindTest(setup(BlindKind::abx, 5, 1, 0)), Error);
    EXPECT_THROW(test.answer(2), Error);
    EXPECT_THROW(test.save_json(folder.path() / "no-folder" / "x.json"), Error);
}

TEST(BlindTest, WritesCsvThatSpreadsheetsRead) {
    BlindTestSetup s = setup(BlindKind::preference, 2, 3, 1);
    s.models = {"a, \"b\"\nc", "=1+1"};
    BlindTest test(s);
    answer_all(test, [](const BlindTrial&) { return 1; });
    const std::string csv = test.to_csv();
    EXPECT_TRUE(csv.starts_with("test,trial,clip,answer,seconds,first,second,preferred\r\n"));
    const std::string a = "\"a, \"\"b\"\"\nc\"", b = "'=1+1";
    // Two trials: each model comes first once.
    for (const std::string& line :
         {"second,1.5," + a + "," + b + "," + b + "\r\n", "second,1.5," + b + "," + a + "," + a + "\r\n"})
        EXPECT_NE(csv.find(line), std::string::npos) << csv;
    EXPECT_EQ(csv_field("plain"), "plain");
    EXPECT_EQ(csv_field(""), "");
    EXPECT_EQ(csv_field("-5"), "'-5");
    EXPECT_EQ(csv_field("a\"b"), "\"a\"\"b\"");
    EXPECT_EQ(csv_field("a\rb"), "\"a\rb\"");
    test::TemporaryFolder folder;
    test.save_csv(folder.path() / "t.csv");
    EXPECT_EQ(text_of(folder.path() / "t.csv"), csv);
    BlindTest abx(setup(BlindKind::abx, 1));
    abx.answer(abx.current().x);
    EXPECT_NE(abx.to_csv().find(",1\r\n"), std::string::npos);
}

}  // namespace
}  // namespace nigiri::app
