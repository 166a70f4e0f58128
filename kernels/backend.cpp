#include "kernels/backend.h"

#include <cmath>

#include "kernels/cpu/cpu_backend.h"
#ifdef NIGIRI_CUDA
#include "kernels/cuda/cuda_backend.h"
#endif

namespace nigiri {

Tensor Backend::allocate(const Shape& shape, DType dtype) {
    const size_t bytes = std::max<size_t>(1, static_cast<size_t>(shape.size())) * size_of(dtype);
    void* data = acquire(bytes);
    View view;
    view.data = data;
    view.dtype = dtype;
    view.shape = shape;
    view.row_stride = shape.columns();
    return {std::make_shared<Buffer>(shared_from_this(), data, bytes), view};
}

Tensor Backend::allocate_rows(const Shape& shape, DType dtype) {
    const auto unit = static_cast<int64_t>(16 / size_of(dtype));
    std::array<int64_t, Shape::max_rank> extents{};
    for (int i = 0; i < shape.rank(); ++i) extents[static_cast<size_t>(i)] = shape[i];
    int64_t& columns = extents[static_cast<size_t>(shape.rank() - 1)];
    columns = (columns + unit - 1) / unit * unit;
    return allocate(Shape(std::span<const int64_t>(extents.data(), static_cast<size_t>(shape.rank()))), dtype)
        .columns(0, shape.columns());
}

Tensor Backend::zeros(const Shape& shape, DType dtype) {
    Tensor t = allocate(shape, dtype);
    fill({.y = t, .value = 0});
    return t;
}

std::shared_ptr<RecordedWork> Backend::record(const std::function<void()>&) {
    throw Error("the backend '" + name() + "' does not record operations");
}

void Backend::adamw_step(const AdamWStep& op) {
    double square = 0;
    for (const AdamWSet::Item& item : op.set.items) square += sum_of_squares(item.grad);
    const double norm = std::sqrt(square);
    op.set.prepared = std::make_shared<double>(norm);
    if (!std::isfinite(norm)) return;
    const double scale = op.clip > 0 && norm > op.clip ? op.clip / norm : 1.0;
    for (const AdamWSet::Item& item : op.set.items) {
        if (item.rounded) throw Error("adamw_step: this backend does not round weights");
        adamw({.weight = item.weight,
               .grad = item.grad,
               .m = item.m,
               .v = item.v,
               .lr = item.lr * op.factor,
               .beta1 = op.beta1,
               .beta2 = op.beta2,
               .eps = op.eps,
               .weight_decay = item.weight_decay,
               .gradient_scale = scale,
               .step = op.step});
    }
}

double Backend::gradient_norm(const AdamWSet& set) {
    return set.prepared ? *static_cast<const double*>(set.prepared.get()) : 0.0;
}

namespace {

bool cuda_available() {
#ifdef NIGIRI_CUDA
    return CudaBackend::available();
#else
    return false;
#endif
}

}  // namespace

std::vector<std::string> available_devices() {
    if (cuda_available()) return {"cuda", "cpu"};
    return {"cpu"};
}

std::shared_ptr<Backend> make_backend(const std::string& device, int threads) {
    if (device != "cpu" && device != "cuda" && device != "auto")
        throw Error("unknown device '" + device + "'", "choose auto, cpu or cuda");
#ifdef NIGIRI_CUDA
    if (device == "cuda" || (device == "auto" && cuda_available())) return std::make_shared<CudaBackend>();
#else
    if (device == "cuda")
        throw Error("no CUDA device: this build has no CUDA backend", "use --device cpu, or --device auto");
#endif
    return std::make_shared<CpuBackend>(threads);
}

}  // namespace nigiri
