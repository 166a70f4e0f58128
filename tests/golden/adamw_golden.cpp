// Steps of the optimiser on given gradients.
#include "tests/golden/golden.h"

namespace nigiri::golden {
namespace {

const Registration registration("adamw", [](const SafeTensorsFile& file, DType dtype) {
    const auto backend = make_backend("cpu");
    const auto number = [&](const char* key) { return std::stod(text(file, key, "missing")); };
    const Tensor weight = load(*backend, file, "in.w0", dtype);
    const Tensor gradients = load(*backend, file, "in.grads", dtype),
                 expected = load(*backend, file, "out.w", dtype);
    const Tensor gradient = backend->allocate(weight.shape(), dtype);
    const Tensor m = backend->allocate(weight.shape(), dtype), v = backend->allocate(weight.shape(), dtype);
    const int64_t size = weight.size(), steps = gradients.size() / size;
    for (int64_t i = 0; i < size; ++i) test::set(m, i, 0), test::set(v, i, 0);
    for (int64_t step = 1; step <= steps; ++step) {
        for (int64_t i = 0; i < size; ++i)
            test::set(gradient, i, test::get(gradients, (step - 1) * size + i));
        backend->adamw({.weight = weight,
                        .grad = gradient,
                        .m = m,
                        .v = v,
                        .lr = number("lr"),
                        .beta1 = number("beta1"),
                        .beta2 = number("beta2"),
                        .eps = number("eps"),
                        .weight_decay = number("weight_decay"),
                        .step = step});
        const Tensor now = backend->allocate(weight.shape(), dtype);
        for (int64_t i = 0; i < size; ++i) test::set(now, i, test::get(expected, (step - 1) * size + i));
        expect_close(weight, now, dtype, "out.w, step " + std::to_string(step));
    }
});

}  // namespace
}  // namespace nigiri::golden
