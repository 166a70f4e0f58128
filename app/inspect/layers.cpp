#include "app/inspect/layers.h"

#include <algorithm>
#include <cmath>
#include <complex>

#include "audio/fft.h"
#include "model/generator.h"
#include "model/parameter.h"

namespace nigiri::app {

LayerKernels layer_kernels(const Network& network, const StateSpaceInfo& layer, int64_t length) {
    if (!layer.layer->time_invariant())
        throw Error(layer.name + " is a selective layer: what it does depends on the sound",
                    "look at its delta instead");
    if (length < 1) throw Error("a kernel needs a length");
    Backend& backend = network.backend();
    LayerKernels k;
    k.length = length, k.channels = layer.layer->channels(), k.stride = layer.stride;
    std::vector<double> impulse(static_cast<size_t>(length * k.channels), 0.0);
    std::fill_n(impulse.begin(), k.channels, 1.0);
    const Tensor u = backend.allocate({1, length, k.channels}, network.dtype());
    upload_values(backend, impulse, u);
    LayerState state = layer.layer->make_state(1);
    const std::vector<double> y = download_values(backend, layer.layer->advance(u, {}, state));
    k.values.resize(y.size());
    for (int64_t l = 0; l < length; ++l)
        for (int64_t c = 0; c < k.channels; ++c)
            k.values[static_cast<size_t>(c * length + l)] =
                static_cast<float>(y[static_cast<size_t>(l * k.channels + c)]);
    return k;
}

FrequencyResponse frequency_response(std::span<const float> kernel, double rate) {
    constexpr double lowest = 1e-6;  // -120 dB
    int size = 2;
    while (static_cast<size_t>(size) < 2 * kernel.size()) size *= 2;
    RealFft fft(size);
    std::vector<double> padded(static_cast<size_t>(size), 0.0);
    std::copy(kernel.begin(), kernel.end(), padded.begin());
    std::vector<std::complex<double>> spectrum(static_cast<size_t>(fft.bins()));
    fft.forward(padded, spectrum);
    FrequencyResponse r;
    for (size_t i = 0; i < spectrum.size(); ++i) {
        r.hertz.push_back(rate * static_cast<double>(i) / size);
        r.decibels.push_back(20 * std::log10(std::max(std::abs(spectrum[i]), lowest)));
    }
    return r;
}

LayerSteps layer_steps(const Network& network, const StateSpaceInfo& layer, std::span<const uint8_t> codes,
                       int64_t channel, const Progress& progress) {
    if (layer.layer->time_invariant())
        throw Error(layer.name + " has the same step sizes at all times", "look at its kernels instead");
    LayerSteps steps;
    steps.stride = layer.stride, steps.channels = layer.layer->channels();
    if (channel < 0 || channel >= steps.channels)
        throw Error(layer.name + " has channels 0 to " + std::to_string(steps.channels - 1));
    Backend& backend = network.backend();
    const int64_t unit = network.config().pool_product(), total = static_cast<int64_t>(codes.size());
    const int64_t piece = std::max<int64_t>(unit, 4096 / unit * unit);
    NetworkState state = network.make_state(1);
    state.blocks[layer.state].keep_delta = true;
    for (int64_t at = 0; at < total; at += piece) {
        if (progress && !progress(static_cast<double>(at) / static_cast<double>(total), "delta")) throw Cancelled();
        // Whole coarse steps, so that every layer is run once a piece; the zeros behind the end are left out below.
        const int64_t length = std::min(piece, total - at), whole = (length + unit - 1) / unit * unit;
        std::vector<int32_t> tokens(static_cast<size_t>(whole), 0);
        for (int64_t i = 0; i < length; ++i)
            tokens[static_cast<size_t>(i)] =
                at + i == 0 ? start_code(network.config()) : codes[static_cast<size_t>(at + i - 1)];
        const Tensor input = backend.allocate({1, whole}, DType::i32);
        backend.upload(tokens.data(), input);
        network.advance(input, state);
        const std::vector<double> delta = download_values(backend, state.blocks[layer.state].delta);
        const auto width = static_cast<size_t>(steps.channels);
        const auto rows = static_cast<size_t>((length + layer.stride - 1) / layer.stride);
        for (size_t r = 0; r < rows; ++r) {
            double sum = 0;
            for (size_t c = 0; c < width; ++c) sum += delta[r * width + c];
            steps.mean.push_back(static_cast<float>(sum / static_cast<double>(width)));
            steps.channel.push_back(static_cast<float>(delta[r * width + static_cast<size_t>(channel)]));
        }
    }
    return steps;
}

}  // namespace nigiri::app
