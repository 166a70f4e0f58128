#include "app/studio/sessions/generation_session.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "app/generation_setup.h"
#include "app/live_generation.h"
#include "app/model_file.h"
#include "app/studio/sessions/file_names.h"
#include "app/text.h"
#include "audio/resample.h"
#include "kernels/backend.h"
#include "kernels/clock.h"

namespace nigiri::studio {

namespace fs = std::filesystem;

using app::SteeredStream;

namespace {

constexpr int64_t samples_a_piece = 128;  // appended to the growing sound at a time: 8 ms at 16 kHz
// What is steered is made so far ahead of the ear: more than the player asks for, and little enough for the hand.
constexpr double lead_seconds = 0.7;
constexpr auto pause = std::chrono::milliseconds(5);

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
    TrainingState state;
    std::unique_ptr<Network> network;
};

// One request being worked on.
struct GenerationSession::Job {
    const GenerationRequest& request;
    const Loaded& model;
    const Loaded* second = nullptr;
    std::vector<uint8_t> prompt;
    int64_t wanted = 0;
    std::shared_ptr<Sound> sound;
    double started = steady_seconds();

    const SignalConfig& signal() const { return model.config.signal; }
    void append(std::span<const uint8_t> codes) const {
        std::vector<float> samples(codes.size());
        decode(codes, parse_quantization(signal().quantization), samples);
        sound->append(samples);
    }
};

bool GenerationSession::start(GenerationRequest request) {
    if (work_.running()) return false;
    {
        const std::lock_guard lock(mutex_);
        progress_ = {};
        sound_.reset();
        steering_ = request.steer ? std::make_shared<Steering>(request.sampling) : nullptr;
    }
    heard_ = 0;
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

std::shared_ptr<Steering> GenerationSession::steering() const {
    const std::lock_guard lock(mutex_);
    return steering_;
}

std::vector<MadeClip> GenerationSession::take_made() {
    const std::lock_guard lock(mutex_);
    return std::exchange(made_, {});
}

const GenerationSession::Loaded& GenerationSession::load(std::shared_ptr<const Loaded>& kept, const fs::path& model,
                                                         const GenerationRequest& request) {
    const fs::path path = app::model_path(model);
    const auto modified = fs::last_write_time(path);
    if (kept && kept->path == path && kept->modified == modified && kept->device == request.device &&
        kept->threads == request.threads)
        return *kept;
    kept.reset();  // its memory, before more is taken
    const Checkpoint checkpoint = Checkpoint::read(path);
    auto fresh = std::make_shared<Loaded>();
    fresh->path = path, fresh->modified = modified, fresh->device = request.device, fresh->threads = request.threads;
    fresh->backend = make_backend(request.device, request.threads);
    fresh->config = checkpoint.config();
    fresh->state = checkpoint.state();
    fresh->network = checkpoint.make_network(fresh->backend);
    kept = std::move(fresh);
    return *kept;
}

void GenerationSession::work(const GenerationRequest& request) {
    work_.report(0, "loading " + request.model.filename().string());
    fs::create_directories(request.folder);  // before the work: a folder that cannot be made is said at once
    Job job{.request = request, .model = load(loaded_, request.model, request), .prompt = {}, .sound = {}};
    const int rate = job.signal().sample_rate;
    if (request.steer && !request.second_model.empty()) {
        job.second = &load(second_, request.second_model, request);
        if (job.second->config.signal != job.signal())
            throw Error("the second model's sound is of another kind: " +
                            std::to_string(job.second->config.signal.sample_rate) + " Hz, " +
                            job.second->config.signal.quantization,
                        "choose two models of the same sample rate and quantisation");
    }
    job.prompt = app::prompt_codes(prompt_of(request, rate, work_.progress()), job.signal());
    job.wanted = static_cast<int64_t>(request.seconds * rate);
    if (job.wanted < 1) throw Error("a clip needs at least one sample", "ask for more seconds");
    // A player waits for a sound of known length until it can play it to the end. One that is steered is made as it is
    // heard, and one that is guarded may become longer by what was heard and then replaced.
    const bool fixed = !request.steer && !request.guard;
    job.sound = std::make_shared<Sound>(rate, fixed ? static_cast<int64_t>(job.prompt.size()) + job.wanted : 0);
    job.append(job.prompt);
    {
        const std::lock_guard lock(mutex_);
        sound_ = job.sound;
        progress_ = {.wanted = job.wanted,
                     .sample_rate = rate,
                     .count = request.steer ? 1 : request.count,
                     .device = job.model.backend->description(),
                     .slow = {},
                     .last_event = {}};
    }
    try {
        if (request.steer)
            follow_the_hand(job);
        else
            generate_clips(job);
    } catch (...) {
        job.sound->finish();
        throw;
    }
}

GenerationSetup GenerationSession::setup_of(Job& job, const Loaded& model) {
    GenerationSetup setup;
    setup.engine = job.request.engine;
    // Beside a window that draws, two threads of the engine's wait for each other on a machine of two processors.
    const bool small = std::thread::hardware_concurrency() <= 2;
    setup.engine.threads = job.request.threads == 0 && small ? 1 : std::min(job.request.threads, 64);
    setup.engine.report = [this, &job](const EngineReport& report) {
        job.started = steady_seconds();
        const std::lock_guard lock(mutex_);
        if (progress_.slow.empty()) progress_.slow = app::slow_note(report);
    };
    if (job.request.guard) setup.guard = app::guard_options(model.config, model.state);
    return setup;
}

// `shown`: samples of the sound without the prompt.
void GenerationSession::tell(Job& job, int64_t samples, int64_t shown) {
    const double rate = static_cast<double>(samples) / std::max(steady_seconds() - job.started, 1e-6);
    {
        const std::lock_guard lock(mutex_);
        progress_.samples = shown;
        progress_.samples_per_second = rate;
    }
    work_.report(static_cast<double>(shown) / static_cast<double>(job.wanted), "generating");
}

void GenerationSession::note(Job& job, const GuardEvent& event) {
    const std::lock_guard lock(mutex_);
    ++progress_.gone_back;
    progress_.last_event = to_text(event, job.signal().sample_rate);
}

void GenerationSession::note_events(Job& job, const std::vector<Clip>& clips) {
    int64_t count = 0;
    const GuardEvent* last = nullptr;
    for (const Clip& clip : clips) {
        count += static_cast<int64_t>(clip.events.size());
        if (!clip.events.empty()) last = &clip.events.back();
    }
    const std::lock_guard lock(mutex_);
    if (count != progress_.gone_back && last) progress_.last_event = to_text(*last, job.signal().sample_rate);
    progress_.gone_back = count;
}

void GenerationSession::generate_clips(Job& job) {
    GenerationSetup setup = setup_of(job, job.model);
    setup.rescue = [&](const std::vector<Clip>& clips) { write(job, clips); };
    const int rate = job.signal().sample_rate;
    // What the guard may take back is shown once it hardly can.
    const auto hold = static_cast<int64_t>(setup.guard ? app::held_seconds(*setup.guard, true) * rate : 0);
    HeldSound held(hold, setup.guard ? rate / 50 : 1);
    const auto& value = decode_table(parse_quantization(job.signal().quantization));
    std::vector<float> piece;
    const auto show = [&] {
        piece.resize(static_cast<size_t>(held.ready()));
        held.take(piece);
        job.sound->append(piece);
    };
    int64_t told = -1;
    const auto look = [&](const std::vector<Clip>& c) {
        // Of the first clip; others may have gone back and still be behind.
        const int64_t made = c[0].generated();
        for (int64_t i = made - c[0].fresh; i < made; ++i)
            held.put(i, value[c[0].codes[static_cast<size_t>(c[0].prompt + i)]]);
        if (held.ready() >= samples_a_piece) show();
        if (made > 0 && made != told) {
            tell(job, made, made);
            note_events(job, c);
            told = made;
        }
        return !work_.stopping().load();
    };
    const auto clips =
        generate(*job.model.network, job.request.count, job.wanted, job.prompt, job.request.sampling, look, setup);
    held.finish();
    show();
    tell(job, clips[0].generated(), clips[0].generated());
    note_events(job, clips);
    job.sound->finish();
    if (clips[0].generated() > 0) write(job, clips);
}

void GenerationSession::follow_the_hand(Job& job) {
    const auto steering = this->steering();
    const auto open = [&](const Loaded& model, const GenerationSetup& setup) {
        return open_stream(*model.network, std::vector<std::vector<uint8_t>>{job.prompt}, steering->controls(), setup,
                           [&] { return !work_.stopping().load(); });
    };
    const GenerationSetup setup = setup_of(job, job.model);
    auto first = open(job.model, setup);
    auto second = job.second ? open(*job.second, setup_of(job, *job.second)) : nullptr;
    if (!first || (job.second && !second)) return job.sound->finish();
    const int rate = job.signal().sample_rate;
    const int64_t hold = setup.guard ? static_cast<int64_t>(app::held_seconds(*setup.guard, true) * rate) : 0;
    SteeredStream stream(std::move(first), std::move(second), job.signal(), steering, hold);
    const auto lead = static_cast<int64_t>(lead_seconds * rate);
    const auto begin = static_cast<int64_t>(job.prompt.size());
    std::vector<float> piece;
    double waited = 0;
    const auto make_all = [&] {
        while (!work_.stopping() && job.sound->size() - begin < job.wanted) {
            const bool ahead = job.sound->size() - heard_.load(std::memory_order_relaxed) > lead;
            if (ahead) {
                const double before = steady_seconds();
                std::this_thread::sleep_for(pause);
                job.started += steady_seconds() - before;  // waiting says nothing about speed
                waited += steady_seconds() - before;
            } else {
                piece.clear();
                stream.make(samples_a_piece, piece, [&] { return !work_.stopping().load(); });
                job.sound->append(piece);
                for (const GuardEvent& e : stream.take_events()) note(job, e);
                waited = 0;
            }
            {
                const std::lock_guard lock(mutex_);
                progress_.waiting = waited > 1;
            }
            tell(job, stream.samples(), job.sound->size() - begin);
        }
    };
    const auto keep = [&] {
        piece.clear();
        stream.finish(piece);
        job.sound->append(piece);
        job.sound->finish();
        if (stream.samples() > 0)
            write_steered(job, job.sound->size() - begin, stream.bits() / static_cast<double>(stream.samples()),
                          stream.joins());
    };
    try {
        make_all();
    } catch (...) {
        keep();
        throw;
    }
    keep();
}

void GenerationSession::write(const Job& job, const std::vector<Clip>& clips) {
    const GenerationRequest& request = job.request;
    const app::ClipSettings settings = app::clip_settings(job.model.path, job.model.config, job.model.state.step,
                                                          request.sampling, request.prompt_name);
    const std::string stamp = time_stamp();
    for (const size_t i : app::by_likelihood(clips)) {
        nlohmann::json facts = app::clip_facts(clips[i], i, settings);
        facts["model_path"] = request.model.string();
        facts["made"] = stamp;
        if (request.guard) {
            nlohmann::json events = nlohmann::json::array();
            for (const GuardEvent& e : clips[i].events) events.push_back(app::to_json(e, job.signal().sample_rate));
            facts["guard"] = events;
        }
        const std::string stem = stamp + " seed " + std::to_string(request.sampling.seed) +
                                 (clips.size() > 1 ? " clip " + std::to_string(i + 1) : "");
        const fs::path path = free_name(request.folder, stem, ".flac");
        app::write_clip(path, app::waveform(clips[i], job.signal()), job.signal().sample_rate, facts);
        const std::lock_guard lock(mutex_);  // one by one: what is written is there, also where the next one fails
        made_.push_back({path, std::move(facts)});
    }
}

// What was heard: no codes of one model any more where it went back to a moment or was mixed with another.
void GenerationSession::write_steered(const Job& job, int64_t samples, double bits_per_sample, int64_t joins) {
    const GenerationRequest& request = job.request;
    const app::ClipSettings settings = app::clip_settings(job.model.path, job.model.config, job.model.state.step,
                                                          request.sampling, request.prompt_name);
    const std::string stamp = time_stamp();
    nlohmann::json facts = app::clip_facts({}, 0, settings);
    facts["samples"] = samples;
    facts["prompt_samples"] = job.prompt.size();
    facts["log2_likelihood_per_sample"] = -bits_per_sample;
    facts["model_path"] = request.model.string();
    facts["made"] = stamp;
    facts["steered"] = true;
    facts["returns"] = joins;
    if (job.second) facts["second_model"] = job.second->path.filename().string();
    const fs::path path =
        free_name(request.folder, stamp + " seed " + std::to_string(request.sampling.seed) + " steered", ".flac");
    app::write_clip(path, job.sound->copy(), job.signal().sample_rate, facts);
    const std::lock_guard lock(mutex_);
    made_.push_back({path, std::move(facts)});
}

}  // namespace nigiri::studio
