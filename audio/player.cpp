#include "audio/player.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "kernels/error.h"
#include "kernels/clock.h"

namespace nigiri {
namespace {

constexpr double shortest_queue = 0.02, longest_queue = 0.5;  // seconds
// The device runs empty so many times within so many seconds: it will not get better by itself.
constexpr size_t often = 3;
constexpr double lately = 30;
constexpr auto transport_period = std::chrono::milliseconds(10);

}  // namespace

Player::Player(PlayerOptions options)
    : options_(std::move(options)),
      device_(options_.device),
      asked_queue_seconds_(std::clamp(options_.queue_seconds, shortest_queue, longest_queue)),
      queue_seconds_(asked_queue_seconds_) {
    thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

Player::~Player() = default;

template <class F>
void Player::change(F&& f) {
    {
        const std::lock_guard lock(mutex_);
        f();
        ++changes_;
    }
    wake_.notify_one();
}

void Player::load(std::vector<Track> tracks) {
    change([&] {
        transport_.load(std::move(tracks));
        ends_heard_ = transport_.ends();
    });
}
void Player::load(std::shared_ptr<const Sound> sound) { load(std::vector<Track>{{std::move(sound)}}); }
void Player::play() {
    change([&] { begin(); });
}
void Player::pause() {
    change([&] { transport_.pause(); });
}
void Player::toggle() {
    change([&] {
        const PlayState state = transport_.state();
        if (state == PlayState::playing || state == PlayState::buffering)
            transport_.pause();
        else
            begin();
    });
}
void Player::stop() {
    change([&] { transport_.stop(); });
}
void Player::seek(int64_t position) {
    change([&] { transport_.seek(position); });
}
void Player::select(size_t track) {
    change([&] { transport_.select(track); });
}
void Player::set_gain(size_t track, float gain) {
    change([&] { transport_.set_gain(track, gain); });
}
void Player::set_range(std::optional<SoundRange> range) {
    change([&] { transport_.set_range(range); });
}
void Player::set_loop(bool loop) {
    change([&] { transport_.set_loop(loop); });
}
void Player::set_volume(float volume) {
    change([&] { transport_.set_volume(volume); });
}
void Player::set_buffer(double seconds) {
    change([&] { transport_.set_buffer(seconds); });
}
void Player::set_queue(double seconds) {
    change([&] {
        seconds = std::clamp(seconds, shortest_queue, longest_queue);
        if (seconds == asked_queue_seconds_) return;
        asked_queue_seconds_ = queue_seconds_ = seconds;
        late_.clear();
        often_late_ = false;
        reopen_ = true;
    });
}
void Player::open_device(const std::string& device) {
    change([&] {
        device_ = device;
        reopen_ = true;
    });
}

// With the lock held.
void Player::begin() {
    if (transport_.state() != PlayState::playing && !problem_.empty()) reopen_ = true;
    transport_.play();
}

PlayerStatus Player::status() const {
    const std::lock_guard lock(mutex_);
    return status_at(steady_seconds());
}

PlayerStatus Player::status_at(double now) const {
    PlayerStatus s;
    s.state = transport_.state();
    // A sound that was sent to its end plays until that was heard.
    if (s.state == PlayState::stopped && ends_heard_ != transport_.ends()) s.state = PlayState::playing;
    s.rate = transport_.rate();
    s.length = transport_.length();
    s.position = std::min(transport_.position_at(std::llround(clock_.heard(now))), s.length);
    s.tracks = transport_.tracks().size();
    s.track = transport_.track();
    if (s.tracks > 0) s.available = transport_.tracks()[s.track].sound->size();
    s.loop = transport_.loop();
    s.range = transport_.range();
    s.volume = transport_.volume();
    s.wait_seconds = transport_.wait_seconds();
    s.dry_runs = transport_.dry_runs();
    s.underruns = underruns_;
    s.often_late = often_late_;
    s.queue_seconds = asked_queue_seconds_;
    s.ends = ends_heard_;
    s.device = description_;
    s.problem = problem_;
    return s;
}

bool Player::news() {
    PlayerStatus s = status_at(steady_seconds());
    const auto same = [](const PlayerStatus& a, const PlayerStatus& b) {
        return a.state == b.state && a.length == b.length && a.rate == b.rate && a.tracks == b.tracks &&
               a.track == b.track && a.loop == b.loop && a.range == b.range && a.volume == b.volume &&
               a.dry_runs == b.dry_runs && a.underruns == b.underruns && a.often_late == b.often_late &&
               a.ends == b.ends && a.device == b.device && a.problem == b.problem;
    };
    // A position that moves is seen by looking; one that jumps while nothing plays must be told.
    const bool at_rest = s.state == PlayState::stopped || s.state == PlayState::paused;
    if (same(s, told_) && !(at_rest && s.position != told_.position)) return false;
    told_ = std::move(s);
    return true;
}

void Player::run(const std::stop_token& stop) {
    Lock lock(mutex_);
    while (!stop.stop_requested()) {
        changes_seen_ = changes_;
        idle_ = !step(lock);
        if (news() && options_.on_change) {
            lock.unlock();
            options_.on_change();
            lock.lock();
        }
        const auto changed = [this] { return changes_ != changes_seen_; };
        if (idle_)
            wake_.wait(lock, stop, changed);
        else
            wake_.wait_for(lock, stop, transport_period, changed);
    }
}

// Sends what is due; returns whether there will be more to do soon.
bool Player::step(Lock& lock) {
    transport_.tick(steady_seconds());
    if (transport_.active() && transport_.rate() > 0) {
        if (idle_ && output_ && !output_->failure().empty()) reopen_ = true;
        // What only fades out or is still to be heard to its end is left to the device that has it.
        const bool wanted = reopen_ && (idle_ || transport_.state() == PlayState::playing ||
                                        transport_.state() == PlayState::buffering);
        if (wanted || !output_ || output_->rate() != transport_.rate()) open(lock);
    }
    if (!output_) return false;
    if (idle_) last_progress_ = steady_seconds();
    if (const std::string why = failure(steady_seconds()); !why.empty()) open_silence(lock, why);
    try {
        send(lock);
    } catch (const Error& e) {
        if (!lock.owns_lock()) lock.lock();
        open_silence(lock, e.what());
    }

    const int64_t rendered = transport_.rendered();
    int64_t taken = std::min(base_ + output_->played(), rendered);
    if (finished_ && output_->queued() == 0) {
        // A converter rounds the length of what it was given: the count begins anew with every rest.
        taken = rendered;
        base_ = rendered - output_->played();
    }
    clock_.update(steady_seconds(), taken, rendered);
    const int64_t heard = static_cast<int64_t>(clock_.heard(steady_seconds()));
    heard_.store(heard, std::memory_order_release);
    transport_.forget_before(heard);
    if (heard >= transport_.last_end()) ends_heard_ = transport_.ends();
    return transport_.active() || heard < rendered;
}

// Fills the output's queue up.
void Player::send(Lock& lock) {
    note_underruns();
    // Twice what the device takes at a time, so that it never finds less than it wants, and a little for this thread's
    // own delays.
    const double rate = output_->rate();
    const double block = static_cast<double>(output_->block()) / rate;
    const double queue = std::max(queue_seconds_, std::min(2 * block + 0.02, longest_queue)) * rate;
    const size_t full = static_cast<size_t>(std::llround(queue)), queued = static_cast<size_t>(output_->queued());
    if (queued >= full) return;
    block_.resize(std::min(full - queued, output_->room()));
    const int64_t at = transport_.rendered();
    const size_t n = transport_.render(block_);
    const auto samples = std::span<const float>(block_).first(n);
    meter_.add(at, samples, output_->rate());
    const bool rest = n < block_.size();

    lock.unlock();
    for (size_t sent = 0; sent < n;) {
        const size_t taken = output_->write(samples.subspan(sent));
        if (taken == 0) break;
        sent += taken;
        finished_ = false;
    }
    if (rest && !finished_) {
        output_->finish();
        finished_ = true;
    }
    lock.lock();
}

void Player::note_underruns() {
    const int64_t counted = output_->underruns();
    if (counted <= output_underruns_) return;
    underruns_ += counted - output_underruns_;
    output_underruns_ = counted;
    queue_seconds_ = std::min(longest_queue, 1.5 * queue_seconds_);
    late_.push_back(steady_seconds());
    while (late_.back() - late_.front() > lately) late_.pop_front();
    often_late_ = often_late_ || late_.size() >= often;
}

// Why the output is of no more use; empty while it is.
std::string Player::failure(double now) {
    if (std::string why = output_->failure(); !why.empty()) return why;
    const int64_t played = output_->played();
    if (played != last_played_ || output_->queued() == 0) {
        last_played_ = played;
        last_progress_ = now;
    }
    if (now - last_progress_ < options_.patience_seconds) return {};
    return output_->description() + " takes no more sound";
}

void Player::open(Lock& lock) {
    const std::string device = device_;
    const int rate = transport_.rate();
    const double buffer = asked_queue_seconds_;
    reopen_ = false;
    // With the device goes what it holds. (At another rate it is another sound's.)
    if (output_ && !idle_ && output_->rate() == rate)
        transport_.send_again(
            std::min<int64_t>(std::llround(clock_.heard(steady_seconds())), base_ + output_->played()));
    lock.unlock();
    output_.reset();  // first: many a device can be had only once
    std::unique_ptr<AudioOutput> output;
    std::string problem;
    try {
        output = options_.open(device, rate, problem, buffer);
    } catch (const Error& e) {
        problem = e.what();
        output = open_null_output(rate);
    }
    lock.lock();
    begin_output(std::move(output), problem);
}

void Player::open_silence(Lock& lock, const std::string& problem) {
    const int rate = output_->rate();
    lock.unlock();
    output_.reset();
    auto output = open_null_output(rate);
    lock.lock();
    begin_output(std::move(output), problem);
}

void Player::begin_output(std::unique_ptr<AudioOutput> output, const std::string& problem) {
    output_ = std::move(output);
    base_ = transport_.rendered();
    output_underruns_ = last_played_ = 0;
    last_progress_ = steady_seconds();
    finished_ = true;
    clock_.start(base_, output_->rate(), output_->latency());
    description_ = output_->description();
    problem_ = problem;
}

}  // namespace nigiri
