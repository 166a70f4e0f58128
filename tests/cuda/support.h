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

// A fixture with both backends: `cpu` judges in float64, `cuda` is judged.
class Cuda : public ::testing::Test {
  protected:
    void SetUp() override {
        if (!cuda) GTEST_SKIP() << "no CUDA device here";
    }
    std::shared_ptr<Backend> cpu = make_backend("cpu", 2);
    std::shared_ptr<Backend> cuda = cuda_backend();
    Random random{seed()};
};

// The elements of a host tensor, rounded to `dtype`, on the device; with `gap` unused columns around every row.
inline Tensor to_device(Backend& cuda, const View& host, DType dtype, int64_t gap = 0) {
    std::vector<int64_t> extents;
    for (int i = 0; i < host.shape.rank(); ++i) extents.push_back(host.shape[i]);
    extents.back() += 2 * gap;
    const Shape shape(extents);
    std::vector<uint8_t> bytes(static_cast<size_t>(shape.size()) * size_of(dtype));
    View staged;
    staged.data = bytes.data(), staged.dtype = dtype, staged.shape = shape, staged.row_stride = shape.columns();
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
    std::vector<uint8_t> bytes(static_cast<size_t>(packed.size()) * size_of(packed.dtype()));
    cuda.download(packed, bytes.data());
    View staged = packed.view();
    staged.data = bytes.data();
    const Tensor host = cpu.allocate(device.shape(), DType::f64);
    for (int64_t i = 0; i < host.size(); ++i) set(host, i, get(staged, i));
    return host;
}

}  // namespace nigiri::test
