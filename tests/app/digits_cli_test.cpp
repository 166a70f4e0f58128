// nigiri digits from end to end: data, a model, a classifier, scores.
#include "tests/app/cli.h"
#include "tests/app/digits.h"

namespace nigiri {
namespace {

class DigitsCli : public Cli {
  protected:
    void SetUp() override {
        for (const auto& [split, count] : {std::pair("train", 3), std::pair("valid", 1), std::pair("test", 2)})
            test::make_digits(at("digits"), split, count, test::seed());
    }
    Arguments classifier_arguments(const std::string& output) const {
        return {"digits",     "train-classifier",
                "--data",     text("digits"),
                "-o",         text(output),
                "--epochs",   "2",
                "--width",    "8",
                "--layers",   "1",
                "--features", "4",
                "--batch",    "10",
                "--threads",  "1",
                "--licence",  "CC0"};
    }
};

TEST_F(DigitsCli, GoesFromRecordingsToScores) {
    const json prepared = ask({"digits", "prepare", text("digits"), "-o", text("seconds")});
    EXPECT_EQ(prepared["train"], 30);
    EXPECT_EQ(prepared["test"], 20);
    Arguments train = train_arguments("run", 3);
    *std::find(train.begin(), train.end(), text("audio")) = text("seconds");
    *std::find(train.begin(), train.end(), "256") = "16000";
    const auto trained = nigiri(train);
    ASSERT_EQ(trained.code, 0) << trained.err;

    const json classifier = ask(classifier_arguments("c.safetensors"));
    EXPECT_EQ(classifier["steps"], 6);
    EXPECT_TRUE(classifier["test_accuracy"].is_number());
    EXPECT_TRUE(fs::exists(at("c.safetensors")));

    const Arguments score = {"digits",
                             "score",
                             text("run"),
                             "--data",
                             text("seconds"),
                             "--classifier",
                             text("c.safetensors"),
                             "-o",
                             text("report"),
                             "--count",
                             "6",
                             "--batch",
                             "4",
                             "--seed",
                             "2",
                             "--threads",
                             "1"};
    const json shown = ask(score);
    EXPECT_EQ(shown["complete"], true);
    ASSERT_EQ(shown["rows"].size(), 5u);
    EXPECT_EQ(shown["rows"][4]["name"], "run");
    EXPECT_EQ(shown["rows"][4]["made"], 6);
    EXPECT_EQ(shown["rows"][4]["scored"], 3);
    EXPECT_EQ(shown["protocol"]["seed"], 2);
    std::ifstream in(at("report/report.json"));
    const json written = json::parse(in);
    EXPECT_EQ(written["rows"], shown["rows"]);
    EXPECT_TRUE(fs::exists(at("report/report.html")));
    EXPECT_TRUE(fs::exists(at("report/report.md")));

    expect_error(score, 1, "exists already");
    // With --replace the clips are read, not made again, and the numbers are the same.
    Arguments again = score;
    again.push_back("--replace");
    EXPECT_EQ(ask(again)["rows"], shown["rows"]);
}

TEST_F(DigitsCli, SaysWhatIsWrongInOneLine) {
    const auto help = nigiri({"digits", "score", "--help"});
    EXPECT_EQ(help.code, 0);
    EXPECT_NE(help.out.find("compare only with each other"), std::string::npos);
    expect_error({"digits"}, 2, "subcommand");
    expect_error({"digits", "sing"}, 2, "subcommand");
    expect_error({"digits", "prepare", text("nowhere"), "-o", text("x")}, 1, "not a folder");
    fs::create_directories(at("taken"));
    expect_error({"digits", "prepare", text("digits"), "-o", text("taken")}, 1, "exists already");
    std::ofstream(at("old.safetensors")) << "precious";
    expect_error(classifier_arguments("old.safetensors"), 1, "exists already");
    EXPECT_EQ(fs::file_size(at("old.safetensors")), 8u);
    expect_error(classifier_arguments("no/folder/c.safetensors"), 1, "does not exist");
    const auto score = [&](const std::string& classifier) {
        return Arguments{"digits", "score", "--data", text("digits"), "--classifier", classifier, "-o", text("report")};
    };
    expect_error(score(text("old.safetensors")), 1, "not a readable safetensors file");
    expect_error(score(text("none.safetensors")), 1, "cannot read");
    EXPECT_FALSE(fs::exists(at("report/report.html")));
}

}  // namespace
}  // namespace nigiri
