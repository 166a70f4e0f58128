#include "kernels/cuda/engine/engine_kernel.cuh"

namespace nigiri::cuda::engine {

template struct Kernel<4, 2>;
template struct Kernel<4, 3>;

}  // namespace nigiri::cuda::engine
