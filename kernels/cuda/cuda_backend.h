// The CUDA backend: cuBLASLt products, cuFFT transforms, own kernels for the rest. Every operation is one .cu file of
// this folder, named after its header. Everything runs on one stream, in the order of the calls; only download,
// synchronize, the sums and gradient_norm wait. float32 and, for activations, bfloat16; no float64.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <vector>

#include "kernels/backend.h"
#include "kernels/block_pool.h"

namespace nigiri {

namespace cuda {
class FftPlans;
class Graph;
class MatrixProducts;
}  // namespace cuda

class CudaBackend final : public Backend {
  public:
    // Throws Error where there is no usable device.
    CudaBackend();
    ~CudaBackend() override;
    static bool available();

    std::string name() const override { return "cuda"; }
    std::string description() const override;
    bool supports(DType dtype) const override { return dtype != DType::f64; }
    cudaStream_t stream() const { return stream_; }
    int multiprocessors() const { return multiprocessors_; }

    size_t bytes_in_use() const override { return pool_.in_use(); }
    size_t peak_bytes() const override { return pool_.peak(); }
    void reset_peak() override { pool_.reset_peak(); }
    size_t available_bytes() const override;
    void upload(const void* host, const View& to) override;
    void download(const View& from, void* host) override;
    void synchronize() override;
    bool can_record() const override { return true; }
    // As a CUDA graph.
    std::shared_ptr<RecordedWork> record(const std::function<void()>& work) override;

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
    // Its products carry 17 bits: more than bf16 activations have, less than float32 ones.
    bool s4d_conv_is_fused(DType activations) const override { return activations == DType::bf16; }
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
    void adamw_step(const AdamWStep&) override;
    double gradient_norm(const AdamWSet&) override;
    double sum(const View& x) override;
    double sum_of_squares(const View& x) override;

  private:
    struct Products;  // linear.cu

    void* acquire(size_t bytes) override;
    void release(void* data, size_t bytes) override { pool_.release(data, bytes); }
    void drop_graphs();

    cudaStream_t stream_ = nullptr;
    int multiprocessors_ = 0;
    std::string description_;
    std::unique_ptr<cuda::MatrixProducts> products_;  // made by the first product
    BlockPool pool_;
    bool recording_ = false;
    std::vector<std::weak_ptr<cuda::Graph>> graphs_;
    std::unique_ptr<cuda::FftPlans> fft_;
};

}  // namespace nigiri
