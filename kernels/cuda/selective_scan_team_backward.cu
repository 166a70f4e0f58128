// The selective scan's backward pass for sixteen real states with selective B and C, as Mamba has them.
#include "kernels/cuda/selective_scan_team_plan.h"
#include "kernels/cuda/selective_scan_team_backward.cuh"

namespace nigiri::cuda::scan {
namespace {

template <class T, int kTeams, bool kWhole, int kUnroll, bool kExact = sizeof(T) == 4, bool kLean = false>
__global__ void __launch_bounds__(team::team_threads* kTeams, 1)
    team_backward_kernel(const __grid_constant__ BackwardOperands p) {
    extern __shared__ __align__(16) unsigned char memory[];
    team::backward<T, kWhole, kUnroll, kExact, kLean>(p, memory);
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

// Variants with less shared memory for a team, so that eight fit.
template <class T>
constexpr bool may_be_lean = sizeof(T) == 2;
inline bool lean() { return scan_variant == 7 || scan_variant == 8; }

template <class T>
Launch plan_teams(BackwardOperands& p, int multiprocessors, cudaStream_t stream) {
    // dB and dC are written and read as float32.
    const bool is_lean = may_be_lean<T> && lean() && p.z.data != nullptr && p.delta.data != nullptr && p.softplus;
    const team::Cost cost{370, is_lean ? 1700.0 : 1300.0, 4.0 * sizeof(float) * team::states, is_lean ? 8 : 6};
    return team::plan(p, cost, multiprocessors, stream, [&](const BackwardOperands& q) {
        return is_lean ? team::BackwardMemory<T, true>(q).bytes : team::BackwardMemory<T>(q).bytes;
    });
}
template Launch plan_teams<float>(BackwardOperands&, int, cudaStream_t);
template Launch plan_teams<bf16>(BackwardOperands&, int, cudaStream_t);

template <class T>
void start_teams(const BackwardOperands& p, const Launch& launch) {
    const bool whole = p.z.data != nullptr && p.delta.data != nullptr && p.softplus;
    auto kernel = scan_variant == 1 ? team_backward_kernel<T, 6, true, 1>
                : scan_variant == 4 ? team_backward_kernel<T, 6, true, 4>
                : scan_variant == 5 ? team_backward_kernel<T, 6, true, 2, true>
                                    : team_backward_kernel<T, 6, true, 2>;
    if (!whole) kernel = team_backward_kernel<T, 6, false, 1>;
    if constexpr (may_be_lean<T>)
        if (whole && lean())
            kernel = scan_variant == 7 ? team_backward_kernel<T, 8, true, 2, false, true>
                                       : team_backward_kernel<T, 8, true, 1, false, true>;
    start(kernel, launch, p, "the selective scan's backward pass");
}
template void start_teams<float>(const BackwardOperands&, const Launch&);
template void start_teams<bf16>(const BackwardOperands&, const Launch&);

}  // namespace nigiri::cuda::scan
