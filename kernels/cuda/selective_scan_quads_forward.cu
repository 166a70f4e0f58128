// The selective scan's forward pass for sixteen real states with selective B and C, as Mamba has them.
#include "kernels/cuda/selective_scan_quads_forward.cuh"
#include "kernels/cuda/selective_scan_quads_plan.h"

namespace nigiri::cuda::scan {
namespace {

template <class T, int kTeams, bool kWhole, int kUnroll>
__global__ void __launch_bounds__(quads::team_threads* kTeams, 1)
    quads_forward_kernel(const __grid_constant__ ForwardOperands p) {
    extern __shared__ __align__(16) unsigned char memory[];
    quads::forward<T, kWhole, kUnroll>(p, memory);
}

}  // namespace

template <class T>
bool suits_quads(const ForwardOperands& p) {
    return quads::suits<T>(p, p.checkpoints) && quads::whole(p.y, 16);
}
template bool suits_quads<float>(const ForwardOperands&);
template bool suits_quads<bf16>(const ForwardOperands&);

// What is being compared: 0 eight teams, 2 the same with all channels of a strip unrolled, 3 ten teams.
template <class T>
void start_quads(ForwardOperands& p, int multiprocessors, cudaStream_t stream) {
    const quads::Cost cost{175, 750, 0, scan_variant == 3 ? 10 : 8};
    const Launch launch = quads::plan(p, cost, multiprocessors, stream,
                                      [](const ForwardOperands& q) { return quads::ForwardMemory<T>(q).bytes; });
    const bool whole = p.z.data != nullptr && p.delta.data != nullptr && p.softplus;
    const auto kernel = !whole            ? quads_forward_kernel<T, 10, false, 1>
                      : scan_variant == 2 ? quads_forward_kernel<T, 8, true, 4>
                      : scan_variant == 3 ? quads_forward_kernel<T, 10, true, 1>
                                          : quads_forward_kernel<T, 8, true, 1>;
    start(kernel, launch, p, "the selective scan");
}
template void start_quads<float>(ForwardOperands&, int, cudaStream_t);
template void start_quads<bf16>(ForwardOperands&, int, cudaStream_t);

}  // namespace nigiri::cuda::scan
