#include "tests/cuda/pairs.h"

namespace nigiri {
namespace {

using test::bf16;
using test::CudaPairs;
using test::f32;
using test::Pair;

class CudaAdamW : public CudaPairs {
  protected:
    struct One {
        Pair weight, grad, m, v;
    };
    One one(int64_t size) {
        One o{values({size}, f32), values({size}, f32), values({size}, f32, 0, 0.1), values({size}, f32)};
        for (int64_t i = 0; i < size; ++i) test::set(o.v.host, i, std::abs(test::get(o.v.host, i)));
        o.v.device = test::to_device(*cuda, o.v.host, f32);
        return o;
    }
    void expect_same(One& o, const std::string& what) {
        expect_close(o.weight, what + " weight", 3e-7);
        expect_close(o.m, what + " m", 3e-7);
        expect_close(o.v, what + " v", 3e-7);
        EXPECT_EQ(test::max_difference(test::to_host(*cpu, *cuda, o.grad.device),
                                       cpu->zeros(o.grad.host.shape(), DType::f64)),
                  0);
    }
    static AdamWSet::Item item(const Tensor& weight, const Tensor& grad, const Tensor& m, const Tensor& v, int i) {
        return {weight, grad, m, v, 1e-3 * (1 + i % 3), i % 2 ? 0.1 : 0.0};
    }
};

TEST_F(CudaAdamW, AgreesWithFloat64) {
    for (const int64_t size : {1, 2, 3, 7, 64, 1000, 4095, 4096, 4097, 100003})
        for (const int64_t step : {1, 2, 1000}) {
            One o = one(size);
            AdamW op{.lr = 0.01, .beta1 = 0.9, .beta2 = 0.95, .weight_decay = 0.1, .gradient_scale = 0.5, .step = step};
            op.weight = o.weight.device, op.grad = o.grad.device, op.m = o.m.device, op.v = o.v.device;
            cuda->adamw(op);
            op.weight = o.weight.host, op.grad = o.grad.host, op.m = o.m.host, op.v = o.v.host;
            cpu->adamw(op);
            expect_same(o, std::to_string(size));
        }
}

TEST_F(CudaAdamW, UpdatesASetTogether) {
    const std::vector<int64_t> sizes = {1, 5, 64, 4096, 4097, 12289, 3, 70000};
    std::vector<One> all;
    std::vector<Tensor> rounded;
    AdamWSet device, host;
    for (const int64_t size : sizes) {
        all.push_back(one(size));
        const One& o = all.back();
        const int i = static_cast<int>(all.size());
        rounded.push_back(i % 2 ? cuda->allocate({size}, bf16) : Tensor());
        device.items.push_back(item(o.weight.device, o.grad.device, o.m.device, o.v.device, i));
        device.items.back().rounded = rounded.back();
        host.items.push_back(item(o.weight.host, o.grad.host, o.m.host, o.v.host, i));
    }
    for (int64_t step = 1; step <= 4; ++step) {
        const double clip = step % 2 ? 1.0 : 0.0;
        for (One& o : all) {
            o.grad.host = test::random_tensor(*cpu, o.grad.host.shape(), DType::f64, random);
            cuda->copy({.x = test::to_device(*cuda, o.grad.host, f32), .y = o.grad.device});
            o.grad.host = test::to_host(*cpu, *cuda, o.grad.device);
        }
        for (size_t i = 0; i < all.size(); ++i) host.items[i].grad = all[i].grad.host;
        cuda->adamw_step({.set = device, .factor = 0.7, .beta1 = 0.9, .beta2 = 0.95, .clip = clip, .step = step});
        cpu->adamw_step({.set = host, .factor = 0.7, .beta1 = 0.9, .beta2 = 0.95, .clip = clip, .step = step});
        EXPECT_NEAR(cuda->gradient_norm(device), cpu->gradient_norm(host), 1e-9 * cpu->gradient_norm(host));
        for (One& o : all) expect_same(o, "step " + std::to_string(step));
        for (size_t i = 0; i < all.size(); ++i) {
            if (!rounded[i]) continue;
            const Tensor expected = cuda->allocate(rounded[i].shape(), bf16);
            cuda->copy({.x = all[i].weight.device, .y = expected});
            expect_equal(rounded[i], expected, "rounded weight");
        }
    }
    // A gradient that is no number: nothing moves, and the norm says so.
    const Tensor before = test::to_host(*cpu, *cuda, all[2].weight.device);
    cuda->fill({.y = all[5].grad.device, .value = std::nan("")});
    cuda->adamw_step({.set = device, .clip = 1, .step = 5});
    EXPECT_FALSE(std::isfinite(cuda->gradient_norm(device)));
    EXPECT_EQ(test::max_difference(test::to_host(*cpu, *cuda, all[2].weight.device), before), 0);
}

TEST_F(CudaAdamW, SumsElementsAndTheirSquares) {
    for (const DType dtype : {f32, bf16})
        for (const int64_t gap : {0, 3})
            for (const Shape& shape : {Shape{1, 1}, Shape{3, 7}, Shape{1, 100003}, Shape{1001, 65}}) {
                const Pair x = values(shape, dtype, gap, 1, 0.5);
                const double squares = test::dot(x.host, x.host);
                EXPECT_NEAR(cuda->sum_of_squares(x.device), squares, 1e-12 * squares);  // double throughout
                EXPECT_NEAR(cuda->sum(x.device), cpu->sum(x.host), 1e-12 * squares);
                EXPECT_EQ(cuda->sum(x.device), cuda->sum(x.device));
            }
}

}  // namespace
}  // namespace nigiri
