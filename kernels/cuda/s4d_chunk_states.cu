// Small kernels, a thread a mode of a channel, of a sequence where there are sequences: bound by reading the
// segments' states once (8 to 32 bytes for every 32 to 256 chunks), and by the latency of going through the
// segments in order.
#include "kernels/cuda/s4d_chunk_states.cuh"

namespace nigiri::cuda {

namespace {

__global__ void __launch_bounds__(256) tables(TableJob job) {
    const int64_t d = blockIdx.x;
    const int lane = threadIdx.x % 32, k0 = static_cast<int>(threadIdx.x) / 32 * 4;
    const int64_t image = d * chunk_image_bytes(job.padded);
    double taps[4] = {};
    for (int i = lane; i < job.padded; i += 32) {
        Complex a = {0, 0}, weight = {0, 0};
        const int64_t n = job.first + i;
        const bool there = d < job.modes.channels && n < job.modes.modes;
        if (there) {
            const S4dMode mode = s4d_mode(job.modes, d, n);
            a = mode.abar;
            weight = s4d_weight(job.modes, mode);
        }
        Complex p = power(a, k0);
        for (int k = k0; k < k0 + 4; ++k) {
            taps[k - k0] += (weight * p).re;
            const auto put = [&](unsigned char* images, double re, double im) {
                if (images == nullptr) return;
                uint32_t pieces[2];
                split(there ? static_cast<float>(re) : 0.0f, there ? static_cast<float>(im) : 0.0f, pieces[0],
                      pieces[1]);
                for (int piece = 0; piece < 2; ++piece)
                    reinterpret_cast<uint32_t*>(images + image +
                                                chunk_image_offset(job.padded, piece, k, i / 4))[i % 4] = pieces[piece];
            };
            put(job.powers, p.re, p.im);
            put(job.weighted, k * p.re, k * p.im);
            p = p * a;
        }
        if (job.poles && k0 == 0) {
            const Complex decay = power(a, chunk_samples), out = weight * a;
            job.poles[d * job.padded + i] = {static_cast<float>(decay.re), static_cast<float>(decay.im),
                                             static_cast<float>(out.re), static_cast<float>(out.im)};
        }
    }
    if (job.taps == nullptr) return;
    for (int k = 0; k < 4; ++k) {
        double sum = taps[k];
        for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
        if (k0 + k == 0 && job.skip && d < job.modes.channels) sum += job.skip[d];
        if (lane == 0) job.taps[d * chunk_samples + k0 + k] = static_cast<float>(sum);
    }
}

// A thread's sequence, channel and mode.
struct Place {
    int64_t b, d, n;
    int64_t first, stride;  // of the sequence's segments in the arrays
    bool there, padding;

    __device__ explicit Place(const StatesJob& job) {
        const Segments& s = job.segments;
        first = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
        n = first % job.padded;
        d = first / job.padded % s.channels;
        b = first / job.padded / s.channels;
        stride = s.batch * s.channels * job.padded;
        there = b < s.batch && d < job.modes.channels && n < job.modes.modes;
        padding = b < s.batch && !there;
    }
};

__global__ void carry(StatesJob job, const float2* __restrict__ ends, float2* __restrict__ starts) {
    const Place at(job);
    const int64_t count = job.segments.count;
    if (at.padding)  // zero times whatever stands there must be zero
        for (int64_t k = 0; k < count; ++k) starts[at.first + k * at.stride] = {0, 0};
    if (!at.there) return;
    const Complex decay = power(s4d_mode(job.modes, at.d, at.n).abar, job.segments.samples);
    Complex h = job.state.rows.data ? job.state.get(at.b, at.d, at.n) : Complex{0, 0};
    int64_t i = at.first;
#pragma unroll 8
    for (int64_t k = 0; k + 1 < count; ++k, i += at.stride) {
        starts[i] = {static_cast<float>(h.re), static_cast<float>(h.im)};
        h = decay * h + Complex{ends[i].x, ends[i].y};
    }
    starts[i] = {static_cast<float>(h.re), static_cast<float>(h.im)};
}

template <class T>
__global__ void finish(StatesJob job, const float2* last, const T* u, int64_t stride) {
    const Place at(job);
    if (!at.there) return;
    const Complex a = s4d_mode(job.modes, at.d, at.n).abar;
    Complex h = {last[at.first].x, last[at.first].y};
    const int64_t length = job.segments.length;
    for (int64_t l = length - length % chunk_samples; l < length; ++l)
        h = a * h + Complex{load(u + (at.b * length + l) * stride + at.d), 0};
    job.state.set(at.b, at.d, at.n, h);
}

__global__ void carry_both_ways(StatesJob job, const SegmentSums* __restrict__ sums, StateSums* __restrict__ added,
                                float2* __restrict__ starts, PlanarState dstate) {
    const Place at(job);
    const int64_t count = job.segments.count;
    if (at.padding && starts)
        for (int64_t k = 0; k < count; ++k) starts[at.first + k * at.stride] = {0, 0};
    if (!at.there) return;
    const S4dMode mode = s4d_mode(job.modes, at.d, at.n);
    const Complex decay = power(mode.abar, job.segments.samples);
    const auto samples = static_cast<double>(job.segments.samples);
    Complex h = job.state.rows.data ? job.state.get(at.b, at.d, at.n) : Complex{0, 0}, m = {0, 0};
    StateSums total = {{0, 0}, {0, 0}};
#pragma unroll 4
    for (int64_t k = 0; k < count; ++k) {
        const SegmentSums g = sums[at.first + k * at.stride];
        const Complex q = {g.q.x, g.q.y}, dq = {g.dq.x, g.dq.y};
        total.x = total.x + h * q;
        total.y = total.y + h * dq + m * q;
        m = decay * (m + samples * h) + Complex{g.m.x, g.m.y};
        h = decay * h + Complex{g.h.x, g.h.y};
    }
    added[at.first] = total;
    if (starts == nullptr && dstate.rows.data == nullptr) return;
    Complex r = {0, 0};
#pragma unroll 8
    for (int64_t k = count - 1; k >= 0; --k) {
        if (starts) starts[at.first + k * at.stride] = {static_cast<float>(r.re), static_cast<float>(r.im)};
        const float2 q = sums[at.first + k * at.stride].q;
        r = decay * r + Complex{q.x, q.y};
    }
    if (dstate.rows.data) dstate.set(at.b, at.d, at.n, conj(s4d_weight(job.modes, mode) * mode.abar * r));
}

// The lags' sums over the groups of columns; lag 0 is the skip's gradient as well.
__global__ void sum_taps(GradientSums sums, int64_t channels, int64_t padded) {
    const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
    if (i >= channels * chunk_samples) return;
    double sum = 0;
#pragma unroll 8
    for (int64_t g = 0; g < sums.groups; ++g) sum += sums.partial_taps[g * padded * chunk_samples + i];
    sums.taps[i] = sum;
    if (sums.dskip && i % chunk_samples == 0)
        sums.dskip[i / chunk_samples] = static_cast<float>(sums.dskip[i / chunk_samples] + sum);
}

__global__ void gradients_of_modes(StatesJob job, GradientSums sums, ModeGradient* gradients) {
    const Place at(job);
    if (!at.there || at.b > 0) return;
    const int64_t stride = job.segments.channels * job.padded;
    Complex x = {0, 0}, y = {0, 0};
#pragma unroll 8
    for (int64_t g = 0; g < sums.groups; ++g) {
        const float2 a = sums.x[g * stride + at.first], b = sums.y[g * stride + at.first];
        x = x + Complex{a.x, a.y};
        y = y + Complex{b.x, b.y};
    }
#pragma unroll 8
    for (int64_t b = 0; b < job.segments.batch; ++b) {
        const StateSums s = sums.added[b * stride + at.first];
        x = x + s.x;
        y = y + s.y;
    }
    const S4dMode mode = s4d_mode(job.modes, at.d, at.n);
    const double* taps = sums.taps + at.d * chunk_samples;
    Complex sum = mode.abar * x, moment = x + y, power = {1, 0};  // A^(k - 1)
    sum.re += taps[0];
    for (int k = 1; k < chunk_samples; ++k) {
        moment = moment + (k * taps[k]) * power;
        power = power * mode.abar;
        sum = sum + taps[k] * power;
    }
    gradients[at.d * job.modes.modes + at.n] = s4d_mode_backward(job.modes, mode, sum, moment);
}

unsigned blocks_for(int64_t threads) { return static_cast<unsigned>(ceil_div(threads, 128)); }
unsigned blocks_for(const StatesJob& job) {
    return blocks_for(job.segments.batch * job.segments.channels * job.padded);
}

}  // namespace

void make_tables(cudaStream_t stream, const TableJob& job, int64_t channels) {
    tables<<<static_cast<unsigned>(channels), 256, 0, stream>>>(job);
    check_launch("s4d_conv");
}

void carry_states(cudaStream_t stream, const StatesJob& job, const float2* ends, float2* starts) {
    carry<<<blocks_for(job), 128, 0, stream>>>(job, ends, starts);
    check_launch("s4d_conv");
}

template <class T>
void finish_state(cudaStream_t stream, const StatesJob& job, const float2* last, const T* u, int64_t stride) {
    finish<T><<<blocks_for(job), 128, 0, stream>>>(job, last, u, stride);
    check_launch("s4d_conv");
}
template void finish_state(cudaStream_t, const StatesJob&, const float2*, const float*, int64_t);
template void finish_state(cudaStream_t, const StatesJob&, const float2*, const bf16*, int64_t);

void carry_gradients(cudaStream_t stream, const StatesJob& job, const SegmentSums* sums, StateSums* added,
                     float2* starts, const PlanarState& dstate) {
    carry_both_ways<<<blocks_for(job), 128, 0, stream>>>(job, sums, added, starts, dstate);
    check_launch("s4d_conv_backward");
}

void finish_gradients(cudaStream_t stream, const StatesJob& job, const GradientSums& sums, ModeGradient* gradients) {
    const int64_t channels = job.modes.channels;
    sum_taps<<<blocks_for(channels * chunk_samples), 128, 0, stream>>>(sums, channels, job.segments.channels);
    gradients_of_modes<<<blocks_for(job.segments.channels * job.padded), 128, 0, stream>>>(job, sums, gradients);
    check_launch("s4d_conv_backward");
}

}  // namespace nigiri::cuda
