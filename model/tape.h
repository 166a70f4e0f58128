// Reverse-mode differentiation over the backend's operations.
//
// A forward pass records, for every result, how its gradient becomes gradients of the operation's inputs; backward()
// runs the records in reverse. Layers are therefore written once, forwards, and every configuration has its gradient.
// Records hold the tensors their backward operation needs and are dropped as soon as they have run. Values that are
// cheap to compute again from others need not be held (selective recomputation, Korthikanti et al. 2022).
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "kernels/backend.h"

namespace nigiri {

// A value that is not held: computed when a backward function first asks for it, and dropped with the last record that
// may ask.
class Recomputed {
  public:
    explicit Recomputed(std::function<Tensor()> compute) : compute_(std::move(compute)) {}
    const Tensor& value() {
        if (!value_) value_ = compute_();
        return value_;
    }

  private:
    std::function<Tensor()> compute_;
    Tensor value_;
};

// A value and, where it needs a gradient, its place on the tape.
struct Var {
    Tensor value;
    int node = -1;
    std::shared_ptr<Recomputed> again = {};  // where the value need not be held

    const Shape& shape() const { return value.shape(); }
    // What a record holds of it, and there, its value.
    Var held() const { return again ? Var{{}, node, again} : *this; }
    Tensor held_value() const { return again ? again->value() : value; }
};

class Tape {
  public:
    // Not recording (generation, evaluation), values are computed and nothing is kept.
    Tape(Backend& backend, bool recording) : backend_(backend), recording_(recording) {}

    Backend& backend() const { return backend_; }
    bool recording() const { return recording_; }

    // Whether values for which `recomputable` says how are computed again rather than held. Off at first.
    void set_recompute(bool recompute) { recompute_ = recompute; }
    // y, which is cheap: `compute` gives the same bits from values that are held in any case.
    Var recomputable(Var y, std::function<Tensor()> compute) const;

    // Records a result. `backward` receives the gradient of the result, contiguous or a column range, and of the
    // result's type, or where it takes `any_type`, possibly of another.
    Var record(Tensor value, std::function<void(const Tensor& dy)> backward, bool any_type = false);

    // Column ranges of x that together cover it. x itself must not be used otherwise: the gradients of the parts are
    // written straight into the columns of x's gradient.
    std::vector<Var> split(const Var& x, const std::vector<int64_t>& columns);

    // Runs all records in reverse, starting with the gradient of `result`, which may be of a narrower type; the tape is
    // empty afterwards.
    void backward(const Var& result, Tensor gradient);

    // For backward functions. reserve() gives memory to write (=) the gradient of v into, commit() adds it to what v
    // has already received. Empty where v needs no gradient: optional outputs of kernels are then left out.
    Tensor reserve(const Var& v);
    void commit(const Var& v, const Tensor& gradient);
    // The gradient v has received so far if it may be added to in place, else empty.
    Tensor accumulated(const Var& v);
    // Passes a gradient on unchanged (shared, not copied; copied only when one of its owners must change it, or where v
    // is of another type).
    void pass(const Var& v, const Tensor& gradient);

  private:
    struct Node {
        std::function<void(const Tensor&)> backward;
        Tensor gradient;
        bool ready = false;  // gradient holds a value
        bool any_type = false;
        bool in_rows = false;  // the value's rows begin on 16 bytes, and so do the gradient's
        Shape shape;
        DType dtype = DType::f32;
        int parent = -1;  // split: the node whose gradient's columns these are
        int64_t first_column = 0;
        std::vector<int> parts;  // split: the children
    };

    Tensor storage(int node);

    Backend& backend_;
    bool recording_, recompute_ = false;
    std::vector<Node> nodes_;
};

}  // namespace nigiri
