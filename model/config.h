// Everything that defines a network and a training run. Every combination is a value of these structs, not a code path.
// As JSON it travels in checkpoints; as options it stands in a run's config.toml.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/norm.h"
#include "kernels/selective_scan.h"

namespace nigiri {

enum class SsmKind : uint8_t {
    s4d,        // diagonal, time-invariant, trained through FFT convolution
    s4,         // diagonal plus low rank (HiPPO-LegS), time-invariant
    s6,         // selective: parameters depend on the input, trained through a scan
    hyena,      // a long convolution with an implicit kernel: the values of a small network at every distance
    attention,  // causal softmax attention of several heads, with rotary positions
};

// Whether a layer of this kind remembers all of its inputs, so that its state grows with the length. The others' states
// are constant in size.
bool remembers_all(SsmKind kind);

// Starting values of A (model initialisations of the S4D paper). `legs` with kind s4 is the original HiPPO-LegS;
// `random` is another draw for every channel, for real and complex layers (model/initialization.h).
enum class SsmInit : uint8_t { lin, inv, legs, real, random };

struct SsmConfig {
    SsmKind kind = SsmKind::s4d;
    bool is_complex = true;
    // N. A complex layer stores N / 2 conjugate halves, a real one N numbers a channel.
    int64_t state = 64;
    SsmInit init = SsmInit::lin;
    Discretization discretization = Discretization::zoh;
    double dt_min = 1e-3, dt_max = 0.1;
    // Time-invariant layers: independent copies of A and B, shared in turn by the channels; 0 means one a channel.
    int64_t copies = 0;
    // S6 only.
    bool selective_delta = true, selective_b = true, selective_c = true;
    int64_t dt_rank = 0;  // 0 means ceil(width / 16)
    // Attention only; divides the layer's channels.
    int64_t heads = 8;
    // Hyena only: the width of the kernel's network, and the frequencies of the positions that it is given.
    int64_t filter_width = 64, filter_bands = 16;

    int64_t stored_states() const { return is_complex ? state / 2 : state; }
    bool operator==(const SsmConfig&) const = default;
};

enum class BlockKind : uint8_t {
    mamba,   // gated, with a short convolution
    s4_mlp,  // SaShiMi's pair: the layer with its output map, then an MLP
    plain,   // the layer with its output map, no gate
    h3,      // the layer between two products: q * layer(shift(k) * v)
};

struct LayerConfig {
    BlockKind block = BlockKind::mamba;
    SsmConfig ssm;
    int64_t expand = 2;      // Mamba, H3: inner width / width
    int64_t conv_width = 4;  // Mamba, H3: taps of the short convolution
    int64_t ff_expand = 2;   // S4+MLP: inner width of the MLP / width; 0 leaves the MLP out
    bool glu = true;         // S4+MLP: output linear to twice the width and GLU, else plain linear

    bool operator==(const LayerConfig&) const = default;
};

enum class UNetForm : uint8_t {
    sashimi,  // blocks on the way up only
    unet,     // blocks on both ways, one skip around every layer
};

struct ModelConfig {
    int64_t vocabulary = 256;
    int64_t width = 64;                   // D of the outermost stage
    int64_t layers = 8;                   // layers a stage (an S4+MLP layer is the pair)
    std::vector<int64_t> pools = {4, 4};  // none: isotropic, all layers are the centre's
    int64_t pool_expand = 2;              // width grows by this factor at each pool
    UNetForm form = UNetForm::sashimi;
    NormKind norm = NormKind::layer;
    double norm_eps = 1e-5;
    bool tied_head = false;  // the head's weight is the embedding
    LayerConfig outer;       // every stage but the innermost
    LayerConfig centre;

    int64_t pool_product() const;  // coarsest step in samples
    bool operator==(const ModelConfig&) const = default;
};

enum class Schedule : uint8_t { cosine, plateau, constant };

// What layers compute in: float32, or bfloat16 between float32 norms and residuals. `automatic` is bf16 where the
// backend has it. Parameters, states and logits are float32 in either case.
enum class Precision : uint8_t { automatic, f32, bf16 };

struct TrainingConfig {
    int64_t batch = 1;
    int64_t length = 16384;
    int64_t steps = 0;   // 0: no limit by steps
    double minutes = 0;  // 0: no limit by time
    double learning_rate = 2e-3;
    double state_space_rate = 1e-3;
    double beta1 = 0.9, beta2 = 0.95, eps = 1e-8;
    double weight_decay = 0.1;
    double clip = 1.0;  // gradient norm; 0: none
    Precision precision = Precision::automatic;
    bool recompute = false;        // keep only what enters a layer; compute the rest again in the backward pass
    bool recompute_cheap = false;  // the same for what costs little: norms, gates, short convolutions
    bool graph = true;             // record a step's operations once and replay them, where the backend can
    Schedule schedule = Schedule::cosine;
    double warmup = 0.1;       // share of the steps (cosine) or of `steps` where known
    double final_rate = 0.02;  // cosine: where it ends, as a share of the peak
    double plateau_factor = 0.2;
    int64_t plateau_patience = 20;
    uint64_t seed = 0;
    int64_t log_every = 10;
    int64_t validate_every = 200;
    int64_t validation_segments = 8;
    int64_t checkpoint_every = 200;
    int64_t preview_every = 1000;
    double preview_seconds = 1;

    bool operator==(const TrainingConfig&) const = default;
};

// How samples become codes; kept with the model because it must be the same when generating.
struct SignalConfig {
    int sample_rate = 16000;
    std::string quantization = "mu-law";  // or "linear"
    std::string scaling = "full-scale";   // or "segment-minmax"

    bool operator==(const SignalConfig&) const = default;
};

struct Config {
    ModelConfig model;
    TrainingConfig training;
    SignalConfig signal;

    bool operator==(const Config&) const = default;
};

// Layers by name: mamba-s4, mamba-s6, s4-mlp, attention-mlp and their variants. Throws Error on an unknown name.
LayerConfig layer_by_name(const std::string& name);
const std::vector<std::string>& layer_names();
// The name of a layer that equals a named one, else a description such as "mamba-s4 (modified)".
std::string layer_name(const LayerConfig& layer);
std::string layer_name(const ModelConfig& model);  // "mamba-s4", or "OUTER/CENTRE" where they differ

// tiny, small, base, base-unet, paper-youtubemix, large.
Config preset_by_name(const std::string& name);
const std::vector<std::string>& preset_names();

// Throws Error naming the first field that makes no sense or exceeds its limit (files are untrusted).
void validate(const Config& config);

std::string to_json(const Config& config);
// Unknown fields and wrong types are errors; missing fields keep their defaults. The result is validated.
Config config_from_json(const std::string& text);

// Names of the enums as they stand in JSON and options.
std::string to_string(SsmKind);
std::string to_string(SsmInit);
std::string to_string(Discretization);
std::string to_string(BlockKind);
std::string to_string(UNetForm);
std::string to_string(NormKind);
std::string to_string(Schedule);
std::string to_string(Precision);
Precision precision_by_name(const std::string& name);  // auto, f32 or bf16; throws Error on another

}  // namespace nigiri
