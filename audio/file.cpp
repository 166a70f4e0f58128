#include "audio/file.h"

#include <fcntl.h>
#include <sndfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <mutex>
#include <utility>

#include "audio/file_check.h"
#include "audio/resample.h"
#include "audio/tags.h"

namespace nigiri {

struct CloseSoundFile {
    void operator()(SNDFILE* file) const { sf_close(file); }
};

namespace {

using Handle = std::unique_ptr<SNDFILE, CloseSoundFile>;

constexpr int lowest_rate = 1000, highest_rate = 2'000'000;
constexpr size_t block_values = 1 << 15;  // of all channels together

std::string quoted(const std::filesystem::path& path) { return std::string("'").append(path.string()).append("'"); }

std::string describe(SNDFILE* file, int format) {
    std::string text;
    for (const int part : {format & SF_FORMAT_TYPEMASK, format & SF_FORMAT_SUBMASK}) {
        SF_FORMAT_INFO info{};
        info.format = part;
        if (sf_command(file, SFC_GET_FORMAT_INFO, &info, sizeof(info)) == 0 && info.name)
            text += (text.empty() ? "" : ", ") + std::string(info.name);
    }
    return text;
}

// Opens and judges the header. The file is opened here rather than by libsndfile, so that what is judged is
// what is read, a pipe does not block, and headerless formats are not guessed from a name's ending.
Handle open(const std::filesystem::path& path, SF_INFO& sf, AudioInfo& info) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) throw AudioError(AudioFault::unreadable, "cannot open " + quoted(path) + ": " + std::strerror(errno));
    struct stat status {};
    const bool known = ::fstat(fd, &status) == 0;
    if (!known || !S_ISREG(status.st_mode)) {
        ::close(fd);
        if (known && S_ISDIR(status.st_mode)) throw AudioError(AudioFault::not_regular, quoted(path) + " is a folder");
        throw AudioError(AudioFault::not_regular, quoted(path) + " is not a regular file");
    }
    info.bytes = static_cast<uint64_t>(status.st_size);
    if (info.bytes == 0) {
        ::close(fd);
        throw AudioError(AudioFault::empty, quoted(path) + " is empty (0 bytes)");
    }
    const bool cut = header_promises_more(fd, info.bytes);
    Handle file;
    {
        // Only the last error of all files says why an opening failed.
        static std::mutex mutex;
        const std::lock_guard lock(mutex);
        file.reset(sf_open_fd(fd, SFM_READ, &sf, SF_TRUE));
        if (!file) {
            const int error = sf_error(nullptr);
            const std::string reason = sf_strerror(nullptr);
            if (cut) throw AudioError(AudioFault::truncated, quoted(path) + " ends before its sound does");
            if (error == SF_ERR_SYSTEM)
                throw AudioError(AudioFault::unreadable, "cannot read " + quoted(path) + ": " + reason);
            throw AudioError(AudioFault::not_audio, quoted(path) + " is not a sound file that can be read: " + reason);
        }
    }
    if ((sf.format & SF_FORMAT_TYPEMASK) == SF_FORMAT_RAW)
        throw AudioError(AudioFault::not_audio, quoted(path) + " has no header that says what it holds");
    if (cut) throw AudioError(AudioFault::truncated, quoted(path) + " is shorter than its header says");
    if (sf.channels < 1 || sf.samplerate < lowest_rate || sf.samplerate > highest_rate)
        throw AudioError(AudioFault::bad_format, quoted(path) + " claims " + std::to_string(sf.channels) +
                                                     " channels at " + std::to_string(sf.samplerate) + " Hz");
    info.rate = sf.samplerate;
    info.channels = sf.channels;
    info.frames = sf.frames >= 0 && sf.frames < SF_COUNT_MAX ? sf.frames : -1;
    info.format = describe(file.get(), sf.format);
    if (info.frames == 0) throw AudioError(AudioFault::empty, quoted(path) + " holds no samples");
    return file;
}

}  // namespace

const char* name_of(AudioFault fault) {
    switch (fault) {
        case AudioFault::none:
            return "none";
        case AudioFault::unreadable:
            return "unreadable";
        case AudioFault::not_regular:
            return "not a file";
        case AudioFault::not_audio:
            return "not audio";
        case AudioFault::bad_format:
            return "bad format";
        case AudioFault::truncated:
            return "truncated";
        case AudioFault::damaged:
            return "damaged";
        case AudioFault::empty:
            return "empty";
        case AudioFault::too_short:
            return "too short";
        case AudioFault::too_long:
            return "too long";
        case AudioFault::silent:
            return "silent";
        case AudioFault::non_finite:
            return "not finite";
        case AudioFault::out_of_range:
            return "out of range";
        case AudioFault::duplicate:
            return "duplicate";
        case AudioFault::outside_split:
            return "outside the split";
        case AudioFault::not_listed:
            return "not listed";
    }
    return "unknown";
}

struct AudioReader::State {
    std::filesystem::path path;
    AudioInfo info;
    std::unique_ptr<SNDFILE, CloseSoundFile> file;
    int format = 0, rate = 0;
    Resampler resampler{1, 1};
    std::vector<float> interleaved, mono, ready;  // `ready`: at the wanted rate, not yet handed out
    size_t taken = 0;                             // of `ready`
    int64_t frames_read = 0, clipped = 0;
    double peak = 0;
    bool ended = false;

    // Reads one block of the file into `ready`.
    void fill() {
        ready.erase(ready.begin(), ready.begin() + static_cast<std::ptrdiff_t>(taken));
        taken = 0;
        const size_t channels = static_cast<size_t>(info.channels);
        const sf_count_t wanted = static_cast<sf_count_t>(interleaved.size() / channels);
        const sf_count_t got = sf_readf_float(file.get(), interleaved.data(), wanted);
        if (got <= 0) return finish();
        frames_read += got;
        if (frames_read / info.rate >= max_hours * 3600)
            throw AudioError(AudioFault::too_long,
                             quoted(path) + " is longer than " + std::to_string(max_hours) + " hours",
                             "cut it into several files");
        mono.resize(static_cast<size_t>(got));
        for (size_t i = 0; i < mono.size(); ++i) {
            float sum = 0;
            for (size_t c = 0; c < channels; ++c) {
                const float x = interleaved[i * channels + c];
                if (!std::isfinite(x))
                    throw AudioError(AudioFault::non_finite,
                                     quoted(path) + " has a sample that is not a number, at frame " +
                                         std::to_string(frames_read - got + static_cast<int64_t>(i)));
                peak = std::max(peak, static_cast<double>(std::abs(x)));
                // Full scale of 16 bits is 1 - 2^-15 on the positive side.
                clipped += x >= 1 - 0x1p-15f || x <= -1;
                sum += x;
            }
            mono[i] = sum / static_cast<float>(channels);
        }
        resampler.process(mono, ready);
    }

    void finish() {
        ended = true;
        if (const int error = sf_error(file.get()); error != SF_ERR_NO_ERROR)
            throw AudioError(AudioFault::damaged,
                             quoted(path) + " cannot be decoded to its end: " + sf_error_number(error));
        // Lengths of these two are estimates in some files; the others count their samples.
        const int type = format & SF_FORMAT_TYPEMASK;
        const bool estimate = type == SF_FORMAT_OGG || type == SF_FORMAT_MPEG;
        const double least = static_cast<double>(info.frames) * (estimate ? 0.95 : 1.0);
        if (info.frames > 0 && static_cast<double>(frames_read) < least)
            throw AudioError(AudioFault::truncated, quoted(path) + " ends after " + std::to_string(frames_read) +
                                                        " of " + std::to_string(info.frames) + " frames");
        if (frames_read == 0) throw AudioError(AudioFault::empty, quoted(path) + " holds no samples");
        resampler.finish(ready);
    }
};

AudioReader::AudioReader(const std::filesystem::path& path, int rate) : state_(std::make_unique<State>()) {
    SF_INFO sf{};
    state_->path = path;
    state_->file = open(path, sf, state_->info);
    state_->format = sf.format;
    state_->rate = rate > 0 ? rate : sf.samplerate;
    state_->resampler = Resampler(sf.samplerate, state_->rate);
    const size_t channels = static_cast<size_t>(sf.channels);
    state_->interleaved.resize(std::max<size_t>(block_values / channels, 1) * channels);
}

AudioReader::~AudioReader() = default;
AudioReader::AudioReader(AudioReader&&) noexcept = default;

const AudioInfo& AudioReader::info() const { return state_->info; }
int AudioReader::rate() const { return state_->rate; }
int64_t AudioReader::clipped() const { return state_->clipped; }
double AudioReader::peak() const { return state_->peak; }

double AudioReader::fraction() const {
    if (state_->ended) return 1;
    if (state_->info.frames <= 0) return 0;
    return std::min(1.0, static_cast<double>(state_->frames_read) / static_cast<double>(state_->info.frames));
}

size_t AudioReader::read(std::span<float> out) {
    State& s = *state_;
    size_t done = 0;
    while (done < out.size()) {
        if (s.taken == s.ready.size()) {
            if (s.ended) break;
            s.fill();
            continue;
        }
        const size_t n = std::min(out.size() - done, s.ready.size() - s.taken);
        std::copy_n(s.ready.begin() + static_cast<std::ptrdiff_t>(s.taken), n,
                    out.begin() + static_cast<std::ptrdiff_t>(done));
        s.taken += n;
        done += n;
    }
    return done;
}

Audio read_audio(const std::filesystem::path& path, int rate, const Progress& progress) {
    AudioReader reader(path, rate);
    Audio audio;
    audio.rate = reader.rate();
    // Reserving what the header promises saves copies, but only as far as the file's size makes the promise
    // likely.
    const int64_t promised =
        reader.info().frames < 0 ? 0 : resampled_length(reader.info().frames, reader.info().rate, audio.rate);
    audio.samples.reserve(std::min<size_t>(static_cast<size_t>(promised) + 1, 16 * reader.info().bytes));
    std::vector<float> block(1 << 16);
    while (const size_t n = reader.read(block)) {
        audio.samples.insert(audio.samples.end(), block.begin(), block.begin() + static_cast<std::ptrdiff_t>(n));
        report(progress, reader.fraction(), path.filename().string());
    }
    return audio;
}

AudioInfo read_audio_info(const std::filesystem::path& path) {
    SF_INFO sf{};
    AudioInfo info;
    open(path, sf, info);
    return info;
}

Tags read_tags(const std::filesystem::path& path) {
    SF_INFO sf{};
    AudioInfo info;
    const Handle file = open(path, sf, info);
    Tags tags;
    for (const TagField& field : tag_fields)
        if (const char* text = sf_get_string(file.get(), field.id)) tags[field.name] = text;
    // Long ones, which libsndfile skips in WAV files.
    if (const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); fd >= 0) {
        const auto fields = riff_info(fd, info.bytes);
        ::close(fd);
        for (const TagField& field : tag_fields)
            if (const auto it = fields.find(field.riff); it != fields.end()) tags.emplace(field.name, it->second);
    }
    return tags;
}

}  // namespace nigiri
