#include "audio/demo_data.h"

#include <fcntl.h>
#include <sndfile.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cmath>
#include <cstring>
#include <exception>
#include <fstream>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

#include "audio/etudes.h"
#include "audio/midi.h"
#include "audio/score.h"
#include "kernels/error.h"

extern char** environ;

namespace nigiri {

namespace fs = std::filesystem;

namespace {

constexpr const char* install_hint = "install it: apt-get install fluidsynth fluid-soundfont-gm";
constexpr double highest_peak = -1;  // dB
constexpr double fade_seconds = 0.05;
constexpr size_t split_period = 9;  // of nine pieces, one is for validation and one for the test

// The program's path, found as the shell would find it.
fs::path find_program(const std::string& name) {
    const char* path = std::getenv("PATH");
    std::string folders = path ? path : "/usr/local/bin:/usr/bin:/bin";
    for (size_t begin = 0; begin <= folders.size();) {
        const size_t end = std::min(folders.find(':', begin), folders.size());
        const fs::path candidate = fs::path(folders.substr(begin, end - begin)) / name;
        std::error_code code;
        if (candidate.is_absolute() && fs::is_regular_file(candidate, code) && ::access(candidate.c_str(), X_OK) == 0)
            return candidate;
        begin = end + 1;
    }
    throw Error("the program '" + name + "' is not installed, and the demo data needs it", install_hint);
}

// FluidSynth's own words about what went wrong; empty where it has none.
std::string error_in(const fs::path& log) {
    std::ifstream in(log);
    for (std::string line; std::getline(in, line);)
        if (line.find("error") != line.npos || line.find("Failed") != line.npos) return line.substr(0, 300);
    return {};
}

// Runs a program without a shell, without input, its words into `log`. Returns the exit status, -1 after a
// signal.
int run_program(const std::vector<std::string>& arguments, const fs::path& log) {
    posix_spawn_file_actions_t actions;
    if (posix_spawn_file_actions_init(&actions) != 0) throw Error("cannot start " + arguments.front());
    const std::unique_ptr<posix_spawn_file_actions_t, int (*)(posix_spawn_file_actions_t*)> guard(
        &actions, posix_spawn_file_actions_destroy);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    std::vector<char*> argv;
    for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
    argv.push_back(nullptr);
    pid_t child = 0;
    // Signals that this program takes in a thread of its own must reach the child as usual.
    posix_spawnattr_t attributes;
    if (posix_spawnattr_init(&attributes) != 0) throw Error("cannot start " + arguments.front());
    const std::unique_ptr<posix_spawnattr_t, int (*)(posix_spawnattr_t*)> attributes_guard(&attributes,
                                                                                           posix_spawnattr_destroy);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    if (const int code = posix_spawn(&child, argv[0], &actions, &attributes, argv.data(), environ); code != 0)
        throw Error("cannot start " + arguments.front() + ": " + std::strerror(code), install_hint);
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) throw Error("lost " + arguments.front() + ": " + std::strerror(errno));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

struct CloseSound {
    void operator()(SNDFILE* file) const { sf_close(file); }
};
using Sound = std::unique_ptr<SNDFILE, CloseSound>;

// Files that must not outlive a rendering, whether it succeeds or not.
struct TemporaryFiles {
    std::vector<fs::path> paths;
    ~TemporaryFiles() {
        std::error_code code;
        for (const auto& p : paths) fs::remove(p, code);
    }
};

double decibels(double amplitude) { return 20 * std::log10(std::max(amplitude, 1e-10)); }

std::vector<float> read_rendering(const fs::path& wave, const Performance& performance, const DemoDataOptions& options,
                                  const fs::path& log) {
    SF_INFO info{};
    const Sound in(sf_open(wave.c_str(), SFM_READ, &info));
    const auto wanted = static_cast<sf_count_t>(performance.seconds * options.sample_rate);
    // FluidSynth ends with status 0 whatever happened; what it said and wrote is the only proof.
    if (const std::string error = error_in(log); !error.empty())
        throw Error("fluidsynth failed on '" + performance.title + "': " + error, install_hint);
    if (!in || info.channels != 2 || info.samplerate != options.sample_rate ||
        info.frames < wanted - options.sample_rate / 2)
        throw Error("fluidsynth did not play all of '" + performance.title + "'", "check the free space");
    std::vector<float> samples(2 * static_cast<size_t>(std::min(info.frames, wanted)));
    const auto frames = static_cast<sf_count_t>(samples.size() / 2);
    if (sf_readf_float(in.get(), samples.data(), frames) != frames)
        throw Error("cannot read fluidsynth's sound of '" + performance.title + "'");
    return samples;
}

// Scales to the wanted level, fades the end out. Returns the levels after it.
std::pair<double, double> normalise(std::vector<float>& samples, const Performance& performance,
                                    const DemoDataOptions& options) {
    double squares = 0, peak = 0;
    for (const float x : samples) {
        squares += static_cast<double>(x) * x;
        peak = std::max(peak, std::abs(static_cast<double>(x)));
    }
    const double rms = std::sqrt(squares / static_cast<double>(std::max<size_t>(samples.size(), 1)));
    if (!(rms > 1e-6))
        throw Error("fluidsynth played only silence for '" + performance.title + "'", "try another soundfont");
    const double gain = std::min(std::pow(10, options.level / 20) / rms, std::pow(10, highest_peak / 20) / peak);
    const size_t fade = std::min(samples.size() / 2, static_cast<size_t>(fade_seconds * options.sample_rate));
    for (size_t i = 0; i < samples.size(); ++i) {
        const size_t left = (samples.size() - i) / 2;
        const double shape = left < fade ? static_cast<double>(left) / static_cast<double>(fade) : 1;
        samples[i] = static_cast<float>(samples[i] * gain * shape);
    }
    return {decibels(rms * gain), decibels(peak * gain)};
}

void write_flac(const fs::path& path, const std::vector<float>& samples, const std::string& title, int sample_rate) {
    SF_INFO info{};
    info.channels = 2;
    info.samplerate = sample_rate;
    info.format = SF_FORMAT_FLAC | SF_FORMAT_PCM_16;
    Sound out(sf_open(path.c_str(), SFM_WRITE, &info));
    if (!out)
        throw Error("cannot write " + path.string() + ": " + sf_strerror(nullptr),
                    "check the folder and the free space");
    sf_command(out.get(), SFC_SET_CLIPPING, nullptr, SF_TRUE);
    sf_set_string(out.get(), SF_STR_TITLE, title.c_str());
    sf_set_string(out.get(), SF_STR_COMMENT, "played by FluidSynth for the Nigiri demo data set");
    const auto frames = static_cast<sf_count_t>(samples.size() / 2);
    if (sf_writef_float(out.get(), samples.data(), frames) != frames || sf_close(out.release()) != 0)
        throw Error("cannot write " + path.string(), "check the free space");
}

// What the MIDI file says beside the notes: with it, equal MIDI files mean equal recordings.
std::string recipe(const DemoDataOptions& options) {
    return "Nigiri demo data; " + options.soundfont.filename().string() + "; " + std::to_string(options.sample_rate) +
           " Hz; " + std::to_string(options.level) + " dB";
}

std::optional<std::vector<uint8_t>> read_bytes(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    if (!in) return std::nullopt;
    return std::vector<uint8_t>(std::istreambuf_iterator<char>(in), {});
}

struct Planned {
    DemoPiece piece;
    Performance performance;
};

uint64_t hash(const std::string& text) {  // FNV-1a
    uint64_t h = 0xcbf29ce484222325u;
    for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    return h;
}

std::vector<Planned> plan(const fs::path& scores, const fs::path& output, const DemoDataOptions& options) {
    std::error_code code;
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(scores, code))
        if (entry.path().extension() == ".abc") files.push_back(entry.path());
    if (code)
        throw Error("cannot read the folder of scores " + scores.string() + ": " + code.message(),
                    "give the folder assets/scores");
    if (files.empty()) throw Error("no scores (*.abc) in " + scores.string(), "give the folder assets/scores");
    std::sort(files.begin(), files.end());

    std::vector<Planned> pieces;
    double seconds = 0;
    const auto add = [&](const std::string& name, const Score& score) {
        Planned p;
        p.piece.name = name;
        p.piece.title = score.title;
        const size_t place = pieces.size() % split_period;
        p.piece.split = place == 4 ? "valid" : place == 8 ? "test" : "train";
        p.performance = perform(score, {.seed = options.seed ^ hash(name)});
        p.piece.seconds = p.performance.seconds;
        p.piece.audio = output / p.piece.split / (name + ".flac");
        seconds += p.piece.seconds;
        pieces.push_back(std::move(p));
    };
    for (const fs::path& file : files) add(file.stem().string(), read_score(file));
    for (int number = 0; seconds < 60 * options.minutes || pieces.size() < split_period; ++number) {
        std::string digits = std::to_string(number + 1);
        digits.insert(0, digits.size() < 3 ? 3 - digits.size() : 0, '0');
        add("etude-" + digits, make_etude(number, options.seed));
    }
    return pieces;
}

// Recordings of an earlier run that the plan does not hold, so that no piece stays behind in another split.
void remove_stale(const fs::path& output, const std::vector<Planned>& pieces) {
    std::set<fs::path> wanted;
    for (const Planned& p : pieces) wanted.insert(p.piece.audio);
    std::error_code code;
    std::vector<fs::path> midi;
    for (const auto& entry : fs::directory_iterator(output / "midi", code)) midi.push_back(entry.path());
    for (const fs::path& file : midi) {
        if (file.extension() == ".tmp" || file.extension() == ".flac")
            fs::remove(file, code);  // of a run that was killed
        if (file.extension() != ".mid") continue;
        bool used = false;
        for (const char* split : {"train", "valid", "test"}) {
            const fs::path audio = output / split / (file.stem().string() + ".flac");
            if (wanted.count(audio))
                used = true;
            else
                fs::remove(audio, code);
        }
        if (!used) fs::remove(file, code);
    }
}

}  // namespace

double DemoDataReport::minutes(const std::string& split) const {
    double seconds = 0;
    for (const DemoPiece& p : pieces)
        if (p.split == split) seconds += p.seconds;
    return seconds / 60;
}

double DemoDataReport::minutes() const { return minutes("train") + minutes("valid") + minutes("test"); }

fs::path find_soundfont() {
    std::vector<fs::path> folders = {"/usr/share/sounds/sf2", "/usr/share/soundfonts", "/usr/local/share/soundfonts",
                                     "/usr/share/sounds/sf3", "/opt/homebrew/share/soundfonts"};
    if (const char* home = std::getenv("HOME")) folders.push_back(fs::path(home) / ".local/share/soundfonts");
    for (const char* name : {"FluidR3_GM.sf2", "default-GM.sf2", "FluidR3Mono_GM.sf3", "default.sf2", "default-GM.sf3"})
        for (const fs::path& folder : folders) {
            std::error_code code;
            if (fs::is_regular_file(folder / name, code)) return folder / name;
        }
    throw Error("no piano soundfont (FluidR3_GM.sf2) found, and the demo data needs it", install_hint);
}

DemoPiece render_piano(const Performance& performance, const fs::path& audio, const DemoDataOptions& options) {
    const fs::path program = find_program("fluidsynth");
    const fs::path soundfont = fs::absolute(options.soundfont.empty() ? find_soundfont() : options.soundfont);
    std::error_code code;
    if (!fs::is_regular_file(soundfont, code)) throw Error("no soundfont at " + soundfont.string(), install_hint);
    const auto beside = [&](const char* suffix) {
        fs::path p = fs::absolute(audio);
        p += suffix;
        return p;
    };
    const fs::path midi = beside(".mid.tmp"), wave = beside(".wav.tmp"), log = beside(".log.tmp"),
                   flac = beside(".flac.tmp");
    const TemporaryFiles temporary{{midi, wave, log, flac}};
    write_file_atomically(midi, midi_file(performance));
    // Dry, in floating point: no reverberation, no chorus, no clipping and no dither before the level is set
    // here. The user's own FluidSynth settings must not change the data.
    const int status = run_program({program.string(),
                                    "-f",
                                    "/dev/null",
                                    "-n",
                                    "-i",
                                    "-q",
                                    "-R",
                                    "0",
                                    "-C",
                                    "0",
                                    "-g",
                                    "0.5",
                                    "-r",
                                    std::to_string(options.sample_rate),
                                    "-o",
                                    "synth.dynamic-sample-loading=1",
                                    "-o",
                                    "synth.default-soundfont=",
                                    "-T",
                                    "wav",
                                    "-O",
                                    "float",
                                    "-F",
                                    wave.string(),
                                    soundfont.string(),
                                    midi.string()},
                                   log);
    if (status != 0) throw Error("fluidsynth failed on '" + performance.title + "': " + error_in(log), install_hint);
    std::vector<float> samples = read_rendering(wave, performance, options, log);
    DemoPiece piece;
    piece.title = performance.title;
    std::tie(piece.rms_level, piece.peak_level) = normalise(samples, performance, options);
    piece.seconds = static_cast<double>(samples.size() / 2) / options.sample_rate;
    piece.audio = audio;
    write_flac(flac, samples, performance.title, options.sample_rate);
    fs::rename(flac, audio, code);
    if (code) throw Error("cannot rename to " + audio.string() + ": " + code.message());
    return piece;
}

DemoDataReport render_demo_data(const fs::path& scores, const fs::path& output, const DemoDataOptions& given,
                                const DemoDataProgress& progress) {
    DemoDataOptions options = given;
    if (options.sample_rate < 8000 || options.sample_rate > 96000)
        throw Error("the sample rate must lie between 8000 and 96000 Hz");
    if (!(options.minutes >= 0 && options.minutes <= 600)) throw Error("the demo data can last 0 to 600 minutes");
    if (options.soundfont.empty()) options.soundfont = find_soundfont();
    find_program("fluidsynth");
    std::vector<Planned> pieces = plan(scores, output, options);
    for (const char* folder : {"midi", "train", "valid", "test"}) {
        std::error_code code;
        fs::create_directories(output / folder, code);
        if (code) throw Error("cannot make the folder " + (output / folder).string() + ": " + code.message());
    }
    remove_stale(output, pieces);

    std::atomic<size_t> next = 0;
    std::mutex mutex;  // guards `done`, `failure` and the caller's progress
    size_t done = 0;
    std::exception_ptr failure;
    const auto work = [&] {
        for (size_t i; (i = next++) < pieces.size();) try {
                DemoPiece& piece = pieces[i].piece;
                const fs::path midi = output / "midi" / (piece.name + ".mid");
                const auto bytes = midi_file(pieces[i].performance, recipe(options));
                std::error_code code;
                piece.reused = fs::is_regular_file(piece.audio, code) && read_bytes(midi) == bytes;
                if (!piece.reused) {
                    fs::remove(midi, code);  // it vouches for the recording, so it goes first and comes last
                    const DemoPiece rendered =
                        render_piano(pieces[i].performance, output / "midi" / (piece.name + ".flac"), options);
                    fs::rename(rendered.audio, piece.audio, code);
                    if (code) throw Error("cannot rename to " + piece.audio.string() + ": " + code.message());
                    piece.seconds = rendered.seconds;
                    piece.rms_level = rendered.rms_level;
                    piece.peak_level = rendered.peak_level;
                    write_file_atomically(midi, bytes);
                }
                const std::lock_guard lock(mutex);
                ++done;
                if (progress && !failure) progress(piece, done, pieces.size());
            } catch (...) {
                const std::lock_guard lock(mutex);
                if (!failure) failure = std::current_exception();
                next = pieces.size();
            }
    };
    const size_t processors = std::max(1u, std::thread::hardware_concurrency());
    const size_t jobs = std::min(
        pieces.size(), options.jobs > 0 ? static_cast<size_t>(options.jobs) : std::min<size_t>(processors, 16));
    {
        std::vector<std::jthread> threads;
        for (size_t j = 1; j < jobs; ++j) threads.emplace_back(work);
        work();
    }
    if (failure) std::rethrow_exception(failure);

    DemoDataReport report;
    report.soundfont = options.soundfont;
    for (Planned& p : pieces) report.pieces.push_back(std::move(p.piece));
    return report;
}

}  // namespace nigiri
