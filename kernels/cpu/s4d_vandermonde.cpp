#include "kernels/cpu/s4d_vandermonde.h"

#include <algorithm>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/s4d_vandermonde.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/small_gemm-inl.h"

#ifndef NIGIRI_S4D_VANDERMONDE_ONCE
#define NIGIRI_S4D_VANDERMONDE_ONCE
namespace nigiri::cpu {
namespace {

constexpr int64_t chunk = 64;         // rows of the matrix products at a time: their operands stay in the cache
constexpr double negligible = 1e-30;  // powers below are zero: no denormal number ever enters a product

// Near the square root of the length, so that computing the powers costs little beside the products.
int64_t tile_of(int64_t length) {
    int64_t tile = 32;
    while (tile < 256 && tile * tile < length) tile *= 2;
    return tile;
}

}  // namespace

int64_t s4d_scratch_size(const S4dChannel& c) {
    const int64_t tile = tile_of(c.length), parts = c.is_complex ? 2 : 1, columns = parts * c.modes;
    const int64_t forward = columns * tile + chunk * columns + tile;
    const int64_t backward = 2 * columns * tile + chunk * 2 * columns + tile;
    const int64_t doubles = 4 * c.modes;  // running powers and a^T
    return std::max(forward, backward) + 2 * doubles;
}

}  // namespace nigiri::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace nigiri::cpu {
namespace HWY_NAMESPACE {
namespace {

using Tag = hn::ScalableTag<double>;
using Half = hn::Rebind<float, Tag>;
using V = hn::Vec<Tag>;

// A vector of complex numbers; for real ones the compiler drops what is done to `im`.
template <bool IsComplex>
struct Number {
    V re, im;

    HWY_INLINE static Number load(const double* re, const double* im) {
        const Tag tag;
        return {hn::Load(tag, re), IsComplex ? hn::Load(tag, im) : hn::Zero(tag)};
    }
    HWY_INLINE void store(double* to_re, double* to_im) const {
        const Tag tag;
        hn::Store(re, tag, to_re);
        if constexpr (IsComplex) hn::Store(im, tag, to_im);
    }
    HWY_INLINE Number operator*(const Number& o) const {
        if constexpr (!IsComplex) return {hn::Mul(re, o.re), im};
        return {hn::NegMulAdd(im, o.im, hn::Mul(re, o.re)), hn::MulAdd(im, o.re, hn::Mul(re, o.im))};
    }
    HWY_INLINE Number operator+(const Number& o) const {
        return {hn::Add(re, o.re), IsComplex ? hn::Add(im, o.im) : im};
    }
    HWY_INLINE Number flushed() const {
        const auto size = IsComplex ? hn::Max(hn::Abs(re), hn::Abs(im)) : hn::Abs(re);
        const auto keep = hn::Gt(size, hn::Set(Tag(), negligible));
        return {hn::IfThenElseZero(keep, re), IsComplex ? hn::IfThenElseZero(keep, im) : im};
    }
};

HWY_INLINE void store_float(V x, float* to) { hn::Store(hn::DemoteTo(Half(), x), Half(), to); }

// a^tile by squaring; tile is a power of two.
template <bool IsComplex>
void tile_powers(const S4dChannel& c, int64_t tile, double* step_re, double* step_im) {
    for (int64_t n = 0; n < c.modes; n += static_cast<int64_t>(hn::Lanes(Tag()))) {
        auto p = Number<IsComplex>::load(c.pole_re + n, c.pole_im + n);
        for (int64_t k = 1; k < tile; k *= 2) p = (p * p).flushed();
        p.store(step_re + n, step_im + n);
    }
}

// The right factor of the forward product: rows Re a_n^j for every mode, then Im a_n^j; j < tile along the row.
template <bool IsComplex>
void powers_along_rows(const S4dChannel& c, int64_t tile, float* out) {
    const Tag tag;
    constexpr int64_t lanes = hn::MaxLanes(tag);
    HWY_ALIGN double first_re[lanes], first_im[lanes];
    for (int64_t n = 0; n < c.modes; ++n) {
        const double are = c.pole_re[n], aim = IsComplex ? c.pole_im[n] : 0;
        double re = 1, im = 0;
        for (int64_t j = 0; j < lanes; ++j) {
            first_re[j] = re, first_im[j] = im;
            const double t = re * are - im * aim;
            im = re * aim + im * are, re = t;
        }
        auto p = Number<IsComplex>::load(first_re, first_im);
        const Number<IsComplex> step = {hn::Set(tag, re), hn::Set(tag, im)};
        float* row_re = out + n * tile;
        float* row_im = out + (c.modes + n) * tile;
        for (int64_t j = 0; j < tile; j += lanes) {
            p = p.flushed();
            store_float(p.re, row_re + j);
            if constexpr (IsComplex) store_float(p.im, row_im + j);
            p = p * step;
        }
    }
}

// The left factor: row i holds Re and -Im of w_n a_n^(T i). Goes on from `power` and leaves the next power there.
template <bool IsComplex>
void weighted_powers(const S4dChannel& c, const double* step_re, const double* step_im, double* power_re,
                     double* power_im, int64_t rows, float* out) {
    const int64_t columns = (IsComplex ? 2 : 1) * c.modes;
    for (int64_t n = 0; n < c.modes; n += static_cast<int64_t>(hn::Lanes(Tag()))) {
        const auto step = Number<IsComplex>::load(step_re + n, step_im + n);
        auto p = Number<IsComplex>::load(power_re + n, power_im + n);
        for (int64_t i = 0; i < rows; ++i) {
            p = p.flushed();
            store_float(p.re, out + i * columns + n);
            if constexpr (IsComplex) store_float(hn::Neg(p.im), out + i * columns + c.modes + n);
            p = p * step;
        }
        p.store(power_re + n, power_im + n);
    }
}

template <bool IsComplex>
void forward(const S4dChannel& c, float* scratch, float* kernel) {
    const int64_t tile = tile_of(c.length), columns = (IsComplex ? 2 : 1) * c.modes;
    double* step_re = reinterpret_cast<double*>(scratch);
    double* step_im = step_re + c.modes;
    double* power_re = step_im + c.modes;
    double* power_im = power_re + c.modes;
    float* right = reinterpret_cast<float*>(power_im + c.modes);
    float* left = right + columns * tile;
    float* last = left + chunk * columns;
    tile_powers<IsComplex>(c, tile, step_re, step_im);
    powers_along_rows<IsComplex>(c, tile, right);
    std::copy_n(c.weight_re, c.modes, power_re);
    if constexpr (IsComplex) std::copy_n(c.weight_im, c.modes, power_im);
    const int64_t full = c.length / tile, rest = c.length % tile;
    for (int64_t i = 0; i < full; i += chunk) {
        const int64_t rows = std::min(chunk, full - i);
        weighted_powers<IsComplex>(c, step_re, step_im, power_re, power_im, rows, left);
        small_gemm(left, columns, right, tile, kernel + i * tile, tile, rows, tile, columns);
    }
    if (rest > 0) {
        weighted_powers<IsComplex>(c, step_re, step_im, power_re, power_im, 1, left);
        small_gemm(left, columns, right, tile, last, tile, 1, tile, columns);
        std::copy_n(last, rest, kernel + full * tile);
    }
}

// The right factor of the backward product: row j holds Re a_n^j, Im a_n^j, j Re a_n^j, j Im a_n^j.
template <bool IsComplex>
void powers_along_columns(const S4dChannel& c, int64_t tile, float* out) {
    const Tag tag;
    const int64_t half = (IsComplex ? 2 : 1) * c.modes;
    for (int64_t n = 0; n < c.modes; n += static_cast<int64_t>(hn::Lanes(tag))) {
        const auto step = Number<IsComplex>::load(c.pole_re + n, c.pole_im + n);
        Number<IsComplex> p = {hn::Set(tag, 1.0), hn::Zero(tag)};
        for (int64_t j = 0; j < tile; ++j) {
            float* row = out + j * 2 * half + n;
            const V weight = hn::Set(tag, static_cast<double>(j));
            p = p.flushed();
            store_float(p.re, row);
            store_float(hn::Mul(weight, p.re), row + half);
            if constexpr (IsComplex) {
                store_float(p.im, row + c.modes);
                store_float(hn::Mul(weight, p.im), row + half + c.modes);
            }
            p = p * step;
        }
    }
}

// Adds rows first, first + 1, ... of the product, each times a_n^(T i), to the sums.
template <bool IsComplex>
void reduce_rows(const S4dChannel& c, int64_t tile, const float* product, int64_t first, int64_t rows,
                 const double* step_re, const double* step_im, double* power_re, double* power_im, double* sum_re,
                 double* sum_im, double* moment_re, double* moment_im) {
    const Tag tag;
    const int64_t half = (IsComplex ? 2 : 1) * c.modes;
    const auto read = [&](const float* row) HWY_ATTR -> Number<IsComplex> {
        return {hn::PromoteTo(Tag(), hn::Load(Half(), row)),
                IsComplex ? hn::PromoteTo(Tag(), hn::Load(Half(), row + c.modes)) : hn::Zero(Tag())};
    };
    for (int64_t n = 0; n < c.modes; n += static_cast<int64_t>(hn::Lanes(tag))) {
        const auto step = Number<IsComplex>::load(step_re + n, step_im + n);
        auto p = Number<IsComplex>::load(power_re + n, power_im + n);
        auto sum = Number<IsComplex>::load(sum_re + n, sum_im + n);
        auto moment = Number<IsComplex>::load(moment_re + n, moment_im + n);
        for (int64_t i = 0; i < rows; ++i) {
            const float* row = product + i * 2 * half + n;
            const auto term = p * read(row);
            const V offset = hn::Set(tag, static_cast<double>((first + i) * tile));
            sum = sum + term;
            moment = moment + p * read(row + half);
            moment.re = hn::MulAdd(offset, term.re, moment.re);
            if constexpr (IsComplex) moment.im = hn::MulAdd(offset, term.im, moment.im);
            p = (p * step).flushed();
        }
        p.store(power_re + n, power_im + n);
        sum.store(sum_re + n, sum_im + n);
        moment.store(moment_re + n, moment_im + n);
    }
}

template <bool IsComplex>
void backward(const S4dChannel& c, float* scratch, const float* dkernel, double* sum_re, double* sum_im,
              double* moment_re, double* moment_im) {
    const int64_t tile = tile_of(c.length), columns = (IsComplex ? 4 : 2) * c.modes;
    double* step_re = reinterpret_cast<double*>(scratch);
    double* step_im = step_re + c.modes;
    double* power_re = step_im + c.modes;
    double* power_im = power_re + c.modes;
    float* right = reinterpret_cast<float*>(power_im + c.modes);
    float* product = right + columns * tile;
    tile_powers<IsComplex>(c, tile, step_re, step_im);
    powers_along_columns<IsComplex>(c, tile, right);
    std::fill_n(power_re, c.modes, 1.0);
    std::fill_n(sum_re, c.modes, 0.0);
    std::fill_n(moment_re, c.modes, 0.0);
    if constexpr (IsComplex) {
        std::fill_n(power_im, c.modes, 0.0);
        std::fill_n(sum_im, c.modes, 0.0);
        std::fill_n(moment_im, c.modes, 0.0);
    }
    const auto reduce = [&](int64_t first, int64_t rows) HWY_ATTR {
        reduce_rows<IsComplex>(c, tile, product, first, rows, step_re, step_im, power_re, power_im, sum_re, sum_im,
                               moment_re, moment_im);
    };
    const int64_t full = c.length / tile, rest = c.length % tile;
    for (int64_t i = 0; i < full; i += chunk) {
        const int64_t rows = std::min(chunk, full - i);
        small_gemm(dkernel + i * tile, tile, right, columns, product, columns, rows, columns, tile);
        reduce(i, rows);
    }
    if (rest > 0) {
        small_gemm(dkernel + full * tile, tile, right, columns, product, columns, 1, columns, rest);
        reduce(full, 1);
    }
}

void forward_any(const S4dChannel& c, float* scratch, float* kernel) {
    c.is_complex ? forward<true>(c, scratch, kernel) : forward<false>(c, scratch, kernel);
}

void backward_any(const S4dChannel& c, float* scratch, const float* dkernel, double* sum_re, double* sum_im,
                  double* moment_re, double* moment_im) {
    if (c.is_complex)
        backward<true>(c, scratch, dkernel, sum_re, sum_im, moment_re, moment_im);
    else
        backward<false>(c, scratch, dkernel, sum_re, sum_im, moment_re, moment_im);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace nigiri::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nigiri::cpu {

HWY_EXPORT(forward_any);
HWY_EXPORT(backward_any);

void s4d_kernel_row(const S4dChannel& channel, float* scratch, float* kernel) {
    HWY_DYNAMIC_DISPATCH(forward_any)(channel, scratch, kernel);
}

void s4d_kernel_row_backward(const S4dChannel& channel, float* scratch, const float* dkernel, double* sum_re,
                             double* sum_im, double* moment_re, double* moment_im) {
    HWY_DYNAMIC_DISPATCH(backward_any)(channel, scratch, dkernel, sum_re, sum_im, moment_re, moment_im);
}

}  // namespace nigiri::cpu
#endif
