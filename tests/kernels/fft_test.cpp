// The library's transforms of builds with NIGIRI_FFT=fftw or kissfft.
#include "kernels/cpu/fft.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <new>
#include <thread>
#include <vector>

#include "tests/support/check.h"

namespace nigiri {
namespace {

using cpu::fft_size;
using cpu::RealFft;

// Arrays as the interface wants them.
template <class T>
struct Aligned {
    explicit Aligned(int64_t count)
        : size(count),
          data(static_cast<T*>(::operator new(static_cast<size_t>(count) * sizeof(T), std::align_val_t(64)))) {
        std::fill_n(data, count, T());
    }
    ~Aligned() { ::operator delete(data, std::align_val_t(64)); }
    Aligned(const Aligned&) = delete;
    Aligned& operator=(const Aligned&) = delete;
    int64_t size;
    T* data;
};

TEST(RealFft, SizesAreTheNextFastOnes) {
    EXPECT_EQ(fft_size(1), 2);
    EXPECT_EQ(fft_size(33), 40);
    EXPECT_EQ(fft_size(41), 48);
    EXPECT_EQ(fft_size(49), 64);
    EXPECT_EQ(fft_size(32767), 32768);
    EXPECT_EQ(fft_size(32769), 40960);
    EXPECT_THROW(RealFft::of_size(34), Error);
    EXPECT_THROW(RealFft::of_size(0), Error);
}

TEST(RealFft, IsTheDefinitionAndItsInverse) {
    Random random(test::seed());
    for (const int64_t n : {2, 4, 6, 8, 10, 12, 16, 20, 24, 40, 48, 64, 256, 320, 384}) {
        SCOPED_TRACE(testing::Message() << n << " points, seed " << test::seed());
        const auto fft = RealFft::of_size(n);
        std::vector<double> x;
        Aligned<float> samples(n);
        for (int64_t t = 0; t < n; ++t) x.push_back(samples.data[t] = static_cast<float>(random.normal()));
        Aligned<std::complex<float>> spectrum(n / 2 + 1);
        fft->forward(samples.data, spectrum.data);
        for (int64_t k = 0; k <= n / 2; ++k) {
            std::complex<double> sum = 0;
            for (int64_t t = 0; t < n; ++t)
                sum += x[static_cast<size_t>(t)] *
                       std::polar(1.0, -2 * M_PI * static_cast<double>(k * t % n) / static_cast<double>(n));
            // Values of size sqrt(n), some roundings of 6e-8 of that.
            EXPECT_LT(std::abs(sum - std::complex<double>(spectrum.data[k])), 1e-6 * std::sqrt(static_cast<double>(n)))
                << k;
        }
        fft->inverse(spectrum.data, samples.data);
        for (int64_t t = 0; t < n; ++t)
            EXPECT_NEAR(static_cast<double>(samples.data[t]) / static_cast<double>(n), x[static_cast<size_t>(t)], 2e-6)
                << t;
    }
}

TEST(RealFft, ThreadsShareAPlan) {
    const int64_t n = 4096;
    const auto fft = RealFft::of_size(n);
    const auto transformed = [&](uint64_t seed) {
        Random random(seed);
        Aligned<float> samples(n);
        Aligned<std::complex<float>> spectrum(n / 2 + 1);
        for (int64_t t = 0; t < n; ++t) samples.data[t] = static_cast<float>(random.normal());
        fft->forward(samples.data, spectrum.data);
        return std::vector<std::complex<float>>(spectrum.data, spectrum.data + n / 2 + 1);
    };
    std::vector<std::vector<std::complex<float>>> alone, together(4);
    for (uint64_t i = 0; i < 4; ++i) alone.push_back(transformed(i));
    std::vector<std::thread> threads;
    for (uint64_t i = 0; i < 4; ++i)
        threads.emplace_back([&, i] {
            for (int k = 0; k < 20; ++k) together[i] = transformed(i);
        });
    for (auto& t : threads) t.join();
    for (size_t i = 0; i < 4; ++i)
        EXPECT_EQ(std::memcmp(alone[i].data(), together[i].data(), alone[i].size() * sizeof alone[i][0]), 0) << i;
}

}  // namespace
}  // namespace nigiri
