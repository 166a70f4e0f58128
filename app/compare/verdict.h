// What the result of a listening test means, in words.
#pragma once

#include <string>

#include "app/compare/blind_test.h"

namespace nigiri::app {

// How often something of probability `p` happens: "1 time in 776", "4 times in 10", "nearly always".
std::string how_often(double p);

// "17 of 20 right: someone who only guesses does this well 1 time in 776." and what follows from it. Below 1 in 20
// something counts as shown, as is customary. Throws Error for a test that is not finished.
std::string verdict(const BlindTest& test);

}  // namespace nigiri::app
