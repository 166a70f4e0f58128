#include "model/safetensors.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/half.h"
#include "kernels/error.h"

namespace nigiri {

using nlohmann::json;

namespace {

constexpr uint64_t max_header_bytes = 100'000'000;  // the format's own limit
constexpr size_t data_alignment = 64;

size_t bytes_of(const std::string& dtype) {
    if (dtype == "F64" || dtype == "I64" || dtype == "U64") return 8;
    if (dtype == "F32" || dtype == "I32" || dtype == "U32") return 4;
    if (dtype == "F16" || dtype == "BF16" || dtype == "I16" || dtype == "U16") return 2;
    if (dtype == "I8" || dtype == "U8" || dtype == "BOOL") return 1;
    return 0;
}

[[noreturn]] void damaged(const std::string& name, const std::string& why) {
    throw Error(name + " is not a readable safetensors file: " + why,
                "the file is damaged or of another kind; use another checkpoint");
}

SafeTensor parse_entry(const std::string& name, const std::string& key, const json& entry, size_t data_bytes) {
    if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") || !entry.contains("data_offsets"))
        damaged(name, "entry '" + key + "' lacks dtype, shape or data_offsets");
    SafeTensor t;
    const json &dtype = entry["dtype"], &shape = entry["shape"], &offsets = entry["data_offsets"];
    if (!dtype.is_string() || bytes_of(dtype.get<std::string>()) == 0) damaged(name, "unknown dtype of '" + key + "'");
    t.dtype = dtype.get<std::string>();
    if (!shape.is_array() || shape.size() > 8) damaged(name, "bad shape of '" + key + "'");
    uint64_t bytes = bytes_of(t.dtype);
    for (const json& extent : shape) {
        if (!extent.is_number_unsigned()) damaged(name, "bad shape of '" + key + "'");
        const uint64_t n = extent.get<uint64_t>();
        if (n > data_bytes || (n != 0 && bytes > data_bytes / n))
            damaged(name, "'" + key + "' is larger than the file");
        bytes *= n;
        t.shape.push_back(static_cast<int64_t>(n));
    }
    if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
        !offsets[1].is_number_unsigned())
        damaged(name, "bad data_offsets of '" + key + "'");
    const uint64_t begin = offsets[0].get<uint64_t>(), end = offsets[1].get<uint64_t>();
    if (begin > end || end > data_bytes) damaged(name, "'" + key + "' lies outside the file (truncated?)");
    if (end - begin != bytes) damaged(name, "the size of '" + key + "' does not fit its shape");
    t.begin = begin;
    t.end = end;
    return t;
}

}  // namespace

int64_t SafeTensor::size() const {
    int64_t n = 1;
    for (const int64_t extent : shape) n *= extent;
    return n;
}

SafeTensorsFile SafeTensorsFile::read(const std::filesystem::path& path) {
    std::error_code code;
    if (std::filesystem::is_directory(path, code)) throw Error(path.string() + " is a folder, not a file");
    std::ifstream in(path, std::ios::binary | std::ios::ate);
    if (!in) throw Error("cannot read " + path.string() + ": " + std::strerror(errno), "check the path");
    const std::streamoff size = in.tellg();
    if (size < 0) throw Error("cannot read " + path.string());
    std::vector<uint8_t> bytes(static_cast<size_t>(size));
    in.seekg(0);
    if (!in.read(reinterpret_cast<char*>(bytes.data()), size)) throw Error("cannot read " + path.string());
    return parse(std::move(bytes), path.string());
}

SafeTensorsFile SafeTensorsFile::parse(std::vector<uint8_t> bytes, const std::string& name) {
    SafeTensorsFile file;
    file.name_ = name;
    if (bytes.size() < 8) damaged(name, "it is shorter than a header");
    uint64_t header_bytes = 0;
    for (int i = 7; i >= 0; --i) header_bytes = header_bytes << 8 | bytes[static_cast<size_t>(i)];
    if (header_bytes > max_header_bytes || header_bytes > bytes.size() - 8) damaged(name, "its header is cut off");
    file.data_offset_ = 8 + header_bytes;
    const size_t data_bytes = bytes.size() - file.data_offset_;

    // A parser callback bounds the nesting: the format needs three levels, hostile input could ask for a million.
    const auto shallow = [&](int depth, json::parse_event_t, json&) {
        if (depth > 8) damaged(name, "its header is nested too deeply");
        return true;
    };
    const json header = json::parse(bytes.begin() + 8, bytes.begin() + static_cast<std::ptrdiff_t>(file.data_offset_),
                                    shallow, /*allow_exceptions=*/false);
    if (!header.is_object()) damaged(name, "its header is not JSON");
    std::vector<std::pair<size_t, size_t>> ranges;
    for (const auto& [key, entry] : header.items()) {
        if (key == "__metadata__") {
            if (!entry.is_object()) damaged(name, "its metadata is not an object");
            for (const auto& [k, v] : entry.items()) {
                if (!v.is_string()) damaged(name, "metadata '" + k + "' is not a string");
                file.metadata_[k] = v.get<std::string>();
            }
            continue;
        }
        const SafeTensor t = parse_entry(name, key, entry, data_bytes);
        if (t.end > t.begin) ranges.emplace_back(t.begin, t.end);
        file.tensors_[key] = t;
    }
    std::sort(ranges.begin(), ranges.end());
    size_t at = 0;
    for (const auto& [begin, end] : ranges) {
        if (begin != at) damaged(name, "its tensors overlap or leave holes");
        at = end;
    }
    if (at != data_bytes) damaged(name, "its data does not end with its last tensor");
    file.bytes_ = std::move(bytes);
    return file;
}

const SafeTensor& SafeTensorsFile::at(const std::string& name) const {
    const auto it = tensors_.find(name);
    if (it == tensors_.end())
        throw Error(name_ + " has no tensor '" + name + "'", "it belongs to another model or version");
    return it->second;
}

std::span<const uint8_t> SafeTensorsFile::data(const std::string& name) const {
    const SafeTensor& t = at(name);
    return {bytes_.data() + data_offset_ + t.begin, t.end - t.begin};
}

std::vector<double> SafeTensorsFile::values(const std::string& name) const {
    const SafeTensor& t = at(name);
    const auto raw = data(name);
    std::vector<double> out(static_cast<size_t>(t.size()));
    const auto convert = [&]<class T>(T) {
        for (size_t i = 0; i < out.size(); ++i) {
            T x;
            std::memcpy(&x, raw.data() + i * sizeof(T), sizeof(T));
            if constexpr (std::is_class_v<T>)
                out[i] = static_cast<float>(x);
            else
                out[i] = static_cast<double>(x);
        }
    };
    if (t.dtype == "F32")
        convert(float{});
    else if (t.dtype == "F64")
        convert(double{});
    else if (t.dtype == "BF16")
        convert(BFloat16{});
    else if (t.dtype == "F16")
        convert(Float16{});
    else if (t.dtype == "I64")
        convert(int64_t{});
    else if (t.dtype == "I32")
        convert(int32_t{});
    else if (t.dtype == "U8")
        convert(uint8_t{});
    else
        throw Error("tensor '" + name + "' of " + name_ + " has type " + t.dtype + ", which is not read here");
    return out;
}

void SafeTensorsWriter::add(const std::string& name, const std::string& dtype, std::vector<int64_t> shape,
                            std::span<const uint8_t> data) {
    uint64_t bytes = bytes_of(dtype);
    for (const int64_t extent : shape) bytes *= static_cast<uint64_t>(extent);
    if (bytes != data.size()) throw Error("tensor '" + name + "' does not have the size its shape says");
    entries_.push_back({name, dtype, std::move(shape), data});
}

void SafeTensorsWriter::write(const std::filesystem::path& path) const {
    json header = json::object();
    if (!metadata_.empty()) header["__metadata__"] = metadata_;
    size_t at = 0;
    for (const Entry& e : entries_) {
        header[e.name] = {{"dtype", e.dtype}, {"shape", e.shape}, {"data_offsets", {at, at + e.data.size()}}};
        at += e.data.size();
    }
    std::string text = header.dump();
    text.resize((8 + text.size() + data_alignment - 1) / data_alignment * data_alignment - 8, ' ');

    std::filesystem::path temporary = path;
    temporary += ".tmp";
    const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    const auto fail = [&](const char* what) {
        const std::string reason = std::strerror(errno);
        if (fd >= 0) {
            ::close(fd);
            ::unlink(temporary.c_str());
        }
        throw Error(std::string(what) + " " + path.string() + ": " + reason, "check the folder and the free space");
    };
    if (fd < 0) fail("cannot write");
    const auto put = [&](const void* data, size_t bytes) {
        const char* p = static_cast<const char*>(data);
        while (bytes > 0) {
            const ssize_t n = ::write(fd, p, bytes);
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) fail("cannot write");
            p += n;
            bytes -= static_cast<size_t>(n);
        }
    };
    uint8_t length[8];
    for (size_t i = 0; i < 8; ++i) length[i] = static_cast<uint8_t>(static_cast<uint64_t>(text.size()) >> (8 * i));
    put(length, 8);
    put(text.data(), text.size());
    for (const Entry& e : entries_) put(e.data.data(), e.data.size());
    if (::fsync(fd) != 0) fail("cannot flush");
    if (::close(fd) != 0) throw Error("cannot close " + path.string());
    if (std::rename(temporary.c_str(), path.c_str()) != 0) {
        const std::string reason = std::strerror(errno);
        ::unlink(temporary.c_str());
        throw Error("cannot rename to " + path.string() + ": " + reason);
    }
    // The rename itself must survive a power cut: flush the folder too. Best effort; some file systems refuse.
    const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
    if (const int d = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); d >= 0) {
        ::fsync(d);
        ::close(d);
    }
}

}  // namespace nigiri
