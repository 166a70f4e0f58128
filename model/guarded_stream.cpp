#include "model/guarded_stream.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace nigiri {

namespace {

constexpr int64_t margin_hops = 3;

}  // namespace

std::string to_text(const GuardEvent& e, int64_t sample_rate) {
    const double rate = static_cast<double>(sample_rate);
    char text[200];
    std::snprintf(
        text, sizeof text, "%s at %.1f s (%.2f bits a sample, %.0f dBFS, flatness %.2f): ", name_of(e.trouble),
        static_cast<double>(e.began) / rate, e.window.bits, std::max(e.window.level_dbfs, -200.0), e.window.flatness);
    std::string line = text;
    if (e.resumed < 0) return line + "left as it is after " + std::to_string(e.attempt - 1) + " attempts";
    std::snprintf(text, sizeof text, "back to %.1f s", static_cast<double>(e.resumed) / rate);
    line += text;
    if (e.warmth != 1) {
        std::snprintf(text, sizeof text, ", temperature x %.2f for a second", e.warmth);
        line += text;
    }
    return line;
}

GuardedStream::GuardedStream(std::unique_ptr<Stream> stream, std::optional<GuardOptions> guard)
    : stream_(std::move(stream)), voices_(static_cast<size_t>(stream_->streams())), total_bits_(voices_.size()) {
    if (!guard) return;
    guard_ = std::make_shared<const GuardOptions>(std::move(*guard));
    for (Voice& v : voices_) v.guard.emplace(guard_);
    const int64_t hop = RunawayGuard::hop(*guard_);
    const double wanted = guard_->snapshot_seconds * static_cast<double>(guard_->sample_rate);
    save_every_ = std::max<int64_t>(1, std::llround(wanted / static_cast<double>(hop))) * hop;
}

void GuardedStream::hear(int64_t stream, std::span<const uint8_t> prompt) {
    if (guard_) voices_[static_cast<size_t>(stream)].guard->hear(prompt);
}

bool GuardedStream::due(const Voice& v) const {
    // A stream that has just gone back stands on its last save.
    if (!v.saves.empty()) return v.saves.back().position != v.position && v.guard->samples() % save_every_ == 0;
    // Beside others a stream goes back by whole periods only: from a look of the guard's to another.
    return streams() == 1 || v.guard->samples() % RunawayGuard::hop(*guard_) == 0;
}

void GuardedStream::save(int64_t stream) {
    Voice& v = voices_[static_cast<size_t>(stream)];
    if (v.saves.size() == static_cast<size_t>(guard_->snapshots)) v.saves.pop_front();
    v.saves.push_back({v.position, total_bits_[static_cast<size_t>(stream)], stream_->freeze(stream), *v.guard});
}

int64_t GuardedStream::until_look(const Voice& v) const {
    const int64_t hop = RunawayGuard::hop(*guard_), look = hop - v.guard->samples() % hop;
    return v.warmth_ends < 0 ? look : std::min(look, v.warmth_ends - v.position);
}

StreamSteps GuardedStream::next(int64_t most) {
    if (guard_)
        for (int64_t i = 0; i < streams(); ++i) {
            const Voice& v = voices_[static_cast<size_t>(i)];
            if (due(v)) save(i);
            most = std::min(most, until_look(v));
        }
    const StreamBlock block = stream_->draw(most);
    told_positions_.clear();
    for (Voice& v : voices_) told_positions_.push_back(std::exchange(v.position, v.position + block.samples));
    for (auto row = block.draws; !row.empty(); row = row.subspan(voices_.size()))
        for (size_t i = 0; i < voices_.size(); ++i) total_bits_[i] += row[i].bits;
    told_bits_ = total_bits_;
    if (guard_)
        for (int64_t i = 0; i < streams(); ++i) judge(i, block);
    return {.block = block, .positions = told_positions_, .total_bits = told_bits_};
}

void GuardedStream::judge(int64_t stream, const StreamBlock& block) {
    Voice& v = voices_[static_cast<size_t>(stream)];
    if (v.warmth_ends >= 0 && v.position >= v.warmth_ends) {
        v.warmth_ends = -1;
        stream_->scale_temperature(stream, 1);
    }
    std::optional<Alarm> alarm;  // after the last sample, where the block ends at a look
    for (int64_t t = 0; t < block.samples; ++t)
        alarm = v.guard->take(block.at(t, stream).code, block.at(t, stream).bits);
    if (alarm) go_back(stream, *alarm);
}

void GuardedStream::go_back(int64_t stream, const Alarm& alarm) {
    Voice& v = voices_[static_cast<size_t>(stream)];
    const int64_t shift = v.position - alarm.noticed;  // from the guard's samples to the stream's
    GuardEvent event{.stream = stream,
                     .trouble = alarm.trouble,
                     .began = std::max<int64_t>(0, alarm.began + shift),
                     .noticed = alarm.noticed + shift,
                     .window = alarm.window};
    // Trouble that begins before the stream has passed what it went back for is the same trouble.
    const bool again = v.attempts > 0 && event.began <= v.trouble;
    v.attempts = again ? v.attempts + 1 : 1;
    v.trouble = again ? std::max(v.trouble, event.noticed) : event.noticed;
    event.attempt = v.attempts;
    if (v.attempts > guard_->attempts || v.saves.empty()) {
        events_.push_back(event);
        return;
    }
    // Trouble may begin a little before it can be measured.
    const int64_t before = event.began - margin_hops * RunawayGuard::hop(*guard_);
    size_t at = 0;
    while (at + 1 < v.saves.size() && v.saves[at + 1].position <= before) ++at;
    at -= std::min(at, static_cast<size_t>(v.attempts - 1));
    v.saves.resize(at + 1, v.saves.front());
    const Save& save = v.saves.back();
    stream_->restore(stream, branch(save.snapshot, ++v.dice));
    v.guard = save.guard;
    v.position = save.position;
    total_bits_[static_cast<size_t>(stream)] = save.total_bits;
    const double cooler = std::pow(guard_->cooling, v.attempts - 1);
    event.warmth = alarm.trouble == Trouble::silence ? 1 / cooler : cooler;
    v.warmth_ends = v.position + guard_->sample_rate;
    stream_->scale_temperature(stream, event.warmth);
    event.resumed = v.position;
    events_.push_back(event);
}

FrozenStream GuardedStream::freeze(int64_t stream) const {
    const Voice& v = voices_[static_cast<size_t>(stream)];
    return {stream_->freeze(stream), v.guard ? std::make_shared<const RunawayGuard>(*v.guard) : nullptr};
}

void GuardedStream::resume(int64_t stream, const FrozenStream& frozen, bool other_dice) {
    Voice& v = voices_[static_cast<size_t>(stream)];
    stream_->restore(stream, other_dice ? branch(frozen.snapshot, ++v.dice) : frozen.snapshot);
    stream_->scale_temperature(stream, 1);
    v.warmth_ends = -1;
    v.attempts = 0;
    if (!guard_) return;
    v.guard.emplace(frozen.guard ? *frozen.guard : RunawayGuard(guard_));
    // Going back further would undo what was asked for.
    v.saves.clear();
}

}  // namespace nigiri
