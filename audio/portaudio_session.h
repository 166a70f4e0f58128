// What everything that speaks to PortAudio needs: starting it, names, errors.
#pragma once

#include <portaudio.h>

#include <mutex>
#include <string>

namespace nigiri {

// PortAudio's back ends (ALSA, JACK) write pages to stderr while they look for devices, found or not. The
// descriptor is the process's, so this lasts only as long as the calls that are known to do it. PortAudio wants such
// calls one at a time, too.
class QuietStderr {
  public:
    QuietStderr();
    ~QuietStderr();
    QuietStderr(const QuietStderr&) = delete;
    QuietStderr& operator=(const QuietStderr&) = delete;

  private:
    std::unique_lock<std::mutex> lock_;
    int saved_ = -1;
};

// PortAudio counts how often it was started. Throws Error.
class PortAudioSession {
  public:
    PortAudioSession();
    ~PortAudioSession();
    PortAudioSession(const PortAudioSession&) = delete;
    PortAudioSession& operator=(const PortAudioSession&) = delete;
};

// "ALSA: HDA Intel PCH".
std::string name_of(const PaDeviceInfo& info);
// Throws Error: `what`, and why.
[[noreturn]] void fail_with(const std::string& what, PaError error);

}  // namespace nigiri
