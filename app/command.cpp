#include "app/command.h"

#include <csignal>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

namespace nigiri::app {

namespace {

std::atomic<bool> stop{false};

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
    stop.store(true);
    if (sigwait(&set, &number) != 0) return;
    std::signal(number, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
    std::raise(number);
}

}  // namespace

const std::atomic<bool>& stop_requested() { return stop; }

// A thread waits for the signals; no handler ever interrupts another. oneDNN's generated code for products of long
// matrices keeps its stack pointer in memory from the heap, and a handler's frame, written below it, was seen to
// destroy what lay there.
void catch_stop_signals() {
    const sigset_t set = stop_signals();
    pthread_sigmask(SIG_BLOCK, &set, nullptr);  // for all threads to come as well
    std::thread(wait_for_signals).detach();
}

CLI::App& Command::add(CLI::App& parent, const std::string& name, const std::string& description) {
    CLI::App& sub = *parent.add_subcommand(name, description);
    sub.option_defaults()->always_capture_default();
    sub.add_option("--device", common.device, "where to compute: auto, cpu or cuda")
        ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
    sub.add_option("--threads", common.threads, "processor threads, 0 for all")->check(CLI::Range(0, 1024));
    sub.add_option("--seed", common.seed, "seed of everything random");
    sub.add_flag("--json", common.json, "print one JSON object on stdout, progress on stderr");
    sub.add_flag("-q,--quiet", common.quiet, "print results and errors only");
    parser_ = &sub;
    return sub;
}

CLI::App& Command::add_group(CLI::App& parent, const std::string& name, const std::string& description) {
    CLI::App& sub = *parent.add_subcommand(name, description);
    sub.require_subcommand(1);
    parser_ = &sub;
    return sub;
}

std::shared_ptr<Backend> Command::open_backend() const {
    auto backend = make_backend(common.device, common.threads);
    if (!common.quiet) std::cerr << "device: " << backend->description() << "\n";
    return backend;
}

void Command::say(const std::string& line) const {
    if (common.json) {
        if (!common.quiet) std::cerr << line << "\n";
    } else {
        std::cout << line << "\n" << std::flush;
    }
}

void Command::print_json(const nlohmann::json& object) const {
    if (common.json)
        std::cout << object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << "\n" << std::flush;
}

std::vector<std::unique_ptr<Command>> make_commands() {
    std::vector<std::unique_ptr<Command>> all;
    all.push_back(make_demo_data_command());
    all.push_back(make_prepare_command());
    all.push_back(make_train_command());
    all.push_back(make_generate_command());
    all.push_back(make_eval_command());
    all.push_back(make_compare_command());
    all.push_back(make_ablate_command());
    all.push_back(make_digits_command());
    all.push_back(make_play_command());
    all.push_back(make_info_command());
    all.push_back(make_export_command());
    all.push_back(make_selfcheck_command());
    all.push_back(make_bench_command());
    all.push_back(make_task_command());
    return all;
}

}  // namespace nigiri::app
