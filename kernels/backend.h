// One interface, two backends. A backend owns memory on its device and runs operations there, in the order
// they are called. An operation's formula, shapes and gradient rules stand in that operation's own header.
//
// Rules that hold for every operation:
//  - outputs marked `=` are overwritten, `+=` are added to; gradients of parameters are always `+=`;
//  - float operands of one call share one element type, with one exception: where the activations are bf16, all that
//    is a parameter, a parameter's gradient, a state kept between calls, a row statistic or a loss is f32. Operations
//    that stand between such activations and a float32 residual stream (copy, add, norm, linear, cross_entropy) say in
//    their headers what they mix;
//  - a backend may decline an operation or a type: then `supports` is false and the call throws. Nothing is ever
//    moved to another device silently;
//  - results are deterministic for a given device and number of threads (no atomics on floats).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/activation.h"
#include "kernels/adamw.h"
#include "kernels/attention.h"
#include "kernels/causal_conv1d.h"
#include "kernels/cross_entropy.h"
#include "kernels/elementwise.h"
#include "kernels/embedding.h"
#include "kernels/history_conv.h"
#include "kernels/implicit_filter.h"
#include "kernels/linear.h"
#include "kernels/long_conv.h"
#include "kernels/norm.h"
#include "kernels/rotary.h"
#include "kernels/s4_kernel.h"
#include "kernels/s4d_conv.h"
#include "kernels/s4d_kernel.h"
#include "kernels/selective_scan.h"
#include "kernels/tensor.h"

namespace nigiri {

// Operations that a backend has recorded: the same ones on the same memory, which stays theirs as long as this lives.
class RecordedWork {
  public:
    virtual ~RecordedWork() = default;
    // Runs them, in the order of the backend's other work. False, with nothing done, where the backend had to give the
    // recording up because memory was short; it is then of no more use.
    virtual bool replay() = 0;
};

class Backend : public std::enable_shared_from_this<Backend> {
  public:
    virtual ~Backend() = default;

    virtual std::string name() const = 0;         // "cpu", "cuda"
    virtual std::string description() const = 0;  // for people: processor, threads, instruction set
    virtual bool supports(DType dtype) const = 0;

    // Memory. Blocks come from a pool: after the first step of a loop nothing is asked of the system.
    // Contents are undefined. Tensors keep their backend alive.
    Tensor allocate(const Shape& shape, DType dtype);
    Tensor zeros(const Shape& shape, DType dtype);
    // The same with rows that begin on 16 bytes, so that kernels may load any of them in whole vectors.
    Tensor allocate_rows(const Shape& shape, DType dtype);
    // Bytes in use now and at most since the last reset; pooled but unused blocks are not counted.
    virtual size_t bytes_in_use() const = 0;
    virtual size_t peak_bytes() const = 0;
    virtual void reset_peak() = 0;
    // What could still be allocated, the pool's unused blocks included; 0 where unknown.
    virtual size_t available_bytes() const = 0;
    virtual void upload(const void* host, const View& to) = 0;  // `to` contiguous
    virtual void download(const View& from, void* host) = 0;    // `from` contiguous; waits
    virtual void synchronize() = 0;

    // Whether record() saves time here; where not, it must not be called.
    virtual bool can_record() const { return false; }
    // Calls `work` once and keeps the operations it asks for instead of running them. Tensors that it makes must be
    // gone when it returns; what goes in and out stands in tensors made before, which it must not give up and which
    // must outlive the recording. Whatever depends on values that change from run to run must stay outside, or be read
    // from such a tensor. Nothing may wait, be uploaded or be downloaded inside, and nobody else may use the backend
    // meanwhile. Operations that were never run before may cost the recording: run `work` plainly first. Throws Error
    // where it cannot be done, with nothing run and the backend as before.
    virtual std::shared_ptr<RecordedWork> record(const std::function<void()>& work);

    virtual void fill(const Fill&) = 0;
    virtual void copy(const Copy&) = 0;
    virtual void add(const Add&) = 0;
    virtual void shift_forward(const ShiftForward&) = 0;
    virtual void shift_backward(const ShiftBackward&) = 0;
    virtual void gelu_forward(const GeluForward&) = 0;
    virtual void gelu_backward(const GeluBackward&) = 0;
    virtual void glu_forward(const GluForward&) = 0;
    virtual void glu_backward(const GluBackward&) = 0;
    virtual void gate_forward(const GateForward&) = 0;
    virtual void gate_backward(const GateBackward&) = 0;
    virtual void product_forward(const ProductForward&) = 0;
    virtual void product_backward(const ProductBackward&) = 0;
    virtual void negative_exp_forward(const NegativeExpForward&) = 0;
    virtual void negative_exp_backward(const NegativeExpBackward&) = 0;
    virtual void embedding_forward(const EmbeddingForward&) = 0;
    virtual void embedding_backward(const EmbeddingBackward&) = 0;
    virtual void linear_forward(const LinearForward&) = 0;
    virtual void linear_backward(const LinearBackward&) = 0;
    virtual void norm_forward(const NormForward&) = 0;
    virtual void norm_backward(const NormBackward&) = 0;
    virtual void causal_conv1d_forward(const CausalConv1dForward&) = 0;
    virtual void causal_conv1d_backward(const CausalConv1dBackward&) = 0;
    virtual void selective_scan_forward(const SelectiveScanForward&) = 0;
    virtual void selective_scan_backward(const SelectiveScanBackward&) = 0;
    virtual void s4d_kernel_forward(const S4dKernelForward&) = 0;
    virtual void s4d_kernel_backward(const S4dKernelBackward&) = 0;
    virtual void s4d_discretize(const S4dDiscretize&) = 0;
    virtual void s4d_recurrence(const S4dRecurrence&) = 0;
    // Whether s4d_conv is faster here than s4d_kernel and long_conv, of which it may be composed, and loses nothing
    // against them that activations of this type could keep.
    virtual bool s4d_conv_is_fused(DType activations) const = 0;
    virtual void s4d_conv_forward(const S4dConvForward&) = 0;
    virtual void s4d_conv_backward(const S4dConvBackward&) = 0;
    virtual void s4_kernel_forward(const S4KernelForward&) = 0;
    virtual void s4_kernel_backward(const S4KernelBackward&) = 0;
    virtual void s4_discretize(const S4Discretize&) = 0;
    virtual void s4_recurrence(const S4Recurrence&) = 0;
    virtual void long_conv_forward(const LongConvForward&) = 0;
    virtual void long_conv_backward(const LongConvBackward&) = 0;
    virtual void attention_forward(const AttentionForward&) = 0;
    virtual void attention_backward(const AttentionBackward&) = 0;
    virtual void rotary(const Rotary&) = 0;
    virtual void filter_features(const FilterFeatures&) = 0;
    virtual void filter_sine_forward(const FilterSineForward&) = 0;
    virtual void filter_sine_backward(const FilterSineBackward&) = 0;
    virtual void filter_window(const FilterWindow&) = 0;
    virtual void history_conv(const HistoryConv&) = 0;
    virtual void cross_entropy(const CrossEntropy&) = 0;
    virtual void adamw(const AdamW&) = 0;
    virtual void adamw_step(const AdamWStep&);
    // The common norm of the gradients that the last adamw_step of this set found, before clipping; waits.
    virtual double gradient_norm(const AdamWSet&);
    // Sums of all elements or their squares, in double, in a fixed order; they wait.
    virtual double sum(const View& x) = 0;
    virtual double sum_of_squares(const View& x) = 0;

  protected:
    friend class Buffer;
    virtual void* acquire(size_t bytes) = 0;
    virtual void release(void* data, size_t bytes) = 0;
};

// "cpu", "cuda", or "auto" (CUDA where there is a usable device, else the CPU). Throws Error where the device asked
// for is missing. `threads` 0 means all processors (CPU only).
std::shared_ptr<Backend> make_backend(const std::string& device = "auto", int threads = 0);

// The devices this build and this machine offer, best first.
std::vector<std::string> available_devices();

}  // namespace nigiri
