// Engines run a network sample by sample at the speed of the machine: weights packed once, states in place, nothing
// allocated between two samples.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/recurrent_program.h"

namespace nigiri {

// What the matrices of linear maps are kept in; sums are float32 in every case. bf16 and int8 (a scale a row) read half
// and a quarter of the memory, which is what bounds the speed of a single stream.
enum class WeightFormat : uint8_t { f32, bf16, int8 };

class RecurrentEngine {
  public:
    virtual ~RecurrentEngine() = default;

    virtual int64_t streams() const = 0;
    virtual int64_t vocabulary() const = 0;
    virtual std::string description() const = 0;  // "AVX3, 2 threads, bf16"
    virtual size_t weight_bytes() const = 0;      // of packed weights, all stages

    // One sample of every stream: codes (streams) -> logits (streams, vocabulary). Throws Error for a code out of
    // range, or where streams are out of step (set_state); nothing has changed then.
    virtual void advance(const int32_t* codes, float* logits) = 0;

    // Streams begin at position 0 with all states zero.
    virtual StreamState state(int64_t stream) const = 0;
    // Throws Error where the state does not fit the program; nothing has changed then. Streams of one engine keep step:
    // where the positions of two streams differ by anything but whole periods of the program, advance() throws until
    // all are set that have to be. A stream goes on within rounding of what it would have done, and always alike.
    virtual void set_state(int64_t stream, const StreamState& state) = 0;
};

struct CpuEngineOptions {
    int64_t streams = 1;
    WeightFormat weights = WeightFormat::f32;
    int threads = 0;  // the caller's and others that share every sample with it; no bit depends on it; 0: as fits
};

// Throws Error where the options are out of range.
std::unique_ptr<RecurrentEngine> make_cpu_engine(const RecurrentProgram& program, const CpuEngineOptions& options);

}  // namespace nigiri
