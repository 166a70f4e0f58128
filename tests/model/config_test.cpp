#include "model/config.h"

#include <gtest/gtest.h>

#include "kernels/error.h"
#include "tests/model/networks.h"

namespace nigiri {
namespace {

TEST(Config, SurvivesJsonUnchanged) {
    for (const std::string& preset : preset_names())
        for (const std::string& layer : layer_names()) {
            Config c = preset_by_name(preset);
            c.model.outer = layer_by_name(layer);
            c.training.seed = 0xffffffffffffffffull;
            c.training.learning_rate = 0.1 + 0.2;  // not a short decimal
            EXPECT_EQ(config_from_json(to_json(c)), c) << preset << " " << layer;
        }
    for (const auto& m : test::all_models()) {
        Config c;
        c.model = m.config;
        EXPECT_EQ(config_from_json(to_json(c)), c) << m.name;
    }
}

TEST(Config, NamesEveryLayer) {
    for (const std::string& name : layer_names()) EXPECT_EQ(layer_name(layer_by_name(name)), name);
    LayerConfig odd = layer_by_name("mamba-s6");
    odd.ssm.state = 5;
    EXPECT_EQ(layer_name(odd), "mamba-s6 (modified)");
    ModelConfig m;
    m.outer = layer_by_name("mamba-s4");
    m.centre = layer_by_name("mamba-s6");
    EXPECT_EQ(layer_name(m), "mamba-s4/mamba-s6");
    EXPECT_THROW(layer_by_name("mamba-s7"), Error);
    EXPECT_THROW(preset_by_name("huge"), Error);
}

TEST(Config, RefusesWhatMakesNoSense) {
    const std::string good = to_json(Config{});
    const auto broken = [&](const std::string& from, const std::string& to) {
        std::string text = good;
        const size_t at = text.find(from);
        EXPECT_NE(at, std::string::npos) << from;
        return text.replace(at, from.size(), to);
    };
    EXPECT_NO_THROW(config_from_json(good));
    for (const auto& [from, to] :
         std::vector<std::pair<std::string, std::string>>{{"\"width\":64", "\"width\":0"},
                                                          {"\"width\":64", "\"width\":-5"},
                                                          {"\"width\":64", "\"width\":1e300"},
                                                          {"\"width\":64", "\"width\":99999999999999999999"},
                                                          {"\"width\":64", "\"width\":\"64\""},
                                                          {"\"width\":64", "\"widht\":64"},
                                                          {"\"pools\":[4,4]", "\"pools\":[4,1]"},
                                                          {"\"pools\":[4,4]", "\"pools\":[4096,4096,4096]"},
                                                          {"\"pools\":[4,4]", "\"pools\":[4,\"4\"]"},
                                                          {"\"pools\":[4,4]", "\"pools\":4"},
                                                          {"\"state\":64", "\"state\":63"},
                                                          {"\"init\":\"lin\"", "\"init\":\"real\""},
                                                          {"\"init\":\"lin\"", "\"init\":\"lion\""},
                                                          {"\"form\":\"sashimi\"", "\"form\":1"},
                                                          {"\"complex\":true", "\"complex\":1"},
                                                          {"\"sample_rate\":16000", "\"sample_rate\":4294983296"},
                                                          {"\"quantization\":\"mu-law\"", "\"quantization\":\"a-law\""},
                                                          {"\"seed\":0", "\"seed\":-1"},
                                                          {"\"batch\":1", "\"batch\":1.5"}})
        EXPECT_THROW(config_from_json(broken(from, to)), Error) << to;
    for (const std::string text : {"", "null", "[]", "{", "{\"model\":3}", "{\"unknown\":1}"})
        EXPECT_THROW(config_from_json(text), Error) << text;
    EXPECT_THROW(config_from_json(std::string(100000, '[')), Error);
}

TEST(Config, TakesDefaultsForMissingFields) { EXPECT_EQ(config_from_json("{}"), Config{}); }

}  // namespace
}  // namespace nigiri
