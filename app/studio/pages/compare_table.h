// The tables of a comparison on the screen: what the report says, a column a model.
#pragma once

#include "app/studio/sessions/comparison_session.h"

namespace nigiri::studio {

// Every row explains itself where the pointer rests, in the report's words.
void draw_compare_tables(const Comparison& comparison);

}  // namespace nigiri::studio
