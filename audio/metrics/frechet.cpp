#include "audio/metrics/frechet.h"

#include <Eigen/Dense>
#include <algorithm>

#include "kernels/error.h"

namespace nigiri {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Solver = Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>;

void check(const Solver& solver) {
    if (solver.info() != Eigen::Success) throw Error("the eigenvalues of a covariance could not be found");
}

}  // namespace

Gaussian fit_gaussian(const Features& features) {
    const int64_t n = features.count(), d = features.dimensions;
    if (n < 2) throw Error("a covariance needs two points at least");
    const Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>> points(
        features.values.data(), n, d);
    Gaussian g;
    g.mean.resize(static_cast<size_t>(d));
    g.covariance.resize(static_cast<size_t>(d * d));
    Eigen::Map<Eigen::RowVectorXd> mean(g.mean.data(), d);
    Eigen::Map<Matrix> covariance(g.covariance.data(), d, d);
    mean = points.cast<double>().colwise().mean();
    const Eigen::MatrixXd centred = points.cast<double>().rowwise() - mean;
    covariance = centred.transpose() * centred / static_cast<double>(n - 1);
    return g;
}

double frechet_distance(const Gaussian& a, const Gaussian& b) {
    const auto d = static_cast<Eigen::Index>(a.mean.size());
    if (a.mean.size() != b.mean.size() || a.covariance.size() != a.mean.size() * a.mean.size() ||
        b.covariance.size() != a.covariance.size())
        throw Error("distributions of different dimensions cannot be compared");
    const Eigen::Map<const Eigen::VectorXd> mean_a(a.mean.data(), d), mean_b(b.mean.data(), d);
    const Eigen::Map<const Matrix> cov_a(a.covariance.data(), d, d), cov_b(b.covariance.data(), d, d);
    const Solver first{Eigen::MatrixXd(cov_a)};
    check(first);
    const Eigen::VectorXd roots = first.eigenvalues().cwiseMax(0).cwiseSqrt();
    const Eigen::MatrixXd root = first.eigenvectors() * roots.asDiagonal() * first.eigenvectors().transpose();
    const Solver product(root * cov_b * root, Eigen::EigenvaluesOnly);
    check(product);
    const double cross = product.eigenvalues().cwiseMax(0).cwiseSqrt().sum();
    return std::max(0.0, (mean_a - mean_b).squaredNorm() + cov_a.trace() + cov_b.trace() - 2 * cross);
}

}  // namespace nigiri
