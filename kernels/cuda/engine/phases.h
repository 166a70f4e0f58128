// What a warp does between two barriers.
#pragma once

#include "kernels/cuda/engine/products.h"
#include "kernels/cuda/engine/s4d_phase.h"
#include "kernels/cuda/engine/scan_phase.h"

namespace nigiri::cuda::engine {

// What a warp keeps in registers from one phase to the next.
template <class W, int kStreams>
struct Registers {
    Windows<W, kStreams> windows;
    ScanAhead<W, kStreams> scan;
};

// The present step of a stage.
struct Moment {
    uint32_t step = 0;  // of the stage, modulo a multiple of 16
    int pool_phase = 0;
};

// Of a tile of a Mamba block's channels: what does not depend on the present input.
template <class W, int kStreams>
struct MambaAhead {
    static constexpr int held = 3;  // taps of the usual convolution but one
    typename W::Float4 parts;       // of the channel
    typename W::Float tap[held + 1];
    Own<W, kStreams> past[held];
    S4dAhead<W, kStreams> s4d;
};

template <class W, int kStreams>
NIGIRI_LANES MambaAhead<W, kStreams> prepare_mamba(const BlockMemory& m, const Place<W, kStreams>& at,
                                                   const Layer& layer, int tile, uint32_t step) {
    MambaAhead<W, kStreams> a;
    const typename W::Int channel = at.channel(tile);
    a.parts = W::fetch4(m.constants, channel * 4 + layer.channel_parts);
    const auto taps = W::fetch4(m.constants, channel * layer.conv_slots + layer.conv);
    a.tap[0] = taps.x, a.tap[1] = taps.y, a.tap[2] = taps.z, a.tap[3] = taps.w;
    NIGIRI_UNROLL
    for (int i = 0; i < a.held; ++i) {
        const int slot =
            static_cast<int>((step - 1 - static_cast<uint32_t>(i)) & static_cast<uint32_t>(layer.conv_slots - 1));
        a.past[i] = load_own<W, kStreams>(at, true, m.state, layer.conv_state,
                                          channel + slot * (layer.channel_tiles * channel_tile));
    }
    if (layer.ssm == SsmPart::s4d) a.s4d = prepare_s4d<W, kStreams>(m, at, layer.s4d, tile, step);
    return a;
}

template <class W, int kStreams>
NIGIRI_LANES void finish_mamba(const BlockMemory& m, const Place<W, kStreams>& at, const Layer& layer, int tile,
                               uint32_t step, const MambaAhead<W, kStreams>& a, const Own<W, kStreams>& x,
                               Own<W, kStreams> z) {
    using C = Columns<kStreams>;
    using I = typename W::Int;
    const int channels = layer.channel_tiles * channel_tile;
    const I channel = at.channel(tile);
    Own<W, kStreams> u;
    NIGIRI_UNROLL
    for (int o = 0; o < C::own; ++o) {
        u.v[o] = W::fma(a.tap[0], x.v[o], a.parts.x);
        NIGIRI_UNROLL
        for (int i = 0; i < a.held; ++i) u.v[o] = W::fma(a.tap[i + 1], a.past[i].v[o], u.v[o]);
    }
    const auto slot = [&](int delay) {
        return static_cast<int>((step - static_cast<uint32_t>(delay)) & static_cast<uint32_t>(layer.conv_slots - 1)) *
               channels;
    };
    for (int delay = 4; delay < layer.conv_slots; ++delay) {
        const auto past = load_own<W, kStreams>(at, true, m.state, layer.conv_state, channel + slot(delay));
        const auto tap = W::fetch(m.constants, channel * layer.conv_slots + (layer.conv + delay));
        NIGIRI_UNROLL
        for (int o = 0; o < C::own; ++o) u.v[o] = W::fma(tap, past.v[o], u.v[o]);
    }
    store_own<W, kStreams>(at, true, m.state, layer.conv_state, channel + slot(0), x);
    NIGIRI_UNROLL
    for (int o = 0; o < C::own; ++o) u.v[o] = silu<W>(u.v[o]), z.v[o] = silu<W>(z.v[o]);
    if (layer.ssm == SsmPart::s4d) {
        auto y = finish_s4d<W, kStreams>(m, at, layer.s4d, tile, step, a.s4d, a.parts.y, u);
        NIGIRI_UNROLL
        for (int o = 0; o < C::own; ++o) y.v[o] = y.v[o] * z.v[o];
        write_operand<W, kStreams>(m.operand_y, at, true, channel, y);
        return;
    }
    store_own<W, kStreams>(at, true, m.u, 0, channel, u);
    store_own<W, kStreams>(at, true, m.z, 0, channel, z);
    if (layer.ssm == SsmPart::s6) write_operand<W, kStreams>(m.operand_y, at, true, channel, u);
}

// An s4 block up to its last product, or up to its scan.
template <class W, int kStreams>
NIGIRI_LANES void normed_phase(const W& w, const BlockMemory& m, const Place<W, kStreams>& at, const Phase& phase,
                               const Moment& now) {
    using C = Columns<kStreams>;
    using I = typename W::Int;
    const Layer& layer = m.layers[phase.layer];
    const auto scale = norm_scale<W, kStreams>(m, at, phase.norm);
    for (int tile = w.index() * C::tiles; tile < layer.channel_tiles; tile += C::warps * C::tiles) {
        const I channel = at.channel(tile);
        const typename W::Mask exists = channel < layer.channels;
        S4dAhead<W, kStreams> ahead;
        if (layer.ssm == SsmPart::s4d) ahead = prepare_s4d<W, kStreams>(m, at, layer.s4d, tile, now.step);
        const auto parts = W::fetch4(m.constants, channel * 4 + layer.channel_parts);
        auto u = load_own<W, kStreams>(at, exists, m.x, 0, channel);
        NIGIRI_UNROLL
        for (int o = 0; o < C::own; ++o)
            u.v[o] = W::fma((u.v[o] - scale.mean.v[o]) * scale.rstd.v[o], parts.z, parts.w);
        if (layer.ssm == SsmPart::s4d) {
            auto y = finish_s4d<W, kStreams>(m, at, layer.s4d, tile, now.step, ahead, parts.y, u);
            NIGIRI_UNROLL
            for (int o = 0; o < C::own; ++o) y.v[o] = gelu<W>(y.v[o]);
            write_operand<W, kStreams>(m.operand_y, at, exists, channel, y);
        } else {
            store_own<W, kStreams>(at, exists, m.u, 0, channel, u);
            if (layer.ssm == SsmPart::s6) write_operand<W, kStreams>(m.operand_y, at, exists, channel, u);
        }
    }
}

// The codes' rows of the embedding.
template <class W, int kStreams>
NIGIRI_LANES void embed_phase(const W& w, const BlockMemory& m, const Program& program, const Stage& stage,
                              const Phase& phase, const Moment& now) {
    using C = Columns<kStreams>;
    const Place<W, kStreams> at;
    for (int tile = w.index() * C::tiles; tile * tile_rows < stage.width; tile += C::warps * C::tiles) {
        Own<W, kStreams> rows[2];
        NIGIRI_UNROLL
        for (int half = 0; half < 2; ++half) {
            const typename W::Int row = at.row(tile, half);
            NIGIRI_UNROLL
            for (int o = 0; o < C::own; ++o)
                rows[half].v[o] =
                    W::fetch_if(row < stage.width, m.constants,
                                W::load(m.codes, at.stream + o) * stage.width + (row + program.embedding));
        }
        settle<W, kStreams, 2>(m, at, phase.settle, stage, now.pool_phase, tile, rows);
    }
}

// A coarse step's samples from the stage above.
template <class W, int kStreams>
NIGIRI_LANES void gather_phase(const W& w, const BlockMemory& m, const Stage& above) {
    const Place<W, kStreams> at;
    const int rows = above.factor * above.width;
    using C = Columns<kStreams>;
    for (int tile = w.index() * C::tiles; tile * 8 < rows; tile += C::warps * C::tiles) {
        const typename W::Int row = at.channel(tile);
        const typename W::Mask exists = row < rows;
        write_operand<W, kStreams>(m.operand_y, at, exists, row,
                                   load_own<W, kStreams>(at, exists, m.state, above.down, row));
    }
}

// A product and what becomes of its rows.
template <class W, int kStreams>
NIGIRI_LANES void product_phase(const W& w, Registers<W, kStreams>& r, const BlockMemory& m, const Stage& stage,
                                const Stage& above, const Program& program, const Phase& phase, const Moment& now) {
    using C = Columns<kStreams>;
    using I = typename W::Int;
    const Place<W, kStreams> at;
    const Layer& layer = m.layers[phase.layer < 0 ? 0 : phase.layer];
    const PhaseKind kind = phase.kind;
    const auto prepare = [&](int tile) -> MambaAhead<W, kStreams> {
        if (kind != PhaseKind::mamba) return {};
        return prepare_mamba<W, kStreams>(m, at, layer, tile, now.step);
    };
    Scale<W, kStreams> scale;
    const auto finish = [&](int tile, Own<W, kStreams>(&rows)[2], const MambaAhead<W, kStreams>& ahead) {
        if (phase.is_normed) {
            if (tile == w.index() * C::tiles) scale = norm_scale<W, kStreams>(m, at, phase.norm);
            apply_scale<W, kStreams>(phase.matrix, m.constants, at, tile, scale, rows);
        } else {
            add_bias<W, kStreams>(phase.matrix, m.constants, at, tile, rows);
        }
        if (kind == PhaseKind::mamba)
            return finish_mamba<W, kStreams>(m, at, layer, tile, now.step, ahead, rows[0], rows[1]);
        if (kind == PhaseKind::settle)
            return settle<W, kStreams, 2>(m, at, phase.settle, stage, now.pool_phase, tile, rows);
        if (kind == PhaseKind::glu) {
            Own<W, kStreams> gated[1];
            NIGIRI_UNROLL
            for (int o = 0; o < C::own; ++o) gated[0].v[o] = rows[0].v[o] * sigmoid<W>(rows[1].v[o]);
            return settle<W, kStreams, 1>(m, at, phase.settle, stage, now.pool_phase, tile, gated);
        }
        const I row[2] = {at.row(tile, 0), at.row(tile, 1)};
        NIGIRI_UNROLL
        for (int half = 0; half < 2; ++half) {
            const typename W::Mask exists = row[half] < phase.matrix.rows;
            if (kind == PhaseKind::gelu) {
                NIGIRI_UNROLL
                for (int o = 0; o < C::own; ++o) rows[half].v[o] = gelu<W>(rows[half].v[o]);
                write_operand<W, kStreams>(m.operand_y, at, exists, row[half], rows[half]);
            } else if (kind == PhaseKind::pool_up) {
                store_own<W, kStreams>(at, exists, m.state, above.up, row[half], rows[half]);
            } else {  // a row of each stream
                float* to = kind == PhaseKind::head ? m.logits : m.projected;
                const int stride = kind == PhaseKind::head ? program.vocabulary_padded : layer.s6.projected;
                NIGIRI_UNROLL
                for (int o = 0; o < C::own; ++o)
                    W::store_if(exists & (at.rank == 0), to, (at.stream + o) * stride + row[half], rows[half].v[o]);
            }
        }
    };
    product<W, kStreams>(w, r.windows, m.weights, at, phase.matrix, phase.reads_x ? m.operand_x : m.operand_y, prepare,
                         finish);
}

}  // namespace nigiri::cuda::engine
