#include "audio/digits.h"

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <system_error>

#include "audio/file.h"
#include "audio/parallel.h"
#include "audio/quantize.h"
#include "audio/text.h"
#include "audio/write.h"

namespace nigiri {
namespace {

namespace fs = std::filesystem;

constexpr std::array<const char*, digit_classes> words = {"zero", "one", "two",   "three", "four",
                                                          "five", "six", "seven", "eight", "nine"};
constexpr int64_t digit_fade = digit_rate / 100;

std::optional<int> digit_of_folder(const std::string& name) {
    for (int d = 0; d < digit_classes; ++d)
        if (name == words[static_cast<size_t>(d)] || name == std::to_string(d)) return d;
    return std::nullopt;
}

bool begins_with_digit(const std::string& stem) {
    return stem.size() > 1 && stem[0] >= '0' && stem[0] <= '9' && (stem[1] == '_' || stem[1] == '-');
}

std::optional<int> digit_of(const fs::path& path) {
    if (const auto digit = digit_of_folder(path.parent_path().filename().string())) return digit;
    const std::string stem = path.filename().string();
    if (begins_with_digit(stem)) return stem[0] - '0';
    return std::nullopt;
}

// Sound files under `folder`, links to folders left out.
std::vector<fs::path> sound_files(const fs::path& folder) {
    std::vector<fs::path> found;
    std::error_code error;
    for (fs::recursive_directory_iterator i(folder, error), end; !error && i != end; i.increment(error)) {
        const std::string name = i->path().filename().string();
        if (!name.starts_with(".") && has_sound_ending(name) && i->is_regular_file(error)) found.push_back(i->path());
        error.clear();
    }
    return found;
}

void list_folder(const fs::path& root, const fs::path& folder, Split split, DigitListing& listing) {
    for (const fs::path& path : sound_files(folder)) {
        if (const auto digit = digit_of(path))
            listing.files.push_back({path, path.lexically_relative(root).generic_string(), *digit, split});
        else
            ++listing.others;
    }
}

void list_speech_commands(const fs::path& root, DigitListing& listing) {
    const auto valid = read_file_list(root / "validation_list.txt"), test = read_file_list(root / "testing_list.txt");
    for (const fs::path& path : sound_files(root)) {
        const std::string name = path.lexically_relative(root).generic_string();
        const auto digit = digit_of_folder(name.substr(0, name.find('/')));
        if (!digit) {
            ++listing.others;
            continue;
        }
        const Split split = test.count(name) ? Split::test : valid.count(name) ? Split::valid : Split::train;
        listing.files.push_back({path, name, *digit, split});
    }
}

// Reads every listed file on a few threads and gives it to `take`, which may be called from several of them at once.
// Files that cannot be read become sentences.
std::vector<std::string> each_digit(const DigitListing& listing, int threads, const Progress& progress,
                                    const std::function<void(size_t, std::vector<int16_t>)>& take) {
    std::vector<std::string> faults(listing.files.size());
    parallel_items(
        listing.files.size(), threads, listing.files.size(), progress,
        [&](size_t i) { return printable(listing.files[i].name); },
        [&](size_t i, WorkMonitor& monitor) {
            std::vector<int16_t> samples;
            try {
                samples = read_digit(listing.files[i].path);
            } catch (const AudioError& e) {
                faults[i] = printable(e.what());
            }
            if (faults[i].empty()) take(i, std::move(samples));
            monitor.add(1);
        });
    std::erase_if(faults, [](const std::string& f) { return f.empty(); });
    return faults;
}

}  // namespace

DigitListing list_digits(const fs::path& folder) {
    std::error_code error;
    if (!fs::is_directory(folder, error))
        throw Error("'" + folder.string() + "' is not a folder", "give the folder that holds the spoken digits");
    DigitListing listing;
    bool any_split = false;
    for (fs::directory_iterator i(folder, error), end; !error && i != end; i.increment(error)) {
        std::error_code ignored;
        if (!i->is_directory(ignored)) continue;
        if (const auto split = split_of_folder(i->path().filename().string())) {
            any_split = true;
            list_folder(folder, i->path(), *split, listing);
        }
    }
    if (!any_split && fs::exists(folder / "validation_list.txt", error) &&
        fs::exists(folder / "testing_list.txt", error))
        list_speech_commands(folder, listing);
    else if (!any_split)
        throw Error(
            "'" + folder.string() + "' holds no spoken digits in a form known here",
            "give a folder with train, valid and test in it, or Speech Commands with its validation_list.txt and "
            "testing_list.txt");
    std::sort(listing.files.begin(), listing.files.end(),
              [](const DigitFile& a, const DigitFile& b) { return a.name < b.name; });
    if (std::none_of(listing.files.begin(), listing.files.end(),
                     [](const DigitFile& f) { return f.split == Split::train; }))
        throw Error("'" + folder.string() + "' has no spoken digit to train on",
                    "digits are told by folders named zero to nine, or by file names such as 7_name_0.wav");
    return listing;
}

std::vector<int16_t> read_digit(const fs::path& path) {
    AudioReader reader(path, digit_rate);
    std::vector<float> samples(digit_samples + 1);
    size_t n = 0;
    while (n < samples.size()) {
        const size_t got = reader.read(std::span(samples).subspan(n));
        if (got == 0) break;
        n += got;
    }
    if (n == 0) throw AudioError(AudioFault::empty, "'" + path.string() + "' holds no samples");
    if (n > digit_samples)
        for (int64_t i = 0; i < digit_fade; ++i)
            samples[static_cast<size_t>(digit_samples - 1 - i)] *=
                static_cast<float>(i) / static_cast<float>(digit_fade);
    samples.resize(digit_samples);
    std::vector<int16_t> pcm(samples.size());
    std::transform(samples.begin(), samples.end(), pcm.begin(), to_pcm16);
    return pcm;
}

DigitSet read_digits(const fs::path& folder, int threads, const Progress& progress) {
    const DigitListing listing = list_digits(folder);
    std::vector<DigitClip> all(listing.files.size());
    DigitSet set;
    set.others = listing.others;
    set.skipped = each_digit(listing, threads, progress, [&](size_t i, std::vector<int16_t> pcm) {
        all[i].codes.resize(pcm.size());
        encode(std::span<const int16_t>(pcm), Quantization::mu_law, all[i].codes);
    });
    for (size_t i = 0; i < all.size(); ++i) {
        if (all[i].codes.empty()) continue;
        all[i].name = listing.files[i].name;
        all[i].digit = listing.files[i].digit;
        set.clips[static_cast<size_t>(listing.files[i].split)].push_back(std::move(all[i]));
    }
    if (set.of(Split::train).empty())
        throw Error("no spoken digit in '" + folder.string() + "' can be read (" + set.skipped.at(0) + ")");
    return set;
}

PreparedDigits prepare_digits(const fs::path& folder, const fs::path& output, int threads, const Progress& progress) {
    const DigitListing listing = list_digits(folder);
    std::error_code error;
    if (fs::exists(output, error)) throw Error("'" + output.string() + "' exists already", "choose another --output");
    fs::path work = output;
    work += ".partial";
    if (fs::exists(work, error))
        throw Error("'" + work.string() + "' exists already", "remove it if an earlier preparation was cut off");
    for (const Split split : all_splits) {
        fs::create_directories(work / name_of(split), error);
        if (error) throw Error("cannot make the folder '" + work.string() + "': " + error.message());
    }
    std::vector<fs::path> names;
    std::map<fs::path, int> taken;
    for (const DigitFile& f : listing.files) {
        std::string stem = f.path.stem().string();
        if (!begins_with_digit(stem) || stem[0] != '0' + f.digit) stem = std::to_string(f.digit) + "_" + stem;
        const fs::path name = fs::path(name_of(f.split)) / stem;
        const int before = taken[name]++;
        names.push_back(name.string() + (before > 0 ? "-" + std::to_string(before + 1) : "") + ".flac");
    }
    PreparedDigits done;
    done.others = listing.others;
    std::array<std::atomic<int64_t>, 3> written{};
    try {
        done.skipped = each_digit(listing, threads, progress, [&](size_t i, const std::vector<int16_t>& pcm) {
            AudioWriter writer(work / names[i], digit_rate);
            writer.write(std::span<const int16_t>(pcm));
            writer.close();
            ++written[static_cast<size_t>(listing.files[i].split)];
        });
        fs::rename(work, output);
    } catch (const fs::filesystem_error& e) {
        fs::remove_all(work, error);
        throw Error("cannot write '" + output.string() + "': " + e.code().message());
    } catch (...) {
        fs::remove_all(work, error);
        throw;
    }
    for (size_t s = 0; s < written.size(); ++s) done.written[s] = written[s];
    return done;
}

}  // namespace nigiri
