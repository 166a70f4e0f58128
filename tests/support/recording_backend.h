// The CPU backend with recordings that are what a GPU's are: the operations with the memory they were given, run again
// in order, and nothing else. Memory that a recording keeps is filled with rubbish before and after every replay, so
// that whatever relies on what lies there, or was given a part of it, comes out wrong. With it the code that records is
// tested without a GPU.
#pragma once

#include <cstdlib>
#include <cstring>
#include <set>

#include "kernels/backend.h"
#include "kernels/block_pool.h"

namespace nigiri::test {

class RecordingBackend final : public Backend {
  public:
    std::string name() const override { return "recording"; }
    std::string description() const override { return "CPU that records"; }
    bool supports(DType dtype) const override { return cpu_->supports(dtype); }
    size_t bytes_in_use() const override { return pool_.in_use(); }
    size_t peak_bytes() const override { return pool_.peak(); }
    void reset_peak() override { pool_.reset_peak(); }
    size_t available_bytes() const override { return cpu_->available_bytes(); }
    void upload(const void* host, const View& to) override { waits(), cpu_->upload(host, to); }
    void download(const View& from, void* host) override { waits(), cpu_->download(from, host); }
    void synchronize() override { waits(); }

    bool can_record() const override { return true; }
    std::shared_ptr<RecordedWork> record(const std::function<void()>& work) override;

    int recorded = 0, replayed = 0;  // recordings made, and how often one was run
    bool refuses = false;            // every recording fails
    bool gives_up = false;           // the next replay is refused, as where memory is short

    void fill(const Fill& op) override { run(&Backend::fill, op); }
    void copy(const Copy& op) override { run(&Backend::copy, op); }
    void add(const Add& op) override { run(&Backend::add, op); }
    void shift_forward(const ShiftForward& op) override { run(&Backend::shift_forward, op); }
    void shift_backward(const ShiftBackward& op) override { run(&Backend::shift_backward, op); }
    void gelu_forward(const GeluForward& op) override { run(&Backend::gelu_forward, op); }
    void gelu_backward(const GeluBackward& op) override { run(&Backend::gelu_backward, op); }
    void glu_forward(const GluForward& op) override { run(&Backend::glu_forward, op); }
    void glu_backward(const GluBackward& op) override { run(&Backend::glu_backward, op); }
    void gate_forward(const GateForward& op) override { run(&Backend::gate_forward, op); }
    void gate_backward(const GateBackward& op) override { run(&Backend::gate_backward, op); }
    void product_forward(const ProductForward& op) override { run(&Backend::product_forward, op); }
    void product_backward(const ProductBackward& op) override { run(&Backend::product_backward, op); }
    void negative_exp_forward(const NegativeExpForward& op) override { run(&Backend::negative_exp_forward, op); }
    void negative_exp_backward(const NegativeExpBackward& op) override { run(&Backend::negative_exp_backward, op); }
    void embedding_forward(const EmbeddingForward& op) override { run(&Backend::embedding_forward, op); }
    void embedding_backward(const EmbeddingBackward& op) override { run(&Backend::embedding_backward, op); }
    void linear_forward(const LinearForward& op) override { run(&Backend::linear_forward, op); }
    void linear_backward(const LinearBackward& op) override { run(&Backend::linear_backward, op); }
    void norm_forward(const NormForward& op) override { run(&Backend::norm_forward, op); }
    void norm_backward(const NormBackward& op) override { run(&Backend::norm_backward, op); }
    void causal_conv1d_forward(const CausalConv1dForward& op) override { run(&Backend::causal_conv1d_forward, op); }
    void causal_conv1d_backward(const CausalConv1dBackward& op) override { run(&Backend::causal_conv1d_backward, op); }
    void selective_scan_forward(const SelectiveScanForward& op) override { run(&Backend::selective_scan_forward, op); }
    void selective_scan_backward(const SelectiveScanBackward& op) override {
        run(&Backend::selective_scan_backward, op);
    }
    void s4d_kernel_forward(const S4dKernelForward& op) override { run(&Backend::s4d_kernel_forward, op); }
    void s4d_kernel_backward(const S4dKernelBackward& op) override { run(&Backend::s4d_kernel_backward, op); }
    void s4d_discretize(const S4dDiscretize& op) override { run(&Backend::s4d_discretize, op); }
    void s4d_recurrence(const S4dRecurrence& op) override { run(&Backend::s4d_recurrence, op); }
    bool s4d_conv_is_fused(DType activations) const override { return cpu_->s4d_conv_is_fused(activations); }
    void s4d_conv_forward(const S4dConvForward& op) override { run(&Backend::s4d_conv_forward, op); }
    void s4d_conv_backward(const S4dConvBackward& op) override { run(&Backend::s4d_conv_backward, op); }
    void s4_kernel_forward(const S4KernelForward& op) override { run(&Backend::s4_kernel_forward, op); }
    void s4_kernel_backward(const S4KernelBackward& op) override { run(&Backend::s4_kernel_backward, op); }
    void s4_discretize(const S4Discretize& op) override { run(&Backend::s4_discretize, op); }
    void s4_recurrence(const S4Recurrence& op) override { run(&Backend::s4_recurrence, op); }
    void long_conv_forward(const LongConvForward& op) override { run(&Backend::long_conv_forward, op); }
    void long_conv_backward(const LongConvBackward& op) override { run(&Backend::long_conv_backward, op); }
    void attention_forward(const AttentionForward& op) override { run(&Backend::attention_forward, op); }
    void attention_backward(const AttentionBackward& op) override { run(&Backend::attention_backward, op); }
    void rotary(const Rotary& op) override { run(&Backend::rotary, op); }
    void filter_features(const FilterFeatures& op) override { run(&Backend::filter_features, op); }
    void filter_sine_forward(const FilterSineForward& op) override { run(&Backend::filter_sine_forward, op); }
    void filter_sine_backward(const FilterSineBackward& op) override { run(&Backend::filter_sine_backward, op); }
    void filter_window(const FilterWindow& op) override { run(&Backend::filter_window, op); }
    void history_conv(const HistoryConv& op) override { run(&Backend::history_conv, op); }
    void cross_entropy(const CrossEntropy& op) override { run(&Backend::cross_entropy, op); }
    void adamw(const AdamW& op) override { run(&Backend::adamw, op); }
    double sum(const View& x) override { return waits(), cpu_->sum(x); }
    double sum_of_squares(const View& x) override { return waits(), cpu_->sum_of_squares(x); }

  private:
    using Operations = std::vector<std::function<void()>>;
    using Blocks = std::map<void*, size_t>;

    class Replayed final : public RecordedWork {
      public:
        Replayed(std::shared_ptr<RecordingBackend> backend, Operations operations, Blocks blocks,
                 std::unique_ptr<BlockPool::Reservation> memory)
            : backend_(std::move(backend)),
              operations_(std::move(operations)),
              blocks_(std::move(blocks)),
              memory_(std::move(memory)) {}
        bool replay() override {
            if (std::exchange(backend_->gives_up, false)) memory_ = nullptr, operations_.clear();
            if (!memory_) return false;
            memory_->count_use();
            spoil();
            for (const auto& operation : operations_) operation();
            spoil();
            ++backend_->replayed;
            return true;
        }

      private:
        void spoil() const {
            for (const auto& [data, bytes] : blocks_) std::memset(data, 0xff, bytes);  // not a number, in any type
        }

        std::shared_ptr<RecordingBackend> backend_;
        Operations operations_;
        Blocks blocks_;
        std::unique_ptr<BlockPool::Reservation> memory_;
    };

    template <class Op>
    void run(void (Backend::*operation)(const Op&), const Op& op) {
        if (!recording_) return (cpu_.get()->*operation)(op);
        operations_.push_back([cpu = cpu_, operation, op] { (cpu.get()->*operation)(op); });
    }
    void waits() const {
        if (recording_) throw Error("this cannot be recorded");
    }

    void* acquire(size_t bytes) override {
        void* const data = pool_.acquire(bytes);
        if (data == nullptr) throw Error("out of memory");
        if (recording_) taken_[data] = pool_.rounded(bytes);
        return data;
    }
    void release(void* data, size_t bytes) override { pool_.release(data, bytes); }

    std::shared_ptr<Backend> cpu_ = make_backend("cpu", 2);
    BlockPool pool_{64, {[](size_t bytes) { return std::aligned_alloc(64, bytes); }, std::free}};
    bool recording_ = false;
    Operations operations_;
    Blocks taken_;
};

inline std::shared_ptr<RecordedWork> RecordingBackend::record(const std::function<void()>& work) {
    if (refuses) throw Error("this backend refuses to record");
    operations_.clear(), taken_.clear();
    recording_ = true;
    pool_.begin_reservation();
    std::exception_ptr failure;
    try {
        work();
    } catch (...) {
        failure = std::current_exception();
    }
    recording_ = false;
    std::unique_ptr<BlockPool::Reservation> memory = pool_.end_reservation();
    if (failure) std::rethrow_exception(failure);
    if (memory->missing() > 0) throw Error("memory taken while operations were recorded is still in use");
    ++recorded;
    return std::make_shared<Replayed>(std::static_pointer_cast<RecordingBackend>(shared_from_this()),
                                      std::move(operations_), std::move(taken_), std::move(memory));
}

}  // namespace nigiri::test
