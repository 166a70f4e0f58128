#include "app/write_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

#include "kernels/error.h"

namespace nigiri::app {

namespace fs = std::filesystem;

namespace {

bool write_all(int fd, std::string_view content) {
    while (!content.empty()) {
        const ssize_t n = ::write(fd, content.data(), content.size());
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        content.remove_prefix(static_cast<size_t>(n));
    }
    return true;
}

}  // namespace

void write_file(const fs::path& path, std::string_view content) {
    static std::atomic<unsigned> counter{0};
    const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
    const fs::path temporary =
        folder / (".nigiri-" + std::to_string(::getpid()) + "-" + std::to_string(counter++) + ".new");
    const auto fail = [&](int error) {
        ::unlink(temporary.c_str());
        throw Error("cannot write '" + path.string() + "': " + std::strerror(error),
                    "check the folder, its permissions and the free space");
    };
    const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) fail(errno);
    const bool written = write_all(fd, content) && ::fsync(fd) == 0;
    const int error = errno;
    const bool closed = ::close(fd) == 0;
    if (!written) fail(error);
    if (!closed || std::rename(temporary.c_str(), path.c_str()) != 0) fail(errno);
}

}  // namespace nigiri::app
