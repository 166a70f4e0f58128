#include "model/plain_engine.h"

#include "model/recurrent_program.h"

namespace nigiri {

PlainEngine::PlainEngine(const Network& network, int64_t streams) : network_(network) {
    if (network.dtype() != DType::f32) throw Error("generation runs in float32");
    if (streams < 1) throw Error("an engine needs at least one stream");
    const ModelConfig& config = network.config();
    const bool grows = remembers_all(config.centre.ssm.kind) || remembers_all(config.outer.ssm.kind);
    together_ = grows ? 1 : streams;
    for (int64_t first = 0; first < streams; first += together_) states_.push_back(network.make_state(together_));
    tokens_ = network.backend().allocate({together_, 1}, DType::i32);
    positions_.assign(static_cast<size_t>(streams), 0);
}

size_t PlainEngine::weight_bytes() const {
    return static_cast<size_t>(network_.parameters().count()) * size_of(network_.dtype());
}

void PlainEngine::advance(const int32_t* codes, float* logits) {
    for (int64_t i = 0; i < streams(); ++i)
        if (codes[i] < 0 || codes[i] >= vocabulary())
            throw Error("there is no code " + std::to_string(codes[i]) + " among " + std::to_string(vocabulary()));
    // Here and not where a state is set: streams that all move to another place do so one by one.
    const int64_t period = network_.config().pool_product();
    for (const int64_t p : positions_)
        if (p % period != positions_[0] % period)
            throw Error("streams of one engine must keep step: " + std::to_string(p) + " and " +
                        std::to_string(positions_[0]) + " samples differ by no multiple of " + std::to_string(period));
    for (size_t i = 0; i < states_.size(); ++i) {
        const int64_t first = static_cast<int64_t>(i) * together_;
        states_[i].position = positions_[static_cast<size_t>(first)];
        network_.backend().upload(codes + first, tokens_);
        network_.backend().download(network_.advance(tokens_, states_[i]), logits + first * vocabulary());
    }
    for (int64_t& p : positions_) ++p;
}

void PlainEngine::check_stream(int64_t stream) const {
    if (stream < 0 || stream >= streams())
        throw Error("an engine of " + std::to_string(streams()) + " streams has no stream " + std::to_string(stream));
}

StreamState PlainEngine::state(int64_t stream) const {
    check_stream(stream);
    StreamState s = stream_state(network_, states_[state_of(stream)], row_of(stream));
    s.position = positions_[static_cast<size_t>(stream)];
    return s;
}

void PlainEngine::set_state(int64_t stream, const StreamState& state) {
    check_stream(stream);
    set_network_state(network_, states_[state_of(stream)], row_of(stream), state);
    positions_[static_cast<size_t>(stream)] = state.position;
}

}  // namespace nigiri
