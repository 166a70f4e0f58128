#include "kernels/block_pool.h"

#include <algorithm>

namespace nigiri {

BlockPool::BlockPool(size_t alignment, System system) : alignment_(alignment), system_(std::move(system)) {}

BlockPool::~BlockPool() { trim(); }

// Sizes are rounded up so that tensors of nearly equal size share blocks: to the alignment when small, to an eighth of
// their power of two when large.
size_t BlockPool::rounded(size_t bytes) const {
    size_t unit = alignment_;
    while (bytes > unit * 16) unit *= 2;
    return (bytes + unit - 1) / unit * unit;
}

void* BlockPool::acquire(size_t bytes) {
    bytes = rounded(bytes);
    const std::lock_guard lock(mutex_);
    void* data = nullptr;
    // The block that was given back last is the likeliest to be in the caches still.
    if (auto it = free_.upper_bound(bytes); it != free_.begin() && (--it)->first == bytes) {
        data = it->second;
        free_.erase(it);
    } else {
        data = system_.allocate(bytes);
    }
    if (data == nullptr) return nullptr;
    in_use_ += bytes;
    peak_ = std::max(peak_, in_use_);
    if (reserving_) handed_out_.insert(data);
    return data;
}

void BlockPool::release(void* data, size_t bytes) {
    bytes = rounded(bytes);
    const std::lock_guard lock(mutex_);
    in_use_ -= bytes;
    free_.emplace(bytes, data);
}

size_t BlockPool::in_use() const {
    const std::lock_guard lock(mutex_);
    return in_use_;
}

size_t BlockPool::peak() const {
    const std::lock_guard lock(mutex_);
    return peak_;
}

void BlockPool::reset_peak() {
    const std::lock_guard lock(mutex_);
    peak_ = in_use_;
}

size_t BlockPool::unused() const {
    const std::lock_guard lock(mutex_);
    size_t bytes = 0;
    for (const auto& [size, data] : free_) bytes += size;
    return bytes;
}

void BlockPool::trim() {
    const std::lock_guard lock(mutex_);
    // What work under way has used is part of its reservation.
    std::erase_if(free_, [&](const auto& block) {
        if (handed_out_.contains(block.second)) return false;
        system_.free(block.second);
        return true;
    });
}

void BlockPool::begin_reservation() {
    const std::lock_guard lock(mutex_);
    reserving_ = true;
    in_use_before_ = in_use_;
    peak_before_ = peak_;
    peak_ = in_use_;
}

std::unique_ptr<BlockPool::Reservation> BlockPool::end_reservation() {
    const std::lock_guard lock(mutex_);
    std::vector<std::pair<size_t, void*>> blocks;
    std::erase_if(free_, [&](const auto& block) {
        const bool used = handed_out_.contains(block.second);
        if (used) blocks.push_back(block);
        return used;
    });
    const size_t peak = peak_ - in_use_before_, missing = handed_out_.size() - blocks.size();
    peak_ = std::max(peak_, peak_before_);
    reserving_ = false;
    handed_out_.clear();
    return std::make_unique<Reservation>(*this, std::move(blocks), peak, missing);
}

BlockPool::Reservation::~Reservation() {
    const std::lock_guard lock(pool_.mutex_);
    pool_.free_.insert(blocks_.begin(), blocks_.end());
}

size_t BlockPool::Reservation::bytes() const {
    size_t sum = 0;
    for (const auto& [size, data] : blocks_) sum += size;
    return sum;
}

void BlockPool::Reservation::count_use() const {
    const std::lock_guard lock(pool_.mutex_);
    pool_.peak_ = std::max(pool_.peak_, pool_.in_use_ + peak_);
}

}  // namespace nigiri
