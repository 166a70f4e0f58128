#include "kernels/implicit_filter.h"

#include <cmath>
#include <numbers>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/parallel.h"

namespace nigiri {

using namespace cpu;

namespace {

constexpr int64_t cost_of_sine = 20;  // beside a copy

// ln 100 over the units after which one per cent is left.
double window_rate(int64_t d, int64_t channels) {
    const double slow = std::log(100.0) / 1.5, fast = std::log(100.0) / 0.3;
    return channels > 1 ? slow + (fast - slow) * static_cast<double>(d) / static_cast<double>(channels - 1) : slow;
}

}  // namespace

void CpuBackend::filter_features(const FilterFeatures& op) {
    constexpr const char* name = "filter_features";
    require(op.y.shape.rank() == 2 && op.y.columns() % 2 == 1, name, "y (L, 1 + 2 K)");
    require(op.unit > 0 && op.first >= 0, name, "a positive unit and distances");
    const int64_t bands = op.y.columns() / 2;
    dispatch(op.y.dtype, [&](auto zero) {
        using T = decltype(zero);
        parallel_ranges(threads(), op.y.rows(), 1, op.y.size() * cost_of_sine, [&](int64_t begin, int64_t end) {
            for (int64_t l = begin; l < end; ++l) {
                const double t = static_cast<double>(op.first + l) / op.unit;
                T* y = op.y.row<T>(l);
                y[0] = static_cast<T>(t);
                for (int64_t k = 0; k < bands; ++k) {
                    const double last = static_cast<double>(bands - 1);
                    const double f = bands > 1 ? 1e-4 + (last - 1e-4) * static_cast<double>(k) / last : 1e-4;
                    const double angle = 2 * std::numbers::pi * f * t;
                    y[1 + k] = static_cast<T>(std::cos(angle));
                    y[1 + bands + k] = static_cast<T>(-std::sin(angle));
                }
            }
        });
    });
}

void CpuBackend::filter_sine_forward(const FilterSineForward& op) {
    constexpr const char* name = "filter_sine_forward";
    require(op.y.shape == op.x.shape && op.frequency.size() == op.x.columns(), name, "x and y (L, C), frequency (C)");
    require(op.y.dtype == op.x.dtype && op.frequency.dtype == op.x.dtype, name, "operands of one element type");
    dispatch(op.x.dtype, [&](auto zero) {
        using T = decltype(zero);
        const T* const f = op.frequency.as<T>();
        parallel_ranges(threads(), op.x.rows(), 1, op.x.size() * cost_of_sine, [&](int64_t begin, int64_t end) {
            for (int64_t l = begin; l < end; ++l)
                for (int64_t c = 0; c < op.x.columns(); ++c) op.y.row<T>(l)[c] = std::sin(f[c] * op.x.row<T>(l)[c]);
        });
    });
}

void CpuBackend::filter_sine_backward(const FilterSineBackward& op) {
    constexpr const char* name = "filter_sine_backward";
    const int64_t rows = op.x.rows(), columns = op.x.columns();
    require(op.dy.shape == op.x.shape && op.dx.shape == op.x.shape && op.frequency.size() == columns &&
                op.dfrequency.size() == columns,
            name, "x, dy and dx (L, C), frequencies (C)");
    require(op.dy.dtype == op.x.dtype && op.dx.dtype == op.x.dtype && op.frequency.dtype == op.x.dtype &&
                op.dfrequency.dtype == op.x.dtype,
            name, "operands of one element type");
    const int64_t slices = slices_of(rows);
    const Tensor partial = zeros({slices, columns}, DType::f64);
    dispatch(op.x.dtype, [&](auto zero) {
        using T = decltype(zero);
        const T* const f = op.frequency.as<T>();
        parallel_slices(threads(), rows, slices, op.x.size() * cost_of_sine,
                        [&](int64_t slice, int64_t begin, int64_t end) {
                            double* const sums = partial.view().row<double>(slice);
                            for (int64_t l = begin; l < end; ++l)
                                for (int64_t c = 0; c < columns; ++c) {
                                    const T x = op.x.row<T>(l)[c], slope = op.dy.row<T>(l)[c] * std::cos(f[c] * x);
                                    op.dx.row<T>(l)[c] = slope * f[c];
                                    sums[c] += static_cast<double>(slope * x);
                                }
                        });
        for (int64_t s = 0; s < slices; ++s)
            for (int64_t c = 0; c < columns; ++c)
                op.dfrequency.as<T>()[c] += static_cast<T>(partial.view().row<double>(s)[c]);
    });
}

void CpuBackend::filter_window(const FilterWindow& op) {
    constexpr const char* name = "filter_window";
    require(op.x.shape.rank() == 2 && op.y.shape.rank() == 2 && op.y.dtype == op.x.dtype, name, "matrices of one type");
    const int64_t length = op.x[op.from_kernel ? 1 : 0], channels = op.x[op.from_kernel ? 0 : 1];
    require(op.y[op.to_kernel ? 1 : 0] == length && op.y[op.to_kernel ? 0 : 1] == channels, name,
            "x and y of one length and number of channels");
    dispatch(op.x.dtype, [&](auto zero) {
        using T = decltype(zero);
        parallel_ranges(threads(), length, 16, op.x.size() * cost_of_sine, [&](int64_t begin, int64_t end) {
            for (int64_t d = 0; d < channels; ++d) {
                const double rate = window_rate(d, channels) / op.unit;
                for (int64_t l = begin; l < end; ++l) {
                    const T x = op.from_kernel ? op.x.row<T>(d)[l] : op.x.row<T>(l)[d];
                    const T y = x * static_cast<T>(std::exp(-rate * static_cast<double>(op.first + l)));
                    (op.to_kernel ? op.y.row<T>(d)[l] : op.y.row<T>(l)[d]) = y;
                }
            }
        });
    });
}

}  // namespace nigiri
