#include "kernels/cpu/engine/packed_matrix.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/half.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/engine/packed_matrix.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

#ifndef NIGIRI_PACKED_MATRIX_ONCE
#define NIGIRI_PACKED_MATRIX_ONCE
namespace nigiri::cpu {

// An integer sum of so many products of 127 and 32767 stays below 2^31.
inline constexpr int64_t most_int8_inputs = 512;
inline constexpr int64_t most_rows = 16;

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

// The formats of floats: vector `v` of a panel's weights for a pair of neighbouring inputs, `width` outputs wide.
struct Float32 {
    using T = float;
    static constexpr int64_t per_pair = 2;  // elements an output and a pair of inputs
    HWY_INLINE static void load(const float* pair, int64_t width, int v, V& even, V& odd) {
        even = hn::LoadU(Tag(), pair + v * lanes);
        odd = hn::LoadU(Tag(), pair + width + v * lanes);
    }
};
// One word for both: the odd input's weight above, the even one's below.
struct Bfloat16Pairs {
    using T = uint32_t;
    static constexpr int64_t per_pair = 1;
    HWY_INLINE static void load(const uint32_t* pair, int64_t, int v, V& even, V& odd) {
        const hn::RebindToUnsigned<Tag> words;
        const auto both = hn::LoadU(words, pair + v * lanes);
        even = hn::BitCast(Tag(), hn::ShiftLeft<16>(both));
        odd = hn::BitCast(Tag(), hn::And(both, hn::Set(words, 0xffff0000u)));
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
            V sum = hn::Add(hn::Add(even[s][v], odd[s][v]), hn::LoadU(Tag(), panel.bias + at));
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

// Inputs of up to `most_rows` streams as sixteen-bit integers.
struct RoundedRows {
    alignas(64) int16_t values[most_rows][most_int8_inputs + 64];
    float scale[most_rows];
};

// Row `from` of x from input `begin` on; an odd number of inputs is followed by a zero.
HWY_INLINE void round_row(const float* HWY_RESTRICT from, int64_t inputs, int16_t* HWY_RESTRICT to, float& scale) {
    const Tag d;
    const hn::Rebind<int16_t, Tag> narrow;
    V peak = hn::Zero(d);
    const auto at = [&](int64_t k) HWY_ATTR {
        const V x = hn::LoadU(d, from + k);
        return k + lanes <= inputs ? x : hn::IfThenElseZero(hn::FirstN(d, static_cast<size_t>(inputs - k)), x);
    };
    for (int64_t k = 0; k < inputs; k += lanes) peak = hn::Max(peak, hn::Abs(at(k)));
    const float largest = hn::GetLane(hn::MaxOfLanes(d, peak));
    scale = largest / 32767;
    const V inverse = hn::Set(d, largest > 1e-30f ? 32767 / largest : 0.0f);
    for (int64_t k = 0; k < inputs; k += lanes)
        hn::StoreU(hn::DemoteTo(narrow, hn::NearestInt(hn::Mul(at(k), inverse))), narrow, to + k);
    if (inputs % lanes == 0) to[inputs] = 0;
}

using Words = hn::RebindToSigned<Tag>;
using Sum = hn::Vec<Words>;

// The weights of a pair of neighbouring inputs for a vector of outputs, and their products with a row's two inputs. The
// second sum is for instruction sets that need it.
#if HWY_TARGET == HWY_SCALAR
struct Int8Pair {
    int32_t even, odd;
    explicit Int8Pair(const int8_t* w) : even(w[0]), odd(w[1]) {}
    void add_products(const int16_t* x, Sum& sum, Sum&) const {
        sum = hn::Add(sum, hn::Set(Words(), even * x[0] + odd * x[1]));
    }
    static Sum total(Sum sum, Sum) { return sum; }
};
#else
struct Int8Pair {
    using Halves = hn::Repartition<int16_t, Words>;
    hn::Vec<Halves> weights;
    HWY_INLINE explicit Int8Pair(const int8_t* w)
        : weights(hn::PromoteTo(Halves(), hn::LoadU(hn::Rebind<int8_t, Halves>(), w))) {}
    HWY_INLINE void add_products(const int16_t* x, Sum& sum, Sum& other) const {
        int32_t pair;
        std::memcpy(&pair, x, sizeof pair);
        const auto both = hn::BitCast(Halves(), hn::Set(Words(), pair));
        sum = hn::ReorderWidenMulAccumulate(Words(), weights, both, sum, other);
    }
    HWY_INLINE static Sum total(Sum sum, Sum other) { return hn::RearrangeToOddPlusEven(sum, other); }
};
#endif

template <int Vectors, int Streams>
HWY_INLINE void part_of_int8_panel(const Product& p, const PackedMatrix::Panel& panel, int first, int64_t stream,
                                   const int16_t (*x)[most_int8_inputs + 64], const float* x_scale) {
    const int64_t step = int64_t{2} * panel.vectors * lanes;
    const int8_t* HWY_RESTRICT w = static_cast<const int8_t*>(panel.weights) + 2 * first * lanes;
    Sum sum[Streams][Vectors], other[Streams][Vectors];
    for (int s = 0; s < Streams; ++s)
        for (int v = 0; v < Vectors; ++v) sum[s][v] = other[s][v] = hn::Zero(Words());
    for (int64_t k = 0; k < panel.inputs; k += 2, w += step)
        for (int v = 0; v < Vectors; ++v) {
            const Int8Pair weights(w + 2 * v * lanes);
            for (int s = 0; s < Streams; ++s) weights.add_products(x[s] + k, sum[s][v], other[s][v]);
        }
    for (int s = 0; s < Streams; ++s)
        for (int v = 0; v < Vectors; ++v) {
            const int64_t at = (first + v) * lanes;
            float* y = p.y[stream + s] + panel.to + at;
            const V total = hn::ConvertTo(Tag(), Int8Pair::total(sum[s][v], other[s][v]));
            const V scale = hn::Mul(hn::LoadU(Tag(), panel.scale + at), hn::Set(Tag(), x_scale[s]));
            V result = hn::MulAdd(total, scale, hn::LoadU(Tag(), panel.bias + at));
            if (p.add || panel.begin > 0) result = hn::Add(result, hn::LoadU(Tag(), y));
            hn::StoreU(result, Tag(), y);
        }
}

template <int Streams>
HWY_INLINE void int8_panel_product(const Product& p, const PackedMatrix::Panel& panel, int64_t stream,
                                   const RoundedRows& rounded, int64_t row) {
    constexpr int most = std::min(4, (many_registers ? 16 : 8) / Streams);
    const auto* x = rounded.values + row;
    const float* scale = rounded.scale + row;
    int v = 0;
    for (; v + most <= panel.vectors; v += most) part_of_int8_panel<most, Streams>(p, panel, v, stream, x, scale);
    if constexpr (most == 4)
        if (panel.vectors - v == 3) return part_of_int8_panel<3, Streams>(p, panel, v, stream, x, scale);
    if constexpr (most > 2)
        if (panel.vectors - v == 2) return part_of_int8_panel<2, Streams>(p, panel, v, stream, x, scale);
    if constexpr (most > 1)
        if (panel.vectors - v == 1) return part_of_int8_panel<1, Streams>(p, panel, v, stream, x, scale);
}

void product_int8(const Product& p) {
    RoundedRows rounded;
    for (size_t i = 0; i < p.panel_count;) {
        // Panels of one range of inputs follow each other.
        const int64_t begin = p.panels[i].begin, inputs = p.panels[i].inputs;
        size_t end = i;
        while (end < p.panel_count && p.panels[end].begin == begin) ++end;
        for (int64_t first = 0; first < p.streams; first += most_rows) {
            const int64_t rows = std::min<int64_t>(most_rows, p.streams - first);
            for (int64_t r = 0; r < rows; ++r)
                round_row(p.x[first + r] + begin, inputs, rounded.values[r], rounded.scale[r]);
            for (size_t k = i; k < end; ++k) {
                int64_t r = 0;
                for (; r + 4 <= rows; r += 4) int8_panel_product<4>(p, p.panels[k], first + r, rounded, r);
                for (; r + 2 <= rows; r += 2) int8_panel_product<2>(p, p.panels[k], first + r, rounded, r);
                if (r < rows) int8_panel_product<1>(p, p.panels[k], first + r, rounded, r);
            }
        }
        i = end;
    }
}

void product_f32(const Product& p) { product<Float32>(p); }
void product_bf16(const Product& p) { product<Bfloat16Pairs>(p); }

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
    const int64_t piece = format == WeightFormat::int8 ? most_int8_inputs : map.inputs;
    for (int64_t begin = 0; begin < map.inputs; begin += piece)
        for (const OutputRange& range : ranges)
            add_panels(map, range, begin, std::min(piece, map.inputs - begin), arena);
}

void PackedMatrix::add_panels(const LinearMap& map, const OutputRange& range, int64_t begin, int64_t inputs,
                              Arena& arena) {
    const int64_t lanes = HWY_DYNAMIC_DISPATCH(product_lanes)();
    const int64_t pairs = (inputs + 1) / 2;
    for (int64_t done = 0; done < padded(range.count);) {
        const int64_t width = std::min(4 * lanes, padded(range.count) - done);
        const int64_t count = std::clamp<int64_t>(range.count - done, 0, width);
        const auto row = [&](int64_t i) {
            const float* first = map.weight.data() + (range.begin + done + i) * map.inputs + begin;
            return std::span(first, static_cast<size_t>(inputs));
        };
        // The weight of input k for output i of the panel; zero behind the inputs.
        const auto weight = [&](int64_t i, int64_t k) { return k < inputs ? row(i)[static_cast<size_t>(k)] : 0.0f; };
        Panel panel{nullptr, nullptr, nullptr, range.to + done, static_cast<int>(width / lanes), begin, inputs};
        if (format_ == WeightFormat::f32) {
            float* w = arena.allocate<float>(inputs * width);
            for (int64_t k = 0; k < inputs; ++k)
                for (int64_t i = 0; i < count; ++i) w[k * width + i] = weight(i, k);
            panel.weights = w;
        } else if (format_ == WeightFormat::bf16) {
            uint32_t* w = arena.allocate<uint32_t>(pairs * width);
            for (int64_t k = 0; k < pairs; ++k)
                for (int64_t i = 0; i < count; ++i)
                    w[k * width + i] =
                        uint32_t{BFloat16(weight(i, 2 * k)).bits} | uint32_t{BFloat16(weight(i, 2 * k + 1)).bits} << 16;
            panel.weights = w;
        } else {
            int8_t* w = arena.allocate<int8_t>(2 * pairs * width);
            float* scale = arena.allocate<float>(width);
            for (int64_t i = 0; i < count; ++i) {
                scale[i] = int8_scale(row(i));
                for (int64_t k = 0; k < inputs; ++k)
                    w[k / 2 * 2 * width + 2 * i + k % 2] = quantised(weight(i, k), scale[i]);
            }
            panel.weights = w;
            panel.scale = scale;
        }
        float* bias = arena.allocate<float>(width);
        if (!map.bias.empty() && begin == 0) std::copy_n(map.bias.begin() + (range.begin + done), count, bias);
        panel.bias = bias;
        panels_.push_back(panel);
        done += width;
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
