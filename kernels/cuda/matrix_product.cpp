#include "kernels/cuda/matrix_product.h"

#include <cublasLt.h>

#include <algorithm>

#include "kernels/cuda/check.h"

namespace nigiri::cuda {

namespace {

constexpr size_t workspace_bytes = size_t{32} << 20;

void check_blas(cublasStatus_t status, const char* what) {
    if (status != CUBLAS_STATUS_SUCCESS)
        throw Error(std::string("cuBLAS failed while ") + what + ": " + cublasLtGetStatusString(status));
}

cudaDataType_t type_of(DType dtype) { return dtype == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F; }

// The largest power of two up to 16 that divides the address.
uint32_t alignment_of(const void* data) {
    uint32_t alignment = 16;
    while (reinterpret_cast<uintptr_t>(data) % alignment != 0) alignment /= 2;
    return alignment;
}

// The same of every matrix of a batch.
uint32_t alignment_of(const Matrix& x, int64_t batch) {
    uint32_t alignment = alignment_of(x.data);
    const int64_t apart = x.batch_stride * static_cast<int64_t>(size_of(x.dtype));
    while (batch > 1 && apart % alignment != 0) alignment /= 2;
    return alignment;
}

template <class T>
void set(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute, const T& value) {
    check_blas(cublasLtMatmulDescSetAttribute(desc, attribute, &value, sizeof(value)), "describing a product");
}
template <class T>
void set(cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t attribute, const T& value) {
    check_blas(cublasLtMatrixLayoutSetAttribute(layout, attribute, &value, sizeof(value)), "describing a matrix");
}
template <class T>
void set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute, const T& value) {
    check_blas(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value)),
               "describing a product");
}

}  // namespace

// The library's matrices are column-major: a row-major matrix is its transpose. So what is computed is d' =
// b' a'.
struct MatrixProducts::Plan {
    cublasLtMatmulDescOpaque_t desc{};
    cublasLtMatrixLayoutOpaque_t a{}, b{}, c{}, d{};
    cublasLtMatmulAlgo_t algorithm{};
    bool found = false;
};

MatrixProducts::MatrixProducts() {
    cublasLtHandle_t handle = nullptr;
    check_blas(cublasLtCreate(&handle), "starting");
    handle_ = handle;
    check(cudaMalloc(&workspace_, workspace_bytes), "allocating the workspace of matrix products");
}

MatrixProducts::~MatrixProducts() {
    cudaFree(workspace_);
    cublasLtDestroy(static_cast<cublasLtHandle_t>(handle_));
}

MatrixProducts::Plan MatrixProducts::make_plan(const MatrixProduct& p) const {
    Plan plan;
    check_blas(cublasLtMatmulDescInit(&plan.desc, CUBLAS_COMPUTE_32F, CUDA_R_32F), "describing a product");
    set(&plan.desc, CUBLASLT_MATMUL_DESC_TRANSA, p.b.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(&plan.desc, CUBLASLT_MATMUL_DESC_TRANSB, p.a.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
    if (p.bias) {
        set(&plan.desc, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
        set(&plan.desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
    }
    const auto layout = [&](cublasLtMatrixLayoutOpaque_t& l, const Matrix& x, int64_t rows, int64_t columns) {
        if (x.transposed) std::swap(rows, columns);
        check_blas(cublasLtMatrixLayoutInit(&l, type_of(x.dtype), static_cast<uint64_t>(columns),
                                            static_cast<uint64_t>(rows), x.stride),
                   "describing a matrix");
        if (p.batch == 1) return;
        set(&l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, static_cast<int32_t>(p.batch));
        set(&l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, x.batch_stride);
    };
    layout(plan.a, p.b, p.k, p.n);
    layout(plan.b, p.a, p.m, p.k);
    layout(plan.c, p.c.data ? p.c : p.d, p.m, p.n);
    layout(plan.d, p.d, p.m, p.n);

    cublasLtMatmulPreferenceOpaque_t preference{};
    check_blas(cublasLtMatmulPreferenceInit(&preference), "describing a product");
    set(&preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes);
    // Where the inner sum is cut into parts, these are added in a fixed order; the scheme left out adds them
    // as they come.
    set(&preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
        static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
    set(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(p.b, p.batch));
    set(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(p.a, p.batch));
    set(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(p.c.data ? p.c : p.d, p.batch));
    set(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(p.d, p.batch));
    cublasLtMatmulHeuristicResult_t best{};
    int found = 0;
    const cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(static_cast<cublasLtHandle_t>(handle_), &plan.desc, &plan.a, &plan.b, &plan.c,
                                       &plan.d, &preference, 1, &best, &found);
    plan.found = status == CUBLAS_STATUS_SUCCESS && found > 0 && best.state == CUBLAS_STATUS_SUCCESS;
    plan.algorithm = best.algo;
    return plan;
}

bool MatrixProducts::run(const MatrixProduct& p, cudaStream_t stream) {
    const auto flags = [&p](const Matrix& x) {
        return static_cast<int64_t>(alignment_of(x, p.batch)) << 2 | static_cast<int64_t>(x.transposed) << 1 |
               (x.dtype == DType::bf16 ? 1 : 0);
    };
    const Key key = {p.m,
                     p.n,
                     p.k,
                     p.batch,
                     p.a.stride,
                     p.a.batch_stride,
                     flags(p.a),
                     p.b.stride,
                     p.b.batch_stride,
                     flags(p.b),
                     p.d.stride,
                     p.d.batch_stride,
                     flags(p.d),
                     p.c.data ? p.c.stride : -1,
                     p.c.batch_stride,
                     p.c.data ? flags(p.c) : 0,
                     p.bias ? alignment_of(p.bias) : 0};
    auto& plan = plans_[key];
    if (!plan) plan = std::make_unique<Plan>(make_plan(p));
    if (!plan->found) return false;
    if (p.bias) set(&plan->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
    const float one = 1, beta = p.c.data ? 1.0f : 0.0f;
    check_blas(cublasLtMatmul(static_cast<cublasLtHandle_t>(handle_), &plan->desc, &one, p.b.data, &plan->a, p.a.data,
                              &plan->b, &beta, p.c.data ? p.c.data : p.d.data, &plan->c, p.d.data, &plan->d,
                              &plan->algorithm, workspace_, workspace_bytes, stream),
               "multiplying matrices");
    return true;
}

void MatrixProducts::multiply(const MatrixProduct& product, cudaStream_t stream) {
    if (!run(product, stream)) plain_product(product, stream);
}

}  // namespace nigiri::cuda
