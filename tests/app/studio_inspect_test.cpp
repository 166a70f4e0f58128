// Looking into a model beside the window.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <thread>

#include "app/clips.h"
#include "app/studio/sessions/inspect_session.h"
#include "kernels/backend.h"
#include "model/evaluation.h"
#include "tests/app/studio.h"

namespace nigiri::studio {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using test::sound_rate;

class Inspecting : public testing::Test {
  protected:
    test::TemporaryFolder folder;
    InspectSession session{{}};

    static Config config(const std::string& layer) {
        Config c = test::tiny_config();
        c.model.form = UNetForm::unet;
        c.model.outer = c.model.centre = layer_by_name(layer);
        return c;
    }

    fs::path model(const std::string& layer) {
        const Config c = config(layer);
        const Network network(make_backend("cpu", 1), c.model, DType::f32, 3, 256);
        const fs::path path = folder / (layer + ".safetensors");
        save_checkpoint(path, c, network, nullptr, {}, {});
        return path;
    }

    void finish() {
        test::wait([&] {
            session.update();
            return !session.running();
        });
    }
};

TEST_F(Inspecting, ShowsTheLayersAndTheirKernels) {
    session.open(model("mamba-s4"), "cpu", 1);
    EXPECT_FALSE(session.model()) << "not there at once";
    finish();
    ASSERT_TRUE(session.model());
    const auto& layers = session.model()->layers;
    ASSERT_EQ(layers.size(), 3u);
    EXPECT_EQ(layers[1].name, "centre.0");
    EXPECT_EQ(layers[1].stride, 4);
    EXPECT_TRUE(layers[1].time_invariant);
    session.ask_kernels(1, 100);
    finish();
    ASSERT_TRUE(session.kernels());
    EXPECT_EQ(session.kernels()->layer, 1u);
    EXPECT_EQ(session.kernels()->rate, 4000);
    EXPECT_EQ(session.kernels()->kernels.length, 100);
    EXPECT_EQ(session.kernels()->kernels.channels, layers[1].channels);
}

TEST_F(Inspecting, MeasuresTheSurpriseOfASound) {
    const fs::path path = model("mamba-s4");
    session.open(path, "cpu", 1);
    finish();
    // At another rate than the model's: it is looked at as the model would hear it.
    const auto sound = std::make_shared<const Sound>(2 * sound_rate, test::sine(440, 0.5, 2 * sound_rate));
    session.ask_surprise(sound, 0.01);
    finish();
    ASSERT_EQ(session.status().error, "");
    const auto s = session.surprise();
    ASSERT_TRUE(s);
    EXPECT_EQ(s->sound, sound);
    EXPECT_EQ(s->rate, sound_rate);
    ASSERT_EQ(s->bits->size(), sound_rate / 2);
    EXPECT_EQ(s->means->size(), s->bits->size());
    EXPECT_EQ(s->window, 160);
    double sum = 0, highest = 0;
    for (const float b : s->bits->copy())
        sum += static_cast<double>(b), highest = std::max(highest, static_cast<double>(b));
    EXPECT_NEAR(s->total, sum, 1e-9 * sum);
    EXPECT_EQ(s->highest, static_cast<float>(highest));
    EXPECT_FALSE(s->places.empty());
    // Another window changes the means, not the bits.
    session.ask_means(0.1);
    finish();
    EXPECT_EQ(session.surprise()->window, 1600);
    EXPECT_EQ(session.surprise()->bits, s->bits);
    EXPECT_EQ(session.surprise()->total, s->total);
    EXPECT_LE(session.surprise()->highest_mean, s->highest_mean);
}

TEST_F(Inspecting, FollowsDeltaAlongASound) {
    session.open(model("mamba-s6"), "cpu", 1);
    finish();
    const auto sound = std::make_shared<const Sound>(sound_rate, test::noise(1001, 0.1, 4));
    session.ask_steps(1, 2, sound);
    finish();
    ASSERT_EQ(session.status().error, "");
    const auto s = session.steps();
    ASSERT_TRUE(s);
    EXPECT_EQ(s->stride, 4);
    EXPECT_EQ(s->mean->size(), 251);
    EXPECT_EQ(s->values->size(), 251);
    EXPECT_GT(s->lowest, 0);
    EXPECT_LT(s->lowest, s->highest);
    session.ask_kernels(1, 10);
    finish();
    EXPECT_NE(session.status().error.find("selective"), std::string::npos);
    EXPECT_FALSE(session.kernels());
    session.ask_steps(1, 2, std::make_shared<const Sound>(sound_rate, std::vector<float>()));
    finish();
    EXPECT_NE(session.status().error.find("no sound"), std::string::npos);
}

TEST_F(Inspecting, WorksOnTheLastRequestAndCanBeCancelled) {
    const fs::path path = model("mamba-s4");
    session.ask_kernels(0, 10);
    finish();
    EXPECT_NE(session.status().error, "") << "no model is open";
    session.open(path, "cpu", 1);
    finish();
    // Ten minutes that nobody waits for.
    const auto long_one = std::make_shared<const Sound>(sound_rate, std::vector<float>(600 * sound_rate));
    session.ask_surprise(long_one, 0.05);
    session.ask_kernels(0, 20);
    session.ask_kernels(2, 30);
    finish();
    ASSERT_TRUE(session.kernels());
    EXPECT_EQ(session.kernels()->layer, 2u);
    EXPECT_EQ(session.kernels()->kernels.length, 30);
    EXPECT_FALSE(session.surprise());
    session.ask_surprise(long_one, 0.05);
    std::this_thread::sleep_for(20ms);
    session.cancel();
    finish();
    EXPECT_FALSE(session.surprise());
    EXPECT_EQ(session.status().error, "") << "a cancel is no failure";
    test::write_bytes(folder / "bad.safetensors", "nonsense");
    session.open(folder / "bad.safetensors", "cpu", 1);
    finish();
    EXPECT_NE(session.status().error, "");
    EXPECT_FALSE(session.model());
    EXPECT_FALSE(session.kernels()) << "of another model";
}

}  // namespace
}  // namespace nigiri::studio
