#include "app/studio/sessions/generation_session.h"

#include <array>
#include <chrono>

#include "app/model_file.h"
#include "app/studio/sessions/file_names.h"
#include "app/text.h"
#include "audio/resample.h"
#include "kernels/backend.h"

namespace nigiri::studio {

namespace fs = std::filesystem;

namespace {

constexpr int64_t samples_a_piece = 128;  // appended to the growing sound at a time: 8 ms at 16 kHz

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// At `rate`.
std::vector<float> prompt_of(const GenerationRequest& request, int rate, const Progress& progress) {
    if (!request.prompt_file.empty()) {
        std::vector<float> samples = read_audio(request.prompt_file, rate, progress).samples;
        const auto wanted = static_cast<size_t>(request.prompt_seconds * rate);
        if (wanted > 0 && samples.size() > wanted) samples.resize(wanted);
        return samples;
    }
    if (request.prompt.empty() || request.prompt_rate == rate) return request.prompt;
    return resample(request.prompt, request.prompt_rate, rate);
}

}  // namespace

struct GenerationSession::Loaded {
    fs::path path;
    fs::file_time_type modified;
    std::string device;
    int threads = 0;
    std::shared_ptr<Backend> backend;
    Config config;
    int64_t step = 0;
    std::unique_ptr<Network> network;
};

bool GenerationSession::start(GenerationRequest request) {
    if (work_.running()) return false;
    {
        const std::lock_guard lock(mutex_);
        progress_ = {};
        sound_.reset();
    }
    return work_.start([this, request = std::move(request)] { work(request); });
}

GenerationProgressNow GenerationSession::progress() const {
    const std::lock_guard lock(mutex_);
    return progress_;
}

std::shared_ptr<const Sound> GenerationSession::sound() const {
    const std::lock_guard lock(mutex_);
    return sound_;
}

std::vector<MadeClip> GenerationSession::take_made() {
    const std::lock_guard lock(mutex_);
    return std::exchange(made_, {});
}

const GenerationSession::Loaded& GenerationSession::load(const GenerationRequest& request) {
    const fs::path path = app::model_path(request.model);
    const auto modified = fs::last_write_time(path);
    if (loaded_ && loaded_->path == path && loaded_->modified == modified && loaded_->device == request.device &&
        loaded_->threads == request.threads)
        return *loaded_;
    loaded_.reset();  // its memory, before more is taken
    const Checkpoint checkpoint = Checkpoint::read(path);
    auto fresh = std::make_shared<Loaded>();
    fresh->path = path, fresh->modified = modified, fresh->device = request.device, fresh->threads = request.threads;
    fresh->backend = make_backend(request.device, request.threads);
    fresh->config = checkpoint.config();
    fresh->step = checkpoint.state().step;
    fresh->network = checkpoint.make_network(fresh->backend);
    loaded_ = std::move(fresh);
    return *loaded_;
}

void GenerationSession::work(const GenerationRequest& request) {
    work_.report(0, "loading " + request.model.filename().string());
    fs::create_directories(request.folder);  // before the work: a folder that cannot be made is said at once
    const Loaded& model = load(request);
    const SignalConfig& signal = model.config.signal;
    const std::vector<uint8_t> prompt =
        app::prompt_codes(prompt_of(request, signal.sample_rate, work_.progress()), signal);
    const auto wanted = static_cast<int64_t>(request.seconds * signal.sample_rate);
    if (wanted < 1) throw Error("a clip needs at least one sample", "ask for more seconds");

    std::array<uint8_t, 256> all_codes;
    for (size_t i = 0; i < all_codes.size(); ++i) all_codes[i] = static_cast<uint8_t>(i);
    std::array<float, 256> value;
    decode(all_codes, parse_quantization(signal.quantization), value);
    const auto sound = std::make_shared<Sound>(signal.sample_rate, static_cast<int64_t>(prompt.size()) + wanted);
    std::vector<float> piece;
    const auto append = [&](std::span<const uint8_t> codes) {
        piece.clear();
        for (const uint8_t c : codes) piece.push_back(value[c]);
        sound->append(piece);
    };
    append(prompt);
    {
        const std::lock_guard lock(mutex_);
        sound_ = sound;
        progress_ = {.wanted = wanted,
                     .sample_rate = signal.sample_rate,
                     .count = request.count,
                     .device = model.backend->description()};
    }

    const double started = now();
    int64_t done = 0, appended = 0;
    const auto grow = [&](const Clip& first) {
        append(std::span(first.codes).subspan(prompt.size() + static_cast<size_t>(appended)));
        appended = done;
        const double rate = static_cast<double>(done) / std::max(now() - started, 1e-6);
        {
            const std::lock_guard lock(mutex_);
            progress_.samples = done;
            progress_.samples_per_second = rate;
        }
        work_.report(static_cast<double>(done) / static_cast<double>(wanted), "generating");
    };
    std::vector<Clip> clips;
    try {
        clips =
            generate(*model.network, request.count, wanted, prompt, request.sampling, [&](const std::vector<Clip>& c) {
                done = c[0].generated();
                if (done - appended >= samples_a_piece || done == wanted) grow(c[0]);
                return !work_.stopping().load();
            });
        if (done > appended) grow(clips[0]);
    } catch (...) {
        sound->finish();
        throw;
    }
    sound->finish();
    if (done > 0) write(request, model, clips);
}

void GenerationSession::write(const GenerationRequest& request, const Loaded& model, const std::vector<Clip>& clips) {
    const app::ClipSettings settings =
        app::clip_settings(model.path, model.config, model.step, request.sampling, request.prompt_name);
    const std::string stamp = time_stamp();
    for (const size_t i : app::by_likelihood(clips)) {
        nlohmann::json facts = app::clip_facts(clips[i], i, settings);
        facts["model_path"] = request.model.string();
        facts["made"] = stamp;
        const std::string stem = stamp + " seed " + std::to_string(request.sampling.seed) +
                                 (clips.size() > 1 ? " clip " + std::to_string(i + 1) : "");
        const fs::path path = free_name(request.folder, stem, ".flac");
        app::write_clip(path, app::waveform(clips[i], model.config.signal), model.config.signal.sample_rate, facts);
        const std::lock_guard lock(mutex_);  // one by one: what is written is there, also where the next one fails
        made_.push_back({path, std::move(facts)});
    }
}

}  // namespace nigiri::studio
