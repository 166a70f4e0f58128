#include "app/bench_ops.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <iostream>

#include "kernels/random.h"
#include "model/network.h"

namespace nigiri::app {

namespace {

using Clock = std::chrono::steady_clock;

class Stage {
  public:
    Stage(std::shared_ptr<Backend> backend, const Config& config, size_t index, int repeat, std::vector<OpTime>& out)
        : backend_(std::move(backend)), config_(config), repeat_(repeat), out_(out) {
        type_ = activation_type(config.training.precision, *backend_);
        batch_ = config.training.batch;
        length_ = config.training.length;
        width_ = config.model.width;
        for (size_t i = 0; i < index; ++i) {
            length_ /= config.model.pools[i];
            width_ *= config.model.pool_expand;
        }
        length_ = std::max<int64_t>(length_, 1);
    }

    void run() {
        const LayerConfig& layer = config_.model.outer;
        norm(width_);
        if (layer.block == BlockKind::mamba) {
            const int64_t inner = layer.expand * width_;
            linear(width_, 2 * inner, false);
            conv1d(inner);
            state_space(inner, layer.ssm, layer.ssm.dt_rank > 0 ? layer.ssm.dt_rank : (width_ + 15) / 16);
            if (layer.ssm.kind != SsmKind::s6) gate(inner);
            linear_to_residual(inner, width_, false);
        } else {
            state_space(width_, layer.ssm, (width_ + 15) / 16);
            gelu(width_);
            linear(width_, 2 * width_, true);
            glu_and_add(width_);
            if (layer.ff_expand > 0) {
                norm(width_);
                linear(width_, layer.ff_expand * width_, true);
                gelu(layer.ff_expand * width_);
                linear_to_residual(layer.ff_expand * width_, width_, true);
            }
        }
    }

    // Once a network rather than once a layer: embedding, final norm, head and loss.
    void ends() {
        const int64_t vocabulary = config_.model.vocabulary;
        time("embedding", width_, 1, [&] {
            const Tensor tokens = backend_->zeros({batch_, length_}, DType::i32),
                         table = values({vocabulary, width_}, DType::f32);
            std::vector<int32_t> host(static_cast<size_t>(tokens.size()));
            for (int32_t& t : host) t = static_cast<int32_t>(random_.below(static_cast<uint64_t>(vocabulary)));
            backend_->upload(host.data(), tokens);
            const Tensor y = values({batch_, length_, width_}, DType::f32),
                         dtable = values({vocabulary, width_}, DType::f32);
            forward_bytes_ = backward_bytes_ = bytes({tokens, y});
            forward_ = [=, this] { backend_->embedding_forward({.tokens = tokens, .table = table, .y = y}); };
            backward_ = [=, this] { backend_->embedding_backward({.tokens = tokens, .dy = y, .dtable = dtable}); };
        });
        linear("head", width_, vocabulary, DType::f32, 1, /*bias=*/true, type_);
        time("cross entropy", vocabulary, 1, [&] {
            const Tensor logits = values({batch_, length_, vocabulary}, DType::f32),
                         dlogits = values(logits.shape(), type_);
            const Tensor targets = backend_->zeros({batch_ * length_}, DType::i32),
                         losses = backend_->zeros({batch_ * length_}, DType::f32);
            forward_bytes_ = bytes({logits, targets, losses});
            backward_bytes_ = forward_bytes_ + bytes({dlogits});
            forward_ = [=, this] {
                backend_->cross_entropy({.logits = logits, .targets = targets, .losses = losses, .dlogits = {}});
            };
            backward_ = [=, this] {
                backend_->cross_entropy(
                    {.logits = logits, .targets = targets, .losses = losses, .dlogits = dlogits, .scale = 1e-3});
            };
        });
    }

    // What moves bytes and does nothing else.
    void copy() {
        time("copy", 1 << 13, 0, [&] {
            const Tensor x = values({1 << 13, 1 << 13}, DType::f32), y = values({1 << 13, 1 << 13}, DType::f32);
            forward_bytes_ = bytes({x, y});
            forward_ = [=, this] { backend_->copy({.x = x, .y = y}); };
        });
    }

  private:
    // Random values. A million of them are repeated: drawing all on the host would take longer than everything
    // measured.
    Tensor values(const Shape& shape, DType dtype) {
        constexpr int64_t drawn = 1 << 20;
        if (!pattern_) {
            std::vector<float> host(drawn);
            for (float& x : host) x = static_cast<float>(random_.normal());
            pattern_ = backend_->allocate({1, drawn}, DType::f32);
            backend_->upload(host.data(), pattern_);
            backend_->synchronize();
        }
        Tensor t = backend_->allocate(shape, dtype);
        const View flat = t.view().reshaped({1, t.size()});
        for (int64_t at = 0; at < t.size(); at += drawn) {
            const int64_t count = std::min(drawn, t.size() - at);
            backend_->copy({.x = pattern_.columns(0, count), .y = flat.columns(at, count)});
        }
        return t;
    }
    Tensor activations(const Shape& shape) { return values(shape, type_); }
    Tensor parameters(const Shape& shape) { return values(shape, DType::f32); }

    static double bytes(const std::vector<Tensor>& tensors) {
        double sum = 0;
        for (const Tensor& t : tensors) sum += static_cast<double>(t.size()) * static_cast<double>(size_of(t.dtype()));
        return sum;
    }

    // `make` sets forward_ and backward_, and the bytes they must move; both are then timed.
    void time(const std::string& name, int64_t columns, int64_t count, const std::function<void()>& make) {
        try {
            make();
            forward_();
        } catch (const Error& e) {
            std::cerr << name << " is left out: " << e.what() << "\n";
            return finish();
        }
        const auto measure = [&](const std::function<void()>& f) {
            if (!f) return 0.0;
            f();
            backend_->synchronize();
            const auto start = Clock::now();
            for (int i = 0; i < repeat_; ++i) f();
            backend_->synchronize();
            return std::chrono::duration<double, std::milli>(Clock::now() - start).count() / repeat_;
        };
        OpTime t;
        t.name = name;
        t.shape = Shape{batch_, length_, columns}.text();
        t.forward_ms = measure(forward_);
        t.backward_ms = measure(backward_);
        t.forward_bytes = forward_bytes_, t.backward_bytes = backward_bytes_;
        t.nanoseconds_per_token = 1e6 * (t.forward_ms + t.backward_ms) * static_cast<double>(count) /
                                  static_cast<double>(config_.training.batch * config_.training.length);
        out_.push_back(t);
        finish();
    }
    void finish() {
        forward_ = backward_ = nullptr;
        forward_bytes_ = backward_bytes_ = 0;
        alive_.clear();
    }

    // A residual stream's type `out` comes with the residual; the gradient of y is of type `gradient`.
    void linear(const std::string& name, int64_t in, int64_t out, DType type, int64_t count, bool bias, DType gradient,
                int64_t in_pitch = 0, int64_t out_pitch = 0) {
        std::string label = "linear " + std::to_string(in) + " -> " + std::to_string(out);
        if (!name.empty()) label.append(", ").append(name);
        time(label, in, count, [&] {
            const auto rows = [&](int64_t columns, int64_t pitch, DType dtype) {
                return values({batch_, length_, std::max(columns, pitch)}, dtype).columns(0, columns);
            };
            const Tensor x = rows(in, in_pitch, type_), w = values({out, in}, type_), y = rows(out, out_pitch, type);
            const Tensor residual = name == "residual" ? values(y.shape(), type) : Tensor();
            const Tensor b = bias ? parameters({out}) : Tensor(), db = bias ? parameters({out}) : Tensor();
            const Tensor dy = gradient == type ? y : values(y.shape(), gradient), dx = rows(in, in_pitch, type_),
                         dw = parameters(w.shape());
            forward_bytes_ = bytes({x, w, y}) + bytes({residual});
            backward_bytes_ = bytes({x, w, dy, dx, dw});
            forward_ = [=, this] {
                backend_->linear_forward({.x = x, .weight = w, .bias = b, .y = y, .residual = residual});
            };
            backward_ = [=, this] {
                backend_->linear_backward({.x = x, .weight = w, .dy = dy, .dx = dx, .dweight = dw, .dbias = db});
            };
        });
    }
    void linear(int64_t in, int64_t out, bool bias) { linear("", in, out, type_, config_.model.layers, bias, type_); }
    void linear_to_residual(int64_t in, int64_t out, bool bias) {
        linear("residual", in, out, DType::f32, config_.model.layers, bias, DType::f32);
    }

    void norm(int64_t width) {
        time("norm", width, config_.model.layers, [&] {
            const Shape shape{batch_, length_, width};
            const Tensor x = values(shape, DType::f32), w = parameters({width}), b = parameters({width});
            const Tensor y = activations(shape), mean = values({batch_ * length_}, DType::f32),
                         rstd = values({batch_ * length_}, DType::f32);
            const Tensor dx = values(shape, DType::f32), dw = parameters({width}), db = parameters({width});
            forward_bytes_ = bytes({x, y, mean, rstd});
            backward_bytes_ = bytes({x, y, dx, dx, mean, rstd});
            forward_ = [=, this] {
                backend_->norm_forward({.x = x, .weight = w, .bias = b, .y = y, .mean = mean, .rstd = rstd});
            };
            backward_ = [=, this] {
                backend_->norm_backward({.x = x,
                                         .weight = w,
                                         .bias = b,
                                         .mean = mean,
                                         .rstd = rstd,
                                         .dy = y,
                                         .dx = dx,
                                         .dweight = dw,
                                         .dbias = db,
                                         .accumulate = true});
            };
        });
    }

    void gelu(int64_t width) {
        time("gelu", width, config_.model.layers, [&] {
            const Tensor x = activations({batch_, length_, width}), y = activations({batch_, length_, width});
            forward_bytes_ = bytes({x, y}), backward_bytes_ = bytes({x, y, y});
            forward_ = [=, this] { backend_->gelu_forward({.x = x, .y = y}); };
            backward_ = [=, this] { backend_->gelu_backward({.x = x, .dy = y, .dx = y}); };
        });
    }

    void glu_and_add(int64_t width) {
        time("glu, then add", width, config_.model.layers, [&] {
            const Shape shape{batch_, length_, width};
            const Tensor x = activations({batch_, length_, 2 * width}), y = activations(shape),
                         dx = activations(x.shape());
            const Tensor stream = values(shape, DType::f32), sum = values(shape, DType::f32);
            forward_bytes_ = bytes({x, y, y, stream, sum}), backward_bytes_ = bytes({sum, x, dx});
            forward_ = [=, this] {
                backend_->glu_forward({.x = x, .y = y});
                backend_->add({.x1 = stream, .x2 = y, .y = sum});
            };
            backward_ = [=, this] { backend_->glu_backward({.x = x, .dy = sum, .dx = dx}); };
        });
    }

    void conv1d(int64_t inner) {
        const int64_t taps = config_.model.outer.conv_width;
        time("causal conv1d + silu", inner, config_.model.layers, [&] {
            const Shape shape{batch_, length_, inner};
            const Tensor x = activations({batch_, length_, 2 * inner}).columns(0, inner), w = parameters({inner, taps}),
                         b = parameters({inner});
            const Tensor y = activations(shape), dx = activations({batch_, length_, 2 * inner}).columns(0, inner);
            const Tensor dw = parameters({inner, taps}), db = parameters({inner});
            forward_bytes_ = bytes({x, y}), backward_bytes_ = bytes({x, y, dx});
            forward_ = [=, this] {
                backend_->causal_conv1d_forward({.x = x, .weight = w, .bias = b, .y = y, .state = {}});
            };
            backward_ = [=, this] {
                backend_->causal_conv1d_backward(
                    {.x = x, .weight = w, .bias = b, .dy = y, .dx = dx, .dweight = dw, .dbias = db});
            };
        });
    }

    void state_space(int64_t width, const SsmConfig& ssm, int64_t rank) {
        if (ssm.kind != SsmKind::s6) return s4d(width, ssm);
        const int64_t numbers = ssm.is_complex ? 2 * ssm.stored_states() : ssm.stored_states();
        const int64_t columns = rank + 2 * numbers,
                      pitch = (columns + 7) / 8 * 8;  // rows on 16 bytes, as in the network
        linear("x_proj", width, columns, type_, config_.model.layers, false, type_, 0, pitch);
        linear("dt_proj", rank, width, type_, config_.model.layers, false, type_, pitch, 0);
        scan(width, ssm, rank);
    }

    void gate(int64_t width) {
        time("gate", width, config_.model.layers, [&] {
            const Shape shape{batch_, length_, width};
            const Tensor x = activations(shape), z = activations(shape), y = activations(shape),
                         dz = activations(shape);
            forward_bytes_ = bytes({x, z, y}), backward_bytes_ = bytes({x, z, y, y, dz});
            forward_ = [=, this] { backend_->gate_forward({.x = x, .z = z, .y = y}); };
            backward_ = [=, this] { backend_->gate_backward({.x = x, .z = z, .dy = y, .dx = y, .dz = dz}); };
        });
    }

    void scan(int64_t width, const SsmConfig& ssm, int64_t rank) {
        time("selective scan, N " + std::to_string(ssm.state), width, config_.model.layers, [&] {
            const int64_t n = ssm.stored_states(), numbers = ssm.is_complex ? 2 * n : n,
                          every = selective_scan_checkpoint_every;
            const Shape act{batch_, length_, width}, projection{batch_, length_, (rank + 2 * numbers + 7) / 8 * 8};
            const Shape poles = ssm.is_complex ? Shape{width, n, 2} : Shape{width, n};
            const Tensor a = parameters(poles);
            backend_->fill({.y = a, .value = -1});
            SelectiveScan s;
            s.is_complex = ssm.is_complex;
            s.discretization = ssm.discretization;
            const Tensor u = activations(act), delta = activations(act), bias = parameters({width}),
                         z = activations({batch_, length_, 2 * width}).columns(width, width);
            const Tensor projected = activations(projection), dprojected = activations(projection);
            const Tensor b = projected.columns(rank, numbers), c = projected.columns(rank + numbers, numbers);
            const Tensor skip = parameters({width}), y = activations(act),
                         checkpoints = parameters({(length_ + every - 1) / every, batch_, width, numbers});
            const Tensor du = activations(act), dd = activations(act), dbias = parameters({width}),
                         da = parameters(poles);
            const Tensor db = dprojected.columns(rank, numbers), dc = dprojected.columns(rank + numbers, numbers);
            const Tensor dskip = parameters({width}),
                         dz = activations({batch_, length_, 2 * width}).columns(width, width);
            s.u = u, s.delta = delta, s.delta_bias = bias, s.a = a, s.b = b, s.c = c, s.skip = skip, s.z = z;
            alive_ = {u, delta, bias, a, b, c, z, skip};
            forward_bytes_ = bytes({u, delta, z, b, c, y, checkpoints});
            backward_bytes_ = bytes({u, delta, z, b, c, y, checkpoints, du, dd, dz, db, dc});
            forward_ = [=, this] { backend_->selective_scan_forward({s, y, {}, checkpoints}); };
            backward_ = [=, this] {
                backend_->selective_scan_backward({s, checkpoints, y, du, dd, dbias, da, db, dc, dskip, dz});
            };
        });
    }

    void s4d(int64_t width, const SsmConfig& ssm) {
        const int64_t n = ssm.stored_states();
        const bool pairs = ssm.is_complex;
        time("s4d kernel, N " + std::to_string(ssm.state), width, config_.model.layers, [&] {
            const Shape single{width, n}, value = pairs ? Shape{width, n, 2} : Shape{width, n};
            const Tensor inv_dt = parameters({width}), a_real = parameters(single), a_imag = parameters(single),
                         b = parameters(value), c = parameters(value);
            backend_->fill({.y = inv_dt, .value = -4});
            const Tensor kernel = parameters({width, length_}), g0 = parameters({width}), g1 = parameters(single),
                         g2 = parameters(single), g3 = parameters(value), g4 = parameters(value);
            S4dParameters p;
            p.is_complex = pairs;
            p.discretization = ssm.discretization;
            p.inv_dt = inv_dt, p.a_real = a_real, p.b = b, p.c = c;
            if (pairs) p.a_imag = a_imag;
            alive_ = {inv_dt, a_real, a_imag, b, c};
            forward_bytes_ = backward_bytes_ = bytes({kernel});
            forward_ = [=, this] { backend_->s4d_kernel_forward({p, kernel}); };
            backward_ = [=, this] {
                backend_->s4d_kernel_backward({p, kernel, g0, g1, pairs ? g2.view() : View{}, g3, g4});
            };
        });
        time("long convolution", width, config_.model.layers, [&] {
            const Shape act{batch_, length_, width};
            const Tensor u = activations(act), kernel = parameters({width, length_}), skip = parameters({width}),
                         y = activations(act), du = activations(act);
            const Tensor dk = parameters({width, length_}), ds = parameters({width});
            forward_bytes_ = bytes({u, kernel, y}), backward_bytes_ = bytes({u, kernel, y, du, dk});
            forward_ = [=, this] { backend_->long_conv_forward({.u = u, .kernel = kernel, .skip = skip, .y = y}); };
            backward_ = [=, this] {
                backend_->long_conv_backward(
                    {.u = u, .kernel = kernel, .skip = skip, .dy = y, .du = du, .dkernel = dk, .dskip = ds});
            };
        });
    }

    std::shared_ptr<Backend> backend_;
    const Config& config_;
    int repeat_;
    std::vector<OpTime>& out_;
    DType type_ = DType::f32;  // of activations
    int64_t batch_ = 1, length_ = 1, width_ = 1;
    Random random_{1};
    Tensor pattern_;
    std::function<void()> forward_, backward_;
    double forward_bytes_ = 0, backward_bytes_ = 0;
    std::vector<Tensor> alive_;  // what the timed calls look at through Views
};

}  // namespace

std::vector<OpTime> bench_operations(const std::shared_ptr<Backend>& backend, const Config& config, int repeat,
                                     const std::atomic<bool>& stop) {
    const LayerConfig& layer = config.model.outer;
    if ((layer.block != BlockKind::mamba && layer.block != BlockKind::s4_mlp) || remembers_all(layer.ssm.kind))
        throw Error("the operations of " + layer_name(layer) + " are not timed one by one",
                    "use nigiri bench train, or another --layer");
    std::vector<OpTime> out;
    for (size_t i = 0; i <= config.model.pools.size() && !stop.load(); ++i) {
        Stage stage(backend, config, i, repeat, out);
        if (i == 0) {
            stage.copy();
            stage.ends();
        }
        stage.run();
    }
    return out;
}

}  // namespace nigiri::app
