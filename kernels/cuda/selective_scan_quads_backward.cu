// The selective scan's backward pass for sixteen real states with selective B and C, as Mamba has them.
#include "kernels/cuda/selective_scan_quads_backward.cuh"
#include "kernels/cuda/selective_scan_quads_plan.h"

namespace nigiri::cuda::scan {
namespace {

template <class T, int kTeams, bool kWhole, int kUnroll>
__global__ void __launch_bounds__(quads::team_threads* kTeams, 1)
    quads_backward_kernel(const __grid_constant__ BackwardOperands p) {
    extern __shared__ __align__(16) unsigned char memory[];
    quads::backward<T, kWhole, kUnroll>(p, memory);
}

}  // namespace

int scan_variant = 0;

template <class T>
bool suits_quads(const BackwardOperands& p) {
    return quads::suits<T>(p, p.checkpoints) && quads::whole(p.dy, 16) && quads::whole(p.du, 16) &&
           quads::whole(p.ddelta, 16) && quads::whole(p.dz, 16);
}
template bool suits_quads<float>(const BackwardOperands&);
template bool suits_quads<bf16>(const BackwardOperands&);

// What is being compared: 0 six teams, 1 eight with fewer registers, 2 six with all channels of a strip unrolled, 3
// four.
inline int teams_of_variant() { return scan_variant == 1 ? 8 : scan_variant == 3 ? 4 : 6; }

template <class T>
Launch plan_quads(BackwardOperands& p, int multiprocessors, cudaStream_t stream) {
    // dB and dC are written and read as float32.
    const quads::Cost cost{450, 1500, 4.0 * sizeof(float) * quads::states, teams_of_variant()};
    return quads::plan(p, cost, multiprocessors, stream,
                       [](const BackwardOperands& q) { return quads::BackwardMemory<T>(q).bytes; });
}
template Launch plan_quads<float>(BackwardOperands&, int, cudaStream_t);
template Launch plan_quads<bf16>(BackwardOperands&, int, cudaStream_t);

template <class T>
void start_quads(const BackwardOperands& p, const Launch& launch) {
    const bool whole = p.z.data != nullptr && p.delta.data != nullptr && p.softplus;
    const auto kernel = !whole            ? quads_backward_kernel<T, 8, false, 1>
                      : scan_variant == 1 ? quads_backward_kernel<T, 8, true, 1>
                      : scan_variant == 2 ? quads_backward_kernel<T, 6, true, 4>
                      : scan_variant == 3 ? quads_backward_kernel<T, 4, true, 1>
                                          : quads_backward_kernel<T, 6, true, 1>;
    start(kernel, launch, p, "the selective scan's backward pass");
}
template void start_quads<float>(const BackwardOperands&, const Launch&);
template void start_quads<bf16>(const BackwardOperands&, const Launch&);

}  // namespace nigiri::cuda::scan
