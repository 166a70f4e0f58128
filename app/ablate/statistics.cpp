#include "app/ablate/statistics.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace nigiri::app {

std::optional<Spread> spread(std::span<const double> values) {
    if (values.empty()) return std::nullopt;
    Spread s;
    s.n = values.size();
    const auto n = static_cast<double>(s.n);
    s.least = s.most = values[0];
    for (const double x : values) {
        s.mean += x / n;
        s.least = std::min(s.least, x);
        s.most = std::max(s.most, x);
    }
    s.mean = std::clamp(s.mean, s.least, s.most);  // equal values: no trace of rounding
    if (s.n > 1) {
        double squares = 0;
        for (const double x : values) squares += (x - s.mean) * (x - s.mean);
        s.deviation = std::sqrt(squares / (n - 1));
    }
    return s;
}

std::vector<MeanPoint> mean_curve(const std::vector<std::vector<CurvePoint>>& curves) {
    std::map<int64_t, std::vector<double>> at;
    for (const auto& curve : curves)
        for (const CurvePoint& p : curve) at[p.tokens].push_back(p.bits);
    std::vector<MeanPoint> mean;
    for (const auto& [tokens, bits] : at)
        if (bits.size() == curves.size()) mean.push_back({tokens, *spread(bits)});
    return mean;
}

}  // namespace nigiri::app
