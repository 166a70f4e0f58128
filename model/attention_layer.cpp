// Causal attention of several heads with rotary positions, as a sequence layer: one map reads queries, keys and values
// off the input. The output map is the block's.
#include "model/state_space.h"

namespace nigiri {

namespace {

class AttentionLayer final : public StateSpace {
  public:
    AttentionLayer(ParameterStore& store, const std::string& prefix, int64_t width, const SsmConfig& config,
                   Random& random)
        : backend_(store.backend()), width_(width), heads_(config.heads) {
        if (width % heads_ != 0)
            throw Error(
                "attention on " + std::to_string(width) + " channels cannot have " + std::to_string(heads_) + " heads",
                "choose a number of heads that divides every width");
        qkv_ = &store.add_linear(prefix + ".qkv.weight", {3 * width, width},
                                 fan_in_uniform(random, 3 * width * width, width));
    }

    Var forward(Tape& tape, const Var& u, const Var* z) const override {
        const auto qkv = tape.split(functions::linear(tape, u, *qkv_, nullptr), {width_, width_, width_});
        const Var q = functions::rotary(tape, qkv[0], heads_), k = functions::rotary(tape, qkv[1], heads_);
        const Var y = functions::attention(tape, heads_, q, k, qkv[2]);
        return z ? functions::gate(tape, y, *z) : y;
    }

    // The turned keys and the values of all inputs, (B, capacity, 2 D).
    LayerState make_state(int64_t batch) const override {
        LayerState state;
        state.carried.push_back(backend_.zeros({batch, 16, 2 * width_}, qkv_->value.dtype()));
        state.taken = 0;
        return state;
    }

    Tensor advance(const Tensor& u, const Tensor& z, LayerState& state) const override {
        const int64_t batch = u[0], length = u[1], past = state.taken;
        // In the parameters' type, as all states are.
        const DType dtype = qkv_->value.dtype();
        Tensor input = u;
        if (u.dtype() != dtype) {
            input = backend_.allocate(u.shape(), dtype);
            backend_.copy({.x = u, .y = input});
        }
        const Tensor qkv = backend_.allocate({batch, length, 3 * width_}, dtype);
        backend_.linear_forward({.x = input, .weight = qkv_->value, .bias = {}, .y = qkv});
        for (const int64_t part : {0, 1}) {
            const Tensor turned = qkv.columns(part * width_, width_);
            backend_.rotary({.heads = heads_, .x = turned, .y = turned, .first = past});
        }
        reserve_rows(backend_, state, length);
        const Tensor& memory = state.carried[0];
        const int64_t row = 2 * width_;
        const Tensor added = backend_.allocate({batch, length, row}, dtype);
        backend_.copy({.x = qkv.columns(width_, row), .y = added});
        backend_.copy({.x = added.reshaped({batch, length * row}),
                       .y = memory.reshaped({batch, memory[1] * row}).columns(past * row, length * row)});
        state.taken += length;
        Tensor y = backend_.allocate({batch, length, width_}, dtype);
        backend_.attention_forward({.heads = heads_,
                                    .q = qkv.columns(0, width_),
                                    .k = memory.columns(0, width_),
                                    .v = memory.columns(width_, width_),
                                    .past = past,
                                    .y = y,
                                    .log_sums = {}});
        if (u.dtype() != dtype) {
            const Tensor narrow = backend_.allocate(u.shape(), u.dtype());
            backend_.copy({.x = y, .y = narrow});
            y = narrow;
        }
        if (z) backend_.gate_forward({.x = y, .z = z, .y = y});
        return y;
    }

    int64_t channels() const override { return width_; }
    bool time_invariant() const override { return false; }
    bool is_state_space() const override { return false; }
    StateSpaceMap describe() const override { throw Error("engines know no attention"); }

  private:
    Backend& backend_;
    int64_t width_, heads_;
    Parameter* qkv_;
};

}  // namespace

std::unique_ptr<StateSpace> make_attention_layer(ParameterStore& store, const std::string& prefix, int64_t width,
                                                 const SsmConfig& config, Random& random) {
    return std::make_unique<AttentionLayer>(store, prefix, width, config, random);
}

}  // namespace nigiri
