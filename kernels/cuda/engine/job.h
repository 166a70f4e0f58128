// What one launch of the engine is given. Pointers are the device's; "mapped" memory is the host's, seen by both.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/engine/packed.h"
#include "kernels/cuda/engine/sampling_controls.h"

namespace nigiri::cuda::engine {

struct Dice {
    uint64_t seed, stream, position;
};

struct DrawEntry {
    int32_t code;  // -1: the network's output was not a number
    float bits;
};

// What the host says while a launch runs. The host's memory answers one question after the other, a microsecond each:
// block 0 asks, and passes on to the device's memory what the others read.
struct alignas(16) HostWord {
    unsigned long long taken;  // samples the host is done with, of all launches
    uint32_t stop;
    uint32_t changes;  // of the controls, so far
};

// The lines are the host's to fill and the device's to read, or the reverse.
struct DrawLink {
    const SamplingControls* host_controls;  // mapped, (streams)
    SamplingControls* controls;             // (streams): those of host_controls as block 0 last saw them
    const HostWord* host;                   // mapped
    HostWord* relay;                        // as block 0 last saw it
    DrawEntry* ring;                  // mapped, [slot][stream]: slots is a power of two; sample t is in slot t % slots
    unsigned long long* made;         // mapped, (blocks): samples that are in the ring
    const Dice* dice;                 // (streams)
    int32_t* codes;                   // (groups, streams of a group): taken in first, and replaced
    uint32_t* agreed;                 // 0 at first: where all blocks stop
    uint32_t* arrived;                // 0 at first: blocks that know of the end
    unsigned long long slots, first;  // first: the launch's first sample as the ring counts
    uint32_t samples;                 // 0: no drawing but one step from codes to logits
    uint32_t publish_every;
};

// Between the blocks of a group, one a stage: what stage i has given the stage below, counted in this launch, what came
// back, and whether that was all.
struct StageLink {
    uint32_t down, up, is_last, unused;
};

struct Job {
    Program program;
    const unsigned char* shared_image;  // program.shared.x bytes
    const Piece* weights;
    const float* constants;
    float* state;  // (groups, program.state_size)
    int32_t groups, streams;
    StageLink* links;  // (groups, stages), 0 at first, where every stage has a block of its own; else null
    uint32_t position;
    float* logits;  // (streams, vocabulary)
    DrawLink draw;
    // Diagnosis: cycles of block 0 in each phase, and in the sampling after them. Null: not wanted.
    unsigned long long* cycles;
};

// The kernel for groups of kStreams, whose activations have kParts parts in the products (columns.h).
template <int kStreams, int kParts>
struct Kernel {
    // Before the first launch. Returns how many blocks a multiprocessor can hold.
    static int prepare(const Program& program);
    // One block is one group of streams at a time; with links block i + groups k is stage k of group i.
    static void launch(const Job& job, int blocks, cudaStream_t stream);
};

}  // namespace nigiri::cuda::engine
