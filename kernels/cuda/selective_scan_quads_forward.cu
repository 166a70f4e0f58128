// The selective scan's forward pass for sixteen real states with selective B and C, as Mamba has them.
#include "kernels/cuda/selective_scan_quads_forward.cuh"
#include "kernels/cuda/selective_scan_quads_plan.h"

namespace nigiri::cuda::scan {
namespace {

constexpr int most_teams = 8;

template <class T, bool kWhole, int kUnroll>
__global__ void __launch_bounds__(team::team_threads* most_teams, 1)
    team_forward_kernel(const __grid_constant__ ForwardOperands p) {
    extern __shared__ __align__(16) unsigned char memory[];
    team::forward<T, kWhole, kUnroll>(p, memory);
}

}  // namespace

template <class T>
bool suits_teams(const ForwardOperands& p) {
    return team::suits<T>(p, p.checkpoints) && team::whole(p.y, 16);
}
template bool suits_teams<float>(const ForwardOperands&);
template bool suits_teams<bf16>(const ForwardOperands&);

template <class T>
void start_teams(ForwardOperands& p, int multiprocessors, cudaStream_t stream) {
    const team::Cost cost{170, 500, 0, most_teams};
    const Launch launch = team::plan(p, cost, multiprocessors, stream,
                                     [](const ForwardOperands& q) { return team::ForwardMemory<T>(q).bytes; });
    const bool whole = p.z.data != nullptr && p.delta.data != nullptr && p.softplus;
    const auto kernel = scan_variant == 1 ? team_forward_kernel<T, true, 1>
                      : scan_variant == 4 ? team_forward_kernel<T, true, 4>
                      : whole             ? team_forward_kernel<T, true, 2>
                                          : team_forward_kernel<T, false, 1>;
    start(kernel, launch, p, "the selective scan");
}
template void start_teams<float>(ForwardOperands&, int, cudaStream_t);
template void start_teams<bf16>(ForwardOperands&, int, cudaStream_t);

}  // namespace nigiri::cuda::scan
