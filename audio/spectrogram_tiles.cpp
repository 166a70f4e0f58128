#include "audio/spectrogram_tiles.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "audio/spectrogram.h"
#include "kernels/error.h"

namespace nigiri {
namespace {

constexpr int levels = 24;  // 32 * 2^23 samples a column: hours
constexpr int64_t spread = 4;

int checked_window(const SpectrogramTilesOptions& o, const Sound* sound) {
    if (!sound) throw Error("there is no sound to show");
    const double highest = o.highest > 0 ? o.highest : sound->rate() / 2.0;
    if (o.window < 64 || o.window > 1 << 16 || (o.window & (o.window - 1)) != 0)
        throw Error("a spectrogram's window must be a power of two from 64 to 65536");
    if (o.bands < 1 || o.bands > 4096 || !(o.lowest > 0) || !(o.lowest < highest) || highest > sound->rate() / 2.0)
        throw Error("a spectrogram's bands must lie between 0 Hz and half the sample rate");
    if (!(o.floor < 0)) throw Error("a spectrogram's floor must be below 0 dB");
    return o.window;
}

}  // namespace

SpectrogramTiles::SpectrogramTiles(std::shared_ptr<const Sound> sound, SpectrogramTilesOptions options)
    : sound_(std::move(sound)), options_(std::move(options)), fft_(checked_window(options_, sound_.get())) {
    const size_t window = static_cast<size_t>(options_.window);
    samples_.resize(window);
    frame_.resize(window);
    spectrum_.resize(window / 2 + 1);
    power_.resize(window / 2 + 1);
    // Scaled so that a sine at full scale has power 1 in its bin: its spectrum there is half the window's sum, n / 4.
    hann_.resize(window);
    for (size_t i = 0; i < window; ++i)
        hann_[i] = (0.5 - 0.5 * std::cos(2 * std::numbers::pi * static_cast<double>(i) / options_.window)) * 4 /
                   options_.window;
    make_filters();
    thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

SpectrogramTiles::~SpectrogramTiles() = default;

// Triangles from one band's middle to the next, on the scale's own axis. Where bands are narrower than bins, a band is
// interpolated between the two bins around it.
void SpectrogramTiles::make_filters() {
    const bool mel = options_.scale == FrequencyScale::mel;
    const auto up = [mel](double hertz) { return mel ? hertz_to_mel(hertz, MelScale::slaney) : std::log2(hertz); };
    const auto down = [mel](double v) { return mel ? mel_to_hertz(v, MelScale::slaney) : std::exp2(v); };
    const double highest = options_.highest > 0 ? options_.highest : sound_->rate() / 2.0;
    const double low = up(options_.lowest), step = (up(highest) - low) / std::max(1, options_.bands - 1);
    for (int b = -1; b <= options_.bands; ++b) centres_.push_back(down(low + step * b));
    const double bin = static_cast<double>(sound_->rate()) / options_.window;
    const size_t bins = power_.size();
    for (size_t b = 1; b + 1 < centres_.size(); ++b) {
        Filter filter{0, {}};
        const double left = centres_[b - 1], middle = centres_[b], right = centres_[b + 1];
        if (right - left < 4 * bin) {
            const double at = std::min(middle / bin, static_cast<double>(bins - 1));
            filter.first = std::min(static_cast<size_t>(at), bins - 2);
            const double share = at - static_cast<double>(filter.first);
            filter.weights = {1 - share, share};
        } else {
            filter.first = static_cast<size_t>(std::ceil(left / bin));
            for (size_t k = filter.first; k < bins && static_cast<double>(k) * bin < right; ++k) {
                const double f = static_cast<double>(k) * bin;
                filter.weights.push_back(
                    std::max(0.0, std::min((f - left) / (middle - left), (right - f) / (right - middle))));
            }
        }
        filters_.push_back(std::move(filter));
    }
}

int SpectrogramTiles::level_for(double samples) {
    int level = 0;
    while (level + 1 < levels && static_cast<double>(hop(level + 1)) <= samples) ++level;
    return level;
}

void SpectrogramTiles::show(int level, int64_t begin, int64_t end) {
    {
        const std::lock_guard lock(mutex_);
        level_ = std::clamp(level, 0, levels - 1);
        const int64_t size = hop(level_) * SpectrogramTile::columns;
        const int64_t length = sound_->size();
        first_ = std::clamp<int64_t>(begin, 0, length) / size;
        last_ = (std::clamp<int64_t>(end, 0, length) + size - 1) / size;
        ++request_;
    }
    wake_.notify_one();
}

std::shared_ptr<const SpectrogramTile> SpectrogramTiles::find(int level, int64_t index) const {
    const std::lock_guard lock(mutex_);
    const auto found = tiles_.find({level, index});
    if (found == tiles_.end()) return nullptr;
    used_.splice(used_.begin(), used_, found->second.used);
    return found->second.tile;
}

bool SpectrogramTiles::complete() const {
    const std::lock_guard lock(mutex_);
    Key key;
    return !next(key);
}

// How many columns of a tile could be made now: up to the last whose middle has been reached.
int64_t SpectrogramTiles::columns_there(const Key& key) const {
    const bool final = sound_->final();
    const int64_t there = sound_->size(), step = hop(key.first);
    const int64_t begin = key.second * SpectrogramTile::columns;
    // Of a final sound the windows may reach beyond the end, and the last column may be a part of one.
    const int64_t end = final ? (there + step - 1) / step : std::max<int64_t>(0, there - options_.window / 2) / step;
    return std::clamp<int64_t>(end - begin, 0, SpectrogramTile::columns);
}

// The next tile to make, if any. With the lock held.
bool SpectrogramTiles::next(Key& key) const {
    for (int64_t i = first_; i < last_; ++i) {
        key = {level_, i};
        const auto found = tiles_.find(key);
        if ((found == tiles_.end() ? 0 : found->second.tile->known) < columns_there(key)) return true;
    }
    return false;
}

void SpectrogramTiles::run(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    Key key;
    while (wake_.wait(lock, stop, [&] { return next(key); })) {
        const uint64_t request = request_;
        const auto had = tiles_.find(key);
        auto tile = had == tiles_.end() ? std::make_shared<SpectrogramTile>()
                                        : std::make_shared<SpectrogramTile>(*had->second.tile);
        lock.unlock();
        const bool made = make(key, request, stop, *tile);
        lock.lock();
        if (!made) continue;
        keep(std::move(tile));
        if (!options_.on_change) continue;
        lock.unlock();
        options_.on_change();
        lock.lock();
    }
}

void SpectrogramTiles::keep(std::shared_ptr<const SpectrogramTile> tile) {
    const Key key{tile->level, tile->index};
    if (const auto had = tiles_.find(key); had != tiles_.end()) {
        used_.erase(had->second.used);
        tiles_.erase(had);
    }
    used_.push_front(key);
    tiles_[key] = {std::move(tile), used_.begin()};
    const size_t bytes = static_cast<size_t>(SpectrogramTile::columns) * static_cast<size_t>(options_.bands);
    // Never what is on the screen: it would be made again at once.
    const size_t most = std::max<size_t>(options_.cache_bytes / bytes, static_cast<size_t>(last_ - first_) + 1);
    while (tiles_.size() > most) {
        tiles_.erase(used_.back());
        used_.pop_back();
    }
}

// The power spectrum of the window centred at a sample, added to power_.
void SpectrogramTiles::add_power(int64_t centre) {
    sound_->read(centre - options_.window / 2, samples_);
    for (size_t i = 0; i < samples_.size(); ++i) frame_[i] = samples_[i] * hann_[i];
    fft_.forward(frame_, spectrum_);
    for (size_t k = 0; k < power_.size(); ++k) power_[k] += std::norm(spectrum_[k]);
}

// Makes the columns that the tile lacks. False if something else was asked for meanwhile.
bool SpectrogramTiles::make(const Key& key, uint64_t request, const std::stop_token& stop, SpectrogramTile& tile) {
    tile.level = key.first;
    tile.index = key.second;
    tile.hop = hop(key.first);
    tile.bands = options_.bands;
    tile.values.resize(static_cast<size_t>(SpectrogramTile::columns) * static_cast<size_t>(options_.bands));
    const int64_t until = columns_there(key);
    const int64_t frames = tile.hop > options_.window ? spread : 1;
    for (; tile.known < until; ++tile.known) {
        if (stop.stop_requested()) return false;
        {
            const std::lock_guard lock(mutex_);
            // Given up only where it is no longer wanted: a picture that is dragged along keeps what is under way.
            if (request != request_ && (key.first != level_ || key.second < first_ || key.second >= last_))
                return false;
        }
        const int64_t begin = (tile.index * SpectrogramTile::columns + tile.known) * tile.hop;
        std::fill(power_.begin(), power_.end(), 0.0);
        for (int64_t k = 0; k < frames; ++k) add_power(begin + tile.hop * (2 * k + 1) / (2 * frames));
        uint8_t* column = tile.values.data() + tile.known * options_.bands;
        for (size_t b = 0; b < filters_.size(); ++b) {
            double sum = 0;
            for (size_t k = 0; k < filters_[b].weights.size(); ++k)
                sum += filters_[b].weights[k] * power_[filters_[b].first + k];
            const double decibels = 10 * std::log10(std::max(sum / static_cast<double>(frames), 1e-30));
            column[b] = static_cast<uint8_t>(std::lround(255 * std::clamp(1 - decibels / options_.floor, 0.0, 1.0)));
        }
    }
    return true;
}

}  // namespace nigiri
