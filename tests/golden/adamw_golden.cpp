// Steps of the optimiser on given gradients.
#include "tests/golden/golden.h"

namespace nigiri::golden {
namespace {

void judge_adamw(const SafeTensorsFile& file, const std::shared_ptr<Backend>& backend, DType dtype) {
    const auto number = [&](const char* key) { return std::stod(text(file, key, "missing")); };
    const Tensor weight = load(*backend, file, "in.w0", dtype);
    const std::vector<double> gradients = file.values("in.grads"), expected = file.values("out.w");
    const Tensor gradient = backend->allocate(weight.shape(), dtype);
    const Tensor m = backend->zeros(weight.shape(), dtype), v = backend->zeros(weight.shape(), dtype);
    const int64_t size = weight.size(), steps = static_cast<int64_t>(gradients.size()) / size;
    const auto of_step = [&](const std::vector<double>& all, int64_t step) {
        return std::vector<double>(all.begin() + (step - 1) * size, all.begin() + step * size);
    };
    for (int64_t step = 1; step <= steps; ++step) {
        upload_values(*backend, of_step(gradients, step), gradient);
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
        upload_values(*backend, of_step(expected, step), now);
        expect_close(*backend, weight, now, dtype, "out.w, step " + std::to_string(step));
    }
}

const Registration optimizer("adamw", judge_adamw);

}  // namespace
}  // namespace nigiri::golden
