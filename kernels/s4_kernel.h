// S4, diagonal plus low rank (Gu, Goel & Re 2022): A = diag(Lambda) - P P^H over the conjugate-closed state,
// bilinear discretisation with dt = rate * exp(inv_dt), Lambda = -exp(a_real) - i a_imag. The stored C is
// C~ = C (I - Abar^length), tied to `length`, as published: the kernel's spectrum at the length-th roots of unity w is
//   K^(w) = 2 / (1 + w) [ c~ R b - (c~ R p)(p^H R b) / (1 + p^H R p) ],  R = (2/dt (1 - w)/(1 + w) - Lambda)^-1
// (Woodbury), and K is its inverse transform. Arithmetic is float64 inside, whatever the element type and backend.
// At another rate (a model run on coarser samples) C~ counts as tied to round(length / rate), as published; that is
// exact at rate 1 and as good as the two discretisations agree elsewhere.
#pragma once

#include "kernels/tensor.h"

namespace nigiri {

struct S4Parameters {
    double rate = 1.0;
    int64_t length = 0;  // the length C~ is tied to, at rate 1; any length from 1 on
    View inv_dt;         // (D)
    View a_real;         // (S, N): conjugate halves; S divides D, channel d uses copy d mod S
    View a_imag;         // (S, N)
    View p;              // (S, N, 2)
    View b;              // (S, N, 2)
    View c;              // (D, N, 2): C~
};

struct S4KernelForward : S4Parameters {
    View kernel;  // (D, L), L <= length (round(length / rate) at another rate), =
};

struct S4KernelBackward : S4Parameters {
    View dkernel;                                // (D, L), as above
    View dinv_dt, da_real, da_imag, dp, db, dc;  // like the parameters, +=; each optional
};

// The recurrent form h' = Abar h + Bbar u, y = 2 Re(C h'), with Abar = A1 A0 kept as diagonals and rank-one
// factors, O(N) a step. `c` is the true C, recovered from C~ by solving with (I - Abar^length).
// Factors and states are float64 on the CPU and float32 on CUDA, where u and y may be bf16. A layer that does not
// decay within its length is refused by the CPU; on CUDA its factors come out infinite or not a number.
struct S4Discretize : S4Parameters {
    View factors;  // (D, 6 * N, 2), =: the layer's discrete factors; the layout is the implementation's own
};

struct S4Recurrence {
    View factors;    // from S4Discretize
    View skip = {};  // (D), optional
    View u;          // (B, L, D)
    View y;          // (B, L, D), =; may be u itself
    View state;      // (B, D, N, 2): the conjugate halves, read and replaced
};

}  // namespace nigiri
