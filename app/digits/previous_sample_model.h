// The trivial model beside which generated digits are scored: each sample depends on the one before it alone.
#pragma once

#include <functional>

#include "app/digits/clip_store.h"
#include "audio/digits.h"

namespace nigiri::app {

// `count` clips of one second, each code drawn given the one before it, from zero_code, with their exact bits. The
// probabilities are those of a ContextModel of order 1 (audio/baseline.h) that has counted `clips`. Clip i draws from
// stream i of the seed.
DigitClips previous_sample_clips(const std::vector<DigitClip>& clips, int64_t count, uint64_t seed);

}  // namespace nigiri::app
