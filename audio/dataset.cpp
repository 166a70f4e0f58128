#include "audio/dataset.h"

#include <algorithm>

namespace nigiri {

// Collects every file's samples in the form in which they will be kept.
class DatasetBuilder : public SampleSink {
  public:
    explicit DatasetBuilder(const DataOptions& options) : options_(options) {}

    void begin(const std::vector<FileReport>& files) override { whole_.resize(files.size()); }

    void samples(size_t file, std::span<const int16_t> block) override {
        Recording& r = whole_[file];
        if (options_.scaling == Scaling::segment_minmax) {
            r.pcm.insert(r.pcm.end(), block.begin(), block.end());
        } else {
            const size_t at = r.codes.size();
            r.codes.resize(at + block.size());
            encode(block, options_.quantization, std::span(r.codes).subspan(at));
        }
    }

    void end(size_t file, const FileReport& report) override {
        if (!report.used()) whole_[file] = {};
        whole_[file].codes.shrink_to_fit();
        whole_[file].pcm.shrink_to_fit();
    }

    Dataset finish(ScanReport report) {
        Dataset data;
        data.options_ = options_;
        for (const Part& part : report.parts) {
            Recording& whole = whole_[part.file];
            Recording piece;
            piece.name = report.files[part.file].name;
            if (part.samples() == whole.samples()) {
                piece.codes = std::move(whole.codes);
                piece.pcm = std::move(whole.pcm);
            } else {
                piece.codes = cut(whole.codes, part);
                piece.pcm = cut(whole.pcm, part);
            }
            data.recordings_[static_cast<size_t>(part.split)].push_back(std::move(piece));
        }
        data.report_ = std::move(report);
        return data;
    }

  private:
    template <class T>
    static std::vector<T> cut(const std::vector<T>& v, const Part& part) {
        if (v.empty()) return {};
        return {v.begin() + part.begin, v.begin() + part.end};
    }

    DataOptions options_;
    std::vector<Recording> whole_;
};

Dataset Dataset::load(const std::filesystem::path& folder, const DataOptions& options, const Progress& progress) {
    DatasetBuilder builder(options);
    ScanOptions scan_options;
    scan_options.sample_rate = options.sample_rate;
    scan_options.seed = options.seed;
    scan_options.files = options.files;
    scan_options.threads = options.threads;
    ScanReport report = scan(folder, scan_options, progress, &builder);
    if (report.samples(Split::train) == 0) {
        std::string why = std::to_string(report.files.size()) + " files looked at";
        for (const FileReport& f : report.files)
            if (!f.used()) {
                why += "; '" + f.name + "': " + f.reason;
                break;
            }
        throw Error("no usable training audio in '" + folder.string() + "' (" + why + ")",
                    "give a folder of sound files (WAV, FLAC, Ogg, MP3, AIFF); `prepare` lists what is wrong "
                    "with each");
    }
    return builder.finish(std::move(report));
}

Dataset Dataset::from_samples(const std::vector<std::vector<int16_t>>& train,
                              const std::vector<std::vector<int16_t>>& valid,
                              const std::vector<std::vector<int16_t>>& test, const DataOptions& options) {
    Dataset data;
    data.options_ = options;
    const std::vector<std::vector<int16_t>>* all[] = {&train, &valid, &test};
    for (size_t split = 0; split < 3; ++split) {
        for (const auto& samples : *all[split]) {
            if (samples.empty()) continue;
            Recording r;
            r.name = std::string(name_of(all_splits[split])) + std::to_string(data.recordings_[split].size());
            if (options.scaling == Scaling::segment_minmax) {
                r.pcm = samples;
            } else {
                r.codes.resize(samples.size());
                encode(std::span<const int16_t>(samples), options.quantization, r.codes);
            }
            data.recordings_[split].push_back(std::move(r));
        }
    }
    return data;
}

int64_t Dataset::samples(Split split) const {
    int64_t sum = 0;
    for (const Recording& r : recordings(split)) sum += r.samples();
    return sum;
}

void Dataset::codes(Split split, const Segment& segment, std::span<uint8_t> codes) const {
    const auto& all = recordings(split);
    if (segment.recording >= all.size() || segment.begin < 0 || segment.length < 0 ||
        segment.begin > all[segment.recording].samples() - segment.length ||
        static_cast<int64_t>(codes.size()) != segment.length)
        throw Error("a segment lies outside its recording");
    const Recording& r = all[segment.recording];
    if (options_.scaling == Scaling::segment_minmax)
        encode_minmax(std::span(r.pcm).subspan(static_cast<size_t>(segment.begin), codes.size()), options_.quantization,
                      codes);
    else
        std::copy_n(r.codes.begin() + segment.begin, segment.length, codes.begin());
}

std::vector<float> Dataset::waveform(Split split, const Segment& segment) const {
    std::vector<float> out(static_cast<size_t>(std::max<int64_t>(segment.length, 0)));
    std::vector<uint8_t> q(out.size());
    codes(split, segment, q);  // also judges the segment
    if (options_.scaling == Scaling::full_scale) {
        decode(q, options_.quantization, out);
    } else {
        const auto& pcm = recordings(split)[segment.recording].pcm;
        std::transform(pcm.begin() + segment.begin, pcm.begin() + segment.begin + segment.length, out.begin(),
                       [](int16_t v) { return static_cast<float>(v) / 32768.0f; });
    }
    return out;
}

std::vector<Segment> Dataset::segments(Split split, int64_t length) const {
    std::vector<Segment> out;
    const auto& all = recordings(split);
    for (size_t i = 0; i < all.size(); ++i) {
        const int64_t samples = all[i].samples(), step = length > 0 ? length : samples;
        for (int64_t begin = 0; begin < samples; begin += step)
            out.push_back({i, begin, std::min(step, samples - begin)});
    }
    return out;
}

Segment Dataset::random_segment(Split split, Random& random, int64_t length) const {
    const auto& all = recordings(split);
    if (all.empty()) throw Error(std::string("there is no audio for ") + name_of(split));
    if (length < 1) throw Error("a segment needs at least one sample");
    uint64_t total = 0;
    for (const Recording& r : all) total += static_cast<uint64_t>(std::max(r.samples(), length));
    uint64_t at = random.below(total);
    size_t i = 0;
    for (; i + 1 < all.size(); ++i) {
        const auto weight = static_cast<uint64_t>(std::max(all[i].samples(), length));
        if (at < weight) break;
        at -= weight;
    }
    const int64_t samples = all[i].samples();
    const uint64_t places = static_cast<uint64_t>(std::max<int64_t>(samples - length, 0)) + 1;
    return {i, static_cast<int64_t>(random.below(places)), std::min(samples, length)};
}

void Dataset::row(Split split, const Segment& segment, int64_t length, std::span<int32_t> inputs,
                  std::span<int32_t> targets) const {
    if (length < segment.length || static_cast<int64_t>(inputs.size()) != length || inputs.size() != targets.size())
        throw Error("a row of training data has another length than its segment needs");
    thread_local std::vector<uint8_t> q;
    q.resize(static_cast<size_t>(segment.length));
    codes(split, segment, q);
    std::fill(inputs.begin(), inputs.end(), zero_code);
    std::fill(targets.begin(), targets.end(), ignored_target);
    std::copy(q.begin(), q.end(), targets.begin());
    // The last code is an input only where something follows it, and what follows padding is ignored.
    if (!q.empty()) std::copy(q.begin(), q.end() - 1, inputs.begin() + 1);
}

void Dataset::sample_batch(Split split, Random& random, int batch, int64_t length, std::vector<int32_t>& inputs,
                           std::vector<int32_t>& targets) const {
    if (batch < 1 || length < 1) throw Error("a batch needs at least one row and one sample");
    const size_t row_length = static_cast<size_t>(length), size = static_cast<size_t>(batch) * row_length;
    inputs.resize(size);
    targets.resize(size);
    for (size_t b = 0; b < static_cast<size_t>(batch); ++b)
        row(split, random_segment(split, random, length), length, std::span(inputs).subspan(b * row_length, row_length),
            std::span(targets).subspan(b * row_length, row_length));
}

}  // namespace nigiri
