// nigiri task as its users meet it: it learns, it can be stopped and gone on with, and says what it did.
#include <signal.h>

#include "tests/app/cli.h"

namespace nigiri {
namespace {

class TaskCli : public Cli {
  protected:
    // Short sequences of few tokens and a narrow network: seconds.
    Arguments arguments(const std::string& run, int steps, const std::string& task = "induction-heads") const {
        return {"task",
                task,
                "--run",
                text(run),
                "--length",
                "12",
                "--vocabulary",
                "5",
                "--width",
                "16",
                "--batch",
                "16",
                "--learning-rate",
                "5e-3",
                "--steps",
                std::to_string(steps),
                "--validate-every",
                "50",
                "--threads",
                "1",
                "--seed",
                "3"};
    }
    static Arguments with(Arguments a, const Arguments& more) {
        a.insert(a.end(), more.begin(), more.end());
        return a;
    }
};

TEST_F(TaskCli, LearnsAndMeasuresEveryLength) {
    const json out = ask(with(arguments("run", 400), {"--test-lengths", "12,50,3000", "--test-sequences", "40"}));
    EXPECT_EQ(out["task"], "induction-heads");
    EXPECT_EQ(out["published_setting"], false);
    EXPECT_EQ(out["layer"], "mamba-s6");
    EXPECT_EQ(out["steps"], 400);
    EXPECT_EQ(out["finished"], true);
    ASSERT_EQ(out["accuracy"].size(), 3u);
    EXPECT_EQ(out["accuracy"][2]["length"], 3000);
    EXPECT_EQ(out["accuracy"][2]["sequences"], 40);
    EXPECT_EQ(out["accuracy"][0]["answers"], 40);
    EXPECT_GT(out["accuracy"][0]["accuracy"], 0.9) << "guessing is right in a quarter";
    std::ifstream in(at("run/task.json"));
    EXPECT_EQ(json::parse(in)["accuracy"], out["accuracy"]);
    EXPECT_EQ(ask({"info", text("run")})["facts"]["task"], "induction-heads");

    const json best = ask(with(arguments("run", 400), {"--test-lengths", "12", "--measure", "best"}));
    EXPECT_NE(std::string(best["checkpoint"]).find("best"), std::string::npos);
    EXPECT_NE(std::string(out["checkpoint"]).find("last"), std::string::npos);

    // The same command measures again, and shows a table to people.
    const auto again = nigiri(with(arguments("run", 400), {"--test-lengths", "12", "--test-sequences", "40"}));
    EXPECT_EQ(again.code, 0) << again.err;
    EXPECT_NE(again.out.find("own setting"), std::string::npos) << again.out;
    EXPECT_NE(again.out.find("length 256"), std::string::npos) << "the published one is named: " << again.out;
    EXPECT_NE(again.out.find("sequences   right"), std::string::npos) << again.out;
}

TEST_F(TaskCli, EveryBlockAndLayerTrainsOnBothTasks) {
    for (const std::string task : {"induction-heads", "selective-copying"})
        for (const std::string block : {"plain", "h3", "mamba"})
            for (const std::string layer : {"s4", "s6", "hyena", "attention"}) {
                Arguments a = arguments(task + block + layer, 3, task);
                a.insert(a.end(), {"--block", block, "--layer", layer, "--data-tokens", "3", "--test-sequences", "4",
                                   "--test-lengths", "12,30"});
                const json out = ask(a);
                EXPECT_EQ(out["steps"], 3) << block << layer;
                EXPECT_EQ(out["accuracy"].size(), 2u);
                EXPECT_EQ(out["accuracy"][1]["answers"], task == "induction-heads" ? 4 : 12);
            }
}

TEST_F(TaskCli, ARunThatWasInterruptedEndsLikeOneThatWasNot) {
    const Arguments briefly = {"--test-lengths", "12"};
    ASSERT_EQ(nigiri(with(arguments("whole", 120), briefly)).code, 0);
    const json part = ask(with(arguments("parts", 50), briefly));
    EXPECT_EQ(part["steps"], 50);
    // No time at all is left in this call: at least one step is made, and the run is saved.
    const json little = ask(with(with(arguments("parts", 120), briefly), {"--minutes", "0.000001"}));
    EXPECT_EQ(little["finished"], false);
    EXPECT_LT(little["steps"], 120);
    test::Process process(NIGIRI_BINARY, arguments("parts", 1000000), folder.path());
    process.ended_within(1);
    process.send(SIGINT);
    ASSERT_TRUE(process.ended_within(20));
    const auto stopped = process.wait();
    EXPECT_EQ(stopped.code, 0) << stopped.err;
    EXPECT_NE(stopped.out.find("goes on from here"), std::string::npos) << stopped.out;

    fs::remove_all(at("parts"));
    ask(with(arguments("parts", 50), briefly));
    ask(with(with(arguments("parts", 120), briefly), {"--minutes", "0.000001"}));
    const json end =
        ask(with({"task", "induction-heads", "--run", text("parts"), "--steps", "120", "--threads", "1"}, briefly));
    EXPECT_EQ(end["steps"], 120);
    EXPECT_EQ(end["finished"], true);
    const auto last = [&](const std::string& run) { return json::parse(losses(run).back()); };
    EXPECT_EQ(last("parts"), last("whole"));
}

TEST_F(TaskCli, TheRateFallsWhereItIsAskedTo) {
    const Arguments briefly = {"--test-lengths", "12"};
    const auto last_rate = [&](const std::string& run) { return json::parse(losses(run).back())["learning_rate"]; };
    ASSERT_EQ(nigiri(with(arguments("constant", 100), briefly)).code, 0);
    EXPECT_NEAR(last_rate("constant"), 5e-3, 1e-9) << "as published";
    const json out = ask(with(with(arguments("cosine", 100), briefly), {"--schedule", "cosine"}));
    EXPECT_EQ(out["schedule"], "cosine");
    EXPECT_EQ(out["published_setting"], false);
    EXPECT_LT(last_rate("cosine"), 0.05 * 5e-3) << "the last step has nearly two hundredths of the rate";
}

TEST_F(TaskCli, SaysWhatIsWrong) {
    expect_error({"task"}, 2, "task");
    expect_error({"task", "juggling"}, 2, "juggling");
    expect_error({"task", "induction-heads", "--block", "hexagon"}, 2, "hexagon");
    expect_error(with(arguments("r", 1), {"--test-lengths", "1"}), 1, "length");
    expect_error({"task", "selective-copying", "--run", text("r"), "--length", "4"}, 1, "data tokens");
    ASSERT_EQ(nigiri(with(arguments("run", 1), {"--test-lengths", "12"})).code, 0);
    expect_error({"task", "selective-copying", "--run", text("run")}, 1, "induction-heads");
    expect_error(with(arguments("run", 2), {"--length", "99"}), 2, "length");
    expect_error({"task", "induction-heads", "--run", text("run"), "--length", "99"}, 1, "length 12");
    expect_error({"task", "induction-heads", "--run", text("run"), "--layer", "s4"}, 1, "another model");
    expect_error({"task", "induction-heads", "--run", text("run"), "--width", "8"}, 1, "another model");
    expect_error({"generate", "--model", text("run"), "-o", text("x.wav")}, 1, "256 codes");
    make_audio("audio", 3);
    ASSERT_EQ(nigiri(train_arguments("audio-run", 1)).code, 0);
    expect_error({"task", "induction-heads", "--run", text("audio-run")}, 1, "no task");
}

}  // namespace
}  // namespace nigiri
