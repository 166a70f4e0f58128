#include "model/parameter.h"

namespace nigiri {

Parameter& ParameterStore::add(const std::string& name, const Shape& shape, const std::vector<double>& values,
                               ParameterGroup group) {
    if (find(name) != nullptr) throw Error("parameter '" + name + "' exists twice");
    if (shape.size() != static_cast<int64_t>(values.size()))
        throw Error("parameter '" + name + "' of shape " + shape.text() + " got " + std::to_string(values.size()) +
                    " values");
    auto p = std::make_unique<Parameter>();
    p->name = name;
    p->group = group;
    p->value = backend_->allocate(shape, dtype_);
    upload_values(*backend_, values, p->value);
    parameters_.push_back(std::move(p));
    return *parameters_.back();
}

Parameter& ParameterStore::add_linear(const std::string& name, const Shape& shape, const std::vector<double>& values) {
    Parameter& p = add(name, shape, values, shape.rank() > 1 ? ParameterGroup::decay : ParameterGroup::no_decay);
    p.linear = true;
    return p;
}

void ParameterStore::set_activations(DType dtype) {
    activations_ = dtype;
    if (dtype != DType::bf16) return;
    for (const auto& p : parameters_)
        if (p->linear && !p->rounded) {
            p->rounded = backend_->allocate(p->value.shape(), DType::bf16);
            fresh_ = false;
        }
}

void ParameterStore::refresh() const {
    if (fresh_ || activations_ != DType::bf16) return;
    for (const auto& p : parameters_)
        if (p->rounded) backend_->copy({.x = p->value, .y = p->rounded});
    fresh_ = true;
}

Parameter* ParameterStore::find(const std::string& name) const {
    for (const auto& p : parameters_)
        if (p->name == name) return p.get();
    return nullptr;
}

int64_t ParameterStore::count() const {
    int64_t n = 0;
    for (const auto& p : parameters_) n += p->value.size();
    return n;
}

void ParameterStore::allocate_gradients() {
    for (const auto& p : parameters_)
        if (!p->gradient) p->gradient = backend_->zeros(p->value.shape(), dtype_);
}

void upload_values(Backend& backend, const std::vector<double>& values, const Tensor& to) {
    if (to.dtype() == DType::f64) {
        backend.upload(values.data(), to);
        return;
    }
    const std::vector<float> narrow(values.begin(), values.end());
    backend.upload(narrow.data(), to);
}

std::vector<double> download_values(Backend& backend, const Tensor& from) {
    std::vector<double> values(static_cast<size_t>(from.size()));
    if (from.dtype() == DType::f64) {
        backend.download(from, values.data());
        return values;
    }
    std::vector<float> narrow(values.size());
    backend.download(from, narrow.data());
    return {narrow.begin(), narrow.end()};
}

std::vector<float> download_floats(Backend& backend, const Tensor& from) {
    const std::vector<double> values = download_values(backend, from);
    return {values.begin(), values.end()};
}

LinearMap describe_linear(Backend& backend, const Parameter& weight, const Parameter* bias) {
    LinearMap map;
    map.outputs = weight.value[0];
    map.inputs = weight.value[1];
    map.weight = download_floats(backend, weight.value);
    if (bias) map.bias = download_floats(backend, bias->value);
    return map;
}

}  // namespace nigiri
