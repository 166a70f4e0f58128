// The selective scan for sixteen real states with selective B and C.
#pragma once

#include "kernels/cuda/selective_scan_gradients.cuh"

namespace nigiri::cuda::scan {

// Whether the operands, beside being of that kind, can be read and written by vectors, and these kernels are the faster
// ones. The forward pass is for bfloat16 only.
template <class T>
bool suits_quads(const ForwardOperands& p);
template <class T>
bool suits_quads(const BackwardOperands& p);

template <class T>
void start_quads(ForwardOperands& p, int multiprocessors, cudaStream_t stream);

// Chooses strips (groups), teams (rounds) and span and writes them to `p`.
template <class T>
Launch plan_quads(BackwardOperands& p, int multiprocessors, cudaStream_t stream);
template <class T>
void start_quads(const BackwardOperands& p, const Launch& launch);

}  // namespace nigiri::cuda::scan
