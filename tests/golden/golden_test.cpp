// Judges every file of NIGIRI_GOLDEN_DIR (default: the copies beside this file), whatever its sizes.
#include "tests/golden/golden.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>

namespace nigiri::golden {
namespace {

struct Judges {
    Judge cpu;
    DeviceJudge device;  // empty where the case runs on the CPU only
};

std::map<std::string, Judges>& judges() {
    static std::map<std::string, Judges> all;
    return all;
}

std::filesystem::path directory() {
    const char* path = std::getenv("NIGIRI_GOLDEN_DIR");
    return path && *path ? path : NIGIRI_GOLDEN_DEFAULT;
}

// The judge with the longest prefix of the name.
const Judges* judges_of(const std::string& name) {
    const Judges* best = nullptr;
    size_t length = 0;
    for (const auto& [prefix, judge] : judges())
        if (name.starts_with(prefix) && prefix.size() >= length) best = &judge, length = prefix.size();
    return best;
}

// Calls f(file, judges of it) for every file of the folder.
template <class F>
void for_every_file(const F& f) {
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(directory()))
        if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    ASSERT_FALSE(files.empty()) << "no golden files in " << directory();
    for (const auto& path : files) {
        const std::string name = path.stem().string();
        const Judges* of_file = judges_of(name);
        if (!of_file) {
            ADD_FAILURE() << "nobody judges " << path;
            continue;
        }
        SCOPED_TRACE(name);
        try {
            if (f(SafeTensorsFile::read(path), *of_file)) std::cout << "judged " << name << "\n";
        } catch (const std::exception& e) {
            ADD_FAILURE() << path << ": " << e.what();
        }
    }
}

}  // namespace

Registration::Registration(const std::string& prefix, Judge judge) { judges()[prefix] = {std::move(judge), nullptr}; }

Registration::Registration(const std::string& prefix, DeviceJudge judge) {
    const Judge cpu = [judge](const SafeTensorsFile& file, DType dtype) { judge(file, make_backend("cpu"), dtype); };
    judges()[prefix] = {cpu, judge};
}

// One test for the whole folder rather than one a file: the folder is known only when the test runs.
TEST(Golden, EveryFileIsJudgedAndAgrees) {
    for_every_file([](const SafeTensorsFile& file, const Judges& of_file) {
        for (const DType dtype : {DType::f64, DType::f32}) of_file.cpu(file, dtype);
        return true;
    });
}

// Blocks, networks and the optimizer in float32; single operations have float64 on the CPU as their judge.
TEST(Golden, EveryFileAgreesOnCuda) {
    if (available_devices().front() != "cuda") GTEST_SKIP() << "no CUDA device here";
    const auto backend = make_backend("cuda");
    for_every_file([&](const SafeTensorsFile& file, const Judges& of_file) {
        if (of_file.device) of_file.device(file, backend, DType::f32);
        return static_cast<bool>(of_file.device);
    });
}

}  // namespace nigiri::golden
