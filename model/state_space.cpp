#include "model/state_space.h"

#include <algorithm>

namespace nigiri {

LayerState LayerState::clone(Backend& backend) const {
    LayerState copy;
    copy.constants = constants;
    copy.taken = taken;
    for (const Tensor& t : carried) {
        copy.carried.push_back(backend.allocate(t.shape(), t.dtype()));
        backend.copy({.x = t, .y = copy.carried.back()});
    }
    return copy;
}

void reserve_rows(Backend& backend, LayerState& state, int64_t more) {
    const Tensor& rows = state.carried[0];
    const int64_t batch = rows[0], capacity = rows[1], columns = rows[2], wanted = state.taken + more;
    if (wanted <= capacity) return;
    const int64_t larger = std::max(wanted, 2 * capacity);
    const auto bytes = static_cast<double>(batch * larger * columns) * static_cast<double>(size_of(rows.dtype()));
    if (const auto available = static_cast<double>(backend.available_bytes()); available > 0 && bytes > available)
        throw Error("a layer that remembers all of its inputs has no memory for more than " + std::to_string(capacity) +
                        " of them",
                    "use shorter sequences or fewer at once");
    const Tensor grown = backend.zeros({batch, larger, columns}, rows.dtype());
    const int64_t used = state.taken * columns;
    if (used > 0)
        backend.copy({.x = rows.reshaped({batch, capacity * columns}).columns(0, used),
                      .y = grown.reshaped({batch, larger * columns}).columns(0, used)});
    state.carried[0] = grown;
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
    if (config.kind == SsmKind::hyena) return make_hyena_layer(store, prefix, width, config, length, random);
    if (config.kind == SsmKind::attention) return make_attention_layer(store, prefix, width, config, random);
    if (config.kind == SsmKind::s6) return make_s6_state_space(store, prefix, width, config, random);
    return make_s4_state_space(store, prefix, width, config, length, random);
}

}  // namespace nigiri
