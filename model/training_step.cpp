#include "model/training_step.h"

#include <algorithm>
#include <cmath>

namespace nigiri {

namespace {

// The first makes what later ones find (plans, the optimizer's lists, memory of every size), the second finds it all.
constexpr int plain_steps = 2;
// Shapes at a time: each holds the memory of a step.
constexpr size_t most_shapes = 2;
// Recordings that the backend may give up before no more are made.
constexpr int most_lost = 2;

// Forward, backward. Gradients are added to the parameters'.
void accumulate_gradients(const Network& network, const DeviceBatch& batch, const Tensor& losses) {
    Backend& backend = network.backend();
    Tape tape(backend, true);
    Var logits = network.forward(tape, batch.tokens);
    // The gradient takes the logits' place, or half of it: they are the largest tensor and nobody needs them again.
    Tensor gradient = network.activations() == network.dtype()
                        ? logits.value
                        : backend.allocate(logits.shape(), network.activations());
    backend.cross_entropy({.logits = logits.value,
                           .targets = batch.targets,
                           .losses = losses,
                           .dlogits = gradient,
                           .scale_at = batch.scale});
    logits.value = {};
    tape.backward({{}, logits.node}, std::move(gradient));
}

}  // namespace

DeviceBatch::DeviceBatch(const Network& network, const Batch& like) {
    Backend& backend = network.backend();
    const int64_t unit = network.config().pool_product(), whole = (like.length + unit - 1) / unit * unit;
    tokens = backend.allocate({like.batch, whole}, DType::i32);
    targets = backend.allocate({like.batch * whole}, DType::i32);
    scale = backend.allocate({1}, network.dtype());
    backend_ = &backend;
}

void DeviceBatch::upload(const Batch& batch) {
    counted = std::count_if(batch.targets.begin(), batch.targets.end(), [](int32_t target) { return target >= 0; });
    upload_values(*backend_, {mean_scale()}, scale);
    const int64_t whole = tokens[1];
    if (whole == batch.length) {
        backend_->upload(batch.inputs.data(), tokens);
        backend_->upload(batch.targets.data(), targets);
        return;
    }
    std::vector<int32_t> padded_tokens(static_cast<size_t>(batch.batch * whole), 0),
        padded_targets(padded_tokens.size(), -1);
    for (int64_t b = 0; b < batch.batch; ++b) {
        const auto row = [&](const std::vector<int32_t>& from, std::vector<int32_t>& to) {
            std::copy_n(from.begin() + b * batch.length, batch.length, to.begin() + b * whole);
        };
        row(batch.inputs, padded_tokens);
        row(batch.targets, padded_targets);
    }
    backend_->upload(padded_tokens.data(), tokens);
    backend_->upload(padded_targets.data(), targets);
}

TrainingStep::TrainingStep(Network& network, Optimizer& optimizer, bool record)
    : network_(network), optimizer_(optimizer), record_(record && network.backend().can_record()) {}

TrainingStep::Prepared& TrainingStep::prepared(const Batch& batch) {
    const auto it = std::find_if(prepared_.begin(), prepared_.end(),
                                 [&](const auto& p) { return p->batch == batch.batch && p->length == batch.length; });
    if (it != prepared_.end()) {
        std::rotate(prepared_.begin(), it, it + 1);
        return *prepared_.front();
    }
    if (prepared_.size() == most_shapes) prepared_.pop_back();  // first, so that its memory can be used again
    auto made = std::make_unique<Prepared>(Prepared{batch.batch, batch.length, DeviceBatch(network_, batch), {}});
    made->losses = network_.backend().allocate({made->device.targets.size()}, network_.dtype());
    return **prepared_.insert(prepared_.begin(), std::move(made));
}

StepResult TrainingStep::run(const Batch& batch, double factor) {
    Backend& backend = network_.backend();
    Prepared& p = prepared(batch);
    p.device.upload(batch);
    network_.parameters().refresh();
    if (!replay(p)) {
        accumulate_gradients(network_, p.device, p.losses);
        ++p.plain;
    }
    settled_ = !record_ || p.recording;
    optimizer_.step(factor);  // leaves the parameters alone where the norm is not a number
    const double nats = backend.sum(p.losses) * p.device.mean_scale(), norm = optimizer_.gradient_norm();
    if (!std::isfinite(nats) || !std::isfinite(norm))
        throw Diverged(
            "training diverged at step " + std::to_string(optimizer_.steps()) + ": the loss is no longer a number",
            "the checkpoints before it are kept; start a new run with a lower --learning-rate");
    return {nats, norm};
}

// False where the step has to run operation by operation.
bool TrainingStep::replay(Prepared& p) {
    if (!record_) return false;
    if (p.recording) {
        if (p.recording->replay()) return true;
        p.recording = nullptr;
        p.plain = 0;
        if (++lost_ == most_lost) stop_recording("memory is too short to keep what a recorded step needs");
        return false;
    }
    if (p.plain < plain_steps) return false;
    try {
        p.recording = network_.backend().record([&] { accumulate_gradients(network_, p.device, p.losses); });
    } catch (const Error& e) {
        stop_recording(e.what());
        return false;
    }
    return p.recording->replay();
}

void TrainingStep::stop_recording(const std::string& why) {
    record_ = false;
    for (const auto& p : prepared_) p->recording = nullptr;
    note_ = "training steps are launched operation by operation, which is slower for small batches: " + why;
}

StepResult training_step(Network& network, Optimizer& optimizer, const Batch& batch, double factor) {
    return TrainingStep(network, optimizer, /*record=*/false).run(batch, factor);
}

size_t estimate_training_bytes(const std::shared_ptr<Backend>& backend, const Config& config) {
    Network network(backend, config.model, DType::f32, 0, config.training.length);
    network.set_activations(activation_type(config.training.precision, *backend));
    network.set_recompute(config.training.recompute);
    network.set_recompute_cheap(config.training.recompute_cheap);
    Optimizer optimizer(network.parameters(), config.training);
    const int64_t unit = config.model.pool_product();
    const auto peak = [&](int64_t length) {
        const Batch batch{1, length, std::vector<int32_t>(static_cast<size_t>(length), 0),
                          std::vector<int32_t>(static_cast<size_t>(length), 0)};
        backend->reset_peak();
        DeviceBatch device(network, batch);
        device.upload(batch);
        accumulate_gradients(network, device, backend->allocate({device.targets.size()}, network.dtype()));
        return static_cast<double>(backend->peak_bytes());
    };
    // Long enough that rounding to the pool's block sizes does not matter much, and that scratch memory of a bounded
    // size has it.
    const int64_t longer = std::max(unit, std::min<int64_t>(1536, network.longest_forward()) / unit * unit);
    const int64_t shorter = std::max(unit, longer / 2 / unit * unit);
    const double low = peak(shorter), high = peak(longer);
    const double slope =
        longer > shorter ? (high - low) / static_cast<double>(longer - shorter) : high / static_cast<double>(longer);
    const double tokens = static_cast<double>(config.training.batch) *
                          static_cast<double>((config.training.length + unit - 1) / unit * unit);
    return static_cast<size_t>(std::max(low, low + slope * (tokens - static_cast<double>(shorter))));
}

}  // namespace nigiri
