// A warp on the host: 32 lanes in step, every value an array. The phases are templates over this and DeviceWarp
// (device_warp.cuh), so that all their indices can be tested without a GPU.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <type_traits>

#include "kernels/cuda/engine/packed.h"
#include "kernels/half.h"

#define NIGIRI_LANES inline
#define NIGIRI_UNROLL
#define NIGIRI_UNROLL_BY(n)
#define NIGIRI_REMADE(x) (x)

namespace nigiri::cuda::engine {

template <class T>
struct Lanes {
    std::array<T, warp_lanes> v{};

    Lanes() = default;
    Lanes(T x) { v.fill(x); }  // NOLINT: a value that all lanes share
    template <class U>
    explicit Lanes(const Lanes<U>& other) {
        for (size_t i = 0; i < v.size(); ++i) v[i] = static_cast<T>(other.v[i]);
    }
};

template <class T>
struct LaneElement {
    using Type = T;
};
template <class T>
struct LaneElement<Lanes<T>> {
    using Type = T;
};
template <class T>
inline constexpr bool is_lanes = !std::is_same_v<typename LaneElement<T>::Type, T>;

template <class T>
T lane_of(const Lanes<T>& x, size_t i) {
    return x.v[i];
}
template <class T>
requires std::is_arithmetic_v<T> T lane_of(T x, size_t) { return x; }

template <class F, class... X>
auto by_lane(F f, const X&... x) {
    Lanes<decltype(f(lane_of(x, 0)...))> r;
    for (size_t i = 0; i < r.v.size(); ++i) r.v[i] = f(lane_of(x, i)...);
    return r;
}

#define NIGIRI_LANE_OPERATOR(op)                                                         \
    template <class A, class B>                                                          \
    requires(is_lanes<A> || is_lanes<B>) auto operator op(const A& a, const B& b) {      \
        return by_lane(                                                                  \
            [](auto x, auto y) {                                                         \
                using X = decltype(x);                                                   \
                if constexpr (std::is_same_v<X, bool> && std::is_same_v<X, decltype(y)>) \
                    return static_cast<bool>(x op y);                                    \
                else                                                                     \
                    return x op y;                                                       \
            },                                                                           \
            a, b);                                                                       \
    }
NIGIRI_LANE_OPERATOR(+)
NIGIRI_LANE_OPERATOR(-)
NIGIRI_LANE_OPERATOR(*)
NIGIRI_LANE_OPERATOR(/)
NIGIRI_LANE_OPERATOR(%)
NIGIRI_LANE_OPERATOR(&)
NIGIRI_LANE_OPERATOR(|)
NIGIRI_LANE_OPERATOR(^)
NIGIRI_LANE_OPERATOR(<<)
NIGIRI_LANE_OPERATOR(>>)
NIGIRI_LANE_OPERATOR(<)
NIGIRI_LANE_OPERATOR(<=)
NIGIRI_LANE_OPERATOR(>)
NIGIRI_LANE_OPERATOR(>=)
NIGIRI_LANE_OPERATOR(==)
NIGIRI_LANE_OPERATOR(!=)
#undef NIGIRI_LANE_OPERATOR

template <class T>
Lanes<T> operator-(const Lanes<T>& a) {
    return by_lane([](T x) { return -x; }, a);
}
inline Lanes<bool> operator!(const Lanes<bool>& a) {
    return by_lane([](bool x) { return !x; }, a);
}

// kParts: columns.h.
template <int kParts>
class HostWarp {
  public:
    static constexpr int parts = kParts;
    using Float = Lanes<float>;
    using Int = Lanes<int>;
    using Word = Lanes<uint32_t>;
    using Mask = Lanes<bool>;
    struct Float2 {
        Float x, y;
    };
    struct Float4 {
        Float x, y, z, w;
    };
    struct Word4 {
        Word x, y, z, w;
    };

    explicit HostWarp(int index) : index_(index) {}

    int index() const { return index_; }
    static Int lane() {
        Int r;
        for (int i = 0; i < warp_lanes; ++i) r.v[static_cast<size_t>(i)] = i;
        return r;
    }

    // Memory. Indices are elements; those of masked lanes are not touched. `fetch` is for what no kernel writes.
    template <class T, class I>
    static Lanes<T> load(const T* p, const I& index) {
        return by_lane([p](auto i) { return p[i]; }, Int(index));
    }
    template <class T, class I>
    static Lanes<T> load_if(const Mask& mask, const T* p, const I& index, T other) {
        return by_lane([p, other](bool m, auto i) { return m ? p[i] : other; }, mask, Int(index));
    }
    template <class I>
    static void prefetch_if(const Mask&, const float*, const I&) {}
    // What another block may have written.
    template <class I>
    static Float load_if_fresh(const Mask& mask, const float* p, const I& index) {
        return load_if(mask, p, index, 0.0f);
    }
    template <class T, class I, class V>
    static void store(T* p, const I& index, const V& value) {
        store_if(Mask(true), p, index, value);
    }
    template <class T, class I, class V>
    static void store_if(const Mask& mask, T* p, const I& index, const V& value) {
        for (size_t i = 0; i < warp_lanes; ++i)
            if (mask.v[i]) p[lane_of(Int(index), i)] = static_cast<T>(lane_of(value, i));
    }
    template <class I>
    static Float2 load2(const float* p, const I& index) {
        require_aligned(Mask(true), p, index, 2);
        return {load(p, index), load(p, index + 1)};
    }
    template <class I>
    static void store2(float* p, const I& index, const Float2& value) {
        require_aligned(Mask(true), p, index, 2);
        store(p, index, value.x), store(p, index + 1, value.y);
    }
    template <class I>
    static void store2_if(const Mask& m, float* p, const I& index, const Float2& value) {
        require_aligned(m, p, index, 2);
        store_if(m, p, index, value.x), store_if(m, p, index + 1, value.y);
    }
    template <class I>
    static Float4 load4(const float* p, const I& index) {
        require_aligned(Mask(true), p, index, 4);
        return {load(p, index), load(p, index + 1), load(p, index + 2), load(p, index + 3)};
    }
    template <class I>
    static Float4 load4_if(const Mask& m, const float* p, const I& index) {
        require_aligned(m, p, index, 4);
        return {load_if(m, p, index, 0.0f), load_if(m, p, index + 1, 0.0f), load_if(m, p, index + 2, 0.0f),
                load_if(m, p, index + 3, 0.0f)};
    }
    template <class I>
    static void store4_if(const Mask& m, float* p, const I& index, const Float4& value) {
        require_aligned(m, p, index, 4);
        store_if(m, p, index, value.x), store_if(m, p, index + 1, value.y);
        store_if(m, p, index + 2, value.z), store_if(m, p, index + 3, value.w);
    }
    template <class I>
    static Float fetch(const float* p, const I& index) {
        return load(p, index);
    }
    template <class I>
    static Float fetch_if(const Mask& mask, const float* p, const I& index) {
        return load_if(mask, p, index, 0.0f);
    }
    template <class I>
    static Float2 fetch2(const float* p, const I& index) {
        return load2(p, index);
    }
    template <class I>
    static Float4 fetch4(const float* p, const I& index) {
        return load4(p, index);
    }
    template <class I>
    static Float4 fetch4_if(const Mask& m, const float* p, const I& index) {
        return load4_if(m, p, index);
    }
    // Each lane's 16 bytes, whatever they were written as.
    template <class I>
    static Word4 load_words(const Piece* p, const I& index) {
        Word4 r;
        for (size_t i = 0; i < warp_lanes; ++i) {
            Piece piece;
            std::memcpy(&piece, p + lane_of(Int(index), i), sizeof(piece));
            r.x.v[i] = piece.word[0], r.y.v[i] = piece.word[1], r.z.v[i] = piece.word[2], r.w.v[i] = piece.word[3];
        }
        return r;
    }
    // 32 pieces of the weights, one a lane, and more of them from the piece `from` on.
    template <size_t kCount>
    static void fetch_pieces(const Piece* weights, int from, Word4 (&to)[kCount]) {
        for (size_t j = 0; j < kCount; ++j) to[j] = load_words(weights + from + j * warp_lanes, lane());
    }
    // What all lanes need of a descriptor, at once.
    template <class T>
    static T record(const T& from) {
        return from;
    }
    // Loads and stores of what is used too seldom to be kept near.
    template <class I>
    static Float2 load2_once(const float* p, const I& index) {
        return load2(p, index);
    }
    template <class I>
    static Float2 fetch2_once(const float* p, const I& index) {
        return load2(p, index);
    }

    // Between lanes.
    static void sync() {}
    template <class T>
    static Lanes<T> shuffle_xor(const Lanes<T>& x, int mask) {
        Lanes<T> r;
        for (size_t i = 0; i < warp_lanes; ++i) r.v[i] = x.v[i ^ static_cast<size_t>(mask)];
        return r;
    }
    template <class T, class I>
    static Lanes<T> from_lane(const Lanes<T>& x, const I& source) {
        return by_lane([&](int i) { return x.v[static_cast<size_t>(i)]; }, Int(source));
    }
    // 0 for the first `distance` lanes.
    static Float from_below(const Float& x, int distance) {
        Float r;
        for (size_t i = static_cast<size_t>(distance); i < warp_lanes; ++i)
            r.v[i] = x.v[i - static_cast<size_t>(distance)];
        return r;
    }
    static uint32_t ballot(const Mask& m) {
        uint32_t bits = 0;
        for (size_t i = 0; i < warp_lanes; ++i) bits |= static_cast<uint32_t>(m.v[i]) << i;
        return bits;
    }
    static int lowest_bit(uint32_t x) { return std::countr_zero(x); }
    static int highest_bit(uint32_t x) { return 31 - std::countl_zero(x); }
    static int sum(const Int& x) {
        int total = 0;
        for (const int i : x.v) total += i;
        return total;
    }
    static uint32_t largest(const Word& x) {
        uint32_t most = 0;
        for (const uint32_t i : x.v) most = i > most ? i : most;
        return most;
    }
    template <class T>
    static T first(const Lanes<T>& x) {
        return x.v[0];
    }

    // Arithmetic.
    template <class A, class B>
    static auto select(const Mask& m, const A& a, const B& b) {
        return by_lane([](bool k, auto x, auto y) { return k ? x : y; }, m, a, b);
    }
    template <class A, class B, class C>
    static Float fma(const A& a, const B& b, const C& c) {
        return by_lane([](float x, float y, float z) { return std::fma(x, y, z); }, a, b, c);
    }
    static Float exp2(const Float& x) {
        return by_lane([](float a) { return std::exp2(a); }, x);
    }
    static Float log2(const Float& x) {
        return by_lane([](float a) { return std::log2(a); }, x);
    }
    static Float reciprocal(const Float& x) { return 1.0f / x; }
    static Float rsqrt(const Float& x) {
        return by_lane([](float a) { return 1.0f / std::sqrt(a); }, x);
    }
    static Float erf(const Float& x) {
        return by_lane([](float a) { return std::erf(a); }, x);
    }
    static Float expm1(const Float& x) {
        return by_lane([](float a) { return std::expm1(a); }, x);
    }
    static Float sinpi(const Float& x) {
        return by_lane([](float a) { return static_cast<float>(std::sin(3.14159265358979323846 * a)); }, x);
    }
    static Float cospi(const Float& x) {
        return by_lane([](float a) { return static_cast<float>(std::cos(3.14159265358979323846 * a)); }, x);
    }
    static Float maximum(const Float& a, const Float& b) {
        return by_lane([](float x, float y) { return std::fmax(x, y); }, a, b);
    }
    static Float magnitude(const Float& x) {
        return by_lane([](float a) { return std::fabs(a); }, x);
    }
    static Word bits(const Float& x) {
        return by_lane([](float a) { return std::bit_cast<uint32_t>(a); }, x);
    }
    static Float from_bits(const Word& x) {
        return by_lane([](uint32_t a) { return std::bit_cast<float>(a); }, x);
    }
    // The bits of x rounded to bfloat16.
    static Word to_bf16(const Float& x) {
        return by_lane([](float a) { return static_cast<uint32_t>(BFloat16(a).bits); }, x);
    }
    // sum += A B, m16n8k16 of bfloat16 with float32 sums: A is a piece, B has k = 2 q, 2 q + 1 (b0) and 8 more (b1) of
    // column lane / 4; sum has rows g, g + 8 and columns 2 q, 2 q + 1.
    static void mma(Float (&s)[4], const Word4& a, const Word& b0, const Word& b1) {
        const auto value = [](const Word& w, size_t lane, size_t half) {
            return std::bit_cast<float>(w.v[lane] >> (16 * half) << 16);
        };
        for (size_t lane = 0; lane < warp_lanes; ++lane)
            for (size_t part = 0; part < 4; ++part) {
                const size_t row = lane / 4, column = 2 * (lane % 4) + part % 2;
                float total = s[part].v[lane];
                for (size_t q = 0; q < 4; ++q)
                    for (size_t half = 0; half < 2; ++half) {
                        const size_t from = row * 4 + q, to = column * 4 + q;
                        total += value(part < 2 ? a.x : a.y, from, half) * value(b0, to, half);
                        total += value(part < 2 ? a.z : a.w, from, half) * value(b1, to, half);
                    }
                s[part].v[lane] = total;
            }
    }

  private:
    // The device reads pairs and fours only where they are aligned.
    template <class I>
    static void require_aligned(const Mask& m, const float* p, const I& index, size_t count) {
        const Int at(index);
        for (size_t i = 0; i < warp_lanes; ++i)
            if (m.v[i] && reinterpret_cast<uintptr_t>(p + at.v[i]) % (count * sizeof(float)) != 0)
                throw std::logic_error("a load of several floats is not aligned");
    }

    int index_;
};

}  // namespace nigiri::cuda::engine
