// Element-wise non-linearities and gates. Bound by bytes as long as an element costs fewer than some 25
// instructions in bfloat16, which is why the error function is a polynomial times an exponential rather than
// the library's.
#include "kernels/activation.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/map.cuh"

namespace nigiri {

using namespace cuda;

namespace {

// Phi, the normal distribution function, and its density phi. erfc by Abramowitz & Stegun 7.1.26,
// within 1.5e-7; it shares its exponential with the density.
struct Normal {
    float cdf, density;

    __device__ explicit Normal(float x) {
        const float z = 0.70710678f * fabsf(x);
        const float e = exp2_approximate(-1.44269504f * z * z);
        const float t = reciprocal_approximate(fmaf(0.3275911f, z, 1.0f));
        float p = 1.061405429f;
        p = fmaf(p, t, -1.453152027f);
        p = fmaf(p, t, 1.421413741f);
        p = fmaf(p, t, -0.284496736f);
        p = fmaf(p, t, 0.254829592f);
        const float upper = 0.5f * p * t * e;  // the tail beyond |x|
        cdf = x < 0 ? upper : 1.0f - upper;
        density = 0.39894228f * e;
    }
};

template <class T>
struct Gelu {
    Rows<const T> x;
    Rows<T> y;
    template <int n>
    __device__ void apply(int64_t row, int64_t column) const {
        float v[n];
        load_vector<n>(x.at(row, column), v);
#pragma unroll
        for (int i = 0; i < n; ++i) v[i] *= Normal(v[i]).cdf;
        store_vector<n>(y.at(row, column), v);
    }
};

template <class T>
struct GeluSlope {
    Rows<const T> x, dy;
    Rows<T> dx;
    template <int n>
    __device__ void apply(int64_t row, int64_t column) const {
        float v[n], g[n];
        load_vector<n>(x.at(row, column), v);
        load_vector<n>(dy.at(row, column), g);
#pragma unroll
        for (int i = 0; i < n; ++i) {
            const Normal normal(v[i]);
            g[i] *= fmaf(v[i], normal.density, normal.cdf);
        }
        store_vector<n>(dx.at(row, column), g);
    }
};

template <class T>
struct Glu {
    Rows<const T> a, b;
    Rows<T> y;
    template <int n>
    __device__ void apply(int64_t row, int64_t column) const {
        float u[n], v[n];
        load_vector<n>(a.at(row, column), u);
        load_vector<n>(b.at(row, column), v);
#pragma unroll
        for (int i = 0; i < n; ++i) u[i] *= sigmoid(v[i]);
        store_vector<n>(y.at(row, column), u);
    }
};

template <class T, class G>
struct GluSlope {
    Rows<const T> a, b;
    Rows<const G> dy;
    Rows<T> da, db;
    template <int n>
    __device__ void apply(int64_t row, int64_t column) const {
        float u[n], v[n], g[n];
        load_vector<n>(a.at(row, column), u);
        load_vector<n>(b.at(row, column), v);
        load_vector<n>(dy.at(row, column), g);
#pragma unroll
        for (int i = 0; i < n; ++i) {
            const float s = sigmoid(v[i]);
            g[i] *= s;
            v[i] = g[i] * u[i] * (1.0f - s);
        }
        store_vector<n>(da.at(row, column), g);
        store_vector<n>(db.at(row, column), v);
    }
};

template <class T>
struct Gate {
    Rows<const T> x, z;
    Rows<T> y;
    template <int n>
    __device__ void apply(int64_t row, int64_t column) const {
        float u[n], v[n];
        load_vector<n>(x.at(row, column), u);
        load_vector<n>(z.at(row, column), v);
#pragma unroll
        for (int i = 0; i < n; ++i) u[i] *= silu(v[i]);
        store_vector<n>(y.at(row, column), u);
    }
};

template <class T>
struct GateSlope {
    Rows<const T> x, z, dy;
    Rows<T> dx, dz;
    template <int n>
    __device__ void apply(int64_t row, int64_t column) const {
        float u[n], v[n], g[n];
        load_vector<n>(x.at(row, column), u);
        load_vector<n>(z.at(row, column), v);
        load_vector<n>(dy.at(row, column), g);
#pragma unroll
        for (int i = 0; i < n; ++i) {
            const float s = sigmoid(v[i]);
            u[i] *= g[i] * silu_slope(v[i], s);
            g[i] *= v[i] * s;
        }
        store_vector<n>(dx.at(row, column), g);
        store_vector<n>(dz.at(row, column), u);
    }
};

template <class T>
struct Product {
    Rows<const T> x1, x2;
    Rows<T> y;
    template <int n>
    __device__ void apply(int64_t row, int64_t column) const {
        float u[n], v[n];
        load_vector<n>(x1.at(row, column), u);
        load_vector<n>(x2.at(row, column), v);
#pragma unroll
        for (int i = 0; i < n; ++i) u[i] *= v[i];
        store_vector<n>(y.at(row, column), u);
    }
};

template <class T>
struct ProductSlope {
    Rows<const T> x1, x2, dy;
    Rows<T> dx1, dx2;
    template <int n>
    __device__ void apply(int64_t row, int64_t column) const {
        float u[n], v[n], g[n];
        load_vector<n>(x1.at(row, column), u);
        load_vector<n>(x2.at(row, column), v);
        load_vector<n>(dy.at(row, column), g);
#pragma unroll
        for (int i = 0; i < n; ++i) {
            v[i] *= g[i];
            u[i] *= g[i];
        }
        store_vector<n>(dx1.at(row, column), v);
        store_vector<n>(dx2.at(row, column), u);
    }
};

struct NegativeExp {
    Rows<const float> x;
    Rows<float> y;
    template <int>
    __device__ void apply(int64_t row, int64_t column) const {
        *y.at(row, column) = -expf(*x.at(row, column));
    }
};

struct NegativeExpSlope {
    Rows<const float> y, dy;
    Rows<float> dx;
    template <int>
    __device__ void apply(int64_t row, int64_t column) const {
        *dx.at(row, column) += *dy.at(row, column) * *y.at(row, column);
    }
};

template <class... Views>
void require_like(const char* name, const View& first, const Views&... others) {
    require(((others.shape == first.shape && others.dtype == first.dtype) && ...), name, "equal shapes and types");
}

}  // namespace

void CudaBackend::gelu_forward(const GeluForward& op) {
    require_like("gelu_forward", op.x, op.y);
    dispatch(op.x.dtype, [&](auto zero) {
        using T = decltype(zero);
        map<map_lanes<T>>(stream_, "gelu_forward", Gelu<T>{Rows<const T>(op.x), Rows<T>(op.y)}, op.x, op.y);
    });
}

void CudaBackend::gelu_backward(const GeluBackward& op) {
    require_like("gelu_backward", op.x, op.dy, op.dx);
    dispatch(op.x.dtype, [&](auto zero) {
        using T = decltype(zero);
        map<map_lanes<T>>(stream_, "gelu_backward",
                          GeluSlope<T>{Rows<const T>(op.x), Rows<const T>(op.dy), Rows<T>(op.dx)}, op.x, op.dy, op.dx);
    });
}

void CudaBackend::glu_forward(const GluForward& op) {
    const int64_t h = op.y.columns();
    require(op.x.columns() == 2 * h, "glu_forward", "x of twice the columns of y");
    const View a = op.x.columns(0, h), b = op.x.columns(h, h);
    require_like("glu_forward", op.y, a, b);
    dispatch(op.y.dtype, [&](auto zero) {
        using T = decltype(zero);
        map<map_lanes<T>>(stream_, "glu_forward", Glu<T>{Rows<const T>(a), Rows<const T>(b), Rows<T>(op.y)}, op.y, a,
                          b);
    });
}

void CudaBackend::glu_backward(const GluBackward& op) {
    const int64_t h = op.dy.columns();
    require(op.x.columns() == 2 * h && op.dx.columns() == 2 * h, "glu_backward", "x and dx of twice the columns of dy");
    const View a = op.x.columns(0, h), b = op.x.columns(h, h);
    const View da = op.dx.columns(0, h), db = op.dx.columns(h, h);
    require_like("glu_backward", a, b, da, db);
    require(a.shape == op.dy.shape && (op.dy.dtype == a.dtype || op.dy.dtype == DType::f32), "glu_backward",
            "dy at least as wide as x");
    dispatch(a.dtype, [&](auto x) {
        dispatch(op.dy.dtype, [&](auto g) {
            using T = decltype(x);
            using G = decltype(g);
            if constexpr (sizeof(G) >= sizeof(T))
                map<map_lanes<T, G>>(
                    stream_, "glu_backward",
                    GluSlope<T, G>{Rows<const T>(a), Rows<const T>(b), Rows<const G>(op.dy), Rows<T>(da), Rows<T>(db)},
                    op.dy, a, b, da, db);
        });
    });
}

void CudaBackend::gate_forward(const GateForward& op) {
    require_like("gate_forward", op.x, op.z, op.y);
    dispatch(op.x.dtype, [&](auto zero) {
        using T = decltype(zero);
        map<map_lanes<T>>(stream_, "gate_forward", Gate<T>{Rows<const T>(op.x), Rows<const T>(op.z), Rows<T>(op.y)},
                          op.x, op.z, op.y);
    });
}

void CudaBackend::gate_backward(const GateBackward& op) {
    require_like("gate_backward", op.x, op.z, op.dy, op.dx, op.dz);
    dispatch(op.x.dtype, [&](auto zero) {
        using T = decltype(zero);
        map<map_lanes<T>>(stream_, "gate_backward",
                          GateSlope<T>{Rows<const T>(op.x), Rows<const T>(op.z), Rows<const T>(op.dy), Rows<T>(op.dx),
                                       Rows<T>(op.dz)},
                          op.x, op.z, op.dy, op.dx, op.dz);
    });
}

void CudaBackend::product_forward(const ProductForward& op) {
    require_like("product_forward", op.x1, op.x2, op.y);
    dispatch(op.x1.dtype, [&](auto zero) {
        using T = decltype(zero);
        map<map_lanes<T>>(stream_, "product_forward",
                          Product<T>{Rows<const T>(op.x1), Rows<const T>(op.x2), Rows<T>(op.y)}, op.x1, op.x2, op.y);
    });
}

void CudaBackend::product_backward(const ProductBackward& op) {
    require_like("product_backward", op.x1, op.x2, op.dy, op.dx1, op.dx2);
    dispatch(op.x1.dtype, [&](auto zero) {
        using T = decltype(zero);
        map<map_lanes<T>>(stream_, "product_backward",
                          ProductSlope<T>{Rows<const T>(op.x1), Rows<const T>(op.x2), Rows<const T>(op.dy),
                                          Rows<T>(op.dx1), Rows<T>(op.dx2)},
                          op.x1, op.x2, op.dy, op.dx1, op.dx2);
    });
}

// Only parameters pass through these two: float32, and few.
void CudaBackend::negative_exp_forward(const NegativeExpForward& op) {
    require_like("negative_exp_forward", op.x, op.y);
    require(op.x.dtype == DType::f32, "negative_exp_forward", "float32");
    map<1>(stream_, "negative_exp_forward", NegativeExp{Rows<const float>(op.x), Rows<float>(op.y)}, op.x, op.y);
}

void CudaBackend::negative_exp_backward(const NegativeExpBackward& op) {
    require_like("negative_exp_backward", op.y, op.dy, op.dx);
    require(op.y.dtype == DType::f32, "negative_exp_backward", "float32");
    map<1>(stream_, "negative_exp_backward",
           NegativeExpSlope{Rows<const float>(op.y), Rows<const float>(op.dy), Rows<float>(op.dx)}, op.y, op.dy, op.dx);
}

}  // namespace nigiri
