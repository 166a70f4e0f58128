// Memory and shapes: what every kernel is given.
//
// A Tensor owns (shares) memory of a backend; a View only looks at it. Kernels take Views.
// Everything is row-major. The last axis is contiguous; consecutive rows (all leading axes
// flattened) are `row_stride` elements apart, so that a range of columns is a View without a copy.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>

#include "kernels/half.h"
#include "kernels/error.h"

namespace nigiri {

enum class DType : uint8_t { f32, f64, i32, bf16 };

size_t size_of(DType dtype);
const char* name_of(DType dtype);

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
    static constexpr DType value = DType::f32;
};
template <>
struct DTypeOf<double> {
    static constexpr DType value = DType::f64;
};
template <>
struct DTypeOf<int32_t> {
    static constexpr DType value = DType::i32;
};
template <>
struct DTypeOf<BFloat16> {
    static constexpr DType value = DType::bf16;
};

// Up to four extents, outermost first.
class Shape {
  public:
    Shape() = default;
    Shape(std::initializer_list<int64_t> extents);
    explicit Shape(std::span<const int64_t> extents);

    int rank() const { return rank_; }
    // Negative axes count from the end.
    int64_t operator[](int axis) const { return extents_[static_cast<size_t>(axis < 0 ? axis + rank_ : axis)]; }
    int64_t size() const;
    int64_t columns() const { return rank_ == 0 ? 1 : extents_[static_cast<size_t>(rank_ - 1)]; }
    int64_t rows() const { return columns() == 0 ? 0 : size() / columns(); }
    std::string text() const;
    bool operator==(const Shape&) const = default;

    static constexpr int max_rank = 4;

  private:
    std::array<int64_t, max_rank> extents_{};
    int rank_ = 0;
};

// A look at somebody else's memory. Empty (data == nullptr) where an operand is optional and absent.
struct View {
    void* data = nullptr;
    DType dtype = DType::f32;
    Shape shape;
    int64_t row_stride = 0;  // elements between consecutive rows

    bool empty() const { return data == nullptr; }
    explicit operator bool() const { return data != nullptr; }
    int64_t size() const { return shape.size(); }
    int64_t rows() const { return shape.rows(); }
    int64_t columns() const { return shape.columns(); }
    int64_t operator[](int axis) const { return shape[axis]; }
    bool contiguous() const { return row_stride == columns() || rows() <= 1; }

    // Throws Error where the element type differs from T.
    template <class T>
    T* as() const {
        if (data != nullptr && dtype != DTypeOf<T>::value) fail_dtype(DTypeOf<T>::value);
        return static_cast<T*>(data);
    }
    template <class T>
    T* row(int64_t i) const {
        return static_cast<T*>(data) + i * row_stride;
    }

    // Columns [begin, begin + count) of every row; the shape's last extent becomes `count`.
    View columns(int64_t begin, int64_t count) const;
    // The same contiguous memory under another shape of equal size.
    View reshaped(const Shape& other) const;

  private:
    [[noreturn]] void fail_dtype(DType wanted) const;
};

class Backend;

// A block of a backend's memory; goes back to the backend's pool when its last user lets go.
class Buffer {
  public:
    Buffer(std::shared_ptr<Backend> owner, void* data, size_t bytes)
        : owner_(std::move(owner)), data_(data), bytes_(bytes) {}
    ~Buffer();
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    void* data() const { return data_; }
    size_t bytes() const { return bytes_; }

  private:
    std::shared_ptr<Backend> owner_;
    void* data_;
    size_t bytes_;
};

// A View together with a share in the memory it looks at. Copying a Tensor shares, never copies memory.
class Tensor {
  public:
    Tensor() = default;
    Tensor(std::shared_ptr<Buffer> buffer, const View& view) : buffer_(std::move(buffer)), view_(view) {}

    const View& view() const { return view_; }
    operator const View&() const { return view_; }  // NOLINT: a Tensor is a View that stays alive

    bool empty() const { return view_.empty(); }
    explicit operator bool() const { return !view_.empty(); }
    DType dtype() const { return view_.dtype; }
    const Shape& shape() const { return view_.shape; }
    int64_t operator[](int axis) const { return view_.shape[axis]; }
    int64_t size() const { return view_.size(); }
    int64_t rows() const { return view_.rows(); }
    int64_t columns() const { return view_.columns(); }
    template <class T>
    T* as() const {
        return view_.as<T>();
    }
    // The elements of a contiguous tensor in host memory.
    template <class T>
    std::span<T> span() const {
        return {view_.as<T>(), static_cast<size_t>(view_.size())};
    }

    Tensor columns(int64_t begin, int64_t count) const { return {buffer_, view_.columns(begin, count)}; }
    Tensor reshaped(const Shape& other) const { return {buffer_, view_.reshaped(other)}; }

    // Whether this is the only Tensor that looks at its memory (so it may be overwritten in place).
    bool unique() const { return buffer_.use_count() == 1; }

  private:
    std::shared_ptr<Buffer> buffer_;
    View view_;
};

}  // namespace nigiri
