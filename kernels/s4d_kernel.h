// S4D, the diagonal time-invariant state space layer (Gu, Gupta, Goel & Re 2022), as a convolution kernel
// and as a recurrence. With dt = rate * exp(inv_dt), per channel d, and the copy s = d mod S of A and B:
//   A    = -exp(a_real) - i a_imag      (complex: conjugate halves implicit, r = 2; real: a_imag absent, r = 1)
//   zoh     : Abar = exp(dt A),                    Bbar = (Abar - 1) / A * B
//   bilinear: Abar = (1 + dt A / 2) / (1 - dt A / 2), Bbar = dt / (1 - dt A / 2) * B
//   K[d, l] = r Re sum_n C[d, n] Bbar[d, n] Abar[d, n]^l
// Powers are exact to float32 at length one million: angles are reduced in double, and the kernel is built from
// two levels of powers (Abar^(T i) and Abar^j, l = T i + j), so nothing of size D x N x L is stored.
#pragma once

#include "kernels/selective_scan.h"  // Discretization (euler is not defined here)
#include "kernels/tensor.h"

namespace nigiri {

struct S4dParameters {
    bool is_complex = true;
    Discretization discretization = Discretization::zoh;
    double rate = 1.0;
    View inv_dt;  // (D): log of the step
    View a_real;  // (S, N): log of -Re A; S divides D
    View a_imag;  // (S, N); empty where real
    View b;       // (S, N, 2), or (S, N) where real
    View c;       // (D, N, 2), or (D, N) where real
};

struct S4dKernelForward : S4dParameters {
    View kernel;  // (D, L), =
};

struct S4dKernelBackward : S4dParameters {
    View dkernel;                            // (D, L)
    View dinv_dt, da_real, da_imag, db, dc;  // like the parameters, +=; each optional
};

// The discrete layer for the recurrence h = Abar h + u, y = r Re sum_n (C Bbar) h. Planar: (2, N, D) holds all
// real parts, then all imaginary parts ((1, N, D) where real).
struct S4dDiscretize : S4dParameters {
    View abar;  // (2 or 1, N, D), =
    View cbar;  // (2 or 1, N, D), = r C Bbar
};

// Runs the recurrence over L samples, L = 1 included:  y = Re sum_n cbar h + skip u.
struct S4dRecurrence {
    bool is_complex = true;
    View abar, cbar;  // from S4dDiscretize
    View skip;        // (D), optional
    View u;           // (B, L, D)
    View y;           // (B, L, D), =; may be u itself
    View state;       // (B, 2 or 1, N * D): h planar as above, read and replaced
};

}  // namespace nigiri
