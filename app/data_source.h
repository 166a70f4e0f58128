// Between the audio library and the model library: data sets as batches, signal settings as the audio library's types.
#pragma once

#include "audio/dataset.h"
#include "model/trainer.h"

namespace nigiri::app {

DataOptions data_options(const SignalConfig& signal, uint64_t seed, const std::filesystem::path& files, int threads);

// Batches of random segments, and validation segments spread evenly over the held-out recordings.
class DatasetSource final : public TrainingData {
  public:
    DatasetSource(const Dataset& data, const TrainingConfig& config) : data_(data), config_(config) {}
    void draw(uint64_t seed, int64_t step, Batch& batch) override;
    std::vector<Batch> validation() override;

  private:
    const Dataset& data_;
    TrainingConfig config_;
};

}  // namespace nigiri::app
