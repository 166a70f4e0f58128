// What lies around the passes of the chunked form: a layer's tables, the states between segments, the
// gradients' end.
#pragma once

#include "kernels/cuda/s4d_chunks.cuh"
#include "kernels/cuda/s4d_modes.cuh"

namespace nigiri::cuda {

// One block a channel; a warp makes four of the 32 powers of every mode.
struct TableJob {
    S4dModes modes;
    const float* skip;
    int64_t first;                     // mode of the image
    int padded;                        // modes of the image
    unsigned char *powers, *weighted;  // or null
    float4* poles;                     // or null
    float* taps;                       // or null
};
void make_tables(cudaStream_t stream, const TableJob& job, int64_t channels);

// The state (B, 2 or 1, N D) as kernels see it.
struct PlanarState {
    Rows rows;
    int64_t parts, channels;

    __device__ Complex get(int64_t b, int64_t d, int64_t n) const {
        return {rows.row(b * parts)[n * channels + d], parts == 2 ? rows.row(b * parts + 1)[n * channels + d] : 0.0f};
    }
    __device__ void set(int64_t b, int64_t d, int64_t n, Complex x) const {
        rows.row(b * parts)[n * channels + d] = static_cast<float>(x.re);
        if (parts == 2) rows.row(b * parts + 1)[n * channels + d] = static_cast<float>(x.im);
    }
};

struct StateSums {
    Complex x, y;
};

// The arrays of segments are (columns, channels, modes), both padded; `padded` is the number of modes.
struct StatesJob {
    Segments segments;
    S4dModes modes;
    int padded;
    PlanarState state;  // what the sequences begin with; without data: zero
};

// From the states at the segments' ends, begun at zero, to the states at their starts.
void carry_states(cudaStream_t stream, const StatesJob& job, const float2* ends, float2* starts);

// The state after the last samples, fewer than a chunk: from `last` (B, D, N), one by one, into job.state.
template <class T>
void finish_state(cudaStream_t stream, const StatesJob& job, const float2* last, const T* u, int64_t stride);

// What the states between segments add to x and y, (B, D, N); the reversed states that du's segments begin
// with, or null; and the gradient of the state at the beginning, where it has data.
void carry_gradients(cudaStream_t stream, const StatesJob& job, const SegmentSums* sums, StateSums* added,
                     float2* starts, const PlanarState& dstate);

// The gradients of all modes (D, N) from the sums of all groups of columns; `taps` is scratch of (D, 32)
// doubles.
struct GradientSums {
    const float2 *x, *y;
    const float* partial_taps;
    const StateSums* added;
    int64_t groups;
    double* taps;
    float* dskip;  // or null
};
void finish_gradients(cudaStream_t stream, const StatesJob& job, const GradientSums& sums, ModeGradient* gradients);

}  // namespace nigiri::cuda
