#include "kernels/cuda/engine/matrix_packer.h"

#include "kernels/error.h"
#include "kernels/half.h"

namespace nigiri::cuda::engine {

std::vector<SourceRow> MatrixPacker::rows_of(const LinearMap& map) {
    std::vector<SourceRow> rows;
    for (int64_t r = 0; r < map.outputs; ++r)
        rows.push_back({map.weight.data() + r * map.inputs, map.bias.empty() ? 0.0 : map.bias[static_cast<size_t>(r)]});
    return rows;
}

std::vector<SourceRow> MatrixPacker::pairs_of(const LinearMap& map) {
    const std::vector<SourceRow> all = rows_of(map);
    const size_t half = all.size() / 2;
    std::vector<SourceRow> rows;
    for (size_t first = 0; first < half; first += channel_tile)
        for (size_t part = 0; part < 2; ++part)
            for (size_t i = first; i < first + channel_tile; ++i)
                rows.push_back(i < half ? all[part * half + i] : SourceRow{});
    return rows;
}

Matrix MatrixPacker::pack(std::vector<SourceRow> rows, int64_t inputs, const FoldedNorm* norm) {
    Matrix m;
    m.rows = static_cast<int32_t>(rows.size());
    m.tiles = (m.rows + tile_rows - 1) / tile_rows;
    rows.resize(static_cast<size_t>(m.tiles) * tile_rows);
    const auto blocks = static_cast<int32_t>((inputs + granule_inputs - 1) / granule_inputs);
    m.planes = planes_;
    m.granules = blocks * planes_;
    m.wide = m.granules % 2 == 0;
    const size_t count = static_cast<size_t>(m.tiles) * static_cast<size_t>(m.granules) * granule_pieces * warp_lanes;
    if (weights_.size() + count > INT32_MAX)
        throw Error("this model's weights are too many for the CUDA engine", "use the plain path");
    m.weights = static_cast<int32_t>(weights_.size());
    constants_.resize((constants_.size() + 3) / 4 * 4);  // they are read in pairs
    m.constants = static_cast<int32_t>(constants_.size());
    weights_.resize(weights_.size() + count);
    constants_.resize(constants_.size() + 2 * rows.size());

    const size_t padded = static_cast<size_t>(blocks) * granule_inputs;
    std::vector<uint16_t> planes(static_cast<size_t>(planes_) * rows.size() * padded);  // [plane][row][input]
    for (size_t r = 0; r < rows.size(); ++r) {
        double sum = 0, bias = rows[r].bias;
        for (size_t k = 0; rows[r].weight != nullptr && k < static_cast<size_t>(inputs); ++k) {
            float rest = rows[r].weight[k];
            if (norm != nullptr) {
                bias += static_cast<double>(rest) * norm->shift[k];
                rest *= norm->scale[k];
            }
            for (size_t p = 0; p < static_cast<size_t>(planes_); ++p) {
                const BFloat16 part(rest);
                planes[(p * rows.size() + r) * padded + k] = part.bits;
                sum += static_cast<double>(static_cast<float>(part));
                rest -= static_cast<float>(part);
            }
        }
        constants_[static_cast<size_t>(m.constants) + 2 * r] = static_cast<float>(sum);
        constants_[static_cast<size_t>(m.constants) + 2 * r + 1] = static_cast<float>(bias);
    }

    Piece* to = weights_.data() + m.weights;
    for (size_t tile = 0; tile < static_cast<size_t>(m.tiles); ++tile)
        for (size_t granule = 0; granule < static_cast<size_t>(m.granules); ++granule) {
            const size_t block = granule / static_cast<size_t>(planes_), plane = granule % static_cast<size_t>(planes_);
            const auto pair = [&](size_t row, size_t k) {
                const uint16_t* at = planes.data() + (plane * rows.size() + tile * tile_rows + row) * padded + k;
                return static_cast<uint32_t>(at[0]) | static_cast<uint32_t>(at[1]) << 16;
            };
            for (size_t j = 0; j < granule_pieces; ++j)
                for (size_t lane = 0; lane < warp_lanes; ++lane) {
                    const size_t g = lane / 4, k = granule_inputs * block + 32 * (j / 2) + 8 * (lane % 4) + 4 * (j % 2);
                    *to++ = {{pair(g, k), pair(g + 8, k), pair(g, k + 2), pair(g + 8, k + 2)}};
                }
        }
    return m;
}

}  // namespace nigiri::cuda::engine
