// What a warp does between two barriers.
#pragma once

#include "kernels/cuda/engine/products.h"
#include "kernels/cuda/engine/s4d_phase.h"
#include "kernels/cuda/engine/scan_phase.h"

namespace nigiri::cuda::engine {

// What a warp keeps in registers from one phase to the next.
template <class W, int kStreams>
struct Registers {
    Windows<W> windows;
    StateAhead<W, kStreams> ahead;
};

// The present step of a stage.
struct Moment {
    uint32_t step = 0;  // of the stage, modulo a multiple of 16
    int pool_phase = 0;
};

// The tiles' product with x or y and what becomes of its rows: prepared = prepare(tile), finish(tile, rows, prepared).
// A product of x is of norm(x) where `kNormed`.
template <class W, int kStreams, bool kNormed, class P, class F>
NIGIRI_LANES void product_phase(const W& w, Registers<W, kStreams>& r, const BlockMemory& m, const Phase& phase,
                                const uint16_t* operand, P&& prepare, F&& finish) {
    const Place<W, kStreams> at;
    const Matrix matrix = W::record(phase.matrix);
    using Prepared = decltype(prepare(0));
    struct Ahead {
        RowConstants<W> constants;
        Prepared own;
    };
    const auto early = [&](int tile) -> Ahead {
        return {RowConstants<W>::template fetch<kStreams>(matrix, m.constants, at, tile), prepare(tile)};
    };
    if constexpr (kNormed) {
        const Norm norm = W::record(phase.norm);
        const PartStatistics<W, kStreams> statistics(m, at, norm);
        Scale<W, kStreams> scale;
        product<W, kStreams>(w, r.windows, m.weights, matrix, operand, early,
                             [&](int tile, Own<W, kStreams>(&rows)[2], const Ahead& ahead) {
                                 if (tile == w.index()) scale = statistics.scale(m, at, norm);
                                 apply_scale<W, kStreams>(ahead.constants, scale, rows);
                                 finish(tile, rows, ahead.own);
                             });
    } else {
        product<W, kStreams>(w, r.windows, m.weights, matrix, operand, early,
                             [&](int tile, Own<W, kStreams>(&rows)[2], const Ahead& ahead) {
                                 add_bias<W, kStreams>(ahead.constants, rows);
                                 finish(tile, rows, ahead.own);
                             });
    }
}

struct Nothing {};

// Of a tile of a Mamba block's channels: what does not depend on the present input.
template <class W, int kStreams, SsmPart kSsm>
struct MambaAhead {
    static constexpr int held = 3;  // taps of the usual convolution but one
    typename W::Float4 parts;       // of the channel
    typename W::Float4 taps;
    Own<W, kStreams> past[held];
    S4dAhead<W, kStreams, kSsm == SsmPart::s4d> s4d;
};

// x and z of a channel -> convolution -> S4D and gate -> operand_y, or what the state space's own phases read.
template <class W, int kStreams, SsmPart kSsm>
NIGIRI_LANES void mamba_phase(const W& w, Registers<W, kStreams>& r, const BlockMemory& m, const Phase& phase,
                              const Moment& now) {
    using C = Columns<W, kStreams>;
    using I = typename W::Int;
    using Ahead = MambaAhead<W, kStreams, kSsm>;
    const Place<W, kStreams> at;
    const LayerHead layer = W::template record<LayerHead>(phase.layer);
    const S4dPart s4d = W::record(phase.layer.s4d);
    const int channels = layer.channel_tiles * channel_tile;
    const auto slot = [&](int delay) {
        return static_cast<int>((now.step - static_cast<uint32_t>(delay)) &
                                static_cast<uint32_t>(layer.conv_slots - 1)) *
               channels;
    };
    const auto prepare = [&](int tile) -> Ahead {
        Ahead a;
        const I channel = at.channel(tile);
        a.parts = W::fetch4(m.constants, channel * 4 + layer.channel_parts);
        a.taps = W::fetch4(m.constants, channel * layer.conv_slots + layer.conv);
        NIGIRI_UNROLL
        for (int i = 0; i < a.held; ++i)
            a.past[i] = load_own<W, kStreams>(at, true, m.state, layer.conv_state, channel + slot(i + 1));
        if constexpr (kSsm == SsmPart::s4d) a.s4d.load(m, at, s4d, tile, now.step);
        return a;
    };
    if constexpr (kSsm == SsmPart::s4d) {
        prepare_blocks<W, kStreams>(w, m, layer, s4d, phase.prepares, now.step, r.ahead);
    } else {
        if (phase.prepares) prepare_scan<W, kStreams>(w, m, phase.layer, r.ahead);
    }
    product_phase<W, kStreams, true>(
        w, r, m, phase, m.operand_x(), prepare, [&](int tile, Own<W, kStreams>(&rows)[2], const Ahead& a) {
            const I channel = at.channel(tile);
            Own<W, kStreams> u, &x = rows[0], &z = rows[1];
            NIGIRI_UNROLL
            for (int o = 0; o < C::own; ++o) {
                u.v[o] = W::fma(a.taps.w, a.past[2].v[o], a.parts.x);
                u.v[o] = W::fma(a.taps.z, a.past[1].v[o], u.v[o]);
                u.v[o] = W::fma(a.taps.y, a.past[0].v[o], u.v[o]);
                u.v[o] = W::fma(a.taps.x, x.v[o], u.v[o]);
            }
            for (int delay = a.held + 1; delay < layer.conv_slots; ++delay) {
                const auto past = load_own<W, kStreams>(at, true, m.state, layer.conv_state, channel + slot(delay));
                const auto tap = W::fetch(m.constants, channel * layer.conv_slots + (layer.conv + delay));
                NIGIRI_UNROLL
                for (int o = 0; o < C::own; ++o) u.v[o] = W::fma(tap, past.v[o], u.v[o]);
            }
            store_own<W, kStreams>(at, true, m.state, layer.conv_state, channel + slot(0), x);
            NIGIRI_UNROLL
            for (int o = 0; o < C::own; ++o) u.v[o] = silu<W>(u.v[o]), z.v[o] = silu<W>(z.v[o]);
            if constexpr (kSsm == SsmPart::s4d) {
                auto y = a.s4d.output(m, at, s4d, tile, now.step, a.parts.y, u);
                NIGIRI_UNROLL
                for (int o = 0; o < C::own; ++o) y.v[o] = y.v[o] * z.v[o];
                write_operand<W, kStreams>(m.operand_y(), at, true, channel, y);
            } else {
                store_own<W, kStreams>(at, true, m.u(), 0, channel, u);
                store_own<W, kStreams>(at, true, m.z(), 0, channel, z);
                if (layer.ssm == SsmPart::s6) write_operand<W, kStreams>(m.operand_y(), at, true, channel, u);
            }
        });
}

// The norm of an s4 block and its S4D, or what the state space's own phases read.
template <class W, int kStreams>
NIGIRI_LANES void normed_phase(const W& w, Registers<W, kStreams>& r, const BlockMemory& m, const Phase& phase,
                               const Moment& now) {
    using C = Columns<W, kStreams>;
    using I = typename W::Int;
    const Place<W, kStreams> at;
    const LayerHead layer = W::template record<LayerHead>(phase.layer);
    const S4dPart s4d = W::record(phase.layer.s4d);
    const Norm norm = W::record(phase.norm);
    const bool is_s4d = layer.ssm == SsmPart::s4d;
    const PartStatistics<W, kStreams> statistics(m, at, norm);
    if (is_s4d)
        prepare_blocks<W, kStreams>(w, m, layer, s4d, phase.prepares, now.step, r.ahead);
    else if (phase.prepares)
        prepare_scan<W, kStreams>(w, m, phase.layer, r.ahead);
    const auto scale = statistics.scale(m, at, norm);
    for (int tile = w.index(); tile < layer.channel_tiles; tile += C::warps) {
        const I channel = at.channel(tile);
        const typename W::Mask exists = channel < layer.channels;
        S4dAhead<W, kStreams, true> ahead;
        if (is_s4d) ahead.load(m, at, s4d, tile, now.step);
        const auto parts = W::fetch4(m.constants, channel * 4 + layer.channel_parts);
        auto u = load_own<W, kStreams>(at, exists, m.x(), 0, channel);
        NIGIRI_UNROLL
        for (int o = 0; o < C::own; ++o)
            u.v[o] = W::fma((u.v[o] - scale.mean.v[o]) * scale.rstd.v[o], parts.z, parts.w);
        if (is_s4d) {
            auto y = ahead.output(m, at, s4d, tile, now.step, parts.y, u);
            NIGIRI_UNROLL
            for (int o = 0; o < C::own; ++o) y.v[o] = gelu<W>(y.v[o]);
            write_operand<W, kStreams>(m.operand_y(), at, exists, channel, y);
        } else {
            store_own<W, kStreams>(at, exists, m.u(), 0, channel, u);
            if (layer.ssm == SsmPart::s6) write_operand<W, kStreams>(m.operand_y(), at, exists, channel, u);
        }
    }
}

// The codes' rows of the embedding.
template <class W, int kStreams>
NIGIRI_LANES void embed_phase(const W& w, const BlockMemory& m, const Program& program, const Phase& phase,
                              const Moment& now) {
    using C = Columns<W, kStreams>;
    const Place<W, kStreams> at;
    const Settle how = W::record(phase.settle);
    for (int tile = w.index(); tile * tile_rows < how.width; tile += C::warps) {
        const SettleAhead<W, kStreams, 2> ahead(m, at, how, now.pool_phase, tile);
        Own<W, kStreams> rows[2];
        NIGIRI_UNROLL
        for (int half = 0; half < 2; ++half) {
            const typename W::Int row = at.row(tile, half);
            NIGIRI_UNROLL
            for (int o = 0; o < C::own; ++o)
                rows[half].v[o] = W::fetch_if(row < how.width, m.constants,
                                              W::load(m.codes, at.stream + o) * how.width + (row + program.embedding));
        }
        settle<W, kStreams, 2>(m, at, how, now.pool_phase, tile, ahead, rows);
    }
}

// A coarse step's samples from the stage above.
template <class W, int kStreams>
NIGIRI_LANES void gather_phase(const W& w, const BlockMemory& m, const Stage& above) {
    const Place<W, kStreams> at;
    const int rows = above.factor * above.width;
    for (int tile = w.index(); tile * 8 < rows; tile += Columns<W, kStreams>::warps) {
        const typename W::Int row = at.channel(tile);
        const typename W::Mask exists = row < rows;
        write_operand<W, kStreams>(m.operand_y(), at, exists, row,
                                   load_own<W, kStreams>(at, exists, m.state, above.down, row));
    }
}

// A block's last product -> x. kHalves = 1: its rows g and g + 8 are a and b of a gated linear unit, a sigmoid(b).
template <class W, int kStreams, int kHalves>
NIGIRI_LANES void settle_phase(const W& w, Registers<W, kStreams>& r, const BlockMemory& m, const Phase& phase,
                               const Moment& now) {
    using Ahead = SettleAhead<W, kStreams, kHalves>;
    const Place<W, kStreams> at;
    const Settle how = W::record(phase.settle);
    product_phase<W, kStreams, false>(
        w, r, m, phase, m.operand_y(), [&](int tile) { return Ahead(m, at, how, now.pool_phase, tile); },
        [&](int tile, Own<W, kStreams>(&rows)[2], const Ahead& ahead) {
            Own<W, kStreams> values[kHalves];
            NIGIRI_UNROLL
            for (int o = 0; o < Columns<W, kStreams>::own; ++o) {
                values[0].v[o] = rows[0].v[o];
                if constexpr (kHalves == 2)
                    values[1].v[o] = rows[1].v[o];
                else
                    values[0].v[o] = rows[0].v[o] * sigmoid<W>(rows[1].v[o]);
            }
            settle<W, kStreams, kHalves>(m, at, how, now.pool_phase, tile, ahead, values);
        });
}

// Calls put(half, row, exists, values) for the two rows of a lane in each tile of a product.
template <class W, int kStreams, bool kNormed, class F>
NIGIRI_LANES void rows_phase(const W& w, Registers<W, kStreams>& r, const BlockMemory& m, const Phase& phase,
                             const uint16_t* operand, F&& put) {
    const Place<W, kStreams> at;
    const int count = phase.matrix.rows;
    product_phase<W, kStreams, kNormed>(
        w, r, m, phase, operand, [](int) { return Nothing(); },
        [&](int tile, Own<W, kStreams>(&rows)[2], const Nothing&) {
            NIGIRI_UNROLL
            for (int half = 0; half < 2; ++half) {
                const typename W::Int row = at.row(tile, half);
                put(at, row, row < count, rows[half]);
            }
        });
}

// A row of each stream, `stride` numbers apart.
template <class W, int kStreams>
NIGIRI_LANES void store_by_stream(const Place<W, kStreams>& at, float* to, int stride, const typename W::Int& row,
                                  const typename W::Mask& exists, const Own<W, kStreams>& values) {
    NIGIRI_UNROLL
    for (int o = 0; o < Columns<W, kStreams>::own; ++o)
        W::store_if(exists & (at.rank == 0), to, (at.stream + o) * stride + row, values.v[o]);
}

template <class W, int kStreams>
NIGIRI_LANES void project_phase(const W& w, Registers<W, kStreams>& r, const BlockMemory& m, const Phase& phase) {
    const int stride = phase.layer.s6.projected;
    if (phase.prepares) prepare_scan<W, kStreams>(w, m, phase.layer, r.ahead);
    rows_phase<W, kStreams, false>(w, r, m, phase, m.operand_y(),
                                   [&](const auto& at, const auto& row, const auto& exists, const auto& values) {
                                       store_by_stream<W, kStreams>(at, m.projected(), stride, row, exists, values);
                                   });
}

template <class W, int kStreams>
NIGIRI_LANES void gelu_phase(const W& w, Registers<W, kStreams>& r, const BlockMemory& m, const Phase& phase) {
    rows_phase<W, kStreams, true>(w, r, m, phase, m.operand_x(),
                                  [&](const auto& at, const auto& row, const auto& exists, auto& values) {
                                      NIGIRI_UNROLL
                                      for (int o = 0; o < Columns<W, kStreams>::own; ++o)
                                          values.v[o] = gelu<W>(values.v[o]);
                                      write_operand<W, kStreams>(m.operand_y(), at, exists, row, values);
                                  });
}

template <class W, int kStreams>
NIGIRI_LANES void pool_up_phase(const W& w, Registers<W, kStreams>& r, const BlockMemory& m, const Stage& above,
                                const Phase& phase) {
    const int up = above.up;
    rows_phase<W, kStreams, false>(w, r, m, phase, m.operand_x(),
                                   [&](const auto& at, const auto& row, const auto& exists, const auto& values) {
                                       store_own<W, kStreams>(at, exists, m.state, up, row, values);
                                   });
}

template <class W, int kStreams>
NIGIRI_LANES void head_phase(const W& w, Registers<W, kStreams>& r, const BlockMemory& m, const Program& program,
                             const Phase& phase) {
    const int stride = program.vocabulary_padded;
    rows_phase<W, kStreams, true>(w, r, m, phase, m.operand_x(),
                                  [&](const auto& at, const auto& row, const auto& exists, const auto& values) {
                                      store_by_stream<W, kStreams>(at, m.logits(), stride, row, exists, values);
                                  });
}

}  // namespace nigiri::cuda::engine
