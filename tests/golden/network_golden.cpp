// Whole networks of the published code: sashimi_{,unet_}{mamba_s6,s4d_mlp}. Tokens to logits, mean cross-entropy, every
// parameter's gradient, and the same logits sample by sample.
#include <map>
#include <sstream>

#include "model/network.h"
#include "tests/golden/golden.h"

namespace nigiri::golden {
namespace {

std::vector<int64_t> integers(const std::string& text) {
    std::vector<int64_t> out;
    std::stringstream in(text);
    for (std::string part; std::getline(in, part, ',');) out.push_back(std::stoll(part));
    return out;
}

// The published modules' names, and the order in which they flatten (channel, step) pairs: channel-major, where ours is
// step-major.
struct Naming {
    ModelConfig config;
    int64_t units;  // residual units a stage: a Mamba block is one, S4 and MLP are two

    explicit Naming(const ModelConfig& c)
        : config(c),
          units(c.layers * (c.outer.block == BlockKind::mamba ? 1
                            : c.outer.ff_expand > 0           ? 2
                                                              : 1)) {}

    std::string unit_name(const std::string& rest, const std::string& stage, int64_t offset) const {
        // rest: "J.norm.weight", "J.mamba.in_proj.weight", "J.s4.ssm.C", "J.mlp.up.weight", "J.mlp_norm.bias"
        const size_t dot = rest.find('.');
        const int64_t j = std::stoll(rest.substr(0, dot));
        std::string inner = rest.substr(dot + 1);
        const bool second = inner.starts_with("mlp");
        const int64_t index = offset + (units == config.layers ? j : 2 * j + (second ? 1 : 0));
        const std::string prefix = "backbone." + stage + "." + std::to_string(index) + ".";
        static const std::vector<std::pair<std::string, std::string>> names = {
            {"mlp_norm.", "norm."},
            {"norm.", "norm."},
            {"mamba.ssm.", "layer.m."},
            {"mamba.", "layer.m."},
            {"s4.ssm.D", "layer.layer.D"},
            {"s4.ssm.", "layer.layer.kernel."},
            {"s4.output_linear.", "layer.output_linear.0."},
            {"mlp.up.", "layer.ff.0.0."},
            {"mlp.down.", "layer.ff.2."},
        };
        for (const auto& [ours, theirs] : names)
            if (inner.starts_with(ours)) return prefix + theirs + inner.substr(ours.size());
        throw Error("no published name for " + rest);
    }

    std::string theirs(const std::string& name) const {
        const int64_t depth = static_cast<int64_t>(config.pools.size());
        const bool unet = config.form == UNetForm::unet;
        const auto number = [&](size_t at) { return std::stoll(name.substr(at)); };
        if (name.starts_with("pool.")) {
            const int64_t i = number(5);
            const std::string end = name.substr(name.rfind('.') + 1);
            if (name.find(".down.") != std::string::npos)
                return "backbone.d_layers." + std::to_string(unet ? i * (units + 1) + units : i) + ".linear." + end;
            return "backbone.u_layers." + std::to_string(depth - 1 - i) + ".0.linear." + end;
        }
        if (name.starts_with("centre.")) return unit_name(name.substr(7), "c_layers", 0);
        const size_t dot = name.find('.', name.find('.') + 1);
        if (name.starts_with("up."))
            return unit_name(name.substr(dot + 1), "u_layers." + std::to_string(depth - 1 - number(3)), 1);
        if (name.starts_with("down.")) return unit_name(name.substr(dot + 1), "d_layers", number(5) * (units + 1));
        if (name.starts_with("norm.")) return "backbone." + name;
        return name;
    }

    // Position in the published flat order of our element i of a pool's parameter.
    int64_t permuted(const std::string& name, int64_t i) const {
        if (!name.starts_with("pool.")) return i;
        const int64_t stage = std::stoll(name.substr(5));
        const int64_t p = config.pools[static_cast<size_t>(stage)];
        int64_t outer = config.width;
        for (int64_t s = 0; s < stage; ++s) outer *= config.pool_expand;
        const int64_t inner = outer * config.pool_expand;
        const auto flip = [&](int64_t g) { return (g % outer) * p + g / outer; };  // s H + h -> h p + s
        if (name.find(".down.weight") != std::string::npos)
            return i / (p * outer) * (p * outer) + flip(i % (p * outer));
        if (name.find(".up.weight") != std::string::npos) return flip(i / inner) * inner + i % inner;
        if (name.find(".up.bias") != std::string::npos) return flip(i);
        return i;
    }

    std::vector<double> in_our_order(const std::string& name, const std::vector<double>& theirs) const {
        std::vector<double> ours(theirs.size());
        for (size_t i = 0; i < ours.size(); ++i)
            ours[i] = theirs[static_cast<size_t>(permuted(name, static_cast<int64_t>(i)))];
        return ours;
    }
};

ModelConfig model_config_of(const SafeTensorsFile& file) {
    ModelConfig c;
    c.width = integer(file, "d_model");
    c.layers = integer(file, "n_layers");
    c.pools = integers(text(file, "pool"));
    c.pool_expand = integer(file, "expand");
    c.vocabulary = integer(file, "vocab");
    const bool unet = std::any_of(file.tensors().begin(), file.tensors().end(), [](const auto& t) {
        return t.first.starts_with("param.backbone.d_layers.") && t.first.find(".norm.") != std::string::npos;
    });
    c.form = unet ? UNetForm::unet : UNetForm::sashimi;
    const std::string mamba = "param.backbone.c_layers.0.layer.m.";
    if (file.contains(mamba + "A_log")) {
        c.outer = layer_by_name("mamba-s6");
        c.outer.ssm.state = file.at(mamba + "A_log").shape.at(1);
        c.outer.ssm.dt_rank = 0;
        c.outer.expand = file.at(mamba + "D").shape.at(0) / file.at(mamba + "in_proj.weight").shape.at(1);
        c.outer.conv_width = file.at(mamba + "conv1d.weight").shape.at(2);
    } else {
        c.outer = layer_by_name("s4-mlp");
        c.outer.ssm.state = 2 * file.at("param.backbone.c_layers.0.layer.layer.kernel.A_real").shape.at(1);
        c.outer.ff_expand = integer(file, "ff");
    }
    c.centre = c.outer;
    return c;
}

void judge_network(const SafeTensorsFile& file, const std::shared_ptr<Backend>& backend, DType dtype) {
    const ModelConfig config = model_config_of(file);
    const Naming naming(config);
    Network network(backend, config, dtype, 0, integer(file, "length"));
    network.parameters().allocate_gradients();
    size_t used = 0;
    for (const auto& p : network.parameters().all()) {
        const std::vector<double> values = file.values("param." + naming.theirs(p->name));
        ASSERT_EQ(static_cast<int64_t>(values.size()), p->value.size()) << p->name;
        upload_values(*backend, naming.in_our_order(p->name, values), p->value);
        ++used;
    }
    size_t given = 0;
    for (const auto& [name, tensor] : file.tensors()) given += name.starts_with("param.") ? 1 : 0;
    EXPECT_EQ(used, given) << "parameters of the file that the network does not have";

    const std::vector<double> sequence = file.values("in.tokens");
    const int64_t batch = file.at("in.tokens").shape[0], length = file.at("in.tokens").shape[1] - 1;
    std::vector<int32_t> inputs, next;
    for (int64_t b = 0; b < batch; ++b)
        for (int64_t t = 0; t < length; ++t) {
            inputs.push_back(static_cast<int32_t>(sequence[static_cast<size_t>(b * (length + 1) + t)]));
            next.push_back(static_cast<int32_t>(sequence[static_cast<size_t>(b * (length + 1) + t + 1)]));
        }
    const Tensor tokens = backend->allocate({batch, length}, DType::i32);
    const Tensor targets = backend->allocate({batch * length}, DType::i32);
    backend->upload(inputs.data(), tokens);
    backend->upload(next.data(), targets);

    Tape tape(*backend, true);
    const Var logits = network.forward(tape, tokens);
    const Tensor expected = load(*backend, file, "out.logits", dtype);
    expect_close(*backend, logits.value, expected, dtype, "logits");
    const Tensor losses = backend->allocate({batch * length}, dtype),
                 dlogits = backend->allocate(logits.shape(), dtype);
    backend->cross_entropy({.logits = logits.value,
                            .targets = targets,
                            .losses = losses,
                            .dlogits = dlogits,
                            .scale = 1.0 / static_cast<double>(batch * length)});
    const double loss = backend->sum(losses) / static_cast<double>(losses.size());
    const double expected_loss = file.values("out.loss_nats").at(0);
    EXPECT_NEAR(loss, expected_loss, tolerance(dtype) * expected_loss);

    tape.backward(logits, dlogits);
    for (const auto& p : network.parameters().all()) {
        const std::vector<double> gradient = file.values("grad.param." + naming.theirs(p->name));
        const Tensor want = backend->allocate(p->value.shape(), dtype);
        upload_values(*backend, naming.in_our_order(p->name, gradient), want);
        expect_close(*backend, p->gradient, want, dtype, "gradient of " + p->name);
    }

    NetworkState state = network.make_state(batch);
    const Tensor stepped = backend->allocate(expected.shape(), dtype);
    const Tensor one = backend->allocate({batch, 1}, DType::i32);
    const Tensor rows = stepped.reshaped({batch, length * config.vocabulary});
    for (int64_t t = 0; t < length; ++t) {
        backend->copy({.x = tokens.columns(t, 1), .y = one});
        backend->copy({.x = network.advance(one, state).reshaped({batch, config.vocabulary}),
                       .y = rows.columns(t * config.vocabulary, config.vocabulary)});
    }
    expect_close(*backend, stepped, expected, dtype, "logits sample by sample");
}

const Registration networks("sashimi_", judge_network);

}  // namespace
}  // namespace nigiri::golden
