// How the CPU kernels share work between threads: contiguous parts that depend on the sizes alone, so that
// results do not change from run to run, and sums over rows not even with the number of threads.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/common.h"
#include "kernels/tensor.h"

namespace nigiri::cpu {

// Calls f(begin, end) on one part of [0, n) per thread. Parts begin at multiples of `grain`. `work` counts
// element visits, weighted by their cost relative to a copy; little work stays on the calling thread. f must
// not throw.
template <class F>
void parallel_ranges(int threads, int64_t n, int64_t grain, int64_t work, const F& f) {
    if (n <= 0) return;
    const int64_t units = (n + grain - 1) / grain;
    if (work <= parallel_threshold || threads <= 1 || units <= 1) {
        f(int64_t{0}, n);
        return;
    }
    const auto parts = static_cast<int>(std::min<int64_t>(threads, units));
#pragma omp parallel for schedule(static) num_threads(parts)
    for (int t = 0; t < parts; ++t) f(units * t / parts * grain, std::min(n, units * (t + 1) / parts * grain));
}

// Sums over rows go through this many partial sums, added in order: enough for many threads, few enough to
// add up.
inline int64_t slices_of(int64_t rows) { return std::clamp<int64_t>(rows / 256, 1, 64); }

// Calls f(slice, begin, end) for every slice of [0, rows).
template <class F>
void parallel_slices(int threads, int64_t rows, int64_t slices, int64_t work, const F& f) {
    parallel_ranges(threads, slices, 1, work, [&](int64_t first, int64_t last) {
        for (int64_t s = first; s < last; ++s) f(s, rows * s / slices, rows * (s + 1) / slices);
    });
}

// Rows of float32 in memory, `stride` elements apart: what the vector loops are given.
struct Rows {
    float* data = nullptr;
    int64_t stride = 0;
    float* operator[](int64_t row) const { return data + row * stride; }
};

// A rectangle of a matrix.
struct Block {
    int64_t row = 0, rows = 0, column = 0, columns = 0;
    Rows of(const View& v) const { return {v.row<float>(row) + column, v.row_stride}; }
};

// Calls f(block) on one block per thread of matrices of equal shape. Matrices without gaps are taken as one
// long row.
template <class F, class... Views>
void parallel_blocks(int threads, int64_t cost, const F& f, const View& first, const Views&... others) {
    const int64_t size = first.size(), rows = first.rows(), columns = first.columns();
    if (first.contiguous() && (others.contiguous() && ...)) {
        parallel_ranges(threads, size, 64, size * cost, [&](int64_t begin, int64_t end) {
            f(Block{0, 1, begin, end - begin});
        });
    } else {
        parallel_ranges(threads, rows, 1, size * cost, [&](int64_t begin, int64_t end) {
            f(Block{begin, end - begin, 0, columns});
        });
    }
}

// The elements of a view one after the other, whatever its shape.
template <class T>
class Elements {
  public:
    explicit Elements(const View& v)
        : data_(v.as<std::remove_const_t<T>>()),
          columns_(v.contiguous() ? v.size() : v.columns()),
          stride_(v.row_stride) {}
    T& operator[](int64_t i) const { return i < columns_ ? data_[i] : data_[i / columns_ * stride_ + i % columns_]; }

  private:
    T* data_;
    int64_t columns_, stride_;
};

// Calls f(row, column) for every element: the loop of the plain float64 code.
template <class F>
void for_each_element(const View& v, const F& f) {
    for (int64_t r = 0; r < v.rows(); ++r)
        for (int64_t c = 0; c < v.columns(); ++c) f(r, c);
}

}  // namespace nigiri::cpu
