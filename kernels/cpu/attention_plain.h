// Attention as its sums are written: the judge in float64, and single rows in float32.
#pragma once

#include <cmath>
#include <vector>

#include "kernels/attention.h"

namespace nigiri::cpu {

// Row l of head h of sequence b.
template <class T>
void plain_attention_row(const AttentionForward& op, int64_t b, int64_t h, int64_t l) {
    const int64_t channels = op.q[2] / op.heads, seen = op.past + l + 1, row = b * op.q[1] + l;
    const T scale = 1 / std::sqrt(static_cast<T>(channels));
    const auto at = [&](const View& v, int64_t r) { return v.row<T>(r) + h * channels; };
    const T* const q = at(op.q, row);
    std::vector<T> weights(static_cast<size_t>(seen));
    T largest = -INFINITY, sum = 0;
    for (int64_t j = 0; j < seen; ++j) {
        const T* const k = at(op.k, b * op.k[1] + j);
        T s = 0;
        for (int64_t e = 0; e < channels; ++e) s += q[e] * k[e];
        weights[static_cast<size_t>(j)] = s * scale;
        largest = std::max(largest, s * scale);
    }
    for (T& w : weights) sum += w = std::exp(w - largest);
    T* const y = at(op.y, row);
    std::fill_n(y, channels, T{0});
    for (int64_t j = 0; j < seen; ++j) {
        const T* const v = at(op.v, b * op.v[1] + j);
        const T w = weights[static_cast<size_t>(j)] / sum;
        for (int64_t e = 0; e < channels; ++e) y[e] += w * v[e];
    }
    if (op.log_sums) op.log_sums.row<T>(row)[h] = largest + std::log(sum);
}

// All gradients of head h of sequence b.
template <class T>
void plain_attention_back(const AttentionBackward& op, int64_t b, int64_t h) {
    const int64_t channels = op.q[2] / op.heads, length = op.q[1], first = b * length;
    const T scale = 1 / std::sqrt(static_cast<T>(channels));
    const auto at = [&](const View& v, int64_t l) { return v.row<T>(first + l) + h * channels; };
    const auto dot = [&](const T* x, const T* y) {
        T sum = 0;
        for (int64_t e = 0; e < channels; ++e) sum += x[e] * y[e];
        return sum;
    };
    for (int64_t l = 0; l < length; ++l)
        for (const View* v : {&op.dq, &op.dk, &op.dv}) std::fill_n(at(*v, l), channels, T{0});
    for (int64_t i = 0; i < length; ++i) {
        const T *const q = at(op.q, i), *const dy = at(op.dy, i);
        const T mean = dot(dy, at(op.y, i)), log_sum = op.log_sums.row<T>(first + i)[h];
        for (int64_t j = 0; j <= i; ++j) {
            const T *const k = at(op.k, j), *const v = at(op.v, j);
            const T weight = std::exp(dot(q, k) * scale - log_sum), slope = weight * (dot(dy, v) - mean) * scale;
            for (int64_t e = 0; e < channels; ++e) {
                at(op.dq, i)[e] += slope * k[e];
                at(op.dk, j)[e] += slope * q[e];
                at(op.dv, j)[e] += weight * dy[e];
            }
        }
    }
}

}  // namespace nigiri::cpu
