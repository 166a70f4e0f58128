#include <algorithm>
#include <cmath>

#include "app/studio/player/sound_view.h"

namespace nigiri::studio {

namespace {

constexpr double least_span = 32;

}  // namespace

void ViewRange::reset(int64_t length) {
    length_ = length;
    begin_ = 0;
    end_ = std::max(static_cast<double>(length), least_span);
    grows_ = true;
}

void ViewRange::set_length(int64_t length) {
    if (length == length_) return;
    length_ = length;
    if (grows_)
        end_ = std::max(static_cast<double>(length), least_span);
    else
        keep_inside();
}

void ViewRange::zoom(double factor, double at) {
    const double whole = std::max(static_cast<double>(length_), least_span);
    const double wanted = std::clamp(span() * factor, std::min(least_span, whole), whole);
    const double share = span() > 0 ? (at - begin_) / span() : 0.5;
    begin_ = at - share * wanted;
    end_ = begin_ + wanted;
    keep_inside();
}

void ViewRange::move(double samples) {
    begin_ += samples, end_ += samples;
    keep_inside();
}

void ViewRange::show(double begin, double end) {
    begin_ = begin, end_ = std::max(end, begin + least_span);
    keep_inside();
}

void ViewRange::follow(double at) {
    if (at >= begin_ && at <= end_) return;
    // A page further, with a little of what was there before.
    const double width = span();
    begin_ = at - 0.05 * width;
    end_ = begin_ + width;
    keep_inside();
}

void ViewRange::keep_inside() {
    const double whole = std::max(static_cast<double>(length_), least_span), width = std::min(span(), whole);
    begin_ = std::clamp(begin_, 0.0, whole - width);
    end_ = begin_ + width;
    grows_ = width >= whole;
}

double ViewRange::sample_at(float x, float left, float width) const {
    return begin_ + span() * static_cast<double>(x - left) / static_cast<double>(std::max(width, 1.0f));
}

float ViewRange::x_of(double sample, float left, float width) const {
    return left + static_cast<float>((sample - begin_) / std::max(span(), 1e-9) * static_cast<double>(width));
}

}  // namespace nigiri::studio
