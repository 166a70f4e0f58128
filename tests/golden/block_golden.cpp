// One Mamba block of the published code, with S6 (mamba_block) or with S4D in its place (mamba_s4_block): forward,
// every gradient, and the step form.
#include "model/block.h"
#include "tests/golden/golden.h"

namespace nigiri::golden {
namespace {

LayerConfig layer_config_of(const SafeTensorsFile& file) {
    const bool s6 = file.contains("param.A_log");
    LayerConfig c = layer_by_name(s6 ? "mamba-s6" : "mamba-s4");
    c.expand = integer(file, "expand");
    c.conv_width = integer(file, "d_conv");
    c.ssm.state = integer(file, "d_state");
    if (!s6 && text(file, "disc") == "bilinear") c.ssm.discretization = Discretization::bilinear;
    return c;
}

// "m.ssm.A_log" -> "A_log"; S4D's own parameters stand under s4.kernel.
std::string theirs(const std::string& name, bool s6) {
    std::string inner = name.substr(2);
    if (!inner.starts_with("ssm.")) return inner;
    inner = inner.substr(4);
    if (s6) return inner;
    return inner == "D" ? "s4.D" : "s4.kernel." + inner;
}

void judge_block(const SafeTensorsFile& file, const std::shared_ptr<Backend>& backend, DType dtype) {
    const LayerConfig config = layer_config_of(file);
    const bool s6 = config.ssm.kind == SsmKind::s6;
    const Tensor x = load(*backend, file, "in.x", dtype), dy = load(*backend, file, "in.dy", dtype);
    ParameterStore store(backend, dtype);
    Random random(1);
    const auto layer = make_mamba_layer(store, "m", x[2], config, x[1], random);
    store.allocate_gradients();
    for (const auto& p : store.all())
        backend->copy(
            {.x = load(*backend, file, "param." + theirs(p->name, s6), dtype, p->value.shape()), .y = p->value});

    Tape tape(*backend, true);
    bool received = false;
    const Var input = tape.record(x, [&](const Tensor& dx) {
        expect_close(*backend, dx, load(*backend, file, "grad.x", dtype), dtype, "gradient of x");
        received = true;
    });
    const Var y = layer->forward(tape, input);
    const Tensor expected = load(*backend, file, "out.y", dtype);
    expect_close(*backend, y.value, expected, dtype, "y");
    tape.backward(y, dy);
    EXPECT_TRUE(received);
    for (const auto& p : store.all()) {
        const std::string name = "grad.param." + theirs(p->name, s6);
        // A gradient that the file holds as float32 cannot be met closer than its rounding.
        const DType stored = file.at(name).dtype == "F32" ? DType::f32 : dtype;
        expect_close(*backend, p->gradient, load(*backend, file, name, dtype, p->value.shape()), stored,
                     "gradient of " + p->name);
    }

    LayerState state = layer->make_state(x[0]);
    const Tensor stepped = backend->allocate(x.shape(), dtype), one = backend->allocate({x[0], 1, x[2]}, dtype);
    for (int64_t t = 0; t < x[1]; ++t) {
        backend->copy({.x = x.reshaped({x[0], x[1] * x[2]}).columns(t * x[2], x[2]), .y = one.reshaped({x[0], x[2]})});
        const Tensor step = layer->advance(one, state);
        backend->copy(
            {.x = step.reshaped({x[0], x[2]}), .y = stepped.reshaped({x[0], x[1] * x[2]}).columns(t * x[2], x[2])});
    }
    expect_close(*backend, stepped, file.contains("out.y_step") ? load(*backend, file, "out.y_step", dtype) : expected,
                 dtype, "y step by step");
}

const Registration s6_block("mamba_block", judge_block);
const Registration s4_block("mamba_s4_block", judge_block);

}  // namespace
}  // namespace nigiri::golden
