#include "kernels/backend.h"

#include "kernels/cpu/cpu_backend.h"

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

Tensor Backend::zeros(const Shape& shape, DType dtype) {
    Tensor t = allocate(shape, dtype);
    fill({.y = t, .value = 0});
    return t;
}

std::vector<std::string> available_devices() { return {"cpu"}; }

std::shared_ptr<Backend> make_backend(const std::string& device, int threads) {
    if (device == "cpu" || device == "auto") return std::make_shared<CpuBackend>(threads);
    if (device == "cuda")
        throw Error("no CUDA device: this build has no CUDA backend", "use --device cpu, or --device auto");
    throw Error("unknown device '" + device + "'", "choose auto, cpu or cuda");
}

}  // namespace nigiri
