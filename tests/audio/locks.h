// Counts the calling thread's mutex locks, for what must take none.
#pragma once

#include <functional>
#include <optional>

namespace nigiri::test {

// How often `work` locks a mutex, tries to, or waits for a condition on this thread; nothing where a sanitizer watches
// the locks itself.
std::optional<int> locks_of(const std::function<void()>& work);

}  // namespace nigiri::test
