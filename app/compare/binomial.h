// Exact p-values of listening tests.
#pragma once

namespace nigiri::app {

// P(X >= successes) of X ~ Binomial(trials, 1/2): how often at least so many answers are right by guessing. In double
// precision, summed from the small end. 0 <= successes <= trials <= 1000, else Error.
double binomial_upper_tail(int successes, int trials);

// Two-sided exact test of "both are preferred equally often": the probability of a division at least as uneven,
// min(1, 2 P(X >= max(k, n - k))), exact because the distribution is symmetric.
double binomial_two_sided(int successes, int trials);

}  // namespace nigiri::app
