// The spectrogram of a sound of any length, as far as it is looked at.
#pragma once

#include <complex>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "audio/fft.h"
#include "audio/sound.h"

namespace nigiri {

enum class FrequencyScale {
    logarithmic,  // every octave is as high as every other
    mel,          // Slaney's: linear below 1 kHz
};

struct SpectrogramTilesOptions {
    FrequencyScale scale = FrequencyScale::logarithmic;
    int bands = 160;
    double lowest = 30;   // Hz
    double highest = 0;   // Hz; 0: half the sample rate
    int window = 2048;    // samples, a power of two; Hann
    double floor = -100;  // dB that are shown as 0; 0 dB, a sine at full scale, is shown as 255
    size_t cache_bytes = 64 << 20;
    std::function<void()> on_change;  // called from the worker's thread when a tile was added
};

struct SpectrogramTile {
    static constexpr int columns = 128;
    int level = 0;
    int64_t index = 0;  // column c is centred at sample ((index * columns + c) + 1/2) * hop
    int64_t hop = 0;    // samples
    int bands = 0;
    int64_t known = 0;            // columns whose samples were all there; later ones are 0
    std::vector<uint8_t> values;  // values[c * bands + b], low to high
};

// At level l a column stands for hop(l) = 32 * 2^l samples: the spectrum at its middle, or where windows leave gaps,
// the mean power of four of them spread over it. Tiles of 128 columns are made by a thread of their own, those asked
// for last, and kept up to `cache_bytes`, the least recently asked for forgotten first. Tiles of a sound that grows are
// made again when there is more.
class SpectrogramTiles {
  public:
    // Throws Error on options that make no sense.
    SpectrogramTiles(std::shared_ptr<const Sound> sound, SpectrogramTilesOptions options = {});
    ~SpectrogramTiles();
    SpectrogramTiles(const SpectrogramTiles&) = delete;
    SpectrogramTiles& operator=(const SpectrogramTiles&) = delete;

    static int64_t hop(int level) { return int64_t{32} << level; }
    // The coarsest level that still has a column for every `samples` samples.
    static int level_for(double samples);
    // In Hz, of a band's middle.
    double frequency(int band) const { return centres_[static_cast<size_t>(band) + 1]; }

    // From now on only the tiles of this level between samples `begin` and `end` are made; what else was under way is
    // given up. Returns at once; to be called again when the sound has grown.
    void show(int level, int64_t begin, int64_t end);
    // The tile, or nothing if it is not there (yet).
    std::shared_ptr<const SpectrogramTile> find(int level, int64_t index) const;
    // All that was asked for last is there, as far as the sound goes.
    bool complete() const;

  private:
    using Key = std::pair<int, int64_t>;
    struct Entry {
        std::shared_ptr<const SpectrogramTile> tile;
        std::list<Key>::iterator used;
    };
    struct Filter {  // weights of bins [first, first + weights.size())
        size_t first;
        std::vector<double> weights;
    };

    void make_filters();
    void run(const std::stop_token& stop);
    bool next(Key& key) const;
    int64_t columns_there(const Key& key) const;
    bool make(const Key& key, uint64_t request, const std::stop_token& stop, SpectrogramTile& tile);
    void add_power(int64_t centre);
    void keep(std::shared_ptr<const SpectrogramTile> tile);

    const std::shared_ptr<const Sound> sound_;
    const SpectrogramTilesOptions options_;
    std::vector<double> centres_;  // of the bands, and one beyond at each end
    std::vector<Filter> filters_;

    mutable std::mutex mutex_;
    std::condition_variable_any wake_;
    int level_ = 0;
    int64_t first_ = 0, last_ = 0;  // tiles wanted: [first_, last_)
    uint64_t request_ = 0;
    mutable std::map<Key, Entry> tiles_;
    mutable std::list<Key> used_;  // most recent first

    // The worker's own.
    RealFft fft_;
    std::vector<float> samples_;
    std::vector<double> hann_, frame_, power_;
    std::vector<std::complex<double>> spectrum_;

    std::jthread thread_;  // last: it uses the others
};

}  // namespace nigiri
