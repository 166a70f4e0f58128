// The trainable numbers of a network, by name.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/recurrent_program.h"

namespace nigiri {

// How the optimizer treats a parameter (the papers' groups).
enum class ParameterGroup : uint8_t {
    decay,        // matrices: the run's rate, with weight decay
    no_decay,     // norms, biases, skips, A of S6: the run's rate, no decay
    state_space,  // A, B, dt (and P) of S4: their own rate, no decay
};

struct Parameter {
    std::string name;
    Tensor value;
    Tensor gradient;  // same shape; backward passes add to it
    ParameterGroup group = ParameterGroup::decay;
    bool linear = false;  // of a linear map
    // Of linear maps while the activations are bf16: the value rounded to bf16, made once a step rather than once a
    // product.
    Tensor rounded;

    const Tensor& for_products(DType dtype) const { return dtype == DType::bf16 && rounded ? rounded : value; }
};

// A parameter's value and gradient as operands; empty where there is no such parameter.
inline View view_of(const Parameter* p) { return p ? p->value.view() : View{}; }
inline View gradient_of(const Parameter* p) { return p ? p->gradient.view() : View{}; }

// Owns the parameters in the order of their creation. References stay valid.
class ParameterStore {
  public:
    ParameterStore(std::shared_ptr<Backend> backend, DType dtype)
        : backend_(std::move(backend)), dtype_(dtype), activations_(dtype) {}
    ParameterStore(const ParameterStore&) = delete;  // layers keep pointers to their store
    ParameterStore& operator=(const ParameterStore&) = delete;

    Backend& backend() const { return *backend_; }
    const std::shared_ptr<Backend>& shared_backend() const { return backend_; }
    DType dtype() const { return dtype_; }  // of parameters, the residual stream, states and logits
    // Of what layers compute with between the norms and the residual stream: dtype(), or bf16 where the backend has it.
    DType activations() const { return activations_; }
    void set_activations(DType dtype);
    // Whoever writes values says so, unless the rounded ones were written with them; refresh() then rounds them anew.
    void values_changed() { fresh_ = false; }
    void refresh() const;

    // Adds a parameter whose initial values are given in row-major order. Gradients are allocated on request.
    Parameter& add(const std::string& name, const Shape& shape, const std::vector<double>& values,
                   ParameterGroup group);
    // The weight (with decay) or the bias (without) of a linear map.
    Parameter& add_linear(const std::string& name, const Shape& shape, const std::vector<double>& values);

    const std::vector<std::unique_ptr<Parameter>>& all() const { return parameters_; }
    Parameter* find(const std::string& name) const;
    int64_t count() const;  // scalars

    void allocate_gradients();  // zeroed; done once before training

  private:
    std::shared_ptr<Backend> backend_;
    DType dtype_, activations_;
    mutable bool fresh_ = false;  // the rounded values are those of the values
    std::vector<std::unique_ptr<Parameter>> parameters_;
};

// A linear map as engines are given it; `bias` may be null.
LinearMap describe_linear(Backend& backend, const Parameter& weight, const Parameter* bias);

// Host values to and from a tensor, converted to its element type.
void upload_values(Backend& backend, const std::vector<double>& values, const Tensor& to);
std::vector<double> download_values(Backend& backend, const Tensor& from);
std::vector<float> download_floats(Backend& backend, const Tensor& from);

}  // namespace nigiri
