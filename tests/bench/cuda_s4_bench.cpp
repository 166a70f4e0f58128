// S4D and S4 on the GPU, beside the published milliseconds (PyTorch 2.11 on an H100; this may be another
// card, so the copy bandwidth of the same run stands on top).
//   cuda_s4_bench                         everything
//   cuda_s4_bench once B D L N bf16|f32   one forward and backward pass of the chunked form, for a profiler
//   cuda_s4_bench time B D L N bf16|f32   the time of these passes
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "kernels/cuda/check.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/random.h"

namespace nigiri {
namespace {

struct Bench {
    std::shared_ptr<CudaBackend> backend = std::make_shared<CudaBackend>();
    Random random{1};
    double copy_rate = 0;  // bytes read and written a second

    // Milliseconds of one call: the median of several runs of about ten milliseconds.
    double time(const std::function<void()>& call) {
        cudaEvent_t begin = nullptr, end = nullptr;
        cuda::check(cudaEventCreate(&begin), "creating an event");
        cuda::check(cudaEventCreate(&end), "creating an event");
        const auto run = [&](int count) {
            cudaEventRecord(begin, backend->stream());
            for (int i = 0; i < count; ++i) call();
            cudaEventRecord(end, backend->stream());
            cuda::check(cudaEventSynchronize(end), "measuring");
            float ms = 0;
            cudaEventElapsedTime(&ms, begin, end);
            return static_cast<double>(ms) / count;
        };
        run(2);
        const int count = std::clamp(static_cast<int>(10 / std::max(run(1), 1e-4)), 1, 500);
        std::vector<double> all;
        for (int i = 0; i < 5; ++i) all.push_back(run(count));
        std::sort(all.begin(), all.end());
        cudaEventDestroy(begin), cudaEventDestroy(end);
        return all[2];
    }

    Tensor operand(const Shape& shape, DType dtype, double scale = 1, double offset = 0) {
        const Tensor t = backend->allocate(shape, dtype);
        // Millions of deviates would take longer than the benchmark; a few thousand repeat.
        const int64_t count = std::min<int64_t>(t.size(), 1 << 16);
        std::vector<uint8_t> bytes(static_cast<size_t>(count) * size_of(dtype));
        for (int64_t i = 0; i < count; ++i) {
            const auto x = static_cast<float>(offset + scale * random.normal());
            if (dtype == DType::f32)
                std::memcpy(bytes.data() + 4 * i, &x, 4);
            else
                reinterpret_cast<BFloat16*>(bytes.data())[i] = BFloat16(x);
        }
        for (int64_t i = 0; i < t.size(); i += count)
            cudaMemcpyAsync(static_cast<char*>(t.view().data) + static_cast<size_t>(i) * size_of(dtype), bytes.data(),
                            static_cast<size_t>(std::min(count, t.size() - i)) * size_of(dtype), cudaMemcpyHostToDevice,
                            backend->stream());
        backend->synchronize();
        return t;
    }
    Tensor zeros(const Shape& shape) {
        const Tensor t = backend->allocate(shape, DType::f32);
        cudaMemsetAsync(t.view().data, 0, static_cast<size_t>(t.size()) * 4, backend->stream());
        return t;
    }
};

struct Layer {
    Tensor inv_dt, a_real, a_imag, b, c, skip;
    Tensor dinv_dt, da_real, da_imag, db, dc, dskip;
    S4dParameters parameters;

    // As S4D-Lin is initialised: steps of 0.001 to 0.1, Re A = -1/2, Im A = pi n.
    Layer(Bench& bench, int64_t channels, int64_t modes)
        : inv_dt(bench.operand({channels}, DType::f32, 1, -4.6)),
          a_real(bench.operand({channels, modes}, DType::f32, 0, -0.7)),
          b(bench.operand({channels, modes, 2}, DType::f32)),
          c(bench.operand({channels, modes, 2}, DType::f32)),
          skip(bench.operand({channels}, DType::f32)) {
        std::vector<float> imag;
        for (int64_t i = 0; i < channels * modes; ++i) imag.push_back(3.14159f * static_cast<float>(i % modes));
        a_imag = bench.backend->allocate({channels, modes}, DType::f32);
        bench.backend->upload(imag.data(), a_imag);
        bench.backend->synchronize();
        for (const auto& [gradient, value] :
             {std::pair{&dinv_dt, &inv_dt}, std::pair{&da_real, &a_real}, std::pair{&da_imag, &a_imag},
              std::pair{&db, &b}, std::pair{&dc, &c}, std::pair{&dskip, &skip}})
            *gradient = bench.zeros(value->shape());
        parameters.inv_dt = inv_dt, parameters.a_real = a_real, parameters.a_imag = a_imag, parameters.b = b,
        parameters.c = c;
    }
};

// Everything that one shape needs.
struct Problem {
    Bench& bench;
    Layer layer;
    Tensor u, y, dy, du, kernel, dkernel;

    Problem(Bench& bench_, int64_t batch, int64_t channels, int64_t length, int64_t modes, DType dtype,
            bool with_kernel = true)
        : bench(bench_),
          layer(bench, channels, modes),
          u(bench.operand({batch, length, channels}, dtype)),
          y(bench.backend->allocate(u.shape(), dtype)),
          dy(bench.operand(u.shape(), dtype)),
          du(bench.backend->allocate(u.shape(), dtype)) {
        if (!with_kernel) return;
        kernel = bench.backend->allocate({channels, length}, DType::f32);
        dkernel = bench.backend->allocate({channels, length}, DType::f32);
    }
    void kernel_forward() { bench.backend->s4d_kernel_forward({layer.parameters, kernel}); }
    void kernel_backward() {
        bench.backend->s4d_kernel_backward(
            {layer.parameters, dkernel, layer.dinv_dt, layer.da_real, layer.da_imag, layer.db, layer.dc});
    }
    void conv_forward() { bench.backend->long_conv_forward({.u = u, .kernel = kernel, .skip = layer.skip, .y = y}); }
    void conv_backward() {
        bench.backend->long_conv_backward({.u = u,
                                           .kernel = kernel,
                                           .skip = layer.skip,
                                           .dy = dy,
                                           .du = du,
                                           .dkernel = dkernel,
                                           .dskip = layer.dskip});
    }
    void chunk_forward() {
        S4dConvForward op;
        static_cast<S4dParameters&>(op) = layer.parameters;
        op.skip = layer.skip, op.u = u, op.y = y;
        bench.backend->s4d_conv_forward(op);
    }
    void chunk_backward() {
        S4dConvBackward op;
        static_cast<S4dParameters&>(op) = layer.parameters;
        op.skip = layer.skip, op.u = u, op.dy = dy, op.du = du, op.dskip = layer.dskip;
        op.dinv_dt = layer.dinv_dt, op.da_real = layer.da_real, op.da_imag = layer.da_imag, op.db = layer.db,
        op.dc = layer.dc;
        bench.backend->s4d_conv_backward(op);
    }
};

void line(const Bench& bench, const std::string& what, double ms, double published, double bytes) {
    std::printf("  %-44s %9.4f ms", what.c_str(), ms);
    if (bytes > 0)
        std::printf("  %6.0f GB/s (%3.0f %% of copy)", bytes / ms * 1e-6, 100 * bytes / (ms * 1e-3) / bench.copy_rate);
    if (published > 0) std::printf("  published %7.3f ms: %5.1f times", published, published / ms);
    std::printf("\n");
    std::fflush(stdout);
}

void row(Bench& bench, int64_t batch, int64_t channels, int64_t length, double generation, double forward, double both,
         double all) {
    std::printf("%ld x %ld x %ld, 32 conjugate halves\n", static_cast<long>(batch), static_cast<long>(channels),
                static_cast<long>(length));
    for (const DType dtype : {DType::f32, DType::bf16}) {
        Problem p(bench, batch, channels, length, 32, dtype);
        const std::string name = std::string(" ") + (dtype == DType::f32 ? "f32" : "bf16");
        const auto once = static_cast<double>(p.u.size()) * static_cast<double>(size_of(dtype));
        if (dtype == DType::f32) {
            line(bench, "kernel generation", bench.time([&] { p.kernel_forward(); }), generation,
                 4.0 * static_cast<double>(p.kernel.size()));
            line(bench, "kernel backward", bench.time([&] { p.kernel_backward(); }), 0,
                 4.0 * static_cast<double>(p.kernel.size()));
        }
        const double f = bench.time([&] { p.conv_forward(); }), b = bench.time([&] { p.conv_backward(); });
        line(bench, "convolution forward" + name, f, forward, 2 * once);
        line(bench, "convolution forward+backward" + name, f + b, both, 5 * once);
        line(bench, "everything by FFT, forward+backward" + name, bench.time([&] {
            p.kernel_forward(), p.conv_forward(), p.kernel_forward(), p.conv_backward(), p.kernel_backward();
        }),
             all, 5 * once);
        const double cf = bench.time([&] { p.chunk_forward(); }), cb = bench.time([&] { p.chunk_backward(); });
        line(bench, "chunks forward" + name, cf, generation + forward, 2 * once);
        line(bench, "chunks forward+backward" + name, cf + cb, all > 0 ? all : both, 5 * once);
    }
}

// Where chunks overtake transforms, kernels included.
void crossover(Bench& bench) {
    std::printf("forward + backward, 128 channels, 32 conjugate halves, bf16: FFT ms / chunks ms\n");
    for (const int64_t batch : {1, 32})
        for (const int64_t length : {16, 64, 256, 1024, 4096, 16384, 65536}) {
            if (batch * length > 1 << 20) continue;
            Problem p(bench, batch, 128, length, 32, DType::bf16);
            const double fft = bench.time([&] {
                p.kernel_forward(), p.conv_forward(), p.kernel_forward(), p.conv_backward(), p.kernel_backward();
            });
            const double chunks = bench.time([&] { p.chunk_forward(), p.chunk_backward(); });
            std::printf("  B %3ld L %7ld  %8.4f / %8.4f  (%.1f times)\n", static_cast<long>(batch),
                        static_cast<long>(length), fft, chunks, fft / chunks);
            std::fflush(stdout);
        }
}

void modes_table(Bench& bench) {
    std::printf("chunks, 32 x 128 x 16384 bf16, by modes: forward / backward ms\n");
    for (const int64_t modes : {8, 16, 32, 64}) {
        Problem p(bench, 32, 128, 16384, modes, DType::bf16, false);
        const double f = bench.time([&] { p.chunk_forward(); }), b = bench.time([&] { p.chunk_backward(); });
        std::printf("  N %2ld  %8.4f / %8.4f\n", static_cast<long>(modes), f, b);
    }
    std::printf("chunks, the stages of `base` at 32 x 16384, 32 modes, bf16: forward / backward ms\n");
    for (const auto& [channels, length] : {std::pair<int64_t, int64_t>{128, 16384}, {256, 4096}, {512, 1024}}) {
        Problem p(bench, 32, channels, length, 32, DType::bf16, false);
        const double f = bench.time([&] { p.chunk_forward(); }), b = bench.time([&] { p.chunk_backward(); });
        std::printf("  %4ld x %5ld  %8.4f / %8.4f\n", static_cast<long>(channels), static_cast<long>(length), f, b);
    }
}

void recurrences(Bench& bench) {
    std::printf(
        "one step of a recurrence, 128 channels, 32 conjugate halves, f32 (bytes: states read and "
        "written)\n");
    for (const int64_t streams : {1, 512, 4096}) {
        Layer layer(bench, 128, 32);
        const Tensor u = bench.operand({streams, 1, 128}, DType::f32), abar = bench.zeros({2, 32, 128}),
                     cbar = bench.zeros({2, 32, 128});
        const Tensor state = bench.zeros({streams, 2, 32 * 128});
        bench.backend->s4d_discretize({layer.parameters, abar, cbar});
        S4dRecurrence op;
        op.abar = abar, op.cbar = cbar, op.skip = layer.skip, op.u = u, op.y = u, op.state = state;
        const auto bytes = 8.0 * static_cast<double>(state.size());
        line(bench, "S4D, " + std::to_string(streams) + " streams",
             bench.time([&] { bench.backend->s4d_recurrence(op); }), 0, bytes);
        const Tensor factors = bench.zeros({128, 192, 2}), h = bench.zeros({streams, 128, 32, 2});
        line(bench, "S4, " + std::to_string(streams) + " streams", bench.time([&] {
            bench.backend->s4_recurrence({.factors = factors, .skip = layer.skip, .u = u, .y = u, .state = h});
        }),
             0, bytes);
    }
}

void dplr(Bench& bench) {
    std::printf("S4 (DPLR), 128 channels, 32 conjugate halves\n");
    for (const int64_t length : {16384, 131072}) {
        Layer layer(bench, 128, 32);
        const Tensor p = bench.operand({128, 32, 2}, DType::f32), dp = bench.zeros({128, 32, 2});
        const Tensor kernel = bench.operand({128, length}, DType::f32);
        const auto fill = [&](auto op) {
            op.length = length, op.inv_dt = layer.inv_dt, op.a_real = layer.a_real, op.a_imag = layer.a_imag, op.p = p,
            op.b = layer.b, op.c = layer.c;
            return op;
        };
        auto forward = fill(S4KernelForward{});
        forward.kernel = kernel;
        auto backward = fill(S4KernelBackward{});
        backward.dkernel = kernel;
        backward.dinv_dt = layer.dinv_dt, backward.da_real = layer.da_real, backward.da_imag = layer.da_imag,
        backward.dp = dp;
        backward.db = layer.db, backward.dc = layer.dc;
        const std::string name = " at " + std::to_string(length);
        line(bench, "kernel" + name, bench.time([&] { bench.backend->s4_kernel_forward(forward); }), 0, 0);
        line(bench, "kernel backward" + name, bench.time([&] { bench.backend->s4_kernel_backward(backward); }), 0, 0);
        if (length > 16384) continue;
        auto discretize = fill(S4Discretize{});
        discretize.factors = bench.zeros({128, 192, 2});
        line(bench, "discretize" + name, bench.time([&] { bench.backend->s4_discretize(discretize); }), 0, 0);
    }
}

int run(int argc, char** argv) {
    Bench bench;
    if (argc == 7) {
        Problem p(bench, std::atol(argv[2]), std::atol(argv[3]), std::atol(argv[4]), std::atol(argv[5]),
                  std::strcmp(argv[6], "f32") == 0 ? DType::f32 : DType::bf16, false);
        if (std::strcmp(argv[1], "once") == 0) {
            p.chunk_forward(), p.chunk_backward();
            bench.backend->synchronize();
            return 0;
        }
        const double f = bench.time([&] { p.chunk_forward(); }), b = bench.time([&] { p.chunk_backward(); });
        std::printf("%s %s %s %s %s: forward %.4f, backward %.4f ms\n", argv[2], argv[3], argv[4], argv[5], argv[6], f,
                    b);
        return 0;
    }
    const size_t bytes = size_t{1} << 30;
    const Tensor from = bench.backend->allocate({1 << 28}, DType::f32),
                 to = bench.backend->allocate({1 << 28}, DType::f32);
    const double copy = bench.time([&] {
        cudaMemcpyAsync(to.view().data, from.view().data, bytes, cudaMemcpyDeviceToDevice, bench.backend->stream());
    });
    bench.copy_rate = 2.0 * static_cast<double>(bytes) / (copy * 1e-3);
    std::printf("%s, copy %.0f GB/s read and written\n", bench.backend->description().c_str(), bench.copy_rate * 1e-9);
    // Published: kernel generation, convolution forward, forward + backward, everything.
    row(bench, 8, 128, 16384, 0.925, 0.777, 2.37, 5.21);
    row(bench, 32, 128, 16384, 0, 2.65, 8.46, 0);
    row(bench, 8, 64, 131072, 3.593, 4.614, 12.0, 23.3);
    row(bench, 1, 128, 1048576, 0, 12.28, 32.8, 24.6);
    row(bench, 32, 256, 4096, 0, 1.18, 3.78, 0);
    modes_table(bench);
    crossover(bench);
    recurrences(bench);
    dplr(bench);
    return 0;
}

}  // namespace
}  // namespace nigiri

int main(int argc, char** argv) {
    try {
        return nigiri::run(argc, argv);
    } catch (const std::exception& e) {
        std::fprintf(stderr, "error: %s\n", e.what());
        return 1;
    }
}
