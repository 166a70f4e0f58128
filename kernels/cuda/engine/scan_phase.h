// One step of S6 of every kind (selective_scan.h), and of S4 with its low-rank correction (s4_discrete.h).
#pragma once

#include "kernels/cuda/engine/plain_scan.h"

namespace nigiri::cuda::engine {

// Abar and what Bbar is of B, for one pole and step.
template <class W>
struct Discrete {
    typename W::Float re, im, gamma_re, gamma_im;

    NIGIRI_LANES Discrete(const S6Part& p, typename W::Float dt, typename W::Float log2_re, typename W::Float turns,
                          typename W::Float a_re, typename W::Float a_im) {
        using F = typename W::Float;
        if (p.discretization == Discretization::bilinear) {
            const F x = dt * a_re * 0.5f, y = dt * a_im * 0.5f, less = x * -1.0f + 1.0f;
            const F scale = F(1.0f) / W::fma(less, less, y * y);
            const F inverse_re = less * scale, inverse_im = y * scale;  // 1 / (1 - dt A / 2)
            re = W::fma(x + 1.0f, inverse_re, y * inverse_im * -1.0f);
            im = W::fma(x + 1.0f, inverse_im, y * inverse_re);
            gamma_re = dt * inverse_re, gamma_im = dt * inverse_im;
            return;
        }
        const F angle = dt * turns, cosine = W::cospi(angle), sine = W::sinpi(angle);
        if (p.discretization == Discretization::euler) {
            const F size = W::exp2(dt * log2_re);
            re = size * cosine, im = size * sine;
            gamma_re = dt, gamma_im = 0.0f;
            return;
        }
        const F less = W::expm1(dt * a_re), half = W::sinpi(angle * 0.5f);
        re = W::fma(less, cosine, cosine), im = W::fma(less, sine, sine);
        // (Abar - 1) / A; cos - 1 = -2 sin^2 of half the angle does not cancel.
        const F minus_1 = W::fma(less, cosine, half * half * -2.0f), size = W::fma(a_re, a_re, a_im * a_im);
        const typename W::Mask tiny = size < 1e-30f;
        const F scale = F(1.0f) / W::select(tiny, F(1.0f), size);
        gamma_re = W::select(tiny, dt, W::fma(minus_1, a_re, im * a_im) * scale);
        gamma_im = W::select(tiny, F(0.0f), W::fma(im, a_re, minus_1 * a_im * -1.0f) * scale);
    }
};

// y is the sum of this lane's states: with those of the channel's other lanes -> skip, gate or GELU -> operand_y.
template <class W, int kStreams>
NIGIRI_LANES void finish_scan(const BlockMemory& m, const LayerHead& layer, int bits, const ScanPlace<W, kStreams>& at,
                              const typename W::Int& channel, int s, typename W::Float y, typename W::Float u,
                              typename W::Float skip) {
    using F = typename W::Float;
    for (int bit = 0; bit < bits; ++bit) y = y + W::shuffle_xor(y, 1 << bit);
    F out = W::fma(skip, u, y);
    if (layer.kind == BlockStepKind::mamba)
        out = out * W::load(m.z(), channel * kStreams + s);
    else
        out = gelu<W>(out);
    // A channel's lanes write different streams.
    const typename W::Mask writes = at.exists & (at.part == (s & ((1 << bits) - 1)));
    write_operand_of<W, kStreams, 1>(m.operand_y(), writes, channel, typename W::Int(s), at.part * 0, out);
}

// The same for every kind, one state after the other.
template <class W, int kStreams>
NIGIRI_LANES void any_scan_phase(const W& w, const BlockMemory& m, const Layer& layer) {
    using F = typename W::Float;
    using I = typename W::Int;
    const S6Part& p = layer.s6;
    const int plane = layer.channels * p.numbers;
    NIGIRI_UNROLL_BY(1)
    for (int turn = 0; turn * Columns<W, kStreams>::threads < layer.channels << p.lane_bits; ++turn) {
        const ScanPlace<W, kStreams> at(w, p, layer.channels, turn);
        const I channel = W::select(at.exists, at.channel, at.channel * 0);
        const F skip = W::fetch(m.constants, channel * ChannelConstants::size + (layer.constants + 1));
        NIGIRI_UNROLL_BY(1)
        for (int s = 0; s < kStreams; ++s) {
            F dt = W::fetch(m.constants, channel + p.delta_bias), y = 0.0f;
            const F u = W::load(m.u(), channel * kStreams + s);
            NIGIRI_UNROLL_BY(1)
            for (int r = 0; r < p.rank; ++r)
                dt = W::fma(W::fetch(m.constants, channel * p.rank + (p.delta + r)),
                            W::load(m.projected(), I(s * p.projected + r)), dt);
            dt = softplus<W>(dt);
            NIGIRI_UNROLL_BY(1)
            for (int i = 0; i < 4 * p.rounds; ++i) {
                const I part = (at.part + ((i / 4) << p.lane_bits)) * 4 + i % 4, n = channel * p.numbers + part;
                const auto pole = [&](int which) { return W::fetch(m.constants, n + (p.poles + which * plane)); };
                const auto part_of = [&](int selective, int constant, int row, int imaginary) -> F {
                    return selective ? W::load(m.projected(), part + (s * p.projected + row + imaginary * p.numbers))
                                     : W::fetch(m.constants, n + (constant + imaginary * plane));
                };
                const I place = n + (p.h + s * plane);
                const Discrete<W> d(p, dt, pole(0), pole(1), pole(2), pole(3));
                const F b = part_of(p.selective_b, p.b, p.b_row, 0), c = part_of(p.selective_c, p.c, p.c_row, 0);
                const F old = W::load(m.state, place);
                if (p.is_complex) {
                    const F b_im = part_of(p.selective_b, p.b, p.b_row, 1),
                            c_im = part_of(p.selective_c, p.c, p.c_row, 1);
                    const F old_im = W::load(m.state, place + kStreams * plane);
                    const F x = (d.gamma_re * b - d.gamma_im * b_im) * u,
                            x_im = W::fma(d.gamma_re, b_im, d.gamma_im * b) * u;
                    const F h = W::fma(d.re, old, W::fma(d.im * -1.0f, old_im, x));
                    const F h_im = W::fma(d.re, old_im, W::fma(d.im, old, x_im));
                    y = y + (c * h - c_im * h_im) * 2.0f;
                    W::store_if(at.exists, m.state, place, h);
                    W::store_if(at.exists, m.state, place + kStreams * plane, h_im);
                } else {
                    const F h = W::fma(d.re, old, d.gamma_re * b * u);
                    y = W::fma(c, h, y);
                    W::store_if(at.exists, m.state, place, h);
                }
            }
            finish_scan<W, kStreams>(m, layer, p.lane_bits, at, channel, s, y, u, skip);
        }
    }
}

// S4 with its low-rank correction: a warp a channel and stream, a mode a lane.
template <class W, int kStreams>
NIGIRI_LANES void s4_phase(const W& w, const BlockMemory& m, const Layer& layer) {
    using F = typename W::Float;
    using F2 = typename W::Float2;
    using I = typename W::Int;
    const S4Part& p = layer.s4;
    const I lane = W::lane();
    const auto product = [](const F2& a, const F2& b) -> F2 {
        return {a.x * b.x - a.y * b.y, W::fma(a.x, b.y, a.y * b.x)};
    };
    for (int task = w.index(); task < layer.channels * kStreams; task += Columns<W, kStreams>::warps) {
        const int channel = task / kStreams, s = task % kStreams;
        const float* factors = m.constants + p.factors + channel * 5 * p.modes * 2;
        float* state = m.state + p.h + task * p.modes * 2;
        F low_rank = 0.0f, y = 0.0f;
        for (int mode = 0; mode < p.modes; mode += warp_lanes) {
            const F2 f = W::fetch2(factors, (lane + (p.modes + mode)) * 2), h = W::load2(state, (lane + mode) * 2);
            low_rank = low_rank + (f.x * h.x - f.y * h.y);
        }
        low_rank = warp_sum<W>(low_rank);
        const F u = W::load(m.u(), I(task));
        for (int mode = 0; mode < p.modes; mode += warp_lanes) {
            const auto factor = [&](int i) { return W::fetch2(factors, (lane + (i * p.modes + mode)) * 2); };
            const F2 g = factor(2), b = factor(3), c = factor(4);
            F2 h = product(factor(0), W::load2(state, (lane + mode) * 2));
            h.x = h.x + (b.x * u - g.x * low_rank);
            h.y = h.y + (b.y * u - g.y * low_rank);
            W::store2(state, (lane + mode) * 2, h);
            y = y + (c.x * h.x - c.y * h.y);
        }
        y = warp_sum<W>(y) * 2.0f +
            W::fetch(m.constants, I(channel * ChannelConstants::size + layer.constants + 1)) * u;
        if (layer.kind == BlockStepKind::mamba)
            y = y * W::load(m.z(), I(task));
        else
            y = gelu<W>(y);
        write_operand_of<W, kStreams, 1>(m.operand_y(), lane == 0, I(channel), I(s), lane * 0, y);
    }
}

}  // namespace nigiri::cuda::engine
