// What the filter of a long convolution is made of, as differentiable functions.
#include "model/functions.h"

namespace nigiri::functions {

Var filter_sine(Tape& tape, const Var& x, Parameter& frequency) {
    Backend& backend = tape.backend();
    const Tensor y = backend.allocate(x.shape(), x.value.dtype());
    backend.filter_sine_forward({.x = x.value, .frequency = frequency.value, .y = y});
    return tape.record(y, [&tape, &backend, x = x.held(), &frequency](const Tensor& dy) {
        const Tensor dx = tape.reserve(x);
        backend.filter_sine_backward(
            {.x = x.held_value(), .frequency = frequency.value, .dy = dy, .dx = dx, .dfrequency = frequency.gradient});
        tape.commit(x, dx);
    });
}

Var filter_window(Tape& tape, const Var& x, double unit) {
    Backend& backend = tape.backend();
    const Tensor y = backend.allocate({x.shape()[1], x.shape()[0]}, x.value.dtype());
    backend.filter_window({.unit = unit, .x = x.value, .y = y, .to_kernel = true});
    const Var place{{}, x.node};
    return tape.record(y, [&tape, &backend, place, unit](const Tensor& dy) {
        const Tensor dx = tape.reserve(place);
        backend.filter_window({.unit = unit, .x = dy, .y = dx, .from_kernel = true});
        tape.commit(place, dx);
    });
}

}  // namespace nigiri::functions
