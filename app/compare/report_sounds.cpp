#include "app/compare/report_sounds.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "app/compare/level_match.h"
#include "app/compare/markup.h"
#include "app/compare/picture.h"
#include "app/text.h"
#include "audio/flac_memory.h"
#include "kernels/random.h"

namespace nigiri::app {

namespace {

// What a browser still opens with ease: about 30 MB of page.
constexpr double most_embedded_seconds = 900;

// A sound of the listening part, with what is hidden at first.
struct Entry {
    const ComparedClip* clip = nullptr;
    std::string name, facts;
    Spectrogram picture;
    double gain = 1;
};

std::string facts_of(const ComparedClip& c, bool generated) {
    std::string text;
    if (generated) text += fixed(c.log2_likelihood_per_sample, 2) + " bits/sample, ";
    text += std::isfinite(c.analysis.loudness_lufs) ? fixed(c.analysis.loudness_lufs, 1) + " LUFS" : "silent";
    if (c.ran_away != Runaway::none) text += std::string(", ran away: ") + name_of(c.ran_away);
    return text;
}

// Row by row: the sounds of one seed and prompt.
std::vector<std::vector<Entry>> entries(const ComparisonResult& result) {
    size_t rows = 0;
    double seconds = 0;
    for (const ComparedModel& m : result.models) {
        rows = std::max(rows, m.clips.size());
        for (const ComparedClip& c : m.clips) seconds += static_cast<double>(c.samples.size()) / c.rate;
    }
    if (seconds > most_embedded_seconds)
        rows = std::max<size_t>(1, static_cast<size_t>(static_cast<double>(rows) * most_embedded_seconds / seconds));
    std::vector<std::vector<Entry>> all(rows);
    for (size_t i = 0; i < rows; ++i) {
        for (const ComparedModel& m : result.models)
            if (i < m.clips.size()) all[i].push_back({&m.clips[i], m.name, facts_of(m.clips[i], true), {}, 1});
        if (i < result.held_out.size())
            all[i].push_back({&result.held_out[i], "a recording", facts_of(result.held_out[i], false), {}, 1});
    }
    return all;
}

// All sounds of the page at one loudness, all pictures with one scale.
double prepare(std::vector<std::vector<Entry>>& rows) {
    std::vector<std::vector<float>> sounds;
    double loudest = -std::numeric_limits<double>::infinity();
    int rate = 16000;
    for (auto& row : rows)
        for (Entry& e : row) {
            rate = e.clip->rate;
            sounds.push_back(e.clip->samples);
            e.picture = picture_spectrogram(e.clip->samples, rate);
            for (const float v : e.picture.values) loudest = std::max(loudest, static_cast<double>(v));
        }
    const LevelMatch match = match_levels(sounds, rate);
    size_t next = 0;
    for (auto& row : rows)
        for (Entry& e : row) e.gain = match.gains[next++];
    return loudest;
}

std::string sound_html(const Entry& e, const std::string& letter, size_t row, double loudest) {
    std::vector<float> samples = e.clip->samples;
    for (float& x : samples) x = static_cast<float>(x * e.gain);
    const double mark = static_cast<double>(e.clip->prompt) / static_cast<double>(std::max<size_t>(1, samples.size()));
    const std::string title = "sound " + letter + " of clip " + std::to_string(row + 1);
    return "<figure><figcaption><b>" + letter + "</b> <span class=\"who\">" + html_escape(e.name) + " <small>" +
           html_escape(e.facts) + "</small></span></figcaption>\n<img alt=\"Spectrogram of " + title +
           "\" src=\"data:image/png;base64," + base64(spectrogram_png(e.picture, loudest, mark)) +
           "\" />\n<audio controls=\"controls\" preload=\"metadata\" aria-label=\"" + title +
           "\" src=\"data:audio/flac;base64," + base64(flac_bytes(samples, e.clip->rate)) + "\"></audio></figure>\n";
}

}  // namespace

std::string sounds_html(const ComparisonOptions& options, const ComparisonResult& result) {
    auto rows = entries(result);
    const double loudest = prepare(rows);
    std::string out;
    Random random(options.sampling.seed, 0x626c696e64);
    for (size_t i = 0; i < rows.size(); ++i) {
        auto& row = rows[i];
        // Which letter is whose changes from clip to clip.
        for (size_t k = row.size(); k > 1; --k) std::swap(row[k - 1], row[random.below(k)]);
        out += "<section class=\"clip\"><h3>Clip " + std::to_string(i + 1) + "</h3>";
        out += options.prompt_seconds > 0 ? "<small>All begin with the same " + fixed(options.prompt_seconds, 1) +
                                                " s of a recording, up to the light line.</small>"
                                          : "<small>The same random numbers for all models.</small>";
        out += "<div class=\"sounds\">\n";
        for (size_t k = 0; k < row.size(); ++k) {
            const std::string letter = k < 26 ? std::string(1, static_cast<char>('A' + k)) : std::to_string(k + 1);
            out += sound_html(row[k], letter, i, loudest);
        }
        out += "</div></section>\n";
    }
    return out;
}

}  // namespace nigiri::app
