#include <exception>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/s4_channel.h"
#include "kernels/cpu/s4_parameters.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/s4_recurrence.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace nigiri::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// (re, im) -> (im, re). Vectors of one lane have no pairs; there the loop over single pairs does all the work.
template <class V>
HWY_INLINE V swapped_pairs(V v) {
#if HWY_TARGET == HWY_SCALAR
    return v;
#else
    return hn::Shuffle01(v);
#endif
}

// One channel of one sequence: `length` samples, `stride` elements apart.
template <class T>
void run(const double* HWY_RESTRICT factors, int64_t count, double skip, const T* u, T* y, int64_t length,
         int64_t u_stride, int64_t y_stride, double* HWY_RESTRICT h) {
    const hn::ScalableTag<double> d;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    const int64_t plane = 2 * count, whole = lanes >= 2 ? plane / lanes * lanes : 0;
    const double *a1 = factors, *a2 = a1 + plane, *f = a2 + plane, *g = f + plane, *b = g + plane, *c = b + plane;
    for (int64_t l = 0; l < length; ++l) {
        const auto input = static_cast<double>(u[l * u_stride]);
        auto sum = hn::Zero(d);
        for (int64_t i = 0; i < whole; i += lanes) sum = hn::MulAdd(hn::LoadU(d, f + i), hn::LoadU(d, h + i), sum);
        double s = hn::GetLane(hn::SumOfLanes(d, sum));
        for (int64_t i = whole; i < plane; ++i) s += f[i] * h[i];
        sum = hn::Zero(d);
        const auto minus_s = hn::Set(d, -s), vector_input = hn::Set(d, input);
        for (int64_t i = 0; i < whole; i += lanes) {
            const auto old = hn::LoadU(d, h + i);
            auto x = hn::Mul(hn::LoadU(d, b + i), vector_input);
            x = hn::MulAdd(hn::LoadU(d, g + i), minus_s, x);
            x = hn::MulAdd(hn::LoadU(d, a2 + i), swapped_pairs(old), x);
            x = hn::MulAdd(hn::LoadU(d, a1 + i), old, x);
            hn::StoreU(x, d, h + i);
            sum = hn::MulAdd(hn::LoadU(d, c + i), x, sum);
        }
        double out = hn::GetLane(hn::SumOfLanes(d, sum));
        for (int64_t i = whole; i < plane; i += 2) {
            const double re = h[i], im = h[i + 1];
            h[i] = a1[i] * re + a2[i] * im - g[i] * s + b[i] * input;
            h[i + 1] = a1[i + 1] * im + a2[i + 1] * re - g[i + 1] * s + b[i + 1] * input;
            out += c[i] * h[i] + c[i + 1] * h[i + 1];
        }
        y[l * y_stride] = static_cast<T>(out + skip * input);
    }
}

void run_float(const double* factors, int64_t count, double skip, const float* u, float* y, int64_t length,
               int64_t u_stride, int64_t y_stride, double* h) {
    run(factors, count, skip, u, y, length, u_stride, y_stride, h);
}

void run_double(const double* factors, int64_t count, double skip, const double* u, double* y, int64_t length,
                int64_t u_stride, int64_t y_stride, double* h) {
    run(factors, count, skip, u, y, length, u_stride, y_stride, h);
}

}  // namespace
}  // namespace nigiri::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nigiri {

namespace cpu {

HWY_EXPORT(run_float);
HWY_EXPORT(run_double);

void s4_run_channel(const double* factors, int64_t states, double skip, const float* u, float* y, int64_t length,
                    int64_t u_stride, int64_t y_stride, double* h) {
    HWY_DYNAMIC_DISPATCH(run_float)(factors, states, skip, u, y, length, u_stride, y_stride, h);
}

void s4_run_channel(const double* factors, int64_t states, double skip, const double* u, double* y, int64_t length,
                    int64_t u_stride, int64_t y_stride, double* h) {
    HWY_DYNAMIC_DISPATCH(run_double)(factors, states, skip, u, y, length, u_stride, y_stride, h);
}

namespace {

template <class T>
void discretize_channel(const S4Discretize& op, int64_t d) {
    const S4Channel<T> channel(op, d);
    const int64_t count = channel.count;
    ComplexVector lambda, p, b, c;
    for (int64_t n = 0; n < count; ++n) {
        lambda.push_back(channel.lambda(n));
        p.push_back(channel.p(n));
        b.push_back(channel.b(n));
        c.push_back(channel.c(n));
    }
    const nigiri::S4Discrete layer = s4_discretize(lambda, p, b, channel.dt());
    c = s4_true_c(layer, s4_length_at_rate(op.length, op.rate), c);
    for (int64_t n = 0; n < count; ++n) {
        const auto i = static_cast<size_t>(n);
        s4_put_factors(op.factors.row<double>(6 * d * count), count, n, layer.a[i], layer.f[i], layer.g[i], layer.b[i],
                       c[i]);
    }
}

template <class T>
void recur(const S4Recurrence& op, int threads) {
    const int64_t batch = op.u[0], length = op.u[1], width = op.u[2], count = op.state[2];
    const double* factors = op.factors.as<double>();
    double* state = op.state.as<double>();
    const T* skip = op.skip.as<T>();
    const auto one = [&](int64_t i) {
        const int64_t b = i / width, d = i % width;
        s4_run_channel(factors + d * s4_factors(count), count, skip ? static_cast<double>(skip[d]) : 0.0,
                       op.u.row<T>(b * length) + d, op.y.row<T>(b * length) + d, length, op.u.row_stride,
                       op.y.row_stride, state + 2 * i * count);
    };
    // Without a parallel region where it would not pay: even one of one thread costs as much as a channel's step.
    if (threads == 1 || batch * width * count * length <= parallel_threshold) {
        for (int64_t i = 0; i < batch * width; ++i) one(i);
        return;
    }
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < batch * width; ++i) one(i);
}

}  // namespace
}  // namespace cpu

void CpuBackend::s4_discretize(const S4Discretize& op) {
    using namespace cpu;
    check_s4(op, "s4_discretize");
    const int64_t width = op.c[0], count = op.c[1];
    require(is_shape(op.factors, {width, 6 * count, 2}) && op.factors.dtype == DType::f64 && op.factors.contiguous(),
            "s4_discretize", "contiguous float64 factors (D, 6 N, 2)");
    dispatch(op.c.dtype, [&]<class T>(T) {
        // An exception must not leave a parallel region; the first one is thrown again after it.
        std::exception_ptr failure;
#pragma omp parallel for schedule(static) num_threads(threads()) if (width > 1)
        for (int64_t d = 0; d < width; ++d) try {
                discretize_channel<T>(op, d);
            } catch (...) {
#pragma omp critical(nigiri_s4_discretize)
                if (!failure) failure = std::current_exception();
            }
        if (failure) std::rethrow_exception(failure);
    });
}

void CpuBackend::s4_recurrence(const S4Recurrence& op) {
    using cpu::require;
    const char* name = "s4_recurrence";
    require(op.u.shape.rank() == 3 && op.y.shape == op.u.shape && op.y.dtype == op.u.dtype, name, "u and y (B, L, D)");
    require(op.state.shape.rank() == 4 && op.state[0] == op.u[0] && op.state[1] == op.u[2] && op.state[3] == 2, name,
            "a state (B, D, N, 2)");
    require(op.factors.shape == Shape({op.u[2], 6 * op.state[2], 2}), name, "factors (D, 6 N, 2)");
    require(op.state.contiguous() && op.factors.contiguous(), name, "a contiguous state and contiguous factors");
    require(op.skip.empty() || op.skip.size() == op.u[2], name, "a skip (D)");
    cpu::dispatch(op.u.dtype, [&]<class T>(T) { cpu::recur<T>(op, threads()); });
}

}  // namespace nigiri
#endif
