// An S4D layer on a whole sequence: its kernel (s4d_kernel.h) convolved with u, the skip, and the state it
// starts from:
//   h[b, l, d, n] = Abar[d, n] h[b, l - 1, d, n] + u[b, l, d],    h[b, -1] = state
//   y[b, l, d]    = r Re sum_n C[d, n] Bbar[d, n] h[b, l, d, n] + skip[d] u[b, l, d]
// Equal to s4d_kernel and long_conv (without a state), and to s4d_discretize and s4d_recurrence. The CPU does
// just that. CUDA cuts the sequence into chunks, so that everything is products of small matrices and a state
// between the chunks, O(N) a sample, where the layer has at most 64 modes, and composes kernel and
// convolution where it has more. With bf16 activations the parameters, the skip, the states and all their
// gradients are float32.
#pragma once

#include "kernels/s4d_kernel.h"

namespace nigiri {

struct S4dConvForward : S4dParameters {
    View skip;   // (D), optional
    View u;      // (B, L, D)
    View y;      // (B, L, D), =
    View state;  // (B, 2 or 1, N * D), planar as in S4dRecurrence, read and replaced; optional: zero, not
                 // returned
};

// The state that the forward pass ended with is taken as a constant: no gradient comes back through it.
struct S4dConvBackward : S4dParameters {
    View skip, u;
    View state;                              // what the forward pass started from; optional: zero
    View dy;                                 // (B, L, D)
    View du;                                 // (B, L, D), =, optional
    View dinv_dt, da_real, da_imag, db, dc;  // like the parameters, +=; each optional
    View dskip;                              // (D), +=, optional
    View dstate;                             // like state, =, optional
};

}  // namespace nigiri
