#include "audio/manifest.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/error.h"

namespace nigiri {
namespace {

using nlohmann::json;

constexpr const char* format_name = "nigiri-data";
constexpr int format_version = 1;
constexpr std::uintmax_t largest_manifest = 512u << 20;

std::string hex(uint64_t x) {
    char text[17];
    std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(x));
    return text;
}

[[noreturn]] void damaged(const std::filesystem::path& path, const std::string& why) {
    throw Error("'" + path.string() + "' is damaged: " + why, "prepare the data again, into a new folder");
}

// Only split/name, so that no manifest leads out of its folder.
bool is_plain(const std::string& file, Split split) {
    const std::string folder = std::string(name_of(split)) + "/";
    if (!file.starts_with(folder) || file.size() == folder.size()) return false;
    const std::string name = file.substr(folder.size());
    return name.find('/') == std::string::npos && name.find('\0') == std::string::npos && name[0] != '.';
}

ManifestEntry entry_from(const json& j) {
    ManifestEntry e;
    e.file = j.at("file").get<std::string>();
    e.source = j.at("source").get<std::string>();
    e.split = parse_split(j.at("split").get<std::string>());
    e.begin = j.at("begin").get<int64_t>();
    e.end = j.at("end").get<int64_t>();
    e.hash = std::stoull(j.at("hash").get<std::string>(), nullptr, 16);
    e.source_bytes = j.at("source_bytes").get<uint64_t>();
    e.source_modified = j.at("source_modified").get<int64_t>();
    e.source_hash = std::stoull(j.at("source_hash").get<std::string>(), nullptr, 16);
    e.source_rate = j.at("source_rate").get<int>();
    e.source_channels = j.at("source_channels").get<int>();
    e.source_format = j.at("source_format").get<std::string>();
    e.source_peak = j.at("source_peak").get<double>();
    e.source_clipped = j.at("source_clipped").get<int64_t>();
    return e;
}

json json_of(const ManifestEntry& e, int rate) {
    return {{"file", e.file},
            {"source", e.source},
            {"split", name_of(e.split)},
            {"begin", e.begin},
            {"end", e.end},
            {"seconds", static_cast<double>(e.end - e.begin) / rate},
            {"scaling", "full-scale"},
            {"hash", hex(e.hash)},
            {"source_bytes", e.source_bytes},
            {"source_modified", e.source_modified},
            {"source_hash", hex(e.source_hash)},
            {"source_rate", e.source_rate},
            {"source_channels", e.source_channels},
            {"source_format", e.source_format},
            {"source_peak", e.source_peak},
            {"source_clipped", e.source_clipped}};
}

}  // namespace

std::optional<Manifest> read_manifest(const std::filesystem::path& folder) {
    const std::filesystem::path path = folder / manifest_name;
    std::error_code error;
    if (!std::filesystem::is_regular_file(path, error)) return std::nullopt;
    if (std::filesystem::file_size(path, error) > largest_manifest) return std::nullopt;
    std::ifstream in(path, std::ios::binary);
    const json j = json::parse(in, nullptr, false);
    if (!in && !in.eof()) throw Error("cannot read '" + path.string() + "'");
    if (!j.is_object() || !j.contains("format") || j["format"] != format_name) return std::nullopt;
    Manifest manifest;
    try {
        if (j.at("version").get<int>() != format_version)
            throw Error("'" + path.string() + "' is of a version this program does not know",
                        "use a newer version of the program");
        manifest.complete = j.at("complete").get<bool>();
        manifest.source = j.at("source").get<std::string>();
        manifest.sample_rate = j.at("sample_rate").get<int>();
        manifest.seed = j.at("seed").get<uint64_t>();
        for (const json& f : j.at("files")) manifest.files.push_back(entry_from(f));
    } catch (const json::exception& e) {
        damaged(path, e.what());
    } catch (const std::logic_error&) {  // std::stoull
        damaged(path, "a hash is no number");
    }
    if (manifest.sample_rate < 1) damaged(path, "the sample rate is not positive");
    for (const ManifestEntry& e : manifest.files) {
        if (!is_plain(e.file, e.split)) damaged(path, "it names a file outside its own folders");
        if (e.begin < 0 || e.end <= e.begin) damaged(path, "a file has no samples");
    }
    return manifest;
}

void write_manifest(const std::filesystem::path& folder, const Manifest& manifest) {
    json files = json::array();
    for (const ManifestEntry& e : manifest.files) files.push_back(json_of(e, manifest.sample_rate));
    const json j = {{"format", format_name},     {"version", format_version},           {"complete", manifest.complete},
                    {"source", manifest.source}, {"sample_rate", manifest.sample_rate}, {"seed", manifest.seed},
                    {"files", std::move(files)}};
    const std::string text = j.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
    const std::filesystem::path path = folder / manifest_name;
    const std::filesystem::path temporary = folder / (".nigiri-manifest-" + std::to_string(::getpid()) + ".part");
    const auto fail = [&] {
        const std::string reason = std::strerror(errno);
        ::unlink(temporary.c_str());
        throw Error("cannot write '" + path.string() + "': " + reason,
                    "check the folder, its permissions and the free space");
    };
    const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) fail();
    size_t done = 0;
    bool good = true;
    while (good && done < text.size()) {
        const ssize_t n = ::write(fd, text.data() + done, text.size() - done);
        if (n > 0)
            done += static_cast<size_t>(n);
        else
            good = n < 0 && errno == EINTR;
    }
    good = good && ::fsync(fd) == 0;
    good = ::close(fd) == 0 && good;
    if (!good || std::rename(temporary.c_str(), path.c_str()) != 0) fail();
}

}  // namespace nigiri
