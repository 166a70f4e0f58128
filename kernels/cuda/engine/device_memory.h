// The device that the engine runs on, its stream and its memory; memory of the host that both see.
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cuda/check.h"
#include "kernels/cuda/engine/job.h"
#include "kernels/cuda/engine/sampling_controls.h"

namespace nigiri::cuda::engine {

struct Device {
    std::string name;
    int processors = 0;
    uint32_t shared_per_block = 0;
    bool has_time_limit = false;  // ends kernels that run for seconds

    // The current one. Throws Error where there is none.
    static Device present() {
        int count = 0, index = 0;
        if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0)
            throw Error("no CUDA device was found", "use --device cpu, or --device auto");
        check(cudaGetDevice(&index), "choosing a device");
        cudaDeviceProp properties{};
        check(cudaGetDeviceProperties(&properties, index), "asking for the device's properties");
        int limited = 0;
        check(cudaDeviceGetAttribute(&limited, cudaDevAttrKernelExecTimeout, index), "asking for the device's limits");
        return {properties.name, properties.multiProcessorCount,
                static_cast<uint32_t>(properties.sharedMemPerBlockOptin), limited != 0};
    }
};

class Stream {
  public:
    Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream"); }
    ~Stream() {
        cudaStreamSynchronize(stream_);
        cudaStreamDestroy(stream_);
    }
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;

    cudaStream_t get() const { return stream_; }
    void wait(const char* what) const { check(cudaStreamSynchronize(stream_), what); }
    bool is_done(const char* what) const {
        const cudaError_t status = cudaStreamQuery(stream_);
        if (status == cudaErrorNotReady) return false;
        check(status, what);
        return true;
    }

  private:
    cudaStream_t stream_ = nullptr;
};

template <class T>
class DeviceArray {
  public:
    explicit DeviceArray(size_t size) : size_(size) {
        check(cudaMalloc(reinterpret_cast<void**>(&data_), std::max<size_t>(size, 1) * sizeof(T)),
              "taking memory for the generation engine");
    }
    explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
        check(cudaMemcpy(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice), "uploading the model");
    }
    ~DeviceArray() { cudaFree(data_); }
    DeviceArray(const DeviceArray&) = delete;
    DeviceArray& operator=(const DeviceArray&) = delete;

    T* data() const { return data_; }
    size_t size() const { return size_; }
    // Pageable memory is copied before these return.
    void upload(const T* values, size_t count, const Stream& stream) {
        check(cudaMemcpyAsync(data_, values, count * sizeof(T), cudaMemcpyHostToDevice, stream.get()),
              "uploading to the generation engine");
    }
    void clear(const Stream& stream) {
        check(cudaMemsetAsync(data_, 0, size_ * sizeof(T), stream.get()), "clearing the generation engine's memory");
    }

  private:
    T* data_ = nullptr;
    size_t size_ = 0;
};

// Pinned memory of the host in the device's address space, zero at first. The other side may write at any time.
template <class T>
class MappedArray {
  public:
    MappedArray() = default;
    explicit MappedArray(size_t size) : size_(size) {
        void* data = nullptr;
        check(cudaHostAlloc(&data, std::max<size_t>(size, 1) * sizeof(T), cudaHostAllocMapped),
              "taking pinned memory for the generation engine");
        data_ = static_cast<T*>(data);
        std::memset(data, 0, size * sizeof(T));
        void* device = nullptr;
        const cudaError_t status = cudaHostGetDevicePointer(&device, data, 0);
        if (status != cudaSuccess) cudaFreeHost(data_);
        check(status, "mapping memory for the generation engine");
        device_ = static_cast<T*>(device);
    }
    ~MappedArray() {
        if (data_ != nullptr) cudaFreeHost(data_);
    }
    MappedArray(const MappedArray&) = delete;
    MappedArray& operator=(const MappedArray&) = delete;
    MappedArray& operator=(MappedArray&& other) noexcept {
        std::swap(data_, other.data_), std::swap(device_, other.device_), std::swap(size_, other.size_);
        return *this;
    }

    T* device() const { return device_; }
    size_t size() const { return size_; }
    T* host() const { return data_; }
    void reset() { std::memset(static_cast<void*>(data_), 0, size_ * sizeof(T)); }

  private:
    T *data_ = nullptr, *device_ = nullptr;
    size_t size_ = 0;
};

// A word that the device writes or reads while the host does the other.
template <class T>
T load_shared(const T& word) {
    return std::atomic_ref<T>(const_cast<T&>(word)).load(std::memory_order_acquire);
}
template <class T>
void store_shared(T& word, T value) {
    std::atomic_ref<T>(word).store(value, std::memory_order_release);
}

}  // namespace nigiri::cuda::engine
