// One sample of a group of streams, from codes to logits: the phases in their order, with a barrier after each.
//
// A Block runs the phases: block.phase(f) calls f(warp, registers) for every warp of the block and then waits for all
// of them. On the device each warp calls f once; on the host (tests) one loop calls it for all. block.ended(i) follows
// phase i. Where another block runs the stages below, block.await_below() waits for what they gave at the last coarse
// step, and block.give_below() says that the next one's samples are there.
#pragma once

#include "kernels/cuda/engine/phases.h"

namespace nigiri::cuda::engine {

template <class W, int kStreams>
NIGIRI_LANES void run_phase(const W& w, Registers<W, kStreams>& r, const BlockMemory& m, const Program& program,
                            const Stage& stage, const Stage& above, const Phase& phase, const Moment& now) {
    if (phase.prepares_scan) prepare_scan<W, kStreams>(w, m, m.layers[phase.layer], r.scan);
    switch (phase.kind) {
        case PhaseKind::embed:
            return embed_phase<W, kStreams>(w, m, program, stage, phase, now);
        case PhaseKind::gather:
            return gather_phase<W, kStreams>(w, m, above);
        case PhaseKind::normed:
            return normed_phase<W, kStreams>(w, m, Place<W, kStreams>(), phase, now);
        case PhaseKind::scan:
            if (is_plain(m.layers[phase.layer].s6))
                return plain_scan_phase<W, kStreams>(w, m, m.layers[phase.layer], r.scan);
            return any_scan_phase<W, kStreams>(w, m, m.layers[phase.layer]);
        case PhaseKind::s4:
            return s4_phase<W, kStreams>(w, m, m.layers[phase.layer]);
        default:
            break;
    }
    product_phase<W, kStreams>(w, r, m, stage, above, program, phase, now);
    if (phase.completes_blocks)
        complete_s4d_blocks<W, kStreams>(w, m, m.layers[phase.layer], now.step,
                                         phase.matrix.tiles / Columns<kStreams>::tiles);
}

// Stages [first, last) from step `step` of stage `first` on, counted modulo 16 periods of what is below it. `loaded` is
// the stage whose weights the windows hold, -1 at first. after_head(block) comes when the logits are there; the stages
// below follow, whose results the next sample needs.
template <int kStreams, class Block, class F>
NIGIRI_LANES void network_step(Block& block, const BlockMemory& m, const Program& program, int first, int last,
                               uint32_t step, int& loaded, F&& after_head) {
    using W = typename Block::Warp;
    Moment now{step, 0};
    for (int i = first; i < last; ++i) {
        const Stage& stage = m.stages[i];
        const Stage& above = m.stages[i > 0 ? i - 1 : 0];
        const auto factor = static_cast<uint32_t>(stage.factor);
        if (factor > 0) now.pool_phase = static_cast<int>(now.step % factor);
        const bool opens = loaded != i;
        loaded = i;
        for (int k = 0; k < stage.phases; ++k) {
            const Phase& phase = m.phases[stage.first_phase + k];
            const bool is_pushed = phase.settle.push != 0;
            if (is_pushed && now.pool_phase == 0) block.await_below(i);
            block.phase([&](const W& w, Registers<W, kStreams>& r) {
                if (opens && k == 0) open_windows<W, kStreams>(w, r.windows, m.weights, stage);
                run_phase<W, kStreams>(w, r, m, program, stage, above, phase, now);
            });
            if (is_pushed && now.pool_phase + 1 == stage.factor) block.give_below(i);
            block.ended(stage.first_phase + k);
        }
        if (i == 0) after_head(block);
        if (now.pool_phase + 1 < stage.factor || stage.factor == 0) return;
        now.step /= factor;
    }
}

}  // namespace nigiri::cuda::engine
