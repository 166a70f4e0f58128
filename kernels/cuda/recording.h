// Recorded operations as a CUDA graph: one launch in place of thousands, and the memory that its kernels were given.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/cuda_backend.h"

namespace nigiri::cuda {

class Graph final : public RecordedWork {
  public:
    // Takes over the executable graph, which has been captured on the backend's stream.
    Graph(std::shared_ptr<CudaBackend> backend, cudaGraphExec_t graph, std::unique_ptr<BlockPool::Reservation> memory)
        : backend_(std::move(backend)), graph_(graph), memory_(std::move(memory)) {}
    ~Graph() override { drop(); }

    bool replay() override;
    // Gives the graph and its memory up. Waits for a replay under way.
    void drop();

  private:
    std::shared_ptr<CudaBackend> backend_;  // outlives the memory
    cudaGraphExec_t graph_;
    std::unique_ptr<BlockPool::Reservation> memory_;
};

}  // namespace nigiri::cuda
