// The last sums of the selective scan's backward pass, always in the same order.
#include "kernels/cuda/selective_scan_gradients.cuh"

namespace nigiri::cuda::scan {
namespace {

// dB or dC from the blocks' shares. Bounded by reading these.
template <class T>
__global__ void __launch_bounds__(256)
    add_shares_kernel(const float* __restrict__ shares, int blocks, int64_t rows, int numbers, Rows to) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * 256 + threadIdx.x, size = rows * numbers;
    if (i >= size) return;
    float sum = 0;
#pragma unroll 4
    for (int k = 0; k < blocks; ++k) sum += shares[k * size + i];
    store(static_cast<T*>(to.data) + (i / numbers * to.stride + i % numbers), sum);
}

// One thread adds up one number.
template <bool kComplex>
__global__ void __launch_bounds__(256)
    add_sums_kernel(const float* __restrict__ sums, int64_t shares, Sums place, int channels, ParameterGradients to) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * 256 + threadIdx.x, size = int64_t{place.count} * channels;
    if (i >= size) return;
    float sum = 0;
#pragma unroll 8
    for (int64_t k = 0; k < shares; ++k) sum += sums[k * size + i];
    const int row = static_cast<int>(i / channels), channel = static_cast<int>(i % channels);
    const auto add_to = [&](const States& gradient, int number) {
        if (number < to.numbers) *gradient.at<kComplex>(channel, number) += sum;
    };
    if (row < place.b)
        add_to(to.a, row);
    else if (row < place.c)
        add_to(to.b, row - place.b);
    else if (row < place.bias)
        add_to(to.c, row - place.c);
    else if (float* const vector = row == place.bias ? to.bias : to.skip; vector != nullptr)
        vector[channel] += sum;
}

unsigned blocks_of(int64_t threads) { return static_cast<unsigned>(ceil_div(threads, 256)); }

}  // namespace

template <class T>
void add_shares(cudaStream_t stream, const float* shares, int blocks, int64_t rows, int numbers, const Rows& to) {
    add_shares_kernel<T><<<blocks_of(rows * numbers), 256, 0, stream>>>(shares, blocks, rows, numbers, to);
    check_launch("adding up the selective scan's gradients");
}
template void add_shares<float>(cudaStream_t, const float*, int, int64_t, int, const Rows&);
template void add_shares<bf16>(cudaStream_t, const float*, int, int64_t, int, const Rows&);

void add_sums(cudaStream_t stream, bool is_complex, const float* sums, int64_t shares, const Sums& place, int channels,
              const ParameterGradients& to) {
    const auto kernel = is_complex ? add_sums_kernel<true> : add_sums_kernel<false>;
    kernel<<<blocks_of(int64_t{place.count} * channels), 256, 0, stream>>>(sums, shares, place, channels, to);
    check_launch("adding up the selective scan's gradients");
}

}  // namespace nigiri::cuda::scan
