#include "kernels/cuda/engine/engine_kernel.cuh"

namespace nigiri::cuda::engine {

template void launch<1>(const Job&, int, cudaStream_t);

}  // namespace nigiri::cuda::engine
