// S4D one sample at a time without reading the whole state at every sample (the state is what costs: 32 bytes a mode).
//
// Time is cut into blocks of T samples. Inside a block the inputs so far act through the first taps of the layer's
// kernel, k[i] = Re sum_n cbar abar^i, and the state from the block's beginning through its contributions to the T
// outputs, r_j = Re sum_n cbar abar^(j + 1) h. After a block, with a = abar:
//   h' = a^T h + sum_j a^(T - 1 - j) u_j, the sum by Goertzel's second-order recursion
//        s_j = u_j + 2 Re(a) s_(j-1) - |a|^2 s_(j-2),  sum = s_(T-1) - conj(a) s_(T-2)
//   and the next block's r_j of every mode by the same recursion, r_(j+1) = 2 Re(a) r_j - |a|^2 r_(j-1): two operations
//   a mode and sample each where complex multiplications take four. 2 Re(a) is exact; the rounding of |a|^2 grows like
//   T^2 / 2, to 4e-6 of a contribution at T = 16.
// Lanes are channels, in tiles of row_unit; everything a tile needs lies together. A stream whose state was set in the
// middle of a block has no inputs before it: its first block is shorter.
#include <algorithm>
#include <array>
#include <complex>

#include "kernels/cpu/engine/state_step.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/engine/s4d_step.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "kernels/cpu/simd_math-inl.h"

#ifndef NIGIRI_S4D_STEP_ONCE
#define NIGIRI_S4D_STEP_ONCE
namespace nigiri::cpu {

// What is kept of a mode, row_unit floats each: Re a, Im a, |a|^2, Re c, Im c, Re a^T, Im a^T; of a real one a, c, a^T.
inline constexpr int64_t complex_constants = 7, real_constants = 3;

// One tile of one stream.
struct S4dTile {
    bool is_complex;
    int64_t modes;
    const float* constants;  // (modes, constants, row_unit)
    const float* taps;       // (T, row_unit)
    float* state;            // (modes, parts, row_unit), at the block's beginning
    float* inputs;           // (T, row_unit), of the block
    float* carry;            // (T, row_unit): what the state adds to the block's outputs
    int64_t first;           // samples of the block before the state was set
};

}  // namespace nigiri::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace nigiri::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using Tag = hn::CappedTag<float, static_cast<size_t>(row_unit)>;
using V = hn::Vec<Tag>;
constexpr auto lanes = static_cast<int64_t>(hn::MaxLanes(Tag()));
// As many as there are sums and as leaves registers for the recursion.
constexpr int block = HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON ? 16 : 8;

// h over the finished block, sample by sample: for a block that a state was set in.
template <bool IsComplex>
void advance_some(const S4dTile& t, int64_t at) {
    const Tag d;
    constexpr int64_t parts = IsComplex ? 2 : 1, constants = IsComplex ? complex_constants : real_constants;
    for (int64_t n = 0; n < t.modes; ++n) {
        const float* c = t.constants + n * constants * row_unit + at;
        float* h = t.state + n * parts * row_unit + at;
        const V a_re = hn::Load(d, c);
        V re = hn::Load(d, h);
        if constexpr (IsComplex) {
            const V a_im = hn::Load(d, c + row_unit);
            V im = hn::Load(d, h + row_unit);
            for (int64_t j = t.first; j < block; ++j) {
                const V u = hn::Load(d, t.inputs + j * row_unit + at);
                const V next = hn::NegMulAdd(a_im, im, hn::MulAdd(a_re, re, u));
                im = hn::MulAdd(a_im, re, hn::Mul(a_re, im));
                re = next;
            }
            hn::Store(im, d, h + row_unit);
        } else {
            for (int64_t j = t.first; j < block; ++j)
                re = hn::MulAdd(a_re, re, hn::Load(d, t.inputs + j * row_unit + at));
        }
        hn::Store(re, d, h);
    }
}

// h over a whole block.
template <bool IsComplex>
void advance_block(const S4dTile& t, int64_t at) {
    const Tag d;
    constexpr int64_t parts = IsComplex ? 2 : 1, constants = IsComplex ? complex_constants : real_constants;
    V u[block];
    for (int j = 0; j < block; ++j) u[j] = hn::Load(d, t.inputs + j * row_unit + at);
    for (int64_t n = 0; n < t.modes; ++n) {
        const float* c = t.constants + n * constants * row_unit + at;
        float* h = t.state + n * parts * row_unit + at;
        const V a_re = hn::Load(d, c);
        if constexpr (IsComplex) {
            const V a_im = hn::Load(d, c + row_unit), twice = hn::Add(a_re, a_re);
            const V square = hn::Load(d, c + 2 * row_unit);
            V last = u[0], s = hn::MulAdd(twice, last, u[1]);
            HWY_UNROLL(block)
            for (int j = 2; j < block; ++j) {
                const V next = hn::MulAdd(twice, s, hn::NegMulAdd(square, last, u[j]));
                last = s;
                s = next;
            }
            const V power_re = hn::Load(d, c + 5 * row_unit), power_im = hn::Load(d, c + 6 * row_unit);
            const V re = hn::Load(d, h), im = hn::Load(d, h + row_unit);
            const V sum_re = hn::NegMulAdd(a_re, last, s), sum_im = hn::Mul(a_im, last);
            hn::Store(hn::NegMulAdd(power_im, im, hn::MulAdd(power_re, re, sum_re)), d, h);
            hn::Store(hn::MulAdd(power_im, re, hn::MulAdd(power_re, im, sum_im)), d, h + row_unit);
        } else {
            V re = hn::Load(d, h);
            HWY_UNROLL(block)
            for (int j = 0; j < block; ++j) re = hn::MulAdd(a_re, re, u[j]);
            hn::Store(re, d, h);
        }
    }
}

// What h adds to the next block's outputs.
template <bool IsComplex>
void contribute(const S4dTile& t, int64_t at) {
    const Tag d;
    constexpr int64_t parts = IsComplex ? 2 : 1, constants = IsComplex ? complex_constants : real_constants;
    V sum[block];
    for (int j = 0; j < block; ++j) sum[j] = hn::Zero(d);
    for (int64_t n = 0; n < t.modes; ++n) {
        const float* c = t.constants + n * constants * row_unit + at;
        const float* h = t.state + n * parts * row_unit + at;
        const V a_re = hn::Load(d, c), h_re = hn::Load(d, h);
        if constexpr (IsComplex) {
            const V a_im = hn::Load(d, c + row_unit), h_im = hn::Load(d, h + row_unit), twice = hn::Add(a_re, a_re);
            const V square = hn::Load(d, c + 2 * row_unit);
            const V c_re = hn::Load(d, c + 3 * row_unit), c_im = hn::Load(d, c + 4 * row_unit);
            const V v_re = hn::NegMulAdd(c_im, h_im, hn::Mul(c_re, h_re));
            const V v_im = hn::MulAdd(c_im, h_re, hn::Mul(c_re, h_im));
            const V w_re = hn::NegMulAdd(a_im, v_im, hn::Mul(a_re, v_re));
            const V w_im = hn::MulAdd(a_im, v_re, hn::Mul(a_re, v_im));
            V last = w_re, r = hn::NegMulAdd(a_im, w_im, hn::Mul(a_re, w_re));
            sum[0] = hn::Add(sum[0], last);
            sum[1] = hn::Add(sum[1], r);
            HWY_UNROLL(block)
            for (int j = 2; j < block; ++j) {
                const V next = hn::MulSub(twice, r, hn::Mul(square, last));
                last = r;
                r = next;
                sum[j] = hn::Add(sum[j], r);
            }
        } else {
            V r = hn::Mul(hn::Load(d, c + row_unit), h_re);
            HWY_UNROLL(block)
            for (int j = 0; j < block; ++j) {
                r = hn::Mul(a_re, r);
                sum[j] = hn::Add(sum[j], r);
            }
        }
    }
    for (int j = 0; j < block; ++j) hn::Store(sum[j], d, t.carry + j * row_unit + at);
}

template <bool IsComplex>
void next_block(const S4dTile& t) {
    for (int64_t at = 0; at < row_unit; at += lanes) {
        t.first == 0 ? advance_block<IsComplex>(t, at) : advance_some<IsComplex>(t, at);
        contribute<IsComplex>(t, at);
    }
}

// Sample j of the block.
void sample(const S4dTile& t, int64_t j, const float* u, const float* z, float* y) {
    const Tag d;
    for (int64_t at = 0; at < row_unit; at += lanes) {
        const V now = hn::Load(d, u + at);
        hn::Store(now, d, t.inputs + j * row_unit + at);
        V sum = hn::MulAdd(hn::Load(d, t.taps + at), now, hn::Load(d, t.carry + j * row_unit + at));
        V other = hn::Zero(d);
        const float *tap = t.taps + at, *past = t.inputs + at;
        int64_t i = 1;
        for (; i + 2 <= j + 1; i += 2) {
            sum = hn::MulAdd(hn::Load(d, tap + i * row_unit), hn::Load(d, past + (j - i) * row_unit), sum);
            other =
                hn::MulAdd(hn::Load(d, tap + (i + 1) * row_unit), hn::Load(d, past + (j - i - 1) * row_unit), other);
        }
        if (i <= j) sum = hn::MulAdd(hn::Load(d, tap + i * row_unit), hn::Load(d, past + (j - i) * row_unit), sum);
        sum = hn::Add(sum, other);
        if (z) sum = hn::Mul(sum, simd::silu(d, hn::Load(d, z + at)));
        hn::Store(sum, d, y + at);
    }
    if (j + 1 == block) t.is_complex ? next_block<true>(t) : next_block<false>(t);
}

int64_t block_size() { return block; }

}  // namespace
}  // namespace nigiri::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nigiri::cpu {

HWY_EXPORT(sample);
HWY_EXPORT(block_size);

namespace {

class S4dStep final : public StateStep {
  public:
    S4dStep(const StateSpaceMap& map, int64_t phase, const StepMemory& memory)
        : is_complex_(map.is_complex),
          channels_(map.channels),
          modes_(map.states),
          shares_(memory.shares),
          streams_(memory.streams),
          block_(HWY_DYNAMIC_DISPATCH(block_size)()),
          phase_(phase % block_),
          tiles_(padded(map.channels) / row_unit),
          abar_(map.abar),
          cbar_(map.cbar) {
        Arena& arena = *memory.other;
        constants_ = arena.allocate<float>(tiles_ * constants_size());
        taps_ = arena.allocate<float>(tiles_ * block_ * row_unit);
        states_ = arena.allocate<float>(streams_ * tiles_ * tile_state_size());
        inputs_ = arena.allocate<float>(streams_ * tiles_ * block_ * row_unit);
        carry_ = arena.allocate<float>(streams_ * tiles_ * block_ * row_unit);
        first_ = arena.allocate<int64_t>(streams_ * tiles_);
        for (int64_t d = 0; d < channels_; ++d) fill(map, d);
    }

    void step(const Part& part, int64_t time, Rows u, Rows z, Rows y) override {
        const Share share = share_of(channels_, part, shares_);
        const int64_t j = index(time);
        for (int64_t begin = share.begin; begin < share.end; begin += row_unit)
            for (int64_t s = 0; s < streams_; ++s) {
                HWY_DYNAMIC_DISPATCH(sample)
                (tile(s, begin / row_unit), j, u[s] + begin, z.data ? z[s] + begin : nullptr, y[s] + begin);
                if (j + 1 == block_) first_[s * tiles_ + begin / row_unit] = 0;
            }
    }

    // The samples of the block that is under way are added in float64, so that any position is as good as a block's
    // end.
    std::vector<double> state(int64_t stream, int64_t time) const override {
        std::vector<double> values(state_size());
        const int64_t now = index(time);
        for (int64_t d = 0; d < channels_; ++d) {
            const S4dTile t = tile(stream, d / row_unit);
            for (int64_t n = 0; n < modes_; ++n) {
                const std::complex<double> a = number(abar_, n, d);
                const float* h = t.state + n * parts() * row_unit + d % row_unit;
                std::complex<double> sum(static_cast<double>(h[0]), is_complex_ ? static_cast<double>(h[row_unit]) : 0);
                for (int64_t j = t.first; j < now; ++j)
                    sum = a * sum + static_cast<double>(t.inputs[j * row_unit + d % row_unit]);
                values[static_cast<size_t>(n * channels_ + d)] = sum.real();
                if (is_complex_) values[static_cast<size_t>((modes_ + n) * channels_ + d)] = sum.imag();
            }
        }
        return values;
    }

    void set_state(int64_t stream, int64_t time, const std::vector<double>& values) override {
        const int64_t now = index(time);
        for (int64_t i = 0; i < tiles_; ++i) {
            first_[stream * tiles_ + i] = now;
            const S4dTile t = tile(stream, i);
            std::fill_n(t.inputs, block_ * row_unit, 0.0f);
            std::fill_n(t.carry, block_ * row_unit, 0.0f);
        }
        for (int64_t d = 0; d < channels_; ++d) {
            const S4dTile t = tile(stream, d / row_unit);
            std::vector<double> carry(static_cast<size_t>(block_));
            for (int64_t n = 0; n < modes_; ++n) {
                float* h = t.state + n * parts() * row_unit + d % row_unit;
                const double re = values[static_cast<size_t>(n * channels_ + d)];
                const double im = is_complex_ ? values[static_cast<size_t>((modes_ + n) * channels_ + d)] : 0.0;
                h[0] = static_cast<float>(re);
                if (is_complex_) h[row_unit] = static_cast<float>(im);
                const std::complex<double> a = number(abar_, n, d);
                std::complex<double> v = number(cbar_, n, d) * std::complex(re, im);
                for (int64_t j = now; j < block_; ++j) carry[static_cast<size_t>(j)] += (v *= a).real();
            }
            for (int64_t j = now; j < block_; ++j)
                t.carry[j * row_unit + d % row_unit] = static_cast<float>(carry[static_cast<size_t>(j)]);
        }
    }

    size_t state_size() const override { return static_cast<size_t>(parts() * modes_ * channels_); }

  private:
    int64_t parts() const { return is_complex_ ? 2 : 1; }
    int64_t constants_size() const { return modes_ * (is_complex_ ? complex_constants : real_constants) * row_unit; }
    int64_t tile_state_size() const { return modes_ * parts() * row_unit; }
    int64_t index(int64_t time) const { return (time + phase_) % block_; }

    S4dTile tile(int64_t stream, int64_t i) const {
        const int64_t at = stream * tiles_ + i;
        return {is_complex_,
                modes_,
                constants_ + i * constants_size(),
                taps_ + i * block_ * row_unit,
                states_ + at * tile_state_size(),
                inputs_ + at * block_ * row_unit,
                carry_ + at * block_ * row_unit,
                first_[at]};
    }

    // Mode n of channel d from planes (2 or 1, N, D).
    std::complex<double> number(const std::vector<float>& planes, int64_t n, int64_t d) const {
        const auto at = [&](int64_t row) {
            return static_cast<double>(planes[static_cast<size_t>(row * channels_ + d)]);
        };
        return {at(n), is_complex_ ? at(modes_ + n) : 0.0};
    }

    void fill(const StateSpaceMap& map, int64_t d) {
        std::vector<double> taps(static_cast<size_t>(block_));
        for (int64_t n = 0; n < modes_; ++n) {
            const std::complex<double> a = number(map.abar, n, d), c = number(map.cbar, n, d);
            std::complex<double> power = 1;
            for (double& tap : taps) {
                tap += (c * power).real();
                power *= a;
            }
            const std::array<double, complex_constants> all = {a.real(), a.imag(),     std::norm(a), c.real(),
                                                               c.imag(), power.real(), power.imag()};
            const std::array<double, real_constants> real = {a.real(), c.real(), power.real()};
            float* to = constants_ + d / row_unit * constants_size() + d % row_unit;
            if (is_complex_)
                for (size_t k = 0; k < all.size(); ++k)
                    to[(n * complex_constants + static_cast<int64_t>(k)) * row_unit] = static_cast<float>(all[k]);
            else
                for (size_t k = 0; k < real.size(); ++k)
                    to[(n * real_constants + static_cast<int64_t>(k)) * row_unit] = static_cast<float>(real[k]);
        }
        if (!map.skip.empty()) taps[0] += static_cast<double>(map.skip[static_cast<size_t>(d)]);
        for (int64_t i = 0; i < block_; ++i)
            taps_[(d / row_unit * block_ + i) * row_unit + d % row_unit] =
                static_cast<float>(taps[static_cast<size_t>(i)]);
    }

    bool is_complex_;
    int64_t channels_, modes_;
    int shares_;
    int64_t streams_, block_, phase_, tiles_;
    std::vector<float> abar_, cbar_;  // for the states' way in and out
    float *constants_ = nullptr, *taps_ = nullptr, *states_ = nullptr, *inputs_ = nullptr, *carry_ = nullptr;
    int64_t* first_ = nullptr;  // (streams, tiles)
};

}  // namespace

std::unique_ptr<StateStep> make_s4d_step(const StateSpaceMap& map, int64_t phase, const StepMemory& memory) {
    return std::make_unique<S4dStep>(map, phase, memory);
}

}  // namespace nigiri::cpu
#endif
