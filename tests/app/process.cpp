#include "tests/app/process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <stdexcept>
#include <thread>

extern char** environ;

namespace nigiri::test {

namespace {

std::string contents(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

Process::Process(const std::string& program, const std::vector<std::string>& arguments, const std::string& folder) {
    static std::atomic<int> number{0};
    const std::string name = folder + "/process-" + std::to_string(number++);
    out_ = name + ".out";
    err_ = name + ".err";
    std::vector<std::string> all = {program};
    all.insert(all.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& a : all) argv.push_back(a.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, out_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    posix_spawn_file_actions_addopen(&actions, 2, err_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    const int error = posix_spawn(&pid_, program.c_str(), &actions, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) throw std::runtime_error("cannot start " + program);
}

void Process::send(int signal) const { ::kill(pid_, signal); }

bool Process::ended_within(double seconds) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    while (!ended_) {
        if (::waitpid(pid_, &status_, WNOHANG) == pid_)
            ended_ = true;
        else if (std::chrono::steady_clock::now() >= until)
            return false;
        else
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
}

ProcessResult Process::wait() {
    if (!ended_) {
        ::waitpid(pid_, &status_, 0);
        ended_ = true;
    }
    ProcessResult r;
    r.code = WIFSIGNALED(status_) ? 128 + WTERMSIG(status_) : WEXITSTATUS(status_);
    r.out = contents(out_);
    r.err = contents(err_);
    return r;
}

ProcessResult run(const std::string& program, const std::vector<std::string>& arguments, const std::string& folder) {
    return Process(program, arguments, folder).wait();
}

}  // namespace nigiri::test
