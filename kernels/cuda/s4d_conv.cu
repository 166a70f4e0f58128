// The chunked form (s4d_chunks.cuh) put together: tables, passes, the states between segments, and the
// gradients' end. Where a layer has too many modes for it, kernel and convolution.
#include <algorithm>

#include "kernels/cpu/s4d_check.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/s4d_chunks.cuh"
#include "kernels/cuda/s4d_modes.cuh"

namespace nigiri {

namespace cuda {
namespace {

// One block a channel; a warp makes four of the 32 powers of every mode from the `first` on.
struct TableJob {
    S4dModes modes;
    const float* skip;
    int64_t first;
    int padded;
    unsigned char *powers, *weighted;  // or null
    float4* poles;                     // or null
    float* taps;                       // or null
};

__global__ void __launch_bounds__(256) make_tables(TableJob job) {
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
                uint32_t first, second;
                split(there ? static_cast<float>(re) : 0.0f, there ? static_cast<float>(im) : 0.0f, first,
                      second);
                const auto at = [&](int piece) {
                    return reinterpret_cast<uint32_t*>(images + image +
                                                       chunk_image_offset(job.padded, piece, k, i / 4)) +
                           i % 4;
                };
                *at(0) = first, *at(1) = second;
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

// The state (B, 2 or 1, N D) as kernels see it.
struct PlanarState {
    Rows rows;
    int64_t parts, channels;

    __device__ Complex get(int64_t b, int64_t d, int64_t n) const {
        return {rows.row(b * parts)[n * channels + d],
                parts == 2 ? rows.row(b * parts + 1)[n * channels + d] : 0.0f};
    }
    __device__ void set(int64_t b, int64_t d, int64_t n, Complex x) const {
        rows.row(b * parts)[n * channels + d] = static_cast<float>(x.re);
        if (parts == 2) rows.row(b * parts + 1)[n * channels + d] = static_cast<float>(x.im);
    }
};

// A thread's sequence, channel and mode; modes fastest, as in the segments' arrays.
struct Place {
    int64_t b, d, n;
    bool there;

    __device__ Place(const Segments& s, const S4dModes& p) {
        const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
        n = i % p.modes;
        d = i / p.modes % p.channels;
        b = i / p.modes / p.channels;
        there = b < s.batch;
    }
};

// From the states at the segments' ends, begun at zero, to the states at their starts.
__global__ void carry_states(Segments s, S4dModes p, PlanarState state, const float2* __restrict__ ends,
                             float2* __restrict__ starts) {
    const Place at(s, p);
    if (!at.there) return;
    const Complex decay = power(s4d_mode(p, at.d, at.n).abar, s.samples);
    Complex h = state.rows.data ? state.get(at.b, at.d, at.n) : Complex{0, 0};
    const int64_t stride = s.batch * p.channels * p.modes;
    int64_t i = (at.b * p.channels + at.d) * p.modes + at.n;
#pragma unroll 4
    for (int64_t k = 0; k + 1 < s.count; ++k, i += stride) {
        starts[i] = {static_cast<float>(h.re), static_cast<float>(h.im)};
        h = decay * h + Complex{ends[i].x, ends[i].y};
    }
    starts[i] = {static_cast<float>(h.re), static_cast<float>(h.im)};
}

// The last samples, fewer than a chunk, one by one.
template <class T>
__global__ void finish_state(Segments s, S4dModes p, const float2* last, const T* u, int64_t stride,
                             PlanarState state) {
    const Place at(s, p);
    if (!at.there) return;
    const Complex a = s4d_mode(p, at.d, at.n).abar;
    const float2 before = last[(at.b * p.channels + at.d) * p.modes + at.n];
    Complex h = {before.x, before.y};
    for (int64_t l = s.length - s.length % chunk_samples; l < s.length; ++l)
        h = a * h + Complex{load(u + (at.b * s.length + l) * stride + at.d), 0};
    state.set(at.b, at.d, at.n, h);
}

struct StateSums {
    Complex x, y;
};

// What the states between segments add to x and y, and the reversed states that du's segments begin with.
__global__ void carry_gradients(Segments s, S4dModes p, PlanarState state,
                                const SegmentSums* __restrict__ sums, StateSums* __restrict__ added,
                                float2* __restrict__ starts, PlanarState dstate) {
    const Place at(s, p);
    if (!at.there) return;
    const S4dMode mode = s4d_mode(p, at.d, at.n);
    const Complex decay = power(mode.abar, s.samples);
    const int64_t stride = s.batch * p.channels * p.modes,
                  first = (at.b * p.channels + at.d) * p.modes + at.n;
    const auto samples = static_cast<double>(s.samples);
    Complex h = state.rows.data ? state.get(at.b, at.d, at.n) : Complex{0, 0}, m = {0, 0};
    StateSums total = {{0, 0}, {0, 0}};
#pragma unroll 4
    for (int64_t k = 0; k < s.count; ++k) {
        const SegmentSums g = sums[first + k * stride];
        const Complex q = {g.q.x, g.q.y}, dq = {g.dq.x, g.dq.y};
        total.x = total.x + h * q;
        total.y = total.y + h * dq + m * q;
        m = decay * (m + samples * h) + Complex{g.m.x, g.m.y};
        h = decay * h + Complex{g.h.x, g.h.y};
    }
    added[first] = total;
    if (starts == nullptr && dstate.rows.data == nullptr) return;
    Complex r = {0, 0};
#pragma unroll 4
    for (int64_t k = s.count - 1; k >= 0; --k) {
        if (starts) starts[first + k * stride] = {static_cast<float>(r.re), static_cast<float>(r.im)};
        const float2 q = sums[first + k * stride].q;
        r = decay * r + Complex{q.x, q.y};
    }
    if (dstate.rows.data) dstate.set(at.b, at.d, at.n, conj(s4d_weight(p, mode) * mode.abar * r));
}

// The lags' sums over the groups of columns; lag 0 is the skip's gradient as well.
__global__ void sum_taps(const float* partial, int64_t groups, int64_t channels, double* taps, float* dskip) {
    const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
    if (i >= channels * chunk_samples) return;
    double sum = 0;
#pragma unroll 8
    for (int64_t g = 0; g < groups; ++g) sum += partial[g * channels * chunk_samples + i];
    taps[i] = sum;
    if (dskip && i % chunk_samples == 0)
        dskip[i / chunk_samples] = static_cast<float>(dskip[i / chunk_samples] + sum);
}

__global__ void finish_modes(Segments s, S4dModes p, const float2* x, const float2* y, int64_t groups,
                             const StateSums* added, const double* taps, ModeGradient* gradients) {
    const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x,
                  stride = p.channels * p.modes;
    if (i >= stride) return;
    Complex x_sum = {0, 0}, y_sum = {0, 0};
#pragma unroll 4
    for (int64_t g = 0; g < groups; ++g) {
        const float2 a = x[g * stride + i], b = y[g * stride + i];
        x_sum = x_sum + Complex{a.x, a.y};
        y_sum = y_sum + Complex{b.x, b.y};
    }
#pragma unroll 4
    for (int64_t b = 0; b < s.batch; ++b) {
        x_sum = x_sum + added[b * stride + i].x;
        y_sum = y_sum + added[b * stride + i].y;
    }
    const int64_t d = i / p.modes;
    const S4dMode mode = s4d_mode(p, d, i % p.modes);
    Complex sum = mode.abar * x_sum, moment = x_sum + y_sum, power = {1, 0};  // A^(k - 1)
    sum.re += taps[d * chunk_samples];
    for (int k = 1; k < chunk_samples; ++k) {
        const double g = taps[d * chunk_samples + k];
        moment = moment + (k * g) * power;
        power = power * mode.abar;
        sum = sum + g * power;
    }
    gradients[i] = s4d_mode_backward(p, mode, sum, moment);
}

unsigned blocks_for(int64_t wanted) {
    return static_cast<unsigned>(ceil_div(wanted, 128));
}

// As many segments as fill the device best: a block takes 32 columns (or 16) of 8 channels through a
// segment's chunks, and about six chunks' time besides; with more than one segment their ends must be found
// first, which costs half as much again. Decays are rounded to float32 once a chunk, so that segments of at
// most 256 keep errors below 1e-5.
Segments cut(const View& u, int64_t modes, int multiprocessors) {
    Segments best;
    double best_cost = 0;
    const int64_t chunks = ceil_div(u[1], chunk_samples), wide = modes > 32 ? 16 : 32;
    for (int64_t count = 1; count <= std::min<int64_t>(chunks, 4096); ++count) {
        const int64_t steps = ceil_div(chunks, count);
        if (steps > 256) continue;
        const int64_t used = ceil_div(chunks, steps);
        const int64_t blocks = ceil_div(u[2], chunk_channels) * ceil_div(u[0] * used, wide);
        const double cost =
            static_cast<double>(ceil_div(blocks, multiprocessors) * (steps + 6)) * (used > 1 ? 1.5 : 1);
        if (best.count > 0 && cost >= best_cost) continue;
        best = {u[0], u[1], u[2], steps * chunk_samples, used};
        best_cost = cost;
    }
    return best;
}

bool in_vectors(const View& v) {
    return reinterpret_cast<uintptr_t>(v.data) % 16 == 0 &&
           (v.rows() <= 1 || v.row_stride * static_cast<int64_t>(size_of(v.dtype)) % 16 == 0);
}

// A layer's tables and the memory they are in.
struct Tables {
    Tensor powers, weighted, poles, taps, sliced;
    ChunkTables outputs, gradients;

    Tables(Backend& backend, cudaStream_t stream, const S4dParameters& op, const View& skip,
           bool for_gradients) {
        const S4dModes p(op);
        const int padded = padded_modes(p.modes), slices = for_gradients ? (padded + 31) / 32 : 1;
        const int64_t channels = ceil_div(p.channels, chunk_channels) * chunk_channels;
        const auto images = [&] {
            return backend.allocate({channels, chunk_image_bytes(padded) / 4}, DType::f32);
        };
        powers = images();
        poles = backend.allocate({channels, padded, 4}, DType::f32);
        taps = backend.allocate({channels, chunk_samples}, DType::f32);
        if (for_gradients) weighted = images();
        outputs = {pointer<unsigned char>(powers), nullptr, pointer<float4>(poles), pointer<float>(taps),
                   p.modes};
        const auto blocks = static_cast<unsigned>(channels);
        const TableJob job = {p,
                              skip.as<float>(),
                              0,
                              padded,
                              pointer<unsigned char>(powers),
                              slices == 1 ? pointer<unsigned char>(weighted) : nullptr,
                              pointer<float4>(poles),
                              pointer<float>(taps)};
        make_tables<<<blocks, 256, 0, stream>>>(job);
        gradients = outputs;
        gradients.weighted = pointer<unsigned char>(weighted);
        if (slices == 1) return;
        // The gradients' blocks take 32 modes each, with images of their own.
        sliced = images();
        gradients.powers = pointer<unsigned char>(sliced);
        const int64_t bytes = channels * chunk_image_bytes(32);
        for (int slice = 0; slice < slices; ++slice) {
            const TableJob part = {p,
                                   nullptr,
                                   32 * slice,
                                   32,
                                   pointer<unsigned char>(sliced) + slice * bytes,
                                   pointer<unsigned char>(weighted) + slice * bytes,
                                   nullptr,
                                   nullptr};
            make_tables<<<blocks, 256, 0, stream>>>(part);
        }
    }
};

template <class T>
ChunkPass<T> pass_of(const Segments& s, const ChunkTables& tables, const View& in, const View& out,
                     bool reversed) {
    ChunkPass<T> p = {};
    p.segments = s;
    p.tables = tables;
    p.in = pointer<const T>(in), p.out = pointer<T>(out);
    p.in_stride = in.row_stride, p.out_stride = out.row_stride;
    p.in_vectors = in_vectors(in), p.out_vectors = in_vectors(out);
    p.reversed = reversed;
    p.columns = s.columns();
    return p;
}

PlanarState planar(const S4dParameters& op, const View& state) {
    return {state, op.is_complex ? 2 : 1, op.inv_dt.size()};
}

}  // namespace
}  // namespace cuda

void CudaBackend::s4d_conv_forward(const S4dConvForward& op) {
    using namespace cuda;
    const char* name = "s4d_conv_forward";
    cpu::check_s4d_conv(op, op.skip, op.u, op.y, op.state, DType::f32, name);
    if (op.u.size() == 0) return;
    const S4dParameters& parameters = op;
    const S4dModes p(op);
    if (p.modes > most_chunk_modes) {
        if (op.state) {
            const Shape shape = {p.is_complex ? 2 : 1, p.modes, p.channels};
            const Tensor abar = allocate(shape, DType::f32), cbar = allocate(shape, DType::f32);
            s4d_discretize({parameters, abar, cbar});
            return s4d_recurrence({.is_complex = p.is_complex,
                                   .abar = abar,
                                   .cbar = cbar,
                                   .skip = op.skip,
                                   .u = op.u,
                                   .y = op.y,
                                   .state = op.state});
        }
        const Tensor kernel = allocate({op.u[2], op.u[1]}, DType::f32);
        s4d_kernel_forward({parameters, kernel});
        return long_conv_forward({.u = op.u, .kernel = kernel, .skip = op.skip, .y = op.y});
    }
    const Segments s = cut(op.u, p.modes, multiprocessors_);
    const Tables tables(*this, stream_, op, op.skip, false);
    const int64_t states = p.channels * p.modes;
    dispatch(op.u.dtype, [&]<class T>(T) {
        ChunkPass<T> pass = pass_of<T>(s, tables.outputs, op.u, op.y, false);
        Tensor ends, starts, last;
        if (s.count > 1) {
            ends = allocate({(s.count - 1) * s.batch, 2 * states}, DType::f32);
            ChunkPass<T> first = pass;
            first.columns = (s.count - 1) * s.batch;
            first.ends = pointer<float2>(ends);
            launch_chunk_ends(stream_, first);
        }
        if (s.count > 1 || op.state) {
            starts = allocate({s.columns(), 2 * states}, DType::f32);
            carry_states<<<blocks_for(s.batch * states), 128, 0, stream_>>>(
                s, p, planar(op, op.state), pointer<float2>(ends), pointer<float2>(starts));
            pass.starts = pointer<float2>(starts);
        }
        if (op.state) last = allocate({s.batch, 2 * states}, DType::f32);
        pass.ends = pointer<float2>(last);
        launch_chunk_outputs(stream_, pass);
        if (op.state)
            finish_state<T><<<blocks_for(s.batch * states), 128, 0, stream_>>>(
                s, p, pointer<float2>(last), pointer<T>(op.u), op.u.row_stride, planar(op, op.state));
    });
    check_launch(name);
}

void CudaBackend::s4d_conv_backward(const S4dConvBackward& op) {
    using namespace cuda;
    const char* name = "s4d_conv_backward";
    cpu::check_s4d_conv_backward(op, DType::f32, name);
    if (op.u.size() == 0) {
        if (op.dstate) fill({.y = op.dstate, .value = 0});
        return;
    }
    const S4dParameters& parameters = op;
    const S4dModes p(op);
    if (p.modes > most_chunk_modes) {
        require(!op.state && !op.dstate, name, "no state where there are more than 64 modes");
        const Tensor kernel = allocate({op.u[2], op.u[1]}, DType::f32),
                     dkernel = allocate(kernel.shape(), DType::f32);
        const Tensor du = op.du ? Tensor() : allocate(op.u.shape, op.u.dtype);
        const Tensor dskip = op.skip && !op.dskip ? zeros({p.channels}, DType::f32) : Tensor();
        s4d_kernel_forward({parameters, kernel});
        long_conv_backward({.u = op.u,
                            .kernel = kernel,
                            .skip = op.skip,
                            .dy = op.dy,
                            .du = op.du ? op.du : du.view(),
                            .dkernel = dkernel,
                            .dskip = op.skip && !op.dskip ? dskip.view() : op.dskip});
        return s4d_kernel_backward({parameters, dkernel, op.dinv_dt, op.da_real, op.da_imag, op.db, op.dc});
    }
    const Segments s = cut(op.u, p.modes, multiprocessors_);
    const Tables tables(*this, stream_, op, op.skip, true);
    const int64_t states = p.channels * p.modes, groups = ceil_div(s.columns(), 16);
    const Tensor sums = allocate({s.columns(), 8 * states}, DType::f32),
                 x = allocate({groups, 2 * states}, DType::f32),
                 y = allocate({groups, 2 * states}, DType::f32),
                 taps = allocate({groups, p.channels * chunk_samples}, DType::f32),
                 all_taps = allocate({p.channels * chunk_samples, 2}, DType::f32),
                 added = allocate({s.batch * states, sizeof(StateSums) / 4}, DType::f32),
                 gradients = allocate({states, sizeof(ModeGradient) / 4}, DType::f32);
    Tensor starts;
    if (op.du) starts = allocate({s.columns(), 2 * states}, DType::f32);
    dispatch(op.u.dtype, [&]<class T>(T) {
        launch_chunk_gradients<T>(
            stream_, {s, tables.gradients, pointer<T>(op.u), pointer<T>(op.dy), op.u.row_stride,
                      op.dy.row_stride, in_vectors(op.u), in_vectors(op.dy), pointer<SegmentSums>(sums),
                      pointer<float2>(x), pointer<float2>(y), pointer<float>(taps)});
        carry_gradients<<<blocks_for(s.batch * states), 128, 0, stream_>>>(
            s, p, planar(op, op.state), pointer<SegmentSums>(sums), pointer<StateSums>(added),
            pointer<float2>(starts), planar(op, op.dstate));
        if (op.du) {
            ChunkPass<T> pass = pass_of<T>(s, tables.outputs, op.dy, op.du, true);
            pass.starts = pointer<float2>(starts);
            launch_chunk_outputs(stream_, pass);
        }
    });
    sum_taps<<<blocks_for(p.channels * chunk_samples), 128, 0, stream_>>>(
        pointer<float>(taps), groups, p.channels, pointer<double>(all_taps), op.dskip.as<float>());
    finish_modes<<<blocks_for(states), 128, 0, stream_>>>(
        s, p, pointer<float2>(x), pointer<float2>(y), groups, pointer<StateSums>(added),
        pointer<double>(all_taps), pointer<ModeGradient>(gradients));
    check_launch(name);
    add_mode_gradients(stream_, pointer<ModeGradient>(gradients), p.channels, p.copies, p.modes, p.is_complex,
                       {op.dinv_dt, op.da_real, op.da_imag, {}, op.db, op.dc});
}

}  // namespace nigiri
