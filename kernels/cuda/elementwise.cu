// Moving and adding. Bound by bytes: every element is read once and written once.
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/map.cuh"
#include "kernels/elementwise.h"

namespace nigiri {

using namespace cuda;

namespace {

// Rows as bytes: what only moves need not know its type. Columns count words.
template <class Word>
struct Bytes {
    char* data = nullptr;
    int64_t stride = 0;

    explicit Bytes(const View& v)
        : data(static_cast<char*>(v.data)), stride(v.row_stride * static_cast<int64_t>(size_of(v.dtype))) {}
    __device__ Word& at(int64_t row, int64_t column) const {
        return reinterpret_cast<Word*>(data + row * stride)[column];
    }
};

template <class Word>
struct FillWords {
    Bytes<Word> y;
    Word value;
    template <int>
    __device__ void apply(int64_t row, int64_t column) const {
        y.at(row, column) = value;
    }
};

template <class Word>
struct MoveWords {
    Bytes<Word> x, y;
    template <int>
    __device__ void apply(int64_t row, int64_t column) const {
        y.at(row, column) = x.at(row, column);
    }
};

// y[b, l] = x[b, l - step], zeros where there is no such row.
template <class Word>
struct ShiftWords {
    Bytes<Word> x, y;
    int64_t length, step;
    template <int>
    __device__ void apply(int64_t row, int64_t column) const {
        const int64_t l =
            (row <= UINT32_MAX ? static_cast<uint32_t>(row) % static_cast<uint32_t>(length) : row % length) - step;
        Word word{};
        if (l >= 0 && l < length) word = x.at(row - step, column);
        y.at(row, column) = word;
    }
};

// Calls f(Word{}, rows, words a row) with the widest word in which all views (of one shape and element size)
// can be walked. Unless `keep_rows`, views without gaps become one row.
template <class F, class... Views>
void with_words(F&& f, bool keep_rows, const View& first, const Views&... others) {
    const auto size = static_cast<int64_t>(size_of(first.dtype));
    const bool packed = !keep_rows && first.contiguous() && (others.contiguous() && ...);
    const int64_t rows = packed ? 1 : first.rows(), bytes = size * (packed ? first.size() : first.columns());
    const auto fits = [&](int64_t word) {
        const auto one = [&](const View& v) {
            return reinterpret_cast<uintptr_t>(v.data) % static_cast<uintptr_t>(word) == 0 &&
                   (rows <= 1 || v.row_stride * size % word == 0);
        };
        return bytes % word == 0 && one(first) && (one(others) && ...);
    };
    if (fits(16)) return f(uint4{}, rows, bytes / 16);
    if (size == 8) return f(uint2{}, rows, bytes / 8);
    if (size == 4 || fits(4)) return f(uint32_t{}, rows, bytes / 4);
    f(uint16_t{}, rows, bytes / 2);
}

// The value's bits as a word of any width.
template <class Word>
Word repeated(DType dtype, double value) {
    union {
        float f[4];
        double d[2];
        int32_t i[4];
        uint16_t h[8];
        Word word;
    } bits{};
    const float narrow = static_cast<float>(value);
    const uint16_t half = BFloat16(narrow).bits;
    for (int k = 0; k < 8; ++k) {
        if (dtype == DType::bf16) bits.h[k] = half;
        if (dtype == DType::f32 && k < 4) bits.f[k] = narrow;
        if (dtype == DType::i32 && k < 4) bits.i[k] = static_cast<int32_t>(value);
        if (dtype == DType::f64 && k < 2) bits.d[k] = value;
    }
    return bits.word;
}

template <class From, class To>
struct Convert {
    Rows<const From> x;
    Rows<To> y;
    template <int n>
    __device__ void apply(int64_t row, int64_t column) const {
        float v[n];
        load_vector<n>(x.at(row, column), v);
        store_vector<n>(y.at(row, column), v);
    }
};

template <class A, class B, class Y>
struct Sum {
    Rows<const A> x1;
    Rows<const B> x2;
    Rows<Y> y;
    template <int n>
    __device__ void apply(int64_t row, int64_t column) const {
        float a[n], b[n];
        load_vector<n>(x1.at(row, column), a);
        load_vector<n>(x2.at(row, column), b);
#pragma unroll
        for (int i = 0; i < n; ++i) a[i] += b[i];
        store_vector<n>(y.at(row, column), a);
    }
};

void shift(cudaStream_t stream, const View& x, const View& y, int64_t step, const char* name) {
    require(x.shape == y.shape && x.dtype == y.dtype && y.shape.rank() == 3, name, "equal shapes (B, L, D)");
    require(x.data != y.data || y.size() == 0, name, "an output beside the input");
    with_words(
        [&](auto word, int64_t rows, int64_t columns) {
            using Word = decltype(word);
            launch_map<1>(stream, name, rows, columns, ShiftWords<Word>{Bytes<Word>(x), Bytes<Word>(y), y[1], step});
        },
        /*keep_rows=*/true, y, x);
}

}  // namespace

void CudaBackend::fill(const Fill& op) {
    with_words(
        [&](auto word, int64_t rows, int64_t columns) {
            using Word = decltype(word);
            launch_map<1>(stream_, "fill", rows, columns,
                          FillWords<Word>{Bytes<Word>(op.y), repeated<Word>(op.y.dtype, op.value)});
        },
        /*keep_rows=*/false, op.y);
}

void CudaBackend::copy(const Copy& op) {
    require(op.x.shape == op.y.shape, "copy", "equal shapes");
    if (op.x.dtype == op.y.dtype) {
        with_words(
            [&](auto word, int64_t rows, int64_t columns) {
                using Word = decltype(word);
                launch_map<1>(stream_, "copy", rows, columns, MoveWords<Word>{Bytes<Word>(op.x), Bytes<Word>(op.y)});
            },
            /*keep_rows=*/false, op.y, op.x);
    } else if (op.x.dtype == DType::f32 && op.y.dtype == DType::bf16) {
        map<8>(stream_, "copy", Convert<float, bf16>{Rows<const float>(op.x), Rows<bf16>(op.y)}, op.y, op.x);
    } else {
        require(op.x.dtype == DType::bf16 && op.y.dtype == DType::f32, "copy", "equal types, or float32 and bfloat16");
        map<8>(stream_, "copy", Convert<bf16, float>{Rows<const bf16>(op.x), Rows<float>(op.y)}, op.y, op.x);
    }
}

void CudaBackend::add(const Add& op) {
    require(op.x1.shape == op.y.shape && op.x2.shape == op.y.shape, "add", "equal shapes");
    // A sum does not mind the order: where the types differ, the wider operand comes first.
    const bool swapped = op.x1.dtype == DType::bf16 && op.x2.dtype == DType::f32;
    const View &first = swapped ? op.x2 : op.x1, &second = swapped ? op.x1 : op.x2;
    dispatch(first.dtype, [&](auto a) {
        dispatch(second.dtype, [&](auto b) {
            dispatch(op.y.dtype, [&](auto y) {
                using A = decltype(a);
                using B = decltype(b);
                using Y = decltype(y);
                if constexpr (sizeof(A) >= sizeof(B))
                    map<map_lanes<A, B, Y>>(stream_, "add",
                                            Sum<A, B, Y>{Rows<const A>(first), Rows<const B>(second), Rows<Y>(op.y)},
                                            op.y, first, second);
            });
        });
    });
}

void CudaBackend::shift_forward(const ShiftForward& op) { shift(stream_, op.x, op.y, 1, "shift_forward"); }
void CudaBackend::shift_backward(const ShiftBackward& op) { shift(stream_, op.dy, op.dx, -1, "shift_backward"); }

}  // namespace nigiri
