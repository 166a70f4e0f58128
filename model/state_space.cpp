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

StateMatrices initial_copies(const SsmConfig& config, int64_t copies, Random& random) {
    const int64_t states = config.stored_states();
    const auto alike = [&](StateInit init) { return copies_of(initial_state(init, states), copies); };
    if (config.kind == SsmKind::s4) return alike(StateInit::legs);
    switch (config.init) {
        case SsmInit::lin:
            return alike(StateInit::s4d_lin);
        case SsmInit::inv:
            return alike(StateInit::s4d_inv);
        case SsmInit::legs:
            return alike(StateInit::s4d_legs);
        case SsmInit::real:
            return alike(StateInit::s4d_real);
        case SsmInit::random:
            break;
    }
    return random_state(random, states, copies, config.is_complex);
}

std::unique_ptr<StateSpace> make_state_space(ParameterStore& store, const std::string& prefix, int64_t width,
                                             const SsmConfig& config, int64_t length, Random& random) {
    if (config.kind == SsmKind::s6) return make_s6_state_space(store, prefix, width, config, random);
    return make_s4_state_space(store, prefix, width, config, length, random);
}

}  // namespace nigiri
