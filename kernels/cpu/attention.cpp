// Attention on the processor. float32: a thread takes some rows of one head, computes their scores against all keys
// that they see as one product, and weighs the values as another. Keys are laid out for that once a call, by distance
// along the vector lanes. A few rows alone (steps of generation) and float64 take the sums as they are written.
#include "kernels/attention.h"

#include <cmath>
#include <exception>
#include <vector>

#include "kernels/cpu/attention_plain.h"
#include "kernels/cpu/cpu_backend.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "kernels/cpu/simd_map-inl.h"
#include "kernels/cpu/small_gemm-inl.h"

#ifndef NIGIRI_CPU_ATTENTION_H
#define NIGIRI_CPU_ATTENTION_H
namespace nigiri::cpu {

// Some rows of one head. Matrices marked * have rows padded with zeros to whole vectors.
struct AttentionBlock {
    int64_t rows = 0, visible = 0;   // keys that the first row sees; every further row sees one more
    int64_t channels = 0, wide = 0;  // E, and padded
    int64_t keys_wide = 0;           // stride of what has a column a key
    float scale = 1;
    Rows q, dy;
    const float *keys_t = nullptr, *values_t = nullptr;  // (E, keys) *
    const float *keys = nullptr, *values = nullptr;      // (keys, E) *
    float* scores = nullptr;                             // (rows, keys) *
    float* slopes = nullptr;                             // the same, backward
    float* out = nullptr;                                // (rows, E) *: y, or dq
    float* log_sums = nullptr;                           // of the rows, `log_stride` apart; may be absent forward
    int64_t log_stride = 0;
    // Backward: sums of dy y a row; the rows of q and dy, padded; room for transposes and for one term of what is added
    // to dk and dv, (keys, E) *.
    const float* dots = nullptr;
    float *q_wide = nullptr, *dy_wide = nullptr, *turned = nullptr, *term = nullptr, *dk = nullptr, *dv = nullptr;
};

}  // namespace nigiri::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace nigiri::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// exp(scale s - shift) of the first `count` numbers, zeros behind them; returns the sum. Rows are padded with room.
float weigh_row(float* s, int64_t count, int64_t padded, float scale, float shift) {
    const hn::ScalableTag<float> d;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    auto total = hn::Zero(d);
    int64_t j = 0;
    for (; j < count; j += lanes) {
        const auto x = hn::MulSub(hn::LoadU(d, s + j), hn::Set(d, scale), hn::Set(d, shift));
        const auto left = static_cast<size_t>(std::min(lanes, count - j));
        const auto e = hn::IfThenElseZero(hn::FirstN(d, left), simd::exp(d, x));
        total = hn::Add(total, e);
        hn::StoreU(e, d, s + j);
    }
    for (; j < padded; j += lanes) hn::StoreU(hn::Zero(d), d, s + j);
    return simd::sum(d, total);
}

float largest(const float* s, int64_t count) {
    const hn::ScalableTag<float> d;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    auto best = hn::Set(d, -INFINITY);
    int64_t j = 0;
    for (; j + lanes <= count; j += lanes) best = hn::Max(best, hn::LoadU(d, s + j));
    float largest = hn::GetLane(hn::MaxOfLanes(d, best));
    for (; j < count; ++j) largest = std::max(largest, s[j]);
    return largest;
}

void attend_block(const AttentionBlock& b) {
    const int64_t seen = b.visible + b.rows - 1, padded = (seen + 15) / 16 * 16;
    small_gemm(b.q.data, b.q.stride, b.keys_t, b.keys_wide, b.scores, b.keys_wide, b.rows, padded, b.channels);
    for (int64_t r = 0; r < b.rows; ++r) {
        float* const s = b.scores + r * b.keys_wide;
        const int64_t count = b.visible + r;
        const float shift = b.scale * largest(s, count);
        const float sum = weigh_row(s, count, padded, b.scale, shift);
        for (int64_t j = 0; j < count; ++j) s[j] /= sum;
        if (b.log_sums != nullptr) b.log_sums[r * b.log_stride] = shift + std::log(sum);
    }
    small_gemm(b.scores, b.keys_wide, b.values, b.wide, b.out, b.wide, b.rows, b.wide, seen);
}

// `from` (rows, columns) with a stride -> `to` (columns, rows).
void turn(const float* from, int64_t stride, float* to, int64_t rows, int64_t columns) {
    for (int64_t c = 0; c < columns; ++c)
        for (int64_t r = 0; r < rows; ++r) to[c * rows + r] = from[r * stride + c];
}

// sum (keys, E) * += weights^T x, weights (rows, keys) *, x (rows, E) *.
void add_turned_product(const AttentionBlock& b, const float* weights, const float* x, float* sum, int64_t seen) {
    turn(weights, b.keys_wide, b.turned, b.rows, seen);
    small_gemm(b.turned, b.rows, x, b.wide, b.term, b.wide, seen, b.wide, b.rows);
    const hn::ScalableTag<float> d;
    for (int64_t i = 0; i < seen * b.wide; i += static_cast<int64_t>(hn::Lanes(d)))
        hn::StoreU(hn::Add(hn::LoadU(d, sum + i), hn::LoadU(d, b.term + i)), d, sum + i);
}

void attend_back_block(const AttentionBlock& b) {
    const hn::ScalableTag<float> d;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    const int64_t seen = b.visible + b.rows - 1, padded = (seen + 15) / 16 * 16;
    small_gemm(b.q.data, b.q.stride, b.keys_t, b.keys_wide, b.scores, b.keys_wide, b.rows, padded, b.channels);
    small_gemm(b.dy.data, b.dy.stride, b.values_t, b.keys_wide, b.slopes, b.keys_wide, b.rows, padded, b.channels);
    for (int64_t r = 0; r < b.rows; ++r) {
        float *const s = b.scores + r * b.keys_wide, *const g = b.slopes + r * b.keys_wide;
        weigh_row(s, b.visible + r, padded, b.scale, b.log_sums[r * b.log_stride]);
        const auto mean = hn::Set(d, b.dots[r]), scale = hn::Set(d, b.scale);
        for (int64_t j = 0; j < padded; j += lanes) {
            const auto slope = hn::Sub(hn::LoadU(d, g + j), mean);
            hn::StoreU(hn::Mul(hn::LoadU(d, s + j), hn::Mul(slope, scale)), d, g + j);
        }
    }
    small_gemm(b.slopes, b.keys_wide, b.keys, b.wide, b.out, b.wide, b.rows, b.wide, seen);
    add_turned_product(b, b.slopes, b.q_wide, b.dk, seen);
    add_turned_product(b, b.scores, b.dy_wide, b.dv, seen);
}

}  // namespace
}  // namespace nigiri::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nigiri {
namespace cpu {
namespace {

HWY_EXPORT(attend_block);
HWY_EXPORT(attend_back_block);

constexpr int64_t block_rows = 32;
constexpr int64_t few_rows = 8;  // fewer queries than this are not worth laying out the keys

int64_t padded(int64_t n) { return (n + 15) / 16 * 16; }

// One head of one sequence: rows [0, count) of the channels, as they are and turned, with zeros behind.
struct Head {
    int64_t wide, keys_wide;
    std::vector<float> rows, turned;

    Head(const View& v, int64_t b, int64_t h, int64_t channels, int64_t count, bool with_rows, bool with_turned)
        : wide(padded(channels)), keys_wide(padded(count)) {
        if (with_rows) rows.assign(static_cast<size_t>(count * wide), 0.0f);
        if (with_turned) turned.assign(static_cast<size_t>(channels * keys_wide), 0.0f);
        for (int64_t j = 0; j < count; ++j) {
            const float* const from = v.row<float>(b * v[1] + j) + h * channels;
            for (int64_t e = 0; e < channels; ++e) {
                if (with_rows) rows[static_cast<size_t>(j * wide + e)] = from[e];
                if (with_turned) turned[static_cast<size_t>(e * keys_wide + j)] = from[e];
            }
        }
    }
};

Rows head_rows(const View& v, int64_t row, int64_t h, int64_t channels) {
    return {v.row<float>(row) + h * channels, v.row_stride};
}

void forward_head(const AttentionForward& op, int64_t b, int64_t h, int64_t channels) {
    const int64_t length = op.q[1], keys = op.past + length;
    const Head k(op.k, b, h, channels, keys, false, true), v(op.v, b, h, channels, keys, true, false);
    std::vector<float> scores(static_cast<size_t>(block_rows * k.keys_wide)),
        out(static_cast<size_t>(block_rows * v.wide));
    for (int64_t first = 0; first < length; first += block_rows) {
        AttentionBlock block;
        block.rows = std::min(block_rows, length - first);
        block.visible = op.past + first + 1;
        block.channels = channels, block.wide = v.wide, block.keys_wide = k.keys_wide;
        block.scale = 1 / std::sqrt(static_cast<float>(channels));
        block.q = head_rows(op.q, b * length + first, h, channels);
        block.keys_t = k.turned.data(), block.values = v.rows.data();
        block.scores = scores.data(), block.out = out.data();
        if (op.log_sums) block.log_sums = op.log_sums.row<float>(b * length + first) + h;
        block.log_stride = op.log_sums.row_stride;
        HWY_DYNAMIC_DISPATCH(attend_block)(block);
        for (int64_t r = 0; r < block.rows; ++r)
            std::copy_n(out.data() + r * v.wide, channels, op.y.row<float>(b * length + first + r) + h * channels);
    }
}

void backward_head(const AttentionBackward& op, int64_t b, int64_t h, int64_t channels) {
    const int64_t length = op.q[1];
    const Head k(op.k, b, h, channels, length, true, true), v(op.v, b, h, channels, length, false, true),
        q(op.q, b, h, channels, length, true, false), dy(op.dy, b, h, channels, length, true, false);
    const auto room = [](int64_t n) { return std::vector<float>(static_cast<size_t>(n)); };
    std::vector<float> scores = room(block_rows * k.keys_wide), slopes = scores, turned = scores,
                       out = room(block_rows * k.wide), term = room(length * k.wide), dk = term, dv = term,
                       dots = room(block_rows);
    for (int64_t first = 0; first < length; first += block_rows) {
        const int64_t row = b * length + first;
        AttentionBlock block;
        block.rows = std::min(block_rows, length - first);
        block.visible = first + 1;
        block.channels = channels, block.wide = k.wide, block.keys_wide = k.keys_wide;
        block.scale = 1 / std::sqrt(static_cast<float>(channels));
        block.q = head_rows(op.q, row, h, channels), block.dy = head_rows(op.dy, row, h, channels);
        const Rows y = head_rows(op.y, row, h, channels);
        for (int64_t r = 0; r < block.rows; ++r) {
            dots[static_cast<size_t>(r)] = 0;
            for (int64_t e = 0; e < channels; ++e) dots[static_cast<size_t>(r)] += block.dy[r][e] * y[r][e];
        }
        block.keys_t = k.turned.data(), block.keys = k.rows.data(), block.values_t = v.turned.data();
        block.scores = scores.data(), block.slopes = slopes.data(), block.out = out.data();
        block.log_sums = op.log_sums.row<float>(row) + h, block.log_stride = op.log_sums.row_stride;
        block.dots = dots.data();
        // Rows of padded matrices follow each other: a block's are a part of the whole.
        block.q_wide = const_cast<float*>(q.rows.data()) + first * k.wide;
        block.dy_wide = const_cast<float*>(dy.rows.data()) + first * k.wide;
        block.turned = turned.data(), block.term = term.data(), block.dk = dk.data(), block.dv = dv.data();
        HWY_DYNAMIC_DISPATCH(attend_back_block)(block);
        for (int64_t r = 0; r < block.rows; ++r)
            std::copy_n(out.data() + r * k.wide, channels, op.dq.row<float>(row + r) + h * channels);
    }
    for (int64_t j = 0; j < length; ++j) {
        std::copy_n(dk.data() + j * k.wide, channels, op.dk.row<float>(b * length + j) + h * channels);
        std::copy_n(dv.data() + j * k.wide, channels, op.dv.row<float>(b * length + j) + h * channels);
    }
}

// parallel_ranges of tasks that allocate: an exception must not leave a parallel region.
template <class F>
void parallel_tasks(int threads, int64_t tasks, int64_t work, const F& task) {
    std::exception_ptr failure;
    parallel_ranges(threads, tasks, 1, work, [&](int64_t begin, int64_t end) {
        try {
            for (int64_t t = begin; t < end; ++t) task(t);
        } catch (...) {
#pragma omp critical(nigiri_attention)
            if (!failure) failure = std::current_exception();
        }
    });
    if (failure) std::rethrow_exception(failure);
}

template <class... Views>
void check_like(const char* name, const View& first, const Views&... others) {
    require(((others.shape == first.shape && others.dtype == first.dtype) && ...), name,
            "operands (B, L, D) of one element type");
}

void check_log_sums(const char* name, const View& log_sums, const View& q, int64_t heads) {
    require(log_sums.shape == Shape({q[0], q[1], heads}) && log_sums.dtype == q.dtype, name, "sums (B, L, heads)");
}

}  // namespace
}  // namespace cpu

using namespace cpu;

void CpuBackend::attention_forward(const AttentionForward& op) {
    constexpr const char* name = "attention_forward";
    require(op.q.shape.rank() == 3 && op.heads >= 1 && op.q[2] % op.heads == 0, name,
            "q (B, L, D), heads that divide D");
    check_like(name, op.q, op.y);
    check_like(name, op.k, op.v);
    require(op.k.shape.rank() == 3 && op.k[0] == op.q[0] && op.k[2] == op.q[2] && op.k.dtype == op.q.dtype &&
                op.past >= 0 && op.k[1] >= op.past + op.q[1],
            name, "keys (B, K, D), K at least past + L");
    if (op.log_sums) check_log_sums(name, op.log_sums, op.q, op.heads);
    const int64_t length = op.q[1], channels = op.q[2] / op.heads, tasks = op.q[0] * op.heads;
    if (op.q.dtype == DType::f32 && length >= few_rows) {
        parallel_tasks(threads(), tasks, op.q.size() * (op.past + length),
                       [&](int64_t t) { forward_head(op, t / op.heads, t % op.heads, channels); });
        return;
    }
    dispatch(op.q.dtype, [&](auto zero) {
        using T = decltype(zero);
        parallel_tasks(threads(), tasks * length, op.q.size() * (op.past + length), [&](int64_t t) {
            plain_attention_row<T>(op, t / length / op.heads, t / length % op.heads, t % length);
        });
    });
}

void CpuBackend::attention_backward(const AttentionBackward& op) {
    constexpr const char* name = "attention_backward";
    require(op.q.shape.rank() == 3 && op.heads >= 1 && op.q[2] % op.heads == 0, name,
            "q (B, L, D), heads that divide D");
    check_like(name, op.q, op.k, op.v, op.y, op.dy, op.dq, op.dk, op.dv);
    check_log_sums(name, op.log_sums, op.q, op.heads);
    const int64_t channels = op.q[2] / op.heads, tasks = op.q[0] * op.heads;
    parallel_tasks(threads(), tasks, 2 * op.q.size() * op.q[1], [&](int64_t t) {
        if (op.q.dtype == DType::f32)
            backward_head(op, t / op.heads, t % op.heads, channels);
        else
            plain_attention_back<double>(op, t / op.heads, t % op.heads);
    });
}

}  // namespace nigiri
#endif
