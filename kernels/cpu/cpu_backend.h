// The CPU backend: oneDNN products, FFTW (or kissfft) transforms, Highway SIMD chosen at run time, OpenMP threads.
// Every operation is one file of this folder, named after its header. float32 is the fast path; float64 is plain
// code, the judge of the fast path and of gradients.
#pragma once

#include "kernels/backend.h"
#include "kernels/block_pool.h"

namespace nigiri {

class CpuBackend final : public Backend {
  public:
    explicit CpuBackend(int threads = 0);

    std::string name() const override { return "cpu"; }
    std::string description() const override;
    bool supports(DType dtype) const override { return dtype != DType::bf16; }
    int threads() const { return threads_; }

    size_t bytes_in_use() const override { return pool_.in_use(); }
    size_t peak_bytes() const override { return pool_.peak(); }
    void reset_peak() override { pool_.reset_peak(); }
    size_t available_bytes() const override;
    void upload(const void* host, const View& to) override;
    void download(const View& from, void* host) override;
    void synchronize() override {}

    void fill(const Fill&) override;
    void copy(const Copy&) override;
    void add(const Add&) override;
    void shift_forward(const ShiftForward&) override;
    void shift_backward(const ShiftBackward&) override;
    void gelu_forward(const GeluForward&) override;
    void gelu_backward(const GeluBackward&) override;
    void glu_forward(const GluForward&) override;
    void glu_backward(const GluBackward&) override;
    void gate_forward(const GateForward&) override;
    void gate_backward(const GateBackward&) override;
    void product_forward(const ProductForward&) override;
    void product_backward(const ProductBackward&) override;
    void negative_exp_forward(const NegativeExpForward&) override;
    void negative_exp_backward(const NegativeExpBackward&) override;
    void embedding_forward(const EmbeddingForward&) override;
    void embedding_backward(const EmbeddingBackward&) override;
    void linear_forward(const LinearForward&) override;
    void linear_backward(const LinearBackward&) override;
    void norm_forward(const NormForward&) override;
    void norm_backward(const NormBackward&) override;
    void causal_conv1d_forward(const CausalConv1dForward&) override;
    void causal_conv1d_backward(const CausalConv1dBackward&) override;
    void selective_scan_forward(const SelectiveScanForward&) override;
    void selective_scan_backward(const SelectiveScanBackward&) override;
    void s4d_kernel_forward(const S4dKernelForward&) override;
    void s4d_kernel_backward(const S4dKernelBackward&) override;
    void s4d_discretize(const S4dDiscretize&) override;
    void s4d_recurrence(const S4dRecurrence&) override;
    bool s4d_conv_is_fused(DType) const override { return false; }
    void s4d_conv_forward(const S4dConvForward&) override;
    void s4d_conv_backward(const S4dConvBackward&) override;
    void s4_kernel_forward(const S4KernelForward&) override;
    void s4_kernel_backward(const S4KernelBackward&) override;
    void s4_discretize(const S4Discretize&) override;
    void s4_recurrence(const S4Recurrence&) override;
    void long_conv_forward(const LongConvForward&) override;
    void long_conv_backward(const LongConvBackward&) override;
    void attention_forward(const AttentionForward&) override;
    void attention_backward(const AttentionBackward&) override;
    void rotary(const Rotary&) override;
    void filter_features(const FilterFeatures&) override;
    void filter_sine_forward(const FilterSineForward&) override;
    void filter_sine_backward(const FilterSineBackward&) override;
    void filter_window(const FilterWindow&) override;
    void history_conv(const HistoryConv&) override;
    void cross_entropy(const CrossEntropy&) override;
    void adamw(const AdamW&) override;
    double sum(const View& x) override;
    double sum_of_squares(const View& x) override;

  private:
    void* acquire(size_t bytes) override;
    void release(void* data, size_t bytes) override { pool_.release(data, bytes); }

    int threads_;
    BlockPool pool_;
};

}  // namespace nigiri
