// Counts the calling thread's allocations, for what must make none.
#pragma once

#include <functional>
#include <optional>

namespace nigiri::test {

// How often `work` calls operator new, in any of its forms, on this thread; nothing where the thread
// sanitizer has its own operators.
std::optional<int> allocations_of(const std::function<void()>& work);

}  // namespace nigiri::test
