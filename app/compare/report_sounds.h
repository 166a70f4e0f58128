// The part of a page where one listens: clip by clip the sounds of all models, equally loud and in shuffled order.
#pragma once

#include <string>

#include "app/compare/comparison.h"

namespace nigiri::app {

// Sections of class "clip" with sounds and pictures embedded; names are in elements of class "who".
std::string sounds_html(const ComparisonOptions& options, const ComparisonResult& result);

}  // namespace nigiri::app
