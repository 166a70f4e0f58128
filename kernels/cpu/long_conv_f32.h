// The float32 convolution by transforms; the build has one of two: long_conv_lanes.cpp (NIGIRI_FFT=builtin) or
// long_conv_rows.cpp (fftw, kissfft). Operands are checked by the caller.
#pragma once

#include "kernels/cpu/cpu_backend.h"

namespace nigiri::cpu {

void long_conv_forward_f32(CpuBackend& backend, const LongConvForward& op);
void long_conv_backward_f32(CpuBackend& backend, const LongConvBackward& op);

}  // namespace nigiri::cpu
