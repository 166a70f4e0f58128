// One step of the plain kind of S6 (selective_scan.h): real, Euler's rule.
#pragma once

#include "kernels/cuda/engine/block_memory.h"

namespace nigiri::cuda::engine {

// The plain kind of S6: real, Euler's rule. It has a fast path.
NIGIRI_LANES bool is_plain(const S6Part& p) { return p.is_complex == 0 && p.discretization == Discretization::euler; }

// A plain layer's first four states of each stream are loaded before the barrier that the step waits for; for many
// streams that would take too many registers, and they wait for memory together.
template <class W, int kStreams>
inline constexpr int held_scans = kStreams <= 2 ? kStreams : 0;

// Lane `part` of a channel's lanes; channels follow each other through the block's threads.
template <class W, int kStreams>
struct ScanPlace {
    typename W::Int channel, part;
    typename W::Mask exists;

    NIGIRI_LANES ScanPlace(const W& w, const S6Part& p, int channels, int turn) {
        const typename W::Int unit = W::lane() + (w.index() * warp_lanes + turn * Columns<W, kStreams>::threads);
        channel = unit >> p.lane_bits;
        part = unit & ((1 << p.lane_bits) - 1);
        exists = channel < channels;
    }
};

template <class W, int kStreams>
NIGIRI_LANES void prepare_scan(const W& w, const BlockMemory& m, const Layer& layer, StateAhead<W, kStreams>& ahead) {
    const S6Part p = W::record(layer.s6);
    if constexpr (held_scans < W, kStreams >> 0) {
        if (!is_plain(p)) return;
        const ScanPlace<W, kStreams> at(w, p, layer.channels, 0);
        const typename W::Int n = at.channel * p.numbers + at.part * 4;
        ahead.first = W::fetch4_if(at.exists, m.constants, n + p.poles);
        NIGIRI_UNROLL
        for (int s = 0; s < held_scans<W, kStreams>; ++s)
            ahead.more[s] = W::load4_if(at.exists, m.state, n + (p.h + s * layer.channels * p.numbers));
    }
}

// Where many streams' states are in no cache: on their way from the mamba phase on.
template <class W, int kStreams>
NIGIRI_LANES void call_states(const W& w, const BlockMemory& m, int from, int floats) {
    constexpr int line = 32;
    const typename W::Int own = (W::lane() + w.index() * warp_lanes) * line;
    for (int at = 0; at < floats; at += Columns<W, kStreams>::threads * line)
        W::prefetch_if(own + at < floats, m.state, own + (at + from));
}

// Steps of one to four streams at a time. kDealt: a channel has four lanes or more, and each of four makes and finishes
// the step of one of four streams, which all of them then take part in.
template <class W, int kStreams, bool kDealt>
struct PlainScan {
    using F = typename W::Float;
    using F4 = typename W::Float4;
    using I = typename W::Int;
    static constexpr int together = kDealt || kStreams > 4 ? 4 : kStreams;
    static constexpr int made = kDealt ? 1 : together;  // steps that a lane makes

    const BlockMemory& m;
    const LayerHead& layer;
    const S6Part& p;
    ScanPlace<W, kStreams> at;
    I channel;
    int first;  // stream

    NIGIRI_LANES I stream(int i) const { return kDealt ? (at.part & 3) + first : at.part * 0 + (first + i); }
    NIGIRI_LANES I state_index(int i, int round) const {
        const int plane = layer.channels * p.numbers;
        return channel * p.numbers + (at.part + (round << p.lane_bits)) * 4 + (p.h + (first + i) * plane);
    }

    // The step sizes and their products with the input; u of the steps that the lane makes.
    NIGIRI_LANES void make_steps(F (&dt)[together], F (&x)[together], F (&u)[made]) const {
        const F bias = W::fetch(m.constants, channel + p.delta_bias);
        F step[made];
        NIGIRI_UNROLL
        for (int i = 0; i < made; ++i) step[i] = bias, u[i] = W::load(m.u(), channel * kStreams + stream(i));
        NIGIRI_UNROLL_BY(1)
        for (int r = 0; r < p.rank; r += 4) {
            const F4 weight = W::fetch4(m.constants, channel * p.rank + (p.delta + r));
            NIGIRI_UNROLL
            for (int i = 0; i < made; ++i) {
                const F4 row = W::load4(m.projected(), stream(i) * p.projected + r);
                step[i] = W::fma(weight.x, row.x, W::fma(weight.y, row.y, step[i])) +
                          W::fma(weight.z, row.z, weight.w * row.w);
            }
        }
        NIGIRI_UNROLL
        for (int i = 0; i < made; ++i) step[i] = softplus<W>(step[i]);
        NIGIRI_UNROLL
        for (int i = 0; i < together; ++i) {
            if constexpr (kDealt) {
                const I maker = W::lane() - (W::lane() & 3) + i;
                dt[i] = W::from_lane(step[0], maker), x[i] = W::from_lane(step[0] * u[0], maker);
            } else {
                dt[i] = step[i], x[i] = step[i] * u[i];
            }
        }
    }

    // Four states of each stream; what they give is added to y.
    NIGIRI_LANES void advance(int round, const F4& poles, F4 (&h)[together], const F (&dt)[together],
                              const F (&x)[together], F (&y)[together]) const {
        const I part = (at.part + (round << p.lane_bits)) * 4, n = channel * p.numbers + part;
        NIGIRI_UNROLL
        for (int i = 0; i < together; ++i) {
            const auto part_of = [&](int selective, int constant, int row) -> F4 {
                return selective ? W::load4(m.projected(), part + ((first + i) * p.projected + row))
                                 : W::fetch4(m.constants, n + constant);
            };
            const F4 b = part_of(p.selective_b, p.b, p.b_row), c = part_of(p.selective_c, p.c, p.c_row);
            const auto state = [&](F pole, F b_n, F c_n, F& h_n, F sum) -> F {
                h_n = W::fma(W::exp2(dt[i] * pole), h_n, b_n * x[i]);
                return W::fma(c_n, h_n, sum);
            };
            const F even = state(poles.x, b.x, c.x, h[i].x, y[i]), odd = state(poles.y, b.y, c.y, h[i].y, F(0.0f));
            y[i] = state(poles.z, b.z, c.z, h[i].z, even) + state(poles.w, b.w, c.w, h[i].w, odd);
            W::store4_if(at.exists, m.state, state_index(i, round), h[i]);
        }
    }

    // With those of the channel's other lanes -> skip, gate or GELU -> operand_y.
    NIGIRI_LANES void finish(F (&y)[together], const F (&u)[made], const F (&z)[made], const F& skip) const {
        if constexpr (kDealt) {
            // Each exchange halves the streams whose sums a lane has.
            const typename W::Mask high = (at.part & 2) != 0, odd = (at.part & 1) != 0;
            NIGIRI_UNROLL
            for (int i = 0; i < 2; ++i)
                y[i] = W::select(high, y[i + 2], y[i]) + W::shuffle_xor(W::select(high, y[i], y[i + 2]), 2);
            y[0] = W::select(odd, y[1], y[0]) + W::shuffle_xor(W::select(odd, y[0], y[1]), 1);
            if (p.lane_bits > 2) y[0] = y[0] + W::shuffle_xor(y[0], 4);
        } else {
            NIGIRI_UNROLL
            for (int i = 0; i < together; ++i) {
                NIGIRI_UNROLL_BY(1)
                for (int bit = 0; bit < p.lane_bits; ++bit) y[i] = y[i] + W::shuffle_xor(y[i], 1 << bit);
            }
        }
        NIGIRI_UNROLL
        for (int i = 0; i < made; ++i) {
            F out = W::fma(skip, u[i], y[i]);
            out = layer.kind == BlockStepKind::mamba ? out * z[i] : gelu<W>(out);
            // Without dealing a channel's lanes write different streams.
            const int lanes = (1 << p.lane_bits) - 1;
            const typename W::Mask writes = at.exists & (at.part == (kDealt ? at.part & 3 : I((first + i) & lanes)));
            write_operand_of<W, kStreams, 1>(m.operand_y(), writes, channel, stream(i), at.part * 0, out);
        }
    }
};

// u, z and the projection -> operand_y. With a gate, z holds silu(z). States come from far away: those of the next
// steps are on their way while these are made.
template <class W, int kStreams, bool kDealt>
NIGIRI_LANES void plain_scan_phase(const W& w, const BlockMemory& m, const Layer& of,
                                   const StateAhead<W, kStreams>& ahead) {
    using Scan = PlainScan<W, kStreams, kDealt>;
    using F = typename W::Float;
    using F4 = typename W::Float4;
    constexpr int held = held_scans<W, kStreams>, threads = Columns<W, kStreams>::threads;
    const LayerHead layer = W::template record<LayerHead>(of);
    const S6Part p = W::record(of.s6);
    const int lanes = layer.channels << p.lane_bits;
    // With more streams there are no registers for that; then the states are fetched into the second-level cache.
    constexpr bool one_ahead = held > 0;
    struct States {
        F4 poles, h[Scan::together];
    };
    const auto scan_of = [&](int turn, int first) -> Scan {
        const ScanPlace<W, kStreams> at(w, p, layer.channels, turn);
        return {m, layer, p, at, W::select(at.exists, at.channel, at.channel * 0), first};
    };
    const auto load = [&](const Scan& scan, int round) -> States {
        States r;
        const typename W::Int part = (scan.at.part + (round << p.lane_bits)) * 4;
        r.poles = W::fetch4(m.constants, scan.channel * p.numbers + part + p.poles);
        NIGIRI_UNROLL
        for (int i = 0; i < Scan::together; ++i) r.h[i] = W::load4(m.state, scan.state_index(i, round));
        return r;
    };
    States next;
    if constexpr (held > 0) {
        next.poles = ahead.first;
        NIGIRI_UNROLL
        for (int i = 0; i < Scan::together; ++i) next.h[i] = ahead.more[i];
    } else {
        if (one_ahead) next = load(scan_of(0, 0), 0);
    }
    int turn = 0, first = 0;
    NIGIRI_UNROLL_BY(1)
    while (turn * threads < lanes) {
        const Scan scan = scan_of(turn, first);
        States states = one_ahead ? next : load(scan, 0);
        first += Scan::together;
        if (first >= kStreams) first = 0, ++turn;
        if (one_ahead && turn * threads < lanes) next = load(scan_of(turn, first), 0);
        const F skip = W::fetch(m.constants, scan.channel * ChannelConstants::size + (layer.constants + 1));
        F dt[Scan::together], x[Scan::together], y[Scan::together], u[Scan::made], z[Scan::made];
        NIGIRI_UNROLL
        for (int i = 0; i < Scan::made; ++i) z[i] = W::load(m.z(), scan.channel * kStreams + scan.stream(i));
        scan.make_steps(dt, x, u);
        NIGIRI_UNROLL
        for (int i = 0; i < Scan::together; ++i) y[i] = 0.0f;
        scan.advance(0, states.poles, states.h, dt, x, y);
        NIGIRI_UNROLL_BY(1)
        for (int round = 1; round < p.rounds; ++round) {
            states = load(scan, round);
            scan.advance(round, states.poles, states.h, dt, x, y);
        }
        scan.finish(y, u, z, skip);
    }
}

}  // namespace nigiri::cuda::engine
