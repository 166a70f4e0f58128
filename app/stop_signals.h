// Ctrl-C and SIGTERM: asked for once, they let a command end well; a second time they end the process.
#pragma once

#include <atomic>

namespace nigiri::app {

// Becomes true on Ctrl-C or SIGTERM; a second Ctrl-C ends the process at once.
const std::atomic<bool>& stop_requested();
// Once, before other threads are made.
void catch_stop_signals();

}  // namespace nigiri::app
