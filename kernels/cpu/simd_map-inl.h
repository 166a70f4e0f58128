// Loops over blocks of float32 matrices, a vector at a time. Guarded like simd_math-inl.h.
#if defined(NIGIRI_KERNELS_CPU_SIMD_MAP_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef NIGIRI_KERNELS_CPU_SIMD_MAP_INL_H
#undef NIGIRI_KERNELS_CPU_SIMD_MAP_INL_H
#else
#define NIGIRI_KERNELS_CPU_SIMD_MAP_INL_H
#endif

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace nigiri::cpu::HWY_NAMESPACE::simd {

// A place in a block: one whole vector of consecutive columns, or the first n elements of one at the end of a
// row.
template <class D>
struct Whole {
    int64_t row, column;
    HWY_INLINE hn::Vec<D> load(D d, Rows x) const { return hn::LoadU(d, x[row] + column); }
    HWY_INLINE void store(hn::Vec<D> v, D d, Rows y) const { hn::StoreU(v, d, y[row] + column); }
};
template <class D>
struct Part {
    int64_t row, column;
    size_t n;
    HWY_INLINE hn::Vec<D> load(D d, Rows x) const { return load_first(d, x[row] + column, n); }
    HWY_INLINE void store(hn::Vec<D> v, D d, Rows y) const { store_first(v, d, y[row] + column, n); }
};

// Calls f(d, place) for every vector of a block. What f loads at a place it may also store there.
template <class F>
HWY_INLINE void map(int64_t rows, int64_t columns, F f) {
    using Tag = hn::ScalableTag<float>;
    const Tag d;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    for (int64_t r = 0; r < rows; ++r) {
        int64_t c = 0;
        for (; c + lanes <= columns; c += lanes) f(d, Whole<Tag>{r, c});
        if (c < columns) f(d, Part<Tag>{r, c, static_cast<size_t>(columns - c)});
    }
}

}  // namespace nigiri::cpu::HWY_NAMESPACE::simd
HWY_AFTER_NAMESPACE();

#endif
