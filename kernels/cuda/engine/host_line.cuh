// How blocks hear from the host while a launch draws, and how it hears from them.
#pragma once

#include "kernels/cuda/engine/job.h"

namespace nigiri::cuda::engine {

// What others write meanwhile: neither cached nor moved by the compiler.
__device__ __forceinline__ uint4 read_fresh(const void* p) {
    uint4 r;
    asm volatile("ld.volatile.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r.x), "=r"(r.y), "=r"(r.z), "=r"(r.w)
                 : "l"(p)
                 : "memory");
    return r;
}
__device__ __forceinline__ void write_fresh(void* p, const uint4& w) {
    asm volatile("st.volatile.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(p), "r"(w.x), "r"(w.y), "r"(w.z), "r"(w.w)
                 : "memory");
}

// 16 bytes of global into shared memory, past the first-level cache; the thread sees them after await_fetched().
__device__ __forceinline__ void fetch_async(void* shared, const void* global) {
    const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
}
__device__ __forceinline__ void await_fetched() { asm volatile("cp.async.wait_all;" ::: "memory"); }

__device__ __forceinline__ void publish(unsigned long long* made, unsigned long long count) {
    __threadfence_system();
    *static_cast<volatile unsigned long long*>(made) = count;
}

// What one warp of a block knows of the host, in shared memory.
struct HostLine {
    static constexpr uint32_t every = 16;  // samples from one question to the next
    HostWord known;

    __device__ __forceinline__ void hear(const uint4& w) {
        const unsigned long long taken = static_cast<unsigned long long>(w.y) << 32 | w.x;
        if (taken > known.taken) known.taken = taken;
        known.stop |= w.z;
        known.changes = w.w;
    }

    // All lanes. Block 0 asks the host, the others what block 0 was told.
    __device__ __forceinline__ void ask(const DrawLink& draw, int streams) {
        const bool first = threadIdx.x % warp_lanes == 0;
        if (blockIdx.x != 0) {
            if (first) hear(read_fresh(draw.relay));
            return;
        }
        const uint4 news = read_fresh(draw.host);
        if (news.w != known.changes) {
            __threadfence_system();
            for (int s = static_cast<int>(threadIdx.x % warp_lanes); s < streams; s += warp_lanes)
                write_fresh(draw.controls + s, read_fresh(draw.host_controls + s));
        }
        __syncwarp();
        if (first) {
            hear(news);
            write_fresh(draw.relay, news);
        }
    }

    // One thread, sample t being drawn: the samples before it are complete, and the next one needs a free slot.
    __device__ __forceinline__ void keep_pace(const DrawLink& draw, uint32_t t) {
        const unsigned long long done = draw.first + t;
        const auto full = [&] { return done + 1 - known.taken >= draw.slots; };
        if (full() || t % draw.publish_every == 0) publish(draw.made + blockIdx.x, done);
        while (full() && known.stop == 0) {
            hear(read_fresh(draw.host));
            if (full()) __nanosleep(500);
        }
    }
};

}  // namespace nigiri::cuda::engine
