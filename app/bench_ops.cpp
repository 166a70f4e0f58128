#include "app/bench_ops.h"

#include <chrono>
#include <functional>

#include "kernels/random.h"

namespace nigiri::app {

namespace {

using Clock = std::chrono::steady_clock;

class Stage {
  public:
    Stage(std::shared_ptr<Backend> backend, const Config& config, size_t index, int repeat, std::vector<OpTime>& out)
        : backend_(std::move(backend)), config_(config), repeat_(repeat), out_(out) {
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
            linear(width_, 2 * inner);
            conv1d(inner);
            state_space(inner, layer.ssm, true);
            linear(inner, width_);
        } else {
            state_space(width_, layer.ssm, false);
            gelu(width_);
            linear(width_, 2 * width_);
            if (layer.ff_expand > 0) {
                norm(width_);
                linear(width_, layer.ff_expand * width_);
                gelu(layer.ff_expand * width_);
                linear(layer.ff_expand * width_, width_);
            }
        }
    }

    // Once a network rather than once a layer: head and loss.
    void head() {
        time("linear (head)", width_, 1, [&] { linear_calls(width_, config_.model.vocabulary); });
    }

  private:
    Tensor random(const Shape& shape, double scale = 0.1) {
        Tensor t = backend_->allocate(shape, DType::f32);
        std::vector<float> host(static_cast<size_t>(t.size()));
        for (float& x : host) x = static_cast<float>(scale * random_.normal());
        backend_->upload(host.data(), t);
        return t;
    }

    // `make` sets forward_ and backward_; both are then timed.
    void time(const std::string& name, int64_t columns, int64_t count, const std::function<void()>& make) {
        make();
        const auto measure = [&](const std::function<void()>& f) {
            f();
            const auto start = Clock::now();
            for (int i = 0; i < repeat_; ++i) f();
            backend_->synchronize();
            return std::chrono::duration<double, std::milli>(Clock::now() - start).count() / repeat_;
        };
        OpTime t;
        t.name = name;
        t.shape = "(" + std::to_string(batch_) + ", " + std::to_string(length_) + ", " + std::to_string(columns) + ")";
        t.forward_ms = measure(forward_);
        t.backward_ms = measure(backward_);
        t.nanoseconds_per_token = 1e6 * (t.forward_ms + t.backward_ms) * static_cast<double>(count) /
                                  static_cast<double>(config_.training.batch * config_.training.length);
        out_.push_back(t);
        forward_ = backward_ = nullptr;
        alive_.clear();
    }

    void linear_calls(int64_t in, int64_t out) {
        const Tensor x = random({batch_, length_, in}), w = random({out, in}), y = random({batch_, length_, out});
        const Tensor dx = random({batch_, length_, in}), dw = random({out, in});
        forward_ = [=, this] { backend_->linear_forward({.x = x, .weight = w, .bias = {}, .y = y}); };
        backward_ = [=, this] {
            backend_->linear_backward({.x = x, .weight = w, .dy = y, .dx = dx, .dweight = dw, .dbias = {}});
        };
    }

    void linear(int64_t in, int64_t out) {
        time("linear " + std::to_string(in) + " -> " + std::to_string(out), in, config_.model.layers, [&] { linear_calls(in, out); });
    }

    void norm(int64_t width) {
        time("norm", width, config_.model.layers, [&] {
            const Tensor x = random({batch_, length_, width}), w = random({width}), b = random({width});
            const Tensor y = random({batch_, length_, width}), mean = random({batch_ * length_}), rstd = random({batch_ * length_});
            const Tensor dw = random({width}), db = random({width});
            forward_ = [=, this] { backend_->norm_forward({.x = x, .weight = w, .bias = b, .y = y, .mean = mean, .rstd = rstd}); };
            backward_ = [=, this] {
                backend_->norm_backward({.x = x, .weight = w, .bias = b, .mean = mean, .rstd = rstd, .dy = y, .dx = y, .dweight = dw, .dbias = db});
            };
        });
    }

    void gelu(int64_t width) {
        time("gelu", width, config_.model.layers, [&] {
            const Tensor x = random({batch_, length_, width}), y = random({batch_, length_, width});
            forward_ = [=, this] { backend_->gelu_forward({.x = x, .y = y}); };
            backward_ = [=, this] { backend_->gelu_backward({.x = x, .dy = y, .dx = y}); };
        });
    }

    void conv1d(int64_t inner) {
        const int64_t taps = config_.model.outer.conv_width;
        time("causal conv1d + silu", inner, config_.model.layers, [&] {
            const Tensor x = random({batch_, length_, inner}), w = random({inner, taps}), b = random({inner});
            const Tensor y = random({batch_, length_, inner}), dx = random({batch_, length_, inner});
            const Tensor dw = random({inner, taps}), db = random({inner});
            forward_ = [=, this] { backend_->causal_conv1d_forward({.x = x, .weight = w, .bias = b, .y = y, .state = {}}); };
            backward_ = [=, this] {
                backend_->causal_conv1d_backward({.x = x, .weight = w, .bias = b, .dy = y, .dx = dx, .dweight = dw, .dbias = db});
            };
        });
    }

    void state_space(int64_t width, const SsmConfig& ssm, bool gated) {
        if (ssm.kind == SsmKind::s6) scan(width, ssm);
        else s4d(width, ssm);
        if (gated && ssm.kind != SsmKind::s6)
            time("gate", width, config_.model.layers, [&] {
                const Tensor x = random({batch_, length_, width}), z = random({batch_, length_, width}), y = random({batch_, length_, width});
                const Tensor dz = random({batch_, length_, width});
                forward_ = [=, this] { backend_->gate_forward({.x = x, .z = z, .y = y}); };
                backward_ = [=, this] { backend_->gate_backward({.x = x, .z = z, .dy = y, .dx = y, .dz = dz}); };
            });
    }

    void scan(int64_t width, const SsmConfig& ssm) {
        time("selective scan, N " + std::to_string(ssm.state), width, config_.model.layers, [&] {
            const int64_t n = ssm.stored_states(), numbers = ssm.is_complex ? 2 * n : n, every = selective_scan_checkpoint_every;
            const Shape act{batch_, length_, width}, bc{batch_, length_, numbers};
            const Shape poles = ssm.is_complex ? Shape{width, n, 2} : Shape{width, n};
            const Tensor a = random(poles);
            backend_->fill({.y = a, .value = -1});
            SelectiveScan s;
            s.is_complex = ssm.is_complex;
            s.discretization = ssm.discretization;
            const Tensor u = random(act), delta = random(act), bias = random({width}), b = random(bc), c = random(bc), z = random(act);
            const Tensor skip = random({width}), y = random(act), checkpoints = random({(length_ + every - 1) / every, batch_, width, numbers});
            const Tensor du = random(act), dd = random(act), dbias = random({width}), da = random(poles), db = random(bc), dc = random(bc);
            const Tensor dskip = random({width}), dz = random(act);
            s.u = u, s.delta = delta, s.delta_bias = bias, s.a = a, s.b = b, s.c = c, s.skip = skip, s.z = z;
            alive_ = {u, delta, bias, a, b, c, z, skip};
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
            const Tensor inv_dt = random({width}), a_real = random(single), a_imag = random(single), b = random(value), c = random(value);
            backend_->fill({.y = inv_dt, .value = -4});
            const Tensor kernel = random({width, length_}), g0 = random({width}), g1 = random(single), g2 = random(single), g3 = random(value), g4 = random(value);
            S4dParameters p;
            p.is_complex = pairs;
            p.discretization = ssm.discretization;
            p.inv_dt = inv_dt, p.a_real = a_real, p.b = b, p.c = c;
            if (pairs) p.a_imag = a_imag;
            alive_ = {inv_dt, a_real, a_imag, b, c};
            forward_ = [=, this] { backend_->s4d_kernel_forward({p, kernel}); };
            backward_ = [=, this] {
                backend_->s4d_kernel_backward({p, kernel, g0, g1, pairs ? g2.view() : View{}, g3, g4});
            };
        });
        time("long convolution", width, config_.model.layers, [&] {
            const Shape act{batch_, length_, width};
            const Tensor u = random(act), kernel = random({width, length_}), skip = random({width}), y = random(act), du = random(act);
            const Tensor dk = random({width, length_}), ds = random({width});
            forward_ = [=, this] { backend_->long_conv_forward({.u = u, .kernel = kernel, .skip = skip, .y = y}); };
            backward_ = [=, this] {
                backend_->long_conv_backward({.u = u, .kernel = kernel, .skip = skip, .dy = y, .du = du, .dkernel = dk, .dskip = ds});
            };
        });
    }

    std::shared_ptr<Backend> backend_;
    const Config& config_;
    int repeat_;
    std::vector<OpTime>& out_;
    int64_t batch_ = 1, length_ = 1, width_ = 1;
    Random random_{1};
    std::function<void()> forward_, backward_;
    std::vector<Tensor> alive_;  // what the timed calls look at through Views
};

}  // namespace

std::vector<OpTime> bench_operations(const std::shared_ptr<Backend>& backend, const Config& config, int repeat,
                                     const std::atomic<bool>& stop) {
    std::vector<OpTime> out;
    for (size_t i = 0; i <= config.model.pools.size() && !stop.load(); ++i) {
        Stage stage(backend, config, i, repeat, out);
        stage.run();
        if (i == 0) stage.head();
    }
    return out;
}

}  // namespace nigiri::app
