#include "audio/etudes.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/random.h"

namespace nigiri {

namespace {

constexpr int64_t eighth = ticks_per_whole / 8, quarter = ticks_per_quarter, half = ticks_per_whole / 2,
                  whole = ticks_per_whole;

struct Key {
    int tonic = 0;  // pitch class
    bool minor = false;

    std::string name() const {
        static constexpr std::array<const char*, 12> names = {"C",       "D flat", "D",      "E flat", "E",      "F",
                                                              "F sharp", "G",      "A flat", "A",      "B flat", "B"};
        return std::string(names[static_cast<size_t>(tonic)]) + (minor ? " minor" : " major");
    }
    // The pitch of a scale degree; 0 is the tonic near middle C (54 to 65), 7 the octave above. In minor the
    // seventh degree is raised where `leading` asks for it: in dominant chords and where a line goes up to
    // the tonic.
    int pitch(int degree, bool leading = false) const {
        static constexpr std::array<int, 7> major_scale = {0, 2, 4, 5, 7, 9, 11}, minor_scale = {0, 2, 3, 5, 7, 8, 10};
        const int octave = degree >= 0 ? degree / 7 : -((6 - degree) / 7), step = degree - 7 * octave;
        const int base = tonic < 6 ? 60 + tonic : 48 + tonic;
        return base + 12 * octave + (minor ? minor_scale : major_scale)[static_cast<size_t>(step)] +
               (leading && minor && step == 6 ? 1 : 0);
    }
};

// Root degrees of the chords of eight bars; the last two make a cadence. 4 is the dominant.
using Progression = std::array<int, 8>;
constexpr std::array<Progression, 6> progressions = {{{0, 5, 3, 4, 0, 3, 4, 0},
                                                      {0, 3, 1, 4, 5, 3, 4, 0},
                                                      {0, 4, 5, 2, 3, 0, 4, 0},
                                                      {0, 0, 3, 0, 4, 3, 4, 0},
                                                      {5, 3, 0, 4, 5, 1, 4, 0},
                                                      {0, 1, 4, 0, 3, 5, 4, 0}}};

bool is_dominant(int root) { return root == 4 || root == 6; }

class Draft {
  public:
    Draft(const Key& key, int64_t bar, double tempo, Random& random) : key_(key), bar_(bar), random_(random) {
        score_.tempi.push_back({0, tempo});
    }

    void note(int voice, int64_t start, int64_t duration, int pitch, bool legato = true, bool staccato = false) {
        while (pitch < lowest_piano_pitch) pitch += 12;
        while (pitch > highest_piano_pitch) pitch -= 12;
        ScoreNote n;
        n.start = start;
        n.duration = duration;
        n.pitch = pitch;
        n.voice = voice;
        n.legato = legato;
        n.staccato = staccato;
        score_.notes.push_back(n);
        score_.voices = std::max(score_.voices, voice + 1);
        score_.length = std::max(score_.length, start + duration);
    }
    void chord(int voice, int64_t start, int64_t duration, std::initializer_list<int> pitches, bool legato = true) {
        for (const int p : pitches) note(voice, start, duration, p, legato);
    }
    void dynamic(int64_t start, double velocity) { score_.dynamics.push_back({start, start, 0, velocity, false}); }
    void hairpin(int64_t start, int64_t end, double velocity) {
        score_.dynamics.push_back({start, end, 0, velocity, true});
    }
    void pedal(int64_t start) { score_.pedal.push_back({start, true}); }

    Score finish(const std::string& title) {
        score_.title = title;
        for (int64_t t = 0; t < score_.length; t += bar_) score_.bars.push_back(t);
        if (!score_.pedal.empty()) score_.pedal.push_back({score_.length, false});
        std::stable_sort(score_.notes.begin(), score_.notes.end(),
                         [](const auto& a, const auto& b) { return a.start < b.start; });
        return std::move(score_);
    }

    const Key& key() const { return key_; }
    int64_t bar() const { return bar_; }
    Random& random() { return random_; }
    int draw(int low, int high) { return low + static_cast<int>(random_.below(static_cast<uint64_t>(high - low + 1))); }
    const Progression& progression() { return progressions[random_.below(progressions.size())]; }

  private:
    Key key_;
    int64_t bar_;
    Random& random_;
    Score score_;
};

// The degree of the chord (root, third, fifth of `root`) nearest to `degree`.
int nearest_chord_degree(int degree, int root) {
    for (int away = 0;; ++away)
        for (const int d : {degree - away, degree + away}) {
            const int above = ((d - root) % 7 + 7) % 7;
            if (above == 0 || above == 2 || above == 4) return d;
        }
}

// A melody over one chord a bar: rhythms come in pairs of bars that return, strong beats are chord notes, the
// rest are steps.
struct Melody {
    std::vector<std::vector<int64_t>> rhythms;  // two, in turn; the last bar is one long note
    int degree = 4, lowest = 0, highest = 11;

    void bar(Draft& d, int voice, int64_t start, int root, size_t number, bool last) {
        const auto& rhythm = rhythms[number % rhythms.size()];
        if (last) {
            d.note(voice, start, d.bar(), d.key().pitch(nearest_chord_degree(degree, 0), false));
            return;
        }
        int64_t t = 0;
        for (const int64_t length : rhythm) {
            const bool strong = t % half == 0 || length >= half;
            degree = std::clamp(degree + d.draw(-2, 2), lowest, highest);
            if (strong) degree = nearest_chord_degree(degree, root);
            d.note(voice, start + t, length, d.key().pitch(degree, is_dominant(root)), d.draw(0, 5) > 0);
            t += length;
        }
    }
};

std::vector<int64_t> draw_rhythm(Draft& d) {
    if (d.bar() == 3 * quarter) {
        static const std::vector<std::vector<int64_t>> waltz = {{quarter, quarter, quarter},
                                                                {half, quarter},
                                                                {quarter + eighth, eighth, quarter},
                                                                {quarter, eighth, eighth, quarter}};
        return waltz[d.random().below(waltz.size())];
    }
    static const std::vector<std::vector<int64_t>> common = {{quarter, quarter, quarter, quarter},
                                                             {half, quarter, quarter},
                                                             {quarter + eighth, eighth, quarter, quarter},
                                                             {eighth, eighth, quarter, eighth, eighth, quarter},
                                                             {half + quarter, quarter},
                                                             {quarter, eighth, eighth, half}};
    return common[d.random().below(common.size())];
}

Melody draw_melody(Draft& d, int lowest, int highest) {
    Melody m;
    m.rhythms = {draw_rhythm(d), draw_rhythm(d)};
    m.lowest = lowest;
    m.highest = highest;
    m.degree = (lowest + highest) / 2;
    return m;
}

void closing_chord(Draft& d, int64_t start, int shift) {
    d.chord(0, start, whole, {d.key().pitch(shift), d.key().pitch(shift + 2), d.key().pitch(shift + 7)});
    d.chord(1, start, whole, {d.key().pitch(shift - 14), d.key().pitch(shift - 10), d.key().pitch(shift - 7)});
}

// Both hands in octaves, tenths or against each other, over two octaves from each degree of the tonic chord.
void scales(Draft& d) {
    const int mode = d.draw(0, 2);
    const int64_t step = d.draw(0, 1) ? ticks_per_whole / 16 : eighth;
    int64_t t = 0;
    for (const int from : {0, 2, 4, 0}) {
        if (step == eighth && from == 4) continue;
        const int64_t begin = t;
        for (int i = 0; i < 29; ++i) {
            const int climb = i < 14 ? i : 28 - i;
            const int right = from + climb, left = mode == 0 ? right - 7 : mode == 1 ? right - 9 : from - 7 - climb;
            const int64_t length = i == 28 ? quarter * 2 - 28 % (half / step) * step : step;
            d.note(0, t, length, d.key().pitch(right, i < 14));
            d.note(1, t, length, d.key().pitch(left, i < 14));
            t += length;
        }
        d.hairpin(begin, begin + 14 * step, 92);
        d.hairpin(begin + 14 * step, t, 56);
    }
    closing_chord(d, t, 0);
}

// Chords broken upwards and downwards through both hands, the pedal changed with each chord.
void arpeggios(Draft& d) {
    const Progression& roots = d.progression();
    const int shape = d.draw(0, 2);
    const int64_t step = ticks_per_whole / 16;
    static constexpr std::array<std::array<int, 16>, 3> shapes = {
        {{0, 4, 7, 9, 11, 14, 16, 18, 16, 14, 11, 9, 7, 4, 2, 4},
         {0, 7, 9, 11, 14, 11, 9, 7, 0, 7, 9, 11, 16, 11, 9, 7},
         {0, 4, 9, 4, 11, 9, 14, 11, 16, 14, 11, 14, 9, 11, 7, 9}}};
    for (size_t b = 0; b < 16; ++b) {
        const int root = roots[b % 8] - 14;
        const int64_t start = static_cast<int64_t>(b) * d.bar();
        d.pedal(start);
        if (b % 4 == 0) d.hairpin(start, start + 2 * d.bar(), 86);
        if (b % 4 == 2) d.hairpin(start, start + 2 * d.bar(), 54);
        for (size_t i = 0; i < 16; ++i) {
            const int degree = root + shapes[static_cast<size_t>(shape)][i];
            d.note(degree < -4 ? 1 : 0, start + static_cast<int64_t>(i) * step, step,
                   d.key().pitch(degree, is_dominant(roots[b % 8])));
        }
    }
    d.pedal(16 * d.bar());
    closing_chord(d, 16 * d.bar(), 0);
}

// The accompaniments of a melody in the right hand.
enum class Accompaniment { alberti, waltz, nocturne, march };

void song(Draft& d, Accompaniment kind) {
    const Progression& roots = d.progression();
    Melody melody = draw_melody(d, d.draw(0, 3), d.draw(11, 15));
    const size_t bars = 16;
    for (size_t b = 0; b < bars; ++b) {
        const int root = roots[b % 8] > 3 ? roots[b % 8] - 14 : roots[b % 8] - 7;
        const int64_t start = static_cast<int64_t>(b) * d.bar();
        const auto pitch = [&](int degree) { return d.key().pitch(root + degree, is_dominant(roots[b % 8])); };
        if (b % 8 == 0) d.dynamic(start, b == 0 ? 62 : 76);
        if (b % 8 == 4) d.hairpin(start, start + 2 * d.bar(), 90);
        if (b % 8 == 6) d.hairpin(start, start + 2 * d.bar(), 56);
        melody.bar(d, 0, start, roots[b % 8], b, b + 1 == bars);
        if (kind == Accompaniment::alberti) {
            static constexpr std::array<int, 4> figure = {0, 4, 2, 4};
            for (int64_t i = 0; i < 8; ++i)
                d.note(1, start + i * eighth, eighth, pitch(figure[static_cast<size_t>(i % 4)]));
        } else if (kind == Accompaniment::waltz) {
            d.note(1, start, quarter, pitch(-7), false);
            for (int64_t i = 1; i < 3; ++i)
                d.chord(1, start + i * quarter, quarter, {pitch(0), pitch(2), pitch(4)}, false);
            d.pedal(start);
        } else if (kind == Accompaniment::nocturne) {
            static constexpr std::array<int, 8> figure = {-7, -3, 0, 2, 4, 2, 0, -3};
            for (int64_t i = 0; i < 8; ++i)
                d.note(1, start + i * eighth, eighth, pitch(figure[static_cast<size_t>(i)]));
            d.pedal(start);
        } else {
            for (int64_t i = 0; i < 4; ++i) {
                if (i % 2 == 0)
                    d.note(1, start + i * quarter, quarter, pitch(i == 0 ? -7 : -3), false, true);
                else
                    d.chord(1, start + i * quarter, quarter, {pitch(0), pitch(2), pitch(4)}, false);
            }
        }
    }
}

// Four voices, one chord a half note; every upper voice moves to the nearest note of the next chord.
void chorale(Draft& d) {
    const Progression& first = d.progression();
    const Progression& second = d.progression();
    std::array<int, 3> upper = {2, 4, 7};
    for (size_t i = 0; i < 16; ++i) {
        const int root = i < 8 ? first[i] : second[i - 8];
        const int64_t start = static_cast<int64_t>(i) * half, length = i % 8 == 7 ? half - eighth : half;
        if (i % 8 == 0) d.dynamic(start, i == 0 ? 50 : 72);
        d.pedal(start);
        int previous = -100;
        for (size_t v = 0; v < 3; ++v) {
            int degree = nearest_chord_degree(std::clamp(upper[v] + d.draw(-1, 1), 0, 11), root);
            while (degree <= previous || nearest_chord_degree(degree, root) != degree) ++degree;
            previous = upper[v] = degree;
            d.note(v == 2 ? 0 : 1, start, length, d.key().pitch(degree, is_dominant(root)));
        }
        d.note(2, start, length, d.key().pitch((root > 3 ? root - 14 : root - 7), is_dominant(root)));
    }
    d.pedal(8 * whole);
    closing_chord(d, 8 * whole, 0);
}

// Two voices, the second an octave below and one ground later; every turn of the ground has the same chords,
// so that whatever fits the ground fits what the other hand plays over it.
void canon(Draft& d) {
    static constexpr std::array<std::array<int, 4>, 3> grounds = {{{0, 3, 4, 0}, {0, 5, 1, 4}, {0, 4, 3, 4}}};
    const auto& ground = grounds[d.random().below(grounds.size())];
    constexpr int turns = 8;
    const int64_t turn = 2 * whole;
    int degree = 7;
    for (int k = 0; k < turns; ++k) {
        for (int64_t c = 0; c < 4; ++c) {
            int64_t t = k * turn + c * half;
            const int root = ground[static_cast<size_t>(c)];
            const int64_t length = k + 1 == turns ? half : d.draw(0, 2) == 0 ? quarter : eighth;
            for (const int64_t end = t + half; t < end; t += length) {
                degree = std::clamp(degree + d.draw(-2, 2), 2, 14);
                if (t % quarter == 0) degree = nearest_chord_degree(degree, root);
                d.note(0, t, length, d.key().pitch(degree, is_dominant(root)), length < quarter);
                d.note(1, t + turn, length, d.key().pitch(degree - 7, is_dominant(root)), length < quarter);
            }
        }
        d.dynamic(k * turn, k % 2 ? 64 : 80);
    }
    // The first voice waits for the second.
    for (int64_t c = 0; c < 4; ++c)
        d.note(0, turns * turn + c * half, half,
               d.key().pitch(nearest_chord_degree(7, ground[static_cast<size_t>(c)]),
                             is_dominant(ground[static_cast<size_t>(c)])));
    closing_chord(d, (turns + 1) * turn, 0);
}

}  // namespace

Score make_etude(int number, uint64_t seed) {
    Random random(seed, 1 + static_cast<uint64_t>(number));
    const int kind = number % etude_kinds, round = number / etude_kinds;
    Key key;
    key.tonic = (7 * kind + 5 * round + static_cast<int>(seed % 12)) % 12;
    key.minor = (kind + round) % 2 == 1;
    const auto tempo = [&](double low, double high) { return std::round(random.uniform(low, high)); };
    std::string name;
    const auto write = [&](const char* what, int64_t bar, double quarters_per_minute, auto&& compose) {
        Draft d(key, bar, quarters_per_minute, random);
        compose(d);
        return d.finish("Etude " + std::to_string(number + 1) + ": " + what + " in " + key.name());
    };
    switch (kind) {
        case 0:
            return write("scales", whole, tempo(60, 84), scales);
        case 1:
            return write("arpeggios", whole, tempo(76, 108), arpeggios);
        case 2:
            return write("Alberti bass", whole, tempo(104, 138), [](Draft& d) { song(d, Accompaniment::alberti); });
        case 3:
            return write("chorale", whole, tempo(56, 76), chorale);
        case 4:
            return write("canon", whole, tempo(104, 132), canon);
        case 5:
            return write("waltz", 3 * quarter, tempo(104, 152), [](Draft& d) { song(d, Accompaniment::waltz); });
        case 6:
            return write("nocturne", whole, tempo(84, 104), [](Draft& d) { song(d, Accompaniment::nocturne); });
        default:
            return write("march", whole, tempo(100, 126), [](Draft& d) { song(d, Accompaniment::march); });
    }
}

}  // namespace nigiri
