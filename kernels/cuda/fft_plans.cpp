#include "kernels/cuda/fft_plans.h"

#include <string>

namespace nigiri::cuda {

namespace {

void check_fft(cufftResult status, const char* what) {
    if (status != CUFFT_SUCCESS)
        throw Error(std::string("cuFFT failed while ") + what + ": error " + std::to_string(status));
}

}  // namespace

FftPlans::~FftPlans() {
    for (const auto& [key, plan] : plans_) cufftDestroy(plan.handle);
}

const FftPlans::Plan& FftPlans::find(cudaStream_t stream, Transform kind, int64_t n, int64_t rows) {
    if (kind == Transform::complex_inverse_f32) kind = Transform::complex_f32;  // one plan has both directions
    const auto [it, is_new] = plans_.try_emplace({kind, n, rows});
    Plan& plan = it->second;
    if (!is_new) return plan;
    try {
        const bool is_complex = kind == Transform::complex_f32, forward = kind == Transform::real_f64;
        long long length = n, halves = n / 2 + 1, reals = 2 * halves;  // NOLINT: cuFFT's own type
        long long from = is_complex ? n : forward ? reals : halves, to = is_complex ? n : forward ? halves : reals;
        const cufftType type = is_complex ? CUFFT_C2C : forward ? CUFFT_D2Z : CUFFT_Z2D;
        check_fft(cufftCreate(&plan.handle), "making a plan");
        check_fft(cufftSetAutoAllocation(plan.handle, 0), "making a plan");
        check_fft(
            cufftMakePlanMany64(plan.handle, 1, &length, &from, 1, from, &to, 1, to, type, rows, &plan.work_bytes),
            "making a plan");
        check_fft(cufftSetStream(plan.handle, stream), "choosing a plan's stream");
    } catch (...) {
        if (plan.handle != 0) cufftDestroy(plan.handle);
        plans_.erase(it);
        throw;
    }
    return plan;
}

void FftPlans::run(Backend& backend, cudaStream_t stream, Transform kind, int64_t n, int64_t rows, void* data) {
    const std::lock_guard lock(mutex_);
    const Plan& plan = find(stream, kind, n, rows);
    Tensor work;
    if (plan.work_bytes > 0) {
        work = backend.allocate({static_cast<int64_t>(plan.work_bytes + 3) / 4}, DType::f32);
        check_fft(cufftSetWorkArea(plan.handle, work.view().data), "giving a plan its work area");
    }
    auto* const single = static_cast<cufftComplex*>(data);
    auto* const twice = static_cast<cufftDoubleComplex*>(data);
    auto* const reals = static_cast<double*>(data);
    const char* what = "transforming";
    switch (kind) {
        case Transform::complex_f32:
            check_fft(cufftExecC2C(plan.handle, single, single, CUFFT_FORWARD), what);
            return;
        case Transform::complex_inverse_f32:
            check_fft(cufftExecC2C(plan.handle, single, single, CUFFT_INVERSE), what);
            return;
        case Transform::real_f64:
            check_fft(cufftExecD2Z(plan.handle, reals, twice), what);
            return;
        case Transform::real_inverse_f64:
            check_fft(cufftExecZ2D(plan.handle, twice, reals), what);
            return;
    }
}

int64_t good_transform_length(int64_t n) {
    int64_t best = 16;
    while (best < n) best *= 2;
    for (const int64_t odd : {3, 5, 9, 15}) {
        int64_t length = odd;
        while (length < n) length *= 2;
        if (length >= 16 && length < best) best = length;
    }
    return best;
}

}  // namespace nigiri::cuda
