// The pieces of an implicit kernel: element-wise, in float32, on matrices of (length, some tens of channels).
#include "kernels/cuda/column_sums.cuh"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/implicit_filter.h"

namespace nigiri {

using namespace cuda;

namespace {

constexpr int threads = 256;
constexpr int64_t slab = 256;  // rows of a partial sum

unsigned blocks_of(int64_t count) { return static_cast<unsigned>(ceil_div(count, threads)); }

__global__ void __launch_bounds__(threads)
    features_kernel(Rows<float> y, int64_t rows, int bands, int64_t first, double unit) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x;
    const int64_t row = i / (bands + 1);
    const int place = static_cast<int>(i % (bands + 1));
    if (row >= rows) return;
    const double t = static_cast<double>(first + row) / unit;
    if (place == bands) {
        *y.at(row, 0) = static_cast<float>(t);
        return;
    }
    const double f = bands > 1 ? 1e-4 + (bands - 1 - 1e-4) * place / (bands - 1) : 1e-4, turns = f * t;
    float s, c;
    sincospif(2.0f * static_cast<float>(turns - floor(turns)), &s, &c);
    *y.at(row, 1 + place) = c;
    *y.at(row, 1 + bands + place) = -s;
}

__global__ void __launch_bounds__(threads)
    sine_kernel(Rows<const float> x, const float* frequency, Rows<float> y, int64_t count, int64_t columns) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x;
    if (i >= count) return;
    const int64_t row = i / columns, column = i % columns;
    *y.at(row, column) = sinf(frequency[column] * *x.at(row, column));
}

// A block has some rows of up to 256 columns; a thread walks down one column.
__global__ void __launch_bounds__(threads)
    sine_slope_kernel(Rows<const float> x, const float* frequency, Rows<const float> dy, Rows<float> dx, float* partial,
                      int64_t rows, int64_t columns) {
    const int64_t column = static_cast<int64_t>(blockIdx.y) * threads + threadIdx.x;
    if (column >= columns) return;
    const int64_t end = min(rows, (blockIdx.x + 1) * slab);
    const float f = frequency[column];
    float sum = 0;
    for (int64_t row = blockIdx.x * slab; row < end; ++row) {
        const float v = *x.at(row, column), slope = *dy.at(row, column) * cosf(f * v);
        *dx.at(row, column) = slope * f;
        sum = fmaf(slope, v, sum);
    }
    partial[blockIdx.x * columns + column] = sum;
}

struct Window {
    Rows<const float> x;
    Rows<float> y;
    int64_t length, channels;
    double first, slow, step;  // of the rates, a sample
    bool from_kernel, to_kernel;
};

__global__ void __launch_bounds__(threads) window_kernel(const Window w) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x;
    if (i >= w.length * w.channels) return;
    const int64_t l = i / w.channels, d = i % w.channels;
    const float x = w.from_kernel ? *w.x.at(d, l) : *w.x.at(l, d);
    const double rate = w.slow + w.step * static_cast<double>(d);
    const float y = x * expf(static_cast<float>(-rate * (w.first + static_cast<double>(l))));
    *(w.to_kernel ? w.y.at(d, l) : w.y.at(l, d)) = y;
}

void require_floats(const char* name, std::initializer_list<const View*> views) {
    for (const View* v : views) require(v->dtype == DType::f32, name, "float32");
}

}  // namespace

void CudaBackend::filter_features(const FilterFeatures& op) {
    constexpr const char* name = "filter_features";
    require(op.y.shape.rank() == 2 && op.y.columns() % 2 == 1, name, "y (L, 1 + 2 K)");
    require(op.unit > 0 && op.first >= 0, name, "a positive unit and distances");
    require_floats(name, {&op.y});
    const int64_t bands = op.y.columns() / 2, count = op.y.rows() * (bands + 1);
    if (count == 0) return;
    features_kernel<<<blocks_of(count), threads, 0, stream_>>>(Rows<float>(op.y), op.y.rows(), static_cast<int>(bands),
                                                               op.first, op.unit);
    check_launch(name);
}

void CudaBackend::filter_sine_forward(const FilterSineForward& op) {
    constexpr const char* name = "filter_sine_forward";
    require(op.y.shape == op.x.shape && op.frequency.size() == op.x.columns(), name, "x and y (L, C), frequency (C)");
    require_floats(name, {&op.x, &op.y, &op.frequency});
    if (op.x.size() == 0) return;
    sine_kernel<<<blocks_of(op.x.size()), threads, 0, stream_>>>(Rows<const float>(op.x), op.frequency.as<float>(),
                                                                 Rows<float>(op.y), op.x.size(), op.x.columns());
    check_launch(name);
}

void CudaBackend::filter_sine_backward(const FilterSineBackward& op) {
    constexpr const char* name = "filter_sine_backward";
    const int64_t rows = op.x.rows(), columns = op.x.columns();
    require(op.dy.shape == op.x.shape && op.dx.shape == op.x.shape && op.frequency.size() == columns &&
                op.dfrequency.size() == columns,
            name, "x, dy and dx (L, C), frequencies (C)");
    require_floats(name, {&op.x, &op.frequency, &op.dy, &op.dx, &op.dfrequency});
    if (op.x.size() == 0) return;
    const dim3 grid(static_cast<unsigned>(ceil_div(rows, slab)), blocks_of(columns));
    const Tensor partial = allocate({int64_t{grid.x}, columns}, DType::f32);
    sine_slope_kernel<<<grid, threads, 0, stream_>>>(Rows<const float>(op.x), op.frequency.as<float>(),
                                                     Rows<const float>(op.dy), Rows<float>(op.dx), partial.as<float>(),
                                                     rows, columns);
    check_launch(name);
    add_column_sums(stream_, partial, Target(op.dfrequency));
}

void CudaBackend::filter_window(const FilterWindow& op) {
    constexpr const char* name = "filter_window";
    require(op.x.shape.rank() == 2 && op.y.shape.rank() == 2, name, "matrices");
    require_floats(name, {&op.x, &op.y});
    const int64_t length = op.x[op.from_kernel ? 1 : 0], channels = op.x[op.from_kernel ? 0 : 1];
    require(op.y[op.to_kernel ? 1 : 0] == length && op.y[op.to_kernel ? 0 : 1] == channels, name,
            "x and y of one length and number of channels");
    if (op.x.size() == 0) return;
    const double slow = 4.605170185988092 / 1.5 / op.unit, fast = 4.605170185988092 / 0.3 / op.unit;
    const Window w{Rows<const float>(op.x),
                   Rows<float>(op.y),
                   length,
                   channels,
                   static_cast<double>(op.first),
                   slow,
                   channels > 1 ? (fast - slow) / static_cast<double>(channels - 1) : 0.0,
                   op.from_kernel,
                   op.to_kernel};
    window_kernel<<<blocks_of(op.x.size()), threads, 0, stream_>>>(w);
    check_launch(name);
}

}  // namespace nigiri
