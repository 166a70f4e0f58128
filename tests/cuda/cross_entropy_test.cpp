#include "tests/cuda/pairs.h"

namespace nigiri {
namespace {

using test::bf16;
using test::CudaPairs;
using test::f32;
using test::Pair;

class CudaCrossEntropy : public CudaPairs {
  protected:
    Pair targets(int64_t rows, int64_t classes) {
        Pair t = integers({rows}, classes);
        for (int64_t i = 0; i < rows; i += 5) test::set(t.host, i, -1);  // positions that do not count
        t.device = test::to_device(*cuda, t.host, DType::i32);
        return t;
    }
};

TEST_F(CudaCrossEntropy, AgreesWithFloat64) {
    for (const auto& [in, out] : {std::pair{f32, f32}, {f32, bf16}, {bf16, bf16}, {bf16, f32}})
        for (const int64_t classes : {1, 2, 11, 64, 100, 255, 256, 257, 1000})
            for (const int64_t rows : {1, 7, 1001})
                for (const int64_t gap : {0, 3, 8}) {
                    SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(classes) + " " + name_of(in) + " gap " +
                                 std::to_string(gap));
                    const Pair logits = values({rows, classes}, in, gap, 5, 100), target = targets(rows, classes);
                    Pair losses = room({rows}, f32), gradient = room({rows, classes}, out, gap);
                    cuda->cross_entropy({.logits = logits.device,
                                         .targets = target.device,
                                         .losses = losses.device,
                                         .dlogits = gradient.device,
                                         .scale = 0.25});
                    cpu->cross_entropy({.logits = logits.host,
                                        .targets = target.host,
                                        .losses = losses.host,
                                        .dlogits = gradient.host,
                                        .scale = 0.25});
                    expect_close(losses, "losses");
                    // At the target the gradient is a difference from one, which a sure and right prediction
                    // cancels.
                    if (classes > 2) expect_close(gradient, "gradient", 1e-5);
                    cuda->cross_entropy(
                        {.logits = logits.device, .targets = target.device, .losses = losses.device, .dlogits = {}});
                    expect_close(losses, "losses alone");
                    if (in == out) {
                        cuda->cross_entropy({.logits = logits.device,
                                             .targets = target.device,
                                             .losses = losses.device,
                                             .dlogits = logits.device,
                                             .scale = 0.25});
                        if (classes > 2) expect_equal(logits.device, gradient.device, "in the logits' place");
                    }
                }
}

TEST_F(CudaCrossEntropy, ReadsItsScaleFromMemory) {
    for (const int64_t classes : {64, 300}) {
        const Pair logits = values({77, classes}, f32), target = targets(77, classes), losses = room({77}, f32),
                   given = room({77, classes}, f32), read = room({77, classes}, f32);
        const Tensor scale = cuda->allocate({1}, f32);
        cuda->fill({.y = scale, .value = 0.25});
        cuda->cross_entropy({.logits = logits.device,
                             .targets = target.device,
                             .losses = losses.device,
                             .dlogits = given.device,
                             .scale = 0.25});
        cuda->cross_entropy({.logits = logits.device,
                             .targets = target.device,
                             .losses = losses.device,
                             .dlogits = read.device,
                             .scale = 7,
                             .scale_at = scale});
        expect_equal(read.device, given.device, "the scale read");
    }
}

TEST_F(CudaCrossEntropy, ShowsATargetThatIsNoClass) {
    const Pair logits = values({3, 11}, f32), target = integers({3}, 11), losses = room({3}, f32);
    const int32_t wrong[] = {2, 11, -2};
    cuda->upload(wrong, target.device);
    cuda->cross_entropy(
        {.logits = logits.device, .targets = target.device, .losses = losses.device, .dlogits = logits.device});
    const Tensor host = test::to_host(*cpu, *cuda, losses.device);
    EXPECT_FALSE(std::isnan(test::get(host, 0)));
    EXPECT_TRUE(std::isnan(test::get(host, 1)));
    EXPECT_TRUE(std::isnan(test::get(host, 2)));
}

}  // namespace
}  // namespace nigiri
