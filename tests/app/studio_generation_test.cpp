// What the studio's Generate page stands on, without a window: clips, the guard, a hand that steers.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "app/model_file.h"
#include "app/studio/sessions/generation_session.h"
#include "audio/file.h"
#include "tests/support/check.h"
#include "tests/support/drawing_engine.h"
#include "tests/support/temporary_folder.h"

namespace nigiri::studio {
namespace {

namespace fs = std::filesystem;
using app::Steering;

class Generation : public testing::Test {
  protected:
    // A very small network that has learned nothing, said to cost `bits` a sample.
    fs::path model(const std::string& name, uint64_t seed = 1, double bits = -1) {
        Config config = preset_by_name("tiny");
        config.model.width = 8;
        config.model.layers = 1;
        Network network(make_backend("cpu", 1), config.model, DType::f32, seed, 1024);
        TrainingState state;
        state.valid_bits = bits;
        save_checkpoint(folder / name, config, network, nullptr, state, {});
        return folder / name;
    }
    GenerationRequest request(const fs::path& model, double seconds) {
        GenerationRequest r;
        r.model = model;
        r.seconds = seconds;
        r.sampling.seed = test::seed();
        r.device = "cpu";
        r.threads = 1;
        r.folder = folder / "clips";
        return r;
    }
    // One that draws codes itself.
    static EngineChoice drawing(test::DrawingEngine::Options options = {}) {
        EngineChoice choice;
        choice.make = [=](const RecurrentProgram& program, int64_t streams, WeightFormat weights) {
            return std::make_unique<test::DrawingEngine>(
                make_cpu_engine(program, {.streams = streams, .weights = weights, .threads = 1}), options);
        };
        return choice;
    }
    template <class F>
    bool until(F&& f) {
        for (int i = 0; i < 3000; ++i) {
            if (f()) return true;
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
        return false;
    }
    void expect_well(const GenerationSession& session) {
        EXPECT_EQ(session.status().error, "") << session.status().hint;
    }

    test::TemporaryFolder folder;
};

TEST_F(Generation, MakesClipsAsTheCommandLineDoes) {
    const fs::path m = model("m.safetensors");
    GenerationSession session([] {});
    GenerationRequest r = request(m, 0.3);
    r.count = 2;
    ASSERT_TRUE(session.start(r));
    ASSERT_TRUE(until([&] { return !session.status().running; }));
    expect_well(session);
    const auto made = session.take_made();
    ASSERT_EQ(made.size(), 2u);
    const Checkpoint checkpoint = Checkpoint::read(m);
    const auto network = checkpoint.make_network(make_backend("cpu", 1));
    const auto clips = generate(*network, 2, 4800, {}, r.sampling);
    for (const MadeClip& c : made) {
        const Clip& clip = clips[c.facts["clip"].get<size_t>()];
        const auto written = read_audio(c.file).samples, expected = app::waveform(clip, checkpoint.config().signal);
        ASSERT_EQ(written.size(), expected.size());
        for (size_t i = 0; i < written.size(); ++i) ASSERT_NEAR(written[i], expected[i], 0x1p-15);  // a 16-bit step
    }
    EXPECT_EQ(session.sound()->copy(), app::waveform(clips[0], checkpoint.config().signal));
    EXPECT_EQ(session.steering(), nullptr);
}

TEST_F(Generation, TellsWhatTheGuardDid) {
    GenerationSession session([] {});
    GenerationRequest r = request(model("m.safetensors", 1, /*bits=*/5), 3);
    r.guard = true;
    ASSERT_TRUE(session.start(r));
    ASSERT_TRUE(until([&] { return !session.status().running; }));
    expect_well(session);
    EXPECT_GT(session.progress().gone_back, 0) << "eight bits a sample where five were learned";
    EXPECT_TRUE(session.progress().last_event.starts_with("noise at ")) << session.progress().last_event;
    const auto made = session.take_made();
    ASSERT_EQ(made.size(), 1u);
    EXPECT_EQ(made[0].facts["guard"].size(), static_cast<size_t>(session.progress().gone_back));
    EXPECT_EQ(read_audio(made[0].file).samples.size(), 48000u);
}

TEST_F(Generation, FollowsTheHand) {
    GenerationSession session([] {});
    GenerationRequest r = request(model("m.safetensors"), 60);
    r.steer = true;
    ASSERT_TRUE(session.start(r));
    const auto steering = session.steering();
    ASSERT_TRUE(steering);
    // Nobody listens: it runs ahead for a moment, and waits.
    ASSERT_TRUE(until([&] { return session.progress().waiting; }));
    const auto sound = session.sound();
    EXPECT_GT(sound->size(), 16000 / 2);
    EXPECT_LT(sound->size(), 16000);
    // An ear that follows.
    const auto hear = [&](int64_t until_size) {
        return until([&] {
            session.set_heard(sound->size());
            return sound->size() >= until_size;
        });
    };
    steering->wish(Steering::Wish::freeze);
    ASSERT_TRUE(hear(sound->size() + 4000));
    EXPECT_GE(steering->frozen_at(), 0);
    steering->wish(Steering::Wish::back);
    ASSERT_TRUE(hear(sound->size() + 4000));
    steering->wish(Steering::Wish::branch);
    steering->controls()->set({.temperature = 0.5, .top_p = 0.9});
    ASSERT_TRUE(hear(sound->size() + 4000));
    session.cancel();
    ASSERT_TRUE(until([&] { return !session.status().running; }));
    expect_well(session);
    const auto made = session.take_made();
    ASSERT_EQ(made.size(), 1u);
    EXPECT_EQ(made[0].facts["returns"], 2);
    EXPECT_EQ(made[0].facts["steered"], true);
    const auto written = read_audio(made[0].file).samples;
    ASSERT_EQ(static_cast<int64_t>(written.size()), sound->size());
    const auto heard = sound->copy();
    for (size_t i = 0; i < heard.size(); ++i) ASSERT_NEAR(written[i], heard[i], 0x1p-15);
    EXPECT_EQ(made[0].facts["samples"], sound->size());
}

TEST_F(Generation, TwoModelsPlayTogether) {
    GenerationSession session([] {});
    GenerationRequest r = request(model("a.safetensors", 1), 0.5);
    r.steer = true;
    r.second_model = model("b.safetensors", 2);
    ASSERT_TRUE(session.start(r));
    session.steering()->set_mix(1);
    ASSERT_TRUE(until([&] {
        if (const auto sound = session.sound()) session.set_heard(sound->size());
        return !session.status().running;
    }));
    expect_well(session);
    const auto made = session.take_made();
    ASSERT_EQ(made.size(), 1u);
    EXPECT_EQ(made[0].facts["second_model"], "b.safetensors");
    r.second_model = folder / "none";
    ASSERT_TRUE(session.start(r));
    ASSERT_TRUE(until([&] { return !session.status().running; }));
    EXPECT_NE(session.status().error, "");
}

TEST_F(Generation, CancelKeepsWhatWasMade) {
    GenerationSession session([] {});
    ASSERT_TRUE(session.start(request(model("m.safetensors"), 600)));
    ASSERT_TRUE(until([&] { return session.progress().samples > 2000; }));
    const auto asked = std::chrono::steady_clock::now();
    session.cancel();
    ASSERT_TRUE(until([&] { return session.sound()->final(); }));
    // A tenth is wanted and less is usual; the rest is for a machine that has other things to do.
    EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - asked).count(), 0.5);
    ASSERT_TRUE(until([&] { return !session.status().running; }));
    const auto made = session.take_made();
    ASSERT_EQ(made.size(), 1u);
    EXPECT_GT(read_audio(made[0].file).samples.size(), 2000u);
}

TEST_F(Generation, EnginesThatDrawMakeTheSameClips) {
    const fs::path m = model("m.safetensors", 1, /*bits=*/5);
    for (const bool guard : {false, true}) {
        std::vector<std::vector<float>> clips[2];
        std::vector<float> shown[2];
        for (const size_t draws : {0u, 1u}) {
            GenerationSession session([] {});
            GenerationRequest r = request(m, guard ? 2 : 0.4);
            r.count = 2;
            r.guard = guard;
            if (draws) r.engine = drawing();
            ASSERT_TRUE(session.start(r));
            ASSERT_TRUE(until([&] { return !session.status().running; }));
            expect_well(session);
            for (const MadeClip& c : session.take_made()) clips[draws].push_back(read_audio(c.file).samples);
            shown[draws] = session.sound()->copy();
            EXPECT_EQ(session.progress().slow, "");
        }
        ASSERT_EQ(clips[0].size(), 2u);
        EXPECT_EQ(clips[0], clips[1]);
        EXPECT_TRUE(guard || shown[0] == shown[1]) << "what the guard takes back is shown by blocks";
    }
}

TEST_F(Generation, TheHandSteersAnEngineThatDraws) {
    GenerationSession session([] {});
    GenerationRequest r = request(model("m.safetensors"), 60);
    r.steer = true;
    r.second_model = model("b.safetensors", 2);
    r.engine = drawing();
    ASSERT_TRUE(session.start(r));
    const auto steering = session.steering();
    ASSERT_TRUE(until([&] { return session.progress().waiting; }));
    const auto sound = session.sound();
    const auto hear = [&](int64_t more) {
        const int64_t wanted = sound->size() + more;
        return until([&] {
            session.set_heard(sound->size());
            return sound->size() >= wanted;
        });
    };
    steering->wish(Steering::Wish::freeze);
    ASSERT_TRUE(hear(4000));
    EXPECT_GE(steering->frozen_at(), 0);
    steering->wish(Steering::Wish::branch);
    steering->set_mix(0.5);
    ASSERT_TRUE(hear(4000));
    const auto asked = std::chrono::steady_clock::now();
    session.cancel();
    ASSERT_TRUE(until([&] { return sound->final(); }));
    EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - asked).count(), 0.5) << "as above";
    ASSERT_TRUE(until([&] { return !session.status().running; }));
    expect_well(session);
    const auto made = session.take_made();
    ASSERT_EQ(made.size(), 1u);
    EXPECT_EQ(made[0].facts["returns"], 1);
}

// A lost device ends the work with a sentence, and what was made is there.
TEST_F(Generation, AFailureKeepsWhatWasMade) {
    for (const bool steer : {false, true}) {
        test::DrawingEngine::Options failing;
        failing.before = [](int64_t drawn) {
            if (drawn >= 5000) throw Error("the device is lost");
        };
        GenerationSession session([] {});
        GenerationRequest r = request(model("m.safetensors"), 60);
        r.steer = steer;
        r.engine = drawing(failing);
        ASSERT_TRUE(session.start(r));
        ASSERT_TRUE(until([&] { return !session.status().running; }));
        EXPECT_EQ(session.status().error, "the device is lost");
        const auto made = session.take_made();
        ASSERT_EQ(made.size(), 1u);
        EXPECT_EQ(read_audio(made[0].file).samples.size(), 5000u);
        EXPECT_TRUE(session.sound()->final());
    }
}

TEST_F(Generation, SaysWhyItIsSlow) {
    GenerationSession session([] {});
    GenerationRequest r = request(model("m.safetensors"), 0.02);
    r.engine.make = [](const RecurrentProgram&, int64_t, WeightFormat) -> std::unique_ptr<RecurrentEngine> {
        throw Error("this model does not fit");
    };
    ASSERT_TRUE(session.start(r));
    ASSERT_TRUE(until([&] { return !session.status().running; }));
    expect_well(session);
    EXPECT_NE(session.progress().slow.find("this model does not fit"), std::string::npos);
    EXPECT_EQ(session.take_made().size(), 1u);
}

}  // namespace
}  // namespace nigiri::studio
