#include "kernels/history_conv.h"

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/parallel.h"

namespace nigiri {

using namespace cpu;

namespace {

// Channels whose sums stay in registers while the history is walked through.
constexpr int64_t lanes = 16;

// One output row's channels [d, d + n): the sums' order is that of the distances.
template <class T>
void few_channels(const HistoryConv& op, int64_t b, int64_t l, int64_t d, int64_t n) {
    const int64_t now = op.past + l, first = b * op.u[1];
    T sum[lanes] = {};
    const T* const kernel = op.kernel.row<T>(0) + d;
    const T* const u = op.u.row<T>(first + now) + d;
    for (int64_t j = 0; j <= now; ++j) {
        const T* const k = kernel + j * op.kernel.row_stride;
        const T* const x = u - j * op.u.row_stride;
        if (n == lanes)
            for (int64_t i = 0; i < lanes; ++i) sum[i] += k[i] * x[i];
        else
            for (int64_t i = 0; i < n; ++i) sum[i] += k[i] * x[i];
    }
    for (int64_t i = 0; i < n; ++i) op.y.row<T>(b * op.y[1] + l)[d + i] = sum[i] + op.skip.as<T>()[d + i] * u[i];
}

}  // namespace

void CpuBackend::history_conv(const HistoryConv& op) {
    constexpr const char* name = "history_conv";
    require(op.u.shape.rank() == 3 && op.y.shape.rank() == 3 && op.y[0] == op.u[0] && op.y[2] == op.u[2], name,
            "u (B, T, D), y (B, L, D)");
    const int64_t length = op.y[1], channels = op.y[2], needed = op.past + length;
    require(op.past >= 0 && op.u[1] >= needed && op.kernel.shape.rank() == 2 && op.kernel[0] >= needed &&
                op.kernel[1] == channels && op.skip.size() == channels,
            name, "at least past + L inputs, as long a kernel (Tk, D) and a skip (D)");
    require(op.y.dtype == op.u.dtype && op.kernel.dtype == op.u.dtype && op.skip.dtype == op.u.dtype, name,
            "operands of one element type");
    dispatch(op.u.dtype, [&](auto zero) {
        using T = decltype(zero);
        const int64_t groups = (channels + lanes - 1) / lanes, tasks = op.y[0] * length * groups;
        parallel_ranges(threads(), tasks, 1, op.y.size() * needed, [&](int64_t begin, int64_t end) {
            for (int64_t t = begin; t < end; ++t) {
                const int64_t row = t / groups, d = t % groups * lanes;
                few_channels<T>(op, row / length, row % length, d, std::min(lanes, channels - d));
            }
        });
    });
}

}  // namespace nigiri
