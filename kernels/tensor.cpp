#include "kernels/tensor.h"

#include "kernels/backend.h"

namespace nigiri {

size_t size_of(DType dtype) {
    switch (dtype) {
        case DType::f32:
            return 4;
        case DType::f64:
            return 8;
        case DType::i32:
            return 4;
        case DType::bf16:
            return 2;
    }
    return 0;
}

const char* name_of(DType dtype) {
    switch (dtype) {
        case DType::f32:
            return "float32";
        case DType::f64:
            return "float64";
        case DType::i32:
            return "int32";
        case DType::bf16:
            return "bfloat16";
    }
    return "unknown";
}

Shape::Shape(std::initializer_list<int64_t> extents)
    : Shape(std::span<const int64_t>(extents.begin(), extents.size())) {}

Shape::Shape(std::span<const int64_t> extents) : rank_(static_cast<int>(extents.size())) {
    if (extents.size() > max_rank) throw Error("a shape has at most four axes");
    for (size_t i = 0; i < extents.size(); ++i) {
        if (extents[i] < 0) throw Error("a shape's extents are not negative");
        extents_[i] = extents[i];
    }
}

int64_t Shape::size() const {
    int64_t n = 1;
    for (int i = 0; i < rank_; ++i) n *= extents_[static_cast<size_t>(i)];
    return n;
}

std::string Shape::text() const {
    std::string s = "(";
    for (int i = 0; i < rank_; ++i) s += (i ? ", " : "") + std::to_string((*this)[i]);
    return s + ")";
}

View View::columns(int64_t begin, int64_t count) const {
    if (begin < 0 || count < 0 || begin + count > columns())
        throw Error("columns " + std::to_string(begin) + "+" + std::to_string(count) + " of a tensor of shape " +
                    shape.text());
    std::array<int64_t, Shape::max_rank> extents{};
    for (int i = 0; i < shape.rank(); ++i) extents[static_cast<size_t>(i)] = shape[i];
    extents[static_cast<size_t>(shape.rank() - 1)] = count;
    View v = *this;
    v.data = static_cast<char*>(data) + static_cast<size_t>(begin) * size_of(dtype);
    v.shape = Shape(std::span<const int64_t>(extents.data(), static_cast<size_t>(shape.rank())));
    return v;
}

View View::reshaped(const Shape& other) const {
    if (other.size() != size()) throw Error("shape " + shape.text() + " cannot become " + other.text());
    View v = *this;
    if (other.columns() == columns()) {  // only the leading axes change: any row stride stays right
        v.shape = other;
        return v;
    }
    if (!contiguous()) throw Error("a strided tensor of shape " + shape.text() + " cannot become " + other.text());
    v.shape = other;
    v.row_stride = other.columns();
    return v;
}

void View::fail_dtype(DType wanted) const {
    throw Error(std::string("a tensor of ") + name_of(dtype) + " where " + name_of(wanted) + " is needed");
}

Buffer::~Buffer() { owner_->release(data_, bytes_); }

}  // namespace nigiri
