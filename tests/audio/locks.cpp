// Stands before the C library's locking functions in the test program.
#include "tests/audio/locks.h"

#include <dlfcn.h>
#include <pthread.h>

#include <cstdlib>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define NIGIRI_THREAD_SANITIZER
#endif
#endif

#ifdef NIGIRI_THREAD_SANITIZER
namespace nigiri::test {

std::optional<int> locks_of(const std::function<void()>& work) {
    work();
    return std::nullopt;
}

}  // namespace nigiri::test

#else
namespace {

thread_local bool counting = false;
thread_local int locks = 0;

template <class F>
F* original(const char* name) {
    void* f = dlsym(RTLD_NEXT, name);
    if (!f) std::abort();
    return reinterpret_cast<F*>(f);
}

using Lock = int(pthread_mutex_t*);
using Wait = int(pthread_cond_t*, pthread_mutex_t*);

}  // namespace

extern "C" {

int pthread_mutex_lock(pthread_mutex_t* mutex) {
    static Lock* const f = original<Lock>("pthread_mutex_lock");
    if (counting) ++locks;
    return f(mutex);
}

int pthread_mutex_trylock(pthread_mutex_t* mutex) {
    static Lock* const f = original<Lock>("pthread_mutex_trylock");
    if (counting) ++locks;
    return f(mutex);
}

int pthread_cond_wait(pthread_cond_t* condition, pthread_mutex_t* mutex) {
    static Wait* const f = original<Wait>("pthread_cond_wait");
    if (counting) ++locks;
    return f(condition, mutex);
}
}

namespace nigiri::test {

std::optional<int> locks_of(const std::function<void()>& work) {
    locks = 0;
    counting = true;
    work();
    counting = false;
    return locks;
}

}  // namespace nigiri::test
#endif
