// Operations still to come; each line goes when its file arrives.
#include "kernels/cpu/cpu_backend.h"

namespace nigiri {

void CpuBackend::selective_scan_forward(const SelectiveScanForward&) { throw Error("pending: selective_scan_forward"); }
void CpuBackend::selective_scan_backward(const SelectiveScanBackward&) { throw Error("pending: selective_scan_backward"); }

}  // namespace nigiri
