// Small things every CPU kernel uses.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>

#include "kernels/error.h"
#include "kernels/tensor.h"

namespace nigiri::cpu {

// Calls f(T{}) with T = float or double.
template <class F>
void dispatch(DType dtype, F&& f) {
    switch (dtype) {
        case DType::f32:
            f(float{});
            return;
        case DType::f64:
            f(double{});
            return;
        default:
            throw Error(std::string("no operation on elements of type ") + name_of(dtype));
    }
}

// A wrong shape is a mistake of the caller; the message names the operation and the rule that was broken.
inline void require(bool holds, const char* operation, const char* rule) {
    if (!holds) throw Error(std::string(operation) + ": expected " + rule);
}

// Work below this many element visits is not worth waking other threads (about 20 microseconds).
inline constexpr int64_t parallel_threshold = 1 << 15;

}  // namespace nigiri::cpu
