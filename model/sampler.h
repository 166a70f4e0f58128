// Drawing the next code from a network's logits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace nigiri {

struct SamplingOptions {
    double temperature = 1.0;  // 0: always the likeliest
    int64_t top_k = 0;         // keep the k likeliest codes; 0: all
    double top_p = 1.0;        // then keep the likeliest whose probabilities reach p
    uint64_t seed = 0;
};

// Throws Error where an option is out of range.
void validate(const SamplingOptions& options);

// A draw is the inverse of the distribution function in the order of the codes: the first code at which the kept
// weights so far exceed `uniform` times their sum. Weights are float32 (2 ulp), which moves a boundary between two
// codes by some 1e-7: equal logits give equal codes, and another implementation nearly always the same ones.
//
// Keeps its scratch memory, so that drawing allocates nothing.
class Sampler {
  public:
    explicit Sampler(const SamplingOptions& options) : options_(options) {}

    // For the draws that follow.
    void set_options(const SamplingOptions& options) { options_ = options; }
    const SamplingOptions& options() const { return options_; }

    struct Draw {
        int32_t code = 0;
        double log2_probability = 0;  // under the network itself: temperature 1, nothing cut off; within 5e-7
    };
    // `uniform` in [0, 1) decides. Throws Error where a logit is not a number.
    Draw draw(std::span<const float> logits, double uniform);

  private:
    size_t pick(double uniform, double total) const;
    size_t pick_likeliest(double uniform);
    void keep_top_k();
    double keep_top_p();

    SamplingOptions options_;
    std::vector<float> weights_, blocks_;
    std::vector<int32_t> kept_;
};

}  // namespace nigiri
