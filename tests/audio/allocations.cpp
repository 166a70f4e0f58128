// Replaces the global operators new and delete of the test program. In a file of its own: seen together with
// their calls, the compiler takes malloc and free for a mismatch.
#include "tests/audio/allocations.h"

#include <cstdlib>
#include <new>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define NIGIRI_THREAD_SANITIZER
#endif
#endif

#ifdef NIGIRI_THREAD_SANITIZER
// Clang's thread sanitizer brings its own operators, and two definitions do not link.
namespace nigiri::test {

std::optional<int> allocations_of(const std::function<void()>& work) {
    work();
    return std::nullopt;
}

}  // namespace nigiri::test

#else
namespace {

thread_local bool counting = false;
thread_local int allocations = 0;

void* allocate(std::size_t size) noexcept {
    if (counting) ++allocations;
    return std::malloc(size ? size : 1);
}

void* allocate_or_throw(std::size_t size) {
    if (void* p = allocate(size)) return p;
    throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t size) { return allocate_or_throw(size); }
void* operator new[](std::size_t size) { return allocate_or_throw(size); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return allocate(size); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return allocate(size); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete[](void* p, const std::nothrow_t&) noexcept { std::free(p); }

namespace nigiri::test {

std::optional<int> allocations_of(const std::function<void()>& work) {
    allocations = 0;
    counting = true;
    work();
    counting = false;
    return allocations;
}

}  // namespace nigiri::test
#endif
