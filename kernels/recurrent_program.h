// A network as one sample needs it: plain float32 numbers in the order of the signal's way, no tensors, no backend.
// Engines (recurrent_engine.h) pack it once for their processor and then run it sample by sample.
//
//   code -> embedding -> stage 0 -> norm -> head -> logits
//   stage i: [down blocks] -> gather factor samples -> pool_down -> stage i + 1 -> pool_up -> one coarse step later,
//   the
//            samples one by one -> + skip -> [up blocks]; the last stage has down blocks only (the centre)
// The skips are model/network.h's: with `skip_layers` one around every block of both ways, else one around the pools
// and one around the blocks of the way up; the centre has one around its blocks.
#pragma once

#include <complex>
#include <cstdint>
#include <vector>

#include "kernels/norm.h"
#include "kernels/selective_scan.h"

namespace nigiri {

struct LinearMap {
    int64_t outputs = 0, inputs = 0;
    std::vector<float> weight;  // (outputs, inputs)
    std::vector<float> bias;    // (outputs) or empty

    explicit operator bool() const { return outputs > 0; }
};

struct NormMap {
    NormKind kind = NormKind::layer;
    double eps = 1e-5;
    int64_t width = 0;
    std::vector<float> weight, bias;  // as norm.h says
};

enum class StateSpaceKind : uint8_t { s4d, s4, s6 };

struct StateSpaceMap {
    StateSpaceKind kind = StateSpaceKind::s4d;
    bool is_complex = true;
    int64_t channels = 0, states = 0;  // D; N stored states a channel
    std::vector<float> skip;           // (D)

    // s4d: y = Re sum_n cbar h + skip u with h = abar h + u, planar (2 or 1, N, D) as s4d_kernel.h's S4dDiscretize.
    std::vector<float> abar, cbar;

    // s4: the diagonal-plus-low-rank step of s4_discrete.h, (D, N) each:
    // h = a h - g Re(sum_n f h) + b u, y = 2 Re(sum_n c h) + skip u, all in float64.
    std::vector<std::complex<double>> a, f, g, b, c;

    // s6: selective_scan.h. A selective delta, B or C is read off u by x_proj, in this order; dt_proj maps delta's
    // dt_rank numbers to channels. A constant B or C is (D, N) or complex (D, N, 2).
    Discretization discretization = Discretization::euler;
    bool selective_b = false, selective_c = false;
    int64_t dt_rank = 0;  // 0: delta is its bias
    LinearMap x_proj, dt_proj;
    std::vector<float> delta_bias;  // (D)
    std::vector<float> poles;       // A: (D, N) or complex (D, N, 2)
    std::vector<float> constant_b, constant_c;
};

enum class BlockStepKind : uint8_t {
    mamba,  // in -> x, z; x = silu(conv x); y = ssm(x) silu(z); out
    s4,     // y = gelu(ssm x); out, then GLU where `glu`
    mlp,    // in, gelu, out
};

// One residual block: x + layer(norm(x)).
struct BlockStep {
    BlockStepKind kind = BlockStepKind::mamba;
    NormMap norm;
    LinearMap in, out;                          // in: mamba, mlp
    int64_t taps = 0;                           // mamba: of the short convolution
    std::vector<float> conv_weight, conv_bias;  // (D, taps), (D)
    bool glu = false;
    StateSpaceMap ssm;  // mamba, s4
    size_t state = 0;   // of StreamState::blocks
};

struct StageProgram {
    int64_t width = 0;
    std::vector<BlockStep> down, up;
    // Of the pool below this stage; absent in the last stage.
    int64_t factor = 0;
    LinearMap pool_down;  // (inner width, factor width): a coarse step's samples in time order
    LinearMap pool_up;    // (factor width, inner width)
};

struct RecurrentProgram {
    int64_t vocabulary = 0;
    bool skip_layers = false;      // the U-Net form, else SaShiMi's
    std::vector<float> embedding;  // (vocabulary, width of stage 0)
    std::vector<StageProgram> stages;
    NormMap norm;
    LinearMap head;
    size_t block_count = 0;

    // Samples after which all stages are at the beginning of a step again.
    int64_t period() const {
        int64_t product = 1;
        for (const StageProgram& s : stages) product *= s.factor > 0 ? s.factor : 1;
        return product;
    }
};

// What one stream remembers between two samples, in the layout of Network's states, so that it can go from the parallel
// pass to an engine, from one engine to another, and be kept to return to.
struct StreamState {
    struct Block {
        std::vector<double> ssm;  // s4d: (2 or 1, N, D); s4: (D, N, 2); s6: (D, N) or (D, N, 2)
        std::vector<float> conv;  // mamba: the last (taps - 1, D) inputs of the short convolution
    };
    int64_t position = 0;                      // samples taken in
    std::vector<Block> blocks;                 // by BlockStep::state
    std::vector<std::vector<float>> down, up;  // one a pool: samples collected, (factor width); its last output
};

}  // namespace nigiri
