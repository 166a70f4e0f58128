#include "app/compare/verdict.h"

#include <cmath>

#include "app/text.h"
#include "kernels/error.h"

namespace nigiri::app {

namespace {

constexpr double shown_below = 0.05;

// 1234567 -> "1,234,567".
std::string grouped(double value) {
    std::string digits = fixed(value, 0);
    for (size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, ",");
    return digits;
}

std::string of(int successes, int trials) { return std::to_string(successes) + " of " + std::to_string(trials); }

}  // namespace

std::string how_often(double p) {
    if (p >= 0.95) return "nearly always";
    if (p >= 0.15) return fixed(10 * p, 0) + " times in 10";
    return "1 time in " + (p < 1e-9 ? std::string("a billion or more") : grouped(1 / p));
}

std::string verdict(const BlindTest& test) {
    const auto result = test.result();
    if (!result) throw Error("the listening test is not finished");
    const auto& models = test.setup().models;
    const bool shown = result->p_value < shown_below;
    if (test.setup().kind == BlindKind::abx)
        return of(result->successes, result->trials) + " right: someone who only guesses does this well " +
               how_often(result->p_value) + ". " +
               (shown ? "You can tell " + models[0] + " and " + models[1] + " apart."
                      : "That does not show that you can tell " + models[0] + " and " + models[1] + " apart.");
    const bool first = 2 * result->successes >= result->trials;
    const int most = first ? result->successes : result->trials - result->successes;
    const std::string &liked = models[first ? 0 : 1], &other = models[first ? 1 : 0];
    if (2 * most == result->trials)
        return of(most, result->trials) + " for each: no preference between " + models[0] + " and " + models[1] + ".";
    return of(most, result->trials) + " times you preferred " + liked + " to " + other +
           ": if you liked both equally, a result at least as uneven would come " + how_often(result->p_value) + ". " +
           (shown ? "You like " + liked + " better." : "That does not show that you like one of them better.");
}

}  // namespace nigiri::app
