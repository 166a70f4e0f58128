// Attention and its positions as differentiable functions.
#include "model/functions.h"

namespace nigiri::functions {

Var rotary(Tape& tape, const Var& x, int64_t heads) {
    Backend& backend = tape.backend();
    const Tensor y = backend.allocate(x.shape(), x.value.dtype());
    backend.rotary({.heads = heads, .x = x.value, .y = y});
    const Var place{{}, x.node};
    return tape.record(y, [&tape, &backend, place, heads](const Tensor& dy) {
        const Tensor dx = tape.reserve(place);
        backend.rotary({.heads = heads, .x = dy, .y = dx, .inverse = true});
        tape.commit(place, dx);
    });
}

Var attention(Tape& tape, int64_t heads, const Var& q, const Var& k, const Var& v) {
    Backend& backend = tape.backend();
    const Tensor y = backend.allocate(q.shape(), q.value.dtype());
    Tensor log_sums;
    if (tape.recording())
        log_sums = backend.allocate({q.shape()[0], q.shape()[1], heads},
                                    q.value.dtype() == DType::bf16 ? DType::f32 : q.value.dtype());
    backend.attention_forward({.heads = heads, .q = q.value, .k = k.value, .v = v.value, .y = y, .log_sums = log_sums});
    return tape.record(
        y, [&tape, &backend, heads, y, log_sums, q = q.held(), k = k.held(), v = v.held()](const Tensor& dy) {
            const Tensor dq = tape.reserve(q), dk = tape.reserve(k), dv = tape.reserve(v);
            backend.attention_backward({.heads = heads,
                                        .q = q.held_value(),
                                        .k = k.held_value(),
                                        .v = v.held_value(),
                                        .y = y,
                                        .log_sums = log_sums,
                                        .dy = dy,
                                        .dq = dq,
                                        .dk = dk,
                                        .dv = dv});
            tape.commit(q, dq);
            tape.commit(k, dk);
            tape.commit(v, dv);
        });
}

}  // namespace nigiri::functions
