// Builds without CUDA.
#include "kernels/recurrent_engine.h"

namespace nigiri {

std::unique_ptr<RecurrentEngine> make_cuda_engine(const RecurrentProgram&, const CudaEngineOptions&) {
    throw Error("no CUDA device: this build has no CUDA backend", "use --device cpu, or --device auto");
}

}  // namespace nigiri
