#include "kernels/cuda/recording.h"

#include <exception>

#include "kernels/cuda/check.h"

namespace nigiri {

namespace cuda {

bool Graph::replay() {
    if (graph_ == nullptr) return false;
    memory_->count_use();
    check(cudaGraphLaunch(graph_, backend_->stream()), "replaying a graph");
    return true;
}

void Graph::drop() {
    if (graph_ == nullptr) return;
    cudaStreamSynchronize(backend_->stream());
    cudaGraphExecDestroy(graph_);
    graph_ = nullptr;
    memory_.reset();
}

namespace {

struct DestroyGraph {
    void operator()(cudaGraph_t graph) const { cudaGraphDestroy(graph); }
};
using CapturedGraph = std::unique_ptr<std::remove_pointer_t<cudaGraph_t>, DestroyGraph>;

// Ready to be launched: what it needs on the device is there.
cudaGraphExec_t executable(const CapturedGraph& captured, cudaStream_t stream) {
    cudaGraphExec_t graph = nullptr;
    check(cudaGraphInstantiateWithFlags(&graph, captured.get(), 0), "making a graph");
    if (const cudaError_t status = cudaGraphUpload(graph, stream); status != cudaSuccess) {
        cudaGraphExecDestroy(graph);
        check(status, "bringing a graph to the device");
    }
    return graph;
}

}  // namespace
}  // namespace cuda

// Relaxed, the capture lets this thread ask for memory and attributes meanwhile, and other threads are not affected.
// What would wait for the stream ends it with an error, which is how `work` that must not be recorded shows.
std::shared_ptr<RecordedWork> CudaBackend::record(const std::function<void()>& work) {
    using namespace cuda;
    if (recording_) throw Error("operations are being recorded already");
    check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed), "beginning to record");
    recording_ = true;
    pool_.begin_reservation();
    std::exception_ptr failure;
    try {
        work();
    } catch (...) {
        failure = std::current_exception();
    }
    cudaGraph_t graph = nullptr;
    const cudaError_t ended = cudaStreamEndCapture(stream_, &graph);
    const CapturedGraph captured(graph);
    recording_ = false;
    std::unique_ptr<BlockPool::Reservation> memory = pool_.end_reservation();
    try {
        if (failure) std::rethrow_exception(failure);
        check(ended, "recording");
        if (memory->missing() > 0) throw Error("memory taken while operations were recorded is still in use");
        const auto self = std::static_pointer_cast<CudaBackend>(shared_from_this());
        auto made = std::make_shared<Graph>(self, executable(captured, stream_), std::move(memory));
        std::erase_if(graphs_, [](const auto& other) { return other.expired(); });
        graphs_.push_back(made);
        return made;
    } catch (...) {
        cudaGetLastError();  // the next launch must not find what ended the capture
        throw;
    }
}

void CudaBackend::drop_graphs() {
    for (const auto& graph : graphs_)
        if (const auto alive = graph.lock()) alive->drop();
    graphs_.clear();
}

}  // namespace nigiri
