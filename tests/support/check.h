// What the tests share: random tensors, distances, finite differences.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/random.h"

namespace nigiri::test {

constexpr DType f32 = DType::f32, f64 = DType::f64, bf16 = DType::bf16;

using Complex = std::complex<double>;

// The seed of randomised tests: NIGIRI_TEST_SEED or 1. Printed with every failure through SCOPED_TRACE.
inline uint64_t seed() {
    const char* text = std::getenv("NIGIRI_TEST_SEED");
    return text ? std::strtoull(text, nullptr, 10) : 1;
}

// Lengths that break tilings: around powers of two, primes, one sample.
inline const std::vector<int64_t> odd_lengths = {1, 2, 3, 7, 15, 16, 17, 31, 63, 64, 65, 129, 151, 257, 372, 1000};

inline double get(const View& v, int64_t i) {
    const int64_t row = i / v.columns(), column = i % v.columns();
    switch (v.dtype) {
        case DType::f32:
            return v.row<float>(row)[column];
        case DType::f64:
            return v.row<double>(row)[column];
        case DType::i32:
            return v.row<int32_t>(row)[column];
        case DType::bf16:
            return static_cast<float>(v.row<BFloat16>(row)[column]);
    }
    return 0;
}

inline void set(const View& v, int64_t i, double x) {
    const int64_t row = i / v.columns(), column = i % v.columns();
    switch (v.dtype) {
        case DType::f32:
            v.row<float>(row)[column] = static_cast<float>(x);
            return;
        case DType::f64:
            v.row<double>(row)[column] = x;
            return;
        case DType::i32:
            v.row<int32_t>(row)[column] = static_cast<int32_t>(x);
            return;
        case DType::bf16:
            v.row<BFloat16>(row)[column] = BFloat16(static_cast<float>(x));
            return;
    }
}

inline Tensor filled(Backend& backend, const Shape& shape, DType dtype, double value) {
    Tensor t = backend.allocate(shape, dtype);
    for (int64_t i = 0; i < t.size(); ++i) set(t, i, value);
    return t;
}

inline Tensor random_tensor(Backend& backend, const Shape& shape, DType dtype, Random& random, double scale = 1,
                            double offset = 0) {
    Tensor t = backend.allocate(shape, dtype);
    for (int64_t i = 0; i < t.size(); ++i) set(t, i, offset + scale * random.normal());
    return t;
}

// A tensor whose rows do not follow each other, as column ranges of wider tensors do.
inline Tensor random_strided(Backend& backend, const Shape& shape, DType dtype, Random& random, double scale = 1) {
    std::vector<int64_t> wide;
    for (int i = 0; i < shape.rank(); ++i) wide.push_back(shape[i]);
    const int64_t columns = wide.back();
    wide.back() += 5;
    return random_tensor(backend, Shape(wide), dtype, random, scale).columns(3, columns);
}

inline Tensor converted(Backend& backend, const View& x, DType dtype) {
    Tensor t = backend.allocate(x.shape, dtype);
    for (int64_t i = 0; i < x.size(); ++i) set(t, i, get(x, i));
    return t;
}

// Root of the normalised mean square error: |a - b| / |b| in the 2-norm (|a| where b is zero).
inline double relative_error(const View& a, const View& b) {
    EXPECT_EQ(a.size(), b.size());
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < std::min(a.size(), b.size()); ++i) {
        const double x = get(a, i), y = get(b, i);
        difference += (x - y) * (x - y);
        norm += y * y;
    }
    return std::sqrt(norm > 0 ? difference / norm : difference);
}

inline double norm(const View& x) {
    double sum = 0;
    for (int64_t i = 0; i < x.size(); ++i) sum += get(x, i) * get(x, i);
    return std::sqrt(sum);
}

inline double max_difference(const View& a, const View& b) {
    EXPECT_EQ(a.size(), b.size());
    double worst = 0;
    for (int64_t i = 0; i < std::min(a.size(), b.size()); ++i) {
        const double d = std::abs(get(a, i) - get(b, i));
        if (!(d <= worst)) worst = d;  // NaN stays
    }
    return worst;
}

// Bit for bit, so that NaN and signed zeros count.
inline bool same_bits(const View& a, const View& b) {
    if (a.empty() || b.empty()) return a.empty() && b.empty();
    if (a.dtype != b.dtype || a.shape != b.shape) return false;
    const auto bytes = [](const View& v, int64_t row) {
        return static_cast<const char*>(v.data) + row * v.row_stride * static_cast<int64_t>(size_of(v.dtype));
    };
    for (int64_t i = 0; i < a.rows(); ++i)
        if (std::memcmp(bytes(a, i), bytes(b, i), static_cast<size_t>(a.columns()) * size_of(a.dtype)) != 0)
            return false;
    return true;
}

// Compares analytic gradients with central differences of `loss` in double. Every element of a small tensor is
// tried, `samples` random ones of a large one. With step 1e-5 the truncation and rounding errors of central differences
// on values of order one are near 1e-10; `tolerance` is relative to the largest gradient of the tensor.
struct GradientCheck {
    std::string name;
    Tensor value;     // float64, changed and restored
    Tensor gradient;  // float64, what the backward pass said
};

inline void expect_gradients(const std::function<double()>& loss, const std::vector<GradientCheck>& checks,
                             Random& random, double tolerance = 1e-6, int samples = 40, double step = 1e-5) {
    for (const auto& check : checks) {
        ASSERT_EQ(check.value.size(), check.gradient.size()) << check.name;
        double scale = 1e-3;
        for (int64_t i = 0; i < check.gradient.size(); ++i) scale = std::max(scale, std::abs(get(check.gradient, i)));
        const int64_t n = check.value.size();
        for (int64_t k = 0; k < std::min<int64_t>(n, samples); ++k) {
            const int64_t i = n <= samples ? k : static_cast<int64_t>(random.below(static_cast<uint64_t>(n)));
            const double x = get(check.value, i);
            set(check.value, i, x + step);
            const double above = loss();
            set(check.value, i, x - step);
            const double below = loss();
            set(check.value, i, x);
            const double difference = (above - below) / (2 * step);
            EXPECT_NEAR(get(check.gradient, i), difference, tolerance * scale)
                << check.name << "[" << i << "], seed " << seed();
        }
    }
}

// sum(a * b) in double: the scalar whose gradient with respect to `a` is `b`.
inline double dot(const View& a, const View& b) {
    double sum = 0;
    for (int64_t i = 0; i < a.size(); ++i) sum += get(a, i) * get(b, i);
    return sum;
}

}  // namespace nigiri::test
