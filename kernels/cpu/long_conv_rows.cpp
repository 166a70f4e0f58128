// The float32 convolution by a library's transforms of single sequences (fft.h), for builds that ask for one. A task
// is a block of channels: their samples are transposed into rows, and each row goes there and back.
#include <omp.h>

#include <algorithm>
#include <vector>

#include "kernels/cpu/common.h"
#include "kernels/cpu/fft.h"
#include "kernels/cpu/long_conv_f32.h"

namespace nigiri::cpu {

namespace {

using Spectrum = std::complex<float>;

constexpr int64_t block = 16;  // channels: a cache line of a channel-last row
constexpr int64_t strip = 64;  // samples transposed at a time

class Task {
  public:
    Task(const RealFft& fft, int64_t size, int64_t channels, int64_t channel, float* room)
        : fft_(fft), size_(size), half_(size / 2 + 1), channel_(channel), count_(std::min(block, channels - channel)) {
        row_ = (size + 15) / 16 * 16;
        complex_row_ = (half_ + 7) / 8 * 8;
        samples_ = room;
        more_samples_ = samples_ + block * row_;
        kernel_ = reinterpret_cast<Spectrum*>(more_samples_ + block * row_);
        sum_ = kernel_ + block * complex_row_;
        x_ = sum_ + block * complex_row_;
        u_ = x_ + complex_row_;
    }
    // Floats: two sets of rows of samples; spectra of the kernels, of their gradients, and of two sequences.
    static int64_t room(int64_t size) {
        return 2 * block * ((size + 15) / 16 * 16) + (2 * block + 2) * 2 * ((size / 2 + 8) / 8 * 8);
    }

    void kernel_spectra(const View& kernel, int64_t length) {
        const int64_t taps = std::min(length, kernel[1]);
        const float scale = 1.0f / static_cast<float>(size_);  // of the inverse to come
        for (int64_t c = 0; c < count_; ++c) {
            const float* from = kernel.row<float>(channel_ + c);
            std::transform(from, from + taps, samples_, [&](float k) { return scale * k; });
            std::fill(samples_ + taps, samples_ + size_, 0.0f);
            fft_.forward(samples_, kernel_ + c * complex_row_);
        }
    }

    void forward(const LongConvForward& op, int64_t b) {
        load(op.u, b, samples_);
        for (int64_t c = 0; c < count_; ++c) {
            const Spectrum* k = kernel_ + c * complex_row_;
            fft_.forward(samples_ + c * row_, x_);
            for (int64_t i = 0; i < half_; ++i) x_[i] = times(k[i], x_[i]);
            fft_.inverse(x_, samples_ + c * row_);
        }
        store(op.skip, op.u, op.y, b);
    }

    void clear_gradient() { std::fill_n(sum_, block * complex_row_, Spectrum()); }

    void backward(const LongConvBackward& op, int64_t b, std::vector<double>& dskip) {
        load(op.dy, b, samples_);
        load(op.u, b, more_samples_);
        for (int64_t c = 0; c < count_; ++c) {
            float *dy = samples_ + c * row_, *u = more_samples_ + c * row_;
            double dot = 0;
            for (int64_t t = 0; t < op.u[1]; ++t) dot += static_cast<double>(dy[t]) * static_cast<double>(u[t]);
            dskip[static_cast<size_t>(channel_ + c)] += dot;
            fft_.forward(u, u_);
            fft_.forward(dy, x_);
            Spectrum* sum = sum_ + c * complex_row_;
            const Spectrum* k = kernel_ + c * complex_row_;
            for (int64_t i = 0; i < half_; ++i) {
                sum[i] += times(std::conj(u_[i]), x_[i]);
                x_[i] = times(std::conj(k[i]), x_[i]);
            }
            fft_.inverse(x_, dy);
        }
        store(op.skip, op.dy, op.du, b);
    }

    void kernel_gradient(const LongConvBackward& op) {
        const int64_t taps = std::min(op.u[1], op.kernel[1]);
        const float scale = 1.0f / static_cast<float>(size_);
        for (int64_t c = 0; c < count_; ++c) {
            float* to = op.dkernel.row<float>(channel_ + c);
            fft_.inverse(sum_ + c * complex_row_, samples_);
            std::transform(samples_, samples_ + taps, to, [&](float k) { return scale * k; });
            std::fill(to + taps, to + op.kernel[1], 0.0f);
        }
    }

  private:
    // The library's operator looks for infinities; there is nothing here to be saved from them.
    static Spectrum times(Spectrum a, Spectrum b) {
        return {a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real()};
    }

    void load(const View& x, int64_t b, float* rows) const {
        const int64_t length = x[1];
        for (int64_t begin = 0; begin < length; begin += strip)
            for (int64_t c = 0; c < count_; ++c)
                for (int64_t t = begin; t < std::min(length, begin + strip); ++t)
                    rows[c * row_ + t] = x.row<float>(b * length + t)[channel_ + c];
        for (int64_t c = 0; c < count_; ++c) std::fill(rows + c * row_ + length, rows + c * row_ + size_, 0.0f);
    }
    void store(const View& skip, const View& in, const View& out, int64_t b) const {
        const int64_t length = in[1];
        for (int64_t begin = 0; begin < length; begin += strip)
            for (int64_t c = 0; c < count_; ++c) {
                const float s = skip ? skip.row<float>(0)[channel_ + c] : 0;
                for (int64_t t = begin; t < std::min(length, begin + strip); ++t) {
                    const int64_t row = b * length + t, d = channel_ + c;
                    out.row<float>(row)[d] = samples_[c * row_ + t] + s * in.row<float>(row)[d];
                }
            }
    }

    const RealFft& fft_;
    int64_t size_, half_, channel_, count_, row_, complex_row_;
    float *samples_, *more_samples_;
    Spectrum *kernel_, *sum_, *x_, *u_;
};

// Calls run(task) for every block of channels, on the backend's threads.
template <class Run>
void for_each_block(CpuBackend& backend, const View& u, int64_t taps, const Run& run) {
    const int64_t channels = u[2], blocks = (channels + block - 1) / block;
    const int64_t size = fft_size(u[1] + std::min(u[1], taps) - 1);
    const auto fft = RealFft::of_size(size);
    const int team =
        u.size() > parallel_threshold / 8 ? static_cast<int>(std::min<int64_t>(backend.threads(), blocks)) : 1;
    const Tensor room = backend.allocate({team, Task::room(size)}, DType::f32);
#pragma omp parallel for num_threads(team) schedule(static)
    for (int64_t i = 0; i < blocks; ++i) {
        Task task(*fft, size, channels, i * block, room.view().row<float>(omp_get_thread_num()));
        run(task);
    }
}

}  // namespace

void long_conv_forward_f32(CpuBackend& backend, const LongConvForward& op) {
    for_each_block(backend, op.u, op.kernel[1], [&](Task& task) {
        task.kernel_spectra(op.kernel, op.u[1]);
        for (int64_t b = 0; b < op.u[0]; ++b) task.forward(op, b);
    });
}

void long_conv_backward_f32(CpuBackend& backend, const LongConvBackward& op) {
    std::vector<double> dskip(static_cast<size_t>(op.u[2]));
    for_each_block(backend, op.u, op.kernel[1], [&](Task& task) {
        task.kernel_spectra(op.kernel, op.u[1]);
        task.clear_gradient();
        for (int64_t b = 0; b < op.u[0]; ++b) task.backward(op, b, dskip);
        task.kernel_gradient(op);
    });
    if (!op.dskip) return;
    for (int64_t d = 0; d < op.u[2]; ++d)
        op.dskip.row<float>(0)[d] += static_cast<float>(dskip[static_cast<size_t>(d)]);
}

}  // namespace nigiri::cpu
