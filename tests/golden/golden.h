// The golden vectors: numbers of the published PyTorch code, in float64 (README.md here).
// A judge takes the files whose name begins with its prefix. It runs the case in float64 and in float32.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "model/parameter.h"
#include "model/safetensors.h"
#include "tests/support/check.h"

namespace nigiri::golden {

// The files were computed in float64, so float64 must agree to rounding (1e-9 relative to the tensor's norm leaves room
// for the order of long sums and for parameters that were stored as float32); float32 to 1e-5.
inline double tolerance(DType dtype) { return dtype == DType::f64 ? 1e-9 : 1e-5; }

// A tensor of the file in a backend's memory, by default under its own shape.
inline Tensor load(Backend& backend, const SafeTensorsFile& file, const std::string& name, DType dtype,
                   Shape shape = {}) {
    const std::vector<double> values = file.values(name);
    if (shape.rank() == 0) {
        std::vector<int64_t> s = file.at(name).shape;
        shape = Shape(s);
    }
    Tensor t = backend.allocate(shape, dtype);
    if (t.size() != static_cast<int64_t>(values.size()))
        throw Error("golden tensor " + name + " has another size than expected");
    upload_values(backend, values, t);
    return t;
}

// A tensor without gaps of any backend in host memory.
inline Tensor on_host(Backend& backend, const Tensor& t) {
    if (backend.name() == "cpu") return t;
    const auto cpu = make_backend("cpu");
    const Tensor host = cpu->allocate(t.shape(), t.dtype());
    upload_values(*cpu, download_values(backend, t), host);
    return host;
}

// Swaps the last two axes of (B, D, L) <-> (B, L, D).
inline Tensor transposed(Backend& backend, const View& x) {
    Tensor y = backend.allocate({x[0], x[2], x[1]}, x.dtype);
    for (int64_t b = 0; b < x[0]; ++b)
        for (int64_t i = 0; i < x[1]; ++i)
            for (int64_t j = 0; j < x[2]; ++j)
                test::set(y, (b * x[2] + j) * x[1] + i, test::get(x, (b * x[1] + i) * x[2] + j));
    return y;
}

inline int64_t integer(const SafeTensorsFile& file, const std::string& key) {
    const auto it = file.metadata().find(key);
    if (it == file.metadata().end()) throw Error("golden file lacks metadata " + key);
    return std::stoll(it->second);
}

inline std::string text(const SafeTensorsFile& file, const std::string& key, const std::string& otherwise = "") {
    const auto it = file.metadata().find(key);
    return it == file.metadata().end() ? otherwise : it->second;
}

inline void expect_close(Backend& backend, const Tensor& actual, const Tensor& expected, DType dtype,
                         const std::string& name) {
    EXPECT_LE(test::relative_error(on_host(backend, actual), on_host(backend, expected)), tolerance(dtype))
        << name << " in " << name_of(dtype) << " on " << backend.name();
}

inline void expect_close(const View& actual, const View& expected, DType dtype, const std::string& name) {
    EXPECT_LE(test::relative_error(actual, expected), tolerance(dtype)) << name << " in " << name_of(dtype);
}

// Runs a case in one precision, with gtest expectations.
using Judge = std::function<void(const SafeTensorsFile&, DType)>;
// The same on the backend that is given.
using DeviceJudge = std::function<void(const SafeTensorsFile&, const std::shared_ptr<Backend>&, DType)>;

struct Registration {
    Registration(const std::string& prefix, Judge judge);        // on the CPU only
    Registration(const std::string& prefix, DeviceJudge judge);  // on every backend
};

}  // namespace nigiri::golden
