// A subcommand of `nigiri`, and what all of them share.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "app/stop_signals.h"
#include "kernels/backend.h"

namespace nigiri::app {

// Options that every command has.
struct CommonOptions {
    std::string device = "auto";
    int threads = 0;
    uint64_t seed = 0;
    bool json = false;
    bool quiet = false;
};

class Command {
  public:
    virtual ~Command() = default;
    virtual void declare(CLI::App& parent) = 0;
    // Returns the exit code; failures are exceptions.
    virtual int run() = 0;

    CLI::App* parser() const { return parser_; }

  protected:
    // Adds the subcommand with the common options.
    CLI::App& add(CLI::App& parent, const std::string& name, const std::string& description);
    // Adds a subcommand that only holds others, of which one must be named.
    CLI::App& add_group(CLI::App& parent, const std::string& name, const std::string& description);
    // Opens the device asked for and says on stderr which one it is.
    std::shared_ptr<Backend> open_backend() const;
    // People's output on stdout, or on stderr where stdout belongs to JSON; nothing where --quiet.
    void say(const std::string& line) const;
    // The one JSON object of --json.
    void print_json(const nlohmann::json& object) const;

    CommonOptions common;

  private:
    CLI::App* parser_ = nullptr;
};

// All commands, in the order of the help text.
std::vector<std::unique_ptr<Command>> make_commands();

std::unique_ptr<Command> make_prepare_command();
std::unique_ptr<Command> make_demo_data_command();
std::unique_ptr<Command> make_train_command();
std::unique_ptr<Command> make_generate_command();
std::unique_ptr<Command> make_eval_command();
std::unique_ptr<Command> make_compare_command();
std::unique_ptr<Command> make_ablate_command();
std::unique_ptr<Command> make_digits_command();
std::unique_ptr<Command> make_play_command();
std::unique_ptr<Command> make_info_command();
std::unique_ptr<Command> make_export_command();
std::unique_ptr<Command> make_selfcheck_command();
std::unique_ptr<Command> make_bench_command();
std::unique_ptr<Command> make_task_command();
std::unique_ptr<Command> make_studio_command();  // in a library of its own, which not every build has

}  // namespace nigiri::app
