// How long operations report and how they are cancelled.
#pragma once

#include <functional>
#include <string>

#include "kernels/error.h"

namespace nigiri {

// Called now and then with the share done in [0, 1] and what is being worked on; false cancels, and the
// operation then throws Cancelled with nothing half written left behind. Always called on the thread that
// called the operation.
using Progress = std::function<bool(double fraction, const std::string& what)>;

class Cancelled : public Error {
  public:
    Cancelled() : Error("cancelled") {}
};

inline void report(const Progress& progress, double fraction, const std::string& what) {
    if (progress && !progress(fraction, what)) throw Cancelled();
}

}  // namespace nigiri
