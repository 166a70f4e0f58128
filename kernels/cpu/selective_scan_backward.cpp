// The float32 selective scan, backward. Chunks of 64 steps run from the last to the first. In a chunk every tile of
// states is first run forward from the checkpoint, which leaves its states and Abar in a small scratch, then backward.
//
// Gradients of a selective B and C are sums over channels. Every channel group writes its share of some chunks ("pass")
// to a table, and the shares are added in the order of the groups before the next pass. So the result does not depend
// on the number of threads, and the table's size not on the length.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/selective_scan_backward.cpp"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "kernels/cpu/common.h"
#include "kernels/cpu/selective_scan-inl.h"
#include "kernels/cpu/selective_scan_planes.h"

#include <utility>

#ifndef NIGIRI_SELECTIVE_SCAN_BACKWARD_ONCE
#define NIGIRI_SELECTIVE_SCAN_BACKWARD_ONCE
namespace nigiri::cpu::scan {

struct BackwardWork {
    const Planes& planes;
    const ParameterPlanes& parameters;
    // One plane for every unit (batch row, group): the gradient of the state that a chunk hands to the chunk before it,
    // and the sums over time of the parameters' gradients.
    float *dstate, *da, *db, *dc;
    // Over (unit, channel of the group): sums over time.
    float *dskip, *dbias;
    // Shares of a selective dB and dC over (unit, step of the pass, tile), four numbers a tile and part:
    // real [dB0, dB1, dC0, dC1], complex [dB0, dB1] and [dC0, dC1] as (re, im) pairs.
    float* shares;
    int64_t chunks_per_pass;
    float* scratch;  // this thread's

    static int64_t share_size(const Planes& p) { return p.padded_states() * 2 * p.parts; }
    static constexpr int64_t array_count = 9;
    static int64_t tile_size(const Planes& p) { return (3 * chunk_steps + 1) * tile_states * p.state_size(); }
    static int64_t scratch_size(const Planes& p) {
        return p.size() + 2 * SelectiveRows::padding_size(p) + array_count * chunk_steps * p.width() + tile_size(p);
    }
};

}  // namespace nigiri::cpu::scan
#endif

HWY_BEFORE_NAMESPACE();
namespace nigiri::cpu::scan::HWY_NAMESPACE {
namespace {

template <bool kComplex, Discretization kRule, bool kSelectiveB, bool kSelectiveC>
struct Backward {
    using N = Number<kComplex>;
    // Two vectors of real channels share the broadcasts of B and C and the sums over lanes; more numbers than that
    // would not stay in registers.
    static constexpr int vectors = kComplex ? 1 : 2, width = vectors * lane_count, parts = kComplex ? 2 : 1;
    static constexpr int number = parts * lane_count, plane_step = vectors * number, tile_step = 2 * plane_step;
    static constexpr bool euler = kRule == Discretization::euler;

    // Arrays over (step, channel of the group).
    struct Arrays {
        float *dt, *u, *x;      // x is the input's share: dt u for euler, else u
        float* dy;              // gradient of Re(C h): with the gate, doubled for complex numbers
        float* y;               // += sum of Re(C h)
        float* by_input;        // += sum of Re(conj(Bbar / dt) dh) for euler, of Re(conj(Bbar) dh) else
        float* by_dt;           // += the rest of the gradient of dt
        float* softplus_slope;  // d dt / d (delta + bias)
        float* gate_slope;      // dy silu'(z)
        explicit Arrays(float* p) {
            for (float** array : {&dt, &u, &x, &dy, &y, &by_input, &by_dt, &softplus_slope, &gate_slope}) {
                *array = p;
                p += chunk_steps * width;
            }
        }
    };

    // B or C of a tile: rows that vary with time, or a plane.
    struct Operand {
        const float* data;
        int64_t stride;
    };
    template <bool kSelective>
    struct TileOperand {
        N rows[2];  // a selective operand's numbers at this time step
        HWY_INLINE TileOperand(const Operand& x, int64_t t) {
            if constexpr (kSelective) {
                rows[0] = broadcast<kComplex>(x.data + t * x.stride);
                rows[1] = broadcast<kComplex>(x.data + t * x.stride + parts);
            }
        }
        HWY_INLINE N get(const Operand& x, int state, int v) const {
            if constexpr (kSelective)
                return rows[state];
            else
                return load<kComplex>(x.data + state * plane_step + v * number);
        }
    };

    // Every state, Abar and aux of the tile over the chunk; y. states[t] is the state before step t.
    static void run_forward(const Arrays arrays, int64_t steps, const float* a, Operand b, Operand c,
                            const float* start, float* states, float* abars, float* auxs) {
        Rule<kComplex, kRule> rules[2][vectors];
        N h[2][vectors];
        HWY_UNROLL(2)
        for (int i = 0; i < 2; ++i) {
            HWY_UNROLL(2)
            for (int v = 0; v < vectors; ++v) {
                const int at = i * plane_step + v * number;
                rules[i][v] = Rule<kComplex, kRule>(load<kComplex>(a + at));
                h[i][v] = load<kComplex>(start + at);
                store(h[i][v], states + at);
            }
        }
        for (int64_t t = 0; t < steps; ++t) {
            const TileOperand<kSelectiveB> bt(b, t);
            const TileOperand<kSelectiveC> ct(c, t);
            HWY_UNROLL(2)
            for (int v = 0; v < vectors; ++v) {
                const int64_t at_time = t * width + v * lane_count;
                const V dt = hn::Load(tag, arrays.dt + at_time), x = hn::Load(tag, arrays.x + at_time);
                V y = hn::Load(tag, arrays.y + at_time);
                HWY_UNROLL(2)
                for (int i = 0; i < 2; ++i) {
                    const int64_t at = t * tile_step + i * plane_step + v * number;
                    N abar, aux, input = scale(bt.get(b, i, v), x);
                    rules[i][v].step(dt, abar, aux);
                    store(abar, abars + at);
                    if constexpr (!euler) {
                        store(aux, auxs + at);
                        input = mul(input, rules[i][v].gamma(dt, aux));
                    }
                    h[i][v] = mul_add(abar, h[i][v], input);
                    store(h[i][v], states + at + tile_step);
                    y = real_mul_add(ct.get(c, i, v), h[i][v], y);
                }
                hn::Store(y, tag, arrays.y + at_time);
            }
        }
    }

    // What a tile's backward run adds to: planes (offset to the tile) and this unit's shares (nullptr where not
    // needed).
    struct Gradients {
        float *dstate, *da, *db, *dc;
        float* shares;
        int64_t share_stride;
    };

    static void run_backward(const Arrays arrays, int64_t steps, const float* a, Operand b, Operand c,
                             const float* states, const float* abars, const float* auxs, const Gradients out) {
        Rule<kComplex, kRule> rules[2][vectors];
        N dh[2][vectors], after[2][vectors], da[2][vectors], db[2][vectors], dc[2][vectors];
        HWY_UNROLL(2)
        for (int i = 0; i < 2; ++i) {
            HWY_UNROLL(2)
            for (int v = 0; v < vectors; ++v) {
                const int at = i * plane_step + v * number;
                rules[i][v] = Rule<kComplex, kRule>(load<kComplex>(a + at));
                dh[i][v] = load<kComplex>(out.dstate + at);
                after[i][v] = load<kComplex>(states + steps * tile_step + at);
                da[i][v] = db[i][v] = dc[i][v] = zero<kComplex>();
            }
        }
        for (int64_t t = steps - 1; t >= 0; --t) {
            const TileOperand<kSelectiveB> bt(b, t);
            const TileOperand<kSelectiveC> ct(c, t);
            N share_b[2] = {zero<kComplex>(), zero<kComplex>()}, share_c[2] = {zero<kComplex>(), zero<kComplex>()};
            HWY_UNROLL(2)
            for (int v = 0; v < vectors; ++v) {
                const int64_t at_time = t * width + v * lane_count;
                const V dt = hn::Load(tag, arrays.dt + at_time), x = hn::Load(tag, arrays.x + at_time);
                const V dy = hn::Load(tag, arrays.dy + at_time);
                V by_input = hn::Load(tag, arrays.by_input + at_time), by_dt = hn::Load(tag, arrays.by_dt + at_time);
                HWY_UNROLL(2)
                for (int i = 0; i < 2; ++i) {
                    const int64_t at = t * tile_step + i * plane_step + v * number;
                    const auto& rule = rules[i][v];
                    const N bn = bt.get(b, i, v), cn = ct.get(c, i, v);
                    const N before = load<kComplex>(states + at), abar = load<kComplex>(abars + at);
                    dh[i][v] = conj_scale_add(cn, dy, dh[i][v]);
                    N& dc_sum = kSelectiveC ? share_c[i] : dc[i][v];
                    dc_sum = conj_scale_add(after[i][v], dy, dc_sum);
                    N& db_sum = kSelectiveB ? share_b[i] : db[i][v];
                    N previous = conj_mul(abar, dh[i][v]);
                    if constexpr (euler) {
                        db_sum = scale_add(dh[i][v], x, db_sum);
                        by_input = real_conj_mul_add(bn, dh[i][v], by_input);
                        const N by_rate = conj_mul(before, previous);  // gradient of dt A
                        da[i][v] = scale_add(by_rate, dt, da[i][v]);
                        by_dt = real_conj_mul_add(rule.a, by_rate, by_dt);
                    } else {
                        const N aux = load<kComplex>(auxs + at), gamma = rule.gamma(dt, aux);
                        const N gamma_dh = conj_mul(gamma, dh[i][v]);
                        db_sum = scale_add(gamma_dh, x, db_sum);
                        by_input = real_conj_mul_add(bn, gamma_dh, by_input);
                        const N slope_dh = conj_mul(rule.slope(abar, aux), dh[i][v]);
                        const N by_rate = conj_mul(before, slope_dh);
                        const N dgamma = scale(conj_mul(bn, dh[i][v]), x);
                        da[i][v] = add(scale_add(by_rate, dt, da[i][v]), conj_mul(rule.gamma_a(dt, abar, aux), dgamma));
                        by_dt = real_conj_mul_add(rule.a, by_rate, by_dt);
                        by_dt = hn::MulAdd(x, real_conj_mul_add(bn, slope_dh, hn::Zero(tag)), by_dt);
                    }
                    dh[i][v] = previous;
                    after[i][v] = before;
                }
                hn::Store(by_input, tag, arrays.by_input + at_time);
                hn::Store(by_dt, tag, arrays.by_dt + at_time);
            }
            float* share = nullptr;  // there is none where B and C are constant
            if constexpr (kSelectiveB || kSelectiveC) share = out.shares + t * out.share_stride;
            if constexpr (kComplex) {
                if constexpr (kSelectiveB)
                    store_sums(share_b[0].re, share_b[0].im, share_b[1].re, share_b[1].im, share);
                if constexpr (kSelectiveC)
                    store_sums(share_c[0].re, share_c[0].im, share_c[1].re, share_c[1].im, share + 4);
            } else if constexpr (kSelectiveB || kSelectiveC) {
                store_sums(share_b[0].re, share_b[1].re, share_c[0].re, share_c[1].re, share);
            }
        }
        HWY_UNROLL(2)
        for (int i = 0; i < 2; ++i) {
            HWY_UNROLL(2)
            for (int v = 0; v < vectors; ++v) {
                const int at = i * plane_step + v * number;
                store(dh[i][v], out.dstate + at);
                store(add(da[i][v], load<kComplex>(out.da + at)), out.da + at);
                if constexpr (!kSelectiveB) store(add(db[i][v], load<kComplex>(out.db + at)), out.db + at);
                if constexpr (!kSelectiveC) store(add(dc[i][v], load<kComplex>(out.dc + at)), out.dc + at);
            }
        }
    }

    // Groups [first_group, last_group) of a batch row through chunks [first_chunk, last_chunk), from the last one.
    static void run(const SelectiveScanBackward& op, const BackwardWork& work, int64_t batch, int64_t first_group,
                    int64_t last_group, int64_t first_chunk, int64_t last_chunk) {
        const Planes& planes = work.planes;
        const int64_t length = op.u[1], channels = op.u[2], size = planes.size();
        float* start = work.scratch;
        float* padded_b = start + size;
        float* padded_c = padded_b + SelectiveRows::padding_size(planes);
        const Arrays arrays(padded_c + SelectiveRows::padding_size(planes));
        float* states = arrays.dt + BackwardWork::array_count * chunk_steps * width;
        float* abars = states + (chunk_steps + 1) * tile_step;
        float* auxs = abars + chunk_steps * tile_step;
        const int64_t share_stride = BackwardWork::share_size(planes);

        for (int64_t chunk = last_chunk - 1; chunk >= first_chunk; --chunk) {
            const int64_t begin = chunk * chunk_steps, steps = std::min(chunk_steps, length - begin);
            const int64_t row = batch * length + begin;
            SelectiveRows rows_b{}, rows_c{};
            if constexpr (kSelectiveB) rows_b = SelectiveRows::of_chunk(op.b, planes, row, steps, padded_b);
            if constexpr (kSelectiveC) rows_c = SelectiveRows::of_chunk(op.c, planes, row, steps, padded_c);
            for (int64_t g = first_group; g < last_group; ++g) {
                const int64_t unit = batch * planes.groups() + g;
                rows_to_plane(planes, g, StateMatrix::of_pairs(op.checkpoints, planes),
                              (chunk * op.u[0] + batch) * channels, start);
                prepare(op, row, steps, g * width, arrays);
                for (int64_t n = 0; n < planes.padded_states(); n += tile_states) {
                    const int64_t of_group = g * size + n * plane_step, of_unit = unit * size + n * plane_step;
                    const float* a = work.parameters.a + of_group;
                    const Operand b{kSelectiveB ? rows_b.data + n * parts : work.parameters.b + of_group,
                                    rows_b.stride};
                    const Operand c{kSelectiveC ? rows_c.data + n * parts : work.parameters.c + of_group,
                                    rows_c.stride};
                    Gradients out{work.dstate + of_unit, work.da + of_unit, nullptr, nullptr, nullptr, share_stride};
                    if constexpr (!kSelectiveB) out.db = work.db + of_unit;
                    if constexpr (!kSelectiveC) out.dc = work.dc + of_unit;
                    if constexpr (kSelectiveB || kSelectiveC)
                        out.shares = work.shares +
                                     (unit * work.chunks_per_pass + chunk - first_chunk) * chunk_steps * share_stride +
                                     n * 2 * parts;
                    run_forward(arrays, steps, a, b, c, start + n * plane_step, states, abars, auxs);
                    run_backward(arrays, steps, a, b, c, states, abars, auxs, out);
                }
                finish(op, row, steps, g * width, arrays, work.dskip + unit * width, work.dbias + unit * width);
            }
        }
    }

    static void prepare(const SelectiveScanBackward& op, int64_t row, int64_t steps, int64_t first,
                        const Arrays& arrays) {
        for (int v = 0; v < vectors; ++v) {
            const int64_t d = first + v * lane_count, count = std::max<int64_t>(0, op.u[2] - d);
            const V bias = op.delta_bias ? load_channels(op.delta_bias.as<float>() + d, count) : hn::Zero(tag);
            V slope = constant(1), dt = op.softplus ? softplus(bias, slope) : bias;
            for (int64_t t = 0; t < steps; ++t) {
                const int64_t at = t * width + v * lane_count;
                if (op.delta) {
                    dt = hn::Add(load_channels(op.delta.row<float>(row + t) + d, count), bias);
                    if (op.softplus) dt = softplus(dt, slope);
                }
                const V u = load_channels(op.u.row<float>(row + t) + d, count);
                V dy = load_channels(op.dy.row<float>(row + t) + d, count);
                if (op.z) {
                    const V z = load_channels(op.z.row<float>(row + t) + d, count), s = simd::sigmoid(tag, z);
                    hn::Store(hn::Mul(dy, simd::silu_slope(tag, z, s)), tag, arrays.gate_slope + at);
                    dy = hn::Mul(dy, hn::Mul(z, s));
                }
                hn::Store(dt, tag, arrays.dt + at);
                hn::Store(slope, tag, arrays.softplus_slope + at);
                hn::Store(u, tag, arrays.u + at);
                hn::Store(euler ? hn::Mul(dt, u) : u, tag, arrays.x + at);
                hn::Store(kComplex ? hn::Add(dy, dy) : dy, tag, arrays.dy + at);
                for (float* sum : {arrays.y, arrays.by_input, arrays.by_dt}) hn::Store(hn::Zero(tag), tag, sum + at);
            }
        }
    }

    static void finish(const SelectiveScanBackward& op, int64_t row, int64_t steps, int64_t first, const Arrays& arrays,
                       float* dskip, float* dbias) {
        for (int v = 0; v < vectors; ++v) {
            const int64_t d = first + v * lane_count, count = std::max<int64_t>(0, op.u[2] - d);
            const V skip = op.skip ? load_channels(op.skip.as<float>() + d, count) : hn::Zero(tag);
            V dskip_sum = hn::Zero(tag), dbias_sum = hn::Zero(tag);
            for (int64_t t = steps - 1; t >= 0; --t) {
                const int64_t at = t * width + v * lane_count;
                const V u = hn::Load(tag, arrays.u + at), by_input = hn::Load(tag, arrays.by_input + at);
                V dy = hn::Load(tag, arrays.dy + at), y = hn::Load(tag, arrays.y + at);
                V du = by_input, ddt = hn::Load(tag, arrays.by_dt + at);
                if constexpr (kComplex) dy = hn::Mul(dy, constant(0.5f)), y = hn::Add(y, y);
                if constexpr (euler) {
                    du = hn::Mul(du, hn::Load(tag, arrays.dt + at));
                    ddt = hn::MulAdd(u, by_input, ddt);
                }
                ddt = hn::Mul(ddt, hn::Load(tag, arrays.softplus_slope + at));
                store_channels(hn::MulAdd(skip, dy, du), op.du.row<float>(row + t) + d, count);
                if (op.delta) store_channels(ddt, op.ddelta.row<float>(row + t) + d, count);
                if (op.z) {
                    y = hn::Mul(hn::MulAdd(skip, u, y), hn::Load(tag, arrays.gate_slope + at));
                    store_channels(y, op.dz.row<float>(row + t) + d, count);
                }
                dskip_sum = hn::MulAdd(dy, u, dskip_sum);
                dbias_sum = hn::Add(dbias_sum, ddt);
            }
            dskip += v * lane_count, dbias += v * lane_count;
            hn::Store(hn::Add(dskip_sum, hn::Load(tag, dskip)), tag, dskip);
            hn::Store(hn::Add(dbias_sum, hn::Load(tag, dbias)), tag, dbias);
        }
    }
};

template <bool kComplex, Discretization kRule>
void backward_variant(const SelectiveScanBackward& op, const BackwardWork& work, int64_t b, int64_t g0, int64_t g1,
                      int64_t c0, int64_t c1) {
    if (op.selective_b)
        op.selective_c ? Backward<kComplex, kRule, true, true>::run(op, work, b, g0, g1, c0, c1)
                       : Backward<kComplex, kRule, true, false>::run(op, work, b, g0, g1, c0, c1);
    else
        op.selective_c ? Backward<kComplex, kRule, false, true>::run(op, work, b, g0, g1, c0, c1)
                       : Backward<kComplex, kRule, false, false>::run(op, work, b, g0, g1, c0, c1);
}

template <bool kComplex>
void backward_rule(const SelectiveScanBackward& op, const BackwardWork& work, int64_t b, int64_t g0, int64_t g1,
                   int64_t c0, int64_t c1) {
    constexpr auto euler = Discretization::euler, zoh = Discretization::zoh, bilinear = Discretization::bilinear;
    switch (op.discretization) {
        case euler:
            return backward_variant<kComplex, euler>(op, work, b, g0, g1, c0, c1);
        case zoh:
            return backward_variant<kComplex, zoh>(op, work, b, g0, g1, c0, c1);
        case bilinear:
            return backward_variant<kComplex, bilinear>(op, work, b, g0, g1, c0, c1);
    }
}

// Groups [g0, g1) of batch row b, chunks [c0, c1).
void backward_run(const SelectiveScanBackward& op, const BackwardWork& work, int64_t b, int64_t g0, int64_t g1,
                  int64_t c0, int64_t c1) {
    op.is_complex ? backward_rule<true>(op, work, b, g0, g1, c0, c1)
                  : backward_rule<false>(op, work, b, g0, g1, c0, c1);
}

int64_t backward_lanes() { return lane_count; }
int64_t backward_vectors(bool is_complex) {
    using enum Discretization;
    return is_complex ? Backward<true, euler, true, true>::vectors : Backward<false, euler, true, true>::vectors;
}

}  // namespace
}  // namespace nigiri::cpu::scan::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nigiri::cpu::scan {

HWY_EXPORT(backward_run);
HWY_EXPORT(backward_lanes);
HWY_EXPORT(backward_vectors);

namespace {

// Adds up the groups' shares of one (batch row, time step) and writes them to dB and dC.
void merge_shares(const SelectiveScanBackward& op, const BackwardWork& work, int64_t batch, int64_t t,
                  int64_t pass_step) {
    const Planes& planes = work.planes;
    const int64_t size = BackwardWork::share_size(planes), group_stride = work.chunks_per_pass * chunk_steps * size;
    float* sum = work.shares + batch * planes.groups() * group_stride + pass_step * size;
    for (int64_t g = 1; g < planes.groups(); ++g)
        for (int64_t i = 0; i < size; ++i) sum[i] += sum[g * group_stride + i];
    const int64_t numbers = planes.states * planes.parts, per_tile = tile_states * planes.parts;
    const auto write = [&](const View& v, const float* share) {
        float* row = v.row<float>(batch * op.u[1] + t);
        for (int64_t i = 0; i < numbers; i += per_tile, share += 2 * per_tile)
            std::copy_n(share, std::min(per_tile, numbers - i), row + i);
    };
    if (op.selective_b) write(op.db, sum);
    if (op.selective_c) write(op.dc, sum + per_tile);
}

// Adds the units' planes, one for every batch row, to a parameter's gradient. Sums over batch rows run in double.
void add_planes(const SelectiveScanBackward& op, const Planes& planes, const float* units, const View& gradient) {
    for (int64_t g = 0; g < planes.groups(); ++g)
        for_each_number(planes, g, StateMatrix::of_states(gradient, planes), 0, [&](int64_t i, float* x) {
            double sum = 0;
            for (int64_t b = 0; b < op.u[0]; ++b) sum += units[(b * planes.groups() + g) * planes.size() + i];
            *x += static_cast<float>(sum);
        });
}

void add_channels(const SelectiveScanBackward& op, const Planes& planes, const float* units, const View& gradient) {
    const int64_t stride = planes.groups() * planes.width();
    for (int64_t d = 0; d < planes.channels; ++d) {
        double sum = 0;
        for (int64_t b = 0; b < op.u[0]; ++b) sum += units[b * stride + d];
        gradient.as<float>()[d] += static_cast<float>(sum);
    }
}

}  // namespace

void backward_f32(const SelectiveScanBackward& op, CpuBackend& backend) {
    const Planes planes(op, HWY_DYNAMIC_DISPATCH(backward_lanes)(),
                        HWY_DYNAMIC_DISPATCH(backward_vectors)(op.is_complex));
    const int64_t units = op.u[0] * planes.groups(), length = op.u[1], chunks = chunks_of(length);
    const int64_t threads = op.u.size() * planes.states > parallel_threshold ? backend.threads() : 1;
    const int64_t scan_threads = std::min(threads, units);
    const bool shared = op.selective_b || op.selective_c;
    const int64_t share_size = shared ? units * chunk_steps * BackwardWork::share_size(planes) : 0;  // of a chunk
    // A table of 4 MiB where that holds at least a chunk: small beside the activations, but a pass's work is large
    // beside waking the threads.
    const int64_t pass = shared ? std::clamp<int64_t>((int64_t{1} << 20) / share_size, 1, chunks) : chunks;

    const int64_t parameters_size = ParameterPlanes::size(op, planes), own = BackwardWork::scratch_size(planes);
    const int64_t sums = units * (planes.size() * (2 + !op.selective_b + !op.selective_c) + 2 * planes.width());
    const Tensor memory =
        backend.allocate({parameters_size + sums + pass * share_size + scan_threads * own}, DType::f32);
    float* at = memory.as<float>();
    const auto take = [&](int64_t n) { return std::exchange(at, at + n); };
    const ParameterPlanes parameters(op, planes, take(parameters_size));
    std::fill_n(at, sums, 0.0f);
    BackwardWork work{planes, parameters, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, pass, nullptr};
    work.dstate = take(units * planes.size());
    work.da = take(units * planes.size());
    if (!op.selective_b) work.db = take(units * planes.size());
    if (!op.selective_c) work.dc = take(units * planes.size());
    work.dskip = take(units * planes.width());
    work.dbias = take(units * planes.width());
    work.shares = take(pass * share_size);
    work.scratch = at;

    for (int64_t end = chunks; end > 0; end -= pass) {
        const int64_t begin = std::max<int64_t>(0, end - pass);
#pragma omp parallel for num_threads(static_cast <int>(scan_threads)) if (scan_threads > 1) schedule(static)
        for (int64_t i = 0; i < scan_threads; ++i) {
            BackwardWork part = work;
            part.scratch += i * own;
            for_each_run(units * i / scan_threads, units * (i + 1) / scan_threads, planes.groups(),
                         [&](int64_t b, int64_t g0, int64_t g1) {
                             HWY_DYNAMIC_DISPATCH(backward_run)(op, part, b, g0, g1, begin, end);
                         });
        }
        if (!shared) continue;
        const int64_t first = begin * chunk_steps, steps = std::min(length, end * chunk_steps) - first;
#pragma omp parallel for num_threads(static_cast <int>(threads)) if (threads > 1) schedule(static)
        for (int64_t i = 0; i < op.u[0] * steps; ++i) merge_shares(op, work, i / steps, first + i % steps, i % steps);
    }
    add_planes(op, planes, work.da, op.da);
    if (!op.selective_b) add_planes(op, planes, work.db, op.db);
    if (!op.selective_c) add_planes(op, planes, work.dc, op.dc);
    if (op.skip) add_channels(op, planes, work.dskip, op.dskip);
    if (op.delta_bias) add_channels(op, planes, work.dbias, op.ddelta_bias);
}

}  // namespace nigiri::cpu::scan
#endif
