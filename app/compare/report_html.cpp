#include <algorithm>
#include <cmath>
#include <limits>

#include "app/compare/level_match.h"
#include "app/compare/markup.h"
#include "app/compare/picture.h"
#include "app/compare/report.h"
#include "app/compare/report_style.h"
#include "app/compare/report_table.h"
#include "app/text.h"
#include "audio/flac_memory.h"
#include "kernels/random.h"

namespace nigiri::app {

namespace {

// What a browser still opens with ease: about 30 MB of page.
constexpr double most_embedded_seconds = 900;

std::string table_html(const Table& table, const ComparisonResult& result, bool held_out) {
    std::string out = "<div class=\"scroll\"><table>\n<thead><tr><td></td>";
    if (held_out) out += "<th scope=\"col\">held-out audio (floor)</th>";
    for (const ComparedModel& m : result.models) out += "<th scope=\"col\">" + html_escape(m.name) + "</th>";
    out += "</tr></thead>\n<tbody>\n";
    for (const TableRow& r : table.rows) {
        out += "<tr><th scope=\"row\">" + html_escape(r.name);
        if (!r.unit.empty()) out += "<small>" + html_escape(r.unit) + "</small>";
        out += "</th>";
        if (held_out) out += "<td class=\"floor\">" + html_escape(r.held_out) + "</td>";
        for (size_t i = 0; i < r.cells.size(); ++i)
            out += std::string(static_cast<int>(i) == r.best ? "<td class=\"best\">" : "<td>") +
                   html_escape(r.cells[i]) + "</td>";
        out += "</tr>\n";
    }
    return out + "</tbody>\n</table></div>\n";
}

std::string definition_list(const Table& table) {
    std::string out;
    for (const TableRow& r : table.rows)
        if (!r.definition.empty())
            out += "<dt>" + html_escape(r.name) + "</dt><dd>" + html_escape(r.definition) + "</dd>\n";
    return out;
}

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

std::string clips_html(const ComparisonOptions& options, const ComparisonResult& result) {
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

std::string notes_html(const ComparisonResult& result) {
    std::string items;
    for (const std::string& n : result.notes) items += "<li>" + html_escape(n) + "</li>";
    for (const ComparedModel& m : result.models)
        if (!m.error.empty()) items += "<li>" + html_escape(m.name + " failed: " + m.error) + "</li>";
    return items.empty() ? "" : "<div class=\"notes\"><ul>" + items + "</ul></div>\n";
}

}  // namespace

std::string to_html(const ComparisonOptions& options, const ComparisonResult& result, const ReportFiles& files) {
    const Table models = model_table(result), similarity = similarity_table(result),
                recordings = recording_table(result);
    const std::string title =
        std::to_string(result.models.size()) + (result.models.size() == 1 ? " model judged" : " models compared");
    std::string out =
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\" />\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\" />\n<title>Nigiri: " +
        title + "</title>\n<style>" + report_style + "</style></head>\n<body>\n<header><h1>" + title +
        "</h1>\n<p class=\"soft\">" + html_escape(summary(options, result)) + "</p>\n" + notes_html(result) +
        "</header>\n<main>\n";
    out += "<h2>" + html_escape(models.title) + "</h2>\n" + table_html(models, result, false);
    for (const std::string& d : differences(result)) out += "<p class=\"soft\">" + html_escape(d) + "</p>\n";
    if (!similarity.rows.empty())
        out += "<h2>" + html_escape(similarity.title) + "</h2>\n" + table_html(similarity, result, true) +
               "<p class=\"soft\">The column of held-out audio is the floor: what pieces of recordings score against "
               "other "
               "pieces. A model at the floor cannot be told from recordings by that number; differences well below the "
               "floor mean nothing. The best value of a row is marked where it leads by more than half of the "
               "floor.</p>\n";
    out +=
        "<h2>Listen</h2>\n<p>First without names: in every row the sounds stand in another order, one of them is a "
        "real recording where there was one to spare, and all have the same loudness, because the louder sound is "
        "easily taken for the better one. Note your choice for every clip, then show the names. For a number that "
        "holds, decide beforehand how many trials you will do and do not look in between.</p>\n"
        "<input type=\"checkbox\" id=\"reveal\" /><label class=\"switch\" for=\"reveal\">Show who made which "
        "sound</label>\n<div class=\"clips\">\n" +
        clips_html(options, result) + "</div>\n";
    if (!recordings.rows.empty())
        out += "<h2>" + html_escape(recordings.title) + "</h2>\n<details><summary>" +
               std::to_string(recordings.rows.size()) + " recordings</summary>\n" +
               table_html(recordings, result, false) + "</details>\n";
    out += "<h2>What the numbers mean</h2>\n<dl>\n" + definition_list(models) + definition_list(similarity) +
           "</dl>\n<p class=\"soft\">Formulas, sources and limits: docs/metrics.md of the project.</p>\n</main>\n"
           "<footer><p>The clips as they were generated, unchanged in level, with their settings in their comments: "
           "the folder " +
           html_escape(files.clips.filename().string()) +
           ". All numbers: " + html_escape(files.json.filename().string()) + ".</p></footer>\n</body></html>\n";
    return out;
}

}  // namespace nigiri::app
