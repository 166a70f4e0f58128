// What a comparison knows of its models and data from their files' names and records.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "app/compare/comparison.h"
#include "audio/scan.h"

namespace nigiri::app {

// A run's or a file's name for people, with a number behind it if an earlier model has the same.
std::string unique_name(const std::filesystem::path& given, const std::vector<std::string>& earlier);
std::string unique_name(const std::filesystem::path& given, const std::vector<ComparedModel>& earlier);

// A name as a part of a file's name: letters, digits, '-', '_' and '.', at most 60 of them.
std::string file_name(const std::string& name);

// Whether `seed` divides the folder of the report as the seed it was read with did, as far as `split` goes.
bool same_division(const ScanReport& report, Split split, uint64_t seed);

}  // namespace nigiri::app
