#include "kernels/cpu/engine/packed_matrix.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/half.h"
#include "tests/support/check.h"

namespace nigiri::cpu {
namespace {

LinearMap random_map(int64_t outputs, int64_t inputs, bool bias, Random& random) {
    LinearMap map{outputs, inputs, {}, {}};
    for (int64_t i = 0; i < outputs * inputs; ++i) map.weight.push_back(static_cast<float>(random.normal()));
    if (bias)
        for (int64_t i = 0; i < outputs; ++i) map.bias.push_back(static_cast<float>(random.normal()));
    return map;
}

// Rows on cache lines, like an engine's.
struct Matrix {
    Arena arena;
    Rows rows;
    Matrix(int64_t count, int64_t width) : rows{arena.allocate<float>(count * padded(width)), padded(width)} {}
};

constexpr WeightFormat formats[] = {WeightFormat::f32, WeightFormat::bf16, WeightFormat::int8};

TEST(PackedMatrix, MultipliesByItsWeights) {
    Random random(test::seed());
    SCOPED_TRACE("seed " + std::to_string(test::seed()));
    for (const WeightFormat format : formats)
        for (const int64_t outputs : {1, 6, 16, 17, 40, 64, 65, 130})
            for (const int64_t inputs : {1, 2, 3, 40, 129})
                for (const int64_t streams : {1, 2, 3, 4, 7}) {
                    const LinearMap map = random_map(outputs, inputs, outputs % 2 == 0, random);
                    Arena weights;
                    const OutputRange all{0, outputs, 0};
                    const PackedMatrix packed(map, std::span(&all, 1), format, weights);
                    Matrix x(streams, inputs), y(streams, outputs), z(streams, outputs);
                    for (int64_t s = 0; s < streams; ++s) {
                        for (int64_t k = 0; k < inputs; ++k) x.rows[s][k] = static_cast<float>(random.normal());
                        for (int64_t i = 0; i < padded(outputs); ++i) y.rows[s][i] = 7, z.rows[s][i] = 1;
                    }
                    packed.multiply(x.rows, y.rows, streams, false);
                    packed.multiply(x.rows, z.rows, streams, true);
                    double squares = 0, scale = 0;
                    for (int64_t s = 0; s < streams; ++s)
                        for (int64_t i = 0; i < padded(outputs); ++i) {
                            double sum = 0, bound = 0;
                            if (i < outputs) {
                                if (!map.bias.empty()) sum = map.bias[static_cast<size_t>(i)];
                                for (int64_t k = 0; k < inputs; ++k) {
                                    double w = map.weight[static_cast<size_t>(i * inputs + k)];
                                    if (format == WeightFormat::bf16)
                                        w = static_cast<float>(BFloat16(static_cast<float>(w)));
                                    sum += w * x.rows[s][k];
                                    bound += std::abs(w * x.rows[s][k]);
                                }
                                squares += std::pow(y.rows[s][i] - sum, 2);
                                scale += sum * sum;
                            }
                            // The rounding of sums in float32; int8 is judged below, over all outputs.
                            if (format != WeightFormat::int8 || i >= outputs) {
                                EXPECT_NEAR(y.rows[s][i], sum, 1e-6 * (1 + bound)) << outputs << " x " << inputs;
                            }
                            EXPECT_NEAR(z.rows[s][i], 1 + y.rows[s][i], 1e-6 * (2 + std::abs(sum)));
                        }
                    // Normal weights of a row of many: a step is 3.5 deviations / 127, its error 1 / sqrt(12) of that,
                    // 0.8 %.
                    if (format == WeightFormat::int8 && outputs * inputs > 1000) {
                        EXPECT_LT(std::sqrt(squares / scale), 0.015) << outputs << " x " << inputs;
                    }
                }
}

// How a map is cut between threads changes no bit, nor does the number of streams.
TEST(PackedMatrix, GivesTheSameBitsHoweverItIsCut) {
    Random random(test::seed());
    for (const WeightFormat format : formats) {
        const int64_t outputs = 150, inputs = 77, streams = 7;
        const LinearMap map = random_map(outputs, inputs, true, random);
        Matrix x(streams, inputs), whole(streams, outputs), parts(streams, outputs), alone(streams, outputs);
        for (int64_t s = 0; s < streams; ++s)
            for (int64_t k = 0; k < inputs; ++k) x.rows[s][k] = static_cast<float>(random.normal());
        Arena weights;
        const OutputRange all{0, outputs, 0};
        const PackedMatrix packed(map, std::span(&all, 1), format, weights);
        packed.multiply(x.rows, whole.rows, streams, false);
        for (int64_t s = 0; s < streams; ++s)
            packed.multiply({x.rows[s], x.rows.stride}, {alone.rows[s], alone.rows.stride}, 1, false);
        for (const auto& [begin, count] : {std::pair<int64_t, int64_t>{0, 16}, {16, 48}, {64, 80}, {144, 6}}) {
            const OutputRange range{begin, count, begin};
            PackedMatrix(map, std::span(&range, 1), format, weights).multiply(x.rows, parts.rows, streams, false);
        }
        for (int64_t s = 0; s < streams; ++s)
            for (int64_t i = 0; i < padded(outputs); ++i) {
                EXPECT_EQ(parts.rows[s][i], whole.rows[s][i]);
                EXPECT_EQ(alone.rows[s][i], whole.rows[s][i]);
            }
    }
}

TEST(PackedMatrix, PutsRangesWhereTheyBelong) {
    Random random(test::seed());
    const LinearMap map = random_map(12, 5, false, random);
    const OutputRange ranges[] = {{0, 6, 16}, {6, 6, 0}};
    Arena weights;
    const PackedMatrix packed(map, ranges, WeightFormat::f32, weights);
    Matrix x(1, 5), y(1, 32);
    for (int64_t k = 0; k < 5; ++k) x.rows[0][k] = static_cast<float>(random.normal());
    packed.multiply(x.rows, y.rows, 1, false);
    for (size_t i = 0; i < 12; ++i) {
        float sum = 0;
        for (size_t k = 0; k < 5; ++k) sum += map.weight[i * 5 + k] * x.rows[0][k];
        EXPECT_NEAR(y.rows[0][i < 6 ? 16 + i : i - 6], sum, 1e-5);
    }
}

TEST(PackedMatrix, KeepsRowsOfZerosZero) {
    LinearMap map{3, 4, std::vector<float>(12), {}};
    map.weight[4] = 1e-30f;
    Arena weights;
    const OutputRange all{0, 3, 0};
    Matrix x(1, 4), y(1, 3);
    std::fill_n(x.rows[0], 4, 1.0f);
    PackedMatrix(map, std::span(&all, 1), WeightFormat::int8, weights).multiply(x.rows, y.rows, 1, false);
    EXPECT_EQ(y.rows[0][0], 0);
    EXPECT_NEAR(y.rows[0][1], 1e-30f, 1e-32f);
    EXPECT_EQ(y.rows[0][2], 0);
}

}  // namespace
}  // namespace nigiri::cpu
