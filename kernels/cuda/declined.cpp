// Operations the CUDA backend does not have yet.
#include "kernels/cuda/cuda_backend.h"

namespace nigiri {

namespace {

[[noreturn]] void decline(const char* operation) {
    throw Error(std::string(operation) + " is not available on CUDA", "use --device cpu");
}

}  // namespace

void CudaBackend::fill(const Fill&) { decline("fill"); }
void CudaBackend::copy(const Copy&) { decline("copy"); }
void CudaBackend::add(const Add&) { decline("add"); }
void CudaBackend::shift_forward(const ShiftForward&) { decline("shift_forward"); }
void CudaBackend::shift_backward(const ShiftBackward&) { decline("shift_backward"); }
void CudaBackend::gelu_forward(const GeluForward&) { decline("gelu_forward"); }
void CudaBackend::gelu_backward(const GeluBackward&) { decline("gelu_backward"); }
void CudaBackend::glu_forward(const GluForward&) { decline("glu_forward"); }
void CudaBackend::glu_backward(const GluBackward&) { decline("glu_backward"); }
void CudaBackend::gate_forward(const GateForward&) { decline("gate_forward"); }
void CudaBackend::gate_backward(const GateBackward&) { decline("gate_backward"); }
void CudaBackend::negative_exp_forward(const NegativeExpForward&) { decline("negative_exp_forward"); }
void CudaBackend::negative_exp_backward(const NegativeExpBackward&) { decline("negative_exp_backward"); }
void CudaBackend::embedding_forward(const EmbeddingForward&) { decline("embedding_forward"); }
void CudaBackend::embedding_backward(const EmbeddingBackward&) { decline("embedding_backward"); }
void CudaBackend::linear_forward(const LinearForward&) { decline("linear_forward"); }
void CudaBackend::linear_backward(const LinearBackward&) { decline("linear_backward"); }
void CudaBackend::norm_forward(const NormForward&) { decline("norm_forward"); }
void CudaBackend::norm_backward(const NormBackward&) { decline("norm_backward"); }
void CudaBackend::causal_conv1d_forward(const CausalConv1dForward&) { decline("causal_conv1d_forward"); }
void CudaBackend::causal_conv1d_backward(const CausalConv1dBackward&) { decline("causal_conv1d_backward"); }
void CudaBackend::selective_scan_forward(const SelectiveScanForward&) { decline("selective_scan_forward"); }
void CudaBackend::selective_scan_backward(const SelectiveScanBackward&) { decline("selective_scan_backward"); }
void CudaBackend::cross_entropy(const CrossEntropy&) { decline("cross_entropy"); }
void CudaBackend::adamw(const AdamW&) { decline("adamw"); }
double CudaBackend::sum_of_squares(const View&) { decline("sum_of_squares"); }

}  // namespace nigiri
