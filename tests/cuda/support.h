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

// The elements of a host tensor, rounded to `dtype`, on the device; with `gap` unused columns around every
// row.
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

// The elements of a device view as float64 on the host; rows need not follow each other.
inline Tensor to_host(Backend& cpu, Backend& cuda, const View& device) {
    View whole = device;
    whole.shape = {device.rows() > 0 ? (device.rows() - 1) * device.row_stride + device.columns() : 0};
    whole.row_stride = whole.columns();
    std::vector<uint8_t> bytes(static_cast<size_t>(whole.size()) * size_of(device.dtype));
    cuda.download(whole, bytes.data());
    View staged = device;
    staged.data = bytes.data();
    const Tensor host = cpu.allocate(device.shape, DType::f64);
    for (int64_t i = 0; i < host.size(); ++i) set(host, i, get(staged, i));
    return host;
}

// `host` with every element rounded to `dtype`, in float64: what a judge is given when the device is given
// `dtype`.
inline Tensor rounded(Backend& cpu, const View& host, DType dtype) {
    return converted(cpu, converted(cpu, host, dtype), DType::f64);
}

// A device tensor filled with one number, to be overwritten or added to.
inline Tensor filled_device(Backend& cpu, Backend& cuda, const Shape& shape, DType dtype, double value,
                            int64_t gap = 0) {
    const Tensor host = cpu.allocate(shape, DType::f64);
    for (int64_t i = 0; i < host.size(); ++i) set(host, i, value);
    return to_device(cuda, host, dtype, gap);
}

}  // namespace nigiri::test
