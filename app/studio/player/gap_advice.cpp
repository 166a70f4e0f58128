#include "app/studio/player/gap_advice.h"

#include "app/studio/settings.h"

namespace nigiri::studio {

std::string GapAdvice::update(const PlayerStatus& status) {
    if (told_ || !status.often_late) return {};
    told_ = true;
    const bool longest = status.queue_seconds * 1000 >= long_sound_buffer_ms;
    return std::string("The sound has gaps, because this computer is busy; ") +
           (longest ? "close other programs that compute" : "choose a longer sound buffer in the settings");
}

}  // namespace nigiri::studio
