#include "audio/overview.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "kernels/error.h"

namespace nigiri {
namespace {

constexpr float float_infinity = std::numeric_limits<float>::infinity();

}  // namespace

void Overview::Sum::add(const Block& b) {
    lowest = std::min(lowest, b.lowest);
    highest = std::max(highest, b.highest);
    energy += b.energy;
}

void Overview::Sum::add(std::span<const float> samples) {
    for (const float x : samples) {
        lowest = std::min(lowest, x);
        highest = std::max(highest, x);
        energy += static_cast<double>(x) * x;
    }
}

// Blocks of the first level for samples [begin, end), both whole blocks.
void Overview::add_first(int64_t begin, int64_t end) {
    constexpr size_t lanes = 8;  // sums side by side, which the compiler turns into vector instructions
    std::array<float, first_block> joint;
    for (int64_t at = begin; at < end; at += first_block) {
        const auto part = sound_->piece(at);
        const float* x = part.data();
        if (part.size() < joint.size()) {  // where the sound's own blocks meet
            sound_->read(at, joint);
            x = joint.data();
        }
        std::array<float, lanes> low, high, energy{};
        low.fill(float_infinity);
        high.fill(-float_infinity);
        for (size_t i = 0; i < joint.size(); i += lanes)
            for (size_t k = 0; k < lanes; ++k) {
                const float v = x[i + k];
                low[k] = v < low[k] ? v : low[k];
                high[k] = v > high[k] ? v : high[k];
                energy[k] += v * v;
            }
        Block b{float_infinity, -float_infinity, 0};
        for (size_t k = 0; k < lanes; ++k) {
            b.lowest = std::min(b.lowest, low[k]);
            b.highest = std::max(b.highest, high[k]);
            b.energy += energy[k];
        }
        levels_[0].push_back(b);
    }
}

bool Overview::update(int64_t budget) {
    const int64_t there = sound_->size();
    const int64_t until = there - size_ > budget ? size_ + std::max<int64_t>(budget, 0) : there;
    if (levels_.empty()) levels_.emplace_back();
    const int64_t done = static_cast<int64_t>(levels_[0].size()) * first_block;
    add_first(done, until / first_block * first_block);
    size_ = until;
    for (size_t l = 0; static_cast<int64_t>(levels_[l].size()) >= factor; ++l) {
        if (l + 1 == levels_.size()) levels_.emplace_back();
        const std::vector<Block>& below = levels_[l];
        std::vector<Block>& level = levels_[l + 1];
        while ((level.size() + 1) * static_cast<size_t>(factor) <= below.size()) {
            Block b{float_infinity, -float_infinity, 0};
            double energy = 0;
            for (size_t k = level.size() * factor; k < (level.size() + 1) * factor; ++k) {
                b.lowest = std::min(b.lowest, below[k].lowest);
                b.highest = std::max(b.highest, below[k].highest);
                energy += below[k].energy;
            }
            b.energy = static_cast<float>(energy);
            level.push_back(b);
        }
    }
    return size_ == there;
}

SampleSummary Overview::summary(int64_t begin, int64_t end) const {
    begin = std::max<int64_t>(begin, 0);
    end = std::min(end, size_);
    if (begin >= end) return {};
    Sum sum{float_infinity, -float_infinity, 0};
    const auto samples = [&](int64_t from, int64_t to) {
        while (from < to) {
            const auto part = sound_->piece(from);
            const size_t n = std::min(part.size(), static_cast<size_t>(to - from));
            sum.add(part.first(n));
            from += static_cast<int64_t>(n);
        }
    };
    // From both ends inwards: what does not fill a block of the next level is added from this one.
    int64_t first = (begin + first_block - 1) / first_block, last = end / first_block;
    if (first >= last) {
        samples(begin, end);
    } else {
        samples(begin, first * first_block);
        samples(last * first_block, end);
        for (size_t l = 0; first < last; ++l) {
            const std::vector<Block>& level = levels_[l];
            const int64_t up = (first + factor - 1) / factor, down = last / factor;
            const bool top = l + 1 == levels_.size() || up >= down;
            for (int64_t k = first; k < (top ? last : up * factor); ++k) sum.add(level[static_cast<size_t>(k)]);
            if (top) break;
            for (int64_t k = down * factor; k < last; ++k) sum.add(level[static_cast<size_t>(k)]);
            first = up;
            last = down;
        }
    }
    return {sum.lowest, sum.highest, static_cast<float>(std::sqrt(sum.energy / static_cast<double>(end - begin)))};
}

void Overview::query(int64_t begin, int64_t end, std::span<SampleSummary> columns) const {
    if (begin >= end) throw Error("a waveform needs at least one sample");
    const auto edge = [&](size_t c) {
        return begin + static_cast<int64_t>(static_cast<__int128>(end - begin) * static_cast<__int128>(c) /
                                            static_cast<__int128>(columns.size()));
    };
    for (size_t c = 0; c < columns.size(); ++c) columns[c] = summary(edge(c), std::max(edge(c + 1), edge(c) + 1));
}

}  // namespace nigiri
