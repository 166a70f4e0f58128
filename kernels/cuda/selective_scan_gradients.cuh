// What the selective scan's backward pass adds up, and how: over a lane's steps, over the channels of a warp, over
// the warps of a block, and at last over blocks.
#pragma once

#include "kernels/cuda/selective_scan.cuh"

namespace nigiri::cuda::scan {

struct BackwardOperands : Operands {
    States checkpoints;
    Rows dy, du, ddelta, dz;
    // Shares of selective dB and dC, (blocks, B L, numbers), and of the parameters' gradients, (B span, sums,
    // channels).
    float *db, *dc, *sums;
};

// What a warp adds up over its slices, 8 channels each: dA, a constant B's and C's gradients, those of bias
// and skip.
struct Sums {
    int b, c, bias, skip, count;
    __host__ __device__ Sums(int numbers, bool selective_b, bool selective_c) {
        b = numbers;
        c = b + (selective_b ? 0 : numbers);
        bias = c + (selective_c ? 0 : numbers);
        skip = bias + 1;
        count = skip + 1;
    }
};

// A warp's dB and dC of a tile: [dB, dC][number][step], padded against bank conflicts.
inline constexpr int share_pitch = slice_steps + 4, share_floats = 2 * tile_numbers * share_pitch;

// The sum over a slice's segments: lanes of one channel.
__device__ inline float sum_segments(float x) {
    x += __shfl_xor_sync(all_lanes, x, lane_channels);
    return x + __shfl_xor_sync(all_lanes, x, 2 * lane_channels);
}

// Of the sums over the warp's 8 channels for 16 steps a lane gets two: of this step of its segment, and the
// next one.
__device__ inline int first_sum(int lane) { return 4 * (lane % 4) + 2 * (lane / 4 % 2); }

// Takes numbers of the lane's steps and adds them up, over channels for the gradient of a selective matrix,
// over steps for that of a constant one. In the layout of mma.m16n8k8 the 4 lanes of a quad hold 4 columns of
// a row of A, so a B of equal numbers adds them up; products of 4 vectors of steps, with these numbers in
// different columns, leave the 16 sums of a quad in its 4 lanes. tf32 leaves out bits: 5e-4 of a term on
// average, a fourth of what a bf16 result loses; for float32 they are added up too.
//
// A lane's part of B is one row of a column pair: it has its number for the vector q = lane / 8 only. The
// number is a half, whose float has but one byte that is not zero, so a byte permutation finds it.
struct Halves {
    uint32_t even, odd;

    __device__ explicit Halves(int lane) {
        const uint32_t here = 0x3fu << (lane / 8 * 8);
        even = lane / 4 % 2 == 0 ? here : 0;
        odd = lane / 4 % 2 == 1 ? here : 0;
    }
    __device__ static float of(uint32_t word, int q) { return __uint_as_float(__byte_perm(word, 0, 0x0444 | q << 12)); }
};

template <Mix kMix, bool kExact>
class StepSums {
  public:
    // Steps 4 q to 4 q + 3.
    __device__ void put(bool selective, const Halves& halves, int q, const float (&v)[4]) {
        if (kMix == Mix::constant || (kMix == Mix::any && !selective)) {
            sum_[0] += (v[0] + v[1]) + (v[2] + v[3]);
            return;
        }
        const float even = Halves::of(halves.even, q), odd = Halves::of(halves.odd, q);
        mma_tf32(sum_, v, even, odd);
        if constexpr (kExact) {
            float rest[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) rest[i] = v[i] - __uint_as_float(__float_as_uint(v[i]) & 0xffffe000u);
            mma_tf32(sum_, rest, even, odd);
        }
    }
    // `share` is where half the lane's first sum goes, `sum` where that of the lane's channel is.
    __device__ void finish(bool selective, int lane, float* share, float* sum) {
        if (kMix == Mix::constant || (kMix == Mix::any && !selective)) {
            const float s = sum_segments(sum_[0]);
            if (lane < lane_channels) *sum += s;
            return;
        }
        // Of steps 4 t to 4 t + 3 these are 0, 2, 1, 3; the other quad of the segment has the same ones.
        const bool upper = (lane & 4) != 0;
        const float keep0 = upper ? sum_[1] : sum_[0], keep1 = upper ? sum_[3] : sum_[2];
        const float send0 = upper ? sum_[0] : sum_[1], send1 = upper ? sum_[2] : sum_[3];
        *reinterpret_cast<float2*>(share) = {keep0 + __shfl_xor_sync(all_lanes, send0, 4),
                                             keep1 + __shfl_xor_sync(all_lanes, send1, 4)};
    }

  private:
    float sum_[4] = {0, 0, 0, 0};
};

template <bool kComplex, Mix kMix, bool kExact>
struct NumberSums {
    StepSums<kMix, kExact> re, im;

    __device__ void put(bool selective, const Halves& halves, int q, const Number<kComplex> (&x)[4]) {
        const float r[4] = {x[0].re, x[1].re, x[2].re, x[3].re};
        re.put(selective, halves, q, r);
        if constexpr (kComplex) {
            const float i[4] = {x[0].im, x[1].im, x[2].im, x[3].im};
            im.put(selective, halves, q, i);
        }
    }
    __device__ void finish(bool selective, int lane, float* share, float* sum) {
        re.finish(selective, lane, share, sum);
        if constexpr (kComplex) im.finish(selective, lane, share + share_pitch, sum + lane_channels);
    }
};

// Adds up the shares of the warps that have this slice, and stores them: a thread has 4 steps of a number.
__device__ inline void store_shares(const BackwardOperands& p, const Place& at, const float* shares, int64_t slice,
                                    int first) {
    const int number = at.lane % tile_numbers, count = at.count(p, slice);
    if (first + number >= p.numbers) return;
    const int64_t row = at.block * p.batch * p.length + at.row(p, slice);
    const auto store_matrix = [&](float* to, const float* from) {
        if (to == nullptr) return;
        to += row * p.numbers + first + number;
        from += number * share_pitch;
        for (int step = 4 * (at.lane / tile_numbers + 4 * at.group); step < count; step += 16 * p.groups) {
            float sum[4] = {0, 0, 0, 0};
            for (int g = 0; g < p.groups; ++g) {
                const float4 x = load_vector(from + (g * share_floats + step));
                sum[0] += x.x, sum[1] += x.y, sum[2] += x.z, sum[3] += x.w;
            }
#pragma unroll
            for (int i = 0; i < 4; ++i)
                if (step + i < count) to[static_cast<int64_t>(step + i) * p.numbers] = 2 * sum[i];
        }
    };
    store_matrix(p.db, shares);
    store_matrix(p.dc, shares + tile_numbers * share_pitch);
}

// selective dB or dC (rows, numbers), = the sums of the blocks' shares.
template <class T>
void add_shares(cudaStream_t stream, const float* shares, int blocks, int64_t rows, int numbers, const Rows& to);

// Where the gradients of parameters are added to; those that are not wanted are empty.
struct ParameterGradients {
    int numbers;
    States a, b, c;
    float *bias, *skip;
};

// The sums over the batch and the blocks of a cluster, laid out as `place` says: (shares, sums, channels).
void add_sums(cudaStream_t stream, bool is_complex, const float* sums, int64_t shares, const Sums& place, int channels,
              const ParameterGradients& to);

}  // namespace nigiri::cuda::scan
