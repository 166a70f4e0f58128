#include "kernels/cuda/engine/pack.h"

#include <algorithm>
#include <cstring>

#include "kernels/cuda/engine/layer_packer.h"
#include "kernels/error.h"

namespace nigiri::cuda::engine {

namespace {

// Sizes of a block's shared buffers.
struct Extents {
    int64_t width = 0, operand_x = 0, operand_y = 0, channels = 0, projected = 0;
};

class Packer {
  public:
    Packer(const RecurrentProgram& program, WeightFormat format, int streams)
        : source_(program), streams_(streams), matrices_(format, image_.weights, image_.constants) {
        image_.program.parts = format == WeightFormat::f32 ? 3 : 2;
    }

    Image run() {
        image_.program.streams = streams_;
        image_.program.vocabulary = static_cast<int32_t>(source_.vocabulary);
        image_.program.vocabulary_padded =
            static_cast<int32_t>((source_.vocabulary + tile_rows - 1) / tile_rows * tile_rows);
        image_.block_count = source_.block_count;
        const StageProgram& outer = source_.stages[0];
        if (source_.embedding.size() != static_cast<size_t>(source_.vocabulary * outer.width))
            throw Error("the CUDA engine was given a program whose embedding does not fit it");
        image_.program.embedding = append(image_.constants, source_.embedding);
        for (size_t i = 0; i < source_.stages.size(); ++i) begin_stage(i);
        for (size_t i = 0; i < source_.stages.size(); ++i) add_stage(i);
        image_.program.stages = static_cast<int32_t>(image_.stages.size());
        image_.program.phases = static_cast<int32_t>(image_.phases.size());
        image_.program.state_size = static_cast<uint32_t>(room_.size());
        image_.program.wrap = static_cast<uint32_t>(image_.period * block_samples);
        // Loads reach up to a tile's padding past the end.
        image_.constants.resize(image_.constants.size() + 64);
        lay_out_shared();
        return std::move(image_);
    }

  private:
    static void check_pool(const LinearMap& m, int64_t outputs, int64_t inputs) {
        if (m.outputs != outputs || m.inputs != inputs || m.weight.size() != static_cast<size_t>(outputs * inputs) ||
            (!m.bias.empty() && m.bias.size() != static_cast<size_t>(outputs)))
            throw Error("the CUDA engine was given a program whose pools do not fit its stages");
    }

    // The pools' buffers, which two stages use.
    void begin_stage(size_t i) {
        const StageProgram& from = source_.stages[i];
        Stage stage;
        stage.width = static_cast<int32_t>(from.width);
        strides_.push_back(image_.period);
        if (i + 1 < source_.stages.size()) {
            const int64_t gathered = from.factor * from.width, inner = source_.stages[i + 1].width;
            if (from.factor < 1) throw Error("the CUDA engine was given a program with a pool of no samples");
            check_pool(from.pool_down, inner, gathered);
            check_pool(from.pool_up, gathered, inner);
            stage.factor = static_cast<int32_t>(from.factor);
            stage.down = room_.take(gathered * streams_);
            stage.up = room_.take(gathered * streams_);
            image_.period *= from.factor;
            if (image_.period > (int64_t{1} << 26))
                throw Error("this model's pools are too many for the CUDA engine", "use the plain path");
            extents_.operand_y = std::max(extents_.operand_y, gathered);
        }
        extents_.width = std::max(extents_.width, from.width);
        image_.stages.push_back(stage);
    }

    Norm packed_norm(const NormMap& norm) const {
        Norm n;
        n.kind = norm.kind;
        const int64_t before = (norm.width - 1) / part_;
        n.parts = static_cast<int32_t>(before + 1);
        n.part = static_cast<float>(part_);
        n.last_part = static_cast<float>(norm.width - before * part_);
        n.each = 1.0f / static_cast<float>(norm.width);
        n.eps = static_cast<float>(norm.eps);
        for (int32_t t = 0; t < std::min(n.parts, held_parts); ++t) n.count[t] = t + 1 < n.parts ? n.part : n.last_part;
        if (norm.kind == NormKind::scalar) n.bias = norm.bias[0];
        return n;
    }

    static FoldedNorm folded(const NormMap& norm) {
        const auto width = static_cast<size_t>(norm.width);
        FoldedNorm f{std::vector<float>(width, norm.weight[0]), std::vector<float>(width)};
        if (norm.kind != NormKind::scalar) f.scale = norm.weight;
        if (norm.kind == NormKind::layer) f.shift = norm.bias;
        return f;
    }

    Phase& add_phase(PhaseKind kind, int layer = -1) {
        Phase phase;
        phase.kind = kind_bit(kind);
        if (layer >= 0) phase.layer = image_.layers[static_cast<size_t>(layer)];
        image_.phases.push_back(phase);
        return image_.phases.back();
    }

    void normed_product(PhaseKind kind, int layer, std::vector<SourceRow> rows, const NormMap& norm) {
        Phase& phase = add_phase(kind, layer);
        const FoldedNorm f = folded(norm);
        phase.norm = packed_norm(norm);
        phase.matrix = matrices_.pack(std::move(rows), norm.width, &f);
        extents_.operand_x = std::max(extents_.operand_x, norm.width);
    }

    // A Mamba block's constants of rows, beside those of its channels.
    void copy_rows(const Matrix& m, const Layer& layer) {
        float* all = image_.constants.data();
        for (int32_t d = 0; d < layer.channel_tiles * channel_tile; ++d) {
            const float* from = all + m.constants + (d / channel_tile * tile_rows + d % channel_tile) * 2;
            float* to = all + layer.constants + d * ChannelConstants::size + ChannelConstants::rows;
            to[0] = from[0], to[1] = from[1];
            to[2] = from[2 * channel_tile], to[3] = from[2 * channel_tile + 1];
        }
    }

    // From operand_y to the residual stream.
    void last_product(const LinearMap& map, bool glu, int layer, const Settle& settle) {
        Phase& phase = add_phase(glu ? PhaseKind::glu : PhaseKind::settle, layer);
        phase.settle = settle;
        phase.pushes = settle.push;
        phase.matrix = matrices_.pack(glu ? MatrixPacker::pairs_of(map) : MatrixPacker::rows_of(map), map.inputs);
        if (layer >= 0 && phase.layer.ssm == SsmPart::s4d) {
            phase.completes_blocks = phase.matrix.tiles;
            image_.phases[image_.phases.size() - 2].prepares = phase.matrix.tiles;
        }
        part_ = glu ? channel_tile : tile_rows;
        extents_.operand_y = std::max(extents_.operand_y, map.inputs);
    }

    void add_block(const BlockStep& step, int64_t width, int64_t stride, const Settle& settle) {
        check_step(step, width);
        if (step.kind == BlockStepKind::mlp) {
            normed_product(PhaseKind::gelu, -1, MatrixPacker::rows_of(step.in), step.norm);
            last_product(step.out, false, -1, settle);
            return;
        }
        const auto index = static_cast<int>(image_.layers.size());
        LayerSource source;
        source.layer = index;
        source.block = step.state;
        source.stride = stride;
        if (step.state >= source_.block_count)
            throw Error("the CUDA engine was given a program whose blocks are not counted right");
        image_.layers.push_back(pack_layer(step, streams_, image_.constants, room_, source));
        image_.sources.push_back(std::move(source));
        const Layer layer = image_.layers.back();
        if (step.kind == BlockStepKind::mamba) {
            normed_product(PhaseKind::mamba, index, MatrixPacker::pairs_of(step.in), step.norm);
            copy_rows(image_.phases.back().matrix, layer);
        } else {
            add_phase(PhaseKind::normed, index).norm = packed_norm(step.norm);
        }
        if (layer.ssm != SsmPart::s4d)
            extents_.channels = std::max(extents_.channels, int64_t{layer.channel_tiles} * channel_tile);
        if (layer.ssm == SsmPart::s6) {
            if (layer.s6.projected > 0) {
                Phase& phase = add_phase(PhaseKind::project, index);
                phase.matrix = matrices_.pack(projection_rows(step.ssm, layer.s6), step.ssm.channels);
                extents_.projected = std::max(extents_.projected, int64_t{layer.s6.projected});
                extents_.operand_y = std::max(extents_.operand_y, step.ssm.channels);
            }
            image_.phases.back().prepares = 1;
            add_phase(PhaseKind::scan, index);
        } else if (layer.ssm == SsmPart::s4) {
            add_phase(PhaseKind::s4, index);
        }
        last_product(step.out, step.kind == BlockStepKind::s4 && step.glu, index, settle);
    }

    // What happens to x where it enters the stage, and after each of its blocks.
    std::vector<Settle> settles(size_t i) {
        const StageProgram& from = source_.stages[i];
        const bool last = i + 1 == source_.stages.size();
        const size_t down = from.down.size(), up = from.up.size();
        if (last ? down == 0 || up > 0 : up == 0 || (source_.skip_layers && up != down))
            throw Error("the CUDA engine cannot run a stage of " + std::to_string(down) + " blocks down and " +
                            std::to_string(up) + " up",
                        "use the plain path");
        Settle any;
        any.width = image_.stages[i].width, any.down = image_.stages[i].down, any.up = image_.stages[i].up;
        std::vector<Settle> all(1 + down + up, any);
        for (size_t k = 1; k < all.size(); ++k) all[k].add_x = 1;
        const auto join = [&](size_t from_settle, size_t to) {
            all[from_settle].save = all[to].add =
                static_cast<int32_t>(room_.take(static_cast<int64_t>(streams_) * from.width));
        };
        if (last) {
            join(0, down);
            return all;
        }
        all[down].push = 1;
        if (!source_.skip_layers) {
            join(down, down + up);
            return all;
        }
        for (size_t k = 0; k < down; ++k) join(k, 2 * down - k);
        return all;
    }

    void add_stage(size_t i) {
        const StageProgram& from = source_.stages[i];
        Stage& stage = image_.stages[i];
        const std::vector<Settle> all = settles(i);
        stage.first_phase = static_cast<int32_t>(image_.phases.size());
        part_ = tile_rows;
        if (i == 0) {
            Phase& phase = add_phase(PhaseKind::embed);
            phase.settle = all[0];
            phase.pushes = all[0].push;
        } else {
            add_phase(PhaseKind::gather);
            last_product(source_.stages[i - 1].pool_down, false, -1, all[0]);
        }
        size_t next = 1;
        for (const auto* blocks : {&from.down, &from.up})
            for (const BlockStep& step : *blocks) add_block(step, from.width, strides_[i], all[next++]);
        if (i == 0) {
            check_head();
            normed_product(PhaseKind::head, -1, MatrixPacker::rows_of(source_.head), source_.norm);
        } else {
            const LinearMap& up = source_.stages[i - 1].pool_up;
            Phase& phase = add_phase(PhaseKind::pool_up);
            phase.matrix = matrices_.pack(MatrixPacker::rows_of(up), up.inputs);
            extents_.operand_x = std::max(extents_.operand_x, up.inputs);
        }
        stage.phases = static_cast<int32_t>(image_.phases.size()) - stage.first_phase;
        chain(stage, 0), chain(stage, 1);
    }

    void check_head() const {
        const int64_t width = source_.stages[0].width;
        const bool scalar = source_.norm.kind == NormKind::scalar;
        if (source_.head.outputs != source_.vocabulary || source_.head.inputs != width ||
            source_.head.weight.size() != static_cast<size_t>(source_.vocabulary * width) ||
            (!source_.head.bias.empty() && source_.head.bias.size() != static_cast<size_t>(source_.vocabulary)) ||
            source_.norm.width != width || source_.norm.weight.size() != static_cast<size_t>(scalar ? 1 : width) ||
            (source_.norm.kind != NormKind::rms && source_.norm.bias.size() != source_.norm.weight.size()))
            throw Error("the CUDA engine was given a program whose head does not fit it");
    }

    // Each matrix of a window knows the next one; the last, the first of the stage's next step.
    void chain(Stage& stage, int32_t wide) {
        std::vector<Matrix*> all;
        for (int32_t k = 0; k < stage.phases; ++k) {
            Matrix& m = image_.phases[static_cast<size_t>(stage.first_phase + k)].matrix;
            if (m.tiles > 0 && m.wide == wide) all.push_back(&m);
        }
        if (all.empty()) return;
        const auto stride = [](const Matrix& m) { return m.granules * granule_pieces * warp_lanes; };
        for (size_t k = 0; k < all.size(); ++k) {
            const Matrix& next = *all[(k + 1) % all.size()];
            all[k]->ahead = next.weights, all[k]->ahead_tiles = next.tiles, all[k]->ahead_stride = stride(next);
        }
        const Matrix& first = *all[0];
        (wide ? stage.wide_ahead : stage.narrow_ahead) = first.weights;
        (wide ? stage.wide_tiles : stage.narrow_tiles) = first.tiles;
        (wide ? stage.wide_stride : stage.narrow_stride) = stride(first);
    }

    void lay_out_shared() {
        SharedLayout& l = image_.program.shared;
        int64_t size = 0;
        const auto take = [&](int64_t bytes) {
            const int64_t at = size;
            size += (bytes + 15) / 16 * 16;
            if (size > most_shared)
                throw Error(
                    "this model does not fit the CUDA engine's blocks of " + std::to_string(streams_) + " streams",
                    "use fewer streams a block, or the plain path");
            return static_cast<uint32_t>(at);
        };
        const auto blocks = [](int64_t inputs) { return (inputs + granule_inputs - 1) / granule_inputs; };
        const auto bytes_of = [](const auto& v) { return static_cast<int64_t>(v.size() * sizeof(v[0])); };
        l.stages = take(bytes_of(image_.stages));
        l.phases = take(bytes_of(image_.phases));
        l.x = take(extents_.width * streams_ * 4);
        l.operand_x = take(operand_bytes(streams_, image_.program.parts, blocks(extents_.operand_x)));
        l.operand_y = take(operand_bytes(streams_, image_.program.parts, blocks(extents_.operand_y)));
        l.u = take(extents_.channels * streams_ * 4);
        l.z = take(extents_.channels * streams_ * 4);
        l.projected = take(extents_.projected * streams_ * 4);
        l.stats =
            take(std::max<int64_t>((extents_.width + channel_tile - 1) / channel_tile, held_parts) * streams_ * 8);
        l.logits = take(int64_t{image_.program.vocabulary_padded} * streams_ * 4);
        l.codes = take(int64_t{streams_} * 4);
        l.size = take(0);
    }

    const RecurrentProgram& source_;
    const int streams_;
    Image image_;
    MatrixPacker matrices_;
    StateRoom room_;
    Extents extents_;
    std::vector<int64_t> strides_;
    int64_t part_ = tile_rows;  // rows that the last writer of x left statistics for: 16, or 8 where it was a glu phase
};

}  // namespace

Image pack(const RecurrentProgram& program, WeightFormat weights, int streams) {
    if (weights == WeightFormat::int8)
        throw Error("the CUDA engine keeps weights in bf16 or f32, not in int8", "choose bf16");
    if (streams != 1 && streams != 2 && streams != 4 && streams != 8)
        throw Error("the CUDA engine runs 1, 2, 4 or 8 streams a block, not " + std::to_string(streams));
    if (program.stages.empty() || program.vocabulary < 1) throw Error("the CUDA engine was given an empty program");
    return Packer(program, weights, streams).run();
}

std::vector<unsigned char> shared_image(const Image& image) {
    const SharedLayout& l = image.program.shared;
    std::vector<unsigned char> bytes(l.x);
    const auto copy = [&](uint32_t to, const auto& v) {
        if (!v.empty()) std::memcpy(bytes.data() + to, v.data(), v.size() * sizeof(v[0]));
    };
    copy(l.stages, image.stages);
    copy(l.phases, image.phases);
    return bytes;
}

}  // namespace nigiri::cuda::engine
