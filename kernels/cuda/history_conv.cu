// A few more outputs of a long convolution. A block has 32 channels of one output; its eight warps share the distances
// and add their sums up in order.
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/vector.cuh"
#include "kernels/history_conv.h"

namespace nigiri {

using namespace cuda;

namespace {

constexpr int wide = 32, parts = 8;

struct Problem {
    Rows<const float> u, kernel;
    const float* skip;
    Rows<float> y;
    int64_t inputs, outputs, channels, past;  // inputs and outputs: rows of one sequence
};

__global__ void __launch_bounds__(wide* parts) history_kernel(const Problem p) {
    const int64_t row = blockIdx.x, b = row / p.outputs, now = p.past + row % p.outputs;
    const int64_t d = static_cast<int64_t>(blockIdx.y) * wide + threadIdx.x;
    const bool exists = d < p.channels;
    float sum = 0;
    if (exists)
        for (int64_t j = threadIdx.y; j <= now; j += parts)
            sum = fmaf(*p.kernel.at(j, d), *p.u.at(b * p.inputs + now - j, d), sum);
    __shared__ float sums[parts][wide];
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0 || !exists) return;
    for (int i = 1; i < parts; ++i) sum += sums[i][threadIdx.x];
    *p.y.at(row, d) = fmaf(p.skip[d], *p.u.at(b * p.inputs + now, d), sum);
}

}  // namespace

void CudaBackend::history_conv(const HistoryConv& op) {
    constexpr const char* name = "history_conv";
    require(op.u.shape.rank() == 3 && op.y.shape.rank() == 3 && op.y[0] == op.u[0] && op.y[2] == op.u[2], name,
            "u (B, T, D), y (B, L, D)");
    const int64_t length = op.y[1], channels = op.y[2], needed = op.past + length;
    require(op.past >= 0 && op.u[1] >= needed && op.kernel.shape.rank() == 2 && op.kernel[0] >= needed &&
                op.kernel[1] == channels && op.skip.size() == channels && op.skip.contiguous(),
            name, "at least past + L inputs, as long a kernel (Tk, D) and a skip (D)");
    for (const View* v : {&op.u, &op.kernel, &op.skip, &op.y}) require(v->dtype == DType::f32, name, "float32");
    if (op.y.size() == 0) return;
    const dim3 grid(static_cast<unsigned>(op.y.rows()), static_cast<unsigned>(ceil_div(channels, wide)));
    history_kernel<<<grid, dim3(wide, parts), 0, stream_>>>({Rows<const float>(op.u), Rows<const float>(op.kernel),
                                                             op.skip.as<float>(), Rows<float>(op.y), op.u[1], length,
                                                             channels, op.past});
    check_launch(name);
}

}  // namespace nigiri
