#include "tests/cuda/pairs.h"

namespace nigiri {
namespace {

using test::bf16;
using test::CudaPairs;
using test::f32;
using test::Pair;

class CudaCausalConv1d : public CudaPairs {
  protected:
    std::vector<Tensor> check(const Shape& shape, int64_t taps, DType dtype, int64_t gap, bool silu, bool with_bias) {
        SCOPED_TRACE(shape.text() + " taps " + std::to_string(taps) + " " + name_of(dtype) + " gap " +
                     std::to_string(gap));
        const int64_t channels = shape[2];
        const Pair x = values(shape, dtype, gap), weight = values({channels, taps}, f32),
                   dy = values(shape, dtype, gap);
        const Pair bias = with_bias ? values({channels}, f32) : Pair{};
        Pair y = room(shape, dtype), dx = room(shape, dtype, gap), dweight = values({channels, taps}, f32);
        Pair dbias = with_bias ? values({channels}, f32) : Pair{};
        cuda->causal_conv1d_forward(
            {.x = x.device, .weight = weight.device, .bias = bias.device, .y = y.device, .state = {}, .silu = silu});
        cpu->causal_conv1d_forward(
            {.x = x.host, .weight = weight.host, .bias = bias.host, .y = y.host, .state = {}, .silu = silu});
        expect_close(y, "y");
        if (taps > 1) {  // behind a state
            Pair state = values({shape[0], taps - 1, channels}, f32);
            cuda->causal_conv1d_forward({.x = x.device,
                                         .weight = weight.device,
                                         .bias = bias.device,
                                         .y = y.device,
                                         .state = state.device,
                                         .silu = silu});
            cpu->causal_conv1d_forward({.x = x.host,
                                        .weight = weight.host,
                                        .bias = bias.host,
                                        .y = y.host,
                                        .state = state.host,
                                        .silu = silu});
            expect_close(y, "y behind a state");
            EXPECT_EQ(test::relative_error(test::to_host(*cpu, *cuda, state.device), state.host), 0) << "the new state";
        }
        cuda->causal_conv1d_backward({.x = x.device,
                                      .weight = weight.device,
                                      .bias = bias.device,
                                      .dy = dy.device,
                                      .dx = dx.device,
                                      .dweight = dweight.device,
                                      .dbias = dbias.device,
                                      .silu = silu});
        cpu->causal_conv1d_backward({.x = x.host,
                                     .weight = weight.host,
                                     .bias = bias.host,
                                     .dy = dy.host,
                                     .dx = dx.host,
                                     .dweight = dweight.host,
                                     .dbias = dbias.host,
                                     .silu = silu});
        expect_close(dx, "dx");
        expect_close(dweight, "dweight", 2e-6, size_of_sums(channels * taps, shape[0] * shape[1]));
        if (with_bias) expect_close(dbias, "dbias", 2e-6, size_of_sums(channels, shape[0] * shape[1]));
        return {y.device, dx.device, dweight.device};
    }
};

TEST_F(CudaCausalConv1d, AgreesWithFloat64) {
    for (const DType dtype : {f32, bf16})
        for (const int64_t taps : {1, 2, 3, 4, 5, 8})
            for (const int64_t length : {1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 63, 64, 65, 129, 257})
                for (const int64_t channels : {1, 6, 16, 36, 128})
                    check({2, length, channels}, taps, dtype, channels == 16 ? 4 : 0, length % 2 == 0, channels != 6);
}

TEST_F(CudaCausalConv1d, OfManyRunsAndChannels) {
    for (const DType dtype : {f32, bf16})
        for (const int64_t gap : {0, 3, 8}) {
            check({3, 2003, 128}, 4, dtype, gap, true, true);
            check({2, 1001, 260}, 4, dtype, gap, true, true);
            check({2, 1001, 131}, 7, dtype, gap, false, true);
        }
}

TEST_F(CudaCausalConv1d, RepeatsItself) {
    random = Random(5);
    const auto a = check({2, 4001, 64}, 4, bf16, 0, true, true);
    random = Random(5);
    const auto b = check({2, 4001, 64}, 4, bf16, 0, true, true);
    for (size_t i = 0; i < a.size(); ++i) expect_equal(a[i], b[i], "result " + std::to_string(i));
}

TEST_F(CudaCausalConv1d, GoesOnInPieces) {
    const int64_t length = 50, channels = 24;
    for (const DType dtype : {f32, bf16}) {
        const Pair x = values({1, length, channels}, dtype), weight = values({channels, 4}, f32);
        const Tensor whole = cuda->allocate({1, length, channels}, dtype), state = cuda->zeros({1, 3, channels}, f32);
        cuda->causal_conv1d_forward({.x = x.device, .weight = weight.device, .y = whole});
        const Tensor parts = cuda->allocate({1, length, channels}, dtype);
        const auto flat = [&](const Tensor& t) { return t.reshaped({1, length * channels}); };
        for (int64_t at = 0, next = 1; at < length; at += next, next = std::min(length - at, next % 7 + 1)) {
            const Tensor piece = flat(x.device).columns(at * channels, next * channels).reshaped({1, next, channels});
            const Tensor out = flat(parts).columns(at * channels, next * channels).reshaped({1, next, channels});
            cuda->causal_conv1d_forward({.x = piece, .weight = weight.device, .y = out, .state = state});
        }
        expect_equal(parts, whole, "in pieces");
    }
}

}  // namespace
}  // namespace nigiri
