// Operations still to come; each line goes when its file arrives.
#include "kernels/cpu/cpu_backend.h"

namespace nigiri {

void CpuBackend::fill(const Fill&) { throw Error("pending: fill"); }
void CpuBackend::copy(const Copy&) { throw Error("pending: copy"); }
void CpuBackend::add(const Add&) { throw Error("pending: add"); }
void CpuBackend::shift_forward(const ShiftForward&) { throw Error("pending: shift_forward"); }
void CpuBackend::shift_backward(const ShiftBackward&) { throw Error("pending: shift_backward"); }
void CpuBackend::gelu_forward(const GeluForward&) { throw Error("pending: gelu_forward"); }
void CpuBackend::gelu_backward(const GeluBackward&) { throw Error("pending: gelu_backward"); }
void CpuBackend::glu_forward(const GluForward&) { throw Error("pending: glu_forward"); }
void CpuBackend::glu_backward(const GluBackward&) { throw Error("pending: glu_backward"); }
void CpuBackend::gate_forward(const GateForward&) { throw Error("pending: gate_forward"); }
void CpuBackend::gate_backward(const GateBackward&) { throw Error("pending: gate_backward"); }
void CpuBackend::negative_exp_forward(const NegativeExpForward&) { throw Error("pending: negative_exp_forward"); }
void CpuBackend::negative_exp_backward(const NegativeExpBackward&) { throw Error("pending: negative_exp_backward"); }
void CpuBackend::embedding_forward(const EmbeddingForward&) { throw Error("pending: embedding_forward"); }
void CpuBackend::embedding_backward(const EmbeddingBackward&) { throw Error("pending: embedding_backward"); }
void CpuBackend::linear_forward(const LinearForward&) { throw Error("pending: linear_forward"); }
void CpuBackend::linear_backward(const LinearBackward&) { throw Error("pending: linear_backward"); }
void CpuBackend::norm_forward(const NormForward&) { throw Error("pending: norm_forward"); }
void CpuBackend::norm_backward(const NormBackward&) { throw Error("pending: norm_backward"); }
void CpuBackend::causal_conv1d_forward(const CausalConv1dForward&) { throw Error("pending: causal_conv1d_forward"); }
void CpuBackend::causal_conv1d_backward(const CausalConv1dBackward&) { throw Error("pending: causal_conv1d_backward"); }
void CpuBackend::s4d_kernel_forward(const S4dKernelForward&) { throw Error("pending: s4d_kernel_forward"); }
void CpuBackend::s4d_kernel_backward(const S4dKernelBackward&) { throw Error("pending: s4d_kernel_backward"); }
void CpuBackend::s4d_discretize(const S4dDiscretize&) { throw Error("pending: s4d_discretize"); }
void CpuBackend::s4d_recurrence(const S4dRecurrence&) { throw Error("pending: s4d_recurrence"); }
void CpuBackend::s4_kernel_forward(const S4KernelForward&) { throw Error("pending: s4_kernel_forward"); }
void CpuBackend::s4_kernel_backward(const S4KernelBackward&) { throw Error("pending: s4_kernel_backward"); }
void CpuBackend::s4_discretize(const S4Discretize&) { throw Error("pending: s4_discretize"); }
void CpuBackend::s4_recurrence(const S4Recurrence&) { throw Error("pending: s4_recurrence"); }
void CpuBackend::long_conv_forward(const LongConvForward&) { throw Error("pending: long_conv_forward"); }
void CpuBackend::long_conv_backward(const LongConvBackward&) { throw Error("pending: long_conv_backward"); }
void CpuBackend::cross_entropy(const CrossEntropy&) { throw Error("pending: cross_entropy"); }
void CpuBackend::adamw(const AdamW&) { throw Error("pending: adamw"); }
double CpuBackend::sum_of_squares(const View&) { throw Error("pending: sum_of_squares"); }

}  // namespace nigiri
