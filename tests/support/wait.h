// Waiting for what another thread does.
#pragma once

#include <chrono>
#include <thread>

namespace nigiri::test {

// Far above what a sanitizer's build needs on a busy machine; only a hang reaches it.
constexpr std::chrono::seconds patience{120};

// Whether it comes true before patience ends.
template <class Condition>
bool soon(const Condition& condition) {
    for (const auto end = std::chrono::steady_clock::now() + patience; std::chrono::steady_clock::now() < end;) {
        if (condition()) return true;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
}

}  // namespace nigiri::test
