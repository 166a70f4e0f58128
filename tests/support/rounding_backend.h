// The CPU backend with bfloat16: every operation is computed in float32 and rounded where its operands are bfloat16, as
// the CUDA backend does. With it the types that a network's parts hand to each other are tested without a GPU.
#pragma once

#include <cstdlib>

#include "kernels/backend.h"
#include "tests/support/check.h"

namespace nigiri::test {

class RoundingBackend final : public Backend {
  public:
    std::string name() const override { return "rounding"; }
    std::string description() const override { return "CPU with bfloat16"; }
    bool supports(DType) const override { return true; }
    size_t bytes_in_use() const override { return in_use_; }
    size_t peak_bytes() const override { return peak_; }
    void reset_peak() override { peak_ = in_use_; }
    size_t available_bytes() const override { return cpu_->available_bytes(); }
    void upload(const void* host, const View& to) override { cpu_->upload(host, to); }
    void download(const View& from, void* host) override { cpu_->download(from, host); }
    void synchronize() override {}

    void fill(const Fill& op) override {
        Wide y(*this, op.y);
        cpu_->fill({.y = y, .value = op.value});
    }
    void copy(const Copy& op) override {
        if (op.x.dtype == op.y.dtype && op.x.dtype != DType::bf16) return cpu_->copy(op);
        const Wide x(*this, op.x);
        Wide y(*this, op.y);
        cpu_->copy({.x = x, .y = y});
    }
    void add(const Add& op) override {
        const Wide x1(*this, op.x1), x2(*this, op.x2);
        Wide y(*this, op.y);
        cpu_->add({.x1 = x1, .x2 = x2, .y = y});
    }
    void shift_forward(const ShiftForward& op) override {
        same(op.x, op.y);
        const Wide x(*this, op.x);
        Wide y(*this, op.y);
        cpu_->shift_forward({.x = x, .y = y});
    }
    void shift_backward(const ShiftBackward& op) override {
        same(op.dy, op.dx);
        const Wide dy(*this, op.dy);
        Wide dx(*this, op.dx);
        cpu_->shift_backward({.dy = dy, .dx = dx});
    }
    void gelu_forward(const GeluForward& op) override {
        same(op.x, op.y);
        const Wide x(*this, op.x);
        Wide y(*this, op.y);
        cpu_->gelu_forward({.x = x, .y = y});
    }
    void gelu_backward(const GeluBackward& op) override {
        same(op.x, op.dy), same(op.x, op.dx);
        const Wide x(*this, op.x), dy(*this, op.dy);
        Wide dx(*this, op.dx);
        cpu_->gelu_backward({.x = x, .dy = dy, .dx = dx});
    }
    void glu_forward(const GluForward& op) override {
        same(op.x, op.y);
        const Wide x(*this, op.x);
        Wide y(*this, op.y);
        cpu_->glu_forward({.x = x, .y = y});
    }
    void glu_backward(const GluBackward& op) override {
        same(op.x, op.dx), narrower(op.x, op.dy);
        const Wide x(*this, op.x), dy(*this, op.dy);
        Wide dx(*this, op.dx);
        cpu_->glu_backward({.x = x, .dy = dy, .dx = dx});
    }
    void gate_forward(const GateForward& op) override {
        same(op.x, op.z), same(op.x, op.y);
        const Wide x(*this, op.x), z(*this, op.z);
        Wide y(*this, op.y);
        cpu_->gate_forward({.x = x, .z = z, .y = y});
    }
    void gate_backward(const GateBackward& op) override {
        same(op.x, op.z), same(op.x, op.dy), same(op.x, op.dx), same(op.x, op.dz);
        const Wide x(*this, op.x), z(*this, op.z), dy(*this, op.dy);
        Wide dx(*this, op.dx), dz(*this, op.dz);
        cpu_->gate_backward({.x = x, .z = z, .dy = dy, .dx = dx, .dz = dz});
    }
    void product_forward(const ProductForward& op) override {
        same(op.x1, op.x2), same(op.x1, op.y);
        const Wide x1(*this, op.x1), x2(*this, op.x2);
        Wide y(*this, op.y);
        cpu_->product_forward({.x1 = x1, .x2 = x2, .y = y});
    }
    void product_backward(const ProductBackward& op) override {
        same(op.x1, op.x2), same(op.x1, op.dy), same(op.x1, op.dx1), same(op.x1, op.dx2);
        const Wide x1(*this, op.x1), x2(*this, op.x2), dy(*this, op.dy);
        Wide dx1(*this, op.dx1), dx2(*this, op.dx2);
        cpu_->product_backward({.x1 = x1, .x2 = x2, .dy = dy, .dx1 = dx1, .dx2 = dx2});
    }
    void negative_exp_forward(const NegativeExpForward& op) override { cpu_->negative_exp_forward(op); }
    void negative_exp_backward(const NegativeExpBackward& op) override { cpu_->negative_exp_backward(op); }
    void embedding_forward(const EmbeddingForward& op) override { cpu_->embedding_forward(op); }
    void embedding_backward(const EmbeddingBackward& op) override { cpu_->embedding_backward(op); }

    void linear_forward(const LinearForward& op) override {
        narrower(op.x, op.y), narrower(op.x, op.weight);
        const Wide x(*this, op.x), weight(*this, op.weight), bias(*this, op.bias), residual(*this, op.residual);
        Wide y(*this, op.y);
        cpu_->linear_forward(
            {.x = x, .weight = weight, .bias = bias, .y = y, .accumulate = op.accumulate, .residual = residual});
    }
    void linear_backward(const LinearBackward& op) override {
        narrower(op.x, op.dy), narrower(op.x, op.weight);
        if (op.dx) same(op.x, op.dx);
        const Wide x(*this, op.x), weight(*this, op.weight), dy(*this, op.dy);
        Wide dx(*this, op.dx);
        cpu_->linear_backward({.x = x, .weight = weight, .dy = dy, .dx = dx, .dweight = op.dweight, .dbias = op.dbias});
    }
    void norm_forward(const NormForward& op) override {
        narrower(op.y, op.x);
        const Wide x(*this, op.x);
        Wide y(*this, op.y);
        NormForward wide = op;
        wide.x = x, wide.y = y;
        cpu_->norm_forward(wide);
    }
    void norm_backward(const NormBackward& op) override {
        narrower(op.dy, op.x), same(op.x, op.dx);
        const Wide x(*this, op.x), dy(*this, op.dy);
        Wide dx(*this, op.dx);
        NormBackward wide = op;
        wide.x = x, wide.dy = dy, wide.dx = dx;
        cpu_->norm_backward(wide);
    }
    void causal_conv1d_forward(const CausalConv1dForward& op) override {
        same(op.x, op.y);
        const Wide x(*this, op.x);
        Wide y(*this, op.y);
        cpu_->causal_conv1d_forward({x, op.weight, op.bias, y, op.state, op.silu});
    }
    void causal_conv1d_backward(const CausalConv1dBackward& op) override {
        same(op.x, op.dy), same(op.x, op.dx);
        const Wide x(*this, op.x), dy(*this, op.dy);
        Wide dx(*this, op.dx);
        cpu_->causal_conv1d_backward({x, op.weight, op.bias, dy, dx, op.dweight, op.dbias, op.silu});
    }
    void selective_scan_forward(const SelectiveScanForward& op) override {
        same(op.u, op.y);
        const Wide u(*this, op.u), delta(*this, op.delta), b(*this, op.b), c(*this, op.c), z(*this, op.z);
        Wide y(*this, op.y);
        SelectiveScanForward wide = op;
        wide.u = u, wide.delta = delta, wide.b = b, wide.c = c, wide.z = z, wide.y = y;
        cpu_->selective_scan_forward(wide);
    }
    void selective_scan_backward(const SelectiveScanBackward& op) override {
        same(op.u, op.dy), same(op.u, op.du);
        const Wide u(*this, op.u), delta(*this, op.delta), b(*this, op.b), c(*this, op.c), z(*this, op.z),
            dy(*this, op.dy);
        Wide du(*this, op.du), ddelta(*this, op.ddelta), db(*this, op.db), dc(*this, op.dc), dz(*this, op.dz);
        SelectiveScanBackward wide = op;
        wide.u = u, wide.delta = delta, wide.b = b, wide.c = c, wide.z = z, wide.dy = dy;
        wide.du = du, wide.ddelta = ddelta, wide.db = db, wide.dc = dc, wide.dz = dz;
        cpu_->selective_scan_backward(wide);
    }
    void s4d_kernel_forward(const S4dKernelForward& op) override { cpu_->s4d_kernel_forward(op); }
    void s4d_kernel_backward(const S4dKernelBackward& op) override { cpu_->s4d_kernel_backward(op); }
    void s4d_discretize(const S4dDiscretize& op) override { cpu_->s4d_discretize(op); }
    void s4d_recurrence(const S4dRecurrence& op) override {
        const Wide u(*this, op.u);
        Wide y(*this, op.y);
        S4dRecurrence wide = op;
        wide.u = u, wide.y = y;
        cpu_->s4d_recurrence(wide);
    }
    bool s4d_conv_is_fused(DType) const override { return true; }  // as on CUDA
    void s4d_conv_forward(const S4dConvForward& op) override {
        same(op.u, op.y);
        const Wide u(*this, op.u);
        Wide y(*this, op.y);
        S4dConvForward wide = op;
        wide.u = u, wide.y = y;
        cpu_->s4d_conv_forward(wide);
    }
    void s4d_conv_backward(const S4dConvBackward& op) override {
        same(op.u, op.dy), same(op.u, op.du);
        const Wide u(*this, op.u), dy(*this, op.dy);
        Wide du(*this, op.du);
        S4dConvBackward wide = op;
        wide.u = u, wide.dy = dy, wide.du = du;
        cpu_->s4d_conv_backward(wide);
    }
    void s4_kernel_forward(const S4KernelForward& op) override { cpu_->s4_kernel_forward(op); }
    void s4_kernel_backward(const S4KernelBackward& op) override { cpu_->s4_kernel_backward(op); }
    void s4_discretize(const S4Discretize& op) override { cpu_->s4_discretize(op); }
    void s4_recurrence(const S4Recurrence& op) override {
        const Wide u(*this, op.u);
        Wide y(*this, op.y);
        S4Recurrence wide = op;
        wide.u = u, wide.y = y;
        cpu_->s4_recurrence(wide);
    }
    void long_conv_forward(const LongConvForward& op) override {
        same(op.u, op.y);
        const Wide u(*this, op.u);
        Wide y(*this, op.y);
        cpu_->long_conv_forward({.u = u, .kernel = op.kernel, .skip = op.skip, .y = y});
    }
    void long_conv_backward(const LongConvBackward& op) override {
        same(op.u, op.dy), same(op.u, op.du);
        const Wide u(*this, op.u), dy(*this, op.dy);
        Wide du(*this, op.du);
        cpu_->long_conv_backward({.u = u,
                                  .kernel = op.kernel,
                                  .skip = op.skip,
                                  .dy = dy,
                                  .du = du,
                                  .dkernel = op.dkernel,
                                  .dskip = op.dskip});
    }
    void attention_forward(const AttentionForward& op) override {
        same(op.q, op.k), same(op.q, op.v), same(op.q, op.y);
        const Wide q(*this, op.q), k(*this, op.k), v(*this, op.v);
        Wide y(*this, op.y);
        AttentionForward wide = op;
        wide.q = q, wide.k = k, wide.v = v, wide.y = y;
        cpu_->attention_forward(wide);
    }
    void attention_backward(const AttentionBackward& op) override {
        for (const View* v : {&op.k, &op.v, &op.y, &op.dy, &op.dq, &op.dk, &op.dv}) same(op.q, *v);
        const Wide q(*this, op.q), k(*this, op.k), v(*this, op.v), y(*this, op.y), dy(*this, op.dy);
        Wide dq(*this, op.dq), dk(*this, op.dk), dv(*this, op.dv);
        cpu_->attention_backward({.heads = op.heads,
                                  .q = q,
                                  .k = k,
                                  .v = v,
                                  .y = y,
                                  .log_sums = op.log_sums,
                                  .dy = dy,
                                  .dq = dq,
                                  .dk = dk,
                                  .dv = dv});
    }
    void rotary(const Rotary& op) override {
        same(op.x, op.y);
        const Wide x(*this, op.x);
        Wide y(*this, op.y);
        cpu_->rotary({.heads = op.heads, .x = x, .y = y, .first = op.first, .inverse = op.inverse});
    }
    void filter_features(const FilterFeatures& op) override { cpu_->filter_features(op); }
    void filter_sine_forward(const FilterSineForward& op) override { cpu_->filter_sine_forward(op); }
    void filter_sine_backward(const FilterSineBackward& op) override { cpu_->filter_sine_backward(op); }
    void filter_window(const FilterWindow& op) override { cpu_->filter_window(op); }
    void history_conv(const HistoryConv& op) override { cpu_->history_conv(op); }
    void cross_entropy(const CrossEntropy& op) override {
        const Wide logits(*this, op.logits);
        Wide dlogits(*this, op.dlogits);
        CrossEntropy wide = op;
        wide.logits = logits, wide.dlogits = dlogits;
        cpu_->cross_entropy(wide);
    }
    void adamw(const AdamW& op) override { cpu_->adamw(op); }
    void adamw_step(const AdamWStep& op) override {
        AdamWSet plain{op.set.items, nullptr};
        for (auto& item : plain.items) item.rounded = {};
        AdamWStep step{plain, op.factor, op.beta1, op.beta2, op.eps, op.clip, op.step};
        cpu_->adamw_step(step);
        op.set.prepared = plain.prepared;
        for (const auto& item : op.set.items)
            if (item.rounded) copy({.x = item.weight, .y = item.rounded});
    }
    double gradient_norm(const AdamWSet& set) override { return cpu_->gradient_norm(set); }
    double sum(const View& x) override { return cpu_->sum(x); }
    double sum_of_squares(const View& x) override { return cpu_->sum_of_squares(x); }

  private:
    // An operand in float32: itself, or a copy that is rounded back into a bfloat16 operand at the end.
    class Wide {
      public:
        Wide(const RoundingBackend& backend, const View& v) : original_(v), wide_(v) {
            if (v.empty() || v.dtype != DType::bf16) return;
            copy_ = backend.cpu_->allocate(v.shape, DType::f32);
            for (int64_t i = 0; i < v.size(); ++i) set(copy_, i, get(v, i));
            wide_ = copy_;
        }
        ~Wide() {
            if (!writable_ || !copy_) return;
            for (int64_t i = 0; i < original_.size(); ++i) set(original_, i, get(copy_, i));
        }
        Wide(const Wide&) = delete;
        Wide& operator=(const Wide&) = delete;
        operator const View&() const { return wide_; }  // NOLINT: stands in for the operand
        operator const View&() {                        // NOLINT: an operand that may be written
            writable_ = true;
            return wide_;
        }

      private:
        View original_, wide_;
        Tensor copy_;
        bool writable_ = false;
    };

    // What the CUDA backend asks of the types.
    static void same(const View& a, const View& b) {
        if (a.dtype != b.dtype) throw Error("operands of different types where one is expected");
    }
    static void narrower(const View& a, const View& b) {
        if (a && b && size_of(a.dtype) > size_of(b.dtype)) throw Error("an operand is narrower than the other may be");
    }

    void* acquire(size_t bytes) override {
        in_use_ += bytes;
        peak_ = std::max(peak_, in_use_);
        return std::aligned_alloc(64, (bytes + 63) / 64 * 64);
    }
    void release(void* data, size_t bytes) override {
        in_use_ -= bytes;
        std::free(data);
    }

    std::shared_ptr<Backend> cpu_ = make_backend("cpu", 2);
    size_t in_use_ = 0, peak_ = 0;
};

}  // namespace nigiri::test
