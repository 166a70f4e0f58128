// C = A B for operands that fit the cache, one thread, inside a dispatched translation unit. Row-major. A library's
// product is no help here: called from within a parallel region of one thread it wakes threads of its own.
// Include after hwy/highway.h, once per target.
#if defined(NIGIRI_SMALL_GEMM_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef NIGIRI_SMALL_GEMM_INL
#undef NIGIRI_SMALL_GEMM_INL
#else
#define NIGIRI_SMALL_GEMM_INL
#endif

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace nigiri::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// R rows by two vectors (or one) of C stay in registers while k runs; the order of every sum is that of k.
template <int R, int Vectors>
HWY_INLINE void small_gemm_tile(const float* HWY_RESTRICT a, int64_t lda, const float* HWY_RESTRICT b, int64_t ldb,
                                float* HWY_RESTRICT c, int64_t ldc, int64_t depth) {
    const hn::ScalableTag<float> tag;
    constexpr int width = hn::MaxLanes(tag);
    hn::Vec<decltype(tag)> sum[R][Vectors];
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < Vectors; ++v) sum[r][v] = hn::Zero(tag);
    for (int64_t k = 0; k < depth; ++k) {
        hn::Vec<decltype(tag)> right[Vectors];
        for (int v = 0; v < Vectors; ++v) right[v] = hn::LoadU(tag, b + k * ldb + v * width);
        for (int r = 0; r < R; ++r) {
            const auto left = hn::Set(tag, a[r * lda + k]);
            for (int v = 0; v < Vectors; ++v) sum[r][v] = hn::MulAdd(left, right[v], sum[r][v]);
        }
    }
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < Vectors; ++v) hn::StoreU(sum[r][v], tag, c + r * ldc + v * width);
}

template <int Vectors>
HWY_INLINE void small_gemm_panel(const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc,
                                 int64_t rows, int64_t depth) {
    constexpr int tall = HWY_TARGET == HWY_AVX3 ? 8 : 4;  // what the registers hold
    int64_t i = 0;
    for (; i + tall <= rows; i += tall)
        small_gemm_tile<tall, Vectors>(a + i * lda, lda, b, ldb, c + i * ldc, ldc, depth);
    for (; i < rows; ++i) small_gemm_tile<1, Vectors>(a + i * lda, lda, b, ldb, c + i * ldc, ldc, depth);
}

// a (rows, depth), b (depth, columns), c (rows, columns); columns is a multiple of the vector width.
HWY_INLINE void small_gemm(const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc,
                           int64_t rows, int64_t columns, int64_t depth) {
    constexpr int64_t width = hn::MaxLanes(hn::ScalableTag<float>());
    int64_t j = 0;
    for (; j + 2 * width <= columns; j += 2 * width) small_gemm_panel<2>(a, lda, b + j, ldb, c + j, ldc, rows, depth);
    for (; j < columns; j += width) small_gemm_panel<1>(a, lda, b + j, ldb, c + j, ldc, rows, depth);
}

}  // namespace HWY_NAMESPACE
}  // namespace nigiri::cpu
HWY_AFTER_NAMESPACE();
#endif
