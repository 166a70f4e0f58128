// The last step of the S4D and S4 kernels' gradients: D x N small sums, in a fixed order.
#include "kernels/cuda/s4d_modes.cuh"

namespace nigiri::cuda {

namespace {

struct Sums {
    const ModeGradient* gradients;
    int64_t channels, copies, modes;
    bool is_complex;
    Rows dinv_dt, da_real, da_imag, dp, db, dc;

    __device__ const ModeGradient& of(int64_t d, int64_t n) const { return gradients[d * modes + n]; }
    __device__ void add(const Rows& to, int64_t row, int64_t n, Complex g) const {
        if (to.data == nullptr) return;
        if (!is_complex) {
            to.row(row)[n] = static_cast<float>(to.row(row)[n] + g.re);
            return;
        }
        float* pair = to.row(row * modes + n);
        pair[0] = static_cast<float>(pair[0] + g.re);
        pair[1] = static_cast<float>(pair[1] + g.im);
    }
};

__global__ void add_gradients(Sums s) {
    int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
    if (i < s.channels) {
        if (s.dinv_dt.data == nullptr) return;
        double sum = 0;
        for (int64_t n = 0; n < s.modes; ++n) sum += s.of(i, n).inv_dt;
        s.dinv_dt.data[i] = static_cast<float>(s.dinv_dt.data[i] + sum);
        return;
    }
    i -= s.channels;
    if (i < s.channels * s.modes) return s.add(s.dc, i / s.modes, i % s.modes, s.gradients[i].c);
    i -= s.channels * s.modes;
    if (i >= s.copies * s.modes) return;
    const int64_t copy = i / s.modes, n = i % s.modes;
    double a_real = 0, a_imag = 0;
    Complex b = {0, 0}, p = {0, 0};
    for (int64_t d = copy; d < s.channels; d += s.copies) {
        const ModeGradient& g = s.of(d, n);
        a_real += g.a_real;
        a_imag += g.a_imag;
        b = b + g.b;
        p = p + g.p;
    }
    if (s.da_real.data) s.da_real.row(copy)[n] = static_cast<float>(s.da_real.row(copy)[n] + a_real);
    if (s.da_imag.data) s.da_imag.row(copy)[n] = static_cast<float>(s.da_imag.row(copy)[n] + a_imag);
    s.add(s.db, copy, n, b);
    s.add(s.dp, copy, n, p);
}

}  // namespace

void add_mode_gradients(cudaStream_t stream, const ModeGradient* gradients, int64_t channels, int64_t copies,
                        int64_t modes, bool is_complex, const ModeGradientViews& v) {
    const Sums sums = {gradients, channels,  copies, modes, is_complex, v.dinv_dt,
                       v.da_real, v.da_imag, v.dp,   v.db,  v.dc};
    const int64_t threads = channels + channels * modes + copies * modes;
    add_gradients<<<static_cast<unsigned>(ceil_div(threads, 128)), 128, 0, stream>>>(sums);
    check_launch("add_mode_gradients");
}

}  // namespace nigiri::cuda
