#include "kernels/cuda/cuda_backend.h"

#include <algorithm>

#include "kernels/cuda/check.h"
#include "kernels/cuda/fft_plans.h"
#include "kernels/cuda/matrix_product.h"

namespace nigiri {

namespace {

constexpr size_t alignment = 512;  // what cudaMalloc promises at least, and enough for every vector access

// Sizes are rounded up so that tensors of nearly equal size share blocks of the pool: to the alignment when small,
// to an eighth of their power of two when large.
size_t rounded(size_t bytes) {
    size_t unit = alignment;
    while (bytes > unit * 16) unit *= 2;
    return (bytes + unit - 1) / unit * unit;
}

}  // namespace

bool CudaBackend::available() {
    int count = 0;
    const bool found = cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
    cudaGetLastError();  // a machine without a driver leaves an error behind
    return found;
}

CudaBackend::CudaBackend() : fft_(std::make_unique<cuda::FftPlans>()) {
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
    for (const auto& [bytes, data] : free_) cudaFree(data);
    cudaStreamDestroy(stream_);
}

std::string CudaBackend::description() const { return description_; }

// Blocks are reused as soon as their tensor is gone: all work is in one stream, so whoever gets a block next
// runs after whoever had it.
void* CudaBackend::acquire(size_t bytes) {
    bytes = rounded(bytes);
    const std::lock_guard lock(mutex_);
    in_use_ += bytes;
    peak_ = std::max(peak_, in_use_);
    // The block that was given back last is the likeliest to be in the caches still.
    if (auto it = free_.upper_bound(bytes); it != free_.begin() && (--it)->first == bytes) {
        void* data = it->second;
        free_.erase(it);
        return data;
    }
    void* data = nullptr;
    if (cudaMalloc(&data, bytes) == cudaSuccess) return data;
    // What the pool keeps for other sizes may be what is missing.
    cudaGetLastError();
    cudaStreamSynchronize(stream_);
    for (const auto& [size, block] : free_) cudaFree(block);
    free_.clear();
    if (cudaMalloc(&data, bytes) == cudaSuccess) return data;
    cudaGetLastError();
    in_use_ -= bytes;
    throw Error("out of GPU memory: " + std::to_string(bytes >> 20) + " MiB more were needed beside " +
                    std::to_string(in_use_ >> 20) + " MiB in use",
                "use a smaller --batch or --length");
}

void CudaBackend::release(void* data, size_t bytes) {
    bytes = rounded(bytes);
    const std::lock_guard lock(mutex_);
    in_use_ -= bytes;
    free_.emplace(bytes, data);
}

size_t CudaBackend::bytes_in_use() const {
    const std::lock_guard lock(mutex_);
    return in_use_;
}

size_t CudaBackend::peak_bytes() const {
    const std::lock_guard lock(mutex_);
    return peak_;
}

void CudaBackend::reset_peak() {
    const std::lock_guard lock(mutex_);
    peak_ = in_use_;
}

size_t CudaBackend::available_bytes() const {
    size_t free = 0, total = 0;
    cuda::check(cudaMemGetInfo(&free, &total), "asking for the free memory");
    const std::lock_guard lock(mutex_);
    for (const auto& [bytes, data] : free_) free += bytes;
    return free;
}

void CudaBackend::upload(const void* host, const View& to) {
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
