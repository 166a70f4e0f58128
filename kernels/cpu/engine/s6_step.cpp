// S6 one sample at a time: x_proj and dt_proj, then the scan's step (selective_scan.h). Lanes are channels, in tiles of
// row_unit, so that the sum over states needs no sum across lanes.
#include <algorithm>

#include "kernels/cpu/engine/state_step.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/engine/s6_step.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "kernels/cpu/selective_scan-inl.h"

#ifndef NIGIRI_S6_STEP_ONCE
#define NIGIRI_S6_STEP_ONCE
namespace nigiri::cpu {

// One tile of one stream; matrices over states are (N, 2 or 1, row_unit).
struct S6Tile {
    Discretization discretization;
    bool is_complex, selective_b, selective_c;
    int64_t states;
    const float *u, *z, *delta;  // z may be null; delta before the softplus
    const float *poles, *skip;
    const float *b, *c;  // selective: numbers for all channels, complex ones as pairs; else like poles
    float *state, *y;
};

}  // namespace nigiri::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace nigiri::cpu::scan::HWY_NAMESPACE {
namespace {

static_assert(row_unit % lane_count == 0);

template <bool kComplex>
HWY_INLINE Number<kComplex> load_tile(const float* p) {
    if constexpr (kComplex)
        return {hn::Load(tag, p), hn::Load(tag, p + row_unit)};
    else
        return {hn::Load(tag, p)};
}

template <bool kComplex, Discretization kRule, bool kSelectiveB, bool kSelectiveC>
void step_tile(const S6Tile& t) {
    using N = Number<kComplex>;
    constexpr int64_t parts = kComplex ? 2 : 1;
    for (int64_t at = 0; at < row_unit; at += lane_count) {
        const V dt = simd::softplus(tag, hn::Load(tag, t.delta + at)), u = hn::Load(tag, t.u + at);
        const V x = kRule == Discretization::euler ? hn::Mul(dt, u) : u;
        V sum = hn::Zero(tag);
        for (int64_t n = 0; n < t.states; ++n) {
            const int64_t i = n * parts * row_unit + at;
            const Rule<kComplex, kRule> rule(load_tile<kComplex>(t.poles + i));
            N abar, aux;
            rule.step(dt, abar, aux);
            const N b = kSelectiveB ? broadcast<kComplex>(t.b + n * parts) : load_tile<kComplex>(t.b + i);
            const N c = kSelectiveC ? broadcast<kComplex>(t.c + n * parts) : load_tile<kComplex>(t.c + i);
            N h = scale(b, x);
            if constexpr (kRule != Discretization::euler) h = mul(h, rule.gamma(dt, aux));
            h = mul_add(abar, load_tile<kComplex>(t.state + i), h);
            hn::Store(h.re, tag, t.state + i);
            if constexpr (kComplex) hn::Store(h.im, tag, t.state + i + row_unit);
            sum = real_mul_add(c, h, sum);
        }
        if constexpr (kComplex) sum = hn::Add(sum, sum);
        sum = hn::MulAdd(hn::Load(tag, t.skip + at), u, sum);
        if (t.z) sum = hn::Mul(sum, simd::silu(tag, hn::Load(tag, t.z + at)));
        hn::Store(sum, tag, t.y + at);
    }
}

template <bool kComplex, Discretization kRule>
void step_variant(const S6Tile& t) {
    if (t.selective_b)
        t.selective_c ? step_tile<kComplex, kRule, true, true>(t) : step_tile<kComplex, kRule, true, false>(t);
    else
        t.selective_c ? step_tile<kComplex, kRule, false, true>(t) : step_tile<kComplex, kRule, false, false>(t);
}

template <bool kComplex>
void step_rule(const S6Tile& t) {
    switch (t.discretization) {
        case Discretization::euler:
            return step_variant<kComplex, Discretization::euler>(t);
        case Discretization::zoh:
            return step_variant<kComplex, Discretization::zoh>(t);
        case Discretization::bilinear:
            return step_variant<kComplex, Discretization::bilinear>(t);
    }
}

void s6_sample(const S6Tile& t) { t.is_complex ? step_rule<true>(t) : step_rule<false>(t); }

}  // namespace
}  // namespace nigiri::cpu::scan::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nigiri::cpu {

namespace scan {
namespace {
HWY_EXPORT(s6_sample);
void run(const S6Tile& tile) { HWY_DYNAMIC_DISPATCH(s6_sample)(tile); }
}  // namespace
}  // namespace scan

namespace {

class S6Step final : public StateStep {
  public:
    S6Step(const StateSpaceMap& map, const StepMemory& memory)
        : is_complex_(map.is_complex),
          selective_b_(map.selective_b),
          selective_c_(map.selective_c),
          discretization_(map.discretization),
          channels_(map.channels),
          states_(map.states),
          rank_(map.dt_rank),
          shares_(memory.shares),
          streams_(memory.streams) {
        Arena& arena = *memory.other;
        const int64_t width = padded(channels_);
        poles_ = tiles(map.poles, arena);
        if (!selective_b_) b_ = tiles(map.constant_b, arena);
        if (!selective_c_) c_ = tiles(map.constant_c, arena);
        state_ = arena.allocate<float>(streams_ * parts() * states_ * width);
        skip_ = arena.allocate<float>(width);
        std::copy(map.skip.begin(), map.skip.end(), skip_);
        delta_ = {arena.allocate<float>(streams_ * width), width};
        for (int64_t s = 0; s < streams_; ++s) std::copy(map.delta_bias.begin(), map.delta_bias.end(), delta_[s]);
        for (int t = 0; t < shares_; ++t) {
            Arena& weights = (*memory.weights)[static_cast<size_t>(t)];
            if (map.x_proj) {
                // Few rows of many inputs, which both delta and the state depend on: never fewer than sixteen bits, and
                // each thread computes them all rather than wait for another.
                const OutputRange all{0, map.x_proj.outputs, 0};
                const auto format = memory.format == WeightFormat::int8 ? WeightFormat::bf16 : memory.format;
                x_proj_.emplace_back(map.x_proj, std::span(&all, 1), format, weights);
                const int64_t stride = padded(map.x_proj.outputs);
                projected_.push_back({arena.allocate<float>(streams_ * stride), stride});
            }
            if (rank_ > 0) {
                const Share share = share_of(channels_, t, t + 1, shares_);
                const OutputRange mine{share.begin, std::min(share.end, channels_) - share.begin, share.begin};
                LinearMap dt_proj = map.dt_proj;
                dt_proj.bias = map.delta_bias;
                dt_proj_.emplace_back(dt_proj, std::span(&mine, 1), WeightFormat::f32, weights);
            }
        }
    }

    bool reads_all_channels() const override { return !x_proj_.empty(); }

    void step(const Part& part, int64_t, Rows u, Rows z, Rows y) override {
        const auto t = static_cast<size_t>(part.first);
        const int64_t numbers = parts() * states_;
        if (!x_proj_.empty()) x_proj_[t].multiply(u, projected_[t], streams_, false);
        if (rank_ > 0)
            for (int i = part.first; i < part.last; ++i)
                dt_proj_[static_cast<size_t>(i)].multiply(projected_[t], delta_, streams_, false);
        const Share share = share_of(channels_, part, shares_);
        for (int64_t s = 0; s < streams_; ++s) {
            const float* selective = x_proj_.empty() ? nullptr : projected_[t][s] + rank_;
            for (int64_t d = share.begin; d < share.end; d += row_unit) {
                const int64_t at = d * numbers;  // of the tile in a matrix over states
                scan::run({
                    .discretization = discretization_,
                    .is_complex = is_complex_,
                    .selective_b = selective_b_,
                    .selective_c = selective_c_,
                    .states = states_,
                    .u = u[s] + d,
                    .z = z.data ? z[s] + d : nullptr,
                    .delta = delta_[s] + d,
                    .poles = poles_ + at,
                    .skip = skip_ + d,
                    .b = selective_b_ ? selective : b_ + at,
                    .c = selective_c_ ? selective + (selective_b_ ? numbers : 0) : c_ + at,
                    .state = state_ + s * padded(channels_) * numbers + at,
                    .y = y[s] + d,
                });
            }
        }
    }

    std::vector<double> state(int64_t stream, int64_t) const override {
        std::vector<double> values(state_size());
        for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(state_[place(stream, i)]);
        return values;
    }
    void set_state(int64_t stream, int64_t, const std::vector<double>& values) override {
        for (size_t i = 0; i < values.size(); ++i) state_[place(stream, i)] = static_cast<float>(values[i]);
    }
    size_t state_size() const override { return static_cast<size_t>(channels_ * states_ * parts()); }

  private:
    int64_t parts() const { return is_complex_ ? 2 : 1; }

    // Where element i of (D, N) or (D, N, 2) stands.
    int64_t place(int64_t stream, size_t i) const {
        const int64_t numbers = parts() * states_, d = static_cast<int64_t>(i) / numbers,
                      k = static_cast<int64_t>(i) % numbers;
        return stream * padded(channels_) * numbers + (d / row_unit * numbers + k) * row_unit + d % row_unit;
    }

    float* tiles(const std::vector<float>& values, Arena& arena) const {
        // Behind the last channel a pole of -1: any number that divides.
        float* to = arena.allocate<float>(padded(channels_) * states_ * parts());
        std::fill_n(to, padded(channels_) * states_ * parts(), -1.0f);
        for (size_t i = 0; i < values.size(); ++i) to[place(0, i)] = values[i];
        return to;
    }

    bool is_complex_, selective_b_, selective_c_;
    Discretization discretization_;
    int64_t channels_, states_, rank_;
    int shares_;
    int64_t streams_;
    std::vector<PackedMatrix> x_proj_, dt_proj_;  // one a share
    std::vector<Rows> projected_;                 // one a share: delta's input, B, C
    Rows delta_;
    const float *poles_ = nullptr, *b_ = nullptr, *c_ = nullptr;
    float *state_ = nullptr, *skip_ = nullptr;
};

}  // namespace

std::unique_ptr<StateStep> make_s6_step(const StateSpaceMap& map, const StepMemory& memory) {
    return std::make_unique<S6Step>(map, memory);
}

}  // namespace nigiri::cpu
#endif
