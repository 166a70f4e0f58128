// Tensors that exist twice: on the device, and in float64 on the host for the judge.
#pragma once

#include "tests/cuda/support.h"

namespace nigiri::test {

struct Pair {
    Tensor host, device;
};

class CudaPairs : public Cuda {
  protected:
    // Random values that `dtype` represents exactly; on the device with `gap` unused columns around every row.
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

    // The 2-norm of the difference over the norm of what is right. What float32 arithmetic does differently is
    // some 1e-7; results stored in bf16 are rounded by up to 2^-9 each, 1.7e-3 in the mean square.
    void expect_close(const Pair& p, const std::string& what, double float_tolerance = 2e-6) {
        const double tolerance = p.device.dtype() == DType::bf16 ? 3e-3 : float_tolerance;
        EXPECT_LE(relative_error(to_host(*cpu, *cuda, p.device), p.host), tolerance)
            << what << ", seed " << seed();
    }
    void expect_equal(const Tensor& a, const Tensor& b, const std::string& what) {
        EXPECT_EQ(max_difference(to_host(*cpu, *cuda, a), to_host(*cpu, *cuda, b)), 0) << what;
    }
};

}  // namespace nigiri::test
