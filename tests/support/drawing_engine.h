// An engine that draws codes itself, as those on devices do: any other engine with the sampler inside. It can be slow,
// decline, fail, and act in the middle of what it draws.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "kernels/recurrent_engine.h"
#include "model/sampler.h"

namespace nigiri::test {

class DrawingEngine final : public RecurrentEngine {
  public:
    struct Options {
        int64_t told_together = 7;                       // samples the sink gets at once
        int64_t under_way = 5;                           // drawn after the sink has ended the drawing
        std::chrono::microseconds a_sample = {};         // it takes
        std::function<void(int64_t drawn)> before = {};  // before each sample that the engine ever draws; may throw
    };
    // What happened, for the tests; outlives the engine.
    struct Record {
        int64_t drawn = 0, launches = 0, advanced = 0;
    };
    DrawingEngine(std::unique_ptr<RecurrentEngine> inner, Options options, std::shared_ptr<Record> record = {})
        : inner_(std::move(inner)),
          options_(std::move(options)),
          record_(record ? std::move(record) : std::make_shared<Record>()) {}

    int64_t streams() const override { return inner_->streams(); }
    int64_t vocabulary() const override { return inner_->vocabulary(); }
    std::string description() const override { return "drawing, " + inner_->description(); }
    size_t weight_bytes() const override { return inner_->weight_bytes(); }
    void advance(const int32_t* codes, float* logits) override {
        ++record_->advanced;
        inner_->advance(codes, logits);
    }
    StreamState state(int64_t stream) const override { return inner_->state(stream); }
    void set_state(int64_t stream, const StreamState& state) override { inner_->set_state(stream, state); }
    bool can_draw() const override { return true; }

    int64_t draw(const DrawRequest& request, const DrawSink& sink) override {
        ++record_->launches;
        const auto width = static_cast<size_t>(streams()), vocabulary = static_cast<size_t>(this->vocabulary());
        if (request.codes.size() != width || request.dice.size() != width) throw Error("a stream is missing");
        std::vector<int32_t> last = request.codes, codes;
        std::vector<Random> dice = request.dice;
        std::vector<float> bits, logits(width * vocabulary);
        int64_t drawn = 0, end = request.samples;
        bool goes_on = true;
        const auto tell = [&] {
            if (codes.empty()) return;
            const bool more = sink(static_cast<int64_t>(codes.size() / width), codes.data(), bits.data());
            codes.clear(), bits.clear();
            if (!more && goes_on) goes_on = false, end = std::min(end, drawn + options_.under_way);
        };
        try {
            while (drawn < end) {
                if (options_.before) options_.before(record_->drawn);
                std::this_thread::sleep_for(options_.a_sample);
                inner_->advance(last.data(), logits.data());
                for (size_t s = 0; s < width; ++s) {
                    const DrawControls c = request.controls(static_cast<int64_t>(s));
                    sampler_.set_options({c.temperature, c.top_k, c.top_p, 0});
                    const auto d = sampler_.draw({logits.data() + s * vocabulary, vocabulary}, dice[s].uniform());
                    last[s] = d.code;
                    codes.push_back(d.code), bits.push_back(static_cast<float>(-d.log2_probability));
                }
                ++drawn, ++record_->drawn;
                if (drawn % options_.told_together == 0) tell();
            }
        } catch (...) {
            tell();
            throw;
        }
        tell();
        return drawn;
    }

  private:
    std::unique_ptr<RecurrentEngine> inner_;
    Options options_;
    std::shared_ptr<Record> record_;
    Sampler sampler_{SamplingOptions{}};
};

}  // namespace nigiri::test
