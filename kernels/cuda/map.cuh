// Element-wise kernels: one thread handles one vector of neighbouring elements. Such a kernel is bound by its
// bytes: at full occupancy one 16-byte load a thread is twice what hides the latency of device memory, so
// there is no loop.
#pragma once

#include <algorithm>

#include "kernels/cuda/vector.cuh"

namespace nigiri::cuda {

constexpr int map_threads = 256;

// `count` vectors in rows of `columns` vectors.
template <int lanes, class F>
__global__ void __launch_bounds__(map_threads) map_kernel(int64_t count, int64_t columns, const F f) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * map_threads + threadIdx.x;
    if (i >= count) return;
    int64_t row = 0, column = i;
    if (columns < count) {  // the short division costs a quarter of the long one
        row = count <= UINT32_MAX ? static_cast<uint32_t>(i) / static_cast<uint32_t>(columns) : i / columns;
        column = i - row * columns;
    }
    f.template apply<lanes>(row, column * lanes);
}

template <int lanes, class F>
void launch_map(cudaStream_t stream, const char* name, int64_t rows, int64_t columns, const F& f) {
    const int64_t count = rows * columns;
    if (count == 0) return;
    map_kernel<lanes>
        <<<static_cast<unsigned>(ceil_div(count, map_threads)), map_threads, 0, stream>>>(count, columns, f);
    check_launch(name);
}

// Calls f.apply<n>(row, column) for all elements of views of equal shape, n of them at a time: `lanes` where
// all views allow it, else one. Views without gaps count as one long row.
template <int lanes, class F, class... Views>
void map(cudaStream_t stream, const char* name, const F& f, const View& first, const Views&... others) {
    const bool packed = first.contiguous() && (others.contiguous() && ...);
    const auto flat = [](const View& v) { return v.reshaped({1, v.size()}); };
    if (packed && whole_vectors(lanes, flat(first), flat(others)...))
        launch_map<lanes>(stream, name, 1, first.size() / lanes, f);
    else if (whole_vectors(lanes, first, others...))
        launch_map<lanes>(stream, name, first.rows(), first.columns() / lanes, f);
    else if (packed)
        launch_map<1>(stream, name, 1, first.size(), f);
    else
        launch_map<1>(stream, name, first.rows(), first.columns(), f);
}

// Vectors of this many elements are 16 bytes of the narrower type.
template <class... T>
constexpr int map_lanes = ((sizeof(T) == 2) || ...) ? 8 : 4;

}  // namespace nigiri::cuda
