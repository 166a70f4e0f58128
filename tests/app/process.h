// Runs the real program and looks at what it says.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace nigiri::test {

struct ProcessResult {
    int code = -1;  // exit code; 128 + signal where a signal ended it
    std::string out, err;
};

// A started program; its output goes to files in `folder`.
class Process {
  public:
    Process(const std::string& program, const std::vector<std::string>& arguments, const std::string& folder);
    pid_t id() const { return pid_; }
    void send(int signal) const;
    // Whether it has ended within `seconds`.
    bool ended_within(double seconds);
    ProcessResult wait();

  private:
    pid_t pid_ = -1;
    std::string out_, err_;
    bool ended_ = false;
    int status_ = 0;
};

ProcessResult run(const std::string& program, const std::vector<std::string>& arguments, const std::string& folder);

}  // namespace nigiri::test
