#include "kernels/cuda/cuda_backend.h"

#include "kernels/cuda/check.h"
#include "kernels/cuda/fft_plans.h"
#include "kernels/cuda/matrix_product.h"
#include "kernels/cuda/recording.h"

namespace nigiri {

namespace {

constexpr size_t alignment = 512;  // what cudaMalloc promises at least, and enough for every vector access

void* allocate_on_device(size_t bytes) {
    void* data = nullptr;
    if (cudaMalloc(&data, bytes) == cudaSuccess) return data;
    cudaGetLastError();
    return nullptr;
}

}  // namespace

bool CudaBackend::available() {
    int count = 0;
    const bool found = cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
    cudaGetLastError();  // a machine without a driver leaves an error behind
    return found;
}

CudaBackend::CudaBackend()
    : pool_(alignment, {allocate_on_device, [](void* data) { cudaFree(data); }}),
      fft_(std::make_unique<cuda::FftPlans>()) {
    if (!available()) throw Error("no CUDA device was found", "use --device cpu, or --device auto");
    cudaDeviceProp properties{};
    cuda::check(cudaGetDeviceProperties(&properties, 0), "reading the device's properties");
    multiprocessors_ = properties.multiProcessorCount;
    description_ = std::string(properties.name) + ", " + std::to_string(properties.totalGlobalMem >> 30) + " GiB";
    cuda::check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
}

CudaBackend::~CudaBackend() {
    cudaStreamSynchronize(stream_);
    products_.reset();
    fft_.reset();
    pool_.trim();
    cudaStreamDestroy(stream_);
}

std::string CudaBackend::description() const { return description_; }

void* CudaBackend::acquire(size_t bytes) {
    if (void* data = pool_.acquire(bytes)) return data;
    // What the pool keeps for other sizes may be what is missing, and after that, what recordings keep. While one is
    // made nothing can be waited for; then it fails, and its work is run plainly.
    if (!recording_) {
        cudaStreamSynchronize(stream_);
        pool_.trim();
        if (void* data = pool_.acquire(bytes)) return data;
        drop_graphs();
        pool_.trim();
        if (void* data = pool_.acquire(bytes)) return data;
    }
    throw Error("out of GPU memory: " + std::to_string(pool_.rounded(bytes) >> 20) + " MiB more were needed beside " +
                    std::to_string(pool_.in_use() >> 20) + " MiB in use",
                "use a smaller --batch or --length");
}

size_t CudaBackend::available_bytes() const {
    size_t free = 0, total = 0;
    cuda::check(cudaMemGetInfo(&free, &total), "asking for the free memory");
    return free + pool_.unused();
}

void CudaBackend::upload(const void* host, const View& to) {
    // A graph would copy from this address at every replay.
    if (recording_) throw Error("nothing can be uploaded while operations are recorded");
    cuda::check(cudaMemcpyAsync(to.data, host, static_cast<size_t>(to.size()) * size_of(to.dtype),
                                cudaMemcpyHostToDevice, stream_),
                "copying to the device");
}

void CudaBackend::download(const View& from, void* host) {
    cuda::check(cudaMemcpyAsync(host, from.data, static_cast<size_t>(from.size()) * size_of(from.dtype),
                                cudaMemcpyDeviceToHost, stream_),
                "copying from the device");
    synchronize();
}

void CudaBackend::synchronize() { cuda::check(cudaStreamSynchronize(stream_), "waiting for the device"); }

}  // namespace nigiri
