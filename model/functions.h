// The backend's operations as differentiable functions of Vars. Shapes and formulas stand in the kernels' headers.
// Cheap to compute again, where the tape wants that, are the results of norm, causal_conv1d, gelu, gate,
// product and linear_of_few.
#pragma once

#include "model/parameter.h"
#include "model/tape.h"

namespace nigiri::functions {

// tokens (B, L) int32 -> (B, L, D).
Var embedding(Tape& tape, const Tensor& tokens, Parameter& table);
// x W^T + b over the last axis; `bias` may be null. The result is of x's type.
Var linear(Tape& tape, const Var& x, Parameter& weight, Parameter* bias);
// The same from few columns: cheap to compute again.
Var linear_of_few(Tape& tape, const Var& x, Parameter& weight);
// The same with rows that begin on 16 bytes: for a result that is used in parts.
Var linear_in_rows(Tape& tape, const Var& x, Parameter& weight);
// The same of another type: in float32 from bf16.
Var linear(Tape& tape, const Var& x, Parameter& weight, Parameter* bias, DType type);
// residual + x W^T + b, of the residual's type.
Var add_linear(Tape& tape, const Var& residual, const Var& x, Parameter& weight, Parameter* bias);
// `bias` is null for rms. The result is of the type given.
Var norm(Tape& tape, NormKind kind, double eps, const Var& x, Parameter& weight, Parameter* bias, DType type);
// x in another type; x itself where it is of that type.
Var convert(Tape& tape, const Var& x, DType type);
// x + y, of x's type. y is given up: its memory is reused where nobody else looks at it.
Var add(Tape& tape, const Var& x, Var&& y);
Var reshape(Tape& tape, const Var& x, const Shape& shape);
// One step later, zeros first.
Var shift(Tape& tape, const Var& x);
Var causal_conv1d(Tape& tape, const Var& x, Parameter& weight, Parameter* bias, bool silu);
Var gelu(Tape& tape, const Var& x);
Var glu(Tape& tape, const Var& x);
Var gate(Tape& tape, const Var& x, const Var& z);
Var product(Tape& tape, const Var& x1, const Var& x2);
// f(x), of which nothing but x is kept: the backward pass runs f again (Chen et al. 2016).
Var recomputed(Tape& tape, const Var& x, std::function<Var(Tape&, const Var&)> f);
// y * kernel along the length, plus skip * u.
Var long_conv(Tape& tape, const Var& u, const Var& kernel, Parameter& skip);

// Rotary positions on the rows of x, the first at position 0.
Var rotary(Tape& tape, const Var& x, int64_t heads);
// Causal attention of (B, L, D) each.
Var attention(Tape& tape, int64_t heads, const Var& q, const Var& k, const Var& v);
// sin(frequency x), of the filter of a long convolution, (L, C).
Var filter_sine(Tape& tape, const Var& x, Parameter& frequency);
// The window of such a filter: (L, D) -> the kernel (D, L), distances in units of `unit`.
Var filter_window(Tape& tape, const Var& x, double unit);

// A parameter as a Var, so that what is computed from it passes its gradient on.
Var parameter(Tape& tape, Parameter& p);
// -exp(p).
Var negative_exp(Tape& tape, Parameter& p);
// -exp(log_real) + i imag as (re, im) pairs: (D, N) twice -> (D, N, 2).
Var complex_poles(Tape& tape, Parameter& log_real, Parameter& imag);
// Kernels of the time-invariant layers, (D, length).
struct S4dInputs {
    bool is_complex = true;
    Discretization discretization = Discretization::zoh;
    Parameter *inv_dt = nullptr, *a_real = nullptr, *a_imag = nullptr, *b = nullptr, *c = nullptr;
};
S4dParameters s4d_parameters(const S4dInputs& in);
Var s4d_kernel(Tape& tape, const S4dInputs& in, int64_t length);
// The whole layer: its kernel, the convolution with u and the skip.
Var s4d_conv(Tape& tape, const S4dInputs& in, Parameter& skip, const Var& u);
struct S4Inputs {
    int64_t tied_length = 0;  // the length C~ is tied to
    Parameter *inv_dt = nullptr, *a_real = nullptr, *a_imag = nullptr, *p = nullptr, *b = nullptr, *c = nullptr;
};
S4Parameters s4_parameters(const S4Inputs& in);
Var s4_kernel(Tape& tape, const S4Inputs& in, int64_t length);

// The operands of the selective scan; absent ones stay default.
struct ScanInputs {
    bool is_complex = false, selective_b = true, selective_c = true, softplus = true;
    Discretization discretization = Discretization::euler;
    Var u, delta, a, b, c, z;
    Parameter* delta_bias = nullptr;
    Parameter* skip = nullptr;
};
Var selective_scan(Tape& tape, const ScanInputs& in);

}  // namespace nigiri::functions
