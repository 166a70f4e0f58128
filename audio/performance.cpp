#include "audio/performance.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>

#include "kernels/random.h"

namespace nigiri {

namespace {

constexpr double lead_in = 0.2;     // seconds of silence before the first note
constexpr double tail = 2.0;        // seconds for the strings to die away after the last key is up
constexpr double pedal_gap = 0.09;  // seconds between lifting the pedal and pressing it again
constexpr double shortest_note = 0.03;
constexpr double same_stroke = 0.03;  // two strokes of one key closer than this are one
constexpr double fermata_stretch = 1.7;

// Seconds as a function of ticks: piecewise linear, through tempo marks, fermatas, rubato and a slowing end.
class Clock {
  public:
    Clock(const Score& score, double timing, Random& random) {
        std::set<int64_t> knots = {0, score.length};
        constexpr int64_t grid = ticks_per_quarter / 2;
        for (int64_t t = 0; t < score.length; t += grid) knots.insert(t);
        for (const TempoMark& mark : score.tempi) knots.insert(std::min(mark.start, score.length));
        std::map<int64_t, int64_t> fermatas;  // start -> end
        for (const ScoreNote& note : score.notes)
            if (note.fermata) {
                int64_t& end = fermatas[note.start];
                end = std::max(end, std::min(note.start + note.duration, score.length));
                knots.insert({note.start, end});
            }
        const int64_t slowing = std::min<int64_t>(4 * ticks_per_quarter, score.length / 4);
        double drift = 0, seconds = lead_in;
        int64_t stretched_until = 0;
        size_t mark = 0;
        ticks_.assign(knots.begin(), knots.end());
        for (size_t i = 0; i < ticks_.size(); ++i) {
            seconds_.push_back(seconds);
            if (i + 1 == ticks_.size()) break;
            const int64_t t = ticks_[i];
            while (mark + 1 < score.tempi.size() && score.tempi[mark + 1].start <= t) ++mark;
            if (const auto it = fermatas.find(t); it != fermatas.end())
                stretched_until = std::max(stretched_until, it->second);
            // A first-order random walk pulled back to zero: about a bar of memory, unit variance.
            drift = 0.88 * drift + std::sqrt(1 - 0.88 * 0.88) * random.normal();
            double rate =
                score.tempi[mark].quarters_per_minute / 60 * (1 + 0.025 * timing * std::clamp(drift, -2.0, 2.0));
            if (t >= score.length - slowing)
                rate *= 1 - 0.25 * timing * static_cast<double>(t - (score.length - slowing)) /
                                static_cast<double>(slowing + 1);
            if (t < stretched_until) rate /= fermata_stretch;
            seconds += static_cast<double>(ticks_[i + 1] - t) / ticks_per_quarter / rate;
        }
    }

    double operator()(int64_t tick) const {
        const auto it = std::upper_bound(ticks_.begin(), ticks_.end(), tick);
        const size_t i =
            std::clamp<size_t>(static_cast<size_t>(it - ticks_.begin()), 1, std::max<size_t>(ticks_.size() - 1, 1)) - 1;
        if (i + 1 >= ticks_.size()) return seconds_.back();
        // Beyond the end (a held note of a chord) time goes on at the last rate.
        const double slope = (seconds_[i + 1] - seconds_[i]) / static_cast<double>(ticks_[i + 1] - ticks_[i]);
        return seconds_[i] + slope * static_cast<double>(tick - ticks_[i]);
    }

  private:
    std::vector<int64_t> ticks_;
    std::vector<double> seconds_;
};

// The marked velocity of a voice; a voice without marks follows the first voice.
class Loudness {
  public:
    explicit Loudness(const Score& score) : marks_(static_cast<size_t>(std::max(score.voices, 1))) {
        for (const DynamicMark& mark : score.dynamics) marks_[static_cast<size_t>(mark.voice)].push_back(mark);
    }

    double operator()(int voice, int64_t tick) const {
        const auto& own = marks_[static_cast<size_t>(voice)];
        const auto& marks = own.empty() ? marks_.front() : own;
        auto it = std::upper_bound(marks.begin(), marks.end(), tick,
                                   [](int64_t t, const DynamicMark& m) { return t < m.start; });
        const double usual = velocity_of_dynamic("mf");
        if (it == marks.begin()) return usual;
        --it;
        if (!it->gradual || tick >= it->end) return it->velocity;
        const double from = it == marks.begin() ? usual : std::prev(it)->velocity;
        return from +
               (it->velocity - from) * static_cast<double>(tick - it->start) / static_cast<double>(it->end - it->start);
    }

  private:
    std::vector<std::vector<DynamicMark>> marks_;
};

// A key that is struck again must have come up before; two strokes at once are one.
void separate_strokes(std::vector<PlayedNote>& notes) {
    std::array<size_t, 128> last;
    last.fill(notes.size());
    std::vector<bool> dropped(notes.size());
    for (size_t i = 0; i < notes.size(); ++i) {
        const size_t key = static_cast<size_t>(notes[i].pitch);
        if (const size_t before = last[key]; before < notes.size()) {
            PlayedNote& b = notes[before];
            if (notes[i].start < b.start + same_stroke) {
                b.velocity = std::max(b.velocity, notes[i].velocity);
                b.duration = std::max(b.duration, notes[i].start + notes[i].duration - b.start);
                dropped[i] = true;
                continue;
            }
            b.duration = std::min(b.duration, std::max(notes[i].start - b.start - 0.015, same_stroke / 2));
        }
        last[key] = i;
    }
    size_t kept = 0;
    for (size_t i = 0; i < notes.size(); ++i)
        if (!dropped[i]) notes[kept++] = notes[i];
    notes.resize(kept);
}

}  // namespace

Performance perform(const Score& score, const PerformanceOptions& options) {
    Performance out;
    out.title = score.title;
    Random random(options.seed);
    const Clock clock(score, options.timing, random);
    const Loudness loudness(score);

    // The highest note of each onset in the first voice is the melody.
    std::map<int64_t, int> melody;
    for (const ScoreNote& note : score.notes)
        if (note.voice == 0) {
            const auto [it, added] = melody.emplace(note.start, note.pitch);
            if (!added) it->second = std::max(it->second, note.pitch);
        }

    int64_t onset = -1;
    double together = 0;  // notes written at one time stray together more than apart
    for (const ScoreNote& note : score.notes) {
        if (note.start != onset) {
            onset = note.start;
            together = 0.004 * random.normal();
        }
        const bool leads = note.voice == 0 && melody.at(note.start) == note.pitch;
        const bool on_bar = std::binary_search(score.bars.begin(), score.bars.end(), note.start);
        const double stray = std::clamp(together + 0.003 * random.normal() - (leads ? 0.006 : 0), -0.02, 0.02);
        const double begin = clock(note.start), end = clock(note.start + note.duration);

        PlayedNote played;
        played.pitch = note.pitch;
        played.start = std::max(begin + options.timing * stray, 0.0);
        played.duration = end - begin;
        if (note.staccato)
            played.duration *= 0.5;
        else if (!note.legato)
            played.duration -= std::min(0.07 * played.duration, 0.06);
        played.duration = std::max(played.duration, shortest_note);

        const double human =
            (leads ? 6 : -3) + (on_bar ? 3 : 0) + (score.voices > 1 && note.voice > 0 ? -3 : 0) + 2.5 * random.normal();
        const double velocity = loudness(note.voice, note.start) + (note.accent ? 14 : 0) + options.dynamics * human;
        played.velocity = static_cast<int>(std::lround(std::clamp(velocity, 12.0, 120.0)));
        out.notes.push_back(played);
    }
    std::stable_sort(out.notes.begin(), out.notes.end(),
                     [](const auto& a, const auto& b) { return a.start < b.start; });
    separate_strokes(out.notes);

    double last = 0;
    for (const PlayedNote& note : out.notes) last = std::max(last, note.start + note.duration);
    bool down = false;
    const auto move = [&](double time, bool to) {
        time = std::max(time, out.pedal.empty() ? 0.0 : out.pedal.back().time + 0.005);
        out.pedal.push_back({time, to});
        down = to;
    };
    for (const PedalMark& mark : score.pedal) {
        const double time = clock(mark.start);
        if (down) move(time, false);
        if (mark.down) move(time + (out.pedal.empty() ? 0.02 : pedal_gap), true);
    }
    if (down) move(last, false);
    if (!out.pedal.empty()) last = std::max(last, out.pedal.back().time);
    out.seconds = last + tail;
    return out;
}

}  // namespace nigiri
