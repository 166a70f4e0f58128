#include "app/digits/scoring.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <map>

#include "app/compare/compared_files.h"
#include "app/digits/front_end.h"
#include "app/digits/previous_sample_model.h"
#include "app/model_file.h"
#include "app/text.h"
#include "audio/hash.h"
#include "audio/metrics/classifier_scores.h"
#include "audio/metrics/frechet.h"

namespace nigiri::app {

namespace fs = std::filesystem;

namespace {

constexpr size_t judged_at_once = 1024;
constexpr size_t unchosen_examples = 6;

// What a classifier says of a set of clips.
struct Judged {
    Features features;
    ClassProbabilities probabilities;
    std::vector<int32_t> classes;

    Judged only(const std::vector<size_t>& chosen) const {
        Judged part{{features.dimensions, {}}, {probabilities.classes, {}}, {}};
        for (const size_t i : chosen) {
            const auto f = features.at(static_cast<int64_t>(i));
            const auto p = probabilities.at(static_cast<int64_t>(i));
            part.features.values.insert(part.features.values.end(), f.begin(), f.end());
            part.probabilities.logs.insert(part.probabilities.logs.end(), p.begin(), p.end());
            part.classes.push_back(classes[i]);
        }
        return part;
    }
    double probability(size_t i) const {
        return std::exp(probabilities.at(static_cast<int64_t>(i))[static_cast<size_t>(classes[i])]);
    }
};

std::string fingerprint(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    std::string block(1 << 16, '\0');
    uint64_t hash = fnv1a_basis;
    while (in.read(block.data(), static_cast<std::streamsize>(block.size())) || in.gcount() > 0)
        hash = fnv1a(std::string_view(block).substr(0, static_cast<size_t>(in.gcount())), hash);
    char text[17];
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
    return text;
}

class Scoring {
  public:
    Scoring(const DigitScoringOptions& options, const std::shared_ptr<Backend>& backend,
            const DigitScoringCallback& callback)
        : options_(options), backend_(backend), callback_(callback) {}

    DigitScoring run() {
        result_.device = backend_->description();
        kept_by_likelihood({}, options_.lower, options_.upper);  // judges the thresholds before the long work
        open_classifier();
        open_models();
        const DigitSet data = read_digits(options_.data, options_.threads, [&](double f, const std::string& what) {
            return tell(0.1 * f, "reading " + what);
        });
        note_data(data);
        try {
            score_recordings(data);
            score_trivial(data);
            for (size_t i = 0; i < checkpoints_.size(); ++i) attempt(i);
            result_.complete = std::all_of(result_.rows.begin(), result_.rows.end(),
                                           [](const DigitRow& r) { return r.error.empty(); });
        } catch (const Cancelled&) {
            result_.notes.push_back("This was stopped before its end. The same command goes on from what was made.");
        }
        return std::move(result_);
    }

  private:
    void open_classifier() {
        const ClassifierFile file = ClassifierFile::read(options_.classifier);
        const ClassifierConfig& c = file.config();
        if (file.front_end() != front_end_name || c.inputs != front_end_bands || c.length != front_end_frames ||
            c.classes != digit_classes)
            throw Error(options_.classifier.string() + " is no classifier of digits as this program hears them",
                        "train one with nigiri digits train-classifier");
        classifier_ = file.make(backend_);
        result_.classifier_name = options_.classifier.filename().string();
        result_.classifier_parameters = parameter_count(c);
        result_.features = c.features;
        result_.classifier_facts = file.facts();
        result_.classifier_id = fingerprint(options_.classifier);
    }

    void open_models() {
        std::vector<std::string> names = {"recordings", "previous sample"};
        for (const fs::path& given : options_.models) {
            files_.push_back(model_path(given));
            checkpoints_.push_back(Checkpoint::read(files_.back()));
            names.push_back(unique_name(given, names));
            names_.push_back(names.back());
            const Config& c = checkpoints_.back().config();
            if (c.signal.sample_rate != digit_rate || c.model.vocabulary != code_count)
                throw Error(names_.back() + " does not make sound of 256 codes at 16 kHz",
                            "digits are judged at that rate");
        }
    }

    void note_data(const DigitSet& data) {
        data_name_ = fs::weakly_canonical(options_.data).filename().string();
        for (const std::string& s : data.skipped) result_.notes.push_back("Left out: " + s);
        const auto trained_on = result_.classifier_facts.find("train_clips");
        if (trained_on != result_.classifier_facts.end() &&
            trained_on->second != std::to_string(data.of(Split::train).size()))
            result_.notes.push_back("The classifier was trained on " + trained_on->second +
                                    " clips, but this data has " + std::to_string(data.of(Split::train).size()) +
                                    " to train on: is it the same set?");
    }

    Judged judge(const std::vector<ClipCodes>& clips, Quantization quantization, double from, double to,
                 const std::string& what) {
        Judged all{{static_cast<int>(result_.features), {}}, {digit_classes, {}}, {}};
        for (size_t first = 0; first < clips.size(); first += judged_at_once) {
            const double share = static_cast<double>(first) / static_cast<double>(clips.size());
            if (!tell(from + (to - from) * share, what)) throw Cancelled();
            const auto some = std::span(clips).subspan(first, std::min(judged_at_once, clips.size() - first));
            const Classification said = classify(*classifier_, frames_of(some, options_.threads, quantization));
            all.features.values.insert(all.features.values.end(), said.features.begin(), said.features.end());
            all.probabilities.logs.insert(all.probabilities.logs.end(), said.log_probabilities.begin(),
                                          said.log_probabilities.end());
            all.classes.insert(all.classes.end(), said.classes.begin(), said.classes.end());
        }
        return all;
    }

    DigitScores scores_of(const Judged& set) const {
        return {.fid = frechet_distance(reference_points_, fit_gaussian(set.features)),
                .inception = inception_score(set.probabilities),
                .modified_inception = modified_inception_score(set.probabilities),
                .am = am_score(reference_, set.probabilities)};
    }

    void fill(DigitRow& row, const Judged& set) {
        row.scored = set.features.count();
        if (row.scored < 2) throw Error("a score needs two clips at least", "ask for a larger --count");
        row.scores = scores_of(set);
        const double share = 1 / static_cast<double>(row.scored);
        for (size_t i = 0; i < set.classes.size(); ++i) {
            row.heard[static_cast<size_t>(set.classes[i])] += share;
            row.confidence += share * set.probability(i);
        }
        if (row.scored <= result_.features)
            result_.notes.push_back(row.name + ": its FID is of " + std::to_string(row.scored) +
                                    " clips only, fewer than it has dimensions, and too high for that.");
    }

    DigitExample example(const Judged& set, size_t i, const ClipCodes& codes, Quantization quantization, double bits) {
        return {.clip = static_cast<int64_t>(i),
                .heard = set.classes[i],
                .probability = set.probability(i),
                .bits_per_sample = bits / static_cast<double>(digit_samples),
                .samples = digit_waveform(codes, quantization)};
    }

    // Of the clips in `order`: the surest of each digit, and some that nobody chose.
    void choose_examples(DigitRow& row, const Judged& all, const std::vector<size_t>& order,
                         const std::vector<ClipCodes>& codes, Quantization quantization,
                         const std::vector<double>& bits) {
        const auto make = [&](size_t i) { return example(all, i, codes[i], quantization, bits.empty() ? 0 : bits[i]); };
        for (int d = 0; d < digit_classes; ++d) {
            const size_t none = codes.size();
            size_t best = none;
            for (const size_t i : order)
                if (all.classes[i] == d && (best == none || all.probability(i) > all.probability(best))) best = i;
            if (best != none) row.clearest.push_back(make(best));
        }
        for (const size_t k : evenly_spread(order.size(), unchosen_examples)) row.unchosen.push_back(make(order[k]));
    }

    void score_recordings(const DigitSet& data) {
        for (const Split split : all_splits) {
            const auto& clips = data.of(split);
            if (clips.empty()) continue;
            const auto codes = codes_of(clips);
            const Judged set =
                judge(codes, Quantization::mu_law, 0.1, 0.2, std::string("recordings, ") + name_of(split));
            if (split == Split::train) {
                reference_points_ = fit_gaussian(set.features);
                reference_ = set.probabilities;
            }
            DigitRow row;
            row.kind = DigitRowKind::recordings;
            row.name = std::string("recordings, ") + name_of(split);
            row.made = static_cast<int64_t>(clips.size());
            fill(row, set);
            double right = 0;
            for (size_t i = 0; i < clips.size(); ++i) right += set.classes[i] == clips[i].digit;
            row.accuracy = right / static_cast<double>(clips.size());
            std::vector<size_t> order(clips.size());
            for (size_t i = 0; i < order.size(); ++i) order[i] = i;
            if (split == Split::test) choose_examples(row, set, order, codes, Quantization::mu_law, {});
            result_.rows.push_back(std::move(row));
        }
    }

    // A model, the trivial one included: selection, scores, examples.
    void score_clips(DigitRow& row, const DigitClips& clips, Quantization quantization, double from, double to) {
        const std::vector<ClipCodes> codes(clips.codes.begin(), clips.codes.end());
        const Judged all = judge(codes, quantization, from, to, row.name + ": listening");
        const std::vector<size_t> kept = kept_by_likelihood(clips.bits, options_.lower, options_.upper);
        row.made = static_cast<int64_t>(clips.size());
        fill(row, all.only(kept));
        row.unselected = scores_of(all);
        double bits = 0;
        for (const size_t i : kept) bits += clips.bits[i];
        row.bits_per_sample = bits / static_cast<double>(kept.size()) / static_cast<double>(digit_samples);
        choose_examples(row, all, kept, codes, quantization, clips.bits);
    }

    void score_trivial(const DigitSet& data) {
        DigitRow row;
        row.kind = DigitRowKind::trivial;
        row.name = "previous sample";
        if (!tell(0.2, "the trivial model")) throw Cancelled();
        score_clips(row,
                    previous_sample_clips(data.of(Split::train), options_.clips.count, options_.clips.sampling.seed),
                    Quantization::mu_law, 0.2, 0.25);
        result_.rows.push_back(std::move(row));
    }

    void score_model(size_t i, DigitRow& row) {
        const Checkpoint& checkpoint = checkpoints_[i];
        const double from = 0.25 + 0.75 * static_cast<double>(i) / static_cast<double>(checkpoints_.size());
        const double width = 0.75 / static_cast<double>(checkpoints_.size());
        const auto network = checkpoint.make_network(backend_);
        const auto& o = options_.clips;
        const DigitClips clips = digit_clips(
            *network, fingerprint(files_[i]), o, options_.clips_folder / file_name(row.name),
            [&](int64_t done, double share) {
                const double clips_done =
                    static_cast<double>(done) + share * static_cast<double>(std::min(o.batch, o.count - done));
                return tell(from + 0.95 * width * clips_done / static_cast<double>(o.count),
                            row.name + ": " + fixed(clips_done, 0) + " of " + std::to_string(o.count) + " clips made");
            });
        score_clips(row, clips, parse_quantization(checkpoint.config().signal.quantization), from + 0.95 * width,
                    from + width);
    }

    // A model that fails must not cost the others' results.
    void attempt(size_t i) {
        DigitRow row;
        row.name = names_[i];
        row.layer = layer_name(checkpoints_[i].config().model);
        row.parameters = checkpoints_[i].parameters();
        row.step = checkpoints_[i].state().step;
        row.tokens = checkpoints_[i].state().tokens;
        const auto& facts = checkpoints_[i].facts();
        if (const auto data = facts.find("data"); data != facts.end() && data->second != data_name_)
            result_.notes.push_back(row.name + " was trained on a folder named '" + data->second +
                                    "': its clips are what that folder's were like.");
        try {
            score_model(i, row);
        } catch (const Cancelled&) {
            throw;
        } catch (const std::bad_alloc&) {
            row.error = "out of memory; a smaller --batch needs less";
        } catch (const Error& e) {
            row.error = e.what() + (e.hint().empty() ? std::string() : "; " + e.hint());
        }
        result_.rows.push_back(std::move(row));
    }

    bool tell(double fraction, const std::string& what) {
        return !callback_ || callback_(std::min(1.0, fraction), what);
    }

    const DigitScoringOptions& options_;
    std::shared_ptr<Backend> backend_;
    const DigitScoringCallback& callback_;
    DigitScoring result_;
    std::unique_ptr<SequenceClassifier> classifier_;
    std::vector<fs::path> files_;
    std::vector<Checkpoint> checkpoints_;
    std::vector<std::string> names_;
    std::string data_name_;
    Gaussian reference_points_;
    ClassProbabilities reference_;
};

}  // namespace

DigitScoring score_digits(const DigitScoringOptions& options, const std::shared_ptr<Backend>& backend,
                          const DigitScoringCallback& callback) {
    return Scoring(options, backend, callback).run();
}

}  // namespace nigiri::app
