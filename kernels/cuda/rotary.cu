// Rotary positions. A thread turns one pair of channels; the angle is reduced to one turn in float64, where positions
// of millions of samples keep their fractions.
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/vector.cuh"
#include "kernels/rotary.h"

namespace nigiri {

using namespace cuda;

namespace {

constexpr int threads = 256;

template <class T>
struct Problem {
    Rows<const T> x;
    Rows<T> y;
    int64_t count, length, first;
    int heads, channels, places;  // places: pairs and, where there is one, the last channel
    float sign;
};

template <class T>
__global__ void __launch_bounds__(threads) rotary_kernel(const Problem<T> p) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x;
    if (i >= p.count) return;
    const int place = static_cast<int>(i % p.places), head = static_cast<int>(i / p.places % p.heads);
    const int64_t row = i / p.places / p.heads;
    const int pairs = p.channels / 2, column = head * p.channels + 2 * place;
    if (place == pairs) {
        store(p.y.at(row, column), load(p.x.at(row, column)));
        return;
    }
    // 10000^(-place / pairs) / (2 pi) turns a position.
    const double rate = exp(-9.210340371976184 * place / pairs) * 0.15915494309189535;
    const double turns = static_cast<double>(p.first + row % p.length) * rate;
    float s, c;
    sincospif(2.0f * static_cast<float>(turns - floor(turns)), &s, &c);
    s *= p.sign;
    const float a = load(p.x.at(row, column)), b = load(p.x.at(row, column + 1));
    store(p.y.at(row, column), a * c - b * s);
    store(p.y.at(row, column + 1), a * s + b * c);
}

}  // namespace

void CudaBackend::rotary(const Rotary& op) {
    constexpr const char* name = "rotary";
    require(op.x.shape.rank() == 3 && op.y.shape == op.x.shape && op.y.dtype == op.x.dtype, name, "x and y (B, L, D)");
    require(op.heads >= 1 && op.x[2] % op.heads == 0, name, "heads that divide the channels");
    if (op.x.size() == 0) return;
    const int64_t channels = op.x[2] / op.heads, places = ceil_div(channels, 2),
                  count = op.x.rows() * op.heads * places;
    dispatch(op.x.dtype, [&](auto zero) {
        using T = decltype(zero);
        const Problem<T> p{Rows<const T>(op.x),
                           Rows<T>(op.y),
                           count,
                           op.x[1],
                           op.first,
                           static_cast<int>(op.heads),
                           static_cast<int>(channels),
                           static_cast<int>(places),
                           op.inverse ? -1.0f : 1.0f};
        rotary_kernel<<<static_cast<unsigned>(ceil_div(count, threads)), threads, 0, stream_>>>(p);
        check_launch(name);
    });
}

}  // namespace nigiri
