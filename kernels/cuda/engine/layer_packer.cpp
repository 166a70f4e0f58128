#include "kernels/cuda/engine/layer_packer.h"

#include <cmath>
#include <numbers>

#include "kernels/error.h"

namespace nigiri::cuda::engine {

namespace {

int64_t rounded_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

void require(bool holds, const char* what) {
    if (!holds) throw Error(std::string("the CUDA engine was given a program whose ") + what);
}

void check_map(const LinearMap& map, int64_t outputs, int64_t inputs, const char* what) {
    require(map.outputs == outputs && map.inputs == inputs && outputs > 0 && inputs > 0 &&
                map.weight.size() == static_cast<size_t>(outputs * inputs) &&
                (map.bias.empty() || map.bias.size() == static_cast<size_t>(outputs)),
            what);
}

bool is_size(size_t size, int64_t expected) { return static_cast<int64_t>(size) == expected; }

void check_state_space(const StateSpaceMap& ssm, int64_t channels) {
    require(ssm.channels == channels && ssm.states > 0 && is_size(ssm.skip.size(), channels),
            "state space does not fit its block");
    const int64_t numbers = channels * ssm.states * (ssm.is_complex ? 2 : 1);
    if (ssm.kind == StateSpaceKind::s4d) {
        require(is_size(ssm.abar.size(), numbers) && is_size(ssm.cbar.size(), numbers), "S4D factors are incomplete");
    } else if (ssm.kind == StateSpaceKind::s4) {
        for (const auto* v : {&ssm.a, &ssm.f, &ssm.g, &ssm.b, &ssm.c})
            require(is_size(v->size(), channels * ssm.states), "S4 factors are incomplete");
    } else {
        const int64_t row = ssm.states * (ssm.is_complex ? 2 : 1);
        const int64_t rows = ssm.dt_rank + (ssm.selective_b ? row : 0) + (ssm.selective_c ? row : 0);
        require(ssm.dt_rank >= 0 && is_size(ssm.delta_bias.size(), channels) && is_size(ssm.poles.size(), numbers) &&
                    (ssm.selective_b || is_size(ssm.constant_b.size(), numbers)) &&
                    (ssm.selective_c || is_size(ssm.constant_c.size(), numbers)),
                "S6 parameters are incomplete");
        if (rows > 0) check_map(ssm.x_proj, rows, channels, "x_proj does not fit its layer");
        if (ssm.dt_rank > 0) check_map(ssm.dt_proj, channels, ssm.dt_rank, "dt_proj does not fit its layer");
    }
}

void pack_s4d(const StateSpaceMap& ssm, int64_t tiles, int streams, std::vector<float>& constants, StateRoom& room,
              S4dPart& part, std::vector<float>& of_channels) {
    const int64_t channels = ssm.channels, states = ssm.states, modes = rounded_up(states, warp_lanes);
    const int64_t padded = tiles * channel_tile, plane = states * channels;
    std::vector<float> abar(static_cast<size_t>(padded * modes * 2)), cbar = abar;
    std::vector<float> taps(static_cast<size_t>(padded * block_samples));
    for (int64_t d = 0; d < channels; ++d) {
        std::vector<double> kernel(block_samples);
        for (int64_t n = 0; n < states; ++n) {
            const auto from = static_cast<size_t>(n * channels + d), imaginary = from + static_cast<size_t>(plane);
            const auto at = static_cast<size_t>((d * modes + n) * 2);
            abar[at] = ssm.abar[from], cbar[at] = ssm.cbar[from];
            if (ssm.is_complex) abar[at + 1] = ssm.abar[imaginary], cbar[at + 1] = ssm.cbar[imaginary];
            const std::complex<double> a(abar[at], abar[at + 1]);
            std::complex<double> v(cbar[at], cbar[at + 1]);
            for (double& tap : kernel) tap += v.real(), v *= a;
        }
        for (int64_t i = 0; i < block_samples; ++i)
            taps[static_cast<size_t>((d / channel_tile * block_samples + i) * channel_tile + d % channel_tile)] =
                static_cast<float>(kernel[static_cast<size_t>(i)]);
        of_channels[static_cast<size_t>(d * ChannelConstants::size + ChannelConstants::parts + 1)] =
            static_cast<float>(kernel[0] + static_cast<double>(ssm.skip[static_cast<size_t>(d)]));
    }
    part.modes = static_cast<int32_t>(modes);
    part.kernel = append(constants, taps);
    part.abar = append(constants, abar);
    part.cbar = append(constants, cbar);
    part.h = room.take(padded * streams * modes * 2);
    part.inputs = room.take(padded * block_samples * streams);
    part.pre = room.take(padded * block_samples * streams);
    part.begin = room.take(padded * streams);
}

void pack_s6(const StateSpaceMap& ssm, int streams, std::vector<float>& constants, StateRoom& room, S6Part& part) {
    const int64_t channels = ssm.channels, states = ssm.states;
    part.is_complex = ssm.is_complex;
    part.selective_b = ssm.selective_b, part.selective_c = ssm.selective_c;
    part.discretization = ssm.discretization;
    while (part.lane_bits < 3 && 4 << part.lane_bits < states) ++part.lane_bits;
    const int64_t lanes = int64_t{4} << part.lane_bits, numbers = rounded_up(states, lanes);
    part.numbers = static_cast<int32_t>(numbers);
    part.rounds = static_cast<int32_t>(numbers / lanes);
    part.rank = static_cast<int32_t>(rounded_up(ssm.dt_rank, 4));
    const auto rows = static_cast<int32_t>(numbers * (ssm.is_complex ? 2 : 1));
    part.b_row = part.rank;
    part.c_row = part.b_row + (ssm.selective_b ? rows : 0);
    part.projected = part.c_row + (ssm.selective_c ? rows : 0);

    std::vector<float> delta(static_cast<size_t>(channels * part.rank));
    for (int64_t d = 0; d < channels; ++d)
        for (int64_t r = 0; r < ssm.dt_rank; ++r)
            delta[static_cast<size_t>(d * part.rank + r)] =
                ssm.dt_proj.weight[static_cast<size_t>(d * ssm.dt_rank + r)];
    part.delta = append(constants, delta);
    std::vector<float> bias = ssm.delta_bias;
    if (ssm.dt_rank > 0 && !ssm.dt_proj.bias.empty())
        for (size_t d = 0; d < bias.size(); ++d) bias[d] += ssm.dt_proj.bias[d];
    part.delta_bias = append(constants, bias);

    // Planes (channel, numbers) of (D, N) or (D, N, 2) values; zeros where there is no state.
    const auto planes = [&](const std::vector<float>& values, int count, const std::function<float(int, double)>& map) {
        std::vector<float> all(static_cast<size_t>(count * channels * numbers));
        const int parts = ssm.is_complex ? 2 : 1;
        for (int p = 0; p < count; ++p)
            for (int64_t d = 0; d < channels; ++d)
                for (int64_t n = 0; n < states && p % 2 < parts; ++n)
                    all[static_cast<size_t>((p * channels + d) * numbers + n)] =
                        map(p, values[static_cast<size_t>((d * states + n) * parts + p % 2)]);
        return append(constants, all);
    };
    part.poles = planes(ssm.poles, 4, [](int p, double x) {
        return static_cast<float>(p == 0 ? x * std::numbers::log2e : p == 1 ? x * std::numbers::inv_pi : x);
    });
    const auto same = [](int, double x) { return static_cast<float>(x); };
    if (!ssm.selective_b) part.b = planes(ssm.constant_b, 2, same);
    if (!ssm.selective_c) part.c = planes(ssm.constant_c, 2, same);
    part.h = room.take((ssm.is_complex ? 2 : 1) * streams * channels * numbers);
}

void pack_s4(const StateSpaceMap& ssm, int streams, std::vector<float>& constants, StateRoom& room, S4Part& part) {
    const int64_t channels = ssm.channels, states = ssm.states, modes = rounded_up(states, warp_lanes);
    std::vector<float> factors(static_cast<size_t>(channels * 5 * modes * 2));
    const std::vector<std::complex<double>>* sources[] = {&ssm.a, &ssm.f, &ssm.g, &ssm.b, &ssm.c};
    for (int64_t d = 0; d < channels; ++d)
        for (int64_t i = 0; i < 5; ++i)
            for (int64_t n = 0; n < states; ++n) {
                const auto x = (*sources[i])[static_cast<size_t>(d * states + n)];
                const auto at = static_cast<size_t>(((d * 5 + i) * modes + n) * 2);
                factors[at] = static_cast<float>(x.real()), factors[at + 1] = static_cast<float>(x.imag());
            }
    part.modes = static_cast<int32_t>(modes);
    part.factors = append(constants, factors);
    part.h = room.take(channels * streams * modes * 2);
}

}  // namespace

int32_t StateRoom::take(int64_t floats) {
    const int64_t end = size_ + rounded_up(floats, 4);
    if (end > INT32_MAX) throw Error("this model's states are too large for the CUDA engine", "use the plain path");
    const int32_t at = size_;
    size_ = static_cast<int32_t>(end);
    return at;
}

int32_t append(std::vector<float>& constants, const std::vector<float>& values) {
    constants.resize(static_cast<size_t>(rounded_up(static_cast<int64_t>(constants.size()), 4)));
    const size_t at = constants.size();
    if (at + values.size() > INT32_MAX)
        throw Error("this model's parameters are too many for the CUDA engine", "use the plain path");
    constants.insert(constants.end(), values.begin(), values.end());
    return static_cast<int32_t>(at);
}

void check_step(const BlockStep& step, int64_t width) {
    const size_t norm = step.norm.kind == NormKind::scalar ? 1 : static_cast<size_t>(width);
    require(step.norm.width == width && step.norm.weight.size() == norm &&
                (step.norm.kind == NormKind::rms || step.norm.bias.size() == norm),
            "norm does not fit its block");
    if (step.kind == BlockStepKind::mlp) {
        check_map(step.in, step.in.outputs, width, "MLP does not fit its stage");
        check_map(step.out, width, step.in.outputs, "MLP does not fit its stage");
        return;
    }
    if (step.kind == BlockStepKind::s4) {
        check_state_space(step.ssm, width);
        check_map(step.out, step.glu ? 2 * width : width, width, "S4 block does not fit its stage");
        return;
    }
    const int64_t inner = step.ssm.channels;
    check_state_space(step.ssm, inner);
    check_map(step.in, 2 * inner, width, "Mamba block does not fit its stage");
    check_map(step.out, width, inner, "Mamba block does not fit its stage");
    require(step.taps >= 1 && step.taps <= 8 && is_size(step.conv_weight.size(), inner * step.taps) &&
                is_size(step.conv_bias.size(), inner),
            "short convolution does not fit its block");
}

Layer pack_layer(const BlockStep& step, int streams, std::vector<float>& constants, StateRoom& room,
                 LayerSource& source) {
    Layer layer;
    layer.kind = step.kind;
    const StateSpaceMap& ssm = step.ssm;
    layer.channels = static_cast<int32_t>(ssm.channels);
    layer.channel_tiles = static_cast<int32_t>((ssm.channels + channel_tile - 1) / channel_tile);
    const int64_t padded = layer.channel_tiles * channel_tile;
    std::vector<float> of_channels(static_cast<size_t>(padded * ChannelConstants::size));
    for (int64_t d = 0; d < ssm.channels; ++d) {
        const auto from = static_cast<size_t>(d);
        float* own = of_channels.data() + d * ChannelConstants::size;
        float *parts = own + ChannelConstants::parts, *taps = own + ChannelConstants::taps;
        parts[1] = ssm.skip[from];
        if (step.kind != BlockStepKind::mamba) {
            const size_t n = step.norm.kind == NormKind::scalar ? 0 : from;
            parts[2] = step.norm.weight[n];
            if (step.norm.kind == NormKind::layer) parts[3] = step.norm.bias[n];
            continue;
        }
        parts[0] = step.conv_bias[from];
        for (int64_t delay = 0; delay < step.taps; ++delay)
            taps[delay] = step.conv_weight[static_cast<size_t>(d * step.taps + step.taps - 1 - delay)];
    }
    if (step.kind == BlockStepKind::mamba) {
        layer.conv = room.take(padded * streams * most_taps);
        layer.taps = static_cast<int32_t>(step.taps), source.taps = step.taps;
    }
    if (ssm.kind == StateSpaceKind::s4d) {
        layer.ssm = SsmPart::s4d;
        pack_s4d(ssm, layer.channel_tiles, streams, constants, room, layer.s4d, of_channels);
        source.abar = ssm.abar, source.cbar = ssm.cbar;
    } else if (ssm.kind == StateSpaceKind::s6) {
        layer.ssm = SsmPart::s6;
        pack_s6(ssm, streams, constants, room, layer.s6);
    } else {
        layer.ssm = SsmPart::s4;
        pack_s4(ssm, streams, constants, room, layer.s4);
    }
    layer.constants = append(constants, of_channels);
    source.channels = ssm.channels, source.states = ssm.states, source.is_complex = ssm.is_complex;
    return layer;
}

std::vector<SourceRow> projection_rows(const StateSpaceMap& ssm, const S6Part& part) {
    std::vector<SourceRow> rows(static_cast<size_t>(part.projected));
    const std::vector<SourceRow> sources = MatrixPacker::rows_of(ssm.x_proj);
    const auto row = [&](int64_t i) { return sources[static_cast<size_t>(i)]; };
    int64_t from = 0;
    for (; from < ssm.dt_rank; ++from) rows[static_cast<size_t>(from)] = row(from);
    const int64_t parts = ssm.is_complex ? 2 : 1;
    const auto add = [&](int32_t first) {
        for (int64_t n = 0; n < ssm.states; ++n)
            for (int64_t p = 0; p < parts; ++p) rows[static_cast<size_t>(first + p * part.numbers + n)] = row(from++);
    };
    if (ssm.selective_b) add(part.b_row);
    if (ssm.selective_c) add(part.c_row);
    return rows;
}

}  // namespace nigiri::cuda::engine
