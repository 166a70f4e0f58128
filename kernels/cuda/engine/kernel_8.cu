#include "kernels/cuda/engine/engine_kernel.cuh"

namespace nigiri::cuda::engine {

template struct Kernel<8, 2>;
template struct Kernel<8, 3>;

}  // namespace nigiri::cuda::engine
