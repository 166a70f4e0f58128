// Attention of rows that continue a sequence, one or many: no library, so that lengths that grow from call to call cost
// no plans.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/attention.h"
#include "kernels/cuda/cuda_backend.h"

namespace nigiri::cuda {

// The operands have been checked. Scratch memory is the backend's.
void attend_rows(CudaBackend& backend, const AttentionForward& op);

}  // namespace nigiri::cuda
