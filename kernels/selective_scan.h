// S6, the selective state space layer (Gu & Dao 2023, algorithm 2), as one operation: discretisation,
// scan, skip and gate.
//   dt[b, l, d]   = softplus(delta[b, l, d] + delta_bias[d])   (softplus optional; delta absent = 0)
//   Abar          = exp(dt A)                                   euler, zoh
//                 = (1 + dt A / 2) / (1 - dt A / 2)              bilinear
//   Bbar          = dt B                     euler (the published code's rule)
//                 = (exp(dt A) - 1) / A B    zoh
//                 = dt / (1 - dt A / 2) B    bilinear
//   h[b, l, d, n] = Abar h[b, l - 1, d, n] + Bbar u[b, l, d]
//   y[b, l, d]    = (r sum_n Re(C h) + skip[d] u[b, l, d]) * silu(z[b, l, d])
// r is 1 for a real A and 2 for a complex A (conjugate halves are implicit).
// The states are never stored along the length: the forward pass keeps one state per `checkpoint_every`
// steps and the backward pass recomputes what lies between, so memory is O(B L D).
// Complex numbers are (re, im) pairs; complex gradients are dL/dRe + i dL/dIm.
//
// Types: u, delta, z, selective b and c, y and the gradients of these are activations and share one type. a, constant b
// and c, skip, delta_bias, their gradients, the state and the checkpoints are float32 where activations are bf16, else
// of the activations' type. Sums and states are float32 inside then.
#pragma once

#include "kernels/tensor.h"

namespace nigiri {

enum class Discretization : uint8_t { euler, zoh, bilinear };

struct SelectiveScan {
    bool is_complex = false;
    bool selective_b = true;  // B varies with (b, l) rather than with d
    bool selective_c = true;
    bool softplus = true;
    Discretization discretization = Discretization::euler;

    View u;           // (B, L, D)
    View delta;       // (B, L, D), optional
    View delta_bias;  // (D), optional
    View a;           // (D, N) or complex (D, N, 2); real part negative
    View b;           // selective: (B, L, N) or complex (B, L, 2N) interleaved; else (D, N) or (D, N, 2)
    View c;           // like b
    View skip;        // (D), optional
    View z;           // (B, L, D), optional
};

inline constexpr int64_t selective_scan_checkpoint_every = 64;

struct SelectiveScanForward : SelectiveScan {
    View y;            // (B, L, D), =
    View state;        // (B, D, N) or (B, D, N, 2), optional: the initial state; replaced by the last one
    View checkpoints;  // (ceil(L / 64), B, D, N or 2N), =, optional: the state before every 64th step
};

struct SelectiveScanBackward : SelectiveScan {
    View checkpoints;  // from the forward pass
    View dy;           // (B, L, D)
    View du;           // (B, L, D), =
    View ddelta;       // (B, L, D), =, where delta is given: gradient at delta before bias and softplus
    View ddelta_bias;  // (D), +=, where delta_bias is given
    View da;           // like a, +=
    View db, dc;       // like b, c: selective =, constant +=
    View dskip;        // (D), +=, where skip is given
    View dz;           // (B, L, D), =, where z is given
};

// Throw Error, naming the broken rule, where operands do not fit each other.
void check_operands(const SelectiveScanForward& op);
void check_operands(const SelectiveScanBackward& op);

}  // namespace nigiri
