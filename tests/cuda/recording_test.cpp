// Operations recorded as a CUDA graph: what a replay computes, whose memory it uses, and what may not be recorded.
#include "tests/cuda/support.h"

namespace nigiri {
namespace {

using test::Cuda;
using test::f32;

class CudaRecording : public Cuda {
  protected:
    Tensor filled(int64_t size, double value) {
        const Tensor t = cuda->allocate({size}, f32);
        cuda->fill({.y = t, .value = value});
        return t;
    }
    // y += 2 (x + 1), through memory of its own.
    void work(const Tensor& x, const Tensor& y) {
        const Tensor one = filled(x.size(), 1), sum = cuda->allocate(x.shape(), f32);
        cuda->add({.x1 = x, .x2 = one, .y = sum});
        cuda->add({.x1 = sum, .x2 = sum, .y = sum});
        cuda->add({.x1 = y, .x2 = sum, .y = y});
    }
    double mean(const Tensor& t) { return cuda->sum(t) / static_cast<double>(t.size()); }
};

TEST_F(CudaRecording, ReplaysOnWhatStandsThere) {
    ASSERT_TRUE(cuda->can_record());
    const Tensor x = filled(5000, 3), y = filled(5000, 0);
    work(x, y);
    EXPECT_EQ(mean(y), 8);
    const auto recording = cuda->record([&] { work(x, y); });
    EXPECT_EQ(mean(y), 8) << "recording runs nothing";
    EXPECT_TRUE(recording->replay());
    EXPECT_EQ(mean(y), 16);
    cuda->fill({.y = x, .value = 4});
    EXPECT_TRUE(recording->replay());
    EXPECT_TRUE(recording->replay());
    EXPECT_EQ(mean(y), 36);
}

TEST_F(CudaRecording, NobodyGetsItsMemoryAndItCountsAsUsedWhileItRuns) {
    const Tensor x = filled(5000, 3), y = filled(5000, 0);
    const size_t before = cuda->bytes_in_use();
    cuda->reset_peak();
    work(x, y);
    const size_t peak = cuda->peak_bytes();
    EXPECT_GE(peak, before + 2 * 20000);
    const auto recording = cuda->record([&] { work(x, y); });
    EXPECT_EQ(cuda->bytes_in_use(), before);
    std::vector<Tensor> others;
    for (int i = 0; i < 20; ++i) others.push_back(filled(5000, 7));
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(recording->replay());
    for (const Tensor& t : others) EXPECT_EQ(mean(t), 7);
    EXPECT_EQ(mean(y), 32);
    others.clear();
    EXPECT_EQ(cuda->bytes_in_use(), before);
    cuda->reset_peak();
    EXPECT_TRUE(recording->replay());
    EXPECT_EQ(cuda->peak_bytes(), peak);
    cuda->synchronize();
}

TEST_F(CudaRecording, TwoRecordingsDoNotShareMemory) {
    const Tensor x = filled(5000, 3), y = filled(5000, 0), z = filled(5000, 0);
    const auto first = cuda->record([&] { work(x, y); });
    auto second = cuda->record([&] { work(y, z); });
    for (int i = 0; i < 2; ++i) {
        EXPECT_TRUE(first->replay());
        EXPECT_TRUE(second->replay());
    }
    EXPECT_EQ(mean(y), 16);
    EXPECT_EQ(mean(z), 2 * 9 + 2 * 17);
    second = nullptr;
    EXPECT_TRUE(first->replay());
    EXPECT_EQ(mean(y), 24);
}

TEST_F(CudaRecording, WhatCannotBeRecordedIsAnErrorAndLeavesTheBackendAsItWas) {
    const Tensor x = filled(5000, 3), y = filled(5000, 0);
    const float number = 1;
    std::vector<float> numbers(5000);
    Tensor kept;
    const std::vector<std::pair<std::string, std::function<void()>>> forbidden = {
        {"a sum", [&] { cuda->sum(x); }},
        {"waiting", [&] { cuda->synchronize(); }},
        {"a download", [&] { cuda->download(x, numbers.data()); }},
        {"an upload", [&] { cuda->upload(&number, cuda->allocate({1}, f32)); }},
        {"a recording", [&] { cuda->record([] {}); }},
        {"a tensor that stays", [&] { kept = cuda->allocate({77}, f32); }},
        {"an exception", [&] { throw Error("on purpose"); }}};
    for (const auto& [name, more] : forbidden) {
        SCOPED_TRACE(name);
        const size_t before = cuda->bytes_in_use();
        EXPECT_THROW(cuda->record([&] {
            work(x, y);
            more();
            work(x, y);
        }),
                     Error);
        kept = {};
        EXPECT_EQ(cuda->bytes_in_use(), before);
        EXPECT_EQ(mean(y), 0);
        const Tensor sum = filled(5000, 0);
        work(x, sum);
        EXPECT_EQ(mean(sum), 8) << "plain work goes on";
        const auto recording = cuda->record([&] { work(x, sum); });
        EXPECT_TRUE(recording->replay());
        EXPECT_EQ(mean(sum), 16) << "and so do recordings";
    }
}

// Products, transforms and attributes of kernels, all found as an earlier run left them; and memory that is asked for
// while recording.
TEST_F(CudaRecording, TakesLibrariesAndMemoryOfTheSystem) {
    const int64_t batch = 2, length = 3000, width = 24;
    const auto values = [&](const Shape& shape) {
        return test::to_device(*cuda, test::random_tensor(*cpu, shape, DType::f64, random), f32);
    };
    const Tensor u = values({batch, length, width}), kernel = values({width, length}), skip = values({width}),
                 weight = values({40, width}), first = cuda->allocate({batch, length, 40}, f32),
                 second = cuda->allocate({batch, length, 40}, f32);
    const auto layer = [&](const Tensor& y, bool more) {
        const Tensor v = cuda->allocate(u.shape(), f32);
        const Tensor big = more ? cuda->allocate({(int64_t{64} << 20) + 12345}, f32) : Tensor();
        if (more) cuda->fill({.y = big, .value = 5});
        cuda->long_conv_forward({.u = u, .kernel = kernel, .skip = skip, .y = v});
        cuda->linear_forward({.x = v, .weight = weight, .bias = {}, .y = y});
    };
    layer(first, false);
    const auto recording = cuda->record([&] { layer(second, true); });
    for (int i = 0; i < 3; ++i) {
        cuda->fill({.y = second, .value = 0});
        EXPECT_TRUE(recording->replay());
        EXPECT_EQ(test::max_difference(test::to_host(*cpu, *cuda, second), test::to_host(*cpu, *cuda, first)), 0);
    }
}

// Where memory runs out, what a recording keeps is given to whoever asks.
TEST_F(CudaRecording, IsGivenUpWhereMemoryIsShort) {
    constexpr int64_t gigabyte = int64_t{1} << 30;
    if (cuda->available_bytes() < 4 * gigabyte) GTEST_SKIP() << "too little memory to see it";
    const Tensor y = filled(1000, 0);
    const auto recording = cuda->record([&] {
        cuda->fill({.y = cuda->allocate({gigabyte / 4}, f32), .value = 1});
        work(y, y);
    });
    std::vector<Tensor> all;
    for (int i = 0; i < 4096 && recording->replay(); ++i) {
        cuda->fill({.y = y, .value = 0});
        all.push_back(cuda->allocate({gigabyte / 4}, f32));
    }
    // The last allocation found its memory: an Error would have come out of it.
    EXPECT_FALSE(recording->replay());
    EXPECT_GE(all.size(), 3u);
    all.clear();
    cuda->fill({.y = y, .value = 1});
    work(y, y);
    EXPECT_EQ(mean(y), 5) << "plain work goes on";
}

}  // namespace
}  // namespace nigiri
