// The selective scan's entrance: checks the operands and picks the float64 or the float32 code.
#include "kernels/selective_scan.h"

#include "kernels/cpu/common.h"
#include "kernels/cpu/selective_scan_internal.h"

namespace nigiri {

using namespace cpu::scan;

void CpuBackend::selective_scan_forward(const SelectiveScanForward& op) {
    check_operands(op);
    if (op.u.size() == 0) return;
    if (op.u.dtype == DType::f64) return forward_f64(op);
    cpu::require(op.u.dtype == DType::f32, "selective_scan", "elements of type float32 or float64");
    if (can_step_f32(op))
        step_f32(op, threads());
    else
        forward_f32(op, *this);
}

void CpuBackend::selective_scan_backward(const SelectiveScanBackward& op) {
    check_operands(op);
    if (op.u.size() == 0) return;
    if (op.u.dtype == DType::f64) return backward_f64(op);
    cpu::require(op.u.dtype == DType::f32, "selective_scan", "elements of type float32 or float64");
    backward_f32(op, *this);
}

}  // namespace nigiri
