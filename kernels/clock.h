// Seconds for measuring how long something takes.
#pragma once

#include <chrono>

namespace nigiri {

// Since some moment; never goes back, whatever the date is set to.
inline double steady_seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace nigiri
