#include <cuda_runtime_api.h>

#include "tests/cuda/support.h"
#include "tests/kernels/selective_scan_problem.h"

namespace nigiri {
namespace {

using test::Cuda;
using test::get;
using test::ScanProblem;
using test::ScanVariant;
using test::set;
using test::variant_of;

// float32 against float64 on the same numbers, relative to the tensor's norm: some roundings of 6e-8 and
// approximations of 2e-7 a step, which decaying states forget; gradients of parameters are sums over all
// steps of terms that cancel. Results in bf16 are rounded by up to 2^-9 = 2e-3, half of that in the norm.
double tolerance_of(const std::string& name, DType result) {
    if (result == DType::bf16) return 4e-3;
    return name == "da" || name == "ddelta_bias" || name == "dskip" ? 3e-5 : 1e-5;
}

// A problem's copy on the device. Its rows lie `gap` elements apart, its activations are of type
// `activation`, to which the problem's numbers have been rounded.
class DeviceScan {
  public:
    struct Operand {
        Tensor whole;
        int64_t gap = 0;
        Tensor view() const { return whole && gap > 0 ? whole.columns(gap, whole.columns() - 2 * gap) : whole; }
    };

    DeviceScan(std::shared_ptr<Backend> cuda, const ScanProblem& p, DType activation, int64_t gap)
        : cuda_(std::move(cuda)), variant_(p.variant), activation_(activation), gap_(gap) {
        u = rows(p.u), delta = rows(p.delta), z = rows(p.z), dy = rows(p.dy), y = rows(p.y);
        du = rows(p.du), ddelta = rows(p.ddelta), dz = rows(p.dz);
        b = matrix(p.b, variant_.selective_b), db = matrix(p.db, variant_.selective_b);
        c = matrix(p.c, variant_.selective_c), dc = matrix(p.dc, variant_.selective_c);
        a = upload(p.a, DType::f32, gap), da = upload(p.da, DType::f32, gap);
        bias = upload(p.bias, DType::f32, 0), dbias = upload(p.dbias, DType::f32, 0);
        skip = upload(p.skip, DType::f32, 0), dskip = upload(p.dskip, DType::f32, 0);
        state = upload(p.state, DType::f32, gap), checkpoints = upload(p.checkpoints, DType::f32, gap);
    }

    SelectiveScan operands() const {
        SelectiveScan s;
        s.is_complex = variant_.is_complex, s.selective_b = variant_.selective_b, s.selective_c = variant_.selective_c;
        s.softplus = variant_.softplus, s.discretization = variant_.rule;
        s.u = u.view(), s.delta = delta.view(), s.delta_bias = bias.view(), s.a = a.view(), s.b = b.view();
        s.c = c.view(), s.skip = skip.view(), s.z = z.view();
        return s;
    }
    void forward() const { cuda_->selective_scan_forward({operands(), y.view(), state.view(), checkpoints.view()}); }
    void backward() const {
        cuda_->selective_scan_backward({operands(), checkpoints.view(), dy.view(), du.view(), ddelta.view(),
                                        dbias.view(), da.view(), db.view(), dc.view(), dskip.view(), dz.view()});
    }
    // In the order of ScanProblem::results, then the state and the checkpoints.
    std::vector<std::pair<std::string, const Operand*>> results() const {
        std::vector<std::pair<std::string, const Operand*>> all = {
            {"y", &y}, {"du", &du}, {"da", &da}, {"db", &db}, {"dc", &dc}};
        if (delta.whole) all.push_back({"ddelta", &ddelta});
        if (bias.whole) all.push_back({"ddelta_bias", &dbias});
        if (skip.whole) all.push_back({"dskip", &dskip});
        if (z.whole) all.push_back({"dz", &dz});
        all.push_back({"state", &state});
        all.push_back({"checkpoints", &checkpoints});
        return all;
    }
    std::vector<uint8_t> bytes(const Operand& x) const {
        std::vector<uint8_t> all(static_cast<size_t>(x.whole.size()) * size_of(x.whole.dtype()));
        cuda_->download(x.whole, all.data());
        return all;
    }
    Tensor download(const Operand& x, Backend& cpu) const {
        std::vector<uint8_t> all = bytes(x);
        View staged = x.view().view();
        staged.data = all.data() + static_cast<size_t>(x.gap) * size_of(staged.dtype);
        return test::converted(cpu, staged, DType::f64);
    }

    Operand u, delta, bias, a, b, c, skip, z, dy, state, y, checkpoints;
    Operand du, ddelta, dbias, da, db, dc, dskip, dz;

  private:
    Operand upload(const Tensor& host, DType dtype, int64_t gap) const {
        if (!host) return {};
        std::vector<int64_t> extents;
        for (int i = 0; i < host.shape().rank(); ++i) extents.push_back(host[i]);
        extents.back() += 2 * gap;
        const Tensor whole = cuda_->allocate(Shape(extents), dtype);
        std::vector<uint8_t> all(static_cast<size_t>(whole.size()) * size_of(dtype),
                                 0x7f);  // gaps must not matter
        View inner = whole.view();
        inner.data = all.data();
        inner = inner.columns(gap, host.columns());
        for (int64_t i = 0; i < host.size(); ++i) set(inner, i, get(host, i));
        cuda_->upload(all.data(), whole);
        cuda_->synchronize();
        return {whole, gap};
    }
    Operand rows(const Tensor& host) const { return upload(host, activation_, gap_); }
    Operand matrix(const Tensor& host, bool selective) const {
        return upload(host, selective ? activation_ : DType::f32, gap_);
    }

    std::shared_ptr<Backend> cuda_;
    ScanVariant variant_;
    DType activation_;
    int64_t gap_;
};

class CudaSelectiveScan : public Cuda {
  protected:
    // A float32 problem on the CPU whose activations are numbers of type `activation`.
    ScanProblem problem(const ScanVariant& v, int64_t batch, int64_t length, int64_t channels, int64_t states,
                        DType activation) {
        ScanProblem p(cpu, v, batch, length, channels, states, random);
        if (activation != DType::bf16) return p;
        const auto round = [](const Tensor& x) {
            if (!x) return;
            for (int64_t i = 0; i < x.size(); ++i)
                set(x, i, static_cast<float>(BFloat16(static_cast<float>(get(x, i)))));
        };
        for (const Tensor* x : {&p.u, &p.delta, &p.z, &p.dy}) round(*x);
        if (v.selective_b) round(p.b);
        if (v.selective_c) round(p.c);
        return p;
    }

    void expect_judged(const ScanVariant& v, int64_t batch, int64_t length, int64_t channels, int64_t states,
                       DType activation, int64_t gap) {
        SCOPED_TRACE(v.text() + " " + name_of(activation) + " B " + std::to_string(batch) + " L " +
                     std::to_string(length) + " D " + std::to_string(channels) + " N " + std::to_string(states) +
                     " gap " + std::to_string(gap) + " seed " + std::to_string(test::seed()));
        const ScanProblem p = problem(v, batch, length, channels, states, activation);
        const ScanProblem judge = p.as(DType::f64);
        judge.forward(false);
        judge.backward();
        const DeviceScan device(cuda, p, activation, gap);
        device.forward();
        device.backward();
        auto expected = judge.results();
        expected.push_back({"state", judge.state});
        expected.push_back({"checkpoints", judge.checkpoints});
        const auto actual = device.results();
        ASSERT_EQ(actual.size(), expected.size());
        for (size_t i = 0; i < actual.size(); ++i) {
            const auto& [name, result] = actual[i];
            ASSERT_EQ(name, expected[i].first);
            EXPECT_LE(test::relative_error(device.download(*result, *cpu), expected[i].second),
                      tolerance_of(name, result->whole.dtype()))
                << name;
        }
    }
};

TEST_F(CudaSelectiveScan, IsTheJudgeInEveryVariant) {
    for (const auto& v : test::scan_variants())
        for (const DType dtype : {DType::f32, DType::bf16}) expect_judged(v, 2, 131, 11, 5, dtype, 3);
}

TEST_F(CudaSelectiveScan, IsTheJudgeAtOddLengths) {
    for (const int64_t length : test::odd_lengths)
        for (const DType dtype : {DType::f32, DType::bf16}) {
            expect_judged({}, 2, length, 17, 16, dtype, 0);
            expect_judged(variant_of(true, Discretization::euler, false), 1, length, 9, 4, dtype, 1);
        }
}

TEST_F(CudaSelectiveScan, IsTheJudgeWithAnyChannelsAndStates) {
    for (const int64_t channels : {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 129, 257}) {
        expect_judged({}, 1, 70, channels, 5, DType::f32, 0);
        expect_judged({}, 3, 65, channels, 16, DType::bf16,
                      4);  // rows that can and that cannot be read by vectors
        expect_judged({}, 3, 65, channels, 16, DType::bf16, 2);
    }
    for (const int64_t states : {1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 32, 63, 64, 65, 129, 256})
        for (const bool is_complex : {false, true}) {
            if (is_complex && states > 200) continue;  // more than fits
            expect_judged(variant_of(is_complex, Discretization::euler), 1, 150, 10, states, DType::f32, 0);
            expect_judged(variant_of(is_complex, Discretization::zoh, false), 2, 67, 5, states, DType::f32, 0);
        }
}

// Sixteen real states with selective B and C have kernels of their own where rows can be read by 16 bytes; gaps of 4
// elements make these impossible for bf16.
TEST_F(CudaSelectiveScan, IsTheJudgeOfSixteenStates) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
        for (const int64_t channels : {8, 16, 24, 32, 40, 72, 128, 136})
            for (const int64_t gap : {0, 4, 8}) expect_judged({}, 3, 150, channels, 16, dtype, gap);
        for (const int64_t length : test::odd_lengths) expect_judged({}, 2, length, 16, 16, dtype, 0);
        const auto without = [&](auto... members) {
            ScanVariant v;
            ((v.*members = false), ...);
            expect_judged(v, 2, 200, 24, 16, dtype, 0);
        };
        without(&ScanVariant::softplus);
        without(&ScanVariant::softplus, &ScanVariant::bias);
        without(&ScanVariant::delta);
        without(&ScanVariant::bias);
        without(&ScanVariant::skip);
        without(&ScanVariant::z);
        without(&ScanVariant::skip, &ScanVariant::z);
        expect_judged({}, 1, 9000, 8, 16, dtype, 0);
        expect_judged({}, 40, 700, 136, 16, dtype, 0);
    }
}

// Sequences that go round the ring several times, in one block and in clusters of blocks.
TEST_F(CudaSelectiveScan, IsTheJudgeOnLongSequences) {
    for (const DType dtype : {DType::f32, DType::bf16})
        for (const bool is_complex : {false, true}) {
            expect_judged(variant_of(is_complex, Discretization::euler, !is_complex), 1, 10000, 5, 3, dtype, 0);
            expect_judged(variant_of(is_complex, Discretization::euler, !is_complex), 3, 3001, 72, 16, dtype, 0);
        }
}

TEST_F(CudaSelectiveScan, GradientsOfParametersAreAdded) {
    for (const bool selective : {true, false}) {
        const auto v = variant_of(!selective, Discretization::euler, selective);
        const DeviceScan scan(cuda, problem(v, 2, 100, 12, 5, DType::f32), DType::f32, 0);
        scan.forward();
        scan.backward();
        std::vector<Tensor> once;
        for (const auto& [name, x] : scan.results()) once.push_back(scan.download(*x, *cpu));
        scan.backward();
        size_t i = 0;
        for (const auto& [name, x] : scan.results()) {
            const bool added = name == "da" || name == "ddelta_bias" || name == "dskip" ||
                               (!selective && (name == "db" || name == "dc"));
            const Tensor& first = once[i++];
            const Tensor second = scan.download(*x, *cpu);
            for (int64_t k = 0; k < first.size(); ++k)
                ASSERT_NEAR(get(second, k), get(first, k) * (added ? 2 : 1), 1e-6 * std::abs(get(first, k))) << name;
        }
    }
}

TEST_F(CudaSelectiveScan, RepeatsBitForBit) {
    for (const bool selective : {true, false}) {
        const auto p = problem(variant_of(!selective, Discretization::euler, selective), 2, 3000, 136, 16, DType::bf16);
        const DeviceScan first(cuda, p, DType::bf16, 0), second(cuda, p, DType::bf16, 0);
        for (const DeviceScan* scan : {&first, &second}) scan->forward(), scan->backward();
        const auto x = first.results(), y = second.results();
        for (size_t i = 0; i < x.size(); ++i)
            EXPECT_EQ(first.bytes(*x[i].second), second.bytes(*y[i].second)) << x[i].first;
    }
}

// A sequence in parts, as prompts and generated samples are: the state carries everything.
TEST_F(CudaSelectiveScan, StateContinuesTheSequence) {
    for (const auto& v : test::scan_variants()) {
        SCOPED_TRACE(v.text());
        const ScanProblem p = problem(v, 1, 190, 21, 5, DType::f32);
        const DeviceScan whole(cuda, p, DType::f32, 0), parts(cuda, p, DType::f32, 0);
        whole.forward();
        const auto rows = [](const DeviceScan::Operand& x, int64_t begin, int64_t count) {
            View r = x.whole;
            if (r.empty()) return r;
            r.data = static_cast<char*>(r.data) + static_cast<size_t>(begin * r.row_stride) * size_of(r.dtype);
            r.shape = {1, count, r.shape[2]};
            return r;
        };
        int64_t begin = 0;
        for (const int64_t count : {33, 100, 50, 1, 1, 1, 2, 1, 1}) {
            SelectiveScan part = parts.operands();
            part.u = rows(parts.u, begin, count), part.delta = rows(parts.delta, begin, count);
            part.z = rows(parts.z, begin, count);
            if (v.selective_b) part.b = rows(parts.b, begin, count);
            if (v.selective_c) part.c = rows(parts.c, begin, count);
            cuda->selective_scan_forward({part, rows(parts.y, begin, count), parts.state.view(), {}});
            begin += count;
        }
        ASSERT_EQ(begin, 190);
        const double tolerance = 2e-6;  // sums in another order
        EXPECT_LE(test::relative_error(parts.download(parts.y, *cpu), whole.download(whole.y, *cpu)), tolerance);
        EXPECT_LE(test::relative_error(parts.download(parts.state, *cpu), whole.download(whole.state, *cpu)),
                  tolerance);
    }
}

// More than 2^31 elements, the same everywhere: both sequences and all channels must come out alike, and the
// end of the sequence like its middle.
TEST_F(CudaSelectiveScan, OffsetsHaveSixtyFourBits) {
    constexpr int64_t length = 600000, channels = 1800, states = 2;
    size_t available = 0, total = 0;
    cudaMemGetInfo(&available, &total);
    if (available < size_t{24} << 30) GTEST_SKIP() << "not enough memory on the device";
    const auto filled = [&](const Shape& shape, DType dtype, int byte) {
        const Tensor t = cuda->allocate(shape, dtype);
        cudaMemset(t.view().data, byte, static_cast<size_t>(t.size()) * size_of(dtype));
        return t;
    };
    SelectiveScan scan;
    const Tensor u = filled({2, length, channels}, DType::bf16, 0x3d), delta = filled(u.shape(), DType::bf16, 0xbd);
    const Tensor a = filled({channels, states}, DType::f32, 0xbe), bc = filled({2, length, states}, DType::bf16, 0x3e);
    const Tensor y = cuda->allocate(u.shape(), DType::bf16);
    cudaDeviceSynchronize();  // the backend's stream does not wait for cudaMemset
    scan.u = u, scan.delta = delta, scan.a = a, scan.b = bc, scan.c = bc;
    cuda->selective_scan_forward({scan, y, {}, {}});
    const auto row = [&](int64_t i) {
        View v = y.view();
        v.data = static_cast<BFloat16*>(v.data) + i * channels;
        v.shape = {channels};
        std::vector<BFloat16> host(static_cast<size_t>(channels));
        cuda->download(v, host.data());
        return std::vector<float>(host.begin(), host.end());
    };
    const std::vector<float> middle = row(length / 2);
    EXPECT_GT(middle[0], 0);
    for (const float x : middle) ASSERT_EQ(x, middle[0]);
    EXPECT_EQ(row(length - 1), middle);
    EXPECT_EQ(row(length + length / 2), middle);
    EXPECT_EQ(row(2 * length - 1), middle);
}

}  // namespace
}  // namespace nigiri
