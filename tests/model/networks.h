// Small networks of every kind, for the tests of the model library.
#pragma once

#include <gtest/gtest.h>

#include <cctype>
#include <ostream>
#include <string>
#include <vector>

#include "model/config.h"

namespace nigiri::test {

struct NamedModel {
    std::string name;
    ModelConfig config;
};

// What googletest prints for a parameter.
inline void PrintTo(const NamedModel& m, std::ostream* out) { *out << m.name; }

// A name that googletest takes.
inline std::string name_of_case(const testing::TestParamInfo<NamedModel>& info) {
    std::string name = info.param.name;
    for (char& c : name)
        if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
    return name;
}

inline ModelConfig small_model(const LayerConfig& layer, UNetForm form = UNetForm::sashimi) {
    ModelConfig c;
    c.vocabulary = 11;
    c.width = 6;
    c.layers = 2;
    c.pools = {2, 4};
    c.form = form;
    c.outer = c.centre = layer;
    for (LayerConfig* l : {&c.outer, &c.centre}) {
        l->ssm.state = 4;
        l->ssm.heads = 2;
        l->ssm.filter_width = 8, l->ssm.filter_bands = 3;
    }
    return c;
}

// Every named layer in both forms, then the variants that no name stands for.
inline std::vector<NamedModel> all_models() {
    std::vector<NamedModel> models;
    for (const std::string& name : layer_names())
        for (const UNetForm form : {UNetForm::sashimi, UNetForm::unet})
            models.push_back({name + "/" + to_string(form), small_model(layer_by_name(name), form)});
    const auto variant = [&](const std::string& name, const std::string& layer, auto&& change) {
        ModelConfig c = small_model(layer_by_name(layer));
        change(c);
        models.push_back({name, c});
    };
    const auto both = [](ModelConfig& c, auto&& change) { change(c.outer), change(c.centre); };
    for (const bool is_complex : {false, true}) {
        const std::string layer = is_complex ? "mamba-s6-complex" : "mamba-s6", end = is_complex ? "-complex" : "";
        variant("constant-delta" + end, layer,
                [&](ModelConfig& c) { both(c, [](LayerConfig& l) { l.ssm.selective_delta = false; }); });
        variant("constant-b" + end, layer,
                [&](ModelConfig& c) { both(c, [](LayerConfig& l) { l.ssm.selective_b = false; }); });
        variant("constant-c" + end, layer,
                [&](ModelConfig& c) { both(c, [](LayerConfig& l) { l.ssm.selective_c = false; }); });
        variant("constant-all" + end, layer, [&](ModelConfig& c) {
            both(c, [](LayerConfig& l) { l.ssm.selective_delta = l.ssm.selective_b = l.ssm.selective_c = false; });
        });
        variant("s6-zoh" + end, layer,
                [&](ModelConfig& c) { both(c, [](LayerConfig& l) { l.ssm.discretization = Discretization::zoh; }); });
        variant("s6-bilinear" + end, layer, [&](ModelConfig& c) {
            both(c, [](LayerConfig& l) { l.ssm.discretization = Discretization::bilinear; });
        });
    }
    variant("s4d-bilinear-inv", "mamba-s4", [&](ModelConfig& c) {
        both(c, [](LayerConfig& l) { l.ssm.discretization = Discretization::bilinear, l.ssm.init = SsmInit::inv; });
    });
    variant("s4d-legs-tied", "s4-mlp",
            [&](ModelConfig& c) { both(c, [](LayerConfig& l) { l.ssm.init = SsmInit::legs, l.ssm.copies = 2; }); });
    for (const std::string layer : {"mamba-s4", "mamba-s4-real", "mamba-s6", "mamba-s6-complex"})
        variant("random-poles-" + layer, layer,
                [&](ModelConfig& c) { both(c, [](LayerConfig& l) { l.ssm.init = SsmInit::random; }); });
    variant("no-glu-no-mlp", "s4-mlp",
            [&](ModelConfig& c) { both(c, [](LayerConfig& l) { l.glu = false, l.ff_expand = 0; }); });
    variant("outer-s4-centre-s6", "mamba-s4", [&](ModelConfig& c) {
        c.centre = layer_by_name("mamba-s6");
        c.centre.ssm.state = 3;
    });
    variant("outer-s6-centre-s4-mlp-unet", "mamba-s6", [&](ModelConfig& c) {
        c.centre = layer_by_name("s4-mlp");
        c.form = UNetForm::unet;
    });
    variant("rms", "mamba-s6", [&](ModelConfig& c) { c.norm = NormKind::rms; });
    variant("scalar-norm", "s4-mlp", [&](ModelConfig& c) { c.norm = NormKind::scalar; });
    variant("no-pools", "mamba-s6", [&](ModelConfig& c) { c.pools = {}; });
    variant("isotropic-tied-head", "plain-s6", [&](ModelConfig& c) { c.pools = {}, c.tied_head = true; });
    variant("h3-wide-conv-width-1", "h3-hyena",
            [&](ModelConfig& c) { both(c, [](LayerConfig& l) { l.conv_width = 1, l.expand = 2; }); });
    variant("attention-of-six-heads", "attention-mlp",
            [&](ModelConfig& c) { both(c, [](LayerConfig& l) { l.ssm.heads = 6, l.glu = true; }); });
    variant("outer-hyena-centre-attention-unet", "mamba-hyena", [&](ModelConfig& c) {
        const LayerConfig centre = small_model(layer_by_name("attention-mlp")).centre;
        c.centre = centre, c.form = UNetForm::unet;
    });
    variant("three-pools-expand-1", "mamba-s4", [&](ModelConfig& c) { c.pools = {2, 3, 2}, c.pool_expand = 1; });
    variant("conv-width-1", "mamba-s4",
            [&](ModelConfig& c) { both(c, [](LayerConfig& l) { l.conv_width = 1, l.expand = 1; }); });
    return models;
}

}  // namespace nigiri::test
