#include "audio/split.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <fstream>
#include <sstream>

#include "audio/hash.h"
#include "kernels/error.h"
#include "kernels/random.h"

namespace nigiri {
namespace {

constexpr double held_out_share = 0.06;          // of the files, for validation and for the test each
constexpr uint64_t split_stream = 0x73706c6974;  // keeps these draws apart from all others of the seed

std::string lower_case(std::string s) {
    std::transform(s.begin(), s.end(), s.begin(), [](unsigned char c) { return std::tolower(c); });
    return s;
}

// The whole of file i.
Part whole(const std::vector<SplitCandidate>& candidates, size_t i, Split split) {
    return {i, split, 0, candidates[i].samples};
}

}  // namespace

const char* name_of(Split split) {
    switch (split) {
        case Split::train:
            return "train";
        case Split::valid:
            return "valid";
        case Split::test:
            return "test";
    }
    return "unknown";
}

std::optional<Split> split_of_folder(const std::string& name) {
    const std::string s = lower_case(name);
    if (s == "train" || s == "training") return Split::train;
    if (s == "valid" || s == "validation" || s == "val") return Split::valid;
    if (s == "test") return Split::test;
    return std::nullopt;
}

Split parse_split(const std::string& name) {
    if (const auto split = split_of_folder(name)) return *split;
    throw Error("unknown split '" + name + "'", "use train, valid or test");
}

Division divide(const std::vector<SplitCandidate>& candidates, uint64_t seed, int64_t least) {
    Division division;
    bool has[3] = {};
    const bool folders =
        std::any_of(candidates.begin(), candidates.end(), [](const auto& c) { return c.folder.has_value(); });
    for (const auto& c : candidates)
        if (c.folder) has[static_cast<int>(*c.folder)] = true;
    std::vector<size_t> pool;  // what may be given away
    for (size_t i = 0; i < candidates.size(); ++i) {
        const auto folder = candidates[i].folder;
        if (folder && *folder != Split::train)
            division.parts.push_back(whole(candidates, i, *folder));
        else if (folder || !folders)
            pool.push_back(i);
    }
    std::vector<Split> missing;
    for (const Split split : {Split::valid, Split::test})
        if (!has[static_cast<int>(split)]) missing.push_back(split);

    if (pool.size() > missing.size()) {
        std::stable_sort(pool.begin(), pool.end(), [&](size_t a, size_t b) {
            const auto key = [&](size_t i) { return philox(seed, fnv1a(candidates[i].name), split_stream); };
            return key(a) < key(b);
        });
        const size_t share =
            std::max<size_t>(1, static_cast<size_t>(std::llround(held_out_share * static_cast<double>(pool.size()))));
        size_t next = 0;
        for (const Split split : missing) {
            for (size_t k = 0; k < share; ++k) division.parts.push_back(whole(candidates, pool[next++], split));
            if (folders)
                division.notes.push_back(std::string("no usable audio in a ") + name_of(split) +
                                         " folder: " + std::to_string(share) +
                                         " of the training files, chosen by the seed, take its place");
        }
        for (; next < pool.size(); ++next) division.parts.push_back(whole(candidates, pool[next], Split::train));
    } else if (!pool.empty()) {
        const size_t longest = *std::max_element(pool.begin(), pool.end(), [&](size_t a, size_t b) {
            return candidates[a].samples < candidates[b].samples;
        });
        const int64_t samples = candidates[longest].samples;
        const int64_t piece = static_cast<int64_t>(held_out_share * static_cast<double>(samples));
        if (piece >= least) {
            int64_t begin = samples - piece * static_cast<int64_t>(missing.size());
            division.parts.push_back({longest, Split::train, 0, begin});
            for (const Split split : missing) {
                division.parts.push_back({longest, split, begin, begin + piece});
                begin += piece;
            }
            division.notes.push_back(
                "too few files to set whole ones aside: the last " +
                std::to_string(std::lround(100 * held_out_share) * static_cast<long>(missing.size())) + " % of '" +
                candidates[longest].name + "' are held out, " + std::to_string(std::lround(100 * held_out_share)) +
                " % each for" +
                (missing.size() == 2          ? " validation and test"
                 : missing[0] == Split::valid ? " validation"
                                              : " the test"));
        } else {
            division.parts.push_back(whole(candidates, longest, Split::train));
            division.notes.push_back("too little audio to hold any out for validation or test");
        }
        for (const size_t i : pool)
            if (i != longest) division.parts.push_back(whole(candidates, i, Split::train));
    }
    std::sort(division.parts.begin(), division.parts.end(),
              [](const Part& a, const Part& b) { return a.file != b.file ? a.file < b.file : a.begin < b.begin; });
    return division;
}

std::set<std::string> read_file_list(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    std::string text;
    if (!in || !std::filesystem::is_regular_file(path))
        throw Error("cannot read the list of files '" + path.string() + "'");
    constexpr size_t most = 64 << 20;
    text.resize(most + 1);
    in.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<size_t>(in.gcount()));
    if (text.size() > most || text.find('\0') != std::string::npos)
        throw Error("'" + path.string() + "' is not a list of files", "write one relative path or file name a line");
    if (text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);
    std::set<std::string> names;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        line.erase(std::min(line.find('#'), line.size()));
        const size_t first = line.find_first_not_of(" \t\r");
        if (first == std::string::npos) continue;
        line = line.substr(first, line.find_last_not_of(" \t\r") - first + 1);
        while (line.starts_with("./")) line.erase(0, 2);
        names.insert(line);
    }
    if (names.empty()) throw Error("the list of files '" + path.string() + "' names none");
    return names;
}

}  // namespace nigiri
