// From the elements of the voices to a score: repeats written out, ties joined, marks put at their times.
#include <algorithm>
#include <map>

#include "audio/abc_elements.h"

namespace nigiri {

namespace abc {

namespace {

using Kind = Element::Kind;

constexpr int64_t grace_ticks = ticks_per_whole / 32;
constexpr double hairpin_step = 14;  // one dynamic mark, where none follows the hairpin

// The elements in the order in which they sound. No section sounds more than twice.
std::vector<const Element*> unrolled(const std::vector<Element>& elements) {
    std::vector<const Element*> out;
    size_t section = 0, first_ending = 0;
    bool has_ending = false;
    for (size_t i = 0; i < elements.size(); ++i) {
        const Element& e = elements[i];
        out.push_back(&e);
        if (e.kind != Kind::bar) continue;
        if (e.repeat_end) {
            const size_t end = has_ending ? first_ending : i;
            for (size_t k = section; k < end; ++k) out.push_back(&elements[k]);
            out.push_back(&e);
            section = i + 1;
            has_ending = false;
        }
        if (e.repeat_start) section = i + 1;
        if (e.ending == 1) {
            has_ending = true;
            first_ending = i;
        }
    }
    return out;
}

class Layout {
  public:
    Layout(const Tune& tune, const std::string& name, const ScoreLimits& limits)
        : tune_(tune), name_(name), limits_(limits) {}

    Score run() {
        score_.title = tune_.title;
        score_.composer = tune_.composer;
        score_.tempi.push_back({0, tune_.tempo});
        score_.voices = static_cast<int>(tune_.voices.size());
        std::vector<std::vector<int64_t>> bars;
        for (size_t v = 0; v < tune_.voices.size(); ++v) {
            bars.emplace_back();
            add_voice(static_cast<int>(v), bars.back());
        }
        check_voices(bars);
        score_.bars = bars.front();
        score_.bars.pop_back();
        const auto by_time = [](auto& list) {
            std::stable_sort(list.begin(), list.end(), [](const auto& a, const auto& b) { return a.start < b.start; });
        };
        by_time(score_.tempi);
        if (score_.seconds() > limits_.seconds)  // before anything is made whose size is the length
            throw Error(name_ + " lasts longer than " + std::to_string(static_cast<int>(limits_.seconds / 60)) +
                        " minutes");
        add_regular_pedal();
        by_time(score_.notes);
        by_time(score_.dynamics);
        by_time(score_.pedal);
        return std::move(score_);
    }

  private:
    // Fills `bars` with the starts of the voice's bars, and its end.
    void add_voice(int v, std::vector<int64_t>& bars) {
        const auto elements = unrolled(tune_.voices[static_cast<size_t>(v)].elements);
        std::map<int, std::pair<size_t, const Element*>>
            tied;  // pitch -> the note that goes on, and where it was written
        std::vector<const Element*> graces;
        int64_t now = 0;
        double velocity = velocity_of_dynamic("mf");
        int64_t hairpin = -1;
        double direction = 0;
        bars.push_back(0);
        for (size_t i = 0; i < elements.size(); ++i) {
            const Element& e = *elements[i];
            switch (e.kind) {
                case Kind::notes:
                    if (e.grace)
                        graces.push_back(&e);
                    else {
                        add_notes(e, v, now, graces, tied);
                        now += e.duration;
                    }
                    break;
                case Kind::rest:
                    fail_on_open_tie(tied, now + 1);
                    now += e.duration;
                    break;
                case Kind::bar:
                    if (now > bars.back()) bars.push_back(now);
                    break;
                case Kind::dynamic:
                    velocity = e.value;
                    hairpin = -1;
                    score_.dynamics.push_back({now, now, v, velocity, false});
                    break;
                case Kind::hairpin_start:
                    hairpin = now;
                    direction = e.value;
                    break;
                case Kind::hairpin_end:
                    if (hairpin < 0) fail_at(name_, e.place, "a hairpin ends that did not start");
                    velocity = hairpin_target(elements, i, velocity, direction);
                    score_.dynamics.push_back({hairpin, now, v, velocity, true});
                    hairpin = -1;
                    break;
                case Kind::tempo:
                    score_.tempi.push_back({now, e.value});
                    break;
                case Kind::pedal:
                    score_.pedal.push_back({now, e.value > 0});
                    break;
                case Kind::pedal_every:
                    regular_.push_back({now, e.duration});
                    break;
            }
        }
        fail_on_open_tie(tied, now + 1);
        if (now > bars.back()) bars.push_back(now);
    }

    using Tied = std::map<int, std::pair<size_t, const Element*>>;

    void add_notes(const Element& e, int v, int64_t now, std::vector<const Element*>& graces, Tied& tied) {
        fail_on_open_tie(tied, now);
        // Grace notes take their time from the note that they adorn, but never more than half of it.
        int64_t start = now;
        if (!graces.empty()) {
            const int64_t each = std::min(grace_ticks, e.duration / 2 / static_cast<int64_t>(graces.size()));
            for (const Element* grace : graces) {
                if (each > 0) emit({start, each, grace->pitches.front().pitch, v, false, false, true, false});
                start += each;
            }
            graces.clear();
        }
        Tied still;
        for (const Pitch& p : e.pitches) {
            const int64_t end = std::max(now + p.duration, start + 1);
            size_t index;
            if (const auto it = tied.find(p.pitch); it != tied.end()) {
                index = it->second.first;
                score_.notes[index].duration = end - score_.notes[index].start;
                score_.notes[index].fermata |= e.fermata;
                tied.erase(it);
            } else {
                index = score_.notes.size();
                emit({start, end - start, p.pitch, v, e.staccato, e.accent, e.legato, e.fermata});
            }
            if (p.tied) still[p.pitch] = {index, &e};
        }
        // Within a chord with notes of several lengths a tie may reach beyond the next, shorter ones.
        for (auto& entry : still) tied.insert(entry);
    }

    void emit(const ScoreNote& note) {
        if (score_.notes.size() >= limits_.notes)
            throw Error(name_ + " has more than " + std::to_string(limits_.notes) + " notes with its repeats");
        score_.notes.push_back(note);
    }

    // A tie whose note has ended before `now` found no note of its pitch.
    void fail_on_open_tie(const Tied& tied, int64_t now) const {
        for (const auto& [pitch, origin] : tied) {
            const ScoreNote& note = score_.notes[origin.first];
            if (note.start + note.duration < now)
                fail_at(name_, origin.second->place,
                        "a tie leads to no note of the same pitch (write the accidental again after a bar)");
        }
    }

    // Where a hairpin leads: to the next dynamic mark if that comes at once, else one mark louder or softer.
    static double hairpin_target(const std::vector<const Element*>& elements, size_t at, double velocity,
                                 double direction) {
        for (size_t i = at + 1; i < std::min(elements.size(), at + 8); ++i) {
            if (elements[i]->kind == Kind::dynamic) return elements[i]->value;
            if (elements[i]->kind == Kind::notes || elements[i]->kind == Kind::hairpin_start) break;
        }
        return std::clamp(velocity + direction * hairpin_step, 20.0, 116.0);
    }

    // All voices that sound have the same bars; the first that differs is named.
    void check_voices(std::vector<std::vector<int64_t>>& bars) {
        size_t first = bars.size();
        for (size_t v = 0; v < bars.size(); ++v) {
            if (bars[v].size() < 2) continue;  // only marks
            if (first == bars.size()) {
                first = v;
                continue;
            }
            for (size_t b = 0; b < std::max(bars[v].size(), bars[first].size()); ++b)
                if (b >= bars[v].size() || b >= bars[first].size() || bars[v][b] != bars[first][b])
                    throw Error(name_ + ": voices " + tune_.voices[first].id + " and " + tune_.voices[v].id +
                                    " part at bar " + std::to_string(b == 0 ? 1 : b) + " (counted with the repeats)",
                                "every voice needs the same bars and repeats");
        }
        if (first == bars.size()) throw Error(name_ + " has no music");
        std::swap(bars.front(), bars[first]);
        score_.length = bars.front().back();
    }

    void add_regular_pedal() {
        std::stable_sort(regular_.begin(), regular_.end(),
                         [](const auto& a, const auto& b) { return a.first < b.first; });
        for (size_t r = 0; r < regular_.size(); ++r) {
            const auto [start, every] = regular_[r];
            const int64_t end = r + 1 < regular_.size() ? regular_[r + 1].first : score_.length;
            if (every != 0) add_pedal_changes(start, end, every);
            score_.pedal.push_back({end, false});
        }
    }

    void add_pedal_changes(int64_t start, int64_t end, int64_t every) {
        const auto& bars = score_.bars;
        size_t b = static_cast<size_t>(std::upper_bound(bars.begin(), bars.end(), start) - bars.begin());
        if (b > 0) --b;
        for (; b < bars.size() && bars[b] < end; ++b) {
            const int64_t next = b + 1 < bars.size() ? bars[b + 1] : score_.length;
            for (int64_t t = bars[b]; t<next; t += every> 0 ? every : next - bars[b])
                if (t >= start && t < end) score_.pedal.push_back({t, true});
        }
    }

    const Tune& tune_;
    const std::string& name_;
    const ScoreLimits& limits_;
    Score score_;
    std::vector<std::pair<int64_t, int64_t>> regular_;  // from when, how often
};

}  // namespace

Score lay_out(const Tune& tune, const std::string& name, const ScoreLimits& limits) {
    return Layout(tune, name, limits).run();
}

}  // namespace abc

double Score::seconds() const {
    double sum = 0;
    for (size_t i = 0; i < tempi.size(); ++i) {
        const int64_t end = i + 1 < tempi.size() ? tempi[i + 1].start : length;
        const int64_t ticks = std::min(end, length) - std::min(tempi[i].start, length);
        sum += static_cast<double>(std::max<int64_t>(ticks, 0)) / ticks_per_quarter * 60 / tempi[i].quarters_per_minute;
    }
    return sum;
}

}  // namespace nigiri
