#include "model/state_space.h"

namespace nigiri {

LayerState LayerState::clone(Backend& backend) const {
    LayerState copy;
    copy.constants = constants;
    for (const Tensor& t : carried) {
        copy.carried.push_back(backend.allocate(t.shape(), t.dtype()));
        backend.copy({.x = t, .y = copy.carried.back()});
    }
    return copy;
}

StateInit state_init(const SsmConfig& config) {
    if (config.kind == SsmKind::s4) return StateInit::legs;
    switch (config.init) {
        case SsmInit::lin:
            return StateInit::s4d_lin;
        case SsmInit::inv:
            return StateInit::s4d_inv;
        case SsmInit::legs:
            return StateInit::s4d_legs;
        case SsmInit::real:
            break;
    }
    return StateInit::s4d_real;
}

std::vector<double> repeated(const std::vector<double>& values, int64_t copies) {
    std::vector<double> all;
    for (int64_t i = 0; i < copies; ++i) all.insert(all.end(), values.begin(), values.end());
    return all;
}

std::unique_ptr<StateSpace> make_state_space(ParameterStore& store, const std::string& prefix, int64_t width,
                                             const SsmConfig& config, int64_t length, Random& random) {
    if (config.kind == SsmKind::s6) return make_s6_state_space(store, prefix, width, config, random);
    return make_s4_state_space(store, prefix, width, config, length, random);
}

}  // namespace nigiri
