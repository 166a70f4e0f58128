// What the CUDA tests share: a device or a visible skip, and copies between the device and the host.
#pragma once

#include <vector>

#include "tests/support/check.h"

namespace nigiri::test {

// One CUDA backend for the whole program; null where there is no device.
inline std::shared_ptr<Backend> cuda_backend() {
    static const std::shared_ptr<Backend> backend =
        available_devices().front() == "cuda" ? make_backend("cuda") : nullptr;
    return backend;
}

// The elements of a host tensor, rounded to `dtype`, on the device; with `gap` unused columns around every
// row.
inline Tensor to_device(Backend& cuda, const View& host, DType dtype, int64_t gap = 0) {
    std::vector<int64_t> extents;
    for (int i = 0; i < host.shape.rank(); ++i) extents.push_back(host.shape[i]);
    extents.back() += 2 * gap;
    const Shape shape(extents);
    std::vector<uint8_t> bytes(static_cast<size_t>(shape.size()) * size_of(dtype));
    View staged;
    staged.data = bytes.data(), staged.dtype = dtype, staged.shape = shape,
    staged.row_stride = shape.columns();
    for (int64_t i = 0; i < staged.size(); ++i) set(staged, i, 7);  // what lies in the gaps must not matter
    const View inner = staged.columns(gap, host.columns());
    for (int64_t i = 0; i < host.size(); ++i) set(inner, i, get(host, i));
    const Tensor t = cuda.allocate(shape, dtype);
    cuda.upload(bytes.data(), t);
    cuda.synchronize();  // `bytes` ends here
    return gap == 0 ? t : t.columns(gap, host.columns());
}

// The elements of a device tensor as float64 on the host.
inline Tensor to_host(Backend& cpu, Backend& cuda, const Tensor& device) {
    Tensor packed = device;
    if (!device.view().contiguous()) {
        packed = cuda.allocate(device.shape(), device.dtype());
        cuda.copy({.x = device, .y = packed});
    }
    if (packed.size() == 0) return cpu.allocate(device.shape(), DType::f64);
    std::vector<uint8_t> bytes(static_cast<size_t>(packed.size()) * size_of(packed.dtype()));
    cuda.download(packed, bytes.data());
    View staged = packed.view();
    staged.data = bytes.data();
    const Tensor host = cpu.allocate(device.shape(), DType::f64);
    for (int64_t i = 0; i < host.size(); ++i) set(host, i, get(staged, i));
    return host;
}

// A tensor on the device and its values in float64 on the host, which the judge sees.
struct Pair {
    Tensor host, device;
};

// A fixture with both backends: `cpu` judges in float64, `cuda` is judged.
class Cuda : public ::testing::Test {
  protected:
    void SetUp() override {
        if (!cuda) GTEST_SKIP() << "no CUDA device here";
    }

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

    // The 2-norm of the difference over the norm of what is right. What float32 arithmetic does differently
    // is some 1e-7; results stored in bf16 are rounded by up to 2^-9 each, 1.7e-3 in the mean square.
    void expect_close(const Pair& p, const std::string& what, double float_tolerance = 2e-6) {
        const double tolerance = p.device.dtype() == DType::bf16 ? 3e-3 : float_tolerance;
        EXPECT_LE(relative_error(to_host(*cpu, *cuda, p.device), p.host), tolerance)
            << what << ", seed " << seed();
    }
    void expect_equal(const Tensor& a, const Tensor& b, const std::string& what) {
        EXPECT_EQ(max_difference(to_host(*cpu, *cuda, a), to_host(*cpu, *cuda, b)), 0) << what;
    }

    std::shared_ptr<Backend> cpu = make_backend("cpu", 2);
    std::shared_ptr<Backend> cuda = cuda_backend();
    Random random{seed()};
};

}  // namespace nigiri::test
