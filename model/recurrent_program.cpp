#include "model/recurrent_program.h"

namespace nigiri {

namespace {

// The numbers of one row of a tensor whose first axis is the batch.
std::vector<double> row_of(Backend& backend, const Tensor& t, int64_t row) {
    const int64_t size = t.size() / t[0];
    const Tensor copy = backend.allocate({size}, t.dtype());
    backend.copy({.x = t.view().reshaped({t.size()}).columns(row * size, size), .y = copy});
    return download_values(backend, copy);
}

void set_row(Backend& backend, const Tensor& t, int64_t row, const std::vector<double>& values) {
    const int64_t size = t.size() / t[0];
    const Tensor copy = backend.allocate({size}, t.dtype());
    upload_values(backend, values, copy);
    backend.copy({.x = copy, .y = t.view().reshaped({t.size()}).columns(row * size, size)});
}

std::vector<float> floats(const std::vector<double>& values) { return {values.begin(), values.end()}; }

void check_row(const NetworkState& state, int64_t stream) {
    if (stream < 0 || stream >= state.batch)
        throw Error("a state of " + std::to_string(state.batch) + " streams has no stream " + std::to_string(stream));
}

}  // namespace

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
        if (!layer.carried.empty()) block.ssm = row_of(backend, layer.carried[0], stream);
        if (layer.carried.size() > 1) block.conv = floats(row_of(backend, layer.carried[1], stream));
        to.blocks.push_back(std::move(block));
    }
    for (const Tensor& t : state.down) to.down.push_back(floats(row_of(backend, t, stream)));
    for (const Tensor& t : state.up) to.up.push_back(floats(row_of(backend, t, stream)));
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
        const std::vector<Tensor>& carried = state.blocks[i].carried;
        check(from.blocks[i].ssm.size() == (carried.empty() ? 0 : row_size(carried[0])) &&
              from.blocks[i].conv.size() == (carried.size() < 2 ? 0 : row_size(carried[1])));
    }
    for (size_t i = 0; i < state.down.size(); ++i)
        check(from.down[i].size() == row_size(state.down[i]) && from.up[i].size() == row_size(state.up[i]));

    Backend& backend = network.backend();
    const auto doubles = [](const std::vector<float>& v) { return std::vector<double>(v.begin(), v.end()); };
    for (size_t i = 0; i < state.blocks.size(); ++i) {
        const std::vector<Tensor>& carried = state.blocks[i].carried;
        if (!carried.empty()) set_row(backend, carried[0], stream, from.blocks[i].ssm);
        if (carried.size() > 1) set_row(backend, carried[1], stream, doubles(from.blocks[i].conv));
    }
    for (size_t i = 0; i < state.down.size(); ++i) {
        set_row(backend, state.down[i], stream, doubles(from.down[i]));
        set_row(backend, state.up[i], stream, doubles(from.up[i]));
    }
    state.position = from.position;
}

}  // namespace nigiri
