// Programs of random numbers, of every kind that a network can have.
#pragma once

#include <cmath>
#include <numbers>
#include <ostream>
#include <string>
#include <vector>

#include "kernels/random.h"
#include "kernels/recurrent_program.h"
#include "kernels/s4_discrete.h"

namespace nigiri::test {

struct ProgramShape {
    std::string name;
    BlockStepKind block = BlockStepKind::mamba;  // s4: followed by an MLP where mlp > 0
    StateSpaceKind ssm = StateSpaceKind::s4d;
    bool is_complex = true;
    int64_t vocabulary = 11, width = 6, layers = 2, expand = 2, states = 4, taps = 4, mlp = 2, rank = 1;
    std::vector<int64_t> pools = {2, 4};
    int64_t pool_expand = 2;
    bool skip_layers = false, glu = true, selective_b = true, selective_c = true;
    NormKind norm = NormKind::layer;
    Discretization discretization = Discretization::euler;
};

inline void PrintTo(const ProgramShape& s, std::ostream* out) { *out << s.name; }

class ProgramMaker {
  public:
    ProgramMaker(const ProgramShape& shape, uint64_t seed) : s_(shape), random_(seed, 77) {}

    RecurrentProgram make() {
        RecurrentProgram p;
        p.vocabulary = s_.vocabulary;
        p.skip_layers = s_.skip_layers;
        int64_t width = s_.width;
        for (size_t i = 0; i <= s_.pools.size(); ++i) {
            StageProgram stage;
            stage.width = width;
            const bool last = i == s_.pools.size();
            if (last || s_.skip_layers) add_blocks(stage.down, width);
            if (!last) {
                add_blocks(stage.up, width);
                const int64_t inner = width * s_.pool_expand;
                stage.factor = s_.pools[i];
                stage.pool_down = linear(inner, stage.factor * width, true);
                stage.pool_up = linear(stage.factor * width, inner, true);
                width = inner;
            }
            p.stages.push_back(std::move(stage));
        }
        p.embedding = normal(s_.vocabulary * s_.width, 1);
        p.norm = norm(s_.width);
        p.head = linear(s_.vocabulary, s_.width, true);
        p.block_count = blocks_;
        return p;
    }

  private:
    std::vector<float> normal(int64_t count, double scale, double offset = 0) {
        std::vector<float> v;
        for (int64_t i = 0; i < count; ++i) v.push_back(static_cast<float>(offset + scale * random_.normal()));
        return v;
    }
    LinearMap linear(int64_t outputs, int64_t inputs, bool bias) {
        return {outputs, inputs, normal(outputs * inputs, 1 / std::sqrt(static_cast<double>(inputs))),
                bias ? normal(outputs, 0.3) : std::vector<float>{}};
    }
    NormMap norm(int64_t width) {
        const int64_t n = s_.norm == NormKind::scalar ? 1 : width;
        return {s_.norm, 1e-5, width, normal(n, 0.3, 1),
                s_.norm == NormKind::rms ? std::vector<float>{} : normal(n, 0.3)};
    }

    StateSpaceMap state_space(int64_t channels) {
        StateSpaceMap m;
        m.kind = s_.ssm;
        m.is_complex = s_.is_complex;
        m.channels = channels, m.states = s_.states;
        m.skip = normal(channels, 1);
        const int64_t count = channels * s_.states, numbers = count * (s_.is_complex ? 2 : 1);
        if (s_.ssm == StateSpaceKind::s4d) {
            for (int64_t i = 0; i < numbers; ++i) {
                // Planar: decays between fast and slow, any angle.
                const double size = 1 - 0.5 * std::pow(random_.uniform(), 4), angle = random_.uniform(0, 3.1);
                if (i < count) sizes_.push_back({size, angle});
                const auto [r, a] = sizes_[static_cast<size_t>(i % count)];
                m.abar.push_back(static_cast<float>(!s_.is_complex ? r
                                                    : i < count    ? r * std::cos(a)
                                                                   : r * std::sin(a)));
            }
            sizes_.clear();
            m.cbar = normal(numbers, 0.3);
        } else if (s_.ssm == StateSpaceKind::s4) {
            for (int64_t d = 0; d < channels; ++d) {
                ComplexVector lambda, low_rank, b;
                for (int64_t n = 0; n < s_.states; ++n) {
                    lambda.emplace_back(-0.5, std::numbers::pi * static_cast<double>(n));
                    low_rank.emplace_back(0.3 * random_.normal(), 0.3 * random_.normal());
                    b.emplace_back(random_.normal(), random_.normal());
                }
                const S4Discrete one = s4_discretize(lambda, low_rank, b, 0.1);
                const auto add = [](auto& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); };
                add(m.a, one.a), add(m.f, one.f), add(m.g, one.g), add(m.b, one.b);
                for (int64_t n = 0; n < s_.states; ++n)
                    m.c.emplace_back(0.3 * random_.normal(), 0.3 * random_.normal());
            }
        } else {
            m.discretization = s_.discretization;
            m.selective_b = s_.selective_b, m.selective_c = s_.selective_c;
            m.dt_rank = s_.rank;
            const int64_t row = s_.states * (s_.is_complex ? 2 : 1);
            const int64_t rows = s_.rank + (s_.selective_b ? row : 0) + (s_.selective_c ? row : 0);
            if (rows > 0) m.x_proj = linear(rows, channels, false);
            if (s_.rank > 0) m.dt_proj = linear(channels, s_.rank, false);
            m.delta_bias = normal(channels, 0.5, -2);
            for (int64_t i = 0; i < count; ++i) {
                m.poles.push_back(static_cast<float>(-0.2 - 3 * random_.uniform()));
                if (s_.is_complex) m.poles.push_back(static_cast<float>(random_.uniform(-9, 9)));
            }
            if (!s_.selective_b) m.constant_b = normal(numbers, 1);
            if (!s_.selective_c) m.constant_c = normal(numbers, 0.5);
        }
        return m;
    }

    void add_blocks(std::vector<BlockStep>& blocks, int64_t width) {
        for (int64_t i = 0; i < s_.layers; ++i) {
            BlockStep b;
            b.kind = s_.block;
            b.norm = norm(width);
            b.state = blocks_++;
            if (s_.block == BlockStepKind::mamba) {
                const int64_t inner = s_.expand * width;
                b.in = linear(2 * inner, width, false);
                b.taps = s_.taps;
                b.conv_weight = normal(inner * s_.taps, 0.5), b.conv_bias = normal(inner, 0.3);
                b.ssm = state_space(inner);
                b.out = linear(width, inner, false);
                blocks.push_back(std::move(b));
                continue;
            }
            b.glu = s_.glu;
            b.ssm = state_space(width);
            b.out = linear(s_.glu ? 2 * width : width, width, true);
            blocks.push_back(std::move(b));
            if (s_.mlp == 0) continue;
            BlockStep mlp;
            mlp.kind = BlockStepKind::mlp;
            mlp.norm = norm(width);
            mlp.in = linear(s_.mlp * width, width, true);
            mlp.out = linear(width, s_.mlp * width, true);
            mlp.state = blocks_++;
            blocks.push_back(std::move(mlp));
        }
    }

    ProgramShape s_;
    Random random_;
    std::vector<std::pair<double, double>> sizes_;
    size_t blocks_ = 0;
};

inline RecurrentProgram random_program(const ProgramShape& shape, uint64_t seed) {
    return ProgramMaker(shape, seed).make();
}

// The networks of the preset `base` (or, of width 32 and 4 layers, `small`).
inline ProgramShape preset_shape(const std::string& layer, int64_t width = 64, int64_t layers = 8) {
    ProgramShape s;
    s.name = layer;
    s.vocabulary = 256, s.width = width, s.layers = layers, s.pools = {4, 4}, s.states = 32;
    if (layer == "s4-mlp") s.block = BlockStepKind::s4;
    if (layer == "mamba-s6")
        s.ssm = StateSpaceKind::s6, s.is_complex = false, s.states = 16, s.rank = (width + 15) / 16;
    return s;
}

// Small ones whose sizes are no multiples of anything.
inline std::vector<ProgramShape> odd_programs() {
    std::vector<ProgramShape> all;
    const auto add = [&](const std::string& name, auto&& change) {
        ProgramShape s;
        s.name = name;
        change(s);
        all.push_back(s);
    };
    const auto s6 = [](ProgramShape& s) { s.ssm = StateSpaceKind::s6, s.is_complex = false; };
    add("mamba-s4", [](ProgramShape&) {});
    add("mamba-s4-unet", [](ProgramShape& s) { s.skip_layers = true; });
    add("mamba-s4-real", [](ProgramShape& s) { s.is_complex = false; });
    add("mamba-s4-dplr", [](ProgramShape& s) { s.ssm = StateSpaceKind::s4, s.states = 35; });
    add("mamba-s4-many-modes", [](ProgramShape& s) { s.states = 70, s.width = 19; });
    add("mamba-s4-wide", [](ProgramShape& s) { s.width = 70, s.layers = 1; });
    add("mamba-s4-eight-taps", [](ProgramShape& s) { s.taps = 7; });
    add("mamba-s4-one-tap", [](ProgramShape& s) { s.taps = 1, s.expand = 1; });
    add("mamba-s6", s6);
    add("mamba-s6-unet", [&](ProgramShape& s) { s6(s), s.skip_layers = true; });
    add("mamba-s6-many-states", [&](ProgramShape& s) { s6(s), s.states = 37, s.rank = 5; });
    add("mamba-s6-complex", [&](ProgramShape& s) { s6(s), s.is_complex = true, s.states = 5; });
    for (const bool is_complex : {false, true}) {
        const std::string end = is_complex ? "-complex" : "";
        const auto base = [&, is_complex](ProgramShape& s) { s6(s), s.is_complex = is_complex; };
        add("s6-constant-delta" + end, [&](ProgramShape& s) { base(s), s.rank = 0; });
        add("s6-constant-b" + end, [&](ProgramShape& s) { base(s), s.selective_b = false; });
        add("s6-constant-c" + end, [&](ProgramShape& s) { base(s), s.selective_c = false; });
        add("s6-constant-all" + end,
            [&](ProgramShape& s) { base(s), s.rank = 0, s.selective_b = s.selective_c = false; });
        add("s6-zoh" + end, [&](ProgramShape& s) { base(s), s.discretization = Discretization::zoh; });
        add("s6-bilinear" + end, [&](ProgramShape& s) { base(s), s.discretization = Discretization::bilinear; });
    }
    add("s4-mlp", [](ProgramShape& s) { s.block = BlockStepKind::s4; });
    add("s4-mlp-unet", [](ProgramShape& s) { s.block = BlockStepKind::s4, s.skip_layers = true, s.width = 13; });
    add("s4-no-glu-no-mlp", [](ProgramShape& s) { s.block = BlockStepKind::s4, s.glu = false, s.mlp = 0; });
    add("s4-glu-no-mlp", [](ProgramShape& s) { s.block = BlockStepKind::s4, s.mlp = 0, s.width = 21; });
    add("s4-mlp-dplr", [](ProgramShape& s) { s.block = BlockStepKind::s4, s.ssm = StateSpaceKind::s4; });
    add("s6-mlp", [&](ProgramShape& s) { s6(s), s.block = BlockStepKind::s4; });
    add("s6-mlp-constant", [&](ProgramShape& s) {
        s6(s), s.block = BlockStepKind::s4, s.rank = 0, s.selective_b = s.selective_c = false;
    });
    add("rms", [&](ProgramShape& s) { s6(s), s.norm = NormKind::rms; });
    add("scalar-norm", [](ProgramShape& s) { s.block = BlockStepKind::s4, s.norm = NormKind::scalar; });
    add("scalar-norm-mamba", [](ProgramShape& s) { s.norm = NormKind::scalar; });
    add("no-pools", [&](ProgramShape& s) { s6(s), s.pools = {}; });
    add("three-pools", [](ProgramShape& s) { s.pools = {2, 3, 2}, s.pool_expand = 1; });
    add("pool-of-one", [](ProgramShape& s) { s.pools = {1, 2}; });
    return all;
}

}  // namespace nigiri::test
