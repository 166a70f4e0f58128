// What the files of the CPU's selective scan share.
#pragma once

#include "kernels/cpu/cpu_backend.h"
#include "kernels/selective_scan.h"

namespace nigiri::cpu::scan {

inline constexpr int64_t chunk_steps = selective_scan_checkpoint_every;

inline int64_t chunks_of(int64_t length) { return (length + chunk_steps - 1) / chunk_steps; }

// Numbers per state: 1 real, 2 complex.
inline int64_t components(const SelectiveScan& op) { return op.is_complex ? 2 : 1; }

// Plain float64, one thread: the judge of the fast path.
void forward_f64(const SelectiveScanForward& op);
void backward_f64(const SelectiveScanBackward& op);

// float32, vectorised over channels. `backend` lends the work space.
void forward_f32(const SelectiveScanForward& op, CpuBackend& backend);
void backward_f32(const SelectiveScanBackward& op, CpuBackend& backend);

// float32, one time step, vectorised over states: reads the operands as they lie and needs no work space.
bool can_step_f32(const SelectiveScanForward& op);
void step_f32(const SelectiveScanForward& op, int threads);

}  // namespace nigiri::cpu::scan
