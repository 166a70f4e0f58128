// Lanes are channels. Every step of every channel is the same chain of operations whatever the length, so that a
// sequence given in pieces yields the same bits: the terms of even and of odd modes are summed apart, real and
// imaginary products apart, and the four sums are joined at the end.
#include <omp.h>

#include <algorithm>

#include "kernels/cpu/common.h"
#include "kernels/cpu/cpu_backend.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/s4d_recurrence.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#ifndef NIGIRI_S4D_RECURRENCE_ONCE
#define NIGIRI_S4D_RECURRENCE_ONCE
namespace nigiri::cpu {
namespace {

// One batch row, channels [begin, begin + count) of it.
struct RecurrenceSlice {
    const float *abar, *cbar;  // mode n of part p is row p N + n
    int64_t abar_stride, cbar_stride;
    float* state;  // (2 or 1, N D)
    int64_t state_stride;
    const float* skip;  // null: none
    const float* u;
    float* y;
    int64_t u_stride, y_stride;
    int64_t modes, channels, length;
    int64_t begin, count;
    float* packed;  // 6 (or 3) vectors a mode, for sequences
};

constexpr int64_t packed_from = 8;  // samples; below that the state is worked on where it is
constexpr int64_t max_float_lanes = 16;

}  // namespace
}  // namespace nigiri::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace nigiri::cpu {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using Tag = hn::ScalableTag<float>;
using V = hn::Vec<Tag>;
constexpr int64_t lanes = hn::MaxLanes(Tag());

HWY_INLINE V load_some(const float* from, int64_t count) {
    if (count >= lanes) return hn::LoadU(Tag(), from);
    HWY_ALIGN float buffer[lanes] = {};
    std::copy_n(from, count, buffer);
    return hn::Load(Tag(), buffer);
}

HWY_INLINE void store_some(V x, float* to, int64_t count) {
    if (count >= lanes) return hn::StoreU(x, Tag(), to);
    HWY_ALIGN float buffer[lanes];
    hn::Store(x, Tag(), buffer);
    std::copy_n(buffer, count, to);
}

// The sums of one step of one vector of channels.
template <bool IsComplex>
struct Output {
    V re[2], im[2];

    HWY_INLINE void clear() {
        for (int k = 0; k < 2; ++k) re[k] = im[k] = hn::Zero(Tag());
    }
    HWY_INLINE V value(V skip, V u) const {
        V sum = hn::Add(re[0], re[1]);
        if constexpr (IsComplex) sum = hn::Sub(sum, hn::Add(im[0], im[1]));
        return hn::MulAdd(skip, u, sum);
    }
};

// h = a h + u, and its share of the output.
template <bool IsComplex>
HWY_INLINE void step(V are, V aim, V cre, V cim, V u, V& hre, V& him, Output<IsComplex>& y, int parity) {
    if constexpr (IsComplex) {
        const V re = hn::NegMulAdd(aim, him, hn::MulAdd(are, hre, u));
        him = hn::MulAdd(aim, hre, hn::Mul(are, him));
        hre = re;
        y.re[parity] = hn::MulAdd(cre, hre, y.re[parity]);
        y.im[parity] = hn::MulAdd(cim, him, y.im[parity]);
    } else {
        hre = hn::MulAdd(are, hre, u);
        y.re[parity] = hn::MulAdd(cre, hre, y.re[parity]);
    }
}

// One sample of `Vectors` neighbouring vectors of channels (the last may be partly used where Vectors is 1).
template <bool IsComplex, int Vectors>
HWY_INLINE void one_sample(const RecurrenceSlice& s, int64_t d, int64_t count, int64_t t) {
    const float* u = s.u + t * s.u_stride + d;
    float* y = s.y + t * s.y_stride + d;
    const auto load = [&](const float* from, int v) HWY_ATTR {
        return Vectors == 1 ? load_some(from, count) : hn::LoadU(Tag(), from + v * lanes);
    };
    const auto store = [&](V x, float* to, int v)
                           HWY_ATTR { Vectors == 1 ? store_some(x, to, count) : hn::StoreU(x, Tag(), to + v * lanes); };
    V in[Vectors];
    Output<IsComplex> out[Vectors];
    for (int v = 0; v < Vectors; ++v) {
        in[v] = load(u, v);
        out[v].clear();
    }
    const auto mode = [&](int64_t n, int parity) HWY_ATTR {
        const float* a = s.abar + n * s.abar_stride + d;
        const float* c = s.cbar + n * s.cbar_stride + d;
        float* h = s.state + n * s.channels + d;
        for (int v = 0; v < Vectors; ++v) {
            const V are = load(a, v), cre = load(c, v);
            V hre = load(h, v), aim = are, cim = cre, him = hre;
            if constexpr (IsComplex) {
                aim = load(a + s.modes * s.abar_stride, v);
                cim = load(c + s.modes * s.cbar_stride, v);
                him = load(h + s.state_stride, v);
            }
            step<IsComplex>(are, aim, cre, cim, in[v], hre, him, out[v], parity);
            store(hre, h, v);
            if constexpr (IsComplex) store(him, h + s.state_stride, v);
        }
    };
    int64_t n = 0;
    for (; n + 2 <= s.modes; n += 2) mode(n, 0), mode(n + 1, 1);
    if (n < s.modes) mode(n, 0);
    for (int v = 0; v < Vectors; ++v) store(out[v].value(s.skip ? load(s.skip + d, v) : hn::Zero(Tag()), in[v]), y, v);
}

// `Steps` samples of one vector of channels whose factors and states lie packed, mode by mode: a, c, h.
template <bool IsComplex, int Steps>
HWY_INLINE void packed_samples(const RecurrenceSlice& s, int64_t d, int64_t count, int64_t t, V skip) {
    constexpr int parts = IsComplex ? 2 : 1;
    V in[Steps];
    Output<IsComplex> out[Steps];
    for (int k = 0; k < Steps; ++k) {
        in[k] = load_some(s.u + (t + k) * s.u_stride + d, count);
        out[k].clear();
    }
    const auto mode = [&](int64_t n, int parity) HWY_ATTR {
        float* p = s.packed + n * 3 * parts * lanes;
        const Tag tag;
        const V are = hn::Load(tag, p), aim = hn::Load(tag, p + (parts - 1) * lanes);
        const V cre = hn::Load(tag, p + parts * lanes), cim = hn::Load(tag, p + (2 * parts - 1) * lanes);
        V hre = hn::Load(tag, p + 2 * parts * lanes), him = hn::Load(tag, p + (3 * parts - 1) * lanes);
        for (int k = 0; k < Steps; ++k) step<IsComplex>(are, aim, cre, cim, in[k], hre, him, out[k], parity);
        hn::Store(hre, tag, p + 2 * parts * lanes);
        if constexpr (IsComplex) hn::Store(him, tag, p + (3 * parts - 1) * lanes);
    };
    int64_t n = 0;
    for (; n + 2 <= s.modes; n += 2) mode(n, 0), mode(n + 1, 1);
    if (n < s.modes) mode(n, 0);
    for (int k = 0; k < Steps; ++k) store_some(out[k].value(skip, in[k]), s.y + (t + k) * s.y_stride + d, count);
}

template <bool IsComplex>
void sequence(const RecurrenceSlice& s) {
    constexpr int parts = IsComplex ? 2 : 1;
    constexpr int steps = HWY_TARGET == HWY_AVX3 ? 4 : 2;  // what the registers hold
    for (int64_t d = s.begin; d < s.begin + s.count; d += lanes) {
        const int64_t count = std::min(lanes, s.begin + s.count - d);
        const V skip = s.skip ? load_some(s.skip + d, count) : hn::Zero(Tag());
        for (int64_t n = 0; n < s.modes; ++n)
            for (int part = 0; part < parts; ++part) {
                float* p = s.packed + (n * 3 * parts + part) * lanes;
                const int64_t row = part * s.modes + n;
                hn::Store(load_some(s.abar + row * s.abar_stride + d, count), Tag(), p);
                hn::Store(load_some(s.cbar + row * s.cbar_stride + d, count), Tag(), p + parts * lanes);
                hn::Store(load_some(s.state + part * s.state_stride + n * s.channels + d, count), Tag(),
                          p + 2 * parts * lanes);
            }
        int64_t t = 0;
        for (; t + steps <= s.length; t += steps) packed_samples<IsComplex, steps>(s, d, count, t, skip);
        for (; t < s.length; ++t) packed_samples<IsComplex, 1>(s, d, count, t, skip);
        for (int64_t n = 0; n < s.modes; ++n)
            for (int part = 0; part < parts; ++part)
                store_some(hn::Load(Tag(), s.packed + (n * 3 * parts + 2 * parts + part) * lanes),
                           s.state + part * s.state_stride + n * s.channels + d, count);
    }
}

template <bool IsComplex>
void run_slice(const RecurrenceSlice& s) {
    if (s.packed) return sequence<IsComplex>(s);
    constexpr int wide = HWY_TARGET == HWY_AVX3 ? 4 : 2;
    for (int64_t t = 0; t < s.length; ++t) {
        int64_t d = s.begin;
        const int64_t end = s.begin + s.count;
        for (; d + wide * lanes <= end; d += wide * lanes) one_sample<IsComplex, wide>(s, d, lanes, t);
        for (; d < end; d += lanes) one_sample<IsComplex, 1>(s, d, std::min(lanes, end - d), t);
    }
}

void run_complex(const RecurrenceSlice& s) { run_slice<true>(s); }
void run_real(const RecurrenceSlice& s) { run_slice<false>(s); }

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace nigiri::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nigiri {

namespace cpu {
namespace {

HWY_EXPORT(run_complex);
HWY_EXPORT(run_real);

auto slice_runner(bool is_complex) {
    return is_complex ? HWY_DYNAMIC_DISPATCH(run_complex) : HWY_DYNAMIC_DISPATCH(run_real);
}

}  // namespace
}  // namespace cpu

namespace {

// Row `b` of the batch, channel `d`, in float64.
void plain_channel(const S4dRecurrence& op, int64_t b, int64_t d) {
    const int64_t channels = op.u[2], length = op.u[1], modes = op.abar[1];
    const double skip = op.skip ? op.skip.row<double>(0)[d] : 0;
    const auto part = [&](const View& v, int64_t p, int64_t n) { return v.row<double>(p * modes + n)[d]; };
    for (int64_t t = 0; t < length; ++t) {
        const double u = op.u.row<double>(b * length + t)[d];
        double sum = 0;
        for (int64_t n = 0; n < modes; ++n) {
            const int64_t parts = op.is_complex ? 2 : 1;
            double& re = op.state.row<double>(b * parts)[n * channels + d];
            if (!op.is_complex) {
                re = part(op.abar, 0, n) * re + u;
                sum += part(op.cbar, 0, n) * re;
                continue;
            }
            double& im = op.state.row<double>(b * parts + 1)[n * channels + d];
            const double next = part(op.abar, 0, n) * re - part(op.abar, 1, n) * im + u;
            im = part(op.abar, 0, n) * im + part(op.abar, 1, n) * re;
            re = next;
            sum += part(op.cbar, 0, n) * re - part(op.cbar, 1, n) * im;
        }
        op.y.row<double>(b * length + t)[d] = sum + skip * u;
    }
}

}  // namespace

void CpuBackend::s4d_recurrence(const S4dRecurrence& op) {
    const char* name = "s4d_recurrence";
    const int64_t parts = op.is_complex ? 2 : 1;
    cpu::require(op.u.shape.rank() == 3 && op.y.shape == op.u.shape, name, "u and y (B, L, D)");
    const int64_t batch = op.u[0], length = op.u[1], channels = op.u[2];
    cpu::require(
        op.abar.shape.rank() == 3 && op.abar[0] == parts && op.abar[2] == channels && op.cbar.shape == op.abar.shape,
        name, "abar and cbar (2, N, D), or (1, N, D) where real");
    const int64_t modes = op.abar[1];
    cpu::require(op.state.shape == (Shape{batch, parts, modes * channels}), name,
                 "state (B, 2, N * D), or (B, 1, N * D)");
    cpu::require(!op.skip || op.skip.size() == channels, name, "skip (D)");
    for (const View* v : {&op.abar, &op.cbar, &op.y, &op.state, op.skip ? &op.skip : &op.u})
        cpu::require(v->dtype == op.u.dtype, name, "operands of one element type");
    const bool parallel = batch * length * channels * modes > cpu::parallel_threshold;
    if (op.u.dtype == DType::f64) {
#pragma omp parallel for num_threads(threads()) if (parallel) schedule(static)
        for (int64_t k = 0; k < batch * channels; ++k) plain_channel(op, k / channels, k % channels);
        return;
    }
    op.u.as<float>();

    cpu::RecurrenceSlice whole = {
        .abar = op.abar.as<float>(),
        .cbar = op.cbar.as<float>(),
        .abar_stride = op.abar.row_stride,
        .cbar_stride = op.cbar.row_stride,
        .state = op.state.as<float>(),
        .state_stride = op.state.row_stride,
        .skip = op.skip.as<float>(),
        .u = op.u.as<float>(),
        .y = op.y.as<float>(),
        .u_stride = op.u.row_stride,
        .y_stride = op.y.row_stride,
        .modes = modes,
        .channels = channels,
        .length = length,
        .begin = 0,
        .count = channels,
        .packed = nullptr,
    };
    const auto run = cpu::slice_runner(op.is_complex);
    // Blocks of whole vectors and cache lines; the cut does not change what is computed.
    const int64_t block = cpu::max_float_lanes, blocks = (channels + block - 1) / block, tasks = batch * blocks;
    const int team = parallel ? static_cast<int>(std::min<int64_t>(threads(), tasks)) : 1;
    Tensor packed;
    if (length >= cpu::packed_from) packed = allocate({team, modes * 3 * parts * cpu::max_float_lanes}, DType::f32);
#pragma omp parallel num_threads(team) if (team > 1)
    {
        const int64_t thread = omp_get_thread_num(), size = omp_get_num_threads();
        int64_t task = tasks * thread / size;
        const int64_t end = tasks * (thread + 1) / size;
        while (task < end) {  // from one batch row to the next
            const int64_t b = task / blocks, first = task % blocks, last = std::min(blocks, first + end - task);
            cpu::RecurrenceSlice mine = whole;
            mine.state += b * parts * op.state.row_stride;
            mine.u += b * length * op.u.row_stride;
            mine.y += b * length * op.y.row_stride;
            mine.begin = first * block;
            mine.count = std::min(channels, last * block) - mine.begin;
            if (packed) mine.packed = packed.view().row<float>(thread);
            run(mine);
            task += last - first;
        }
    }
}

}  // namespace nigiri
#endif
