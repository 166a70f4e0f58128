// What to do about a sound with gaps, said once.
#pragma once

#include <string>

#include "audio/player.h"

namespace nigiri::studio {

class GapAdvice {
  public:
    // Every frame: a sentence for the user where the player keeps running empty for the first time, otherwise empty.
    std::string update(const PlayerStatus& status);

  private:
    bool told_ = false;
};

}  // namespace nigiri::studio
