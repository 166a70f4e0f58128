// The float32 selective scan, forward: lanes are channels, time runs in chunks of 64 steps, and inside a chunk tiles of
// states stay in registers while time runs. A thread takes its channel groups one after the other within a chunk, so
// that activations are read row by row.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/selective_scan_forward.cpp"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "kernels/cpu/common.h"
#include "kernels/cpu/selective_scan-inl.h"
#include "kernels/cpu/selective_scan_planes.h"

#ifndef NIGIRI_SELECTIVE_SCAN_FORWARD_ONCE
#define NIGIRI_SELECTIVE_SCAN_FORWARD_ONCE
namespace nigiri::cpu::scan {

struct ForwardWork {
    const Planes& planes;
    const ParameterPlanes& parameters;
    float* scratch;  // this thread's
    // Its parts: states of every group of a row, padded rows of B and C, then arrays over (step, lane).
    static int64_t arrays() { return 4; }
    static int64_t scratch_size(const Planes& p) {
        return p.groups() * p.size() + 2 * SelectiveRows::padding_size(p) + arrays() * chunk_steps * p.width();
    }
};

}  // namespace nigiri::cpu::scan
#endif

HWY_BEFORE_NAMESPACE();
namespace nigiri::cpu::scan::HWY_NAMESPACE {
namespace {

// What a chunk's tiles read and add to; arrays over (step, lane).
struct ForwardArrays {
    float *dt, *x, *y;
};

template <bool kComplex, Discretization kRule, bool kSelectiveB, bool kSelectiveC>
struct Forward {
    using N = Number<kComplex>;
    static constexpr int parts = kComplex ? 2 : 1, plane_step = parts * lane_count;

    // Two states of one group over the chunk; y += Re(C h).
    static void tile(const ForwardArrays& arrays, int64_t steps, const float* a, const float* b, int64_t b_stride,
                     const float* c, int64_t c_stride, float* state) {
        static_assert(tile_states == 2);
        const Rule<kComplex, kRule> rule0(load<kComplex>(a)), rule1(load<kComplex>(a + plane_step));
        N h0 = load<kComplex>(state), h1 = load<kComplex>(state + plane_step);
        N b0, b1, c0, c1;
        if constexpr (!kSelectiveB) b0 = load<kComplex>(b), b1 = load<kComplex>(b + plane_step);
        if constexpr (!kSelectiveC) c0 = load<kComplex>(c), c1 = load<kComplex>(c + plane_step);
        for (int64_t t = 0; t < steps; ++t) {
            const V dt = hn::Load(tag, arrays.dt + t * lane_count), x = hn::Load(tag, arrays.x + t * lane_count);
            if constexpr (kSelectiveB) {
                b0 = broadcast<kComplex>(b + t * b_stride), b1 = broadcast<kComplex>(b + t * b_stride + parts);
            }
            if constexpr (kSelectiveC) {
                c0 = broadcast<kComplex>(c + t * c_stride), c1 = broadcast<kComplex>(c + t * c_stride + parts);
            }
            N abar0, abar1, aux0, aux1, input0 = scale(b0, x), input1 = scale(b1, x);
            rule0.step(dt, abar0, aux0);
            rule1.step(dt, abar1, aux1);
            if constexpr (kRule != Discretization::euler) {
                input0 = mul(input0, rule0.gamma(dt, aux0));
                input1 = mul(input1, rule1.gamma(dt, aux1));
            }
            h0 = mul_add(abar0, h0, input0);
            h1 = mul_add(abar1, h1, input1);
            const V y = hn::Load(tag, arrays.y + t * lane_count);
            hn::Store(real_mul_add(c1, h1, real_mul_add(c0, h0, y)), tag, arrays.y + t * lane_count);
        }
        store(h0, state);
        store(h1, state + plane_step);
    }

    static void run(const SelectiveScanForward& op, const ForwardWork& work, int64_t batch, int64_t first_group,
                    int64_t last_group) {
        const Planes& planes = work.planes;
        const int64_t length = op.u[1], channels = op.u[2], size = planes.size();
        float* states = work.scratch;
        float* padded_b = states + planes.groups() * size;
        float* padded_c = padded_b + SelectiveRows::padding_size(planes);
        float* array = padded_c + SelectiveRows::padding_size(planes);
        const ForwardArrays arrays = {array, array + chunk_steps * lane_count, array + 2 * chunk_steps * lane_count};
        float* u_array = array + 3 * chunk_steps * lane_count;

        for (int64_t g = first_group; g < last_group; ++g)
            if (op.state)
                rows_to_plane(planes, g, StateMatrix::of_states(op.state, planes), batch * channels, states + g * size);
            else
                std::fill_n(states + g * size, size, 0.0f);

        for (int64_t chunk = 0; chunk < chunks_of(length); ++chunk) {
            const int64_t begin = chunk * chunk_steps, steps = std::min(chunk_steps, length - begin);
            const int64_t row = batch * length + begin;
            SelectiveRows rows_b{}, rows_c{};
            if constexpr (kSelectiveB) rows_b = SelectiveRows::of_chunk(op.b, planes, row, steps, padded_b);
            if constexpr (kSelectiveC) rows_c = SelectiveRows::of_chunk(op.c, planes, row, steps, padded_c);
            for (int64_t g = first_group; g < last_group; ++g) {
                float* state = states + g * size;
                if (op.checkpoints)
                    plane_to_rows(planes, g, state, StateMatrix::of_pairs(op.checkpoints, planes),
                                  (chunk * op.u[0] + batch) * channels);
                const int64_t d = g * lane_count, count = channels - d;
                prepare(op, row, steps, d, count, arrays, u_array);
                for (int64_t n = 0; n < planes.padded_states(); n += tile_states) {
                    const int64_t plane = g * size + n * plane_step;
                    tile(arrays, steps, work.parameters.a + plane,
                         kSelectiveB ? rows_b.data + n * parts : work.parameters.b + plane, rows_b.stride,
                         kSelectiveC ? rows_c.data + n * parts : work.parameters.c + plane, rows_c.stride,
                         state + n * plane_step);
                }
                finish(op, row, steps, d, count, arrays.y, u_array);
            }
        }
        if (op.state)
            for (int64_t g = first_group; g < last_group; ++g)
                plane_to_rows(planes, g, states + g * size, StateMatrix::of_states(op.state, planes), batch * channels);
    }

    // dt, the input's share and y = 0.
    static void prepare(const SelectiveScanForward& op, int64_t row, int64_t steps, int64_t d, int64_t count,
                        const ForwardArrays& arrays, float* u_array) {
        const V bias = op.delta_bias ? load_channels(op.delta_bias.as<float>() + d, count) : hn::Zero(tag);
        V dt = op.softplus ? simd::softplus(tag, bias) : bias;
        for (int64_t t = 0; t < steps; ++t) {
            if (op.delta) {
                dt = hn::Add(load_channels(op.delta.row<float>(row + t) + d, count), bias);
                if (op.softplus) dt = simd::softplus(tag, dt);
            }
            const V u = load_channels(op.u.row<float>(row + t) + d, count);
            hn::Store(dt, tag, arrays.dt + t * lane_count);
            hn::Store(u, tag, u_array + t * lane_count);
            hn::Store(kRule == Discretization::euler ? hn::Mul(dt, u) : u, tag, arrays.x + t * lane_count);
            hn::Store(hn::Zero(tag), tag, arrays.y + t * lane_count);
        }
    }

    // Skip and gate.
    static void finish(const SelectiveScanForward& op, int64_t row, int64_t steps, int64_t d, int64_t count,
                       const float* y_array, const float* u_array) {
        const V skip = op.skip ? load_channels(op.skip.as<float>() + d, count) : hn::Zero(tag);
        for (int64_t t = 0; t < steps; ++t) {
            V y = hn::Load(tag, y_array + t * lane_count);
            if constexpr (kComplex) y = hn::Add(y, y);
            if (op.skip) y = hn::MulAdd(skip, hn::Load(tag, u_array + t * lane_count), y);
            if (op.z) y = hn::Mul(y, simd::silu(tag, load_channels(op.z.row<float>(row + t) + d, count)));
            store_channels(y, op.y.row<float>(row + t) + d, count);
        }
    }
};

template <bool kComplex, Discretization kRule>
void forward_variant(const SelectiveScanForward& op, const ForwardWork& work, int64_t b, int64_t g0, int64_t g1) {
    if (op.selective_b)
        op.selective_c ? Forward<kComplex, kRule, true, true>::run(op, work, b, g0, g1)
                       : Forward<kComplex, kRule, true, false>::run(op, work, b, g0, g1);
    else
        op.selective_c ? Forward<kComplex, kRule, false, true>::run(op, work, b, g0, g1)
                       : Forward<kComplex, kRule, false, false>::run(op, work, b, g0, g1);
}

template <bool kComplex>
void forward_rule(const SelectiveScanForward& op, const ForwardWork& work, int64_t b, int64_t g0, int64_t g1) {
    switch (op.discretization) {
        case Discretization::euler:
            return forward_variant<kComplex, Discretization::euler>(op, work, b, g0, g1);
        case Discretization::zoh:
            return forward_variant<kComplex, Discretization::zoh>(op, work, b, g0, g1);
        case Discretization::bilinear:
            return forward_variant<kComplex, Discretization::bilinear>(op, work, b, g0, g1);
    }
}

// Groups [g0, g1) of batch row b.
void forward_run(const SelectiveScanForward& op, const ForwardWork& work, int64_t b, int64_t g0, int64_t g1) {
    op.is_complex ? forward_rule<true>(op, work, b, g0, g1) : forward_rule<false>(op, work, b, g0, g1);
}

int64_t forward_lanes() { return lane_count; }

}  // namespace
}  // namespace nigiri::cpu::scan::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nigiri::cpu::scan {

HWY_EXPORT(forward_run);
HWY_EXPORT(forward_lanes);

void forward_f32(const SelectiveScanForward& op, CpuBackend& backend) {
    const Planes planes(op, HWY_DYNAMIC_DISPATCH(forward_lanes)(), 1);
    const int64_t units = op.u[0] * planes.groups(), work = op.u.size() * planes.states;
    const int64_t threads = work > parallel_threshold ? std::min<int64_t>(backend.threads(), units) : 1;
    const int64_t shared = ParameterPlanes::size(op, planes), own = ForwardWork::scratch_size(planes);
    const Tensor memory = backend.allocate({shared + threads * own}, DType::f32);
    const ParameterPlanes parameters(op, planes, memory.as<float>());
#pragma omp parallel for num_threads(static_cast <int>(threads)) if (threads > 1) schedule(static)
    for (int64_t i = 0; i < threads; ++i) {
        const ForwardWork part{planes, parameters, memory.as<float>() + shared + i * own};
        for_each_run(units * i / threads, units * (i + 1) / threads, planes.groups(),
                     [&](int64_t b, int64_t g0, int64_t g1) {
                         HWY_DYNAMIC_DISPATCH(forward_run)(op, part, b, g0, g1);
                     });
    }
}

}  // namespace nigiri::cpu::scan
#endif
