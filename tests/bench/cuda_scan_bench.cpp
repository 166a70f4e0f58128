// The selective scan on CUDA at the shapes whose times for the published kernel are known (u, delta, A, B, C,
// skip, z, delta_bias and softplus; milliseconds on an H100). A time is the best of several runs between
// events.
//   cuda_scan_bench            all rows
//   cuda_scan_bench 0 3 --once rows 0 and 3, one run each (for a profiler)
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/cuda/check.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/random.h"

namespace nigiri {
namespace {

struct Row {
    int64_t batch, channels, length, states;
    DType dtype;
    bool is_complex;       // and B and C constant
    double forward, both;  // published
};

const std::vector<Row> rows = {
    {8, 128, 16384, 16, DType::bf16, false, 0.442, 1.872},   {8, 128, 16384, 16, DType::f32, false, 0.790, 2.424},
    {8, 128, 16384, 64, DType::bf16, false, 1.301, 6.671},   {8, 128, 16384, 64, DType::f32, false, 2.610, 8.359},
    {64, 128, 16384, 16, DType::bf16, false, 3.019, 14.79},  {64, 128, 16384, 16, DType::f32, false, 5.192, 20.65},
    {1, 1024, 2048, 16, DType::bf16, false, 0.108, 0.544},   {1, 1024, 131072, 16, DType::bf16, false, 2.991, 14.49},
    {1, 1024, 524288, 16, DType::bf16, false, 12.29, 58.70}, {1, 128, 1048576, 16, DType::bf16, false, 10.10, 33.41},
    {1, 128, 1048576, 16, DType::f32, false, 12.38, 37.15},  {8, 128, 16384, 16, DType::f32, true, 0.612, 2.017},
    {8, 128, 16384, 32, DType::f32, true, 1.084, 3.638},     {32, 128, 16384, 16, DType::bf16, false, 0, 0},
    {32, 256, 4096, 16, DType::bf16, false, 0, 0},           {32, 512, 1024, 16, DType::bf16, false, 0, 0},
};

class Bench {
  public:
    explicit Bench(bool once) : runs_(once ? 1 : 12) {}

    // Best time of `f` in milliseconds.
    template <class F>
    double time(F&& f) {
        cudaEvent_t begin, end;
        cuda::check(cudaEventCreate(&begin), "creating an event");
        cuda::check(cudaEventCreate(&end), "creating an event");
        float best = 1e30f;
        if (runs_ > 1) f(), f();
        for (int i = 0; i < runs_; ++i) {
            cudaEventRecord(begin, cuda_->stream());
            f();
            cudaEventRecord(end, cuda_->stream());
            cuda::check(cudaEventSynchronize(end), "waiting for a run");
            float ms = 0;
            cudaEventElapsedTime(&ms, begin, end);
            best = std::min(best, ms);
        }
        cudaEventDestroy(begin);
        cudaEventDestroy(end);
        return best;
    }

    void measure_copy() {
        const Tensor a = cuda_->allocate({int64_t{1} << 28}, DType::f32),
                     b = cuda_->allocate({int64_t{1} << 28}, DType::f32);
        const double ms = time([&] {
            cudaMemcpyAsync(b.view().data, a.view().data, size_t{1} << 30, cudaMemcpyDeviceToDevice, cuda_->stream());
        });
        copy_ = 2.0 * (1 << 30) / ms * 1e-6;
        std::printf("%s, copy %.0f GB/s\n", cuda_->description().c_str(), copy_);
    }

    // Normal deviates; a block of random numbers is repeated as often as it takes.
    Tensor normal(const Shape& shape, DType dtype, double scale = 1) {
        const Tensor t = cuda_->allocate(shape, dtype);
        const int64_t size = t.size(), block = std::min<int64_t>(size, 1 << 20);
        if (random_.empty())
            for (int64_t i = 0; i < 1 << 20; ++i) random_.push_back(static_cast<float>(generator_.normal()));
        std::vector<uint8_t> host(static_cast<size_t>(block) * size_of(dtype));
        for (int64_t i = 0; i < block; ++i) {
            const float x = static_cast<float>(scale) * random_[static_cast<size_t>(i)];
            if (dtype == DType::f32)
                reinterpret_cast<float*>(host.data())[i] = x;
            else
                reinterpret_cast<BFloat16*>(host.data())[i] = BFloat16(x);
        }
        auto* const to = static_cast<uint8_t*>(t.view().data);
        for (int64_t at = 0; at < size; at += block)
            cudaMemcpyAsync(to + static_cast<size_t>(at) * size_of(dtype), host.data(),
                            static_cast<size_t>(std::min(block, size - at)) * size_of(dtype), cudaMemcpyHostToDevice,
                            cuda_->stream());
        cuda_->synchronize();
        return t;
    }
    Tensor values(const Shape& shape, const std::vector<float>& host) {
        const Tensor t = cuda_->allocate(shape, DType::f32);
        cuda_->upload(host.data(), t);
        cuda_->synchronize();
        return t;
    }

    void run(const Row& r) {
        const int64_t parts = r.is_complex ? 2 : 1, numbers = r.states * parts;
        const Shape activation{r.batch, r.length, r.channels}, vector{r.channels};
        const Shape poles = r.is_complex ? Shape{r.channels, r.states, 2} : Shape{r.channels, r.states};
        const Shape matrix = r.is_complex ? poles : Shape{r.batch, r.length, numbers};
        const DType matrix_type = r.is_complex ? DType::f32 : r.dtype;
        std::vector<float> poles_host, bias_host;
        for (int64_t i = 0; i < r.channels * r.states; ++i) {
            const auto n = static_cast<float>(i % r.states);
            poles_host.push_back(r.is_complex ? -0.5f : -1 - n);
            if (r.is_complex) poles_host.push_back(3.14159265f * n);
        }
        for (int64_t i = 0; i < r.channels; ++i)  // steps from 0.001 to 0.1
            bias_host.push_back(
                static_cast<float>(std::log(std::expm1(std::exp(generator_.uniform(std::log(0.001), std::log(0.1)))))));
        SelectiveScan s;
        s.is_complex = r.is_complex;
        s.selective_b = s.selective_c = !r.is_complex;
        const Tensor u = normal(activation, r.dtype), delta = normal(activation, r.dtype, 0.5),
                     z = normal(activation, r.dtype);
        const Tensor b = normal(matrix, matrix_type), c = normal(matrix, matrix_type),
                     skip = normal(vector, DType::f32);
        const Tensor a = values(poles, poles_host), bias = values(vector, bias_host);
        s.u = u, s.delta = delta, s.z = z, s.b = b, s.c = c, s.skip = skip, s.a = a, s.delta_bias = bias;
        const Tensor y = cuda_->allocate(activation, r.dtype);
        const double plain = time([&] { cuda_->selective_scan_forward({s, y, {}, {}}); });

        const Tensor checkpoints = cuda_->allocate({(r.length + 63) / 64, r.batch, r.channels, numbers}, DType::f32);
        const Tensor dy = normal(activation, r.dtype), du = cuda_->allocate(activation, r.dtype);
        const Tensor ddelta = cuda_->allocate(activation, r.dtype), dz = cuda_->allocate(activation, r.dtype);
        const Tensor da = normal(poles, DType::f32), dbias = normal(vector, DType::f32),
                     dskip = normal(vector, DType::f32);
        const Tensor db = normal(matrix, matrix_type), dc = normal(matrix, matrix_type);
        const double training = time([&] { cuda_->selective_scan_forward({s, y, {}, checkpoints}); });
        const double backward = time([&] {
            cuda_->selective_scan_backward({s, checkpoints, dy, du, ddelta, dbias, da, db, dc, dskip, dz});
        });
        const double both = time([&] {
            cuda_->selective_scan_forward({s, y, {}, checkpoints});
            cuda_->selective_scan_backward({s, checkpoints, dy, du, ddelta, dbias, da, db, dc, dskip, dz});
        });
        const double element = static_cast<double>(size_of(r.dtype)), samples = static_cast<double>(u.size());
        const double matrices = r.is_complex ? 0 : 2 * static_cast<double>(b.size()) * element;
        const double gb = (4 * samples * element + matrices) * 1e-6 / plain;
        const double gb_backward =
            (7 * samples * element + 2 * matrices + 4 * static_cast<double>(checkpoints.size())) * 1e-6 / backward;
        std::printf("%3lld x %4lld x %7lld N %2lld %s %-7s | forward %8.4f ms %5.0f GB/s (%2.0f %% of copy)",
                    static_cast<long long>(r.batch), static_cast<long long>(r.channels),
                    static_cast<long long>(r.length), static_cast<long long>(r.states),
                    r.dtype == DType::bf16 ? "bf16" : "fp32", r.is_complex ? "complex" : "", plain, gb,
                    100 * gb / copy_);
        if (r.forward > 0) std::printf(" %5.2fx", r.forward / plain);
        std::printf(" | training %8.4f | backward %8.4f ms %5.0f GB/s | both %8.4f", training, backward, gb_backward,
                    both);
        if (r.both > 0) std::printf(" %5.2fx", r.both / both);
        std::printf("\n");
        std::fflush(stdout);
    }

    // One time step of many streams.
    void step(int64_t batch, int64_t channels, int64_t states) {
        const Tensor u = normal({batch, 1, channels}, DType::bf16), b = normal({batch, 1, states}, DType::bf16);
        const Tensor a = normal({channels, states}, DType::f32), state = normal({batch, channels, states}, DType::f32);
        const Tensor y = cuda_->allocate(u.shape(), DType::bf16);
        SelectiveScan s;
        s.u = u, s.delta = u, s.z = u, s.b = b, s.c = b, s.a = a;
        const double ms = time([&] { cuda_->selective_scan_forward({s, y, state, {}}); });
        const double gb = (8.0 * static_cast<double>(state.size()) + 8.0 * static_cast<double>(u.size())) * 1e-6 / ms;
        std::printf("step, %5lld streams x %4lld N %2lld: %7.2f us %5.0f GB/s (%2.0f %% of copy)\n",
                    static_cast<long long>(batch), static_cast<long long>(channels), static_cast<long long>(states),
                    1e3 * ms, gb, 100 * gb / copy_);
    }

  private:
    int runs_;
    std::shared_ptr<CudaBackend> cuda_ = std::make_shared<CudaBackend>();
    Random generator_{1};
    std::vector<float> random_;
    double copy_ = 1;
};

}  // namespace
}  // namespace nigiri

int main(int argc, char** argv) {
    using namespace nigiri;
    if (!CudaBackend::available()) {
        std::puts("no CUDA device here");
        return 0;
    }
    bool once = false;
    std::vector<size_t> chosen;
    for (int i = 1; i < argc; ++i) {
        if (std::strcmp(argv[i], "--once") == 0)
            once = true;
        else
            chosen.push_back(static_cast<size_t>(std::atoi(argv[i])));
    }
    Bench bench(once);
    if (!once) bench.measure_copy();
    for (size_t i = 0; i < rows.size(); ++i)
        if (chosen.empty() || std::find(chosen.begin(), chosen.end(), i) != chosen.end()) bench.run(rows[i]);
    if (chosen.empty())
        for (const int64_t streams : {1, 64, 512, 4096}) bench.step(streams, 128, 16);
}
