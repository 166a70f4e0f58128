#include "kernels/cpu/fft.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "kernels/error.h"

#ifdef NIGIRI_FFTW
#include <fftw3.h>
#else
#include <kiss_fftr.h>
#endif

namespace nigiri::cpu {

namespace {

// One mutex for the plans of every size: planning is the one thing libraries do not let threads do at once.
std::mutex& planning() {
    static std::mutex mutex;
    return mutex;
}

#ifdef NIGIRI_FFTW

class FftwTransform final : public RealFft {
  public:
    explicit FftwTransform(int64_t size) {
        const int n = static_cast<int>(size);
        // Planning needs arrays of the alignment that the executions will have; estimating leaves them alone.
        float* x = fftwf_alloc_real(static_cast<size_t>(size));
        fftwf_complex* spectrum = fftwf_alloc_complex(static_cast<size_t>(size / 2 + 1));
        if (x && spectrum) {
            forward_ = fftwf_plan_dft_r2c_1d(n, x, spectrum, FFTW_ESTIMATE | FFTW_DESTROY_INPUT);
            inverse_ = fftwf_plan_dft_c2r_1d(n, spectrum, x, FFTW_ESTIMATE | FFTW_DESTROY_INPUT);
        }
        fftwf_free(x);
        fftwf_free(spectrum);
        if (!forward_ || !inverse_) throw Error("no memory for a transform of " + std::to_string(size) + " points");
    }
    ~FftwTransform() override {
        if (forward_) fftwf_destroy_plan(forward_);
        if (inverse_) fftwf_destroy_plan(inverse_);
    }
    void forward(float* x, std::complex<float>* spectrum) const override {
        fftwf_execute_dft_r2c(forward_, x, reinterpret_cast<fftwf_complex*>(spectrum));
    }
    void inverse(std::complex<float>* spectrum, float* x) const override {
        fftwf_execute_dft_c2r(inverse_, reinterpret_cast<fftwf_complex*>(spectrum), x);
    }

  private:
    fftwf_plan forward_ = nullptr, inverse_ = nullptr;
};
using Transform = FftwTransform;

#else

// kissfft's real plans contain the room they work in, so every execution at the same time has a plan of its own.
class KissTransform final : public RealFft {
  public:
    explicit KissTransform(int64_t size) : size_(static_cast<int>(size)) {
        for (const bool inverse : {false, true}) give_back(inverse, take(inverse));
    }
    ~KissTransform() override {
        for (const auto& plans : free_)
            for (const kiss_fftr_cfg plan : plans) kiss_fftr_free(plan);
    }
    void forward(float* x, std::complex<float>* spectrum) const override {
        const kiss_fftr_cfg plan = take(false);
        kiss_fftr(plan, x, reinterpret_cast<kiss_fft_cpx*>(spectrum));
        give_back(false, plan);
    }
    void inverse(std::complex<float>* spectrum, float* x) const override {
        const kiss_fftr_cfg plan = take(true);
        kiss_fftri(plan, reinterpret_cast<const kiss_fft_cpx*>(spectrum), x);
        give_back(true, plan);
    }

  private:
    kiss_fftr_cfg take(bool inverse) const {
        {
            const std::lock_guard lock(mutex_);
            auto& plans = free_[inverse];
            if (!plans.empty()) {
                const kiss_fftr_cfg plan = plans.back();
                plans.pop_back();
                return plan;
            }
        }
        const kiss_fftr_cfg plan = kiss_fftr_alloc(size_, inverse, nullptr, nullptr);
        if (!plan) throw Error("no memory for a transform of " + std::to_string(size_) + " points");
        return plan;
    }
    void give_back(bool inverse, kiss_fftr_cfg plan) const {
        const std::lock_guard lock(mutex_);
        free_[inverse].push_back(plan);
    }

    int size_;
    mutable std::mutex mutex_;
    mutable std::vector<kiss_fftr_cfg> free_[2];
};
using Transform = KissTransform;

#endif

}  // namespace

int64_t fft_size(int64_t length) {
    int64_t best = 2;
    while (best < length) best *= 2;
    for (const int64_t odd : {3, 5}) {
        int64_t size = 2 * odd;
        while (size < length) size *= 2;
        best = std::min(best, size);
    }
    return best;
}

std::shared_ptr<const RealFft> RealFft::of_size(int64_t size) {
    static std::map<int64_t, std::shared_ptr<const RealFft>> plans;
    if (size != fft_size(size) || size > (int64_t{1} << 30))
        throw Error("no transform of " + std::to_string(size) + " points");
    const std::lock_guard lock(planning());
    auto& plan = plans[size];
    if (!plan) plan = std::make_shared<const Transform>(size);
    return plan;
}

}  // namespace nigiri::cpu
