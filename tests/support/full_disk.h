// A disk that is full, for those who may not fill one.
#pragma once

#include <sys/resource.h>

#include <csignal>
#include <stdexcept>

namespace nigiri::test {

// While it lives no file can be written past its first `bytes` bytes, in this process and in those that it starts: a
// write gives less than was asked for and then an error, as on a full disk (EFBIG instead of ENOSPC). Needs no rights.
class FullDisk {
  public:
    explicit FullDisk(rlim_t bytes) {
        std::signal(SIGXFSZ, SIG_IGN);  // it would end the process
        if (::getrlimit(RLIMIT_FSIZE, &before_) != 0) throw std::runtime_error("cannot read the limit of file sizes");
        rlimit now = before_;
        now.rlim_cur = bytes;
        if (::setrlimit(RLIMIT_FSIZE, &now) != 0) throw std::runtime_error("cannot limit the size of files");
    }
    ~FullDisk() { ::setrlimit(RLIMIT_FSIZE, &before_); }
    FullDisk(const FullDisk&) = delete;
    FullDisk& operator=(const FullDisk&) = delete;

  private:
    rlimit before_{};
};

}  // namespace nigiri::test
