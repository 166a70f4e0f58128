// What Inspect shows is what the network does: kernels, step sizes, bits of every sample.
#include "app/inspect/layers.h"

#include <cmath>
#include <complex>

#include "app/inspect/surprise.h"
#include "model/evaluation.h"
#include "model/functions.h"
#include "model/generator.h"
#include "tests/support/check.h"

namespace nigiri::app {
namespace {

ModelConfig tiny(const std::string& layer, UNetForm form = UNetForm::unet) {
    ModelConfig c = preset_by_name("tiny").model;
    c.width = 8;
    c.layers = 2;
    c.pools = {2, 3};
    c.form = form;
    c.outer = c.centre = layer_by_name(layer);
    return c;
}

std::unique_ptr<Network> network(const std::string& layer, DType dtype = DType::f64, UNetForm form = UNetForm::unet) {
    return std::make_unique<Network>(make_backend("cpu", 1), tiny(layer, form), dtype, test::seed(), 600);
}

std::vector<uint8_t> codes(size_t n) {
    Random random(test::seed(), 5);
    std::vector<uint8_t> out(n);
    for (auto& c : out) c = static_cast<uint8_t>(random.below(256));
    return out;
}

std::vector<double> values(const Network& net, const std::string& name) {
    const Parameter* p = net.parameters().find(name);
    EXPECT_TRUE(p) << name;
    return p ? download_values(net.backend(), p->value) : std::vector<double>();
}

TEST(Layers, AreFoundInTheOrderOfTheSignal) {
    const auto net = network("s4-mlp");
    const auto layers = net->state_spaces();
    std::vector<std::string> names;
    std::vector<int64_t> strides;
    for (const auto& l : layers) {
        names.push_back(l.name), strides.push_back(l.stride);
        EXPECT_TRUE(net->parameters().find(l.name + ".s4.ssm.inv_dt")) << l.name;
        EXPECT_EQ(net->parameters().find(l.name + ".s4.ssm.inv_dt")->value.size(), l.layer->channels()) << l.name;
    }
    EXPECT_EQ(names, (std::vector<std::string>{"down.0.0", "down.0.1", "down.1.0", "down.1.1", "centre.0", "centre.1",
                                               "up.1.0", "up.1.1", "up.0.0", "up.0.1"}));
    EXPECT_EQ(strides, (std::vector<int64_t>{1, 1, 2, 2, 6, 6, 2, 2, 1, 1}));
    EXPECT_EQ(network("mamba-s4", DType::f32, UNetForm::sashimi)->state_spaces().front().name, "centre.0");
}

// The impulse response is the convolution kernel of training, plus the skip at step 0. Both are float64 sums of a few
// dozen terms of order one.
TEST(Layers, ImpulseResponseIsTheKernel) {
    SCOPED_TRACE(testing::Message() << "seed " << test::seed());
    constexpr int64_t length = 300;
    for (const std::string name : {"mamba-s4", "s4-mlp", "mamba-s4-dplr"}) {
        SCOPED_TRACE(name);
        const auto net = network(name);
        ParameterStore& store = net->parameters();
        for (const StateSpaceInfo& layer : net->state_spaces()) {
            SCOPED_TRACE(layer.name);
            const std::string prefix = layer.name + (name == "s4-mlp" ? ".s4.ssm." : ".mamba.ssm.");
            const auto p = [&](const char* of) { return store.find(prefix + of); };
            Tape tape(net->backend(), false);
            // The original S4's C is tied to the training length at the layer's own rate, which bounds its kernel.
            const int64_t n = std::min<int64_t>(length, 600 / layer.stride);
            const Var kernel =
                name == "mamba-s4-dplr"
                    ? functions::s4_kernel(
                          tape, {600 / layer.stride, p("inv_dt"), p("A_real"), p("A_imag"), p("P"), p("B"), p("C")}, n)
                    : functions::s4d_kernel(
                          tape, {true, Discretization::zoh, p("inv_dt"), p("A_real"), p("A_imag"), p("B"), p("C")}, n);
            const std::vector<double> expected = download_values(net->backend(), kernel.value);
            const std::vector<double> skip = values(*net, prefix + "D");
            const LayerKernels k = layer_kernels(*net, layer, n);
            ASSERT_EQ(k.channels, layer.layer->channels());
            ASSERT_EQ(k.length, n);
            EXPECT_EQ(k.stride, layer.stride);
            for (int64_t c = 0; c < k.channels; ++c)
                for (int64_t l = 0; l < n; ++l) {
                    const double e =
                        expected[static_cast<size_t>(c * n + l)] + (l == 0 ? skip[static_cast<size_t>(c)] : 0);
                    // The result is float32: half a unit in the last place, and what two summation orders differ by.
                    ASSERT_NEAR(k.channel(c)[static_cast<size_t>(l)], e, 1e-6 * std::max(1.0, std::abs(e)))
                        << "channel " << c << ", step " << l;
                }
        }
    }
}

TEST(Layers, SelectiveOnesHaveNoKernelAndOthersNoDelta) {
    const auto s6 = network("mamba-s6"), s4 = network("mamba-s4");
    EXPECT_THROW(layer_kernels(*s6, s6->state_spaces()[0], 10), Error);
    EXPECT_THROW(layer_steps(*s4, s4->state_spaces()[0], codes(10), 0), Error);
    EXPECT_THROW(layer_steps(*s6, s6->state_spaces()[0], codes(10), 16, {}), Error) << "channels are 0 to 15";
    EXPECT_THROW(layer_steps(*s6, s6->state_spaces()[0], codes(10), -1, {}), Error);
    EXPECT_THROW(layer_kernels(*s4, s4->state_spaces()[0], 0), Error);
}

TEST(Layers, FrequencyResponseOfOnePole) {
    // 1 / (1 - a exp(-i w)), cut off where it has fallen to 1e-16.
    constexpr double a = 0.9, rate = 8000;
    std::vector<float> kernel(350);
    for (size_t i = 0; i < kernel.size(); ++i) kernel[i] = static_cast<float>(std::pow(a, static_cast<double>(i)));
    const FrequencyResponse r = frequency_response(kernel, rate);
    EXPECT_EQ(r.hertz.front(), 0);
    EXPECT_EQ(r.hertz.back(), rate / 2);
    ASSERT_EQ(r.hertz.size(), r.decibels.size());
    for (size_t i = 0; i < r.hertz.size(); i += 7) {
        const double w = 2 * std::numbers::pi * r.hertz[i] / rate;
        const double expected = -20 * std::log10(std::abs(1.0 - std::polar(a, -w)));
        EXPECT_NEAR(r.decibels[i], expected, 1e-5) << r.hertz[i] << " Hz; the kernel is float32";
    }
    EXPECT_EQ(frequency_response(std::vector<float>(8), rate).decibels[3], -120) << "of nothing";
}

// y = x W^T for a row.
std::vector<double> times(const std::vector<double>& weight, const std::vector<double>& x) {
    std::vector<double> y(weight.size() / x.size(), 0.0);
    for (size_t i = 0; i < y.size(); ++i)
        for (size_t j = 0; j < x.size(); ++j) y[i] += weight[i * x.size() + j] * x[j];
    return y;
}

// The first block of a U-Net sees the embedding itself: delta can be worked out from the parameters alone.
TEST(Layers, DeltaIsTheSoftplusOfTheProjection) {
    SCOPED_TRACE(testing::Message() << "seed " << test::seed());
    const auto net = network("mamba-s6");
    const std::vector<uint8_t> sound = codes(50);
    const std::string block = "down.0.0.", mamba = block + "mamba.", ssm = mamba + "ssm.";
    const auto embedding = values(*net, "embedding.weight"), weight = values(*net, block + "norm.weight"),
               bias = values(*net, block + "norm.bias"), in_proj = values(*net, mamba + "in_proj.weight"),
               conv = values(*net, mamba + "conv1d.weight"), conv_bias = values(*net, mamba + "conv1d.bias"),
               x_proj = values(*net, ssm + "x_proj.weight"), dt_proj = values(*net, ssm + "dt_proj.weight"),
               dt_bias = values(*net, ssm + "dt_proj.bias");
    const size_t width = 8, inner = 16, taps = conv.size() / inner, rank = dt_proj.size() / inner;
    std::vector<std::vector<double>> before_conv;
    std::vector<double> mean, channel;
    for (size_t l = 0; l < sound.size(); ++l) {
        const auto token = static_cast<size_t>(l == 0 ? start_code(net->config()) : sound[l - 1]);
        std::vector<double> x(embedding.begin() + static_cast<std::ptrdiff_t>(token * width),
                              embedding.begin() + static_cast<std::ptrdiff_t>((token + 1) * width));
        double average = 0, variance = 0;
        for (const double v : x) average += v / width;
        for (const double v : x) variance += (v - average) * (v - average) / width;
        for (size_t i = 0; i < width; ++i)
            x[i] = weight[i] * (x[i] - average) / std::sqrt(variance + net->config().norm_eps) + bias[i];
        std::vector<double> xz = times(in_proj, x);
        xz.resize(inner);  // the gate follows
        before_conv.push_back(xz);
        std::vector<double> u(inner);
        for (size_t d = 0; d < inner; ++d) {
            double p = conv_bias[d];
            for (size_t k = 0; k < taps; ++k)
                if (l + k + 1 >= taps) p += conv[d * taps + k] * before_conv[l + k + 1 - taps][d];
            u[d] = p / (1 + std::exp(-p));
        }
        std::vector<double> low = times(x_proj, u);
        low.resize(rank);
        const std::vector<double> raw = times(dt_proj, low);
        double sum = 0;
        for (size_t d = 0; d < inner; ++d) {
            const double delta = std::log1p(std::exp(raw[d] + dt_bias[d]));
            sum += delta / inner;
            if (d == 3) channel.push_back(delta);
        }
        mean.push_back(sum);
    }
    const LayerSteps steps = layer_steps(*net, net->state_spaces()[0], sound, 3);
    EXPECT_EQ(steps.channels, 16);
    ASSERT_EQ(steps.mean.size(), sound.size());
    ASSERT_EQ(steps.channel.size(), sound.size());
    for (size_t l = 0; l < sound.size(); ++l) {
        EXPECT_NEAR(steps.mean[l], mean[l], 1e-6 * mean[l]) << l << ": float32 results";
        EXPECT_NEAR(steps.channel[l], channel[l], 1e-6 * channel[l]) << l;
    }
}

TEST(Layers, DeltaHasOneValueAStepWhateverTheLength) {
    const auto net = network("mamba-s6", DType::f32);
    for (const StateSpaceInfo& layer : net->state_spaces()) {
        const LayerSteps whole = layer_steps(*net, layer, codes(5000), 0);
        ASSERT_EQ(whole.mean.size(), static_cast<size_t>((5000 + layer.stride - 1) / layer.stride)) << layer.name;
        for (const float v : whole.mean) ASSERT_GT(v, 0) << layer.name;
        // Causal: a beginning alone gives the same beginning, across the border between two pieces too.
        const LayerSteps part = layer_steps(*net, layer, codes(4200), 0);
        for (size_t i = 0; i < part.mean.size(); ++i)
            ASSERT_NEAR(part.mean[i], whole.mean[i], 1e-5 * whole.mean[i]) << layer.name << ", step " << i;
    }
    EXPECT_TRUE(layer_steps(*net, net->state_spaces()[0], {}, 0).mean.empty());
    EXPECT_THROW(layer_steps(*net, net->state_spaces()[0], codes(9000), 0,
                             [](double done, const std::string&) { return done < 0.3; }),
                 Cancelled);
}

TEST(Surprise, SumsToTheExactBits) {
    SCOPED_TRACE(testing::Message() << "seed " << test::seed());
    for (const std::string layer : {"mamba-s4", "mamba-s6"}) {
        const auto net = network(layer, DType::f32);
        for (const size_t n : {1u, 5u, 6u, 4096u, 4113u, 9000u}) {
            const std::vector<uint8_t> sound = codes(n);
            const std::vector<float> bits = sample_bits(*net, sound);
            ASSERT_EQ(bits.size(), n);
            double sum = 0;
            for (const float b : bits) sum += static_cast<double>(b);
            const double exact = evaluate_sequence(*net, sound).bits;
            EXPECT_NEAR(sum, exact, 1e-6 * exact) << layer << ", " << n << " samples";
        }
        EXPECT_TRUE(sample_bits(*net, {}).empty());
    }
}

TEST(Surprise, IsThatOfEverySample) {
    const auto net = network("mamba-s4", DType::f64);
    const std::vector<uint8_t> sound = codes(40);
    std::vector<int32_t> tokens = {start_code(net->config())};
    tokens.insert(tokens.end(), sound.begin(), sound.end() - 1);
    const Tensor input = net->backend().allocate({1, 40}, DType::i32);
    net->backend().upload(tokens.data(), input);
    const std::vector<double> logits = download_values(net->backend(), net->logits(input));
    const std::vector<float> bits = sample_bits(*net, sound);
    for (size_t i = 0; i < sound.size(); ++i) {
        double all = 0;
        for (size_t c = 0; c < 256; ++c) all += std::exp(logits[i * 256 + c]);
        const double expected = -std::log2(std::exp(logits[i * 256 + sound[i]]) / all);
        EXPECT_NEAR(bits[i], expected, 1e-6 * expected) << i << ": float32 result";
    }
}

TEST(Surprise, CanBeCancelled) {
    const auto net = network("mamba-s4", DType::f32);
    double last = 0;
    EXPECT_THROW(sample_bits(*net, codes(9000),
                             [&](double done, const std::string&) {
                                 last = done;
                                 return done < 0.4;
                             }),
                 Cancelled);
    EXPECT_GT(last, 0.4);
    EXPECT_LT(last, 0.99);
}

TEST(Surprise, IsSmoothed) {
    const std::vector<float> x = {0, 0, 4, 0, 0, 0};
    EXPECT_EQ(smoothed(x, 1), x);
    EXPECT_EQ(smoothed(x, 2), (std::vector<float>{0, 0, 2, 2, 0, 0}));
    EXPECT_EQ(smoothed(x, 4), (std::vector<float>{0, 4.0f / 3, 1, 1, 1, 0}));
    EXPECT_TRUE(smoothed({}, 3).empty());
}

TEST(Surprise, PlacesAreRankedAndApart) {
    std::vector<float> bits(1000, 1.0f);
    for (size_t i = 200; i < 240; ++i) bits[i] = 5;
    for (size_t i = 700; i < 740; ++i) bits[i] = 3;
    const auto places = most_surprising(bits, 40, 100, 2);
    ASSERT_EQ(places.size(), 2u);
    EXPECT_EQ(places[0].begin, 200);
    EXPECT_EQ(places[0].end, 240);
    EXPECT_DOUBLE_EQ(places[0].mean_bits, 5);
    EXPECT_NEAR(places[0].share, 200.0 / (920 + 200 + 120), 1e-12);
    EXPECT_EQ(places[1].begin, 700);
    const auto all = most_surprising(bits, 40, 100, 99);
    for (const auto& p : all)
        for (const auto& q : all)
            if (p.begin < q.begin) {
                EXPECT_GE(q.begin - p.end, 100);
            }
    EXPECT_EQ(most_surprising(std::vector<float>(3, 2.0f), 50, 0, 5).size(), 1u) << "shorter than a window";
    EXPECT_TRUE(most_surprising({}, 50, 0, 5).empty());
}

}  // namespace
}  // namespace nigiri::app
