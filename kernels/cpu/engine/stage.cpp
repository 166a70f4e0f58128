#include "kernels/cpu/engine/stage.h"

#include <algorithm>

namespace nigiri::cpu {

namespace {

void require(bool holds) {
    if (!holds) throw Error("a recurrent program's stages do not fit each other");
}

Rows rows(int64_t streams, int64_t width, const StepMemory& memory) {
    return {memory.other->allocate<float>(streams * padded(width)), padded(width)};
}

void check(const LinearMap& map, int64_t outputs, int64_t inputs) {
    require(map.outputs == outputs && map.inputs == inputs &&
            map.weight.size() == static_cast<size_t>(outputs * inputs) &&
            (map.bias.empty() || map.bias.size() == static_cast<size_t>(outputs)));
}

}  // namespace

Stage::Stage(const StageProgram& program, bool skip_layers, const StepMemory& memory)
    : width_(program.width),
      factor_(program.factor),
      streams_(memory.streams),
      shares_(memory.shares),
      skip_layers_(skip_layers) {
    require(width_ > 0 && factor_ >= 0);
    // The last pieces of both ways add what goes around the blocks.
    require(innermost() ? !program.down.empty() && program.up.empty()
                        : !program.up.empty() && program.down.size() == (skip_layers ? program.up.size() : 0));
    x_ = rows(streams_, width_, memory);
    before_ = rows(streams_, width_, memory);
    const auto count = static_cast<int64_t>(program.down.size() + program.up.size());
    int64_t index = 0;
    const auto add = [&](const std::vector<BlockStep>& steps, std::vector<EngineBlock>& blocks,
                         std::vector<size_t>& states) {
        for (const BlockStep& step : steps) {
            // S4D layers work on their states after blocks of up to 16 samples: at every sample another layer.
            blocks.emplace_back(step, width_, index++ * 16 / count, memory);
            states.push_back(step.state);
        }
    };
    add(program.down, down_, down_states_);
    add(program.up, up_, up_states_);
    if (innermost()) return;
    for (size_t i = 0; i < down_.size(); ++i) skips_.push_back(rows(streams_, width_, memory));
    gathered_ = rows(streams_, factor_ * width_, memory);
    raised_ = rows(streams_, factor_ * padded(width_), memory);
}

void Stage::copy_share(Share share, Rows from, Rows to) const {
    for (int64_t s = 0; s < streams_; ++s) std::copy_n(from[s] + share.begin, share.size(), to[s] + share.begin);
}

void Stage::add_share(Share share, Rows from) const {
    for (int64_t s = 0; s < streams_; ++s) add_row(from[s] + share.begin, x_[s] + share.begin, share.size());
}

// The step's sample goes into the coarse step under way, and what the last coarse step says about it comes in.
void Stage::gather(Share share, int64_t time) {
    const int64_t phase = time % factor_, count = std::min(share.end, width_) - share.begin;
    for (int64_t s = 0; s < streams_ && count > 0; ++s)
        std::copy_n(x_[s] + share.begin, count, gathered_[s] + phase * width_ + share.begin);
    add_share(share, {raised_.data + phase * padded(width_), raised_.stride});
    if (!skip_layers_) copy_share(share, x_, before_);
}

void Stage::run(int piece, const Part& part, int64_t time, Scratch& scratch) {
    const Share share = share_of(width_, part, shares_);
    const auto downs = static_cast<int>(down_.size()), ups = static_cast<int>(up_.size());
    if (piece == 0) {
        enter(part);
        if (innermost()) copy_share(share, x_, before_);
    } else if (piece <= downs) {
        const auto j = static_cast<size_t>(piece - 1);
        if (!innermost()) copy_share(share, x_, skips_[j]);
        down_[j].run(part, time, x_, scratch);
        if (innermost() && piece == downs) add_share(share, before_);
    } else if (piece <= downs + ups) {
        const auto j = static_cast<size_t>(piece - downs - 1);
        up_[j].run(part, time, x_, scratch);
        if (skip_layers_)
            add_share(share, skips_[skips_.size() - 1 - j]);
        else if (piece == downs + ups)
            add_share(share, before_);
    } else {
        return leave(part, scratch);
    }
    if (piece == gathering_piece()) gather(share, time);
    part.meet();
}

void Stage::save(int64_t stream, int64_t time, StreamState& state, size_t stage) const {
    for (size_t j = 0; j < down_.size(); ++j) state.blocks[down_states_[j]] = down_[j].state(stream, time);
    for (size_t j = 0; j < up_.size(); ++j) state.blocks[up_states_[j]] = up_[j].state(stream, time);
    if (innermost()) return;
    state.down[stage].assign(gathered_[stream], gathered_[stream] + factor_ * width_);
    state.up[stage].clear();
    for (int64_t p = 0; p < factor_; ++p) {
        const float* row = raised_[stream] + p * padded(width_);
        state.up[stage].insert(state.up[stage].end(), row, row + width_);
    }
}

bool Stage::fits(const StreamState& state, size_t stage) const {
    for (size_t j = 0; j < down_.size(); ++j)
        if (!down_[j].fits(state.blocks[down_states_[j]])) return false;
    for (size_t j = 0; j < up_.size(); ++j)
        if (!up_[j].fits(state.blocks[up_states_[j]])) return false;
    const auto gathered = static_cast<size_t>(factor_ * width_);
    return innermost() || (state.down[stage].size() == gathered && state.up[stage].size() == gathered);
}

void Stage::load(int64_t stream, int64_t time, const StreamState& state, size_t stage) {
    for (size_t j = 0; j < down_.size(); ++j) down_[j].set_state(stream, time, state.blocks[down_states_[j]]);
    for (size_t j = 0; j < up_.size(); ++j) up_[j].set_state(stream, time, state.blocks[up_states_[j]]);
    if (innermost()) return;
    std::copy(state.down[stage].begin(), state.down[stage].end(), gathered_[stream]);
    for (int64_t p = 0; p < factor_; ++p)
        std::copy_n(state.up[stage].begin() + p * width_, width_, raised_[stream] + p * padded(width_));
}

OuterStage::OuterStage(const RecurrentProgram& program, const StepMemory& memory)
    : Stage(program.stages[0], program.skip_layers, memory), norm_(program.norm, *memory.other) {
    const int64_t vocabulary = program.vocabulary;
    require(vocabulary > 0 && program.embedding.size() == static_cast<size_t>(vocabulary * width_) &&
            program.norm.width == width_);
    check(program.head, vocabulary, width_);
    embedding_ = rows(vocabulary, width_, memory);
    for (int64_t v = 0; v < vocabulary; ++v) std::copy_n(program.embedding.begin() + v * width_, width_, embedding_[v]);
    head_ = pack_shares(program.head, 1, memory);
    logits_ = rows(streams_, vocabulary, memory);
}

void OuterStage::enter(const Part& part) {
    const Share share = share_of(width_, part, shares_);
    for (int64_t s = 0; s < streams_; ++s)
        std::copy_n(embedding_[codes[s]] + share.begin, share.size(), x_[s] + share.begin);
}

void OuterStage::leave(const Part& part, Scratch& scratch) {
    const Rows normal = scratch.normal[static_cast<size_t>(part.first)];
    for (int64_t s = 0; s < streams_; ++s) norm_.apply(x_[s], normal[s]);
    multiply(head_, part, normal, logits_, streams_, false);
}

InnerStage::InnerStage(const RecurrentProgram& program, size_t index, Stage& outer, const StepMemory& memory)
    : Stage(program.stages[index], program.skip_layers, memory), outer_(outer) {
    const StageProgram& above = program.stages[index - 1];
    check(above.pool_down, width_, outer.factor_ * outer.width_);
    check(above.pool_up, outer.factor_ * outer.width_, width_);
    pool_down_ = pack_shares(above.pool_down, 1, memory);
    pool_up_ = pack_shares(above.pool_up, outer.factor_, memory);
}

void InnerStage::enter(const Part& part) { multiply(pool_down_, part, outer_.gathered_, x_, streams_, false); }

void InnerStage::leave(const Part& part, Scratch&) { multiply(pool_up_, part, x_, outer_.raised_, streams_, false); }

}  // namespace nigiri::cpu
