#include "model/checkpoint.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/model/networks.h"
#include "tests/support/check.h"
#include "tests/support/temporary_folder.h"

namespace nigiri {
namespace {

namespace fs = std::filesystem;

std::vector<uint8_t> read_bytes(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

struct Saved {
    test::TemporaryFolder folder;
    fs::path path = folder.path() / "model.safetensors";
    Config config;
    std::shared_ptr<Backend> backend = make_backend("cpu");
    std::unique_ptr<Network> network;
    std::unique_ptr<Optimizer> optimizer;

    explicit Saved(const ModelConfig& model = test::small_model(layer_by_name("mamba-s4"))) {
        config.model = model;
        config.training.length = 64;
        network = std::make_unique<Network>(backend, model, DType::f32, 3, 64);
        optimizer = std::make_unique<Optimizer>(network->parameters(), config.training);
        Random random(test::seed());
        for (const auto& m : optimizer->moments()) {
            for (int64_t i = 0; i < m.m.size(); ++i)
                test::set(m.m, i, random.normal()), test::set(m.v, i, random.uniform());
        }
        TrainingState state;
        state.step = 12;
        state.tokens = 3456;
        state.seconds = 0.1 + 0.2;
        state.best_valid_bits = 3.25;
        save_checkpoint(path, config, *network, optimizer.get(), state, {{"licence", "CC0"}});
    }
};

TEST(Checkpoint, BringsEverythingBack) {
    for (const auto& m : test::all_models()) {
        const Saved saved(m.config);
        const Checkpoint c = Checkpoint::read(saved.path);
        EXPECT_EQ(c.config(), saved.config);
        EXPECT_EQ(c.state().step, 12);
        EXPECT_EQ(c.state().seconds, 0.1 + 0.2);
        EXPECT_EQ(c.facts().at("licence"), "CC0");
        EXPECT_TRUE(c.has_optimizer());
        const auto network = c.make_network(saved.backend);
        Optimizer optimizer(network->parameters(), saved.config.training);
        c.restore(optimizer, network->parameters());
        EXPECT_EQ(optimizer.steps(), 12);
        for (size_t i = 0; i < network->parameters().all().size(); ++i) {
            EXPECT_EQ(test::max_difference(network->parameters().all()[i]->value,
                                           saved.network->parameters().all()[i]->value),
                      0);
            EXPECT_EQ(test::max_difference(optimizer.moments()[i].m, saved.optimizer->moments()[i].m), 0);
            EXPECT_EQ(test::max_difference(optimizer.moments()[i].v, saved.optimizer->moments()[i].v), 0);
        }
    }
}

TEST(Checkpoint, ReplacesTheOldFileOnlyWhenTheNewOneIsWhole) {
    const Saved saved;
    const auto before = read_bytes(saved.path);
    // A folder in the temporary file's place makes the write fail.
    fs::create_directories(saved.folder.path() / "model.safetensors.tmp" / "x");
    EXPECT_THROW(save_checkpoint(saved.path, saved.config, *saved.network, nullptr, {}, {}), Error);
    EXPECT_EQ(read_bytes(saved.path), before);
}

// Cut at every byte of the header and at every tensor's boundary: always an Error, never anything else.
TEST(Checkpoint, RefusesATruncatedFile) {
    const Saved saved;
    const auto bytes = read_bytes(saved.path);
    uint64_t header = 0;
    std::memcpy(&header, bytes.data(), 8);
    std::vector<size_t> cuts;
    for (size_t i = 0; i < 8 + header + 70; i += i < 400 ? 1 : 97) cuts.push_back(i);
    const SafeTensorsFile file = SafeTensorsFile::read(saved.path);
    for (const auto& [name, t] : file.tensors())
        cuts.push_back(8 + header + t.begin), cuts.push_back(8 + header + t.end - 1);
    for (const size_t cut : cuts) {
        if (cut >= bytes.size()) continue;
        EXPECT_THROW(Checkpoint::parse({bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(cut)}, "cut"), Error)
            << cut;
    }
    EXPECT_NO_THROW(Checkpoint::parse(bytes, "whole"));
    auto longer = bytes;
    longer.push_back(0);
    EXPECT_THROW(Checkpoint::parse(longer, "longer"), Error);
}

// The header rewritten: sizes and offsets that lie, other versions, other kinds of file.
TEST(Checkpoint, RefusesAHeaderThatLies) {
    const Saved saved;
    const auto bytes = read_bytes(saved.path);
    uint64_t header_bytes = 0;
    std::memcpy(&header_bytes, bytes.data(), 8);
    const auto header =
        nlohmann::json::parse(bytes.begin() + 8, bytes.begin() + 8 + static_cast<std::ptrdiff_t>(header_bytes));
    const auto with = [&](const auto& change) {
        nlohmann::json h = header;
        change(h);
        const std::string text = h.dump();
        const uint64_t n = text.size();
        std::string out(reinterpret_cast<const char*>(&n), 8);
        out += text;
        out.append(bytes.begin() + 8 + static_cast<std::ptrdiff_t>(header_bytes), bytes.end());
        return std::vector<uint8_t>(out.begin(), out.end());
    };
    EXPECT_NO_THROW(Checkpoint::parse(with([](auto&) {}), "same"));
    const std::string name = "model.head.weight";
    const std::vector<std::pair<std::string, std::function<void(nlohmann::json&)>>> lies = {
        {"shape", [&](auto& h) { h[name]["shape"][0] = 12; }},
        {"huge shape",
         [&](auto& h) {
             h[name]["shape"] = {uint64_t{1} << 62, 8};
         }},
        {"negative shape", [&](auto& h) { h[name]["shape"][0] = -11; }},
        {"begin",
         [&](auto& h) { h[name]["data_offsets"][0] = h[name]["data_offsets"][0].template get<int64_t>() + 4; }},
        {"end", [&](auto& h) { h[name]["data_offsets"][1] = uint64_t{1} << 60; }},
        {"offsets swapped", [&](auto& h) { std::swap(h[name]["data_offsets"][0], h[name]["data_offsets"][1]); }},
        {"offsets missing", [&](auto& h) { h[name].erase("data_offsets"); }},
        {"overlap", [&](auto& h) { h[name]["data_offsets"] = h["model.embedding.weight"]["data_offsets"]; }},
        {"dtype", [&](auto& h) { h[name]["dtype"] = "F64"; }},
        {"unknown dtype", [&](auto& h) { h[name]["dtype"] = "Q4"; }},
        {"renamed",
         [&](auto& h) {
             h["model.tail.weight"] = h[name];
             h.erase(name);
         }},
        {"transposed", [&](auto& h) { std::swap(h[name]["shape"][0], h[name]["shape"][1]); }},
        {"version", [&](auto& h) { h["__metadata__"]["version"] = "2"; }},
        {"format", [&](auto& h) { h["__metadata__"]["format"] = "pt"; }},
        {"no metadata", [&](auto& h) { h.erase("__metadata__"); }},
        {"no config", [&](auto& h) { h["__metadata__"].erase("config"); }},
        {"config", [&](auto& h) { h["__metadata__"]["config"] = "{"; }},
        {"config type", [&](auto& h) { h["__metadata__"]["config"] = 5; }},
        {"other network", [&](auto& h) { h["__metadata__"]["config"] = to_json(preset_by_name("base")); }},
        {"state", [&](auto& h) { h["__metadata__"]["training_state"] = "{\"step\":-4}"; }},
        {"state type", [&](auto& h) { h["__metadata__"]["training_state"] = "{\"step\":\"x\"}"; }},
    };
    for (const auto& [what, lie] : lies) {
        SCOPED_TRACE(what);
        EXPECT_THROW(
            {
                const Checkpoint c = Checkpoint::parse(with(lie), what);
                c.make_network(saved.backend);
            },
            Error);
    }
    // A configuration that asks for far more memory than the file holds is refused before anything is allocated.
    const auto greedy = with([&](auto& h) {
        Config c = saved.config;
        c.model.width = 8192, c.model.layers = 256;
        h["__metadata__"]["config"] = to_json(c);
    });
    EXPECT_THROW(Checkpoint::parse(greedy, "greedy"), Error);
}

TEST(Checkpoint, OfAModelOnlyCannotResume) {
    const Saved saved;
    save_checkpoint(saved.path, saved.config, *saved.network, nullptr, {}, {});
    const Checkpoint c = Checkpoint::read(saved.path);
    EXPECT_FALSE(c.has_optimizer());
    EXPECT_THROW(c.restore(*saved.optimizer, saved.network->parameters()), Error);
    EXPECT_NO_THROW(c.make_network(saved.backend));
}

TEST(Checkpoint, RoundsWeightsOnRequest) {
    const Saved saved;
    const fs::path path = saved.folder.path() / "rounded.safetensors";
    save_checkpoint(path, saved.config, *saved.network, nullptr, {}, {}, StoredAs::half);
    EXPECT_LT(fs::file_size(path), fs::file_size(saved.path) / 3) << "the other file has moments too";
    const auto network = Checkpoint::read(path).make_network(saved.backend);
    bool rounded = false;
    for (size_t i = 0; i < network->parameters().all().size(); ++i) {
        const Parameter &p = *network->parameters().all()[i], &q = *saved.network->parameters().all()[i];
        for (int64_t k = 0; k < p.value.size(); ++k) {
            const double x = test::get(q.value, k), y = test::get(p.value, k);
            // Half a unit of the last of 8, 11 or all bits; below 2^-14 half precision has steps of 2^-24.
            const double unit = p.group == ParameterGroup::decay       ? std::abs(x) / 256
                              : p.group == ParameterGroup::state_space ? std::max(std::abs(x) / 2048, 0x1p-25)
                                                                       : 0;
            ASSERT_NEAR(y, x, unit) << p.name;
            rounded = rounded || y != x;
        }
    }
    EXPECT_TRUE(rounded);
    EXPECT_THROW(save_checkpoint(path, saved.config, *saved.network, saved.optimizer.get(), {}, {}, StoredAs::half),
                 Error);
}

TEST(Half, EveryNumberComesBackAndTheRestIsRoundedToTheNearest) {
    for (uint32_t bits = 0; bits < 0x10000; ++bits) {
        Float16 h;
        h.bits = static_cast<uint16_t>(bits);
        BFloat16 b;
        b.bits = static_cast<uint16_t>(bits);
        const float x = static_cast<float>(h), y = static_cast<float>(b);
        if (!std::isnan(x)) {
            ASSERT_EQ(Float16(x).bits, bits);
        }
        if (!std::isnan(y)) {
            ASSERT_EQ(BFloat16(y).bits, bits);
        }
        if ((bits & 0x7fff) >= 0x7bff) continue;  // up to the largest finite number
        Float16 above;
        above.bits = static_cast<uint16_t>(bits + 1);
        const float next = static_cast<float>(above), middle = x + (next - x) / 2;
        ASSERT_EQ(Float16(middle).bits, bits & 1 ? bits + 1 : bits) << "ties to even";
        ASSERT_EQ(Float16(std::nextafter(middle, x)).bits, bits);
        ASSERT_EQ(Float16(std::nextafter(middle, next)).bits, bits + 1);
    }
    EXPECT_TRUE(std::isnan(static_cast<float>(Float16(std::nanf("")))));
    EXPECT_TRUE(std::isinf(static_cast<float>(Float16(1e30f))));
}

TEST(Checkpoint, NamesTheFileThatIsMissing) {
    try {
        Checkpoint::read("/nonexistent/model.safetensors");
        FAIL();
    } catch (const Error& e) {
        EXPECT_NE(std::string(e.what()).find("/nonexistent/model.safetensors"), std::string::npos);
    }
}

}  // namespace
}  // namespace nigiri
