// The float32 convolution with the transforms of lane_fft.h. A task is a block of channels, one a lane, of some rows of
// the batch: the kernel's spectrum once, then there and back for each row. The gradient of the kernel is summed over
// the rows as a spectrum and comes back once.
#include <omp.h>

#include <algorithm>
#include <vector>

#include "kernels/cpu/common.h"
#include "kernels/cpu/long_conv_f32.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/long_conv_lanes.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/lane_fft-inl.h"

#ifndef NIGIRI_LONG_CONV_LANES_ONCE
#define NIGIRI_LONG_CONV_LANES_ONCE
namespace nigiri::cpu {
namespace {

struct ConvTask {
    const LaneFftPlan* plan;
    int64_t channel, count;       // the lanes' channels
    int64_t first_row, last_row;  // of the batch
    float *kernel, *x, *u, *sum;  // room for one spectrum each; the last two only backward
    double* dskip;                // (B, D) sums of dy u over the length; null: not wanted
};

}  // namespace
}  // namespace nigiri::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace nigiri::cpu {
namespace HWY_NAMESPACE {
namespace {

int64_t lane_count() { return lanes; }

constexpr int64_t strip = 64;  // samples transposed at a time, so that both sides stay in the cache

#if HWY_TARGET != HWY_SCALAR
using Four = hn::FixedTag<float, 4>;

// Four vectors as the rows of a matrix become its columns.
HWY_INLINE void transpose(hn::Vec<Four> (&a)[4]) {
    const Four tag;
    const auto t0 = hn::InterleaveLower(tag, a[0], a[1]), t1 = hn::InterleaveUpper(tag, a[0], a[1]);
    const auto t2 = hn::InterleaveLower(tag, a[2], a[3]), t3 = hn::InterleaveUpper(tag, a[2], a[3]);
    a[0] = hn::ConcatLowerLower(tag, t2, t0);
    a[1] = hn::ConcatUpperUpper(tag, t2, t0);
    a[2] = hn::ConcatLowerLower(tag, t3, t1);
    a[3] = hn::ConcatUpperUpper(tag, t3, t1);
}

// to[j * to_stride + i] = scale from[i * from_stride + j], i and j < 4.
HWY_INLINE void transpose_square(const float* from, int64_t from_stride, float* to, int64_t to_stride, float scale) {
    const Four tag;
    hn::Vec<Four> a[4];
    for (int k = 0; k < 4; ++k) a[k] = hn::Mul(hn::Set(tag, scale), hn::LoadU(tag, from + k * from_stride));
    transpose(a);
    for (int k = 0; k < 4; ++k) hn::StoreU(a[k], tag, to + k * to_stride);
}
#else
HWY_INLINE void transpose_square(const float* from, int64_t from_stride, float* to, int64_t to_stride, float scale) {
    for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 4; ++j) to[j * to_stride + i] = scale * from[i * from_stride + j];
}
#endif

// to[j * to_stride + i] = scale from[i * from_stride + j], i < rows, j < columns.
void transpose(const float* from, int64_t from_stride, int64_t rows, int64_t columns, float* to, int64_t to_stride,
               float scale) {
    for (int64_t i = 0; i < rows; i += 4)
        for (int64_t j = 0; j < columns; j += 4) {
            if (i + 4 <= rows && j + 4 <= columns) {
                transpose_square(from + i * from_stride + j, from_stride, to + j * to_stride + i, to_stride, scale);
                continue;
            }
            for (int64_t k = i; k < std::min(rows, i + 4); ++k)
                for (int64_t m = j; m < std::min(columns, j + 4); ++m)
                    to[m * to_stride + k] = scale * from[k * from_stride + m];
        }
}

// Rows of `length` samples, one a channel, to channel-last with `lanes` channels, times `scale`; idle lanes are zero.
void rows_to_lanes(const View& rows, int64_t channel, int64_t count, int64_t length, float scale, float* out) {
    if (count < lanes) std::fill_n(out, length * lanes, 0.0f);
    for (int64_t t = 0; t < length; t += strip)
        transpose(rows.row<float>(channel) + t, rows.row_stride, count, std::min(strip, length - t), out + t * lanes,
                  lanes, scale);
}

void lanes_to_rows(const float* in, int64_t channel, int64_t count, int64_t length, float scale, const View& rows) {
    for (int64_t t = 0; t < length; t += strip)
        transpose(in + t * lanes, lanes, std::min(strip, length - t), count, rows.row<float>(channel) + t,
                  rows.row_stride, scale);
}

RealLanes lanes_of(const View& x, const ConvTask& task, int64_t row) {
    return {x.row<float>(row * x[1]) + task.channel, x.row_stride, x[1], task.count};
}

V skip_lanes(const View& skip, const ConvTask& task) {
    if (!skip) return hn::Zero(Lanes());
    return RealLanes{skip.row<float>(0) + task.channel, 0, 1, task.count}.load(0);
}

// The inverse transform's 1 / n goes into the kernel. Uses x as room.
void kernel_spectrum(const View& kernel, int64_t length, const ConvTask& task) {
    const int64_t taps = std::min(length, kernel[1]);
    rows_to_lanes(kernel, task.channel, task.count, taps, 1.0f / static_cast<float>(task.plan->size), task.x);
    first_forward(task.plan->levels[0], {task.x, lanes, taps, lanes}, task.kernel);
    below_first<SpectralTask::spectrum>(*task.plan, {task.kernel, nullptr, nullptr, nullptr});
}

// Back from the spectrum x, plus skip times `in`, to `out`.
void finish_row(const ConvTask& task, V skip, const RealLanes& in, const RealLanes& out) {
    first_inverse(task.plan->levels[0], task.x, [&](int64_t t, V value) HWY_ATTR {
        if (t < out.length) out.store(t, hn::MulAdd(skip, in.load(t), value));
    });
}

void forward_task(const LongConvForward& op, const ConvTask& task) {
    kernel_spectrum(op.kernel, op.u[1], task);
    const V skip = skip_lanes(op.skip, task);
    for (int64_t b = task.first_row; b < task.last_row; ++b) {
        const RealLanes u = lanes_of(op.u, task, b);
        first_forward(task.plan->levels[0], u, task.x);
        below_first<SpectralTask::convolve>(*task.plan, {task.x, nullptr, nullptr, task.kernel});
        finish_row(task, skip, u, lanes_of(op.y, task, b));
    }
}

// sum_t a b in float over stretches of 64 samples, in double over the stretches.
void dot(const RealLanes& a, const RealLanes& b, double* out) {
    double sum[lanes] = {};
    for (int64_t t = 0; t < a.length;) {
        V some = hn::Zero(Lanes());
        for (const int64_t end = std::min(a.length, t + 64); t < end; ++t)
            some = hn::MulAdd(a.load(t), b.load(t), some);
        HWY_ALIGN float values[lanes];
        hn::Store(some, Lanes(), values);
        for (int64_t c = 0; c < lanes; ++c) sum[c] += static_cast<double>(values[c]);
    }
    std::copy_n(sum, a.count, out);
}

void backward_task(const LongConvBackward& op, const ConvTask& task) {
    kernel_spectrum(op.kernel, op.u[1], task);
    std::fill_n(task.sum, task.plan->size * number, 0.0f);
    const V skip = skip_lanes(op.skip, task);
    for (int64_t b = task.first_row; b < task.last_row; ++b) {
        const RealLanes u = lanes_of(op.u, task, b), dy = lanes_of(op.dy, task, b);
        if (task.dskip) dot(dy, u, task.dskip + b * op.u[2] + task.channel);
        first_forward(task.plan->levels[0], u, task.u);
        first_forward(task.plan->levels[0], dy, task.x);
        below_first<SpectralTask::correlate>(*task.plan, {task.x, task.u, task.sum, task.kernel});
        finish_row(task, skip, dy, lanes_of(op.du, task, b));
    }
}

// The spectrum `sum` becomes the gradient of the kernel. Uses x as room.
void kernel_gradient(const LongConvBackward& op, const ConvTask& task) {
    const int64_t taps = std::min(op.u[1], op.kernel[1]);
    below_first<SpectralTask::inverse>(*task.plan, {task.sum, nullptr, nullptr, nullptr});
    const RealLanes out = {task.x, lanes, taps, lanes};
    first_inverse(task.plan->levels[0], task.sum, [&](int64_t t, V value) HWY_ATTR { out.store(t, value); });
    lanes_to_rows(task.x, task.channel, task.count, taps, 1.0f / static_cast<float>(task.plan->size), op.dkernel);
    for (int64_t c = 0; c < task.count; ++c)
        std::fill_n(op.dkernel.row<float>(task.channel + c) + taps, op.kernel[1] - taps, 0.0f);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace nigiri::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nigiri::cpu {

namespace {

HWY_EXPORT(lane_count);
HWY_EXPORT(forward_task);
HWY_EXPORT(backward_task);
HWY_EXPORT(kernel_gradient);

// How the channels and the batch are cut into tasks. The batch is only cut where there are fewer blocks of channels
// than threads, since every part of it transforms the kernel anew.
struct Cut {
    int64_t lanes, channels, batch, blocks, parts, tasks;
    int team;
    std::shared_ptr<const LaneFftPlan> plan;

    Cut(const View& u, int threads) : lanes(HWY_DYNAMIC_DISPATCH(lane_count)()), channels(u[2]), batch(u[0]) {
        plan = LaneFftPlan::of_size(lane_fft_size(u[1]));
        blocks = (channels + lanes - 1) / lanes;
        parts = std::max<int64_t>(1, std::min(batch, (threads + blocks - 1) / blocks));
        if (u.size() <= parallel_threshold / 8) threads = 1, parts = 1;
        tasks = blocks * parts;
        team = static_cast<int>(std::min<int64_t>(threads, tasks));
    }
    int64_t spectrum_size() const { return plan->size * 2 * lanes; }
    ConvTask task(int64_t index) const {
        const int64_t block = index / parts, part = index % parts;
        return {.plan = plan.get(),
                .channel = block * lanes,
                .count = std::min(lanes, channels - block * lanes),
                .first_row = batch * part / parts,
                .last_row = batch * (part + 1) / parts,
                .kernel = nullptr,
                .x = nullptr,
                .u = nullptr,
                .sum = nullptr,
                .dskip = nullptr};
    }
};

}  // namespace

void long_conv_forward_f32(CpuBackend& backend, const LongConvForward& op) {
    const Cut cut(op.u, backend.threads());
    const Tensor room = backend.allocate({cut.team, 2, cut.spectrum_size()}, DType::f32);
    const auto run = HWY_DYNAMIC_DISPATCH(forward_task);
#pragma omp parallel for num_threads(cut.team) schedule(static)
    for (int64_t i = 0; i < cut.tasks; ++i) {
        ConvTask task = cut.task(i);
        task.kernel = room.view().row<float>(omp_get_thread_num() * 2);
        task.x = task.kernel + cut.spectrum_size();
        run(op, task);
    }
}

void long_conv_backward_f32(CpuBackend& backend, const LongConvBackward& op) {
    const Cut cut(op.u, backend.threads());
    const Tensor room = backend.allocate({cut.team, 3, cut.spectrum_size()}, DType::f32);
    // With the batch in one part a thread is done with a sum when its task ends.
    const bool parted = cut.parts > 1;
    const Tensor sums = backend.allocate({parted ? cut.tasks : cut.team, cut.spectrum_size()}, DType::f32);
    std::vector<double> dskip(op.dskip ? static_cast<size_t>(cut.batch * cut.channels) : 0);
    const auto run = HWY_DYNAMIC_DISPATCH(backward_task);
    const auto finish = HWY_DYNAMIC_DISPATCH(kernel_gradient);
    const auto with_room = [&](int64_t i) {
        ConvTask task = cut.task(i);
        task.kernel = room.view().row<float>(omp_get_thread_num() * 3);
        task.x = task.kernel + cut.spectrum_size();
        task.u = task.x + cut.spectrum_size();
        task.sum = sums.view().row<float>(parted ? i : omp_get_thread_num());
        if (op.dskip) task.dskip = dskip.data();
        return task;
    };
#pragma omp parallel num_threads(cut.team)
    {
#pragma omp for schedule(static)
        for (int64_t i = 0; i < cut.tasks; ++i) {
            const ConvTask task = with_room(i);
            run(op, task);
            if (!parted) finish(op, task);
        }
        if (parted) {
#pragma omp for schedule(static)
            for (int64_t block = 0; block < cut.blocks; ++block) {
                const ConvTask task = with_room(block * cut.parts);
                for (int64_t part = 1; part < cut.parts; ++part) {
                    const float* more = sums.view().row<float>(block * cut.parts + part);
                    for (int64_t k = 0; k < cut.spectrum_size(); ++k) task.sum[k] += more[k];
                }
                finish(op, task);
            }
        }
    }
    if (!op.dskip) return;
    for (int64_t d = 0; d < cut.channels; ++d) {
        double sum = 0;
        for (int64_t b = 0; b < cut.batch; ++b) sum += dskip[static_cast<size_t>(b * cut.channels + d)];
        op.dskip.row<float>(0)[d] += static_cast<float>(sum);
    }
}

}  // namespace nigiri::cpu
#endif
