#include "tests/support/emulated_engine.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <limits>

#include "kernels/cuda/engine/host_lanes.h"

#include "kernels/cuda/engine/network_step.h"
#include "kernels/cuda/engine/sampling.h"

namespace nigiri::test {

namespace {

template <int kStreams, int kParts>
class HostBlock {
  public:
    using Warp = cuda::engine::HostWarp<kParts>;
    static constexpr int warps = cuda::engine::Columns<Warp, kStreams>::warps;

    explicit HostBlock(bool backwards) : backwards_(backwards), registers_(warps) {}

    template <class F>
    void phase(F&& f) {
        for (int i = 0; i < warps; ++i) {
            const int w = backwards_ ? warps - 1 - i : i;
            f(Warp(w), registers_[static_cast<size_t>(w)]);
        }
    }
    template <class F>
    void each(F&& f) {
        phase(f);
    }
    void ended(int) {}
    // One block runs all stages.
    void await_below(int) {}
    void give_below(int) {}

  private:
    bool backwards_;
    std::vector<cuda::engine::Registers<Warp, kStreams>> registers_;
};

// All calls are one instance of the phases, which take long to compile.
template <int kStreams, int kParts>
void step(HostBlock<kStreams, kParts>& block, const cuda::engine::BlockMemory& m, const cuda::engine::Program& p,
          uint32_t position, int& loaded, const std::function<void()>& done) {
    cuda::engine::network_step<kStreams>(block, m, p, 0, p.stages, position, loaded, [&](auto&) { done(); });
}

}  // namespace

EmulatedEngine::EmulatedEngine(const RecurrentProgram& program, WeightFormat weights, int64_t streams, int per_group,
                               bool backwards)
    : GroupedEngine(program, weights, streams, per_group),
      backwards_(backwards),
      state_(static_cast<size_t>(groups()) * image().program.state_size),
      shared_((image().program.shared.size + sizeof(cuda::engine::Piece) - 1) / sizeof(cuda::engine::Piece)) {
    const std::vector<unsigned char> head = cuda::engine::shared_image(image());
    std::memcpy(shared_.data(), head.data(), head.size());
}

void EmulatedEngine::read_group(int64_t group, float* state) const {
    std::memcpy(state, group_state(group), image().program.state_size * sizeof(float));
}

void EmulatedEngine::write_group(int64_t group, const float* state) {
    std::memcpy(const_cast<float*>(group_state(group)), state, image().program.state_size * sizeof(float));
}

// What a sample leaves in shared memory the next one must not need, apart from operands and statistics, which must be
// numbers.
cuda::engine::BlockMemory EmulatedEngine::memory(int64_t group) {
    const auto& l = image().program.shared;
    auto* bytes = reinterpret_cast<unsigned char*>(shared_.data());
    cuda::engine::BlockMemory m(l, bytes, image().weights.data(), image().constants.data());
    m.state = const_cast<float*>(group_state(group));
    const auto poison = [&](float* from, uint32_t end) {
        std::fill(from, reinterpret_cast<float*>(bytes + end), std::numeric_limits<float>::quiet_NaN());
    };
    poison(m.x(), l.operand_x);
    poison(m.u(), l.stats);
    poison(m.logits(), l.codes);
    return m;
}

template <int kParts, class F>
void EmulatedEngine::by_streams(F&& f) {
    switch (per_group()) {
        case 1:
            return f.template operator()<1, kParts>();
        case 2:
            return f.template operator()<2, kParts>();
        case 4:
            return f.template operator()<4, kParts>();
        default:
            return f.template operator()<8, kParts>();
    }
}

template <class F>
void EmulatedEngine::by_kind(F&& f) {
    if (image().program.parts == 2)
        by_streams<2>(f);
    else
        by_streams<3>(f);
}

void EmulatedEngine::run(uint32_t position, const int32_t* codes, float* logits) {
    const auto& p = image().program;
    by_kind([&]<int kStreams, int kParts>() {
        HostBlock<kStreams, kParts> block(backwards_);
        int loaded = -1;
        for (int64_t g = 0; g < groups(); ++g) {
            const auto m = memory(g);
            for (int s = 0; s < kStreams; ++s) m.codes[s] = code_of(codes, g * kStreams + s);
            step(block, m, p, position, loaded, [&] {
                for (int s = 0; s < kStreams && g * kStreams + s < streams(); ++s)
                    std::memcpy(logits + (g * kStreams + s) * p.vocabulary, m.logits() + s * p.vocabulary_padded,
                                static_cast<size_t>(p.vocabulary) * sizeof(float));
            });
        }
    });
}

void EmulatedEngine::run_draw(uint32_t position, const DrawRequest& request, const DrawSink& sink, int64_t& drawn) {
    const auto& p = image().program;
    std::vector<int32_t> codes = request.codes;
    std::vector<float> bits(codes.size());
    bool goes_on = true;
    by_kind([&]<int kStreams, int kParts>() {
        HostBlock<kStreams, kParts> block(backwards_);
        int loaded = -1;
        for (int64_t t = 0; t < request.samples && goes_on; ++t) {
            for (int64_t g = 0; g < groups(); ++g) {
                const auto m = memory(g);
                for (int s = 0; s < kStreams; ++s) m.codes[s] = code_of(codes.data(), g * kStreams + s);
                const auto at = static_cast<uint32_t>((position + t) % p.wrap);
                step(block, m, p, at, loaded, [&] {
                    for (int64_t s = g * kStreams; s < std::min((g + 1) * kStreams, streams()); ++s) {
                        const auto i = static_cast<size_t>(s);
                        const DrawControls c = request.controls(s);
                        const Random& dice = request.dice[i];
                        const auto d = cuda::engine::draw_code<cuda::engine::HostWarp<kParts>>(
                            m.logits() + (s - g * kStreams) * p.vocabulary_padded, p.vocabulary,
                            {static_cast<float>(c.temperature), static_cast<float>(c.top_p),
                             static_cast<int32_t>(c.top_k)},
                            cuda::engine::random_uniform(dice.seed(), dice.stream(),
                                                         dice.position() + static_cast<uint64_t>(t)));
                        if (!d.is_valid) throw Error("the model's output is not a number");
                        codes[i] = d.code, bits[i] = d.bits;
                    }
                });
            }
            ++drawn;
            goes_on = sink(1, codes.data(), bits.data());
        }
    });
}

}  // namespace nigiri::test
