#include "app/compare/blind_test.h"

#include <cmath>
#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>

#include "app/compare/binomial.h"
#include "app/write_file.h"
#include "kernels/error.h"
#include "kernels/random.h"

namespace nigiri::app {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr int most_trials = 1000, most_clips = 100000;

template <class T>
void shuffle(std::vector<T>& values, Random& random) {
    for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[random.below(i)]);
}

// 0, 1, ..., n - 1, 0, 1, ... shuffled: as even as can be.
std::vector<int> evenly(int count, int n, Random& random) {
    std::vector<int> values;
    // Which ones come once more often is drawn as well.
    const int start = static_cast<int>(random.below(static_cast<uint64_t>(n)));
    for (int i = 0; i < count; ++i) values.push_back((start + i) % n);
    shuffle(values, random);
    return values;
}

// Saved tests are files like any other: a number may be anything.
int64_t integer(const json& value, int64_t least, int64_t most) {
    if (!value.is_number_integer() || (value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX))
        throw Error("a number is missing");
    const auto x = value.get<int64_t>();
    if (x < least || x > most) throw Error("a number is out of range");
    return x;
}

// Numbers as short as they can be read back, without the locale's comma.
std::string shown(double x) { return json(x).dump(); }

}  // namespace

const char* name_of(BlindKind kind) { return kind == BlindKind::abx ? "abx" : "preference"; }

BlindTest::BlindTest(const BlindTestSetup& setup) : setup_(setup) {
    if (setup.trials < 1 || setup.trials > most_trials)
        throw Error("a listening test has 1 to 1000 trials, not " + std::to_string(setup.trials));
    if (setup.clips < 1 || setup.clips > most_clips) throw Error("a listening test needs clips of both models");
    Random random(setup.seed, setup.kind == BlindKind::abx ? 0x616278 : 0x707266);
    const std::vector<int> clips = evenly(setup.trials, setup.clips, random);
    const std::vector<int> first = evenly(setup.trials, 2, random);
    for (size_t i = 0; i < clips.size(); ++i) {
        BlindTrial trial;
        trial.clip = clips[i];
        if (setup.kind == BlindKind::abx) trial.x = static_cast<int>(random.below(2));
        if (setup.kind == BlindKind::preference) trial.first = first[i], trial.second = 1 - first[i];
        order_.push_back(trial);
    }
}

const BlindTrial& BlindTest::current() const {
    if (finished()) throw Error("the listening test is finished");
    return order_[answers_.size()];
}

void BlindTest::answer(int choice, double seconds) {
    if (finished()) throw Error("the listening test is finished");
    if (choice != 0 && choice != 1) throw Error("an answer of a listening test is 0 or 1");
    answers_.push_back({choice, std::isfinite(seconds) && seconds > 0 ? seconds : 0});
}

bool BlindTest::success(size_t trial) const {
    const BlindTrial& t = order_[trial];
    const int choice = answers_[trial].choice;
    return setup_.kind == BlindKind::abx ? choice == t.x : (choice == 0 ? t.first : t.second) == 0;
}

std::optional<BlindResult> BlindTest::result() const {
    if (!finished()) return {};
    BlindResult r;
    r.trials = setup_.trials;
    for (size_t i = 0; i < answers_.size(); ++i) r.successes += success(i);
    r.p_value = setup_.kind == BlindKind::abx ? binomial_upper_tail(r.successes, r.trials)
                                              : binomial_two_sided(r.successes, r.trials);
    return r;
}

json BlindTest::to_json() const {
    json answers = json::array();
    for (size_t i = 0; i < answers_.size(); ++i) {
        json a = {{"trial", i + 1},
                  {"clip", order_[i].clip},
                  {"answer", answers_[i].choice},
                  {"seconds", answers_[i].seconds}};
        if (finished()) {
            if (setup_.kind == BlindKind::abx) {
                a["x"] = order_[i].x;
                a["correct"] = success(i);
            } else {
                a["first"] = order_[i].first;
                a["second"] = order_[i].second;
                a["preferred"] = success(i) ? 0 : 1;
            }
        }
        answers.push_back(std::move(a));
    }
    json out = {{"test", name_of(setup_.kind)}, {"models", setup_.models},      {"clips", setup_.clips},
                {"seed", setup_.seed},          {"trials", setup_.trials},      {"answered", answered()},
                {"finished", finished()},       {"answers", std::move(answers)}};
    if (const auto r = result()) {
        out[setup_.kind == BlindKind::abx ? "correct" : "preferred_first_model"] = r->successes;
        out["p_value"] = r->p_value;
    }
    return out;
}

BlindTest BlindTest::from_json(const json& saved) {
    try {
        BlindTestSetup setup;
        const auto kind = saved.at("test").get<std::string>();
        if (kind != "abx" && kind != "preference") throw Error("unknown kind '" + kind + "'");
        setup.kind = kind == "abx" ? BlindKind::abx : BlindKind::preference;
        setup.models = saved.at("models").get<std::array<std::string, 2>>();
        setup.clips = static_cast<int>(integer(saved.at("clips"), 1, most_clips));
        if (!saved.at("seed").is_number_unsigned()) throw Error("a seed is missing");
        setup.seed = saved.at("seed").get<uint64_t>();
        setup.trials = static_cast<int>(integer(saved.at("trials"), 1, most_trials));
        BlindTest test(setup);
        for (const json& a : saved.at("answers")) {
            if (!test.finished() && integer(a.at("clip"), 0, most_clips) != test.current().clip)
                throw Error("its clips are not in the order of its seed");
            test.answer(static_cast<int>(integer(a.at("answer"), 0, 1)), a.at("seconds").get<double>());
        }
        return test;
    } catch (const json::exception&) {
        throw Error("this is no saved listening test");
    } catch (const Error& e) {
        throw Error(std::string("this is no saved listening test: ") + e.what());
    }
}

std::string BlindTest::to_csv() const {
    const bool abx = setup_.kind == BlindKind::abx;
    std::string out = "test,trial,clip,answer,seconds";
    if (finished()) out += abx ? ",x,correct" : ",first,second,preferred";
    out += "\r\n";
    const auto name = [&](int model) { return csv_field(setup_.models[static_cast<size_t>(model)]); };
    for (size_t i = 0; i < answers_.size(); ++i) {
        const BlindTrial& t = order_[i];
        const int choice = answers_[i].choice;
        const char* answer = abx ? (choice == 0 ? "A" : "B") : (choice == 0 ? "first" : "second");
        out += std::string(name_of(setup_.kind)) + "," + std::to_string(i + 1) + "," + std::to_string(t.clip) + "," +
               answer + "," + shown(answers_[i].seconds);
        if (finished() && abx) out += "," + name(t.x) + "," + (success(i) ? "1" : "0");
        if (finished() && !abx)
            out += "," + name(t.first) + "," + name(t.second) + "," + name(choice == 0 ? t.first : t.second);
        out += "\r\n";
    }
    return out;
}

void BlindTest::save_json(const fs::path& path) const {
    write_file(path, to_json().dump(2, ' ', false, json::error_handler_t::replace) + "\n");
}

void BlindTest::save_csv(const fs::path& path) const { write_file(path, to_csv()); }

BlindTest BlindTest::load(const fs::path& path) {
    std::error_code code;
    const auto size = fs::file_size(path, code);
    constexpr uintmax_t most_bytes = 1 << 20;  // a thousand answers take a tenth of it
    if (code || size > most_bytes) throw Error("cannot read the listening test " + path.string());
    std::ifstream in(path, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    const json saved = json::parse(text, nullptr, false);
    try {
        return from_json(saved);
    } catch (const Error& e) {
        throw Error(path.string() + ": " + e.what(), "give a file that a listening test was saved to");
    }
}

std::string csv_field(const std::string& text) {
    std::string field = text;
    if (!field.empty() && std::string("=+-@\t\r").find(field[0]) != std::string::npos) field.insert(0, "'");
    if (field.find_first_of(",\"\r\n") == std::string::npos) return field;
    std::string quoted = "\"";
    for (const char c : field) {
        if (c == '"') quoted += '"';
        quoted += c;
    }
    return quoted + "\"";
}

}  // namespace nigiri::app
