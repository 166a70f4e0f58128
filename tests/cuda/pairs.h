// Tensors that exist twice: on the device, and in float64 on the host for the judge.
#pragma once

#include "tests/cuda/support.h"

namespace nigiri::test {

struct Pair {
    Tensor host, device;
};

class CudaPairs : public Cuda {
  protected:
    // Random values that `dtype` represents exactly; on the device with `gap` unused columns around every
    // row.
    Pair values(const Shape& shape, DType dtype, int64_t gap = 0, double scale = 1, double offset = 0) {
        const Tensor there =
            to_device(*cuda, random_tensor(*cpu, shape, DType::f64, random, scale, offset), dtype, gap);
        return {to_host(*cpu, *cuda, there), there};
    }
    Pair integers(const Shape& shape, int64_t below, int64_t gap = 0) {
        const Tensor t = cpu->allocate(shape, DType::i32);
        for (int64_t i = 0; i < t.size(); ++i)
            set(t, i, static_cast<double>(random.below(static_cast<uint64_t>(below))));
        return {t, to_device(*cuda, t, DType::i32, gap)};
    }
    // Memory to write to, full of something that must not stay.
    Pair room(const Shape& shape, DType dtype, int64_t gap = 0) { return values(shape, dtype, gap, 1e3); }

    // The 2-norm of the difference over the norm of what is right, or over `size`, the norm that such sums
    // have, where they may cancel. What float32 arithmetic does differently is some 1e-7; results stored in
    // bf16 are rounded by up to 2^-8.
    void expect_close(const Pair& p, const std::string& what, double float_tolerance = 2e-6, double size = 0) {
        const double tolerance = p.device.dtype() == DType::bf16 ? 4e-3 : float_tolerance;
        const double norm = std::sqrt(dot(p.host, p.host)),
                     error = relative_error(to_host(*cpu, *cuda, p.device), p.host);
        EXPECT_LE(norm > 0 ? error * norm / std::max(norm, size) : error, tolerance) << what << ", seed " << seed();
    }
    static double size_of_sums(int64_t results, int64_t terms) {
        return std::sqrt(static_cast<double>(results * terms));
    }

    void expect_equal(const Tensor& a, const Tensor& b, const std::string& what) {
        EXPECT_EQ(max_difference(to_host(*cpu, *cuda, a), to_host(*cpu, *cuda, b)), 0) << what;
    }
};

}  // namespace nigiri::test
