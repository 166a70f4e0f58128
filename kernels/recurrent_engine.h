// Engines run a network sample by sample at the speed of the machine: weights packed once, states in place, nothing
// allocated between two samples.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/error.h"
#include "kernels/random.h"
#include "kernels/recurrent_program.h"

namespace nigiri {

// What the matrices of linear maps are kept in; sums are float32 in every case. bf16 and int8 (a scale a row) read half
// and a quarter of the memory, which is what bounds the speed of a single stream.
enum class WeightFormat : uint8_t { f32, bf16, int8 };

// How an engine that draws codes itself chooses one: model/sampler.h says what each means.
struct DrawControls {
    double temperature = 1;  // 0: always the likeliest
    int64_t top_k = 0;       // 0: all
    double top_p = 1;
};

struct DrawRequest {
    int64_t samples = 0;         // of every stream
    std::vector<int32_t> codes;  // (streams): the last ones known, taken in first
    std::vector<Random> dice;    // (streams): sample i is chosen by the i-th uniform() from here on
    // How a stream chooses; asked again and again while codes are drawn, so that a change takes effect within a few
    // samples. Called on the thread that called draw().
    std::function<DrawControls(int64_t stream)> controls;
    int64_t ahead = 4096;  // so many samples at most are drawn before the sink has taken the ones before
};

// The next samples of all streams, in order: codes and their surprise, -log2 of their probability under the network
// itself, both (samples, streams). Returning false ends the drawing; the sink still gets the few samples under way.
using DrawSink = std::function<bool(int64_t samples, const int32_t* codes, const float* bits)>;

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

    // Whether draw() is there: an engine that draws codes where it computes logits need not wait for anyone.
    virtual bool can_draw() const { return false; }
    // Draws and takes in codes until the request or the sink ends it; returns how many samples of every stream. The
    // last codes drawn have not been taken in. Throws Error where the network's output is not a number, after the sink
    // got what came before.
    virtual int64_t draw(const DrawRequest&, const DrawSink&) {
        throw Error("the engine " + description() + " does not draw codes itself");
    }
};

struct CpuEngineOptions {
    int64_t streams = 1;
    WeightFormat weights = WeightFormat::f32;
    int threads = 0;  // the caller's and others that share every sample with it; no bit depends on it; 0: as fits
};

// Throws Error where the options are out of range.
std::unique_ptr<RecurrentEngine> make_cpu_engine(const RecurrentProgram& program, const CpuEngineOptions& options);

struct CudaEngineOptions {
    int64_t streams = 1;
    WeightFormat weights = WeightFormat::bf16;  // or f32, for comparisons; sums, states and activations are float32
    int streams_per_block = 0;                  // 1, 2, 4 or 8 share what is read of the weights; 0: as fits
    // Every stage has a block of its own, so that the slower stages work while the first one goes on; else one block
    // runs all. As fits: where there are multiprocessors for it.
    enum class Stages : uint8_t { as_fits, together, apart } stages = Stages::as_fits;
};

// Draws codes itself where the vocabulary has 256 codes or fewer. Throws Error where there is no CUDA device, where the
// options are out of range, and for programs that do not fit its blocks (the hint says so: use the plain path).
std::unique_ptr<RecurrentEngine> make_cuda_engine(const RecurrentProgram& program, const CudaEngineOptions& options);

}  // namespace nigiri
