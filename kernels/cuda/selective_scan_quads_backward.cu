// The selective scan's backward pass for sixteen real states with selective B and C, as Mamba has them.
#include "kernels/cuda/selective_scan_quads_backward.cuh"
#include "kernels/cuda/selective_scan_quads_plan.h"

namespace nigiri::cuda::scan {
namespace {

template <class T, int kTeams, bool kWhole, int kPair, bool kExact = sizeof(T) == 4>
__global__ void __launch_bounds__(team::team_threads* kTeams, 1)
    team_backward_kernel(const __grid_constant__ BackwardOperands p) {
    extern __shared__ __align__(16) unsigned char memory[];
    team::backward<T, kWhole, kPair, kExact>(p, memory);
}

}  // namespace

int scan_variant = 0;

template <class T>
bool suits_teams(const BackwardOperands& p) {
    return team::suits<T>(p, p.checkpoints) && team::whole(p.dy, 16) && team::whole(p.du, 16) &&
           team::whole(p.ddelta, 16) && team::whole(p.dz, 16);
}
template bool suits_teams<float>(const BackwardOperands&);
template bool suits_teams<bf16>(const BackwardOperands&);

// What is being compared: 0 two channels at once, 1 the same with exact sums, 2 one channel at once, 3 as 0 with four
// teams and so more registers.
template <class T>
Launch plan_teams(BackwardOperands& p, int multiprocessors, cudaStream_t stream) {
    // dB and dC are written and read as float32.
    const team::Cost cost{250, 1300.0, 4.0 * sizeof(float) * team::states, scan_variant == 3 ? 4 : 6};
    return team::plan(p, cost, multiprocessors, stream, [&](const BackwardOperands& q) {
        return scan_variant == 1 ? team::BackwardMemory<T, true>(q).bytes
                                 : team::BackwardMemory<T, sizeof(T) == 4>(q).bytes;
    });
}
template Launch plan_teams<float>(BackwardOperands&, int, cudaStream_t);
template Launch plan_teams<bf16>(BackwardOperands&, int, cudaStream_t);

template <class T>
void start_teams(const BackwardOperands& p, const Launch& launch) {
    const bool whole = p.z.data != nullptr && p.delta.data != nullptr && p.softplus;
    auto kernel = scan_variant == 1 ? team_backward_kernel<T, 6, true, 2, true>
                : scan_variant == 2 ? team_backward_kernel<T, 6, true, 1>
                : scan_variant == 3 ? team_backward_kernel<T, 4, true, 2>
                                    : team_backward_kernel<T, 6, true, 2>;
    if (!whole)
        kernel = scan_variant == 1 ? team_backward_kernel<T, 6, false, 1, true> : team_backward_kernel<T, 6, false, 1>;
    start(kernel, launch, p, "the selective scan's backward pass");
}
template void start_teams<float>(const BackwardOperands&, const Launch&);
template void start_teams<bf16>(const BackwardOperands&, const Launch&);

}  // namespace nigiri::cuda::scan
