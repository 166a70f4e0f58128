#include "model/recurrent_program.h"

#include <algorithm>

namespace nigiri {

namespace {

// A tensor whose first axis is the batch, as a matrix of one row a stream.
View rows_of(const Tensor& t) { return t.view().reshaped({t[0], t.size() / t[0]}); }

View row_at(const View& matrix, int64_t row) {
    View one = matrix;
    one.data = static_cast<char*>(one.data) + row * one.row_stride * static_cast<int64_t>(size_of(one.dtype));
    one.shape = {1, matrix.columns()};
    return one;
}

std::vector<double> row_of(Backend& backend, const View& matrix, int64_t row) {
    if (matrix.columns() == 0) return {};
    const Tensor copy = backend.allocate({1, matrix.columns()}, matrix.dtype);
    backend.copy({.x = row_at(matrix, row), .y = copy});
    return download_values(backend, copy);
}

void set_row(Backend& backend, const View& matrix, int64_t row, const std::vector<double>& values) {
    if (values.empty()) return;
    const Tensor copy = backend.allocate({1, matrix.columns()}, matrix.dtype);
    upload_values(backend, values, copy);
    backend.copy({.x = copy, .y = row_at(matrix, row)});
}

std::vector<float> floats(const std::vector<double>& values) { return {values.begin(), values.end()}; }

// The same of what a layer remembers: of all of its inputs, those that there are.
View memory_of(const LayerState& layer) {
    const Tensor& all = layer.carried[0];
    return layer.taken < 0 ? rows_of(all) : rows_of(all).columns(0, layer.taken * all.columns());
}

void check_row(const NetworkState& state, int64_t stream) {
    if (stream < 0 || stream >= state.batch)
        throw Error("a state of " + std::to_string(state.batch) + " streams has no stream " + std::to_string(stream));
}

}  // namespace

bool has_recurrent_program(const ModelConfig& config) {
    const auto known = [](const LayerConfig& c) { return c.block != BlockKind::h3 && !remembers_all(c.ssm.kind); };
    return known(config.centre) && (config.pools.empty() || known(config.outer));
}

RecurrentProgram recurrent_program(const Network& network) { return network.describe(); }

RecurrentProgram Network::describe() const {
    RecurrentProgram program;
    program.vocabulary = config_.vocabulary;
    program.skip_layers = config_.form == UNetForm::unet;
    program.embedding = download_floats(backend(), embedding_->value);
    program.block_count = block_count_;
    const auto blocks = [&](const std::vector<ResidualBlock>& from, const std::vector<size_t>& states) {
        std::vector<BlockStep> steps;
        for (size_t j = 0; j < from.size(); ++j) {
            steps.push_back(from[j].describe());
            steps.back().state = states[j];
        }
        return steps;
    };
    int64_t width = config_.width;
    for (size_t i = 0; i < stages_.size(); ++i) {
        StageProgram stage;
        stage.width = width;
        stage.down = blocks(stages_[i].down, stages_[i].down_states);
        stage.up = blocks(stages_[i].up, stages_[i].up_states);
        if (i < pools_.size()) {
            const Pool& pool = pools_[i];
            stage.factor = pool.factor;
            stage.pool_down = describe_linear(backend(), *pool.down_weight, pool.down_bias);
            stage.pool_up = describe_linear(backend(), *pool.up_weight, pool.up_bias);
            width = pool.inner_width;
        }
        program.stages.push_back(std::move(stage));
    }
    program.norm = norm_->describe();
    program.head = describe_linear(backend(), *head_weight_, head_bias_);
    return program;
}

StreamState stream_state(const Network& network, const NetworkState& state, int64_t stream) {
    check_row(state, stream);
    Backend& backend = network.backend();
    StreamState to;
    to.position = state.position;
    for (const LayerState& layer : state.blocks) {
        StreamState::Block block;
        if (!layer.carried.empty()) block.ssm = row_of(backend, memory_of(layer), stream);
        if (layer.carried.size() > 1) block.conv = floats(row_of(backend, rows_of(layer.carried[1]), stream));
        to.blocks.push_back(std::move(block));
    }
    for (const Tensor& t : state.down) to.down.push_back(floats(row_of(backend, rows_of(t), stream)));
    for (const Tensor& t : state.up) to.up.push_back(floats(row_of(backend, rows_of(t), stream)));
    return to;
}

void set_network_state(const Network& network, NetworkState& state, int64_t stream, const StreamState& from) {
    check_row(state, stream);
    const auto check = [](bool holds) {
        if (!holds) throw Error("the state of a stream does not fit the network", "use it with the model it came from");
    };
    const auto row_size = [](const Tensor& t) { return static_cast<size_t>(t.size() / t[0]); };
    check(from.position >= 0 && from.blocks.size() == state.blocks.size() && from.down.size() == state.down.size() &&
          from.up.size() == state.up.size());
    for (size_t i = 0; i < state.blocks.size(); ++i) {
        const LayerState& layer = state.blocks[i];
        const std::vector<Tensor>& carried = layer.carried;
        const size_t given = from.blocks[i].ssm.size();
        check(from.blocks[i].conv.size() == (carried.size() < 2 ? 0 : row_size(carried[1])));
        if (layer.taken < 0) {
            check(given == (carried.empty() ? 0 : row_size(carried[0])));
            continue;
        }
        const auto columns = static_cast<size_t>(carried[0].columns());
        check(given % columns == 0);
        if (state.batch > 1 && given / columns != static_cast<size_t>(layer.taken))
            throw Error("streams side by side cannot remember different numbers of inputs",
                        "give each a state of its own");
    }
    for (size_t i = 0; i < state.down.size(); ++i)
        check(from.down[i].size() == row_size(state.down[i]) && from.up[i].size() == row_size(state.up[i]));

    Backend& backend = network.backend();
    const auto doubles = [](const std::vector<float>& v) { return std::vector<double>(v.begin(), v.end()); };
    for (size_t i = 0; i < state.blocks.size(); ++i) {
        LayerState& layer = state.blocks[i];
        const std::vector<Tensor>& carried = layer.carried;
        if (layer.taken >= 0) {
            const auto rows = static_cast<int64_t>(from.blocks[i].ssm.size()) / carried[0].columns();
            reserve_rows(backend, layer, std::max<int64_t>(0, rows - layer.taken));
            layer.taken = rows;
        }
        if (!carried.empty()) set_row(backend, memory_of(layer), stream, from.blocks[i].ssm);
        if (carried.size() > 1) set_row(backend, rows_of(carried[1]), stream, doubles(from.blocks[i].conv));
    }
    for (size_t i = 0; i < state.down.size(); ++i) {
        set_row(backend, rows_of(state.down[i]), stream, doubles(from.down[i]));
        set_row(backend, rows_of(state.up[i]), stream, doubles(from.up[i]));
    }
    state.position = from.position;
}

}  // namespace nigiri
