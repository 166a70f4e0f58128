#include "kernels/cuda/engine/grouped_engine.h"

#include "kernels/cuda/engine/stream_states.h"

namespace nigiri::cuda::engine {

GroupedEngine::GroupedEngine(const RecurrentProgram& program, WeightFormat weights, int64_t streams, int per_group)
    : image_(pack(program, weights, per_group)), streams_(streams), groups_((streams + per_group - 1) / per_group) {
    if (streams < 1) throw Error("an engine needs at least one stream");
    positions_.assign(static_cast<size_t>(streams), 0);
}

void GroupedEngine::check_codes(const int32_t* codes) const {
    for (int64_t i = 0; i < streams_; ++i)
        if (codes[i] < 0 || codes[i] >= image_.program.vocabulary)
            throw Error("code " + std::to_string(codes[i]) + " is none of the model's " +
                        std::to_string(image_.program.vocabulary));
}

void GroupedEngine::move(int64_t samples) {
    position_ += samples;
    for (int64_t& p : positions_) p += samples;
}

void GroupedEngine::advance(const int32_t* codes, float* logits) {
    check_codes(codes);
    settle_states();
    run(static_cast<uint32_t>(position_ % image_.program.wrap), codes, logits);
    move(1);
}

bool GroupedEngine::can_draw() const { return image_.program.vocabulary <= most_drawn_codes; }

int64_t GroupedEngine::draw(const DrawRequest& request, const DrawSink& sink) {
    if (!can_draw()) return RecurrentEngine::draw(request, sink);
    const auto count = static_cast<size_t>(streams_);
    if (request.codes.size() != count || request.dice.size() != count || request.samples < 0 || request.ahead < 1 ||
        !request.controls)
        throw Error("drawing needs a code and dice for every stream, and controls");
    check_codes(request.codes.data());
    settle_states();
    if (request.samples == 0) return 0;
    int64_t drawn = 0;
    try {
        run_draw(static_cast<uint32_t>(position_ % image_.program.wrap), request, sink, drawn);
    } catch (...) {
        move(drawn);
        throw;
    }
    move(drawn);
    return drawn;
}

StreamState GroupedEngine::state(int64_t stream) const {
    if (stream < 0 || stream >= streams_) throw Error("there is no stream " + std::to_string(stream));
    if (const auto found = waiting_.find(stream); found != waiting_.end()) return found->second;
    std::vector<float> group(image_.program.state_size);
    read_group(stream / per_group(), group.data());
    return read_stream(image_, group.data(), static_cast<int>(stream % per_group()), position_,
                       positions_[static_cast<size_t>(stream)]);
}

void GroupedEngine::set_state(int64_t stream, const StreamState& state) {
    if (stream < 0 || stream >= streams_) throw Error("there is no stream " + std::to_string(stream));
    check_state(image_, state);
    for (const auto& [other, s] : waiting_)
        if (other != stream && (s.position - state.position) % image_.period != 0)
            throw Error("streams of one engine must keep step: positions " + std::to_string(s.position) + " and " +
                        std::to_string(state.position) + " differ by no whole period of " +
                        std::to_string(image_.period));
    waiting_[stream] = state;
}

void GroupedEngine::settle_states() {
    if (waiting_.empty()) return;
    const int64_t position = waiting_.begin()->second.position;
    if (static_cast<int64_t>(waiting_.size()) == streams_)
        position_ = position;
    else if ((position - position_) % image_.period != 0)
        throw Error("streams of one engine must keep step: set the others' states, too");
    std::vector<float> group(image_.program.state_size);
    for (auto next = waiting_.begin(); next != waiting_.end();) {
        const int64_t index = next->first / per_group();
        read_group(index, group.data());
        for (; next != waiting_.end() && next->first / per_group() == index; ++next) {
            write_stream(image_, group.data(), static_cast<int>(next->first % per_group()), position_, next->second);
            positions_[static_cast<size_t>(next->first)] = next->second.position;
        }
        write_group(index, group.data());
    }
    waiting_.clear();
}

}  // namespace nigiri::cuda::engine
