// How a stream chooses its next code, as the device reads it: 16 bytes at once.
#pragma once

#include <cstdint>

namespace nigiri::cuda::engine {

struct alignas(16) SamplingControls {
    float temperature = 1, top_p = 1;
    int32_t top_k = 0;  // 0: all
    int32_t unused = 0;
};

}  // namespace nigiri::cuda::engine
