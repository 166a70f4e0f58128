#include "kernels/backend.h"

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

Tensor Backend::zeros(const Shape& shape, DType dtype) {
    Tensor t = allocate(shape, dtype);
    fill({.y = t, .value = 0});
    return t;
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
