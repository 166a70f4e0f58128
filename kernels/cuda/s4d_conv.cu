// The chunked form (s4d_chunks.cuh) put together. Forward: tables; the states at the ends of segments; the
// states they begin with; outputs. Backward: the gradients' sums over segments; what flows between them; du,
// which is the outputs' pass run backwards. Where a layer has too many modes for it, kernel and convolution.
#include <algorithm>

#include "kernels/cpu/s4d_check.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/s4d_chunk_states.cuh"

namespace nigiri {

namespace cuda {
namespace {

// Rows of an activation with channels up to a whole number of blocks, the rest zero, and back.
template <class T>
__global__ void copy_rows(const T* from, int64_t stride, int64_t width, T* to, int64_t to_stride, int64_t to_width,
                          int64_t rows) {
    const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
    if (i >= rows * to_width) return;
    const int64_t row = i / to_width, column = i % to_width;
    to[row * to_stride + column] = column < width ? from[row * stride + column] : static_cast<T>(0.0f);
}

int64_t padded_width(int64_t channels) { return ceil_div(channels, padded_channels) * padded_channels; }

// The passes read and write 16 bytes of whole blocks of channels at a time. What is not laid out so goes
// through memory that is.
template <class T>
class Aligned {
  public:
    Aligned(Backend& backend, cudaStream_t stream, const View& v, bool read) : stream_(stream), view_(v) {
        const bool fits = v.columns() == padded_width(v.columns()) && reinterpret_cast<uintptr_t>(v.data) % 16 == 0 &&
                          v.row_stride * static_cast<int64_t>(sizeof(T)) % 16 == 0;
        if (fits || v.empty()) return;
        memory_ = backend.allocate({v.rows(), padded_width(v.columns())}, v.dtype);
        if (read) copy(v, memory_);
    }
    T* data() const { return pointer<T>(memory_ ? memory_.view() : view_); }
    int64_t stride() const { return memory_ ? memory_.view().row_stride : view_.row_stride; }
    // Brings what was written to where it belongs.
    void finish() const {
        if (memory_) copy(memory_, view_);
    }

  private:
    void copy(const View& from, const View& to) const {
        const int64_t rows = to.rows();
        copy_rows<T><<<static_cast<unsigned>(ceil_div(rows * to.columns(), 256)), 256, 0, stream_>>>(
            pointer<const T>(from), from.row_stride, from.columns(), pointer<T>(to), to.row_stride, to.columns(), rows);
        check_launch("s4d_conv");
    }

    cudaStream_t stream_;
    View view_;
    Tensor memory_;
};

// As many segments as fill the device best. A block takes 16 (or 32) columns of 8 or 16 channels through a
// segment's chunks, and about six chunks' time besides; with more than one segment their ends must be found
// first, which costs half as much again. Decays are rounded to float32 once a chunk, so that segments of at
// most 256 keep errors below 1e-5.
Segments cut(const View& u, int64_t channels_of_block, int64_t columns_of_block, int multiprocessors) {
    Segments best;
    double best_cost = 0;
    const int64_t chunks = ceil_div(u[1], chunk_samples), width = padded_width(u[2]);
    for (int64_t count = 1; count <= std::min<int64_t>(chunks, 4096); count += 1 + count / 32) {
        const int64_t steps = ceil_div(chunks, count);
        if (steps > 256) continue;
        const int64_t used = ceil_div(chunks, steps);
        const int64_t blocks = width / channels_of_block * ceil_div(u[0] * used, columns_of_block);
        const double cost = static_cast<double>(ceil_div(blocks, multiprocessors) * (steps + 6)) * (used > 1 ? 1.5 : 1);
        if (best.count > 0 && cost >= best_cost) continue;
        best = {u[0], u[1], width, steps * chunk_samples, used};
        best_cost = cost;
    }
    return best;
}

template <class T>
Segments cut(const View& u, int modes, int multiprocessors) {
    return cut(u, output_channels<T>(modes), output_columns<T>(modes), multiprocessors);
}

// A layer's tables and the memory they are in.
struct Tables {
    Tensor powers, weighted, poles, taps, sliced;
    ChunkTables outputs, gradients;

    Tables(Backend& backend, cudaStream_t stream, const S4dParameters& op, const View& skip, bool for_gradients) {
        const S4dModes p(op);
        const int modes = padded_modes(p.modes), slices = for_gradients ? (modes + 31) / 32 : 1;
        const int64_t channels = padded_width(p.channels);
        const auto images = [&] { return backend.allocate({channels, chunk_image_bytes(modes) / 4}, DType::f32); };
        powers = images();
        poles = backend.allocate({channels, modes, 4}, DType::f32);
        taps = backend.allocate({channels, chunk_samples}, DType::f32);
        if (for_gradients) weighted = images();
        make_tables(
            stream,
            {p, skip.as<float>(), 0, modes, pointer<unsigned char>(powers),
             slices == 1 ? pointer<unsigned char>(weighted) : nullptr, pointer<float4>(poles), pointer<float>(taps)},
            channels);
        outputs = {pointer<unsigned char>(powers), nullptr, pointer<float4>(poles), pointer<float>(taps)};
        gradients = outputs;
        gradients.weighted = pointer<unsigned char>(weighted);
        if (slices == 1) return;
        // The gradients' blocks take 32 modes each, with images of their own.
        sliced = images();
        gradients.powers = pointer<unsigned char>(sliced);
        for (int slice = 0; slice < slices; ++slice) {
            const int64_t offset = slice * channels * chunk_image_bytes(32);
            make_tables(stream,
                        {p, nullptr, 32 * slice, 32, pointer<unsigned char>(sliced) + offset,
                         pointer<unsigned char>(weighted) + offset, nullptr, nullptr},
                        channels);
        }
    }
};

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
    const int modes = padded_modes(p.modes);
    const Tables tables(*this, stream_, op, op.skip, false);
    dispatch(op.u.dtype, [&]<class T>(T) {
        const Segments s = cut<T>(op.u, modes, multiprocessors_);
        const StatesJob job = {s, p, modes, planar(op, op.state)};
        const int64_t states = 2 * s.channels * modes;
        const Aligned<T> u(*this, stream_, op.u, true), y(*this, stream_, op.y, false);
        ChunkPass<T> pass = {s,          tables.outputs, u.data(),    y.data(), u.stride(),
                             y.stride(), false,          s.columns(), nullptr,  nullptr};
        Tensor ends, starts, last;
        if (s.count > 1) {
            const int64_t columns = (s.count - 1) * s.batch;
            ends = allocate({columns, states}, DType::f32);
            ChunkPass<T> first = pass;
            first.columns = columns;
            first.ends = pointer<float2>(ends);
            launch_chunk_ends(stream_, first, modes);
        }
        if (s.count > 1 || op.state) {
            starts = allocate({s.columns(), states}, DType::f32);
            carry_states(stream_, job, pointer<float2>(ends), pointer<float2>(starts));
            pass.starts = pointer<float2>(starts);
        }
        if (op.state) last = allocate({s.batch, states}, DType::f32);
        pass.ends = pointer<float2>(last);
        launch_chunk_outputs(stream_, pass, modes);
        if (op.state) finish_state(stream_, job, pointer<float2>(last), pointer<const T>(op.u), op.u.row_stride);
        y.finish();
    });
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
        const Tensor kernel = allocate({op.u[2], op.u[1]}, DType::f32), dkernel = allocate(kernel.shape(), DType::f32);
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
    const int modes = padded_modes(p.modes);
    const Tables tables(*this, stream_, op, op.skip, true);
    const Tensor gradients = allocate({p.channels * p.modes, sizeof(ModeGradient) / 4}, DType::f32);
    dispatch(op.u.dtype, [&]<class T>(T) {
        const Segments s = cut<T>(op.u, modes, multiprocessors_);
        const StatesJob job = {s, p, modes, planar(op, op.state)};
        const int64_t states = s.channels * modes, groups = ceil_div(s.columns(), 16);
        const Aligned<T> u(*this, stream_, op.u, true), dy(*this, stream_, op.dy, true),
            du(*this, stream_, op.du, false);
        const Tensor sums = allocate({s.columns(), 8 * states}, DType::f32),
                     x = allocate({groups, 2 * states}, DType::f32), y = allocate({groups, 2 * states}, DType::f32),
                     taps = allocate({groups, s.channels * chunk_samples}, DType::f32),
                     all_taps = allocate({s.channels * chunk_samples, 2}, DType::f32),
                     added = allocate({s.batch * states, sizeof(StateSums) / 4}, DType::f32);
        Tensor starts;
        if (op.du) starts = allocate({s.columns(), 2 * states}, DType::f32);
        launch_chunk_gradients<T>(
            stream_,
            {s, tables.gradients, u.data(), dy.data(), u.stride(), dy.stride(), pointer<SegmentSums>(sums),
             pointer<float2>(x), pointer<float2>(y), pointer<float>(taps)},
            modes);
        carry_gradients(stream_, job, pointer<SegmentSums>(sums), pointer<StateSums>(added), pointer<float2>(starts),
                        planar(op, op.dstate));
        if (op.du) {
            launch_chunk_outputs<T>(stream_,
                                    {s, tables.outputs, dy.data(), du.data(), dy.stride(), du.stride(), true,
                                     s.columns(), pointer<float2>(starts), nullptr},
                                    modes);
            du.finish();
        }
        finish_gradients(stream_, job,
                         {pointer<float2>(x), pointer<float2>(y), pointer<float>(taps), pointer<StateSums>(added),
                          groups, pointer<double>(all_taps), op.dskip.as<float>()},
                         pointer<ModeGradient>(gradients));
    });
    add_mode_gradients(stream_, pointer<ModeGradient>(gradients), p.channels, p.copies, p.modes, p.is_complex,
                       {op.dinv_dt, op.da_real, op.da_imag, {}, op.db, op.dc});
}

}  // namespace nigiri
