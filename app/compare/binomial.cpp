#include "app/compare/binomial.h"

#include <algorithm>
#include <cmath>

#include "kernels/error.h"

namespace nigiri::app {

double binomial_upper_tail(int successes, int trials) {
    // Beyond a thousand 2^-n would underflow before long.
    if (trials < 0 || trials > 1000 || successes < 0 || successes > trials)
        throw Error("a listening test has 0 to 1000 trials, and no more right answers than trials");
    double term = std::ldexp(1.0, -trials), sum = 0;  // C(n, n) / 2^n
    for (int k = trials; k >= successes; --k) {
        sum += term;
        term *= static_cast<double>(k) / (trials - k + 1);  // C(n, k - 1) = C(n, k) k / (n - k + 1)
    }
    return std::min(1.0, sum);
}

double binomial_two_sided(int successes, int trials) {
    return std::min(1.0, 2 * binomial_upper_tail(std::max(successes, trials - successes), trials));
}

}  // namespace nigiri::app
