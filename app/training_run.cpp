#include "app/training_run.h"

#include "app/config_options.h"
#include "app/model_file.h"
#include "app/text.h"
#include "app/write_file.h"
#include "audio/baseline.h"

namespace nigiri::app {

namespace fs = std::filesystem;

namespace {

std::optional<Checkpoint> last_of_run(const fs::path& run) {
    const fs::path last = run / "checkpoints" / "last.safetensors";
    if (!fs::exists(last)) return std::nullopt;
    return Checkpoint::read(last);
}

}  // namespace

std::optional<Config> config_of_run(const fs::path& run) {
    const auto last = last_of_run(run);
    return last ? std::optional(last->config()) : std::nullopt;
}

std::string run_name(const std::string& preset, const ModelConfig& model) {
    std::string name = preset + "-" + layer_name(model);
    for (char& c : name)
        if (c == '/' || c == ' ') c = '-';
    return name;
}

std::string tuned_name(const fs::path& model) { return model_name(model) + "-tuned"; }

Config tuned_config(Config config, const fs::path& model) {
    const Config own = Checkpoint::read(model_path(model)).config();
    config.model = own.model, config.signal = own.signal;
    return config;
}

MemoryNeed training_memory(const std::shared_ptr<Backend>& backend, const Config& config) {
    return {.needed = static_cast<double>(estimate_training_bytes(backend, config)),
            .available = static_cast<double>(backend->available_bytes())};
}

TrainingRun::TrainingRun(TrainingRequest request) : request_(std::move(request)) { validate(request_.config); }

void TrainingRun::load(const Progress& progress) {
    const Config& c = request_.config;
    data_ = std::make_shared<Dataset>(Dataset::load(
        request_.data, data_options(c.signal, c.training.seed, request_.files, request_.threads), progress));
}

std::optional<Baseline> TrainingRun::baseline() {
    if (baseline_ || data_->samples(Split::valid) == 0) return baseline_;
    const auto bits = [&](int order) {
        return ContextModel::fit(*data_, Split::train, order).bits_per_sample(*data_, Split::valid);
    };
    return baseline_ = Baseline{.order0 = bits(0), .order1 = bits(1)};
}

void TrainingRun::open(const std::shared_ptr<Backend>& backend) {
    memory_ = training_memory(backend, request_.config);
    if (!memory_.fits())
        throw Error("training needs about " + bytes_text(memory_.needed) + " of memory, " +
                        bytes_text(memory_.available) + " are available",
                    "use a smaller --batch or --length, or a smaller --preset");
    source_ = std::make_unique<DatasetSource>(*data_, request_.config.training);
    ModelFacts facts = {{"data", fs::weakly_canonical(request_.data).filename().string()},
                        {"train_seconds", fixed(data_->seconds(Split::train), 1)},
                        {"train_files", std::to_string(data_->recordings(Split::train).size())}};
    std::optional<Checkpoint> from;
    if (const auto last = last_of_run(request_.run)) {
        // It goes on with itself; the model that it once began with is not needed any more, only what is known of it.
        for (const auto& [name, value] : last->facts())
            if (name == "from" || name.starts_with("from.")) facts[name] = value;
        if (facts.count("from") == 0) request_.from.clear();
    } else if (!request_.from.empty()) {
        from = Checkpoint::read(model_path(request_.from));
        // Its licence, and what it was trained on, are this model's too.
        const fs::path named = request_.from.has_filename() ? request_.from : request_.from.parent_path();
        facts["from"] = named.filename().string();
        for (const auto& [name, value] : from->facts()) facts["from." + name] = value;
    }
    auto trainer = std::make_unique<Trainer>(backend, request_.config, request_.run, *source_, facts);
    if (from && !trainer->resumed()) trainer->begin_with(*from);
    trainer_ = std::move(trainer);
    write_config();  // also of a run that goes on: its limits may be new
}

TrainingEnd TrainingRun::run(const std::atomic<bool>& stop, const std::function<void(const TrainingMetrics&)>& log,
                             const std::function<void(const TrainingState&)>& step) {
    TrainingCallbacks callbacks;
    callbacks.log = log;
    callbacks.step = step;
    callbacks.preview = [&](int64_t at, const Network& network) {
        write_preview(network, config(), request_.run / "previews" / (std::to_string(at) + ".flac"), stop);
    };
    return trainer_->run(stop, callbacks);
}

void TrainingRun::write_config() const {
    std::vector<Assignment> head = {{"data", fs::absolute(request_.data).string()}};
    if (baseline_) {
        head.emplace_back("order0_bits_per_sample", fixed(baseline_->order0, 4));
        head.emplace_back("order1_bits_per_sample", fixed(baseline_->order1, 4));
    }
    if (!request_.from.empty()) head.emplace_back("from", fs::absolute(request_.from).string());
    if (!request_.files.empty()) head.emplace_back("files", fs::absolute(request_.files).string());
    write_file(request_.run / "config.toml", to_toml(config(), head));
}

}  // namespace nigiri::app
