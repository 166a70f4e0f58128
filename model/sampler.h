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

// Keeps its scratch memory, so that drawing allocates nothing.
class Sampler {
  public:
    explicit Sampler(const SamplingOptions& options) : options_(options) {}

    struct Draw {
        int32_t code = 0;
        double log2_probability = 0;  // under the network itself: temperature 1, nothing cut off
    };
    // `uniform` in [0, 1) decides.
    Draw draw(std::span<const float> logits, double uniform);

  private:
    SamplingOptions options_;
    std::vector<double> weights_;
    std::vector<int32_t> order_;
};

// log2 of softmax(logits)[code].
double log2_probability(std::span<const float> logits, int32_t code);

}  // namespace nigiri
