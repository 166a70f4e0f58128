#include "kernels/cpu/square_product.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/square_product.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace nigiri::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// Tiles of four rows by two vectors stay in registers over the whole inner dimension.
void multiply(const double* HWY_RESTRICT x, const double* HWY_RESTRICT y, double* HWY_RESTRICT result, int64_t size,
              int64_t used) {
    const hn::CappedTag<double, static_cast<size_t>(square_tile / 2)> d;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    for (int64_t j = 0; j < size; j += 2 * lanes)
        for (int64_t i = 0; i < size; i += 4) {
            auto a0 = hn::Zero(d), a1 = a0, b0 = a0, b1 = a0, c0 = a0, c1 = a0, d0 = a0, d1 = a0;
            const double* row = x + i * size;
            for (int64_t k = 0; k < used; ++k) {
                const auto left = hn::LoadU(d, y + k * size + j), right = hn::LoadU(d, y + k * size + j + lanes);
                const auto f0 = hn::Set(d, row[k]), f1 = hn::Set(d, row[size + k]);
                const auto f2 = hn::Set(d, row[2 * size + k]), f3 = hn::Set(d, row[3 * size + k]);
                a0 = hn::MulAdd(f0, left, a0), a1 = hn::MulAdd(f0, right, a1);
                b0 = hn::MulAdd(f1, left, b0), b1 = hn::MulAdd(f1, right, b1);
                c0 = hn::MulAdd(f2, left, c0), c1 = hn::MulAdd(f2, right, c1);
                d0 = hn::MulAdd(f3, left, d0), d1 = hn::MulAdd(f3, right, d1);
            }
            double* to = result + i * size + j;
            hn::StoreU(a0, d, to), hn::StoreU(a1, d, to + lanes);
            hn::StoreU(b0, d, to + size), hn::StoreU(b1, d, to + size + lanes);
            hn::StoreU(c0, d, to + 2 * size), hn::StoreU(c1, d, to + 2 * size + lanes);
            hn::StoreU(d0, d, to + 3 * size), hn::StoreU(d1, d, to + 3 * size + lanes);
        }
}

}  // namespace
}  // namespace nigiri::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nigiri::cpu {

HWY_EXPORT(multiply);

void square_product(const double* x, const double* y, double* result, int64_t size, int64_t used) {
    HWY_DYNAMIC_DISPATCH(multiply)(x, y, result, size, used);
}

}  // namespace nigiri::cpu
#endif
