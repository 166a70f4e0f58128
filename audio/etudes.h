// Generated piano etudes: scales, arpeggios, melodies over several accompaniments, chorales and canons, in
// all keys. They fill the demo data set up to the wanted length beside the written scores.
#pragma once

#include <cstdint>

#include "audio/score.h"

namespace nigiri {

inline constexpr int etude_kinds = 8;

// Etude `number` (0, 1, ...) of the series that `seed` names: about half a minute. Its kind is number %
// etude_kinds, its key goes round the circle of fifths; tempo, register, dynamics and notes are drawn. Same
// arguments, same score.
Score make_etude(int number, uint64_t seed);

}  // namespace nigiri
