#include "kernels/cpu/engine/block.h"

#include <algorithm>

namespace nigiri::cpu {

namespace {

void require(bool holds) {
    if (!holds) throw Error("a recurrent program's block does not fit its stage");
}

void check(const LinearMap& map, int64_t outputs, int64_t inputs) {
    require(map.outputs == outputs && map.inputs == inputs && outputs > 0 && inputs > 0 &&
            map.weight.size() == static_cast<size_t>(outputs * inputs) &&
            (map.bias.empty() || map.bias.size() == static_cast<size_t>(outputs)));
}

// Share `index` of `parts` equal parts of a map's outputs, each of which stands in a padded row of its own.
std::vector<OutputRange> ranges_of(int64_t outputs, int64_t parts, int index, int shares) {
    const int64_t width = outputs / parts;
    const Share share = share_of(width, index, index + 1, shares);
    std::vector<OutputRange> ranges;
    for (int64_t p = 0; p < parts; ++p)
        ranges.push_back(
            {p * width + share.begin, std::min(share.end, width) - share.begin, p * padded(width) + share.begin});
    return ranges;
}

Rows rows(int64_t streams, int64_t width, Arena& arena) {
    return {arena.allocate<float>(streams * padded(width)), padded(width)};
}

}  // namespace

std::vector<PackedMatrix> pack_shares(const LinearMap& map, int64_t parts, const StepMemory& memory) {
    std::vector<PackedMatrix> packed;
    for (int t = 0; t < memory.shares; ++t)
        packed.emplace_back(map, ranges_of(map.outputs, parts, t, memory.shares), memory.format,
                            (*memory.weights)[static_cast<size_t>(t)]);
    return packed;
}

void multiply(const std::vector<PackedMatrix>& map, const Part& part, Rows x, Rows y, int64_t streams, bool add) {
    for (int i = part.first; i < part.last; ++i) map[static_cast<size_t>(i)].multiply(x, y, streams, add);
}

Scratch::Scratch(int64_t widest, int shares, int64_t streams, Arena& arena)
    : projected(rows(streams, 2 * padded(widest), arena)),
      mixed(rows(streams, widest, arena)),
      out(rows(streams, widest, arena)) {
    for (int t = 0; t < shares; ++t) normal.push_back(rows(streams, widest, arena));
}

int64_t EngineBlock::widest(const BlockStep& step) {
    return std::max({step.norm.width, step.kind == BlockStepKind::mlp ? step.in.outputs : step.ssm.channels});
}

EngineBlock::EngineBlock(const BlockStep& step, int64_t width, int64_t phase, const StepMemory& memory)
    : kind_(step.kind), glu_(step.glu), width_(width), streams_(memory.streams), shares_(memory.shares) {
    require(step.norm.width == width);
    norm_ = RowNorm(step.norm, *memory.other);
    inner_ = kind_ == BlockStepKind::mlp ? step.in.outputs : step.ssm.channels;
    if (kind_ == BlockStepKind::mamba) {
        check(step.in, 2 * inner_, width);
        check(step.out, width, inner_);
        conv_ = ShortConv(step, streams_, *memory.other);
    } else if (kind_ == BlockStepKind::s4) {
        require(inner_ == width);
        check(step.out, glu_ ? 2 * width : width, width);
    } else {
        check(step.in, inner_, width);
        check(step.out, width, inner_);
    }
    if (step.in) in_ = pack_shares(step.in, kind_ == BlockStepKind::mamba ? 2 : 1, memory);
    out_ = pack_shares(step.out, kind_ == BlockStepKind::s4 && glu_ ? 2 : 1, memory);
    if (kind_ == BlockStepKind::mlp) return;
    switch (step.ssm.kind) {
        case StateSpaceKind::s4d:
            ssm_ = make_s4d_step(step.ssm, phase, memory);
            break;
        case StateSpaceKind::s4:
            ssm_ = make_s4_step(step.ssm, memory);
            break;
        case StateSpaceKind::s6:
            ssm_ = make_s6_step(step.ssm, memory);
            break;
    }
}

void EngineBlock::run(const Part& part, int64_t time, Rows x, Scratch& scratch) {
    // Every thread normalises whole rows for itself: that takes less than waiting for one that did it for all.
    const Rows normal = scratch.normal[static_cast<size_t>(part.first)];
    for (int64_t s = 0; s < streams_; ++s) norm_.apply(x[s], normal[s]);
    switch (kind_) {
        case BlockStepKind::mamba:
            return run_mamba(part, time, normal, x, scratch);
        case BlockStepKind::s4:
            return run_s4(part, time, normal, x, scratch);
        case BlockStepKind::mlp:
            return run_mlp(part, normal, x, scratch);
    }
}

void EngineBlock::run_mamba(const Part& part, int64_t time, Rows normal, Rows x, Scratch& scratch) {
    const Rows xz = scratch.projected, z = {xz.data + padded(inner_), xz.stride};
    multiply(in_, part, normal, xz, streams_, false);
    const Share share = share_of(inner_, part, shares_);
    for (int64_t s = 0; s < streams_; ++s) conv_.step(s, time, share, xz[s], scratch.mixed[s]);
    if (ssm_->reads_all_channels()) part.meet();
    ssm_->step(part, time, scratch.mixed, z, scratch.out);
    part.meet();
    multiply(out_, part, scratch.out, x, streams_, true);
}

void EngineBlock::run_s4(const Part& part, int64_t time, Rows normal, Rows x, Scratch& scratch) {
    ssm_->step(part, time, normal, {}, scratch.out);
    const Share share = share_of(width_, part, shares_);
    for (int64_t s = 0; s < streams_; ++s) gelu_row(scratch.out[s] + share.begin, share.size());
    part.meet();
    if (!glu_) return multiply(out_, part, scratch.out, x, streams_, true);
    const Rows ab = scratch.projected;
    multiply(out_, part, scratch.out, ab, streams_, false);
    for (int64_t s = 0; s < streams_; ++s)
        add_glu_row(ab[s] + share.begin, ab[s] + padded(width_) + share.begin, x[s] + share.begin, share.size());
}

void EngineBlock::run_mlp(const Part& part, Rows normal, Rows x, Scratch& scratch) {
    const Rows hidden = scratch.out;
    multiply(in_, part, normal, hidden, streams_, false);
    const Share share = share_of(inner_, part, shares_);
    for (int64_t s = 0; s < streams_; ++s) gelu_row(hidden[s] + share.begin, share.size());
    part.meet();
    multiply(out_, part, hidden, x, streams_, true);
}

StreamState::Block EngineBlock::state(int64_t stream, int64_t time) const {
    StreamState::Block state;
    if (ssm_) state.ssm = ssm_->state(stream, time);
    if (kind_ == BlockStepKind::mamba) state.conv = conv_.state(stream, time);
    return state;
}

bool EngineBlock::fits(const StreamState::Block& state) const {
    return state.ssm.size() == (ssm_ ? ssm_->state_size() : 0) &&
           state.conv.size() == (kind_ == BlockStepKind::mamba ? conv_.state_size() : 0);
}

void EngineBlock::set_state(int64_t stream, int64_t time, const StreamState::Block& state) {
    if (ssm_) ssm_->set_state(stream, time, state.ssm);
    if (kind_ == BlockStepKind::mamba) conv_.set_state(stream, time, state.conv);
}

}  // namespace nigiri::cpu
