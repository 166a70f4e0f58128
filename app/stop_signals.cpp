#include "app/stop_signals.h"

#include <pthread.h>

#include <csignal>
#include <thread>

namespace nigiri::app {

namespace {

std::atomic<bool> stop_asked{false};

sigset_t stop_signals() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    return set;
}

void wait_for_signals() {
    const sigset_t set = stop_signals();
    int number = 0;
    if (sigwait(&set, &number) != 0) return;
    stop_asked.store(true);
    if (sigwait(&set, &number) != 0) return;
    std::signal(number, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
    std::raise(number);
}

}  // namespace

const std::atomic<bool>& stop_requested() { return stop_asked; }

// A thread waits for the signals; no handler ever interrupts another. oneDNN's generated code for products of long
// matrices keeps its stack pointer in memory from the heap, and a handler's frame, written below it, was seen to
// destroy what lay there.
void catch_stop_signals() {
    const sigset_t set = stop_signals();
    pthread_sigmask(SIG_BLOCK, &set, nullptr);  // for all threads to come as well
    std::thread(wait_for_signals).detach();
}

}  // namespace nigiri::app
