// cuFFT's plans, made once for each kind, length and number of rows and kept. Their work areas come from the
// backend's pool for the time of one call. All transforms are in place: rows of n reals in the room of n / 2
// + 1 complex numbers, one row after the other.
#pragma once

#include <cufft.h>

#include <map>
#include <mutex>
#include <tuple>

#include "kernels/backend.h"

namespace nigiri::cuda {

enum class Transform : uint8_t { complex_f32, complex_inverse_f32, real_f64, real_inverse_f64 };

class FftPlans {
  public:
    FftPlans() = default;
    ~FftPlans();
    FftPlans(const FftPlans&) = delete;
    FftPlans& operator=(const FftPlans&) = delete;

    // Neither direction is scaled: forward and back multiplies by n.
    void run(Backend& backend, cudaStream_t stream, Transform kind, int64_t n, int64_t rows, void* data);

  private:
    struct Plan {
        cufftHandle handle = 0;
        size_t work_bytes = 0;
    };
    const Plan& find(cudaStream_t stream, Transform kind, int64_t n, int64_t rows);

    std::mutex mutex_;
    std::map<std::tuple<Transform, int64_t, int64_t>, Plan> plans_;
};

// The smallest length of at least n (and 16) with factors 2, 3 and 5 only, the odd ones at most 15 together.
int64_t good_transform_length(int64_t n);

}  // namespace nigiri::cuda
