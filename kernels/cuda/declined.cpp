// Operations the CUDA backend does not have yet.
#include "kernels/cuda/cuda_backend.h"

namespace nigiri {

namespace {

[[noreturn]] void decline(const char* operation) {
    throw Error(std::string(operation) + " is not available on CUDA", "use --device cpu");
}

}  // namespace

void CudaBackend::s4d_kernel_forward(const S4dKernelForward&) { decline("s4d_kernel_forward"); }
void CudaBackend::s4d_kernel_backward(const S4dKernelBackward&) { decline("s4d_kernel_backward"); }
void CudaBackend::s4d_discretize(const S4dDiscretize&) { decline("s4d_discretize"); }
void CudaBackend::s4d_recurrence(const S4dRecurrence&) { decline("s4d_recurrence"); }
void CudaBackend::s4_kernel_forward(const S4KernelForward&) { decline("s4_kernel_forward"); }
void CudaBackend::s4_kernel_backward(const S4KernelBackward&) { decline("s4_kernel_backward"); }
void CudaBackend::s4_discretize(const S4Discretize&) { decline("s4_discretize"); }
void CudaBackend::s4_recurrence(const S4Recurrence&) { decline("s4_recurrence"); }
void CudaBackend::long_conv_forward(const LongConvForward&) { decline("long_conv_forward"); }
void CudaBackend::long_conv_backward(const LongConvBackward&) { decline("long_conv_backward"); }

}  // namespace nigiri
