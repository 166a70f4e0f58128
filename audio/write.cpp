#include "audio/write.h"

#include <fcntl.h>
#include <sndfile.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <vector>

#include "audio/quantize.h"
#include "audio/tags.h"

namespace nigiri {
namespace {

constexpr const char* write_hint = "check the folder, its permissions and the free space";

int container_of(const std::filesystem::path& path) {
    std::string ending = path.extension().string();
    std::transform(ending.begin(), ending.end(), ending.begin(), [](unsigned char c) { return std::tolower(c); });
    if (ending == ".wav") return SF_FORMAT_WAV;
    if (ending == ".flac") return SF_FORMAT_FLAC;
    throw Error("cannot write sound to '" + path.string() + "'", "end the name in .wav or .flac");
}

int encoding_of(SampleFormat format) {
    switch (format) {
        case SampleFormat::pcm16:
            return SF_FORMAT_PCM_16;
        case SampleFormat::pcm24:
            return SF_FORMAT_PCM_24;
        case SampleFormat::float32:
            return SF_FORMAT_FLOAT;
    }
    return SF_FORMAT_PCM_16;
}

// libsndfile wants 24 bits at the top of 32.
int to_pcm24(float x) {
    if (std::isnan(x)) return 0;
    const double v = std::clamp(std::nearbyint(static_cast<double>(x) * 8388608.0), -8388608.0, 8388607.0);
    return static_cast<int>(v) * 256;
}

}  // namespace

struct AudioWriter::State {
    std::filesystem::path path, temporary;
    SNDFILE* file = nullptr;
    SampleFormat format = SampleFormat::pcm16;
    int fd = -1;
    FileLife life = FileLife::whole;
    int rate = 0, container = 0;
    int64_t since_header = 0;  // samples of a growing file that its header does not count yet
    std::vector<short> shorts;
    std::vector<int> ints;
    std::vector<float> floats;

    ~State() {
        if (file) sf_close(file);
        if (fd >= 0) ::close(fd);
        if (!temporary.empty() && life == FileLife::whole) ::unlink(temporary.c_str());
    }

    [[noreturn]] void fail(const std::string& reason) const {
        throw Error("cannot write '" + path.string() + "': " + reason, write_hint);
    }

    // Under a name that people find, as nothing is renamed where the power fails.
    void create_growing() {
        for (int attempt = 0; attempt < 100; ++attempt) {
            std::filesystem::path name = path;
            if (attempt > 0)
                name.replace_filename(path.stem().string() + ".part" + (attempt > 1 ? std::to_string(attempt) : "") +
                                      path.extension().string());
            fd = ::open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
            if (fd >= 0) {
                temporary = name;
                return;
            }
            if (errno != EEXIST) break;
        }
        fail(std::strerror(errno));
    }

    // Beside the target, so that the rename stays within one file system; a name no other writer has.
    void create() {
        static std::atomic<unsigned> counter{0};
        const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
        for (int attempt = 0; attempt < 100; ++attempt) {
            // Not the target's name in front: that may already be as long as a name can be.
            const std::filesystem::path name =
                folder / (".nigiri-" + std::to_string(::getpid()) + "-" + std::to_string(counter++) + ".part");
            fd = ::open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
            if (fd >= 0) {
                temporary = name;
                return;
            }
            if (errno != EEXIST) break;
        }
        fail(std::strerror(errno));
    }

    void check(sf_count_t written, size_t wanted) {
        if (written != static_cast<sf_count_t>(wanted)) fail(sf_strerror(file));
        since_header += written;
        if (life == FileLife::whole || since_header < rate) return;
        // FLAC has no lengths in front that must be right.
        if (container == SF_FORMAT_WAV) sf_command(file, SFC_UPDATE_HEADER_NOW, nullptr, 0);
        since_header = 0;
    }
};

AudioWriter::AudioWriter(const std::filesystem::path& path, int rate, SampleFormat format, const Tags& tags,
                         FileLife life)
    : state_(std::make_unique<State>()) {
    State& s = *state_;
    s.path = path;
    s.format = format;
    s.life = life;
    s.rate = rate;
    s.container = container_of(path);
    SF_INFO info{};
    info.samplerate = rate;
    info.channels = 1;
    info.format = s.container | encoding_of(format);
    if (rate < 1 || !sf_format_check(&info))
        throw Error("cannot write '" + path.string() + "' with these samples at " + std::to_string(rate) + " Hz",
                    "FLAC holds 16- and 24-bit samples; use .wav for float32");
    std::vector<std::pair<int, std::string>> fields;
    for (const auto& [name, text] : tags) {
        const auto field = std::find_if(tag_fields.begin(), tag_fields.end(),
                                        [&wanted = name](const auto& f) { return wanted == f.name; });
        if (field == tag_fields.end()) throw Error("sound files have no text field '" + name + "'");
        fields.emplace_back(field->id, text);
    }
    if (life == FileLife::growing)
        s.create_growing();
    else
        s.create();
    s.file = sf_open_fd(s.fd, SFM_WRITE, &info, SF_FALSE);
    if (!s.file) s.fail(sf_strerror(nullptr));
    // Text goes in front of the samples: must be set before the first of them.
    for (const auto& [field, text] : fields)
        if (const int error = sf_set_string(s.file, field, text.c_str()); error != 0) s.fail(sf_error_number(error));
}

AudioWriter::~AudioWriter() = default;
AudioWriter::AudioWriter(AudioWriter&&) noexcept = default;

const std::filesystem::path& AudioWriter::written_to() const { return state_->temporary; }

int64_t AudioWriter::most() const {
    if (state_->container != SF_FORMAT_WAV) return INT64_MAX;
    const int64_t bytes = state_->format == SampleFormat::pcm16 ? 2 : state_->format == SampleFormat::pcm24 ? 3 : 4;
    return (int64_t{0xffffffff} - (1 << 20)) / bytes;  // a megabyte for what is not sound
}

void AudioWriter::write(std::span<const float> samples) {
    State& s = *state_;
    if (!s.file) s.fail("it is closed");
    switch (s.format) {
        case SampleFormat::pcm16:
            s.shorts.resize(samples.size());
            std::transform(samples.begin(), samples.end(), s.shorts.begin(), to_pcm16);
            return s.check(sf_writef_short(s.file, s.shorts.data(), static_cast<sf_count_t>(samples.size())),
                           samples.size());
        case SampleFormat::pcm24:
            s.ints.resize(samples.size());
            std::transform(samples.begin(), samples.end(), s.ints.begin(), to_pcm24);
            return s.check(sf_writef_int(s.file, s.ints.data(), static_cast<sf_count_t>(samples.size())),
                           samples.size());
        case SampleFormat::float32:
            return s.check(sf_writef_float(s.file, samples.data(), static_cast<sf_count_t>(samples.size())),
                           samples.size());
    }
}

void AudioWriter::write(std::span<const int16_t> samples) {
    State& s = *state_;
    s.floats.resize(samples.size());
    std::transform(samples.begin(), samples.end(), s.floats.begin(),
                   [](int16_t v) { return static_cast<float>(v) / 32768.0f; });
    write(s.floats);
}

void AudioWriter::close() {
    State& s = *state_;
    if (!s.file) return;
    const int error = sf_close(std::exchange(s.file, nullptr));
    if (error != 0) s.fail(sf_error_number(error));
    if (::fsync(s.fd) != 0) s.fail(std::strerror(errno));
    ::close(std::exchange(s.fd, -1));
    if (s.temporary != s.path && std::rename(s.temporary.c_str(), s.path.c_str()) != 0) s.fail(std::strerror(errno));
    s.temporary.clear();
}

void write_audio(const std::filesystem::path& path, std::span<const float> samples, int rate, SampleFormat format,
                 const Tags& tags) {
    AudioWriter writer(path, rate, format, tags);
    constexpr size_t block = 1 << 16;
    for (size_t at = 0; at < samples.size(); at += block)
        writer.write(samples.subspan(at, std::min(block, samples.size() - at)));
    writer.close();
}

}  // namespace nigiri
