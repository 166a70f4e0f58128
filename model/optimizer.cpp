#include "model/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace nigiri {

Optimizer::Optimizer(ParameterStore& store, const TrainingConfig& config) : store_(store), config_(config) {
    store_.allocate_gradients();
    for (const auto& p : store_.all())
        moments_.push_back({store_.backend().zeros(p->value.shape(), p->value.dtype()),
                            store_.backend().zeros(p->value.shape(), p->value.dtype())});
}

double Optimizer::gradient_norm() const {
    double sum = 0;
    for (const auto& p : store_.all()) sum += store_.backend().sum_of_squares(p->gradient);
    return std::sqrt(sum);
}

void Optimizer::step(double factor, double gradient_norm) {
    ++steps_;
    const double scale = config_.clip > 0 && gradient_norm > config_.clip ? config_.clip / gradient_norm : 1.0;
    for (size_t i = 0; i < moments_.size(); ++i) {
        const Parameter& p = *store_.all()[i];
        const bool state_space = p.group == ParameterGroup::state_space;
        const double rate = state_space ? std::min(config_.state_space_rate, config_.learning_rate) : config_.learning_rate;
        store_.backend().adamw({.weight = p.value, .grad = p.gradient, .m = moments_[i].m, .v = moments_[i].v,
                                .lr = rate * factor, .beta1 = config_.beta1, .beta2 = config_.beta2, .eps = config_.eps,
                                .weight_decay = p.group == ParameterGroup::decay ? config_.weight_decay : 0.0,
                                .gradient_scale = scale, .step = steps_});
    }
}

double cosine_factor(const TrainingConfig& config, double progress) {
    progress = std::clamp(progress, 0.0, 1.0);
    if (progress < config.warmup) return progress / config.warmup;
    const double along = config.warmup < 1 ? (progress - config.warmup) / (1 - config.warmup) : 1.0;
    return config.final_rate + (1 - config.final_rate) * 0.5 * (1 + std::cos(std::numbers::pi * along));
}

void PlateauState::observe(const TrainingConfig& config, double validation) {
    if (validation < best) {
        best = validation;
        bad = 0;
    } else if (++bad > config.plateau_patience) {
        factor *= config.plateau_factor;
        bad = 0;
    }
}

}  // namespace nigiri
