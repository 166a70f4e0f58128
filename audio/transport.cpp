#include "audio/transport.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "kernels/error.h"

namespace nigiri {
namespace {

constexpr double growth_window = 3;      // seconds
constexpr double growth_least = 0.25;    // seconds before a rate is believed
constexpr double growth_trust = 0.95;    // of the measured rate: generation does not run evenly
constexpr double start_margin = 0.2;     // seconds more than the estimate asks for
constexpr double volume_seconds = 0.02;  // from 0 to 1

}  // namespace

void GrowthMeter::note(double now, int64_t size) {
    sizes_.emplace_back(now, size);
    while (sizes_.size() > 2 && now - sizes_[1].first >= growth_window) sizes_.pop_front();
}

std::optional<double> GrowthMeter::rate() const {
    if (sizes_.empty()) return std::nullopt;
    const double seconds = sizes_.back().first - sizes_.front().first;
    if (seconds < growth_least) return std::nullopt;
    return static_cast<double>(sizes_.back().second - sizes_.front().second) / seconds;
}

void Transport::load(std::vector<Track> tracks) {
    for (const Track& t : tracks) {
        if (!t.sound) throw Error("there is no sound to play");
        if (t.sound->rate() != tracks.front().sound->rate())
            throw Error("sounds of " + std::to_string(tracks.front().sound->rate()) + " Hz and " +
                            std::to_string(t.sound->rate()) + " Hz cannot be played side by side",
                        "convert one of them");
    }
    cut();
    if (!tracks.empty()) {
        const int steps = std::max(1, static_cast<int>(std::lround(fade_seconds * tracks.front().sound->rate())));
        if (steps != fade()) {
            tails_.clear();  // their steps are of the old rate, and so is the output that they were for
            fade_.resize(static_cast<size_t>(steps) + 1);
            for (int i = 0; i <= steps; ++i)
                fade_[static_cast<size_t>(i)] =
                    static_cast<float>(0.5 - 0.5 * std::cos(std::numbers::pi * static_cast<double>(i) / steps));
        }
    }
    tracks_ = std::move(tracks);
    track_ = 0;
    range_.reset();
    position_ = 0;
    state_ = PlayState::stopped;
    growth_.reset();
    marks_.clear();  // positions in another sound
    mark(false);
}

void Transport::play() {
    if (tracks_.empty() || state_ == PlayState::playing || state_ == PlayState::buffering) return;
    if (tracks_[track_].sound->final() && position_ >= length()) position_ = beginning();
    begin_at(position_);
}

void Transport::pause() {
    if (state_ != PlayState::playing && state_ != PlayState::buffering) return;
    cut();
    state_ = PlayState::paused;
    mark(false);
}

void Transport::stop() {
    cut();
    state_ = PlayState::stopped;
    position_ = beginning();
    mark(false);
}

void Transport::seek(int64_t position) {
    position = std::clamp<int64_t>(position, 0, std::max<int64_t>(length(), 0));
    const bool going = state_ == PlayState::playing || state_ == PlayState::buffering;
    cut();
    position_ = position;
    if (going)
        begin_at(position);
    else
        mark(false);
}

void Transport::select(size_t track) {
    if (track >= tracks_.size()) throw Error("there is no track " + std::to_string(track + 1));
    if (track == track_) return;
    cut();
    track_ = track;
    growth_.reset();
    if (state_ == PlayState::playing || state_ == PlayState::buffering) begin_at(position_);
}

void Transport::set_gain(size_t track, float gain) {
    if (track >= tracks_.size()) throw Error("there is no track " + std::to_string(track + 1));
    tracks_[track].gain = gain;
    if (track != track_ || !lead_) return;
    cut();
    lead_from(position_);
}

void Transport::set_volume(float volume) {
    volume_ = volume;
    if (!lead_ && tails_.empty()) heard_volume_ = volume;
}

void Transport::set_range(std::optional<SoundRange> range) {
    if (range) {
        range->begin = std::clamp<int64_t>(range->begin, 0, std::max<int64_t>(0, length() - 2 * fade()));
        range->end = std::max(range->end, range->begin + 2 * fade());
    }
    range_ = range;
    aim();
}

void Transport::set_loop(bool loop) { loop_ = loop; }

int64_t Transport::length() const {
    int64_t n = 0;
    for (const Track& t : tracks_) n = std::max({n, t.sound->expected(), t.sound->size()});
    return n;
}

// The lead stops; what of it could be heard fades out.
void Transport::cut() {
    if (!lead_) return;
    position_ = lead_->position;
    if (lead_->level > 0) {
        if (lead_->position < lead_->end) tails_.push_back(*lead_);
        rest_ = std::llround(rest_seconds * rate());
    }
    lead_.reset();
}

void Transport::begin_at(int64_t position) {
    position_ = position;
    const auto more = missing();
    if (more && *more <= 0) return lead_from(position);
    state_ = PlayState::buffering;
    mark(false);
}

void Transport::lead_from(int64_t position) {
    lead_ = Voice{tracks_[track_].sound, tracks_[track_].gain, position};
    state_ = PlayState::playing;
    aim();
    mark(true);
}

void Transport::send_again(int64_t stream) {
    if (!lead_) return;
    const Mark& jump = marks_.back();  // where the lead began
    position_ = jump.position + std::max<int64_t>(0, stream - jump.stream);
    tails_.clear();  // of what is forgotten
    lead_from(position_);
}

// Only playing that comes from before the end of the range ends there.
void Transport::aim() { target_ = range_ && position() < range_->end ? range_->end : open_end; }

void Transport::mark(bool moving) {
    while (!marks_.empty() && marks_.back().stream >= rendered_) marks_.pop_back();
    marks_.push_back({rendered_, position(), moving});
}

int64_t Transport::position_at(int64_t stream) const {
    const auto after =
        std::upper_bound(marks_.begin(), marks_.end(), stream, [](int64_t s, const Mark& m) { return s < m.stream; });
    if (after == marks_.begin()) return marks_.empty() ? position() : marks_.front().position;
    const Mark& m = *std::prev(after);
    return m.position + (m.moving ? stream - m.stream : 0);
}

void Transport::forget_before(int64_t stream) {
    while (marks_.size() > 1 && marks_[1].stream <= stream) marks_.pop_front();
}

// Where what is played next ends, as far as is known; 0 if unknown.
int64_t Transport::needed_end() const {
    const Sound& sound = *tracks_[track_].sound;
    const int64_t end = sound.expected();
    if (!range_ || position() >= range_->end) return end;
    return end > 0 ? std::min(end, range_->end) : range_->end;
}

// How many samples must still come before playing from here can start: what is there and what will come while it plays
// must last. Nothing while that cannot be said yet.
std::optional<double> Transport::missing() const {
    const Sound& sound = *tracks_[track_].sound;
    if (sound.final()) return 0;
    const int64_t there = sound.size() - fade(), end = needed_end();
    if (end > 0 && there >= end) return 0;
    const double ahead = static_cast<double>(there - position());
    if (end == 0) return buffer_seconds_ * sound.rate() - ahead;
    const auto growth = growth_.rate();
    if (!growth) return std::nullopt;
    const double left = static_cast<double>(end - position());
    const double share = std::clamp(1 - growth_trust * *growth / sound.rate(), 0.0, 1.0);
    return std::min(left, left * share + start_margin * sound.rate()) - ahead;
}

std::optional<double> Transport::wait_seconds() const {
    if (state_ != PlayState::buffering) return std::nullopt;
    const auto more = missing();
    const auto growth = growth_.rate();
    if (!more || !growth || *growth <= 0) return std::nullopt;
    return std::max(0.0, *more) / *growth;
}

void Transport::tick(double now) {
    if (tracks_.empty() || tracks_[track_].sound->final()) {
        growth_.reset();
    } else if (state_ == PlayState::playing || state_ == PlayState::buffering) {
        growth_.note(now, tracks_[track_].sound->size());
    } else {
        growth_.reset();  // a pause says nothing about how fast it will be
    }
    if (state_ == PlayState::buffering && !lead_) {
        const auto more = missing();
        if (more && *more <= 0) begin_at(position_);
    }
}

// Samples that the lead can go on for before something happens to it. Of a growing sound a fade's length is held back,
// so that there is always enough left to fade out with.
int64_t Transport::available() {
    const Sound& sound = *lead_->sound;
    int64_t end = sound.size() - fade();
    if (sound.final()) {
        lead_->end = sound.size();
        end = length();  // past its own end a track is silent for as long as others go on
    }
    return std::min(end, target_) - lead_->position;
}

// The lead cannot go on from where it is.
void Transport::reach_end() {
    const bool at_target = lead_->position >= target_;
    const bool at_end = lead_->sound->final() && lead_->position >= length();
    if (!at_target && !at_end) {
        ++dry_runs_;
        cut();
        state_ = PlayState::buffering;
        growth_.reset();  // what was measured proved wrong
        mark(false);
        return;
    }
    cut();
    if (loop_ && beginning() < length()) return begin_at(beginning());
    state_ = PlayState::stopped;
    position_ = beginning();
    ++ends_;
    last_end_ = rendered_;
    mark(false);
}

size_t Transport::render(std::span<float> out) {
    size_t done = 0;
    while (done < out.size()) {
        int64_t n = static_cast<int64_t>(out.size() - done);
        if (lead_) {
            const int64_t can = available();
            if (can <= 0) {
                reach_end();
                continue;
            }
            n = std::min(n, can);
        } else if (!tails_.empty()) {
            n = std::min(n, fade());
        } else {
            n = std::min(n, rest_);
            rest_ -= n;
        }
        if (n == 0) break;
        mix(out.subspan(done, static_cast<size_t>(n)));
        rendered_ += n;
        done += static_cast<size_t>(n);
    }
    return done;
}

void Transport::mix(Voice& voice, int step, std::span<float> out) {
    const int top = static_cast<int>(fade());
    size_t i = 0;
    while (i < out.size() && (step > 0 || voice.level > 0)) {
        const auto part = voice.sound->piece(voice.position);
        // Outside of the sound there is silence, which still takes its time.
        const size_t n = std::min(part.empty() ? out.size() - i : part.size(), out.size() - i);
        for (size_t k = 0; k < n && (step > 0 || voice.level > 0); ++k, ++i, ++voice.position) {
            float weight = fade_[static_cast<size_t>(voice.level)] * voice.gain;
            if (voice.end - voice.position < top)
                weight *= fade_[static_cast<size_t>(std::max<int64_t>(0, voice.end - voice.position))];
            if (!part.empty()) out[i] += weight * part[k];
            voice.level = std::clamp(voice.level + step, 0, top);
        }
    }
}

void Transport::mix(std::span<float> out) {
    std::fill(out.begin(), out.end(), 0.0f);
    for (Voice& v : tails_) mix(v, -1, out);
    std::erase_if(tails_, [](const Voice& v) { return v.level == 0; });
    if (lead_) mix(*lead_, 1, out);
    const float step = static_cast<float>(1 / (volume_seconds * std::max(1, rate())));
    for (float& x : out) {
        heard_volume_ = std::clamp(volume_, heard_volume_ - step, heard_volume_ + step);
        x *= heard_volume_;
    }
}

}  // namespace nigiri
