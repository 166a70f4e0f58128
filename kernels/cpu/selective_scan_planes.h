// How the float32 scan keeps states and parameters while it works: channels side by side in vector lanes.
//
// Channels are taken in groups of `vectors` vectors of `lanes` channels. A group's plane holds, for every state n,
// every vector and every part (re, im), one vector: [n][vector][part][lane]. States are padded to an even number and
// channels to whole groups with zeros, which stay zero through the scan.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/selective_scan_internal.h"

namespace nigiri::cpu::scan {

// States are worked on in tiles of this many, held in registers while time runs.
inline constexpr int64_t tile_states = 2;

struct Planes {
    int64_t lanes, vectors, parts, channels, states;

    Planes(const SelectiveScan& op, int64_t lanes_, int64_t vectors_)
        : lanes(lanes_), vectors(vectors_), parts(components(op)), channels(op.u[2]), states(op.a[1]) {}

    int64_t padded_states() const { return (states + tile_states - 1) / tile_states * tile_states; }
    int64_t width() const { return lanes * vectors; }  // channels of a group
    int64_t groups() const { return (channels + width() - 1) / width(); }
    int64_t state_size() const { return width() * parts; }           // of one state of a group
    int64_t size() const { return padded_states() * state_size(); }  // of one plane
};

// Where the numbers of a matrix over (row, state) lie, whatever its view's shape.
struct StateMatrix {
    float* data;
    int64_t row_stride, state_stride;

    // (..., N), complex (..., N, 2).
    static StateMatrix of_states(const View& v, const Planes& planes) {
        if (planes.parts == 1) return {v.as<float>(), v.row_stride, 1};
        return {v.as<float>(), planes.states * v.row_stride, v.row_stride};
    }
    // (..., N), complex (..., 2N).
    static StateMatrix of_pairs(const View& v, const Planes& planes) {
        return {v.as<float>(), v.row_stride, planes.parts};
    }
    float* at(int64_t row, int64_t n) const { return data + row * row_stride + n * state_stride; }
};

// Calls f(element of the plane, pointer into the matrix) for every number of a group; matrix row `row` is channel 0.
template <class F>
void for_each_number(const Planes& p, int64_t group, const StateMatrix& m, int64_t row, F&& f) {
    const int64_t first = group * p.width(), count = std::min(p.width(), p.channels - first);
    const int64_t plane_stride = p.state_size();
    for (int64_t i = 0; i < count; ++i)
        for (int64_t part = 0; part < p.parts; ++part) {
            int64_t at = (i / p.lanes * p.parts + part) * p.lanes + i % p.lanes;
            float* x = m.at(row + first + i, 0) + part;
            for (int64_t n = 0; n < p.states; ++n, at += plane_stride, x += m.state_stride) f(at, x);
        }
}

inline void to_plane(const Planes& p, int64_t group, const StateMatrix& m, int64_t row, float* plane) {
    if (p.padded_states() > p.states || p.channels < (group + 1) * p.width()) std::fill_n(plane, p.size(), 0.0f);
    for_each_number(p, group, m, row, [&](int64_t i, const float* x) { plane[i] = *x; });
}

inline void from_plane(const Planes& p, int64_t group, const float* plane, const StateMatrix& m, int64_t row) {
    for_each_number(p, group, m, row, [&](int64_t i, float* x) { *x = plane[i]; });
}

// A selective B or C as the scan reads it: rows of padded_states numbers. Rows with an odd number of states are copied
// into `padded` once a chunk.
struct SelectiveRows {
    const float* data;
    int64_t stride;

    static int64_t padding_size(const Planes& p) {
        return p.padded_states() > p.states ? chunk_steps * p.padded_states() * p.parts : 0;
    }
    static SelectiveRows of_chunk(const View& v, const Planes& p, int64_t row, int64_t steps, float* padded) {
        if (p.padded_states() == p.states) return {v.row<float>(row), v.row_stride};
        const int64_t stride = p.padded_states() * p.parts, columns = p.states * p.parts;
        for (int64_t t = 0; t < steps; ++t) {
            std::copy_n(v.row<float>(row + t), columns, padded + t * stride);
            std::fill_n(padded + t * stride + columns, stride - columns, 0.0f);
        }
        return {padded, stride};
    }
};

// The parameters in planes, one after the other: A for every group, then a constant B, then a constant C.
struct ParameterPlanes {
    float *a, *b, *c;

    static int64_t size(const SelectiveScan& op, const Planes& p) {
        return p.groups() * p.size() * (1 + !op.selective_b + !op.selective_c);
    }
    ParameterPlanes(const SelectiveScan& op, const Planes& p, float* memory) : a(memory), b(nullptr), c(nullptr) {
        memory += p.groups() * p.size();
        fill(op.a, p, a);
        if (!op.selective_b) {
            fill(op.b, p, b = memory);
            memory += p.groups() * p.size();
        }
        if (!op.selective_c) fill(op.c, p, c = memory);
    }

  private:
    static void fill(const View& v, const Planes& p, float* planes) {
        for (int64_t g = 0; g < p.groups(); ++g) to_plane(p, g, StateMatrix::of_states(v, p), 0, planes + g * p.size());
    }
};

// The units (batch row, group) of one thread, cut into runs of groups of one batch row.
template <class F>
void for_each_run(int64_t begin, int64_t end, int64_t groups, F&& f) {
    while (begin < end) {
        const int64_t batch = begin / groups, stop = std::min(end, (batch + 1) * groups);
        f(batch, begin - batch * groups, stop - batch * groups);
        begin = stop;
    }
}

}  // namespace nigiri::cpu::scan
