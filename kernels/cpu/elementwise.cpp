#include "kernels/elementwise.h"

#include <cstring>

#include "kernels/cpu/cpu_backend.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/elementwise.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "kernels/cpu/simd_map-inl.h"

HWY_BEFORE_NAMESPACE();
namespace nigiri::cpu::HWY_NAMESPACE {
namespace {

void add_block(Rows x1, Rows x2, Rows y, int64_t rows, int64_t columns) {
    simd::map(rows, columns,
              [=](auto d, auto at) HWY_ATTR { at.store(simd::hn::Add(at.load(d, x1), at.load(d, x2)), d, y); });
}

}  // namespace
}  // namespace nigiri::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nigiri {
namespace cpu {
namespace {

HWY_EXPORT(add_block);

template <class T>
void copy_block(const View& x, const View& y, const Block& b) {
    for (int64_t r = b.row; r < b.row + b.rows; ++r)
        std::memcpy(y.row<T>(r) + b.column, x.row<T>(r) + b.column, static_cast<size_t>(b.columns) * sizeof(T));
}

template <class T>
void fill_block(const View& y, T value, const Block& b) {
    for (int64_t r = b.row; r < b.row + b.rows; ++r) {
        T* to = y.row<T>(r) + b.column;
        if (value == T{0})
            std::memset(to, 0,
                        static_cast<size_t>(b.columns) * sizeof(T));  // past the caches where that pays
        else
            std::fill_n(to, b.columns, value);
    }
}

}  // namespace
}  // namespace cpu

using namespace cpu;

void CpuBackend::fill(const Fill& op) {
    require(op.y.dtype != DType::bf16, "fill", "elements of another type than bfloat16");
    const auto f = [&](const Block& b) {
        switch (op.y.dtype) {
            case DType::f32:
                fill_block(op.y, static_cast<float>(op.value), b);
                return;
            case DType::f64:
                fill_block(op.y, op.value, b);
                return;
            case DType::i32:
                fill_block(op.y, static_cast<int32_t>(op.value), b);
                return;
            case DType::bf16:
                return;
        }
    };
    parallel_blocks(threads(), 1, f, op.y);
}

void CpuBackend::copy(const Copy& op) {
    require(op.x.shape == op.y.shape && op.x.dtype == op.y.dtype, "copy", "equal shapes and types");
    const auto f = [&](const Block& b) {
        if (size_of(op.x.dtype) == 4)
            copy_block<uint32_t>(op.x, op.y, b);
        else
            copy_block<uint64_t>(op.x, op.y, b);
    };
    parallel_blocks(threads(), 1, f, op.y, op.x);
}

void CpuBackend::add(const Add& op) {
    require(op.x1.shape == op.y.shape && op.x2.shape == op.y.shape && op.x1.dtype == op.y.dtype &&
                op.x2.dtype == op.y.dtype,
            "add", "equal shapes and types");
    dispatch(op.y.dtype, [&](auto zero) {
        using T = decltype(zero);
        if constexpr (std::is_same_v<T, float>) {
            const auto f = [&](const Block& b) {
                HWY_DYNAMIC_DISPATCH(add_block)(b.of(op.x1), b.of(op.x2), b.of(op.y), b.rows, b.columns);
            };
            parallel_blocks(threads(), 1, f, op.y, op.x1, op.x2);
        } else {
            for_each_element(
                op.y, [&](int64_t r, int64_t c) { op.y.row<T>(r)[c] = op.x1.row<T>(r)[c] + op.x2.row<T>(r)[c]; });
        }
    });
}

namespace {

// y[b, l, :] = x[b, l - step, :], zeros where there is no such row.
template <class T>
void shift(const View& x, const View& y, int64_t step, int threads) {
    const int64_t length = y[1], columns = y.columns();
    parallel_ranges(threads, y.rows(), 1, y.size(), [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
            const int64_t l = row % length - step;
            T* to = y.row<T>(row);
            if (l < 0 || l >= length)
                std::memset(to, 0, static_cast<size_t>(columns) * sizeof(T));
            else
                std::memcpy(to, x.row<T>(row - step), static_cast<size_t>(columns) * sizeof(T));
        }
    });
}

void shift_any(const View& x, const View& y, int64_t step, int threads, const char* name) {
    require(x.shape == y.shape && x.dtype == y.dtype && y.shape.rank() == 3, name, "equal shapes (B, L, D)");
    require(x.data != y.data || y.size() == 0, name, "an output beside the input");
    if (size_of(y.dtype) == 4)
        shift<uint32_t>(x, y, step, threads);
    else
        shift<uint64_t>(x, y, step, threads);
}

}  // namespace

void CpuBackend::shift_forward(const ShiftForward& op) { shift_any(op.x, op.y, 1, threads(), "shift_forward"); }
void CpuBackend::shift_backward(const ShiftBackward& op) { shift_any(op.dy, op.dx, -1, threads(), "shift_backward"); }

}  // namespace nigiri
#endif
