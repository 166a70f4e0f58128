// Operations still to come; each line goes when its file arrives.
#include "kernels/cpu/cpu_backend.h"

namespace nigiri {

void CpuBackend::selective_scan_forward(const SelectiveScanForward&) { throw Error("pending: selective_scan_forward"); }
void CpuBackend::selective_scan_backward(const SelectiveScanBackward&) { throw Error("pending: selective_scan_backward"); }
void CpuBackend::s4d_kernel_forward(const S4dKernelForward&) { throw Error("pending: s4d_kernel_forward"); }
void CpuBackend::s4d_kernel_backward(const S4dKernelBackward&) { throw Error("pending: s4d_kernel_backward"); }
void CpuBackend::s4d_discretize(const S4dDiscretize&) { throw Error("pending: s4d_discretize"); }
void CpuBackend::s4d_recurrence(const S4dRecurrence&) { throw Error("pending: s4d_recurrence"); }
void CpuBackend::long_conv_forward(const LongConvForward&) { throw Error("pending: long_conv_forward"); }
void CpuBackend::long_conv_backward(const LongConvBackward&) { throw Error("pending: long_conv_backward"); }

}  // namespace nigiri
