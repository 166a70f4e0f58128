// The long convolution of Hyena (Poli et al. 2023) as a sequence layer: y = kernel * u + skip u, the kernel's value at
// a distance being what a network of two hidden layers with sines makes of that distance, under a decaying window. One
// unit of distance is the training length; beyond it the kernel goes on by its formula.
#include <algorithm>
#include <cmath>

#include "model/state_space.h"

namespace nigiri {

namespace {

constexpr int64_t direct_outputs = 64;   // fewer outputs at once than this are summed directly
constexpr int64_t rows_at_once = 16384;  // of the kernel: bounds the memory of its network
constexpr double first_frequency = 1;    // of the sines

class HyenaLayer final : public StateSpace {
  public:
    HyenaLayer(ParameterStore& store, const std::string& prefix, int64_t width, const SsmConfig& config, int64_t length,
               Random& random)
        : backend_(store.backend()),
          dtype_(store.dtype()),
          width_(width),
          features_(1 + 2 * config.filter_bands),
          unit_(static_cast<double>(std::max<int64_t>(1, length))) {
        const int64_t hidden = config.filter_width;
        const auto add = [&](const std::string& name, const Shape& shape, int64_t fan_in) {
            return &store.add(prefix + ".filter." + name, shape, fan_in_uniform(random, shape.size(), fan_in),
                              ParameterGroup::no_decay);
        };
        for (int i = 0; i < 3; ++i) {
            const int64_t inputs = i == 0 ? features_ : hidden;
            weights_[i] = add(std::to_string(i) + ".weight", {hidden, inputs}, inputs);
            biases_[i] = add(std::to_string(i) + ".bias", {hidden}, inputs);
        }
        frequency_ =
            &store.add(prefix + ".filter.frequency", {hidden},
                       std::vector<double>(static_cast<size_t>(hidden), first_frequency), ParameterGroup::no_decay);
        out_ = add("out.weight", {width, hidden}, hidden);
        skip_ = &store.add(prefix + ".D", {width}, normal(random, width, 1.0), ParameterGroup::no_decay);
    }

    Var forward(Tape& tape, const Var& u, const Var* z) const override {
        const Var kernel = functions::filter_window(tape, network(tape, 0, u.shape()[1]), unit_);
        const Var y = functions::long_conv(tape, u, kernel, *skip_);
        return z ? functions::gate(tape, y, *z) : y;
    }

    // All inputs, (B, capacity, D), and of the kernel as many rows, (capacity, D).
    LayerState make_state(int64_t batch) const override {
        LayerState state;
        state.carried.push_back(backend_.zeros({batch, 16, width_}, dtype_));
        state.constants.push_back(kernel_rows(16));
        state.taken = 0;
        return state;
    }

    Tensor advance(const Tensor& u, const Tensor& z, LayerState& state) const override {
        const int64_t batch = u[0], length = u[1], past = state.taken, now = past + length;
        reserve_rows(backend_, state, length);
        const Tensor& memory = state.carried[0];
        const int64_t capacity = memory[1];
        if (state.constants[0][0] < capacity) state.constants[0] = kernel_rows(capacity);
        const Tensor added = backend_.allocate(u.shape(), dtype_);
        backend_.copy({.x = u, .y = added});
        backend_.copy({.x = added.reshaped({batch, length * width_}),
                       .y = memory.reshaped({batch, capacity * width_}).columns(past * width_, length * width_)});
        state.taken = now;
        Tensor y = length < direct_outputs ? direct(state, past, length) : transformed(state, past, length);
        if (u.dtype() != dtype_) {
            const Tensor narrow = backend_.allocate(u.shape(), u.dtype());
            backend_.copy({.x = y, .y = narrow});
            y = narrow;
        }
        if (z) backend_.gate_forward({.x = y, .z = z, .y = y});
        return y;
    }

    int64_t channels() const override { return width_; }
    bool time_invariant() const override { return true; }
    StateSpaceMap describe() const override { throw Error("engines know no long convolution without a state"); }

  private:
    // Distances [first, first + count) -> (count, D), before the window.
    Var network(Tape& tape, int64_t first, int64_t count) const {
        const Tensor features = backend_.allocate({count, features_}, dtype_);
        backend_.filter_features({.first = first, .unit = unit_, .y = features});
        Var x{features};
        for (int i = 0; i < 3; ++i)
            x = functions::filter_sine(tape, functions::linear(tape, x, *weights_[i], biases_[i]), *frequency_);
        return functions::linear(tape, x, *out_, nullptr);
    }

    Tensor kernel_rows(int64_t count) const {
        const Tensor rows = backend_.allocate({count, width_}, dtype_);
        for (int64_t first = 0; first < count; first += rows_at_once) {
            const int64_t some = std::min(rows_at_once, count - first);
            Tape tape(backend_, false);
            const Tensor x = network(tape, first, some).value, y = backend_.allocate(x.shape(), dtype_);
            backend_.filter_window({.first = first, .unit = unit_, .x = x, .y = y});
            backend_.copy({.x = y.reshaped({1, some * width_}),
                           .y = rows.reshaped({1, count * width_}).columns(first * width_, some * width_)});
        }
        return rows;
    }

    Tensor direct(const LayerState& state, int64_t past, int64_t length) const {
        const Tensor& memory = state.carried[0];
        const Tensor y = backend_.allocate({memory[0], length, width_}, dtype_);
        backend_.history_conv({.u = memory, .kernel = state.constants[0], .skip = skip_->value, .past = past, .y = y});
        return y;
    }

    // The whole convolution anew, of which the last outputs are new.
    Tensor transformed(const LayerState& state, int64_t past, int64_t length) const {
        const Tensor& memory = state.carried[0];
        const int64_t batch = memory[0], capacity = memory[1], now = past + length;
        const Tensor u = backend_.allocate({batch, now, width_}, dtype_), all = backend_.allocate(u.shape(), dtype_);
        backend_.copy({.x = memory.reshaped({batch, capacity * width_}).columns(0, now * width_),
                       .y = u.reshaped({batch, now * width_})});
        Tape tape(backend_, false);
        const Tensor kernel = functions::filter_window(tape, network(tape, 0, now), unit_).value;
        backend_.long_conv_forward({.u = u, .kernel = kernel, .skip = skip_->value, .y = all});
        const Tensor y = backend_.allocate({batch, length, width_}, dtype_);
        backend_.copy({.x = all.reshaped({batch, now * width_}).columns(past * width_, length * width_),
                       .y = y.reshaped({batch, length * width_})});
        return y;
    }

    Backend& backend_;
    DType dtype_;
    int64_t width_, features_;
    double unit_;
    Parameter *weights_[3], *biases_[3], *frequency_, *out_, *skip_;
};

}  // namespace

std::unique_ptr<StateSpace> make_hyena_layer(ParameterStore& store, const std::string& prefix, int64_t width,
                                             const SsmConfig& config, int64_t length, Random& random) {
    return std::make_unique<HyenaLayer>(store, prefix, width, config, length, random);
}

}  // namespace nigiri
