// How the selective scan's work is cut into blocks and clusters.
#include <algorithm>
#include <array>

#include "kernels/cuda/selective_scan.cuh"

namespace nigiri::cuda::scan {
namespace {

__global__ void probe_kernel(int) {}

}  // namespace

int clusters_at_once(int span, int multiprocessors) {
    if (span == 1) return multiprocessors;
    static std::array<int, 9> known{};  // writing the same answer twice does no harm
    int& count = known[static_cast<size_t>(span)];
    if (count > 0) return count;
    check(cudaFuncSetAttribute(reinterpret_cast<const void*>(probe_kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(shared_memory)),
          "asking how many clusters fit");
    cudaLaunchConfig_t config{};
    config.gridDim = static_cast<unsigned>(span);
    config.blockDim = 512;
    config.dynamicSmemBytes = shared_memory;
    cudaLaunchAttribute cluster{};
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim.x = static_cast<unsigned>(span);
    cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
    config.attrs = &cluster;
    config.numAttrs = 1;
    int answer = 0;
    check(cudaOccupancyMaxActiveClusters(&answer, probe_kernel, &config), "asking how many clusters fit");
    return count = std::max(1, answer);
}

Rows rows_of(const View& v) {
    if (!v) return {};
    require(v.row_stride < int64_t{1} << 31, "selective_scan", "rows less than 2^31 elements apart");
    const auto place = reinterpret_cast<uintptr_t>(v.data) | static_cast<size_t>(v.row_stride) * size_of(v.dtype);
    const int vector = place % 16 == 0 ? 16 : place % 8 == 0 ? 8 : place % 4 == 0 ? 4 : 0;
    return {v.data, static_cast<int>(v.row_stride), vector};
}

States states_of(const View& v, const SelectiveScan& op) {
    if (!v) return {};
    if (!op.is_complex) return {v.as<float>(), v.row_stride, 1};
    return {v.as<float>(), op.a[1] * v.row_stride, v.row_stride};
}

States number_rows_of(const View& v, const SelectiveScan& op) {
    if (!v) return {};
    return {v.as<float>(), v.row_stride, op.is_complex ? 2 : 1};
}

Operands operands_of(const SelectiveScan& op) {
    require(op.u[2] < (1 << 30) && op.a[1] < (1 << 20), "selective_scan", "fewer channels and states");
    Operands p{};
    p.batch = op.u[0], p.length = op.u[1], p.channels = static_cast<int>(op.u[2]);
    p.slices = ceil_div(p.length, slice_steps);
    p.numbers = static_cast<int>(op.is_complex ? 2 * op.a[1] : op.a[1]);
    p.padded = p.numbers + p.numbers % 2;
    p.softplus = op.softplus, p.selective_b = op.selective_b, p.selective_c = op.selective_c;
    const auto width_allows = [&](Rows rows, int width) {  // no vector may reach over the end of a row
        const int bytes = width * static_cast<int>(size_of(op.u.dtype));
        while (rows.vector > 0 && bytes % rows.vector != 0) rows.vector = rows.vector > 4 ? rows.vector / 2 : 0;
        return rows;
    };
    p.u = width_allows(rows_of(op.u), p.channels), p.delta = width_allows(rows_of(op.delta), p.channels);
    p.z = width_allows(rows_of(op.z), p.channels);
    p.a = states_of(op.a, op);
    if (op.selective_b)
        p.b = width_allows(rows_of(op.b), p.numbers);
    else
        p.constant_b = states_of(op.b, op);
    if (op.selective_c)
        p.c = width_allows(rows_of(op.c), p.numbers);
    else
        p.constant_c = states_of(op.c, op);
    p.delta_bias = op.delta_bias.as<float>(), p.skip = op.skip.as<float>();
    return p;
}

Launch plan(Operands& p, int64_t states, const Budget& budget, int multiprocessors, cudaStream_t stream) {
    const auto bytes = [&](int groups, int rounds) {
        return groups * rounds * budget.bytes_per_warp + rounds * budget.bytes_per_round +
               groups * budget.bytes_per_group;
    };
    require(bytes(1, 1) <= shared_memory, "selective_scan", "fewer states: they do not fit into shared memory");
    const double work = static_cast<double>(states) + budget.slice_states;
    // The time of all blocks that a multiprocessor gets. A value handed on takes some 200 clocks to the next
    // warp and 1000 to one on another multiprocessor.
    const auto clocks_of = [&](int groups, int rounds, int span) {
        const double hops = rounds * span * 200.0 + (span > 1 ? span * 800.0 : 0.0);
        const double turn = std::max({groups * rounds * work * budget.clocks, work * budget.latency, hops});
        const int64_t clusters = p.batch * ceil_div(p.channels, lane_channels * groups);
        const int64_t waves = ceil_div(clusters, clusters_at_once(span, multiprocessors));
        return static_cast<double>(waves) * (static_cast<double>(ceil_div(p.slices, rounds * span)) * turn + hops);
    };
    double best = 0;
    for (const int groups : {4, 2, 1, 8})
        for (int span = 1; span <= 8; ++span) {
            if (groups > 1 && groups / 2 * lane_channels >= p.channels) continue;
            int rounds = static_cast<int>(std::min<int64_t>(budget.warps / groups, ceil_div(p.slices, span)));
            while (rounds > 0 && bytes(groups, rounds) > shared_memory) --rounds;
            if (rounds == 0) continue;
            const double clocks = clocks_of(groups, rounds, span);
            if (best > 0 && clocks >= 0.99 * best) continue;
            best = clocks;
            p.groups = groups, p.rounds = rounds, p.span = span;
        }
    p.blocks = static_cast<int>(ceil_div(p.channels, lane_channels * p.groups));
    const int64_t blocks = p.batch * p.blocks * p.span;
    require(blocks < int64_t{1} << 31, "selective_scan", "a smaller batch");
    return {stream, blocks, 32 * p.groups * p.rounds, p.span, bytes(p.groups, p.rounds)};
}

}  // namespace nigiri::cuda::scan
