#include "kernels/causal_conv1d.h"

#include <cmath>
#include <cstring>

#include "kernels/cpu/cpu_backend.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/causal_conv1d.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/cache_control.h"

#include "kernels/cpu/simd_map-inl.h"

#ifndef NIGIRI_KERNELS_CPU_CAUSAL_CONV1D_ONCE
#define NIGIRI_KERNELS_CPU_CAUSAL_CONV1D_ONCE
namespace nigiri::cpu {

constexpr int max_taps = 8;
constexpr int64_t group = 8;   // rows of the backward pass taken together
constexpr int64_t tile = 512;  // channels taken together: their weights stay in the first cache

struct ConvRows {
    Rows x, y, state;  // state.data null: zeros before the first row
    Rows dy, dx;       // backward only
    const float* weight = nullptr;
    int64_t weight_stride = 0;
    const float* bias = nullptr;
    int64_t length = 0, columns = 0;
    int taps = 0;
    bool silu = false;
};

// What one slice of the rows adds to the gradients of the parameters (rows 0 to taps - 1: weights of one tap
// each; row `taps`: bias), and behind that taps - 1 rows of room for slopes that later rows still need.
struct ConvSums {
    Rows rows;
    int taps;
    Rows tap(int k) const { return {rows[k], 0}; }
    Rows bias() const { return {rows[taps], 0}; }
    Rows slope(int back) const { return {rows[taps + back], 0}; }  // of 1 <= back < taps rows ago
};

}  // namespace nigiri::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace nigiri::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using Tag = hn::ScalableTag<float>;
using V = hn::Vec<Tag>;

alignas(64) constexpr float zeros_row[tile] = {};

// The weights of the channels [first, first + n) as rows of one tap each, and the bias.
struct TapRows {
    alignas(64) float tap[max_taps][tile];
    alignas(64) float bias[tile];

    TapRows(const ConvRows& a, int64_t first, int64_t n) {
        const Tag d;
        const auto lanes = static_cast<int64_t>(hn::Lanes(d));
        int64_t c = 0;
        if (a.taps == 4 && a.weight_stride == 4) {  // a step of generation spends most of its time here
            for (; c + lanes <= n; c += lanes) {
                V w0, w1, w2, w3;
                hn::LoadInterleaved4(d, a.weight + (first + c) * 4, w0, w1, w2, w3);
                hn::Store(w0, d, tap[0] + c);
                hn::Store(w1, d, tap[1] + c);
                hn::Store(w2, d, tap[2] + c);
                hn::Store(w3, d, tap[3] + c);
            }
        }
        for (; c < n; ++c)
            for (int k = 0; k < a.taps; ++k) tap[k][c] = a.weight[(first + c) * a.weight_stride + k];
        for (c = 0; c < n; ++c) bias[c] = a.bias != nullptr ? a.bias[first + c] : 0;
        for (; c % lanes != 0; ++c) {  // the last vector is loaded whole
            for (int k = 0; k < a.taps; ++k) tap[k][c] = 0;
            bias[c] = 0;
        }
    }
};

// K = 0 stands for any number of taps. (A branch for silu costs nothing; a copy of the code for it would, in
// building.)
template <int K>
void forward_tile(const ConvRows& a, int64_t first, int64_t n, int64_t begin, int64_t end) {
    const int taps = K > 0 ? K : a.taps;
    const TapRows w(a, first, n);
    for (int64_t row = begin; row < end; ++row) {
        const int64_t b = row / a.length, l = row % a.length;
        Rows from[max_taps];
        for (int k = 0; k < taps; ++k) {
            const int64_t past = taps - 1 - k;  // rows back from this one
            if (past <= l)
                from[k].data = a.x[row - past] + first;
            else
                from[k].data =
                    a.state.data != nullptr ? a.state[b * (taps - 1) + l + k] + first : const_cast<float*>(zeros_row);
        }
        const Rows y{a.y[row] + first, 0};
        simd::map(1, n, [&](auto d, auto at) HWY_ATTR {
            auto p = hn::Load(d, w.bias + at.column);
            for (int k = 0; k < taps; ++k) p = hn::MulAdd(hn::Load(d, w.tap[k] + at.column), at.load(d, from[k]), p);
            at.store(a.silu ? simd::silu(d, p) : p, d, y);
        });
    }
}

// Rows [l, stop) of one sequence, whose first row is `base`, at one vector of channels. The windows hold what
// the last `taps` rows had: dx of a row is known once the slopes of the taps - 1 rows behind it are. `inner`:
// every row lies inside of [l0 + taps - 1, l1); else what lies outside is left out.
template <int K, bool inner, class At>
HWY_INLINE void backward_column(const ConvRows& a, const TapRows& w, const ConvSums& sums, int64_t first, At at,
                                int64_t base, int64_t l0, int64_t l1, int64_t l, int64_t stop) {
    const Tag d;
    const int taps = K > 0 ? K : a.taps;
    constexpr int room = K > 0 ? K : max_taps;
    const auto load = [&](Rows from, int64_t row) HWY_ATTR { return at.load(d, Rows{from[base + row] + first, 0}); };
    V tap[room], x[room], slope[room], dtap[room];
    for (int k = 0; k < taps; ++k) {
        tap[k] = hn::Load(d, w.tap[k] + at.column);
        dtap[k] = at.load(d, sums.tap(k));
        slope[k] = k > 0 ? at.load(d, sums.slope(k)) : hn::Zero(d);
    }
    for (int k = 0; k + 1 < taps; ++k) {
        const int64_t row = l - (taps - 1) + k;
        x[k] = inner || (row >= 0 && row < a.length) ? load(a.x, row) : hn::Zero(d);
    }
    const auto bias = hn::Load(d, w.bias + at.column);
    auto dbias = at.load(d, sums.bias());
    for (int64_t row = l; row < stop; ++row) {
        const bool exists = inner || row < a.length;
        x[taps - 1] = exists ? load(a.x, row) : hn::Zero(d);
        slope[0] = exists ? load(a.dy, row) : hn::Zero(d);
        if constexpr (inner) {  // a stride of whole rows is more than the processor foresees
            hwy::Prefetch(a.x[base + row + group] + first + at.column);
            hwy::Prefetch(a.dy[base + row + group] + first + at.column);
        }
        if (a.silu) {
            auto p = bias;
            for (int k = 0; k < taps; ++k) p = hn::MulAdd(tap[k], x[k], p);
            slope[0] = hn::Mul(slope[0], simd::silu_slope(d, p, simd::sigmoid(d, p)));
        }
        if (inner || row < l1) {
            for (int k = 0; k < taps; ++k) dtap[k] = hn::MulAdd(slope[0], x[k], dtap[k]);
            dbias = hn::Add(dbias, slope[0]);
        }
        if (inner || row - (taps - 1) >= l0) {
            auto dx = hn::Mul(tap[0], slope[0]);
            for (int k = 1; k < taps; ++k) dx = hn::MulAdd(tap[k], slope[k], dx);
            at.store(dx, d, Rows{a.dx[base + row - (taps - 1)] + first, 0});
        }
        for (int k = 0; k + 1 < taps; ++k) x[k] = x[k + 1];
        for (int k = taps - 1; k > 0; --k) slope[k] = slope[k - 1];
    }
    for (int k = 0; k < taps; ++k) {
        at.store(dtap[k], d, sums.tap(k));
        if (k > 0) at.store(slope[k], d, sums.slope(k));
    }
    at.store(dbias, d, sums.bias());
}

template <int K>
void backward_tile(const ConvRows& a, ConvSums sums, int64_t first, int64_t n, int64_t begin, int64_t end) {
    const int taps = K > 0 ? K : a.taps;
    const TapRows w(a, first, n);
    sums.rows.data += first;
    for (int64_t begun = begin; begun < end;) {
        const int64_t l0 = begun % a.length, base = begun - l0, l1 = std::min(a.length, l0 + end - begun);
        for (int k = 1; k < taps; ++k) std::memset(sums.slope(k).data, 0, static_cast<size_t>(n) * sizeof(float));
        const int64_t stop = l1 + taps - 1;
        int64_t next = 0;
        for (int64_t l = l0; l < stop; l = next) {
            // The first rows alone, then groups few enough that they are one stream through memory.
            next = l == l0 ? std::min<int64_t>(stop, l + taps - 1 + (taps == 1)) : std::min(stop, l + group);
            const bool inner = l > l0 && next <= l1;
            simd::map(1, n, [&](auto, auto at) HWY_ATTR {
                if (K > 0 && inner)
                    backward_column<K, K != 0>(a, w, sums, first, at, base, l0, l1, l, next);
                else
                    backward_column<K, false>(a, w, sums, first, at, base, l0, l1, l, next);
            });
        }
        begun += l1 - l0;
    }
}

// The rows [begin, end), counted over all sequences.
void forward_rows(const ConvRows& a, int64_t begin, int64_t end) {
    for (int64_t first = 0; first < a.columns; first += tile) {
        const int64_t n = std::min(tile, a.columns - first);
        a.taps == 4 ? forward_tile<4>(a, first, n, begin, end) : forward_tile<0>(a, first, n, begin, end);
    }
}

void backward_rows(const ConvRows& a, ConvSums sums, int64_t begin, int64_t end) {
    for (int64_t first = 0; first < a.columns; first += tile) {
        const int64_t n = std::min(tile, a.columns - first);
        a.taps == 4 ? backward_tile<4>(a, sums, first, n, begin, end) : backward_tile<0>(a, sums, first, n, begin, end);
    }
}

}  // namespace
}  // namespace nigiri::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nigiri {
namespace cpu {
namespace {

HWY_EXPORT(forward_rows);
HWY_EXPORT(backward_rows);

// x[b, l, :], also for l < 0: from the state, or null where there is none (zeros).
template <class T>
const T* input_row(const View& x, const View& state, int taps, int64_t b, int64_t l) {
    if (l >= 0) return x.row<T>(b * x[1] + l);
    return state ? state.row<T>(b * (taps - 1) + taps - 1 + l) : nullptr;
}

double pre_activation(const View& x, const View& state, const View& weight, const View& bias, int64_t b, int64_t l,
                      int64_t c) {
    const auto taps = static_cast<int>(weight[1]);
    double p = bias ? bias.as<double>()[c] : 0;
    for (int k = 0; k < taps; ++k)
        if (const double* from = input_row<double>(x, state, taps, b, l - (taps - 1) + k))
            p += weight.row<double>(c)[k] * from[c];
    return p;
}

void plain_forward(const CausalConv1dForward& op) {
    for (int64_t b = 0; b < op.x[0]; ++b)
        for (int64_t l = 0; l < op.x[1]; ++l)
            for (int64_t c = 0; c < op.x[2]; ++c) {
                const double p = pre_activation(op.x, op.state, op.weight, op.bias, b, l, c);
                op.y.row<double>(b * op.x[1] + l)[c] = op.silu ? p / (1 + std::exp(-p)) : p;
            }
}

void plain_backward(const CausalConv1dBackward& op) {
    const int64_t length = op.x[1];
    const auto taps = static_cast<int>(op.weight[1]);
    for (int64_t r = 0; r < op.dx.rows(); ++r) std::fill_n(op.dx.row<double>(r), op.dx.columns(), 0.0);
    for (int64_t b = 0; b < op.x[0]; ++b)
        for (int64_t l = 0; l < length; ++l)
            for (int64_t c = 0; c < op.x[2]; ++c) {
                double slope = op.dy.row<double>(b * length + l)[c];
                if (op.silu) {
                    const double p = pre_activation(op.x, {}, op.weight, op.bias, b, l, c), s = 1 / (1 + std::exp(-p));
                    slope *= s * (1 + p * (1 - s));
                }
                for (int k = 0; k < taps; ++k) {
                    const int64_t from = l - (taps - 1) + k;
                    if (from < 0) continue;
                    op.dx.row<double>(b * length + from)[c] += op.weight.row<double>(c)[k] * slope;
                    op.dweight.row<double>(c)[k] += op.x.row<double>(b * length + from)[c] * slope;
                }
                if (op.dbias) op.dbias.as<double>()[c] += slope;
            }
}

// The state becomes the last taps - 1 inputs, some of them older than this call where it is short.
template <class T>
void advance(const View& x, const View& state, int taps, int64_t b) {
    for (int j = 0; j < taps - 1; ++j) {
        const T* from = input_row<T>(x, state, taps, b, x[1] - (taps - 1) + j);
        std::memcpy(state.row<T>(b * (taps - 1) + j), from, static_cast<size_t>(x.columns()) * sizeof(T));
    }
}

void check(const char* name, const View& x, const View& weight, const View& bias, const View& y) {
    require(x.shape.rank() == 3 && y.shape == x.shape && y.dtype == x.dtype, name, "x (B, L, D) and its like");
    require(weight.shape.rank() == 2 && weight[0] == x[2] && weight[1] >= 1 && weight[1] <= max_taps &&
                weight.dtype == x.dtype,
            name, "weight (D, K) with 1 <= K <= 8");
    if (bias) require(bias.size() == x[2] && bias.contiguous() && bias.dtype == x.dtype, name, "bias (D)");
}

Rows rows_of(const View& v) { return {v.as<float>(), v.row_stride}; }

ConvRows rows_of(const View& x, const View& weight, const View& bias, bool silu) {
    ConvRows a;
    a.x = rows_of(x);
    a.weight = weight.as<float>(), a.weight_stride = weight.row_stride, a.bias = bias.as<float>();
    a.length = x[1], a.columns = x[2], a.taps = static_cast<int>(weight[1]), a.silu = silu;
    return a;
}

}  // namespace
}  // namespace cpu

using namespace cpu;

void CpuBackend::causal_conv1d_forward(const CausalConv1dForward& op) {
    constexpr const char* name = "causal_conv1d_forward";
    check(name, op.x, op.weight, op.bias, op.y);
    const auto taps = static_cast<int>(op.weight[1]);
    const bool keep = op.state && taps > 1;
    if (keep)
        require(op.state.shape == Shape({op.x[0], taps - 1, op.x[2]}) && op.state.dtype == op.x.dtype, name,
                "state (B, K - 1, D)");
    require(op.x.data != op.y.data || op.x.size() == 0, name, "an output beside the input");
    dispatch(op.x.dtype, [&](auto zero) {
        using T = decltype(zero);
        if constexpr (std::is_same_v<T, float>) {
            ConvRows a = rows_of(op.x, op.weight, op.bias, op.silu);
            a.y = rows_of(op.y);
            if (keep) a.state = rows_of(op.state);
            parallel_ranges(threads(), op.x.rows(), 1, op.x.size() * 4, [&](int64_t begin, int64_t end) {
                HWY_DYNAMIC_DISPATCH(forward_rows)(a, begin, end);
            });
        } else {
            plain_forward(op);
        }
        if (keep && op.x[1] > 0)
            parallel_ranges(threads(), op.x[0], 1, op.state.size(), [&](int64_t begin, int64_t end) {
                for (int64_t b = begin; b < end; ++b) advance<T>(op.x, op.state, taps, b);
            });
    });
}

void CpuBackend::causal_conv1d_backward(const CausalConv1dBackward& op) {
    constexpr const char* name = "causal_conv1d_backward";
    check(name, op.x, op.weight, op.bias, op.dy);
    check(name, op.dx, op.dweight, op.dbias, op.dx);
    require(op.dx.shape == op.x.shape && op.dx.dtype == op.x.dtype && op.dweight.shape == op.weight.shape, name,
            "gradients shaped like their values");
    require(op.dx.data != op.dy.data || op.dx.size() == 0, name, "dx beside dy");
    if (op.x.dtype == DType::f64) {
        plain_backward(op);
        return;
    }
    const int64_t rows = op.x.rows(), columns = op.x.columns(), slices = slices_of(rows);
    ConvRows a = rows_of(op.x, op.weight, op.bias, op.silu);
    a.dy = rows_of(op.dy), a.dx = rows_of(op.dx);
    const Tensor scratch = zeros({slices, 2 * a.taps, columns}, DType::f32);
    const auto sums_of = [&](int64_t slice) {
        return ConvSums{{scratch.view().row<float>(slice * 2 * a.taps), columns}, a.taps};
    };
    parallel_slices(threads(), rows, slices, op.x.size() * 8, [&](int64_t slice, int64_t begin, int64_t end) {
        HWY_DYNAMIC_DISPATCH(backward_rows)(a, sums_of(slice), begin, end);
    });
    const ConvSums total = sums_of(0);
    for (int64_t slice = 1; slice < slices; ++slice)
        for (int64_t k = 0; k <= a.taps; ++k) {
            const float* from = sums_of(slice).rows[k];
            for (int64_t c = 0; c < columns; ++c) total.rows[k][c] += from[c];
        }
    for (int64_t c = 0; c < columns; ++c) {
        for (int k = 0; k < a.taps; ++k) op.dweight.row<float>(c)[k] += total.tap(k).data[c];
        if (op.dbias) op.dbias.as<float>()[c] += total.bias().data[c];
    }
}

}  // namespace nigiri
#endif
