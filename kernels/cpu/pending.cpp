// Operations still to come; each line goes when its file arrives.
#include "kernels/cpu/cpu_backend.h"

namespace nigiri {

void CpuBackend::selective_scan_forward(const SelectiveScanForward&) { throw Error("pending: selective_scan_forward"); }
void CpuBackend::selective_scan_backward(const SelectiveScanBackward&) { throw Error("pending: selective_scan_backward"); }
void CpuBackend::s4_kernel_forward(const S4KernelForward&) { throw Error("pending: s4_kernel_forward"); }
void CpuBackend::s4_kernel_backward(const S4KernelBackward&) { throw Error("pending: s4_kernel_backward"); }
void CpuBackend::s4_discretize(const S4Discretize&) { throw Error("pending: s4_discretize"); }
void CpuBackend::s4_recurrence(const S4Recurrence&) { throw Error("pending: s4_recurrence"); }

}  // namespace nigiri
