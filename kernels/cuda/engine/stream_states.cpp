#include "kernels/cuda/engine/stream_states.h"

#include <complex>

#include "kernels/error.h"

namespace nigiri::cuda::engine {

namespace {

// One layer's view of a group's state. Arrays have the stream in different places; these are their indices.
struct View {
    const LayerSource& source;
    const Layer& layer;
    int64_t streams, stream;
    int64_t step;  // of the layer's stage

    int64_t place(int64_t channel) const { return (step + channel / channel_tile) & block_mask; }
    size_t block_row(int32_t base, int64_t channel, int64_t at) const {
        const int64_t row = (channel / channel_tile * block_samples + at) * channel_tile + channel % channel_tile;
        return static_cast<size_t>(base + row * streams + stream);
    }
    size_t begin(int64_t channel) const { return static_cast<size_t>(layer.s4d.begin + channel * streams + stream); }
    size_t s4d_h(int64_t channel, int64_t n) const {
        return static_cast<size_t>(layer.s4d.h + ((channel * streams + stream) * layer.s4d.modes + n) * 2);
    }
    size_t s4_h(int64_t channel, int64_t n) const {
        return static_cast<size_t>(layer.s4.h + ((channel * streams + stream) * layer.s4.modes + n) * 2);
    }
    size_t s6_h(int64_t part, int64_t channel, int64_t n) const {
        return static_cast<size_t>(layer.s6.h +
                                   ((part * streams + stream) * source.channels + channel) * layer.s6.numbers + n);
    }
    // The convolution's input of `delay` steps before the next one.
    size_t conv(int64_t delay, int64_t channel) const {
        return static_cast<size_t>(layer.conv + (channel * streams + stream) * most_taps + delay - 1);
    }
    // In S4dDiscretize's planar order.
    size_t planar(int64_t part, int64_t n, int64_t channel) const {
        return static_cast<size_t>((part * source.states + n) * source.channels + channel);
    }
    std::complex<double> factor(const std::vector<float>& f, int64_t n, int64_t channel) const {
        return {f[planar(0, n, channel)], source.is_complex ? f[planar(1, n, channel)] : 0.0f};
    }
};

size_t ssm_size(const LayerSource& s, const Layer& layer) {
    const bool pairs = layer.ssm == SsmPart::s4 || s.is_complex;
    return static_cast<size_t>(s.channels * s.states * (pairs ? 2 : 1));
}

size_t conv_size(const LayerSource& s) { return static_cast<size_t>(s.taps > 1 ? (s.taps - 1) * s.channels : 0); }

void read_ssm(const View& v, const float* group, std::vector<double>& out) {
    const LayerSource& s = v.source;
    for (int64_t d = 0; d < s.channels; ++d)
        for (int64_t n = 0; n < s.states; ++n) {
            if (v.layer.ssm == SsmPart::s6) {
                for (int64_t p = 0; p < (s.is_complex ? 2 : 1); ++p)
                    out[static_cast<size_t>((d * s.states + n) * (s.is_complex ? 2 : 1) + p)] = group[v.s6_h(p, d, n)];
                continue;
            }
            if (v.layer.ssm == SsmPart::s4) {
                const auto at = static_cast<size_t>(2 * (d * s.states + n));
                out[at] = group[v.s4_h(d, n)], out[at + 1] = group[v.s4_h(d, n) + 1];
                continue;
            }
            const std::complex<double> a = v.factor(s.abar, n, d);
            std::complex<double> h(group[v.s4d_h(d, n)], group[v.s4d_h(d, n) + 1]);
            for (auto i = static_cast<int64_t>(group[v.begin(d)]); i < v.place(d); ++i)
                h = a * h + static_cast<double>(group[v.block_row(v.layer.s4d.inputs, d, i)]);
            out[v.planar(0, n, d)] = h.real();
            if (s.is_complex) out[v.planar(1, n, d)] = h.imag();
        }
}

void write_s4d(const View& v, float* group, const std::vector<double>& in) {
    const LayerSource& s = v.source;
    for (int64_t d = 0; d < s.channels; ++d) {
        const int64_t place = v.place(d);
        std::vector<double> pre(block_samples);
        for (int64_t n = 0; n < s.states; ++n) {
            const std::complex<double> a = v.factor(s.abar, n, d);
            const std::complex<double> h(in[v.planar(0, n, d)], s.is_complex ? in[v.planar(1, n, d)] : 0.0);
            group[v.s4d_h(d, n)] = static_cast<float>(h.real());
            group[v.s4d_h(d, n) + 1] = static_cast<float>(h.imag());
            std::complex<double> w = v.factor(s.cbar, n, d) * h;
            for (int64_t j = place; j < block_samples; ++j) w *= a, pre[static_cast<size_t>(j)] += w.real();
        }
        group[v.begin(d)] = static_cast<float>(place);
        for (int64_t j = 0; j < block_samples; ++j) {
            group[v.block_row(v.layer.s4d.inputs, d, j)] = 0;
            group[v.block_row(v.layer.s4d.pre, d, j)] = static_cast<float>(pre[static_cast<size_t>(j)]);
        }
    }
}

void write_ssm(const View& v, float* group, const std::vector<double>& in) {
    const LayerSource& s = v.source;
    if (v.layer.ssm == SsmPart::s4d) return write_s4d(v, group, in);
    for (int64_t d = 0; d < s.channels; ++d)
        for (int64_t n = 0; n < s.states; ++n) {
            if (v.layer.ssm == SsmPart::s6) {
                for (int64_t p = 0; p < (s.is_complex ? 2 : 1); ++p)
                    group[v.s6_h(p, d, n)] =
                        static_cast<float>(in[static_cast<size_t>((d * s.states + n) * (s.is_complex ? 2 : 1) + p)]);
            } else {
                const auto at = static_cast<size_t>(2 * (d * s.states + n));
                group[v.s4_h(d, n)] = static_cast<float>(in[at]);
                group[v.s4_h(d, n) + 1] = static_cast<float>(in[at + 1]);
            }
        }
}

// Calls f(view) for every layer that has a state.
template <class F>
void for_layers(const Image& image, int stream, int64_t position, F&& f) {
    for (const LayerSource& s : image.sources)
        f(View{s, image.layers[static_cast<size_t>(s.layer)], image.program.streams, stream, position / s.stride});
}

// Calls f(pool, which, row, index) for every number of the pools' buffers; which: 0 down, 1 up.
template <class F>
void for_pools(const Image& image, int stream, F&& f) {
    for (size_t i = 0; i + 1 < image.stages.size(); ++i) {
        const Stage& stage = image.stages[i];
        for (int which = 0; which < 2; ++which)
            for (int row = 0; row < stage.factor * stage.width; ++row)
                f(i, which, static_cast<size_t>(row),
                  static_cast<size_t>((which == 0 ? stage.down : stage.up) + row * image.program.streams + stream));
    }
}

}  // namespace

void check_state(const Image& image, const StreamState& state) {
    bool fits = state.position >= 0 && state.blocks.size() == image.block_count &&
                state.down.size() + 1 == image.stages.size() && state.up.size() == state.down.size();
    for (size_t i = 0; fits && i < image.sources.size(); ++i) {
        const LayerSource& s = image.sources[i];
        const StreamState::Block& b = state.blocks[s.block];
        fits = b.ssm.size() == ssm_size(s, image.layers[static_cast<size_t>(s.layer)]) &&
               (s.taps <= 1 || b.conv.size() == conv_size(s));
    }
    for (size_t i = 0; fits && i < state.down.size(); ++i) {
        const auto size = static_cast<size_t>(image.stages[i].factor * image.stages[i].width);
        fits = state.down[i].size() == size && state.up[i].size() == size;
    }
    if (!fits) throw Error("a stream's state does not fit the engine's model");
}

StreamState read_stream(const Image& image, const float* group, int stream, int64_t position, int64_t reported) {
    StreamState state;
    state.position = reported;
    state.blocks.resize(image.block_count);
    for_layers(image, stream, position, [&](const View& v) {
        StreamState::Block& b = state.blocks[v.source.block];
        b.ssm.resize(ssm_size(v.source, v.layer));
        read_ssm(v, group, b.ssm);
        b.conv.resize(conv_size(v.source));
        for (int64_t delay = 1; delay < v.source.taps; ++delay)
            for (int64_t d = 0; d < v.source.channels; ++d)
                b.conv[static_cast<size_t>((v.source.taps - 1 - delay) * v.source.channels + d)] =
                    group[v.conv(delay, d)];
    });
    state.down.resize(image.stages.size() - 1), state.up.resize(image.stages.size() - 1);
    for_pools(image, stream, [&](size_t pool, int which, size_t, size_t index) {
        (which == 0 ? state.down : state.up)[pool].push_back(group[index]);
    });
    return state;
}

void write_stream(const Image& image, float* group, int stream, int64_t position, const StreamState& state) {
    for_layers(image, stream, position, [&](const View& v) {
        const StreamState::Block& b = state.blocks[v.source.block];
        write_ssm(v, group, b.ssm);
        for (int64_t delay = 1; delay < v.source.taps; ++delay)
            for (int64_t d = 0; d < v.source.channels; ++d)
                group[v.conv(delay, d)] =
                    b.conv[static_cast<size_t>((v.source.taps - 1 - delay) * v.source.channels + d)];
    });
    for_pools(image, stream, [&](size_t pool, int which, size_t row, size_t index) {
        group[index] = (which == 0 ? state.down : state.up)[pool][row];
    });
}

}  // namespace nigiri::cuda::engine
