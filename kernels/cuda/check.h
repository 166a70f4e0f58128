// CUDA's errors as exceptions.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "kernels/error.h"

namespace nigiri::cuda {

inline void check(cudaError_t status, const char* what) {
    if (status != cudaSuccess)
        throw Error(std::string("CUDA failed while ") + what + ": " + cudaGetErrorString(status));
}

// After a launch: a wrong configuration shows at once, a fault inside the kernel at the next wait.
inline void check_launch(const char* operation) { check(cudaGetLastError(), operation); }

}  // namespace nigiri::cuda
