#include "kernels/cpu/cpu_backend.h"

#include <omp.h>

#include <cstdlib>
#include <cstring>
#include <fstream>

#include "kernels/cpu/common.h"

namespace nigiri {

namespace {

constexpr size_t alignment = 64;  // one cache line, one AVX-512 vector

}  // namespace

CpuBackend::CpuBackend(int threads)
    : threads_(threads > 0 ? threads : omp_get_num_procs()),
      pool_(alignment, {[](size_t bytes) { return std::aligned_alloc(alignment, bytes); }, std::free}) {
    omp_set_num_threads(threads_);
}

std::string CpuBackend::description() const {
    return "CPU, " + std::to_string(threads_) + (threads_ == 1 ? " thread" : " threads");
}

void* CpuBackend::acquire(size_t bytes) {
    if (void* data = pool_.acquire(bytes)) return data;
    throw Error("out of memory: " + std::to_string(pool_.rounded(bytes) >> 20) + " MiB more were needed",
                "use a smaller --batch or --length");
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
