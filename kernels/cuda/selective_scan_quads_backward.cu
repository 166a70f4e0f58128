// The selective scan's backward pass for sixteen real states with selective B and C, as Mamba has them.
#include "kernels/cuda/selective_scan_quads_backward.cuh"
#include "kernels/cuda/selective_scan_quads_plan.h"

namespace nigiri::cuda::scan {
namespace {

constexpr int most_teams = 6;  // more have too few registers, with fewer too little is under way

template <class T, bool kWhole>
__global__ void __launch_bounds__(quads::team_threads* most_teams, 1)
    quads_backward_kernel(const __grid_constant__ BackwardOperands p) {
    extern __shared__ __align__(16) unsigned char memory[];
    quads::backward<T, kWhole>(p, memory);
}

}  // namespace

template <class T>
bool suits_quads(const BackwardOperands& p) {
    return quads::suits<T>(p, p.checkpoints) && quads::whole(p.dy, 16) && quads::whole(p.du, 16) &&
           quads::whole(p.ddelta, 16) && quads::whole(p.dz, 16);
}
template bool suits_quads<float>(const BackwardOperands&);
template bool suits_quads<bf16>(const BackwardOperands&);

template <class T>
Launch plan_quads(BackwardOperands& p, int multiprocessors, cudaStream_t stream) {
    // dB and dC are written and read as float32.
    const quads::Cost cost{450, 1500, 4.0 * sizeof(float) * quads::states, most_teams};
    return quads::plan(p, cost, multiprocessors, stream,
                       [](const BackwardOperands& q) { return quads::BackwardMemory<T>(q).bytes; });
}
template Launch plan_quads<float>(BackwardOperands&, int, cudaStream_t);
template Launch plan_quads<bf16>(BackwardOperands&, int, cudaStream_t);

template <class T>
void start_quads(const BackwardOperands& p, const Launch& launch) {
    const bool whole = p.z.data != nullptr && p.delta.data != nullptr && p.softplus;
    const auto kernel = whole ? quads_backward_kernel<T, true> : quads_backward_kernel<T, false>;
    start(kernel, launch, p, "the selective scan's backward pass");
}
template void start_quads<float>(const BackwardOperands&, const Launch&);
template void start_quads<bf16>(const BackwardOperands&, const Launch&);

}  // namespace nigiri::cuda::scan
