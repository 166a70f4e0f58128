#include "audio/held_sound.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "kernels/error.h"

namespace nigiri {

HeldSound::HeldSound(int64_t hold, int64_t fade) : hold_(std::max(hold, fade)), fade_(std::max<int64_t>(fade, 1)) {}

// What is pending from index `kept` on fades out under what comes.
void HeldSound::fade_from(size_t kept) {
    const auto begin = pending_.begin() + static_cast<ptrdiff_t>(kept);
    const auto n = std::min<ptrdiff_t>(static_cast<ptrdiff_t>(fade_), pending_.end() - begin);
    tail_.assign(begin, begin + n);
    pending_.resize(kept);
    fade_begin_ = first_ + static_cast<int64_t>(kept);
}

void HeldSound::join() {
    const auto kept = std::max<ptrdiff_t>(0, static_cast<ptrdiff_t>(pending_.size()) - static_cast<ptrdiff_t>(fade_));
    fade_from(static_cast<size_t>(kept));
    ++joins_;
    // The fade takes the place of the samples that fade out.
    first_ += static_cast<int64_t>(tail_.size());
    fade_begin_ = first_ + static_cast<int64_t>(pending_.size());
}

void HeldSound::put(int64_t position, float x) {
    const int64_t next = first_ + static_cast<int64_t>(pending_.size());
    if (position > next)
        throw Error("samples " + std::to_string(next) + " to " + std::to_string(position) + " of a sound are missing");
    if (position < first_) {
        first_ = position;
        fade_from(0);
        ++joins_;
    } else if (position < next) {
        pending_.resize(static_cast<size_t>(position - first_));
        if (position < fade_begin_) tail_.clear();  // before the seam: it is gone
    }
    const int64_t into = position - fade_begin_;
    if (into >= 0 && into < static_cast<int64_t>(tail_.size())) {
        const double share = (static_cast<double>(into) + 0.5) / static_cast<double>(tail_.size());
        const double angle = share * std::numbers::pi / 2;
        x = static_cast<float>(std::sin(angle)) * x +
            static_cast<float>(std::cos(angle)) * tail_[static_cast<size_t>(into)];
        x = std::clamp(x, -1.0f, 1.0f);  // two loud sounds at once may pass full scale
    }
    pending_.push_back(x);
}

int64_t HeldSound::ready() const {
    return std::max<int64_t>(0, static_cast<int64_t>(pending_.size()) - (finished_ ? 0 : hold_));
}

size_t HeldSound::take(std::span<float> out) {
    const size_t n = std::min(static_cast<size_t>(ready()), out.size());
    std::copy_n(pending_.begin(), n, out.begin());
    pending_.erase(pending_.begin(), pending_.begin() + static_cast<ptrdiff_t>(n));
    first_ += static_cast<int64_t>(n);
    taken_ += static_cast<int64_t>(n);
    return n;
}

}  // namespace nigiri
