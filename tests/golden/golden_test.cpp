// Judges every file of NIGIRI_GOLDEN_DIR (default: the copies beside this file), whatever its sizes.
#include "tests/golden/golden.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>

namespace nigiri::golden {
namespace {

std::map<std::string, Judge>& judges() {
    static std::map<std::string, Judge> all;
    return all;
}

std::filesystem::path directory() {
    const char* path = std::getenv("NIGIRI_GOLDEN_DIR");
    return path && *path ? path : NIGIRI_GOLDEN_DEFAULT;
}

// The judge with the longest prefix of the name.
const Judge* judge_of(const std::string& name) {
    const Judge* best = nullptr;
    size_t length = 0;
    for (const auto& [prefix, judge] : judges())
        if (name.starts_with(prefix) && prefix.size() >= length) best = &judge, length = prefix.size();
    return best;
}

}  // namespace

Registration::Registration(const std::string& prefix, Judge judge) { judges()[prefix] = std::move(judge); }

// One test for the whole folder rather than one a file: the folder is known only when the test runs.
TEST(Golden, EveryFileIsJudgedAndAgrees) {
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(directory()))
        if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    ASSERT_FALSE(files.empty()) << "no golden files in " << directory();
    for (const auto& path : files) {
        const std::string name = path.stem().string();
        const Judge* judge = judge_of(name);
        if (!judge) {
            ADD_FAILURE() << "nobody judges " << path;
            continue;
        }
        SCOPED_TRACE(name);
        try {
            const SafeTensorsFile file = SafeTensorsFile::read(path);
            for (const DType dtype : {DType::f64, DType::f32}) (*judge)(file, dtype);
            std::cout << "judged " << name << "\n";
        } catch (const std::exception& e) {
            ADD_FAILURE() << path << ": " << e.what();
        }
    }
}

}  // namespace nigiri::golden
