// The engine's kernel: a block takes its groups of streams through the network, sample after sample, and draws their
// next codes; blocks wait for each other only where they stop, or where every stage has a block of its own. The host
// reads codes from a ring in its own memory, and says there what it has taken and when to stop.
//
// A stage below needs a coarse step's samples when the last of them enters the stage above, and has until the first
// sample of the next coarse step to answer. With blocks of their own the stages below thus work beside the one above.
#pragma once

#include "kernels/cuda/check.h"
#include "kernels/cuda/engine/device_warp.cuh"

#include "kernels/cuda/engine/host_line.cuh"
#include "kernels/cuda/engine/network_step.h"
#include "kernels/cuda/engine/sampling.h"

namespace nigiri::cuda::engine {

// Flags between blocks. What a block wrote before its last barrier is seen by those that read the flag and, after their
// next barrier, by their whole block, where they read it past the first-level cache (load_if_fresh). An acquiring load
// would empty that cache, which holds the constants of all layers, each time it asks.
__device__ __forceinline__ uint32_t read_flag(const uint32_t* flag) {
    uint32_t r;
    asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(r) : "l"(flag) : "memory");
    return r;
}
__device__ __forceinline__ void write_flag(uint32_t* flag, uint32_t value) {
    asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(flag), "r"(value) : "memory");
}

template <int kStreams, int kParts>
struct DeviceBlock {
    using Warp = DeviceWarp<kParts>;
    Warp warp;
    Registers<Warp, kStreams> registers;
    const Job& job;
    long long* since;           // shared
    StageLink* link = nullptr;  // of this block's stage to the one below, where that has a block of its own
    uint32_t given = 0;

    template <class F>
    __device__ __forceinline__ void phase(F&& f) {
        f(warp, registers);
        __syncthreads();
    }
    template <class F>
    __device__ __forceinline__ void each(F&& f) {
        f(warp, registers);
    }
    __device__ __forceinline__ void ended(int i) {
        if (job.cycles == nullptr || blockIdx.x % static_cast<unsigned>(job.groups) != 0 || threadIdx.x != 0) return;
        const long long now = clock64();
        atomicAdd(job.cycles + i, static_cast<unsigned long long>(now - *since));  // nothing waits for it
        *since = now;
    }
    __device__ __forceinline__ void await_below(int) {
        if (link == nullptr || given == 0) return;
        if (threadIdx.x == 0)
            while (read_flag(&link->up) < given) {
            }
        __syncthreads();
    }
    __device__ __forceinline__ void give_below(int) {
        if (link == nullptr) return;
        ++given;
        if (threadIdx.x == 0) write_flag(&link->down, given);
    }
};

// The blocks agree on the sample to stop before: the furthest that any of them has come to.
__device__ inline uint32_t agree(const DrawLink& draw, uint32_t blocks, uint32_t at) {
    atomicMax(draw.agreed, at);
    __threadfence();
    atomicAdd(draw.arrived, 1u);
    while (*static_cast<volatile uint32_t*>(draw.arrived) < blocks) __nanosleep(200);
    __threadfence();
    return atomicMax(draw.agreed, 0u);
}

template <int kStreams, int kParts>
__global__ void __launch_bounds__(block_warps(kStreams) * warp_lanes, resident_blocks(kStreams))
    engine_kernel(const __grid_constant__ Job job) {
    using Block = DeviceBlock<kStreams, kParts>;
    using Warp = typename Block::Warp;
    constexpr int threads = block_warps(kStreams) * warp_lanes;
    extern __shared__ uint4 shared_words[];
    __shared__ uint32_t shared_limit;
    __shared__ HostLine shared_host;
    __shared__ long long shared_since;
    __shared__ double shared_uniform[kStreams];
    __shared__ SamplingControls shared_controls[kStreams];
    auto* shared = reinterpret_cast<unsigned char*>(shared_words);
    const Program& p = job.program;
    for (uint32_t i = threadIdx.x; i < p.shared.size / sizeof(uint4); i += threads)
        shared_words[i] = i < p.shared.x / sizeof(uint4) ? reinterpret_cast<const uint4*>(job.shared_image)[i]
                                                         : make_uint4(0, 0, 0, 0);
    BlockMemory m(p.shared, shared, job.weights, job.constants);
    Block block{{}, {}, job, &shared_since};
    const int warp = block.warp.index();
    const DrawLink& draw = job.draw;
    const bool draws = draw.samples > 0;
    if (threadIdx.x == 0) {
        shared_since = clock64();
        shared_host.known = {};
        if (draws) shared_host.hear(read_fresh(draw.relay));
    }
    __syncthreads();

    // Blocks of whole networks, or of the first stage.
    const auto outer_blocks = job.links != nullptr ? static_cast<uint32_t>(job.groups) : gridDim.x;
    const int first_group = static_cast<int>(blockIdx.x % outer_blocks),
              part = static_cast<int>(blockIdx.x / outer_blocks);
    const int first_stage = part, last_stage = job.links != nullptr ? part + 1 : p.stages;
    const bool one_group = job.groups <= static_cast<int>(outer_blocks);
    uint32_t step = job.position;
    StageLink* above = nullptr;
    if (job.links != nullptr) {
        StageLink* links = job.links + first_group * p.stages;
        if (part + 1 < p.stages) block.link = links + part;
        if (part > 0) above = links + part - 1;
        for (int i = 0; i < part; ++i) step /= static_cast<uint32_t>(m.stages()[i].factor);
    }
    int32_t* own_codes = m.codes;
    if (one_group && threadIdx.x < kStreams) own_codes[threadIdx.x] = draw.codes[first_group * kStreams + threadIdx.x];
    __syncthreads();

    int loaded = -1;
    uint32_t limit = draws ? draw.samples : 1;
    bool agreed = false;
    for (uint32_t t = 0;; ++t) {
        if (above != nullptr) {
            // A stage with a block of its own: the next coarse step, if there is one.
            if (threadIdx.x == 0) {
                bool is_last = false;
                while (read_flag(&above->down) <= t && !is_last) is_last = read_flag(&above->is_last) != 0;
                shared_limit = read_flag(&above->down);  // all, where that was the last
            }
            __syncthreads();
            if (shared_limit <= t) break;
        } else {
            if (shared_host.known.stop != 0 && !agreed) {
                if (threadIdx.x == 0) shared_limit = agree(draw, outer_blocks, t);
                __syncthreads();
                agreed = true;
                limit = shared_limit < limit ? shared_limit : limit;
            }
            if (t >= limit) break;
        }
        for (int group = first_group; group < job.groups; group += static_cast<int>(outer_blocks)) {
            m.state = job.state + static_cast<size_t>(group) * p.state_size;
            asm("" : "+l"(m.state));  // or its making would be repeated with every access
            m.codes = one_group ? own_codes : draw.codes + group * kStreams;
            // The last warps draw: they have the least to do while the codes are embedded, and make their uniform
            // numbers meanwhile. Controls come from far away.
            const int own = block_warps(kStreams) - 1 - warp, stream = group * kStreams + own;
            const bool draws_stream = draws && part == 0 && own < kStreams && stream < job.streams;
            if (draws_stream) {
                if (Warp::lane() == 0) fetch_async(shared_controls + own, draw.controls + stream);
                const Dice dice = draw.dice[stream];
                const double uniform = random_uniform(dice.seed, dice.stream, dice.position + t);
                if (Warp::lane() == 0) shared_uniform[own] = uniform;
            }
            const bool last_group = group + static_cast<int>(outer_blocks) >= job.groups;
            network_step<kStreams>(block, m, p, first_stage, last_stage, step, loaded, [&](Block& b) {
                if (!draws) {
                    for (int i = static_cast<int>(threadIdx.x); i < kStreams * p.vocabulary; i += threads) {
                        const int s = i / p.vocabulary, code = i % p.vocabulary;
                        if (group * kStreams + s < job.streams)
                            job.logits[static_cast<size_t>(group * kStreams + s) * p.vocabulary + code] =
                                m.logits()[s * p.vocabulary_padded + code];
                    }
                    __syncthreads();
                    return;
                }
                b.phase([&](const Warp&, Registers<Warp, kStreams>&) {
                    if (draws_stream) {
                        if (Warp::lane() == 0) await_fetched();
                        __syncwarp();
                        const Drawn drawn = draw_code<Warp>(m.logits() + own * p.vocabulary_padded, p.vocabulary,
                                                            shared_controls[own], shared_uniform[own]);
                        if (Warp::lane() == 0) {
                            m.codes[own] = drawn.is_valid ? drawn.code : 0;
                            const unsigned long long slot = (draw.first + t) & (draw.slots - 1);
                            *reinterpret_cast<int2*>(draw.ring + slot * static_cast<unsigned>(job.streams) + stream) =
                                make_int2(drawn.is_valid ? drawn.code : -1, __float_as_int(drawn.bits));
                        }
                    }
                    if (last_group && warp == 0) {
                        if (t % HostLine::every == 0) shared_host.ask(draw, job.streams);
                        if (Warp::lane() == 0) shared_host.keep_pace(draw, t);
                    }
                });
                b.ended(p.phases);
            });
        }
        if (above != nullptr && threadIdx.x == 0) write_flag(&above->up, t + 1);
        if (++step == p.wrap) step = 0;
    }
    if (threadIdx.x == 0 && block.link != nullptr) write_flag(&block.link->is_last, 1);
    if (!draws || part > 0) return;
    if (one_group && threadIdx.x < kStreams) draw.codes[first_group * kStreams + threadIdx.x] = own_codes[threadIdx.x];
    if (threadIdx.x != 0) return;
    if (!agreed) {
        atomicMax(draw.agreed, limit);
        __threadfence();
        atomicAdd(draw.arrived, 1u);
    }
    publish(draw.made + blockIdx.x, draw.first + limit);
}

template <int kStreams, int kParts>
int Kernel<kStreams, kParts>::prepare(const Program& program) {
    const auto bytes = static_cast<int>(program.shared.size);
    const void* kernel = reinterpret_cast<const void*>(engine_kernel<kStreams, kParts>);
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
          "preparing the generation kernel");
    // What shared memory does not need is first-level cache.
    const int carveout = resident_blocks(kStreams) * (bytes + 2048) * 100 / (228 * 1024) + 1;
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, carveout < 100 ? carveout : 100),
          "preparing the generation kernel");
    int blocks = 0;
    check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, block_warps(kStreams) * warp_lanes,
                                                        static_cast<size_t>(bytes)),
          "preparing the generation kernel");
    return blocks;
}

template <int kStreams, int kParts>
void Kernel<kStreams, kParts>::launch(const Job& job, int blocks, cudaStream_t stream) {
    // All blocks run at once, or none: they wait for each other where they stop.
    cudaLaunchAttribute together = {};
    together.id = cudaLaunchAttributeCooperative;
    together.val.cooperative = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(static_cast<unsigned>(blocks));
    config.blockDim = dim3(static_cast<unsigned>(block_warps(kStreams) * warp_lanes));
    config.dynamicSmemBytes = job.program.shared.size, config.stream = stream;
    config.attrs = &together, config.numAttrs = 1;
    check(cudaLaunchKernelEx(&config, engine_kernel<kStreams, kParts>, job), "starting the generation kernel");
}

}  // namespace nigiri::cuda::engine
