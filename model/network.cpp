#include "model/network.h"

#include <cmath>

#include "model/initialization.h"

namespace nigiri {

namespace {

// The length in whole coarse steps, as sequences are padded.
int64_t whole_steps(int64_t length, int64_t unit) { return (length + unit - 1) / unit * unit; }

std::string numbered(const std::string& name, size_t i) { return name + "." + std::to_string(i); }

}  // namespace

NetworkState NetworkState::clone(Backend& backend) const {
    NetworkState copy;
    copy.batch = batch;
    copy.position = position;
    for (const LayerState& s : blocks) copy.blocks.push_back(s.clone(backend));
    const auto copied = [&](const Tensor& t) {
        const Tensor c = backend.allocate(t.shape(), t.dtype());
        backend.copy({.x = t, .y = c});
        return c;
    };
    for (const Tensor& t : down) copy.down.push_back(copied(t));
    for (const Tensor& t : up) copy.up.push_back(copied(t));
    return copy;
}

Network::Network(std::shared_ptr<Backend> backend, const ModelConfig& config, DType dtype, uint64_t seed,
                 int64_t training_length)
    : config_(config),
      training_length_(whole_steps(std::max<int64_t>(training_length, 1), config.pool_product())),
      store_(std::move(backend), dtype) {
    Random random(seed, 0x6e657477);  // a stream of its own: the run's seed also draws data and samples
    // Where the head uses them too, embeddings begin as long as rows of a head, else logits would begin far apart.
    const double deviation = config.tied_head ? 1 / std::sqrt(static_cast<double>(config.width)) : 1.0;
    embedding_ = &store_.add("embedding.weight", {config.vocabulary, config.width},
                             normal(random, config.vocabulary * config.width, deviation), ParameterGroup::decay);
    const auto make_blocks = [&](const std::string& name, int64_t width, const LayerConfig& layer, int64_t length,
                                 std::vector<ResidualBlock>& blocks, std::vector<size_t>& states) {
        for (int64_t j = 0; j < config.layers; ++j)
            for (auto& block : make_residual_blocks(store_, numbered(name, static_cast<size_t>(j)), width, layer,
                                                    config, length, random)) {
                blocks.push_back(std::move(block));
                states.push_back(block_count_++);
            }
    };

    const size_t depth = config.pools.size();
    stages_.resize(depth + 1);
    pools_.resize(depth);
    std::vector<int64_t> widths = {config.width}, lengths = {training_length_};
    for (const int64_t p : config.pools) {
        widths.push_back(widths.back() * config.pool_expand);
        lengths.push_back(lengths.back() / p);
    }
    for (size_t i = 0; i < depth; ++i) {
        if (config.form == UNetForm::unet)
            make_blocks(numbered("down", i), widths[i], config.outer, lengths[i], stages_[i].down,
                        stages_[i].down_states);
        pools_[i] = make_pool(numbered("pool", i), config.pools[i], widths[i], random);
    }
    make_blocks("centre", widths[depth], config.centre, lengths[depth], stages_[depth].down,
                stages_[depth].down_states);
    for (size_t i = depth; i-- > 0;)
        make_blocks(numbered("up", i), widths[i], config.outer, lengths[i], stages_[i].up, stages_[i].up_states);

    norm_ = std::make_unique<Norm>(store_, "norm", config.width, config.norm, config.norm_eps);
    head_weight_ = config.tied_head
                     ? embedding_
                     : &store_.add_linear("head.weight", {config.vocabulary, config.width},
                                          fan_in_uniform(random, config.vocabulary * config.width, config.width));
    head_bias_ =
        &store_.add_linear("head.bias", {config.vocabulary}, fan_in_uniform(random, config.vocabulary, config.width));
}

DType activation_type(Precision precision, const Backend& backend) {
    if (precision == Precision::automatic) return backend.supports(DType::bf16) ? DType::bf16 : DType::f32;
    return precision == Precision::bf16 ? DType::bf16 : DType::f32;
}

void Network::set_activations(DType dtype) {
    if (dtype != this->dtype() && (dtype != DType::bf16 || this->dtype() != DType::f32))
        throw Error(std::string("a network of ") + name_of(this->dtype()) + " cannot compute in " + name_of(dtype));
    if (!backend().supports(dtype))
        throw Error(std::string(name_of(dtype)) + " is not available on " + backend().description(),
                    "use --precision f32");
    store_.set_activations(dtype);
}

Network::Pool Network::make_pool(const std::string& name, int64_t factor, int64_t width, Random& random) {
    Pool pool;
    pool.factor = factor;
    pool.outer_width = width;
    pool.inner_width = width * config_.pool_expand;
    const int64_t gathered = factor * width;
    pool.down_weight = &store_.add_linear(name + ".down.weight", {pool.inner_width, gathered},
                                          fan_in_uniform(random, pool.inner_width * gathered, gathered));
    pool.down_bias =
        &store_.add_linear(name + ".down.bias", {pool.inner_width}, fan_in_uniform(random, pool.inner_width, gathered));
    pool.up_weight = &store_.add_linear(name + ".up.weight", {gathered, pool.inner_width},
                                        fan_in_uniform(random, gathered * pool.inner_width, pool.inner_width));
    pool.up_bias =
        &store_.add_linear(name + ".up.bias", {gathered}, fan_in_uniform(random, gathered, pool.inner_width));
    return pool;
}

Var Network::forward_block(Tape& tape, const ResidualBlock& block, const Var& x) const {
    if (!recompute_) return block.forward(tape, x);
    return functions::recomputed(tape, x, [&block](Tape& t, const Var& v) { return block.forward(t, v); });
}

Var Network::forward_stage(Tape& tape, size_t i, const Var& input) const {
    const Stage& stage = stages_[i];
    Var x = input;
    if (i == pools_.size()) {
        for (const auto& block : stage.down) x = forward_block(tape, block, x);
        return functions::add(tape, input, std::move(x));
    }
    std::vector<Var> skips;
    for (const auto& block : stage.down) {
        skips.push_back(x);
        x = forward_block(tape, block, x);
    }
    skips.push_back(x);

    const Pool& pool = pools_[i];
    const int64_t batch = x.shape()[0], length = x.shape()[1], coarse = length / pool.factor;
    const auto narrow = [&](const Var& v) { return functions::convert(tape, v, store_.activations()); };
    Var c = functions::reshape(tape, x, {batch, coarse, pool.factor * pool.outer_width});
    c = functions::linear(tape, narrow(c), *pool.down_weight, pool.down_bias, dtype());
    c = forward_stage(tape, i + 1, c);
    c = functions::shift(tape, functions::linear(tape, narrow(c), *pool.up_weight, pool.up_bias));
    x = functions::add(tape, skips.back(), functions::reshape(tape, c, {batch, length, pool.outer_width}));
    skips.pop_back();

    if (config_.form == UNetForm::sashimi) {
        const Var before = x;
        for (const auto& block : stage.up) x = forward_block(tape, block, x);
        return functions::add(tape, before, std::move(x));
    }
    for (const auto& block : stage.up) {
        x = functions::add(tape, skips.back(), forward_block(tape, block, x));
        skips.pop_back();
    }
    return x;
}

int64_t Network::longest_forward() const {
    const bool tied = config_.outer.ssm.kind == SsmKind::s4 || config_.centre.ssm.kind == SsmKind::s4;
    return tied ? training_length_ : INT64_MAX;
}

Var Network::forward(Tape& tape, const Tensor& tokens) const {
    if (tokens[1] % config_.pool_product() != 0)
        throw Error("a sequence of " + std::to_string(tokens[1]) + " samples is no multiple of the network's " +
                    std::to_string(config_.pool_product()));
    store_.refresh();
    tape.set_recompute(recompute_cheap_);
    Var x = functions::embedding(tape, tokens, *embedding_);
    x = norm_->forward(tape, forward_stage(tape, 0, x));
    return functions::linear(tape, x, *head_weight_, head_bias_, dtype());
}

Tensor Network::logits(const Tensor& tokens) const {
    const int64_t unit = config_.pool_product(), batch = tokens[0], length = tokens[1];
    const int64_t whole = whole_steps(length, unit);
    Tape tape(backend(), false);
    if (whole == length) return forward(tape, tokens).value;
    // Nothing looks ahead, so what follows the sequence does not matter: zeros.
    const Tensor padded = backend().zeros({batch, whole}, DType::i32);
    backend().copy({.x = tokens, .y = padded.columns(0, length)});
    const Tensor all = forward(tape, padded).value;
    const Tensor first = backend().allocate({batch, length * config_.vocabulary}, all.dtype());
    backend().copy(
        {.x = all.reshaped({batch, whole * config_.vocabulary}).columns(0, length * config_.vocabulary), .y = first});
    return first.reshaped({batch, length, config_.vocabulary});
}

std::vector<StateSpaceInfo> Network::state_spaces() const {
    std::vector<StateSpaceInfo> all;
    int64_t stride = 1;
    const auto add = [&](const std::string& stage, const std::vector<ResidualBlock>& blocks,
                         const std::vector<size_t>& indices) {
        size_t layer = 0;  // an MLP beside a state space belongs to the same layer
        for (size_t j = 0; j < blocks.size(); ++j)
            if (const StateSpace* s = blocks[j].state_space())
                all.push_back({numbered(stage, layer++), stride, indices[j], s});
    };
    for (size_t i = 0; i < stages_.size(); ++i) {
        const bool centre = i == pools_.size();
        add(centre ? "centre" : numbered("down", i), stages_[i].down, stages_[i].down_states);
        if (!centre) stride *= pools_[i].factor;
    }
    for (size_t i = pools_.size(); i-- > 0;) {
        stride /= pools_[i].factor;
        add(numbered("up", i), stages_[i].up, stages_[i].up_states);
    }
    return all;
}

NetworkState Network::make_state(int64_t batch) const {
    NetworkState state;
    state.batch = batch;
    state.blocks.resize(block_count_);
    const auto fill = [&](const std::vector<ResidualBlock>& blocks, const std::vector<size_t>& indices) {
        for (size_t j = 0; j < blocks.size(); ++j) state.blocks[indices[j]] = blocks[j].make_state(batch);
    };
    for (const Stage& stage : stages_) {
        fill(stage.down, stage.down_states);
        fill(stage.up, stage.up_states);
    }
    for (const Pool& pool : pools_) {
        state.down.push_back(backend().zeros({batch, pool.factor * pool.outer_width}, dtype()));
        state.up.push_back(backend().zeros({batch, pool.factor * pool.outer_width}, dtype()));
    }
    return state;
}

Tensor Network::advance_block(const ResidualBlock& block, size_t index, const Tensor& x, NetworkState& state) const {
    return block.advance(backend(), x, state.blocks[index]);
}

// The up-pool hands out what the centre made of all *earlier* coarse steps. `state.up` holds the last such vector;
// `state.down` collects the samples of the coarse step under way.
Tensor Network::advance_inner(size_t i, const Tensor& x, NetworkState& state) const {
    const Pool& pool = pools_[i];
    Backend& b = backend();
    const int64_t batch = x[0], length = x[1], gathered = pool.factor * pool.outer_width;
    const auto down = [&](const Tensor& steps) {
        const Tensor c = b.allocate({batch, steps[1], pool.inner_width}, dtype());
        b.linear_forward({.x = steps, .weight = pool.down_weight->value, .bias = pool.down_bias->value, .y = c});
        return c;
    };
    const auto up = [&](const Tensor& c, const Tensor& y) {
        b.linear_forward({.x = c, .weight = pool.up_weight->value, .bias = pool.up_bias->value, .y = y});
    };

    if (length == 1) {
        int64_t phase = state.position;  // of this pool: stage i's own sample count modulo its factor
        for (size_t j = 0; j < i; ++j) phase /= pools_[j].factor;
        phase %= pool.factor;
        const int64_t first = phase * pool.outer_width;
        b.copy({.x = x.reshaped({batch, pool.outer_width}), .y = state.down[i].columns(first, pool.outer_width)});
        const Tensor y = b.allocate({batch, pool.outer_width}, dtype());
        b.copy({.x = state.up[i].columns(first, pool.outer_width), .y = y});
        if (phase == pool.factor - 1) {
            const Tensor c = advance_stage(i + 1, down(state.down[i].reshaped({batch, 1, gathered})), state);
            up(c, state.up[i].reshaped({batch, 1, gathered}));
        }
        return y.reshaped({batch, 1, pool.outer_width});
    }

    const int64_t coarse = length / pool.factor;
    const Tensor c = advance_stage(i + 1, down(x.reshaped({batch, coarse, gathered})), state);
    const Tensor next = b.allocate({batch, coarse, gathered}, dtype());
    up(c, next);
    const Tensor y = b.allocate({batch, coarse, gathered}, dtype());
    b.shift_forward({.x = next, .y = y});
    b.copy({.x = state.up[i], .y = y.reshaped({batch, coarse * gathered}).columns(0, gathered)});
    b.copy(
        {.x = next.reshaped({batch, coarse * gathered}).columns((coarse - 1) * gathered, gathered), .y = state.up[i]});
    return y.reshaped({batch, length, pool.outer_width});
}

Tensor Network::advance_stage(size_t i, Tensor x, NetworkState& state) const {
    const Stage& stage = stages_[i];
    const auto sum = [&](const Tensor& a, const Tensor& b) {
        backend().add({.x1 = a, .x2 = b, .y = b});
        return b;
    };
    const Tensor input = x;
    std::vector<Tensor> skips;
    for (size_t j = 0; j < stage.down.size(); ++j) {
        if (i < pools_.size()) skips.push_back(x);
        x = advance_block(stage.down[j], stage.down_states[j], x, state);
    }
    if (i == pools_.size()) return sum(input, x);
    x = sum(x, advance_inner(i, x, state));
    if (config_.form == UNetForm::sashimi) {
        const Tensor before = x;
        for (size_t j = 0; j < stage.up.size(); ++j) x = advance_block(stage.up[j], stage.up_states[j], x, state);
        return sum(before, x);
    }
    for (size_t j = 0; j < stage.up.size(); ++j) {
        x = sum(skips.back(), advance_block(stage.up[j], stage.up_states[j], x, state));
        skips.pop_back();
    }
    return x;
}

Tensor Network::advance_piece(const Tensor& tokens, NetworkState& state) const {
    store_.refresh();
    Tensor x = backend().allocate({tokens[0], tokens[1], config_.width}, dtype());
    backend().embedding_forward({.tokens = tokens, .table = embedding_->value, .y = x});
    x = norm_->apply(advance_stage(0, x, state));
    const Tensor y = backend().allocate({tokens[0], tokens[1], config_.vocabulary}, dtype());
    backend().linear_forward(
        {.x = x, .weight = head_weight_->for_products(x.dtype()), .bias = head_bias_->value, .y = y});
    state.position += tokens[1];
    return y;
}

Tensor Network::advance(const Tensor& tokens, NetworkState& state) const {
    const int64_t unit = config_.pool_product(), batch = tokens[0], length = tokens[1];
    if (batch != state.batch)
        throw Error("a state of " + std::to_string(state.batch) + " streams got " + std::to_string(batch));
    if (length == 1 || (state.position % unit == 0 && length % unit == 0)) return advance_piece(tokens, state);

    // Single samples up to the next coarse step, whole coarse steps at once, single samples to the end.
    const int64_t vocabulary = config_.vocabulary;
    const Tensor y = backend().allocate({batch, length * vocabulary}, dtype());
    int64_t at = 0;
    while (at < length) {
        const int64_t whole = (length - at) / unit * unit;
        const int64_t count = state.position % unit == 0 && whole > 0 ? whole : 1;
        const Tensor piece = backend().allocate({batch, count}, DType::i32);
        backend().copy({.x = tokens.columns(at, count), .y = piece});
        const Tensor logits = advance_piece(piece, state);
        backend().copy(
            {.x = logits.reshaped({batch, count * vocabulary}), .y = y.columns(at * vocabulary, count * vocabulary)});
        at += count;
    }
    return y.reshaped({batch, length, vocabulary});
}

}  // namespace nigiri
