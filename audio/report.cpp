// The scan's report as text and as JSON.
#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "audio/scan.h"
#include "audio/text.h"

namespace nigiri {
namespace {

// "train", or "train, valid, test" for a file that is cut.
std::string splits_of(const ScanReport& report, size_t file) {
    std::string text;
    for (const Part& part : report.parts)
        if (part.file == file) text += (text.empty() ? "" : ", ") + std::string(name_of(part.split));
    return text;
}

// Columns padded to their widest cell, counted in code points.
std::string table(const std::vector<std::vector<std::string>>& rows) {
    const auto width = [](const std::string& s) {
        return static_cast<size_t>(std::count_if(s.begin(), s.end(), [](char c) { return (c & 0xC0) != 0x80; }));
    };
    std::vector<size_t> widths;
    for (const auto& row : rows) {
        widths.resize(std::max(widths.size(), row.size()));
        for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width(row[i]));
    }
    std::string text;
    for (const auto& row : rows) {
        for (size_t i = 0; i < row.size(); ++i) {
            text += row[i];
            if (i + 1 < row.size()) text.append(widths[i] - width(row[i]) + 2, ' ');
        }
        text += '\n';
    }
    return text;
}

}  // namespace

std::string to_text(const ScanReport& report, bool all_files) {
    std::string text;
    std::vector<std::vector<std::string>> used = {{"split", "seconds", "rate", "channels", "peak", "file"}};
    std::vector<std::vector<std::string>> skipped = {{"skipped because", "file", ""}};
    size_t unlisted = 0;
    for (size_t i = 0; i < report.files.size(); ++i) {
        const FileReport& f = report.files[i];
        if (f.used())
            used.push_back({splits_of(report, i), shown(static_cast<double>(f.samples) / report.sample_rate, 2),
                            std::to_string(f.info.rate), std::to_string(f.info.channels), shown(f.peak, 3), f.name});
        else if (f.fault == AudioFault::not_listed && !all_files)
            ++unlisted;
        else
            skipped.push_back({name_of(f.fault), f.name, f.reason});
    }
    if (all_files && used.size() > 1) text += table(used) + "\n";
    if (skipped.size() > 1) text += table(skipped) + "\n";
    for (const std::string& note : report.notes) text += "note: " + note + "\n";
    text += std::to_string(used.size() - 1) + " files used, " + std::to_string(skipped.size() - 1 + unlisted) +
            " skipped" + (unlisted > 0 ? " (" + std::to_string(unlisted) + " by the list of files)" : "") + "; at " +
            std::to_string(report.sample_rate) + " Hz mono:";
    for (const Split split : all_splits)
        text +=
            std::string(split == Split::train ? " " : ", ") + name_of(split) + " " + duration(report.seconds(split));
    return text + "\n";
}

nlohmann::json to_json(const ScanReport& report) {
    using nlohmann::json;
    json files = json::array(), parts = json::array(), splits = json::object();
    for (const FileReport& f : report.files) {
        json j = {{"name", f.name}, {"used", f.used()}};
        if (!f.used()) j["fault"] = name_of(f.fault), j["reason"] = f.reason;
        if (f.info.rate > 0) {
            j["seconds"] = f.info.seconds();
            j["rate"] = f.info.rate;
            j["channels"] = f.info.channels;
            j["format"] = printable(f.info.format);
        }
        if (f.used()) j["peak"] = f.peak, j["clipped"] = f.clipped;
        files.push_back(std::move(j));
    }
    for (const Part& p : report.parts)
        parts.push_back(
            {{"name", report.files[p.file].name}, {"split", name_of(p.split)}, {"begin", p.begin}, {"end", p.end}});
    for (const Split split : all_splits)
        splits[name_of(split)] = {{"files", std::count_if(report.parts.begin(), report.parts.end(),
                                                          [&](const Part& p) { return p.split == split; })},
                                  {"seconds", report.seconds(split)},
                                  {"samples", report.samples(split)}};
    const size_t used = report.used_files();
    return {{"folder", printable(report.folder.string())},
            {"sample_rate", report.sample_rate},
            {"prepared", report.prepared},
            {"files", std::move(files)},
            {"parts", std::move(parts)},
            {"splits", std::move(splits)},
            {"used", used},
            {"skipped", report.files.size() - used},
            {"notes", report.notes}};
}

}  // namespace nigiri
