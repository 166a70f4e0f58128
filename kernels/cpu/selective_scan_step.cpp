// The float32 selective scan of one time step, as generation calls it thousands of times a second: lanes are states, so
// that parameters and states are used as they lie, and nothing is allocated.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/selective_scan_step.cpp"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "kernels/cpu/common.h"
#include "kernels/cpu/selective_scan-inl.h"

HWY_BEFORE_NAMESPACE();
namespace nigiri::cpu::scan::HWY_NAMESPACE {
namespace {

// One number per lane from a row of numbers, complex ones as pairs; lanes from `count` on are zero.
template <bool kComplex>
HWY_INLINE Number<kComplex> load_numbers(const float* p, int64_t count) {
    if constexpr (kComplex) {
        Number<true> x;
        HWY_ALIGN float part[2 * lane_count] = {};
        if (HWY_UNLIKELY(count < lane_count)) {
            std::copy_n(p, 2 * count, part);
            p = part;
        }
        hn::LoadInterleaved2(tag, p, x.re, x.im);
        return x;
    } else {
        return {load_channels(p, count)};
    }
}

template <bool kComplex>
HWY_INLINE void store_numbers(Number<kComplex> x, float* p, int64_t count) {
    if constexpr (kComplex) {
        if (HWY_LIKELY(count >= lane_count)) return hn::StoreInterleaved2(x.re, x.im, tag, p);
        HWY_ALIGN float part[2 * lane_count];
        hn::StoreInterleaved2(x.re, x.im, tag, part);
        std::copy_n(part, 2 * count, p);
    } else {
        store_channels(x.re, p, count);
    }
}

// The numbers of channel (or batch row and channel) `row`.
template <bool kComplex>
HWY_INLINE float* row_of(const View& v, int64_t row, int64_t states) {
    return v.row<float>(kComplex ? row * states : row);
}

template <bool kComplex, Discretization kRule, bool kSelectiveB, bool kSelectiveC>
struct Step {
    using N = Number<kComplex>;
    static constexpr int parts = kComplex ? 2 : 1;

    // lane_count channels of a batch row.
    static void run(const SelectiveScanForward& op, int64_t batch, int64_t block) {
        const int64_t channels = op.u[2], states = op.a[1], d = block * lane_count, count = channels - d;
        V dt = op.delta_bias ? load_channels(op.delta_bias.as<float>() + d, count) : hn::Zero(tag);
        if (op.delta) dt = hn::Add(dt, load_channels(op.delta.row<float>(batch) + d, count));
        if (op.softplus) dt = simd::softplus(tag, dt);
        const V u = load_channels(op.u.row<float>(batch) + d, count);
        HWY_ALIGN float dt_array[lane_count], x_array[lane_count], y_array[std::max(4, lane_count)] = {};
        hn::Store(dt, tag, dt_array);
        hn::Store(kRule == Discretization::euler ? hn::Mul(dt, u) : u, tag, x_array);
        const int64_t used = std::min<int64_t>(lane_count, count);
        for (int64_t i = 0; i < used; i += 4)
            up_to_four(op, batch, d + i, std::min<int64_t>(4, used - i), states, dt_array + i, x_array + i,
                       y_array + i);
        V y = hn::Load(tag, y_array);
        if constexpr (kComplex) y = hn::Add(y, y);
        if (op.skip) y = hn::MulAdd(load_channels(op.skip.as<float>() + d, count), u, y);
        if (op.z) y = hn::Mul(y, simd::silu(tag, load_channels(op.z.row<float>(batch) + d, count)));
        store_channels(y, op.y.row<float>(batch) + d, count);
    }

    // The sums over states of up to four channels are added up together.
    HWY_INLINE static void up_to_four(const SelectiveScanForward& op, int64_t batch, int64_t d, int64_t count,
                                      int64_t states, const float* dt, const float* x, float* y) {
        V sums[4] = {hn::Zero(tag), hn::Zero(tag), hn::Zero(tag), hn::Zero(tag)};
        for (int64_t n = 0; n < states; n += lane_count) {
            const int64_t left = states - n;
            N bn, cn;
            if constexpr (kSelectiveB) bn = load_numbers<kComplex>(op.b.row<float>(batch) + n * parts, left);
            if constexpr (kSelectiveC) cn = load_numbers<kComplex>(op.c.row<float>(batch) + n * parts, left);
            HWY_UNROLL(4)
            for (int64_t i = 0; i < 4; ++i) {
                if (i >= count) break;
                const auto part = [&](const View& v, int64_t row)
                                      HWY_ATTR { return row_of<kComplex>(v, row + d + i, states) + n * parts; };
                if constexpr (!kSelectiveB) bn = load_numbers<kComplex>(part(op.b, 0), left);
                if constexpr (!kSelectiveC) cn = load_numbers<kComplex>(part(op.c, 0), left);
                const Rule<kComplex, kRule> rule(load_numbers<kComplex>(part(op.a, 0), left));
                N abar, aux, h = scale(bn, constant(x[i]));
                rule.step(constant(dt[i]), abar, aux);
                if constexpr (kRule != Discretization::euler) h = mul(h, rule.gamma(constant(dt[i]), aux));
                if (op.state) {
                    float* state = part(op.state, batch * op.u[2]);
                    h = mul_add(abar, load_numbers<kComplex>(state, left), h);
                    store_numbers<kComplex>(h, state, left);
                }
                sums[i] = real_mul_add(cn, h, sums[i]);
            }
        }
        store_sums(sums[0], sums[1], sums[2], sums[3], y);
    }
};

template <bool kComplex, Discretization kRule>
void step_variant(const SelectiveScanForward& op, int64_t begin, int64_t end) {
    const int64_t blocks = (op.u[2] + lane_count - 1) / lane_count;
    for (int64_t i = begin; i < end; ++i) {
        if (op.selective_b)
            op.selective_c ? Step<kComplex, kRule, true, true>::run(op, i / blocks, i % blocks)
                           : Step<kComplex, kRule, true, false>::run(op, i / blocks, i % blocks);
        else
            op.selective_c ? Step<kComplex, kRule, false, true>::run(op, i / blocks, i % blocks)
                           : Step<kComplex, kRule, false, false>::run(op, i / blocks, i % blocks);
    }
}

template <bool kComplex>
void step_rule(const SelectiveScanForward& op, int64_t begin, int64_t end) {
    switch (op.discretization) {
        case Discretization::euler:
            return step_variant<kComplex, Discretization::euler>(op, begin, end);
        case Discretization::zoh:
            return step_variant<kComplex, Discretization::zoh>(op, begin, end);
        case Discretization::bilinear:
            return step_variant<kComplex, Discretization::bilinear>(op, begin, end);
    }
}

// Blocks [begin, end) of lane_count channels, counted through all batch rows.
void step_blocks(const SelectiveScanForward& op, int64_t begin, int64_t end) {
    op.is_complex ? step_rule<true>(op, begin, end) : step_rule<false>(op, begin, end);
}

int64_t step_lanes() { return lane_count; }

}  // namespace
}  // namespace nigiri::cpu::scan::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nigiri::cpu::scan {

HWY_EXPORT(step_blocks);
HWY_EXPORT(step_lanes);

bool can_step_f32(const SelectiveScanForward& op) {
    // Complex parameters must lie as pairs without gaps.
    const auto dense = [&](const View& v) { return !op.is_complex || v.empty() || v.contiguous(); };
    return op.u[1] == 1 && op.checkpoints.empty() && dense(op.a) && dense(op.state) &&
           (op.selective_b || dense(op.b)) && (op.selective_c || dense(op.c));
}

void step_f32(const SelectiveScanForward& op, int threads) {
    const int64_t lanes = HWY_DYNAMIC_DISPATCH(step_lanes)();
    const int64_t blocks = op.u[0] * ((op.u[2] + lanes - 1) / lanes);
    if (op.u.size() * op.a[1] <= parallel_threshold || threads == 1)
        return HWY_DYNAMIC_DISPATCH(step_blocks)(op, 0, blocks);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int i = 0; i < threads; ++i)
        HWY_DYNAMIC_DISPATCH(step_blocks)(op, blocks * i / threads, blocks * (i + 1) / threads);
}

}  // namespace nigiri::cpu::scan
#endif
