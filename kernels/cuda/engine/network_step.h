// One sample of a group of streams, from codes to logits: the phases in their order, with a barrier after each.
//
// A Block runs the phases: block.phase(f) calls f(warp, registers) for every warp of the block and then waits for all
// of them; block.each(f) does not wait. On the device each warp calls f once; on the host (tests) one loop calls it for
// all. block.ended(i) follows phase i. Where another block runs the stages below, block.await_below() waits for what
// they gave at the last coarse step, and block.give_below() says that the next one's samples are there.
#pragma once

#include "kernels/cuda/engine/phases.h"

namespace nigiri::cuda::engine {

template <class W, int kStreams>
NIGIRI_LANES void run_phase(const W& w, Registers<W, kStreams>& r, const BlockMemory& m, const Program& program,
                            const Stage& above, uint32_t kind, const Phase& phase, const Moment& now) {
    const auto is = [&](PhaseKind k) { return (kind & kind_bit(k)) != 0; };
    // The frequent ones first.
    if (is(PhaseKind::mamba)) {
        if (phase.layer.ssm == SsmPart::s4d) return mamba_phase<W, kStreams, SsmPart::s4d>(w, r, m, phase, now);
        return mamba_phase<W, kStreams, SsmPart::s6>(w, r, m, phase, now);
    }
    if (is(PhaseKind::settle) || is(PhaseKind::glu)) {
        if (phase.completes_blocks > 0)
            complete_s4d_blocks<W, kStreams>(w, m, phase, phase.completes_blocks, now.step, r.ahead);
        if (is(PhaseKind::settle)) return settle_phase<W, kStreams, 2>(w, r, m, phase, now);
        return settle_phase<W, kStreams, 1>(w, r, m, phase, now);
    }
    if (is(PhaseKind::project)) return project_phase<W, kStreams>(w, r, m, phase);
    if (is(PhaseKind::scan)) {
        if (!is_plain(phase.layer.s6)) return any_scan_phase<W, kStreams>(w, m, phase.layer);
        if constexpr (kStreams >= 4)
            if (phase.layer.s6.lane_bits >= 2) return plain_scan_phase<W, kStreams, true>(w, m, phase.layer, r.ahead);
        return plain_scan_phase<W, kStreams, false>(w, m, phase.layer, r.ahead);
    }
    if (is(PhaseKind::gelu)) return gelu_phase<W, kStreams>(w, r, m, phase);
    if (is(PhaseKind::normed)) {
        if (phase.layer.ssm == SsmPart::s4d) return normed_phase<W, kStreams, SsmPart::s4d>(w, r, m, phase, now);
        return normed_phase<W, kStreams, SsmPart::s6>(w, r, m, phase, now);
    }
    if (is(PhaseKind::embed)) return embed_phase<W, kStreams>(w, m, program, phase, now);
    if (is(PhaseKind::head)) return head_phase<W, kStreams>(w, r, m, program, phase);
    if (is(PhaseKind::gather)) return gather_phase<W, kStreams>(w, m, above);
    if (is(PhaseKind::pool_up)) return pool_up_phase<W, kStreams>(w, r, m, above, phase);
    s4_phase<W, kStreams>(w, m, phase.layer);
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
        const Stage& stage = m.stages()[i];
        const Stage& above = m.stages()[i > 0 ? i - 1 : 0];
        const int factor = stage.factor, first_phase = stage.first_phase, end = first_phase + stage.phases;
        if (factor > 0) now.pool_phase = static_cast<int>(now.step % static_cast<uint32_t>(factor));
        if (loaded != i) {
            block.each([&](const W& w, Registers<W, kStreams>& r) { open_windows<W>(w, r.windows, m.weights, stage); });
            loaded = i;
        }
        PhaseHead head = m.phases()[first_phase], next = head;
        NIGIRI_UNROLL_BY(1)
        for (int k = first_phase; k < end; ++k) {
            if (head.pushes != 0 && now.pool_phase == 0) block.await_below(i);
            block.phase([&](const W& w, Registers<W, kStreams>& r) {
                run_phase<W, kStreams>(w, r, m, program, above, head.kind, m.phases()[k], now);
                next = m.phases()[k + 1 < end ? k + 1 : k];  // known before the barrier
            });
            if (head.pushes != 0 && now.pool_phase + 1 == factor) block.give_below(i);
            block.ended(k);
            head = next;
        }
        if (i == 0) after_head(block);
        if (now.pool_phase + 1 < factor || factor == 0) return;
        now.step /= static_cast<uint32_t>(factor);
    }
}

}  // namespace nigiri::cuda::engine
