#include "kernels/cpu/cpu_backend.h"

#include <omp.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <new>

#include "kernels/cpu/common.h"

namespace nigiri {

namespace {

constexpr size_t alignment = 64;  // one cache line, one AVX-512 vector

// Sizes are rounded up so that tensors of nearly equal size share blocks of the pool: to cache lines when small,
// to an eighth of their power of two when large.
size_t rounded(size_t bytes) {
    size_t unit = alignment;
    while (bytes > unit * 16) unit *= 2;
    return (bytes + unit - 1) / unit * unit;
}

}  // namespace

CpuBackend::CpuBackend(int threads) : threads_(threads > 0 ? threads : omp_get_num_procs()) {
    omp_set_num_threads(threads_);
}

CpuBackend::~CpuBackend() {
    for (const auto& [bytes, data] : free_) std::free(data);
}

std::string CpuBackend::description() const {
    return "CPU, " + std::to_string(threads_) + (threads_ == 1 ? " thread" : " threads");
}

void* CpuBackend::acquire(size_t bytes) {
    bytes = rounded(bytes);
    const std::lock_guard lock(mutex_);
    in_use_ += bytes;
    peak_ = std::max(peak_, in_use_);
    if (const auto it = free_.find(bytes); it != free_.end()) {
        void* data = it->second;
        free_.erase(it);
        return data;
    }
    void* data = std::aligned_alloc(alignment, bytes);
    if (data == nullptr) {
        in_use_ -= bytes;
        throw Error("out of memory: " + std::to_string(bytes >> 20) + " MiB more were needed",
                    "use a smaller --batch or --length");
    }
    return data;
}

void CpuBackend::release(void* data, size_t bytes) {
    bytes = rounded(bytes);
    const std::lock_guard lock(mutex_);
    in_use_ -= bytes;
    free_.emplace(bytes, data);
}

size_t CpuBackend::bytes_in_use() const {
    const std::lock_guard lock(mutex_);
    return in_use_;
}

size_t CpuBackend::peak_bytes() const {
    const std::lock_guard lock(mutex_);
    return peak_;
}

void CpuBackend::reset_peak() {
    const std::lock_guard lock(mutex_);
    peak_ = in_use_;
}

size_t CpuBackend::available_bytes() const {
    std::ifstream in("/proc/meminfo");
    for (std::string key, unit; in >> key;) {
        size_t kilobytes = 0;
        if (!(in >> kilobytes)) break;
        std::getline(in, unit);
        if (key == "MemAvailable:") return kilobytes * 1024;
    }
    return 0;
}

void CpuBackend::upload(const void* host, const View& to) {
    std::memcpy(to.data, host, static_cast<size_t>(to.size()) * size_of(to.dtype));
}

void CpuBackend::download(const View& from, void* host) {
    std::memcpy(host, from.data, static_cast<size_t>(from.size()) * size_of(from.dtype));
}

}  // namespace nigiri
