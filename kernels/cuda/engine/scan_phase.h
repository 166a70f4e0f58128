// One step of S6 (selective_scan.h), and of S4 with its low-rank correction (s4_discrete.h).
#pragma once

#include "kernels/cuda/engine/block_memory.h"

namespace nigiri::cuda::engine {

// A real layer's first four states of each stream, loaded before the barrier that the step waits for.
template <class W, int kStreams>
struct ScanAhead {
    typename W::Float4 poles, h[kStreams];
};

// Lane `part` of a channel's lanes; channels follow each other through the block's threads.
template <class W>
struct ScanPlace {
    typename W::Int channel, part;
    typename W::Mask exists;

    NIGIRI_LANES ScanPlace(const W& w, const S6Part& p, int channels, int turn) {
        const typename W::Int unit = W::lane() + (w.index() * warp_lanes + turn * block_threads);
        channel = unit >> p.lane_bits;
        part = unit & ((1 << p.lane_bits) - 1);
        exists = channel < channels;
    }
};

template <class W, int kStreams>
NIGIRI_LANES void prepare_scan(const W& w, const BlockMemory& m, const Layer& layer, ScanAhead<W, kStreams>& ahead) {
    const S6Part& p = layer.s6;
    if (p.is_complex) return;
    const ScanPlace<W> at(w, p, layer.channels, 0);
    const typename W::Int n = at.channel * p.numbers + at.part * 4;
    ahead.poles = W::fetch4_if(at.exists, m.constants + p.poles, n);
    NIGIRI_UNROLL
    for (int s = 0; s < kStreams; ++s)
        ahead.h[s] = W::load4_if(at.exists, m.state + p.h, n + s * layer.channels * p.numbers);
}

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

// One state: h = Abar h + Bbar u, returns Re(C h).
template <class W>
NIGIRI_LANES typename W::Float any_state(const S6Part& p, typename W::Float dt, typename W::Float u,
                                         const typename W::Float (&pole)[4], typename W::Float b_re,
                                         typename W::Float b_im, typename W::Float c_re, typename W::Float c_im,
                                         typename W::Float& h_re, typename W::Float& h_im) {
    using F = typename W::Float;
    const Discrete<W> d(p, dt, pole[0], pole[1], pole[2], pole[3]);
    const F x_re = (d.gamma_re * b_re - d.gamma_im * b_im) * u, x_im = W::fma(d.gamma_re, b_im, d.gamma_im * b_re) * u;
    const F re = W::fma(d.re, h_re, W::fma(d.im * -1.0f, h_im, x_re));
    h_im = W::fma(d.re, h_im, W::fma(d.im, h_re, x_im));
    h_re = re;
    return c_re * h_re - c_im * h_im;
}

// u, z and the projection -> operand_y. With a gate z holds silu(z); without one, GELU follows.
template <class W, int kStreams>
NIGIRI_LANES void scan_phase(const W& w, const BlockMemory& m, const Layer& layer,
                             const ScanAhead<W, kStreams>& ahead) {
    using F = typename W::Float;
    using F4 = typename W::Float4;
    using I = typename W::Int;
    const S6Part& p = layer.s6;
    const bool gated = layer.kind == BlockStepKind::mamba;
    const bool plain = !p.is_complex && p.discretization == Discretization::euler;
    const int plane = layer.channels * p.numbers;
    for (int turn = 0; turn * block_threads < layer.channels << p.lane_bits; ++turn) {
        const ScanPlace<W> at(w, p, layer.channels, turn);
        const I channel = W::select(at.exists, at.channel, at.channel * 0);
        F dt[kStreams], y[kStreams], u[kStreams];
        const F bias = W::fetch(m.constants + p.delta_bias, channel);
        NIGIRI_UNROLL
        for (int s = 0; s < kStreams; ++s) {
            dt[s] = bias;
            y[s] = 0.0f;
            u[s] = W::load(m.u, channel * kStreams + s);
        }
        for (int r = 0; r < p.rank; r += 4) {
            const F4 weight = W::fetch4(m.constants + p.delta, channel * p.rank + r);
            NIGIRI_UNROLL
            for (int s = 0; s < kStreams; ++s) {
                const F4 x = W::load4(m.projected, I(s * p.projected + r));
                dt[s] =
                    W::fma(weight.x, x.x, W::fma(weight.y, x.y, W::fma(weight.z, x.z, W::fma(weight.w, x.w, dt[s]))));
            }
        }
        NIGIRI_UNROLL
        for (int s = 0; s < kStreams; ++s) dt[s] = softplus<W>(dt[s]);

        for (int round = 0; round < p.rounds; ++round) {
            const I part = (at.part + (round << p.lane_bits)) * 4, n = channel * p.numbers + part;
            const bool first = turn == 0 && round == 0 && !p.is_complex;
            F4 poles[4] = {};
            if (first)
                poles[0] = ahead.poles;
            else
                poles[0] = W::fetch4(m.constants + p.poles, n);
            if (!plain) {
                NIGIRI_UNROLL
                for (int i = 1; i < 4; ++i) poles[i] = W::fetch4(m.constants + p.poles, n + i * plane);
            }
            NIGIRI_UNROLL
            for (int s = 0; s < kStreams; ++s) {
                const auto part_of = [&](bool selective, uint32_t constant, int row, int imaginary) -> F4 {
                    return selective ? W::load4(m.projected, part + (s * p.projected + row + imaginary * p.numbers))
                                     : W::fetch4(m.constants + constant, n + imaginary * plane);
                };
                const F4 b = part_of(p.selective_b != 0, p.b, p.b_row, 0),
                         c = part_of(p.selective_c != 0, p.c, p.c_row, 0);
                const I place = n + s * plane;
                F4 h;
                if (first)
                    h = ahead.h[s];
                else
                    h = W::load4(m.state + p.h, place);
                if (plain) {
                    const F x = dt[s] * u[s];
                    const auto state = [&](F pole, F b_n, F c_n, F& h_n) {
                        h_n = W::fma(W::exp2(dt[s] * pole), h_n, b_n * x);
                        y[s] = W::fma(c_n, h_n, y[s]);
                    };
                    state(poles[0].x, b.x, c.x, h.x), state(poles[0].y, b.y, c.y, h.y);
                    state(poles[0].z, b.z, c.z, h.z), state(poles[0].w, b.w, c.w, h.w);
                } else {
                    F4 b_im = {}, c_im = {}, h_im = {};
                    if (p.is_complex) {
                        b_im = part_of(p.selective_b != 0, p.b, p.b_row, 1);
                        c_im = part_of(p.selective_c != 0, p.c, p.c_row, 1);
                        h_im = W::load4(m.state + p.h, place + kStreams * plane);
                    }
                    const auto state = [&](const F(&pole)[4], F b_re, F b_i, F c_re, F c_i, F& h_re, F& h_i) {
                        y[s] = y[s] + any_state<W>(p, dt[s], u[s], pole, b_re, b_i, c_re, c_i, h_re, h_i);
                    };
                    state({poles[0].x, poles[1].x, poles[2].x, poles[3].x}, b.x, b_im.x, c.x, c_im.x, h.x, h_im.x);
                    state({poles[0].y, poles[1].y, poles[2].y, poles[3].y}, b.y, b_im.y, c.y, c_im.y, h.y, h_im.y);
                    state({poles[0].z, poles[1].z, poles[2].z, poles[3].z}, b.z, b_im.z, c.z, c_im.z, h.z, h_im.z);
                    state({poles[0].w, poles[1].w, poles[2].w, poles[3].w}, b.w, b_im.w, c.w, c_im.w, h.w, h_im.w);
                    if (p.is_complex) W::store4_if(at.exists, m.state + p.h, place + kStreams * plane, h_im);
                }
                W::store4_if(at.exists, m.state + p.h, place, h);
            }
        }

        const F skip = W::fetch(m.constants + layer.channel_parts, channel * 4 + 1);
        NIGIRI_UNROLL
        for (int s = 0; s < kStreams; ++s) {
            for (int bit = 0; bit < p.lane_bits; ++bit) y[s] = y[s] + W::shuffle_xor(y[s], 1 << bit);
            F out = W::fma(skip, u[s], y[s] * (p.is_complex ? 2.0f : 1.0f));
            if (gated)
                out = out * W::load(m.z, channel * kStreams + s);
            else
                out = gelu<W>(out);
            // Four lanes write the parts of different streams.
            const typename W::Mask writes = at.exists & (at.part == (s & ((1 << p.lane_bits) - 1)));
            write_operand_of<W, kStreams, 1>(m.operand_y, writes, channel, I(s), at.part * 0, out);
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
    for (int task = w.index(); task < layer.channels * kStreams; task += block_warps) {
        const int channel = task / kStreams, s = task % kStreams;
        const float* factors = m.constants + p.factors + channel * 5 * p.modes * 2;
        float* state = m.state + p.h + task * p.modes * 2;
        F low_rank = 0.0f, y = 0.0f;
        for (int mode = 0; mode < p.modes; mode += warp_lanes) {
            const F2 f = W::fetch2(factors, (lane + (p.modes + mode)) * 2), h = W::load2(state, (lane + mode) * 2);
            low_rank = low_rank + (f.x * h.x - f.y * h.y);
        }
        low_rank = warp_sum<W>(low_rank);
        const F u = W::load(m.u, I(task));
        for (int mode = 0; mode < p.modes; mode += warp_lanes) {
            const auto factor = [&](int i) { return W::fetch2(factors, (lane + (i * p.modes + mode)) * 2); };
            const F2 g = factor(2), b = factor(3), c = factor(4);
            F2 h = product(factor(0), W::load2(state, (lane + mode) * 2));
            h.x = h.x + (b.x * u - g.x * low_rank);
            h.y = h.y + (b.y * u - g.y * low_rank);
            W::store2(state, (lane + mode) * 2, h);
            y = y + (c.x * h.x - c.y * h.y);
        }
        y = warp_sum<W>(y) * 2.0f + W::fetch(m.constants + layer.channel_parts, I(channel * 4 + 1)) * u;
        if (layer.kind == BlockStepKind::mamba)
            y = y * W::load(m.z, I(task));
        else
            y = gelu<W>(y);
        write_operand_of<W, kStreams, 1>(m.operand_y, lane == 0, I(channel), I(s), lane * 0, y);
    }
}

}  // namespace nigiri::cuda::engine
