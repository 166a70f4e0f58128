#include "model/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace nigiri {

Optimizer::Optimizer(ParameterStore& store, const TrainingConfig& config) : store_(store), config_(config) {
    store_.allocate_gradients();
    for (const auto& p : store_.all()) {
        Moments moments{store_.backend().zeros(p->value.shape(), p->value.dtype()),
                        store_.backend().zeros(p->value.shape(), p->value.dtype())};
        const bool state_space = p->group == ParameterGroup::state_space;
        set_.items.push_back(
            {.weight = p->value,
             .grad = p->gradient,
             .m = moments.m,
             .v = moments.v,
             .lr = state_space ? std::min(config.state_space_rate, config.learning_rate) : config.learning_rate,
             .weight_decay = p->group == ParameterGroup::decay ? config.weight_decay : 0.0,
             .rounded = p->rounded});
        moments_.push_back(std::move(moments));
    }
}

void Optimizer::step(double factor) {
    ++steps_;
    store_.backend().adamw_step({.set = set_,
                                 .factor = factor,
                                 .beta1 = config_.beta1,
                                 .beta2 = config_.beta2,
                                 .eps = config_.eps,
                                 .clip = config_.clip,
                                 .step = steps_});
    for (size_t i = 0; i < set_.items.size(); ++i)  // rounded only after this optimizer was made
        if (store_.all()[i]->rounded && !set_.items[i].rounded) store_.values_changed();
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
