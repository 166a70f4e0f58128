#include "kernels/cpu/engine/packed_matrix.h"

#include <algorithm>
#include <cmath>

#include "kernels/half.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/engine/packed_matrix.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

#ifndef NIGIRI_PACKED_MATRIX_ONCE
#define NIGIRI_PACKED_MATRIX_ONCE
namespace nigiri::cpu {

struct Product {
    const PackedMatrix::Panel* panels;
    size_t panel_count;
    int64_t inputs;
    Rows x, y;
    int64_t streams;
    bool add;
};

}  // namespace nigiri::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace nigiri::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using Tag = hn::ScalableTag<float>;
using V = hn::Vec<Tag>;
constexpr int lanes = static_cast<int>(hn::MaxLanes(Tag()));
constexpr bool many_registers = HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON;

// The three formats: vector `v` of a panel's weights for a pair of neighbouring inputs, `width` outputs wide.
struct Float32 {
    using T = float;
    static constexpr bool scaled = false;
    static constexpr int64_t per_pair = 2;  // elements an output and a pair of inputs
    HWY_INLINE static void load(const float* pair, int64_t width, int v, V& even, V& odd) {
        even = hn::LoadU(Tag(), pair + v * lanes);
        odd = hn::LoadU(Tag(), pair + width + v * lanes);
    }
};
// One word for both: the odd input's weight above, the even one's below.
struct Bfloat16Pairs {
    using T = uint32_t;
    static constexpr bool scaled = false;
    static constexpr int64_t per_pair = 1;
    HWY_INLINE static void load(const uint32_t* pair, int64_t, int v, V& even, V& odd) {
        const hn::RebindToUnsigned<Tag> words;
        const auto both = hn::LoadU(words, pair + v * lanes);
        even = hn::BitCast(Tag(), hn::ShiftLeft<16>(both));
        odd = hn::BitCast(Tag(), hn::And(both, hn::Set(words, 0xffff0000u)));
    }
};
struct Int8 {
    using T = int8_t;
    static constexpr bool scaled = true;
    static constexpr int64_t per_pair = 2;
    HWY_INLINE static V widened(const int8_t* p) {
        const hn::RebindToSigned<Tag> words;
        const hn::Rebind<int8_t, Tag> bytes;
        return hn::ConvertTo(Tag(), hn::PromoteTo(words, hn::LoadU(bytes, p)));
    }
    HWY_INLINE static void load(const int8_t* pair, int64_t width, int v, V& even, V& odd) {
        even = widened(pair + v * lanes);
        odd = widened(pair + width + v * lanes);
    }
};

// `Vectors` neighbouring vectors of a panel, from vector `first` on, for `Streams` rows.
template <class Format, int Vectors, int Streams>
HWY_INLINE void part_of_panel(const Product& p, const PackedMatrix::Panel& panel, int first, int64_t stream) {
    using T = typename Format::T;
    const int64_t width = int64_t{panel.vectors} * lanes, step = width * Format::per_pair;
    const T* HWY_RESTRICT w = static_cast<const T*>(panel.weights) + first * lanes;
    const float* HWY_RESTRICT x = p.x[stream];
    const int64_t stride = p.x.stride;
    V even[Streams][Vectors], odd[Streams][Vectors];
    for (int s = 0; s < Streams; ++s)
        for (int v = 0; v < Vectors; ++v) even[s][v] = odd[s][v] = hn::Zero(Tag());
    int64_t k = 0;
    for (; k + 2 <= p.inputs; k += 2, w += step)
        for (int v = 0; v < Vectors; ++v) {
            V a, b;
            Format::load(w, width, v, a, b);
            for (int s = 0; s < Streams; ++s) {
                even[s][v] = hn::MulAdd(a, hn::Set(Tag(), x[s * stride + k]), even[s][v]);
                odd[s][v] = hn::MulAdd(b, hn::Set(Tag(), x[s * stride + k + 1]), odd[s][v]);
            }
        }
    if (k < p.inputs)
        for (int v = 0; v < Vectors; ++v) {
            V a, b;
            Format::load(w, width, v, a, b);
            for (int s = 0; s < Streams; ++s) even[s][v] = hn::MulAdd(a, hn::Set(Tag(), x[s * stride + k]), even[s][v]);
        }
    for (int s = 0; s < Streams; ++s)
        for (int v = 0; v < Vectors; ++v) {
            const int64_t at = (first + v) * lanes;
            float* y = p.y[stream + s] + panel.to + at;
            V sum = hn::Add(even[s][v], odd[s][v]);
            const V bias = hn::LoadU(Tag(), panel.bias + at);
            if constexpr (Format::scaled)
                sum = hn::MulAdd(sum, hn::LoadU(Tag(), panel.scale + at), bias);
            else
                sum = hn::Add(sum, bias);
            if (p.add) sum = hn::Add(sum, hn::LoadU(Tag(), y));
            hn::StoreU(sum, Tag(), y);
        }
}

// As many vectors at a time as leaves two sums a vector and stream in registers.
template <class Format, int Streams>
HWY_INLINE void panel_product(const Product& p, const PackedMatrix::Panel& panel, int64_t stream) {
    constexpr int most = std::min(4, (many_registers ? 8 : 4) / Streams);
    int v = 0;
    for (; v + most <= panel.vectors; v += most) part_of_panel<Format, most, Streams>(p, panel, v, stream);
    if constexpr (most == 4)
        if (panel.vectors - v == 3) return part_of_panel<Format, 3, Streams>(p, panel, v, stream);
    if constexpr (most > 2)
        if (panel.vectors - v == 2) return part_of_panel<Format, 2, Streams>(p, panel, v, stream);
    if constexpr (most > 1)
        if (panel.vectors - v == 1) return part_of_panel<Format, 1, Streams>(p, panel, v, stream);
}

template <class Format>
HWY_INLINE void product(const Product& p) {
    for (size_t i = 0; i < p.panel_count; ++i) {
        const PackedMatrix::Panel& panel = p.panels[i];
        int64_t s = 0;
        for (; s + 4 <= p.streams; s += 4) panel_product<Format, 4>(p, panel, s);
        for (; s + 2 <= p.streams; s += 2) panel_product<Format, 2>(p, panel, s);
        if (s < p.streams) panel_product<Format, 1>(p, panel, s);
    }
}

void product_f32(const Product& p) { product<Float32>(p); }
void product_bf16(const Product& p) { product<Bfloat16Pairs>(p); }
void product_int8(const Product& p) { product<Int8>(p); }

int64_t product_lanes() { return lanes; }
const char* target_name() { return hwy::TargetName(HWY_TARGET); }

}  // namespace
}  // namespace nigiri::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nigiri::cpu {

HWY_EXPORT(product_f32);
HWY_EXPORT(product_bf16);
HWY_EXPORT(product_int8);
HWY_EXPORT(product_lanes);
HWY_EXPORT(target_name);

const char* instruction_set() { return HWY_DYNAMIC_DISPATCH(target_name)(); }

namespace {

// The factor that leaves the smallest sum of squared errors among some near the largest weight over 127: cutting off
// the few largest weights of a row pays where the others are many.
float int8_scale(std::span<const float> row) {
    float peak = 0;
    for (const float w : row) peak = std::max(peak, std::abs(w));
    if (!(peak > 0)) return 0;
    float best = 0;
    double least = INFINITY;
    for (int i = 0; i <= 10; ++i) {
        const float scale = peak / 127 * (1 - 0.03f * static_cast<float>(i));
        double error = 0;
        for (const float w : row) {
            const double d = w - scale * std::clamp(std::nearbyint(w / scale), -127.0f, 127.0f);
            error += d * d;
        }
        if (error < least) {
            least = error;
            best = scale;
        }
    }
    return best;
}

int8_t quantised(float w, float scale) {
    return scale > 0 ? static_cast<int8_t>(std::clamp(std::nearbyint(w / scale), -127.0f, 127.0f)) : int8_t{0};
}

}  // namespace

PackedMatrix::PackedMatrix(const LinearMap& map, std::span<const OutputRange> ranges, WeightFormat format, Arena& arena)
    : inputs_(map.inputs), format_(format) {
    const int64_t lanes = HWY_DYNAMIC_DISPATCH(product_lanes)();
    const int64_t pairs = (map.inputs + 1) / 2;
    for (const OutputRange& range : ranges)
        for (int64_t done = 0; done < range.count;) {
            const int64_t count = std::min(4 * lanes, range.count - done), width = std::min(4 * lanes, padded(count));
            const auto row = [&](int64_t i) {
                const float* first = map.weight.data() + (range.begin + done + i) * map.inputs;
                return std::span(first, static_cast<size_t>(map.inputs));
            };
            // The weight of input k for output i of the panel; zero behind the inputs.
            const auto weight = [&](int64_t i, int64_t k) {
                return k < map.inputs ? row(i)[static_cast<size_t>(k)] : 0.0f;
            };
            Panel panel{nullptr, nullptr, nullptr, range.to + done, static_cast<int>(width / lanes)};
            if (format == WeightFormat::f32) {
                float* w = arena.allocate<float>(2 * pairs * width);
                for (int64_t k = 0; k < map.inputs; ++k)
                    for (int64_t i = 0; i < count; ++i) w[k * width + i] = weight(i, k);
                panel.weights = w;
            } else if (format == WeightFormat::bf16) {
                uint32_t* w = arena.allocate<uint32_t>(pairs * width);
                for (int64_t k = 0; k < pairs; ++k)
                    for (int64_t i = 0; i < count; ++i)
                        w[k * width + i] = uint32_t{BFloat16(weight(i, 2 * k)).bits} |
                                           uint32_t{BFloat16(weight(i, 2 * k + 1)).bits} << 16;
                panel.weights = w;
            } else {
                int8_t* w = arena.allocate<int8_t>(2 * pairs * width);
                float* scale = arena.allocate<float>(width);
                for (int64_t i = 0; i < count; ++i) {
                    scale[i] = int8_scale(row(i));
                    for (int64_t k = 0; k < map.inputs; ++k) w[k * width + i] = quantised(weight(i, k), scale[i]);
                }
                panel.weights = w;
                panel.scale = scale;
            }
            float* bias = arena.allocate<float>(width);
            if (!map.bias.empty()) std::copy_n(map.bias.begin() + (range.begin + done), count, bias);
            panel.bias = bias;
            panels_.push_back(panel);
            done += count;
        }
}

void PackedMatrix::multiply(Rows x, Rows y, int64_t streams, bool add) const {
    const Product p{panels_.data(), panels_.size(), inputs_, x, y, streams, add};
    switch (format_) {
        case WeightFormat::f32:
            return HWY_DYNAMIC_DISPATCH(product_f32)(p);
        case WeightFormat::bf16:
            return HWY_DYNAMIC_DISPATCH(product_bf16)(p);
        case WeightFormat::int8:
            return HWY_DYNAMIC_DISPATCH(product_int8)(p);
    }
}

}  // namespace nigiri::cpu
#endif
