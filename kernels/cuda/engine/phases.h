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
// A product of x is of norm(x) where `kNormed`. prepared.constants are the RowConstants.
template <class W, int kStreams, bool kNormed, class P, class F>
NIGIRI_LANES void product_phase(const W& w, Registers<W, kStreams>& r, const BlockMemory& m, const Phase& phase,
                                const uint16_t* operand, P&& prepare, F&& finish) {
    const Place<W, kStreams> at;
    const Matrix matrix = W::record(phase.matrix);
    using Prepared = decltype(prepare(matrix, 0));
    const auto early = [&](int tile) -> Prepared { return prepare(matrix, tile); };
    if constexpr (kNormed) {
        product<W, kStreams>(w, r.windows, m.weights, matrix, operand, early,
                             [&](int tile, Own<W, kStreams>(&rows)[2], const Prepared& prepared) {
                                 // Made while the tensor cores work.
                                 const Norm norm = W::record(phase.norm);
                                 const PartStatistics<W, kStreams> statistics(m, at);
                                 const auto scale = statistics.scale(m, at, norm);
                                 apply_scale<W, kStreams>(prepared.constants, scale, rows);
                                 finish(tile, rows, prepared);
                             });
    } else {
        product<W, kStreams>(w, r.windows, m.weights, matrix, operand, early,
                             [&](int tile, Own<W, kStreams>(&rows)[2], const Prepared& prepared) {
                                 add_bias<W, kStreams>(prepared.constants, rows);
                                 finish(tile, rows, prepared);
                             });
    }
}

// Of a tile of a Mamba block's channels: what does not depend on the present input.
template <class W, int kStreams, SsmPart kSsm>
struct MambaAhead {
    static constexpr int held = 4;  // taps of the usual convolution
    RowConstants<W> constants;
    typename W::Float4 parts, taps;  // of the channel
    typename W::Float4 past[Columns<W, kStreams>::own];
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
    constexpr bool is_s4d = kSsm == SsmPart::s4d;
    const auto past_of = [&](const I& channel, int o) {  // the convolution's last inputs
        return (channel * kStreams + at.stream + o) * most_taps + layer.conv;
    };
    const auto prepare = [&](const Matrix&, int tile) -> Ahead {
        Ahead a;
        const I channel = at.channel(tile), own = channel * ChannelConstants::size + layer.constants;
        const auto rows = W::fetch4(m.constants, own + ChannelConstants::rows);
        a.constants = {{{rows.x, rows.y}, {rows.z, rows.w}}};
        a.parts = W::fetch4(m.constants, own + ChannelConstants::parts);
        a.taps = W::fetch4(m.constants, own + ChannelConstants::taps);
        NIGIRI_UNROLL
        for (int o = 0; o < C::own; ++o) a.past[o] = W::load4(m.state, past_of(channel, o));
        if constexpr (is_s4d) a.s4d.load(m, at, s4d, tile, block_place(tile, now.step));
        return a;
    };
    if constexpr (kSsm == SsmPart::s4d) {
        prepare_blocks<W, kStreams>(w, m, layer, s4d, phase.prepares, now.step, r.ahead);
    } else {
        if (phase.prepares) prepare_scan<W, kStreams>(w, m, phase.layer, r.ahead);
        if constexpr (held_scans<W, kStreams> == 0)
            if (layer.ssm == SsmPart::s6)
                call_states<W, kStreams>(w, m, phase.layer.s6.h, kStreams * layer.channels * phase.layer.s6.numbers);
    }
    product_phase<W, kStreams, true>(
        w, r, m, phase, m.operand_x(), prepare, [&](int tile, Own<W, kStreams>(&rows)[2], const Ahead& a) {
            const I channel = at.channel(tile);
            Own<W, kStreams> u, &x = rows[0], &z = rows[1];
            W::sync();  // the lanes that share a stream have read what one of them now writes
            NIGIRI_UNROLL
            for (int o = 0; o < C::own; ++o) {
                const auto& past = a.past[o];
                u.v[o] = W::fma(a.taps.w, past.z, W::fma(a.taps.z, past.y, W::fma(a.taps.y, past.x, a.parts.x)));
                u.v[o] = W::fma(a.taps.x, x.v[o], u.v[o]);
                if (layer.taps > a.held) {
                    const I own = channel * ChannelConstants::size + (layer.constants + ChannelConstants::taps + 4);
                    const auto more = W::fetch4(m.constants, own);
                    const auto older = W::load4(m.state, past_of(channel, o) + 4);
                    u.v[o] = W::fma(more.x, past.w, W::fma(more.y, older.x, u.v[o]));
                    u.v[o] = W::fma(more.z, older.y, W::fma(more.w, older.z, u.v[o]));
                    W::sync();
                    W::store4_if(at.rank == 0, m.state, past_of(channel, o) + 4, {past.w, older.x, older.y, older.z});
                }
                W::store4_if(at.rank == 0, m.state, past_of(channel, o), {x.v[o], past.x, past.y, past.z});
            }
            NIGIRI_UNROLL
            for (int o = 0; o < C::own; ++o) u.v[o] = silu<W>(u.v[o]), z.v[o] = silu<W>(z.v[o]);
            if constexpr (kSsm == SsmPart::s4d) {
                auto y = a.s4d.output(m, at, s4d, tile, block_place(tile, now.step), a.parts.y, u);
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
template <class W, int kStreams, SsmPart kSsm>
NIGIRI_LANES void normed_phase(const W& w, Registers<W, kStreams>& r, const BlockMemory& m, const Phase& phase,
                               const Moment& now) {
    using C = Columns<W, kStreams>;
    using I = typename W::Int;
    constexpr bool is_s4d = kSsm == SsmPart::s4d;
    const Place<W, kStreams> at;
    const LayerHead layer = W::template record<LayerHead>(phase.layer);
    const S4dPart s4d = W::record(phase.layer.s4d);
    const Norm norm = W::record(phase.norm);
    if constexpr (is_s4d)
        prepare_blocks<W, kStreams>(w, m, layer, s4d, phase.prepares, now.step, r.ahead);
    else if (phase.prepares)
        prepare_scan<W, kStreams>(w, m, phase.layer, r.ahead);
    const auto scale = PartStatistics<W, kStreams>(m, at).scale(m, at, norm);
    for (int tile = w.index(); tile < layer.channel_tiles; tile += C::warps) {
        const I channel = at.channel(tile);
        const typename W::Mask exists = channel < layer.channels;
        S4dAhead<W, kStreams, is_s4d> ahead;
        if constexpr (is_s4d) ahead.load(m, at, s4d, tile, block_place(tile, now.step));
        const auto parts =
            W::fetch4(m.constants, channel * ChannelConstants::size + (layer.constants + ChannelConstants::parts));
        auto u = load_own<W, kStreams>(at, exists, m.x(), 0, channel);
        NIGIRI_UNROLL
        for (int o = 0; o < C::own; ++o)
            u.v[o] = W::fma((u.v[o] - scale.mean.v[o]) * scale.rstd.v[o], parts.z, parts.w);
        if constexpr (is_s4d) {
            auto y = ahead.output(m, at, s4d, tile, block_place(tile, now.step), parts.y, u);
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
                                   load_own_fresh<W, kStreams>(at, exists, m.state, above.down, row));
    }
}

// A block's last product -> x. kHalves = 1: its rows g and g + 8 are a and b of a gated linear unit, a sigmoid(b).
template <class W, int kStreams, int kHalves>
NIGIRI_LANES void settle_phase(const W& w, Registers<W, kStreams>& r, const BlockMemory& m, const Phase& phase,
                               const Moment& now) {
    struct Ahead {
        RowConstants<W> constants;
        SettleAhead<W, kStreams, kHalves> values;
    };
    const Place<W, kStreams> at;
    const Settle how = W::record(phase.settle);
    product_phase<W, kStreams, false>(
        w, r, m, phase, m.operand_y(),
        [&](const Matrix& matrix, int tile) -> Ahead {
            return {RowConstants<W>::template fetch<kStreams>(matrix, m.constants, at, tile),
                    {m, at, how, now.pool_phase, tile}};
        },
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
            settle<W, kStreams, kHalves>(m, at, how, now.pool_phase, tile, ahead.values, values);
        });
}

// Calls put(half, row, exists, values) for the two rows of a lane in each tile of a product.
template <class W, int kStreams, bool kNormed, class F>
NIGIRI_LANES void rows_phase(const W& w, Registers<W, kStreams>& r, const BlockMemory& m, const Phase& phase,
                             const uint16_t* operand, F&& put) {
    const Place<W, kStreams> at;
    struct Ahead {
        RowConstants<W> constants;
    };
    const int count = phase.matrix.rows;
    product_phase<W, kStreams, kNormed>(
        w, r, m, phase, operand,
        [&](const Matrix& matrix, int tile) -> Ahead {
            return {RowConstants<W>::template fetch<kStreams>(matrix, m.constants, at, tile)};
        },
        [&](int tile, Own<W, kStreams>(&rows)[2], const Ahead&) {
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
