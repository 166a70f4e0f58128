// nigiri: the command line. Parses, runs one command, and turns failures into one clear line and an exit code:
// 0 done, 1 failed, 2 used wrongly.
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <iostream>

#include "app/command.h"
#include "kernels/error.h"

namespace {

// Threads that wait for one another should sleep soon. The OpenMP runtime lets them spin for milliseconds, and on a
// machine that has anything else to do that takes the processor from the very thread they wait for: beside one
// compiler, training on two cores was measured ten times slower. The runtime reads its settings before main, so the
// program starts anew.
void let_waiting_threads_sleep(char** argv) {
    if (std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
    if (::setenv("GOMP_SPINCOUNT", "1000", 1) != 0) return;  // some microseconds
    ::execv("/proc/self/exe", argv);                         // returns only where there is no such file: go on as it is
}

// Text from files and arguments may hold line ends or control characters; an error is one line.
std::string one_line(std::string text) {
    for (char& c : text)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
    return text;
}

int fail(const std::string& what, const std::string& hint, int code) {
    std::cerr << "error: " << one_line(what) << (hint.empty() ? "" : "; " + one_line(hint)) << "\n";
    return code;
}

}  // namespace

int main(int argc, char** argv) {
    using namespace nigiri::app;
    let_waiting_threads_sleep(argv);
    CLI::App app{"nigiri learns raw audio sample by sample and plays what it dreams up", "nigiri"};
    app.set_version_flag("--version", "nigiri " NIGIRI_VERSION);
    app.require_subcommand(1);
    app.get_formatter()->column_width(34);
    auto commands = make_commands();
#ifdef NIGIRI_STUDIO
    commands.push_back(make_studio_command());
#endif
    for (const auto& command : commands) command->declare(app);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& e) {
        if (e.get_exit_code() == 0) return app.exit(e);  // --help, --version
        const auto known = [&](const auto& c) { return c->parser()->get_name() == argv[1]; };
        if (argc > 1 && argv[1][0] != '-' && std::none_of(commands.begin(), commands.end(), known))
            return fail("there is no command '" + std::string(argv[1]) + "'", "see nigiri --help", 2);
        std::string command = "nigiri";
        for (const auto& c : commands)
            if (c->parser()->parsed()) command += " " + c->parser()->get_name();
        return fail(e.what(), "see " + command + " --help", 2);
    }
    try {
        catch_stop_signals();
        std::signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is to be an error, as on a full disk, and no death
        for (const auto& command : commands)
            if (command->parser()->parsed()) return command->run();
        return 2;
    } catch (const nigiri::Error& e) {
        return fail(e.what(), e.hint(), 1);
    } catch (const std::bad_alloc&) {
        return fail("out of memory", "use a smaller --batch or --length, or a smaller preset", 1);
    } catch (const std::exception& e) {
        return fail(e.what(), "", 1);
    }
}
