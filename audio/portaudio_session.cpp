#include "audio/portaudio_session.h"

#include <fcntl.h>
#include <unistd.h>

#include "audio/text.h"
#include "kernels/error.h"

namespace nigiri {
namespace {

std::mutex& portaudio_mutex() {
    static std::mutex m;
    return m;
}

}  // namespace

QuietStderr::QuietStderr() : lock_(portaudio_mutex()) {
    const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (nowhere < 0) return;
    saved_ = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    if (saved_ >= 0) ::dup2(nowhere, STDERR_FILENO);
    ::close(nowhere);
}

QuietStderr::~QuietStderr() {
    if (saved_ < 0) return;
    ::dup2(saved_, STDERR_FILENO);
    ::close(saved_);
}

PortAudioSession::PortAudioSession() {
    const QuietStderr quiet;
    if (const PaError error = Pa_Initialize(); error != paNoError) fail_with("sound cannot be started", error);
}

PortAudioSession::~PortAudioSession() {
    const QuietStderr quiet;
    Pa_Terminate();
}

std::string name_of(const PaDeviceInfo& info) {
    const PaHostApiInfo* api = Pa_GetHostApiInfo(info.hostApi);
    return printable((api && api->name ? std::string(api->name) + ": " : "") + (info.name ? info.name : ""));
}

void fail_with(const std::string& what, PaError error) {
    std::string reason = Pa_GetErrorText(error);
    if (const PaHostErrorInfo* host = error == paUnanticipatedHostError ? Pa_GetLastHostErrorInfo() : nullptr;
        host && host->errorText)
        reason += std::string(": ") + host->errorText;
    throw Error(what + ": " + printable(reason));
}

}  // namespace nigiri
