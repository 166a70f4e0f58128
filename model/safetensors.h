// Reading and writing the safetensors format: an 8-byte little-endian header length, a JSON header, raw row-major
// little-endian data without holes. Files are untrusted: every size and offset is checked before it is used.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace nigiri {

struct SafeTensor {
    std::string dtype;  // "F32", "F64", "I64", ...
    std::vector<int64_t> shape;
    size_t begin = 0, end = 0;  // bytes within the data section

    int64_t size() const;
};

// A file in memory. Throws Error (what, which file, why) on anything that is not a whole, well-formed file.
class SafeTensorsFile {
  public:
    static SafeTensorsFile read(const std::filesystem::path& path);
    // `name` stands for the file in messages.
    static SafeTensorsFile parse(std::vector<uint8_t> bytes, const std::string& name);

    const std::map<std::string, SafeTensor>& tensors() const { return tensors_; }
    const std::map<std::string, std::string>& metadata() const { return metadata_; }
    bool contains(const std::string& name) const { return tensors_.count(name) != 0; }
    const SafeTensor& at(const std::string& name) const;
    std::span<const uint8_t> data(const std::string& name) const;
    // The elements of a float, double or integer tensor as doubles.
    std::vector<double> values(const std::string& name) const;

  private:
    std::string name_;
    std::vector<uint8_t> bytes_;
    size_t data_offset_ = 0;
    std::map<std::string, SafeTensor> tensors_;
    std::map<std::string, std::string> metadata_;
};

// Collects tensors, then writes them to a temporary name beside `path`, flushes it to the disk and renames it, so that
// `path` is at every moment either the old file or the whole new one.
class SafeTensorsWriter {
  public:
    // `data` must stay alive until write().
    void add(const std::string& name, const std::string& dtype, std::vector<int64_t> shape,
             std::span<const uint8_t> data);
    void set_metadata(const std::string& key, const std::string& value) { metadata_[key] = value; }
    void write(const std::filesystem::path& path) const;

  private:
    struct Entry {
        std::string name, dtype;
        std::vector<int64_t> shape;
        std::span<const uint8_t> data;
    };
    std::vector<Entry> entries_;
    std::map<std::string, std::string> metadata_;
};

}  // namespace nigiri
