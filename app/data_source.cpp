#include "app/data_source.h"

namespace nigiri::app {

DataOptions data_options(const SignalConfig& signal, uint64_t seed, const std::filesystem::path& files, int threads) {
    DataOptions options;
    options.sample_rate = signal.sample_rate;
    options.quantization = parse_quantization(signal.quantization);
    options.scaling = parse_scaling(signal.scaling);
    options.files = files;
    options.seed = seed;
    options.threads = threads;
    return options;
}

void DatasetSource::draw(uint64_t seed, int64_t step, Batch& batch) {
    // One stream a step: the draw needs no history, so a resumed run sees the same data.
    Random random(seed, static_cast<uint64_t>(step) + (uint64_t{1} << 32));
    batch.batch = config_.batch;
    batch.length = config_.length;
    data_.sample_batch(Split::train, random, static_cast<int>(config_.batch), config_.length, batch.inputs,
                       batch.targets);
}

std::vector<Batch> DatasetSource::validation() {
    const std::vector<Segment> all = data_.segments(Split::valid, config_.length);
    const int64_t available = static_cast<int64_t>(all.size()),
                  wanted = std::min(config_.validation_segments, available);
    std::vector<Batch> batches;
    for (int64_t first = 0; first < wanted; first += config_.batch) {
        Batch b;
        b.batch = std::min(config_.batch, wanted - first);
        b.length = config_.length;
        b.inputs.resize(static_cast<size_t>(b.batch * b.length));
        b.targets.resize(b.inputs.size());
        for (int64_t i = 0; i < b.batch; ++i) {
            const Segment& segment = all[static_cast<size_t>((first + i) * available / wanted)];
            const auto row = static_cast<size_t>(i * b.length), length = static_cast<size_t>(b.length);
            data_.row(Split::valid, segment, b.length, std::span(b.inputs).subspan(row, length),
                      std::span(b.targets).subspan(row, length));
        }
        batches.push_back(std::move(b));
    }
    return batches;
}

}  // namespace nigiri::app
