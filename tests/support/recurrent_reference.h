// What a RecurrentProgram means, written down as plainly as it can be and in float64: the judge of the engines.
#pragma once

#include <cmath>
#include <complex>
#include <vector>

#include "kernels/recurrent_program.h"

namespace nigiri::test {

class RecurrentReference {
  public:
    using Vector = std::vector<double>;
    using Complex = std::complex<double>;

    explicit RecurrentReference(const RecurrentProgram& program) : p_(program), memory_(program.block_count) {
        for (const StageProgram& s : p_.stages)
            for (const auto* blocks : {&s.down, &s.up})
                for (const BlockStep& b : *blocks) {
                    Memory& m = memory_[b.state];
                    if (b.kind == BlockStepKind::mlp) continue;
                    m.h.assign(static_cast<size_t>(b.ssm.channels * b.ssm.states), 0.0);
                    if (b.kind == BlockStepKind::mamba)
                        m.conv.assign(static_cast<size_t>(b.taps - 1), Vector(static_cast<size_t>(b.ssm.channels)));
                }
        for (size_t i = 0; i + 1 < p_.stages.size(); ++i) {
            const auto size = static_cast<size_t>(p_.stages[i].factor * p_.stages[i].width);
            down_.emplace_back(size), up_.emplace_back(size);
        }
    }

    Vector step(int32_t code) {
        const int64_t width = p_.stages[0].width;
        Vector x;
        for (int64_t d = 0; d < width; ++d) x.push_back(p_.embedding[static_cast<size_t>(code * width + d)]);
        x = linear(p_.head, normed(p_.norm, stage(0, x)));
        ++position_;
        return x;
    }

    StreamState state() const {
        StreamState s;
        s.position = position_;
        s.blocks.resize(p_.block_count);
        for (const StageProgram& stage : p_.stages)
            for (const auto* blocks : {&stage.down, &stage.up})
                for (const BlockStep& b : *blocks) {
                    if (b.kind == BlockStepKind::mlp) continue;
                    const Memory& m = memory_[b.state];
                    StreamState::Block& out = s.blocks[b.state];
                    for (const Vector& row : m.conv) out.conv.insert(out.conv.end(), row.begin(), row.end());
                    const int64_t channels = b.ssm.channels, states = b.ssm.states;
                    const auto h = [&](int64_t d, int64_t n) { return m.h[static_cast<size_t>(d * states + n)]; };
                    if (b.ssm.kind == StateSpaceKind::s4d) {
                        for (int part = 0; part < (b.ssm.is_complex ? 2 : 1); ++part)
                            for (int64_t n = 0; n < states; ++n)
                                for (int64_t d = 0; d < channels; ++d)
                                    out.ssm.push_back(part == 0 ? h(d, n).real() : h(d, n).imag());
                        continue;
                    }
                    for (const Complex& x : m.h) {
                        out.ssm.push_back(x.real());
                        if (b.ssm.kind == StateSpaceKind::s4 || b.ssm.is_complex) out.ssm.push_back(x.imag());
                    }
                }
        for (const Vector& v : down_) s.down.emplace_back(v.begin(), v.end());
        for (const Vector& v : up_) s.up.emplace_back(v.begin(), v.end());
        return s;
    }

  private:
    struct Memory {
        std::vector<Complex> h;    // (D, N)
        std::vector<Vector> conv;  // oldest first
    };

    static Vector linear(const LinearMap& m, const Vector& x) {
        Vector y;
        for (int64_t r = 0; r < m.outputs; ++r) {
            double sum = m.bias.empty() ? 0.0 : m.bias[static_cast<size_t>(r)];
            for (int64_t k = 0; k < m.inputs; ++k)
                sum += static_cast<double>(m.weight[static_cast<size_t>(r * m.inputs + k)]) * x[static_cast<size_t>(k)];
            y.push_back(sum);
        }
        return y;
    }
    static Vector normed(const NormMap& n, const Vector& x) {
        const auto count = static_cast<double>(x.size());
        double mean = 0, square = 0;
        for (const double v : x) mean += v / count;
        if (n.kind == NormKind::rms) mean = 0;
        for (const double v : x) square += (v - mean) * (v - mean) / count;
        const double rstd = 1 / std::sqrt(square + n.eps);
        Vector y;
        for (size_t i = 0; i < x.size(); ++i) {
            if (n.kind == NormKind::scalar)
                y.push_back(n.weight[0] * rstd * (x[i] - mean + n.bias[0]));
            else
                y.push_back(n.weight[i] * rstd * (x[i] - mean) + (n.kind == NormKind::layer ? n.bias[i] : 0.0f));
        }
        return y;
    }
    static Vector sum(Vector a, const Vector& b) {
        for (size_t i = 0; i < a.size(); ++i) a[i] += b[i];
        return a;
    }
    static double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
    static double gelu(double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); }
    static double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }
    static Complex number(const std::vector<float>& v, bool is_complex, size_t i) {
        return is_complex ? Complex(v[2 * i], v[2 * i + 1]) : Complex(v[i]);
    }

    static Vector scan(const StateSpaceMap& s, const Vector& u, std::vector<Complex>& h) {
        const auto states = static_cast<size_t>(s.states), parts = static_cast<size_t>(s.is_complex ? 2 : 1);
        const Vector read = s.x_proj ? linear(s.x_proj, u) : Vector{};
        const auto rank = static_cast<size_t>(s.dt_rank);
        Vector delta(u.size());
        if (rank > 0) delta = linear(s.dt_proj, Vector(read.begin(), read.begin() + s.dt_rank));
        const auto selective = [&](size_t first, size_t n) {
            return s.is_complex ? Complex(read[first + 2 * n], read[first + 2 * n + 1]) : Complex(read[first + n]);
        };
        const size_t c_first = rank + (s.selective_b ? states * parts : 0);
        Vector y;
        for (size_t d = 0; d < u.size(); ++d) {
            const double dt = softplus(delta[d] + s.delta_bias[d]);
            double total = 0;
            for (size_t n = 0; n < states; ++n) {
                const size_t i = d * states + n;
                const Complex a = number(s.poles, s.is_complex, i);
                const Complex b = s.selective_b ? selective(rank, n) : number(s.constant_b, s.is_complex, i);
                const Complex c = s.selective_c ? selective(c_first, n) : number(s.constant_c, s.is_complex, i);
                Complex abar = std::exp(dt * a), gamma = dt;
                if (s.discretization == Discretization::zoh && std::abs(a) > 0) gamma = (abar - 1.0) / a;
                if (s.discretization == Discretization::bilinear) {
                    abar = (1.0 + 0.5 * dt * a) / (1.0 - 0.5 * dt * a);
                    gamma = dt / (1.0 - 0.5 * dt * a);
                }
                h[i] = abar * h[i] + gamma * b * u[d];
                total += (c * h[i]).real();
            }
            y.push_back(total * static_cast<double>(parts) + s.skip[d] * u[d]);
        }
        return y;
    }

    static Vector state_space(const StateSpaceMap& s, const Vector& u, std::vector<Complex>& h) {
        if (s.kind == StateSpaceKind::s6) return scan(s, u, h);
        const auto states = static_cast<size_t>(s.states), plane = states * u.size();
        Vector y;
        for (size_t d = 0; d < u.size(); ++d) {
            double total = 0, low_rank = 0;
            for (size_t n = 0; s.kind == StateSpaceKind::s4 && n < states; ++n)
                low_rank += (s.f[d * states + n] * h[d * states + n]).real();
            for (size_t n = 0; n < states; ++n) {
                Complex& x = h[d * states + n];
                const size_t i = d * states + n, j = n * u.size() + d;
                if (s.kind == StateSpaceKind::s4) {
                    x = s.a[i] * x - s.g[i] * low_rank + s.b[i] * u[d];
                    total += 2 * (s.c[i] * x).real();
                } else {
                    const Complex a(s.abar[j], s.is_complex ? s.abar[plane + j] : 0.0f);
                    x = a * x + u[d];
                    total += (Complex(s.cbar[j], s.is_complex ? s.cbar[plane + j] : 0.0f) * x).real();
                }
            }
            y.push_back(total + s.skip[d] * u[d]);
        }
        return y;
    }

    Vector block(const BlockStep& b, const Vector& x) {
        const Vector in = normed(b.norm, x);
        Memory& m = memory_[b.state];
        if (b.kind == BlockStepKind::mlp) {
            Vector y = linear(b.in, in);
            for (double& v : y) v = gelu(v);
            return sum(linear(b.out, y), x);
        }
        if (b.kind == BlockStepKind::s4) {
            Vector y = state_space(b.ssm, in, m.h);
            for (double& v : y) v = gelu(v);
            y = linear(b.out, y);
            if (b.glu) {
                const size_t half = y.size() / 2;
                for (size_t i = 0; i < half; ++i) y[i] *= sigmoid(y[half + i]);
                y.resize(half);
            }
            return sum(y, x);
        }
        const Vector both = linear(b.in, in);
        const auto channels = static_cast<size_t>(b.ssm.channels), taps = static_cast<size_t>(b.taps);
        const Vector now(both.begin(), both.begin() + b.ssm.channels);
        Vector u;
        for (size_t d = 0; d < channels; ++d) {
            double v = b.conv_bias[d];
            for (size_t k = 0; k < taps; ++k) v += b.conv_weight[d * taps + k] * (k + 1 < taps ? m.conv[k][d] : now[d]);
            u.push_back(v * sigmoid(v));
        }
        if (taps > 1) m.conv.erase(m.conv.begin()), m.conv.push_back(now);
        Vector y = state_space(b.ssm, u, m.h);
        for (size_t d = 0; d < channels; ++d) y[d] *= both[channels + d] * sigmoid(both[channels + d]);
        return sum(linear(b.out, y), x);
    }

    Vector stage(size_t i, Vector x) {
        const StageProgram& s = p_.stages[i];
        const bool last = i + 1 == p_.stages.size();
        const Vector input = x;
        std::vector<Vector> skips;
        for (const BlockStep& b : s.down) {
            skips.push_back(x);
            x = block(b, x);
        }
        if (last) return sum(input, x);
        int64_t phase = position_;
        for (size_t j = 0; j < i; ++j) phase /= p_.stages[j].factor;
        phase %= s.factor;
        const auto first = static_cast<size_t>(phase * s.width);
        std::copy(x.begin(), x.end(), down_[i].begin() + static_cast<int64_t>(first));
        const Vector from_below(up_[i].begin() + static_cast<int64_t>(first),
                                up_[i].begin() + static_cast<int64_t>(first) + s.width);
        if (phase == s.factor - 1) up_[i] = linear(s.pool_up, stage(i + 1, linear(s.pool_down, down_[i])));
        x = sum(x, from_below);
        const Vector before = x;
        for (const BlockStep& b : s.up) {
            x = block(b, x);
            if (!p_.skip_layers) continue;
            x = sum(x, skips.back());
            skips.pop_back();
        }
        return p_.skip_layers ? x : sum(before, x);
    }

    RecurrentProgram p_;
    std::vector<Memory> memory_;
    std::vector<Vector> down_, up_;
    int64_t position_ = 0;
};

}  // namespace nigiri::test
