#include "tests/cuda/pairs.h"

namespace nigiri {
namespace {

using test::bf16;
using test::CudaPairs;
using test::f32;
using test::Pair;

class CudaNorm : public CudaPairs {
  protected:
    struct Result {
        Tensor y, dx, dweight, dbias;
    };

    // Forward and backward on both backends, compared; what the device gave is returned.
    Result check(NormKind kind, int64_t rows, int64_t columns, DType wide, DType narrow, int64_t gap, bool accumulate) {
        SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(columns) + " " + name_of(wide) + " to " +
                     name_of(narrow) + " kind " + std::to_string(static_cast<int>(kind)) + " gap " +
                     std::to_string(gap));
        const Shape shape{rows, columns};
        const int64_t n = kind == NormKind::scalar ? 1 : columns;
        // A mean far from zero shows a variance computed as a difference of large numbers.
        const Pair x = values(shape, wide, gap, 2, 5), dy = values(shape, narrow, gap);
        const Pair weight = values({n}, f32, 0, 0.5, 1);
        const Pair bias = kind == NormKind::rms ? Pair{} : values({n}, f32);
        Pair y = room(shape, narrow, gap), mean = room({rows}, f32), rstd = room({rows}, f32);
        Pair dx = values(shape, wide, gap), dweight = values({n}, f32);
        Pair dbias = kind == NormKind::rms ? Pair{} : values({n}, f32);
        cuda->norm_forward({.kind = kind,
                            .x = x.device,
                            .weight = weight.device,
                            .bias = bias.device,
                            .y = y.device,
                            .mean = mean.device,
                            .rstd = rstd.device});
        cpu->norm_forward({.kind = kind,
                           .x = x.host,
                           .weight = weight.host,
                           .bias = bias.host,
                           .y = y.host,
                           .mean = mean.host,
                           .rstd = rstd.host});
        if (columns > 1) expect_close(y, "y", 1e-5);
        if (kind != NormKind::rms) expect_close(mean, "mean");
        if (columns > 1) expect_close(rstd, "rstd");
        cuda->norm_backward({.kind = kind,
                             .x = x.device,
                             .weight = weight.device,
                             .bias = bias.device,
                             .mean = mean.device,
                             .rstd = rstd.device,
                             .dy = dy.device,
                             .dx = dx.device,
                             .dweight = dweight.device,
                             .dbias = dbias.device,
                             .accumulate = accumulate});
        cpu->norm_backward({.kind = kind,
                            .x = x.host,
                            .weight = weight.host,
                            .bias = bias.host,
                            .mean = mean.host,
                            .rstd = rstd.host,
                            .dy = dy.host,
                            .dx = dx.host,
                            .dweight = dweight.host,
                            .dbias = dbias.host,
                            .accumulate = accumulate});
        // A scalar's sum over everything cancels, and so does dx where two or three columns nearly agree.
        if (columns > 3) expect_close(dx, "dx", 1e-5, size_of_sums(rows * columns, 1));
        expect_close(dweight, "dweight", 1e-5, size_of_sums(columns, rows));
        if (dbias.device) expect_close(dbias, "dbias", 1e-5, size_of_sums(columns, rows));
        return {y.device, dx.device, dweight.device, dbias.device};
    }
};

TEST_F(CudaNorm, AgreesWithFloat64) {
    const std::pair<DType, DType> types[] = {{f32, f32}, {f32, bf16}, {bf16, bf16}};
    for (const NormKind kind : {NormKind::layer, NormKind::rms, NormKind::scalar})
        for (const auto& [wide, narrow] : types)
            for (const int64_t columns :
                 {1, 2, 3, 6, 7, 8, 16, 17, 63, 64, 65, 96, 128, 129, 256, 257, 384, 500, 512, 513, 1000})
                for (const int64_t rows : {1, 3, 65})
                    check(kind, rows, columns, wide, narrow, rows == 3 ? 4 : 0, columns % 2 == 0);
}

TEST_F(CudaNorm, OfManyRowsWithGaps) {
    for (const NormKind kind : {NormKind::layer, NormKind::rms, NormKind::scalar})
        for (const int64_t gap : {0, 3})
            for (const int64_t columns : {6, 64, 512, 600}) {
                check(kind, 5003, columns, f32, bf16, gap, true);
                check(kind, 500, columns, f32, f32, gap, false);
            }
}

TEST_F(CudaNorm, RepeatsItself) {
    for (const int64_t columns : {64, 700}) {
        random = Random(5);
        const Result a = check(NormKind::layer, 10007, columns, f32, bf16, 0, true);
        random = Random(5);
        const Result b = check(NormKind::layer, 10007, columns, f32, bf16, 0, true);
        expect_equal(a.dx, b.dx, "dx");
        expect_equal(a.dweight, b.dweight, "dweight");
        expect_equal(a.dbias, b.dbias, "dbias");
    }
}

TEST_F(CudaNorm, WorksInPlaceAndWithoutStatistics) {
    const Pair x = values({40, 64}, f32), weight = values({64}, f32), bias = values({64}, f32);
    cuda->norm_forward({.x = x.device, .weight = weight.device, .bias = bias.device, .y = x.device});
    cpu->norm_forward({.x = x.host, .weight = weight.host, .bias = bias.host, .y = x.host});
    expect_close(x, "y in x's place");
}

}  // namespace
}  // namespace nigiri
