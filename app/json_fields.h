// Fields of JSON files that anybody may have changed: what is missing or of another kind counts as not there.
#pragma once

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace nigiri::app {

// Null where there is none.
inline const nlohmann::json& json_part(const nlohmann::json& from, const char* key) {
    static const nlohmann::json nothing;
    if (!from.is_object()) return nothing;
    const auto it = from.find(key);
    return it != from.end() ? *it : nothing;
}

inline std::string json_text(const nlohmann::json& from, const char* key) {
    const nlohmann::json& value = json_part(from, key);
    return value.is_string() ? value.get<std::string>() : std::string();
}

inline std::optional<double> json_number(const nlohmann::json& from, const char* key) {
    const nlohmann::json& value = json_part(from, key);
    if (!value.is_number() || !std::isfinite(value.get<double>())) return std::nullopt;
    return value.get<double>();
}

// Within [least, most].
inline double json_number(const nlohmann::json& from, const char* key, double least, double most,
                          double otherwise = 0) {
    const auto value = json_number(from, key);
    return value ? std::clamp(*value, least, most) : otherwise;
}

}  // namespace nigiri::app
