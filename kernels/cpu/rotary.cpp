#include "kernels/rotary.h"

#include <cmath>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/parallel.h"

namespace nigiri {

using namespace cpu;

namespace {

// Cosines and sines of all positions and pairs of a head, (L, pairs) as (cos, sin).
std::vector<double> turns_of(const Rotary& op, int64_t length, int64_t pairs) {
    std::vector<double> turns(static_cast<size_t>(2 * length * pairs));
    const double sign = op.inverse ? -1 : 1;
    for (int64_t i = 0; i < pairs; ++i) {
        const double rate = std::pow(10000.0, -static_cast<double>(i) / static_cast<double>(pairs));
        for (int64_t l = 0; l < length; ++l) {
            const double angle = static_cast<double>(op.first + l) * rate;
            turns[static_cast<size_t>(2 * (l * pairs + i))] = std::cos(angle);
            turns[static_cast<size_t>(2 * (l * pairs + i) + 1)] = sign * std::sin(angle);
        }
    }
    return turns;
}

}  // namespace

void CpuBackend::rotary(const Rotary& op) {
    constexpr const char* name = "rotary";
    require(op.x.shape.rank() == 3 && op.y.shape == op.x.shape && op.y.dtype == op.x.dtype, name, "x and y (B, L, D)");
    require(op.heads >= 1 && op.x[2] % op.heads == 0, name, "heads that divide the channels");
    const int64_t length = op.x[1], channels = op.x[2] / op.heads, pairs = channels / 2;
    const std::vector<double> turns = turns_of(op, length, pairs);
    dispatch(op.x.dtype, [&](auto zero) {
        using T = decltype(zero);
        parallel_ranges(threads(), op.x.rows(), 1, 2 * op.x.size(), [&](int64_t begin, int64_t end) {
            for (int64_t r = begin; r < end; ++r) {
                const double* const row_turns = turns.data() + 2 * (r % length) * pairs;
                for (int64_t h = 0; h < op.heads; ++h) {
                    const T* x = op.x.row<T>(r) + h * channels;
                    T* y = op.y.row<T>(r) + h * channels;
                    for (int64_t i = 0; i < pairs; ++i) {
                        const auto c = static_cast<T>(row_turns[2 * i]), s = static_cast<T>(row_turns[2 * i + 1]);
                        const T a = x[2 * i], b = x[2 * i + 1];
                        y[2 * i] = a * c - b * s;
                        y[2 * i + 1] = a * s + b * c;
                    }
                    if (channels % 2 != 0) y[channels - 1] = x[channels - 1];
                }
            }
        });
    });
}

}  // namespace nigiri
