#include "app/command.h"

#include <iostream>
#include <nlohmann/json.hpp>

namespace nigiri::app {

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
