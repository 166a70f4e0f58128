// How the work of teams is cut into blocks and clusters.
#pragma once

#include <algorithm>

#include "kernels/cuda/selective_scan_quads.cuh"
#include "kernels/cuda/selective_scan_quads.h"

namespace nigiri::cuda::scan::quads {

// Clocks of a multiprocessor for a team's slice of a channel, those of a team that has one for itself, and the bytes
// that a sample and block of channels moves beside its channels' rows.
struct Cost {
    double clocks, latency, shares;
    int most_teams;
};

// Chooses strips (groups), teams (rounds) and span and writes them to `p`. `bytes_of` says how much shared memory that
// takes.
template <class P, class F>
Launch plan(P& p, const Cost& cost, int multiprocessors, cudaStream_t stream, F&& bytes_of) {
    // Handing a number on to the next team, to one on another multiprocessor; the bytes that memory moves a clock.
    constexpr size_t most_memory = 227 << 10;
    constexpr double hop = 300, far_hop = 800, bytes_a_clock = 2300;
    double best = 0;
    P chosen = p;
    for (const int strips : {8, 4, 2})
        for (int span = 1; span <= 8; ++span) {
            const int channels = strips * strip_channels;
            if (strips > 2 && channels / 2 >= p.channels) continue;
            p.groups = strips, p.span = span, p.blocks = static_cast<int>(ceil_div(p.channels, channels));
            p.rounds = static_cast<int>(std::min<int64_t>(cost.most_teams, ceil_div(p.slices, span)));
            while (p.rounds > 0 && bytes_of(p) > most_memory) --p.rounds;
            if (p.rounds == 0) continue;
            const double hops = p.rounds * span * hop + (span > 1 ? span * far_hop : 0.0);
            const double turn = std::max({p.rounds * channels * cost.clocks, channels * cost.latency, hops});
            const int64_t waves = ceil_div(p.batch * p.blocks, clusters_at_once(span, multiprocessors));
            const double time =
                static_cast<double>(waves) * (static_cast<double>(ceil_div(p.slices, p.rounds * span)) * turn + hops) +
                cost.shares * static_cast<double>(p.batch * p.length) * p.blocks / bytes_a_clock;
            if (best > 0 && time >= 0.99 * best) continue;
            best = time;
            chosen = p;
        }
    p = chosen;
    const int64_t blocks = p.batch * p.blocks * p.span;
    require(blocks < int64_t{1} << 31, "selective_scan", "a smaller batch");
    return {stream, blocks, team_threads * p.rounds, p.span, bytes_of(p)};
}

// Whether rows can be read and written by vectors of so many bytes.
inline bool whole(const Rows& rows, int bytes) {
    return rows.data == nullptr || (rows.vector >= bytes && rows.stride < 1 << 28);
}

template <class T>
bool suits(const Operands& p, const States& checkpoints) {
    constexpr int vector = 4 * static_cast<int>(sizeof(T));
    constexpr int64_t most = int64_t{1} << 28;  // rows and what lies between two are counted in 32 bits
    return p.numbers == states && p.channels % raw_channels<T> == 0 && whole(p.u, 16) && whole(p.delta, 16) &&
           whole(p.z, 16) && whole(p.b, vector) && whole(p.c, vector) && p.length < most &&
           p.batch * p.channels * states < most &&
           (checkpoints.data == nullptr ||
            (checkpoints.channel_stride == states && reinterpret_cast<uintptr_t>(checkpoints.data) % 16 == 0));
}

}  // namespace nigiri::cuda::scan::quads
