#include "kernels/cuda/engine/engine_kernel.cuh"

namespace nigiri::cuda::engine {

template struct Kernel<1, 2>;
template struct Kernel<1, 3>;

}  // namespace nigiri::cuda::engine
