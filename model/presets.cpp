// Layers and networks by name.
#include <algorithm>
#include <functional>
#include <map>

#include "kernels/error.h"
#include "model/config.h"

namespace nigiri {

namespace {

SsmConfig s4d_complex() { return {}; }

SsmConfig s4d_real() {
    SsmConfig c;
    c.is_complex = false;
    c.init = SsmInit::real;
    return c;
}

SsmConfig s4_legs() {
    SsmConfig c;
    c.kind = SsmKind::s4;
    c.init = SsmInit::legs;
    c.discretization = Discretization::bilinear;
    return c;
}

SsmConfig s6_real() {
    SsmConfig c;
    c.kind = SsmKind::s6;
    c.is_complex = false;
    c.state = 16;
    c.init = SsmInit::real;
    c.discretization = Discretization::euler;
    return c;
}

SsmConfig s6_complex() {
    SsmConfig c = s6_real();
    c.is_complex = true;
    c.state = 32;
    c.init = SsmInit::lin;
    return c;
}

// What these two have of a state space stands at the values of a real one; nothing reads it.
SsmConfig without_states(SsmKind kind) {
    SsmConfig c = s4d_real();
    c.kind = kind;
    return c;
}

SsmConfig hyena() { return without_states(SsmKind::hyena); }
SsmConfig attention() { return without_states(SsmKind::attention); }

LayerConfig layer(BlockKind block, const SsmConfig& ssm) {
    LayerConfig c;
    c.block = block;
    c.ssm = ssm;
    if (block == BlockKind::h3) c.expand = 1;
    return c;
}

// Of the size of S4+MLP: 4 D^2 for the four maps of attention, 2 D^2 for the MLP.
LayerConfig attention_mlp() {
    LayerConfig c = layer(BlockKind::s4_mlp, attention());
    c.ff_expand = 1;
    c.glu = false;
    return c;
}

// In the order shown to people.
const std::vector<std::pair<std::string, LayerConfig>>& layers() {
    static const std::vector<std::pair<std::string, LayerConfig>> all = {
        {"mamba-s4", layer(BlockKind::mamba, s4d_complex())},
        {"mamba-s6", layer(BlockKind::mamba, s6_real())},
        {"s4-mlp", layer(BlockKind::s4_mlp, s4d_complex())},
        {"mamba-s4-real", layer(BlockKind::mamba, s4d_real())},
        {"mamba-s4-dplr", layer(BlockKind::mamba, s4_legs())},
        {"mamba-s6-complex", layer(BlockKind::mamba, s6_complex())},
        {"s4-mlp-real", layer(BlockKind::s4_mlp, s4d_real())},
        {"s4-mlp-dplr", layer(BlockKind::s4_mlp, s4_legs())},
        {"s6-mlp", layer(BlockKind::s4_mlp, s6_real())},
        {"s6-mlp-complex", layer(BlockKind::s4_mlp, s6_complex())},
        {"attention-mlp", attention_mlp()},
        {"mamba-hyena", layer(BlockKind::mamba, hyena())},
        {"mamba-attention", layer(BlockKind::mamba, attention())},
        {"h3-s4", layer(BlockKind::h3, s4d_complex())},
        {"h3-s6", layer(BlockKind::h3, s6_real())},
        {"h3-hyena", layer(BlockKind::h3, hyena())},
        {"h3-attention", layer(BlockKind::h3, attention())},
        {"plain-s4", layer(BlockKind::plain, s4d_complex())},
        {"plain-s6", layer(BlockKind::plain, s6_real())},
        {"plain-hyena", layer(BlockKind::plain, hyena())},
        {"attention", layer(BlockKind::plain, attention())},
    };
    return all;
}

Config network(int64_t width, int64_t layer_count, std::vector<int64_t> pools, UNetForm form, int64_t batch,
               int64_t length) {
    Config c;
    c.model.width = width;
    c.model.layers = layer_count;
    c.model.pools = std::move(pools);
    c.model.form = form;
    c.model.outer = c.model.centre = layer_by_name("mamba-s4");
    c.training.batch = batch;
    c.training.length = length;
    return c;
}

const std::vector<std::pair<std::string, std::function<Config()>>>& presets() {
    static const std::vector<std::pair<std::string, std::function<Config()>>> all = {
        {"tiny",  // the demo: learns something audible in three minutes on two cores
         [] {
             // Shorter segments learn faster for a while, but a model that never saw a long state runs away
             // in one.
             Config c = network(32, 2, {4, 4}, UNetForm::sashimi, 2, 4096);
             c.training.learning_rate = 4e-3;
             c.training.validate_every = 100;
             c.training.checkpoint_every = 100;
             c.training.preview_every = 0;
             return c;
         }},
        {"small",  // about a million parameters, light in its outer stage: the one to play live on a laptop
         [] {
             return network(32, 4, {4, 4}, UNetForm::sashimi, 2, 8192);
         }},
        {"base",  // the reference networks of the Mamba and SaShiMi code with blocks on the way up
         [] {
             return network(64, 8, {4, 4}, UNetForm::sashimi, 1, 16384);
         }},
        {"base-unet",  // the same on both ways, as in the Mamba paper's tables
         [] {
             return network(64, 8, {4, 4}, UNetForm::unet, 1, 16384);
         }},
        {"paper-youtubemix",  // Mamba paper E.4.1: 3 blocks a stage, 5 stages
         [] {
             Config c = network(64, 3, {16, 16}, UNetForm::unet, 1, 16384);
             c.model.norm = NormKind::layer;
             return c;
         }},
        {"large",  // Mamba paper E.4.2: 15 layers a stage, width 96
         [] {
             Config c = network(96, 15, {4, 4}, UNetForm::unet, 1, 16384);
             c.training.clip = 0.1;
             return c;
         }},
    };
    return all;
}

std::string joined(const std::vector<std::string>& names) {
    std::string text;
    for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
    return text;
}

}  // namespace

LayerConfig layer_by_name(const std::string& name) {
    for (const auto& [n, c] : layers())
        if (n == name) return c;
    throw Error("unknown layer '" + name + "'", "choose one of " + joined(layer_names()));
}

const std::vector<std::string>& layer_names() {
    static const std::vector<std::string> names = [] {
        std::vector<std::string> all;
        for (const auto& [n, c] : layers()) all.push_back(n);
        return all;
    }();
    return names;
}

std::string layer_name(const LayerConfig& layer) {
    for (const auto& [n, c] : layers())
        if (c == layer) return n;
    // The nearest relative: same block, kind and number field.
    for (const auto& [n, c] : layers())
        if (c.block == layer.block && c.ssm.kind == layer.ssm.kind && c.ssm.is_complex == layer.ssm.is_complex)
            return n + " (modified)";
    return "custom";
}

std::string layer_name(const ModelConfig& model) {
    const std::string outer = layer_name(model.outer), centre = layer_name(model.centre);
    return outer == centre || model.pools.empty() ? centre : outer + "/" + centre;
}

Config preset_by_name(const std::string& name) {
    for (const auto& [n, make] : presets())
        if (n == name) return make();
    throw Error("unknown preset '" + name + "'", "choose one of " + joined(preset_names()));
}

const std::vector<std::string>& preset_names() {
    static const std::vector<std::string> names = [] {
        std::vector<std::string> all;
        for (const auto& [n, make] : presets()) all.push_back(n);
        return all;
    }();
    return names;
}

}  // namespace nigiri
