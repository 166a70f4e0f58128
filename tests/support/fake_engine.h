// An engine without a network: a sine with a little noise on it, which may run away at a known sample.
#pragma once

#include <cmath>
#include <functional>
#include <numbers>
#include <vector>

#include "kernels/error.h"
#include "kernels/recurrent_engine.h"

namespace nigiri::test {

// What the code to come is drawn from: equal chances of `spread` neighbours from `first` on.
struct Chances {
    int first = 128, spread = 1;
};

enum class Mode { healthy, noise, silence, offset };

class FakeEngine final : public RecurrentEngine {
  public:
    struct Options {
        int64_t streams = 1;
        int64_t period = 1;
        // Says whether a healthy stream goes wrong at this position, given the code it took in.
        std::function<Mode(int64_t stream, int64_t position, int32_t code)> fate = {};
    };
    explicit FakeEngine(Options options)
        : options_(std::move(options)), voices_(static_cast<size_t>(options_.streams)) {}

    // A tone of 440 Hz at 16 kHz as codes of the linear kind, 4 of them equally likely: 2 bits a sample.
    static Chances healthy(int64_t position) {
        const double phase = 2 * std::numbers::pi * 440 / 16000 * static_cast<double>(position);
        return {126 + static_cast<int>(std::lround(40 * std::sin(phase))), 4};
    }
    static Chances chances(Mode mode, int64_t position) {
        if (mode == Mode::noise) return {64, 128};  // 7 bits
        if (mode == Mode::silence) return {128, 1};
        if (mode == Mode::offset) return {250, 2};
        return healthy(position);
    }

    int64_t streams() const override { return options_.streams; }
    int64_t vocabulary() const override { return 256; }
    std::string description() const override { return "fake"; }
    size_t weight_bytes() const override { return 0; }

    void advance(const int32_t* codes, float* logits) override {
        for (size_t i = 0; i < voices_.size(); ++i) {
            if (voices_[i].position % options_.period != voices_[0].position % options_.period)
                throw Error("streams out of step");
            if (codes[i] < 0 || codes[i] > 255) throw Error("no such code");
        }
        for (size_t i = 0; i < voices_.size(); ++i) {
            Voice& v = voices_[i];
            if (options_.fate && v.mode == Mode::healthy)
                v.mode = options_.fate(static_cast<int64_t>(i), v.position, codes[i]);
            const Chances c = chances(v.mode, v.position);
            for (int k = 0; k < 256; ++k)
                logits[i * 256 + static_cast<size_t>(k)] = k >= c.first && k < c.first + c.spread ? 0.0f : -60.0f;
            ++v.position;
        }
    }

    StreamState state(int64_t stream) const override {
        const Voice& v = voices_[static_cast<size_t>(stream)];
        return {.position = v.position,
                .blocks = {{.ssm = {static_cast<double>(v.mode)}, .conv = {}}},
                .down = {},
                .up = {}};
    }
    void set_state(int64_t stream, const StreamState& state) override {
        voices_[static_cast<size_t>(stream)] = {state.position, static_cast<Mode>(state.blocks.at(0).ssm.at(0))};
    }

  private:
    struct Voice {
        int64_t position = 0;
        Mode mode = Mode::healthy;
    };
    Options options_;
    std::vector<Voice> voices_;
};

}  // namespace nigiri::test
