#include "app/studio/sessions/clip_library.h"

#include <algorithm>
#include <limits>
#include <set>

namespace nigiri::studio {

namespace fs = std::filesystem;

namespace {

constexpr size_t most_clips = 5000;

std::vector<MadeClip> read_folder(const fs::path& folder, const std::atomic<bool>& stop) {
    std::vector<MadeClip> clips;
    std::error_code code;
    for (fs::directory_iterator it(folder, code), end; !code && it != end && !stop.load(); it.increment(code)) {
        const fs::path& path = it->path();
        if ((path.extension() != ".flac" && path.extension() != ".wav") || clips.size() >= most_clips) continue;
        try {
            nlohmann::json facts = app::read_clip_facts(path);
            if (!facts.is_null()) clips.push_back({path, std::move(facts)});
        } catch (const std::exception&) {
            // A damaged or foreign file is no clip; it stays where it is.
        }
    }
    return clips;
}

}  // namespace

double bits_of(const MadeClip& clip) {
    const auto value = clip.facts.find("log2_likelihood_per_sample");
    if (value == clip.facts.end() || !value->is_number()) return std::numeric_limits<double>::infinity();
    return -value->get<double>();
}

void ClipLibrary::open(const fs::path& folder) {
    next_ = folder;
    work_.stop();
    update();
}

void ClipLibrary::update() {
    if (!next_.empty() && !work_.running())
        work_.start([this, folder = std::exchange(next_, {})] {
            auto clips = read_folder(folder, work_.stopping());
            const std::lock_guard lock(mutex_);
            found_ = std::move(clips);
        });
    std::optional<std::vector<MadeClip>> found;
    {
        const std::lock_guard lock(mutex_);
        found = std::exchange(found_, std::nullopt);
    }
    if (!found) return;
    // Clips made while the folder was read may be in both lists.
    std::set<fs::path> known;
    for (const MadeClip& c : clips_) known.insert(c.file);
    for (MadeClip& c : *found)
        if (!known.contains(c.file)) clips_.push_back(std::move(c));
    sort(order_);
}

void ClipLibrary::add(MadeClip clip) {
    clips_.push_back(std::move(clip));
    sort(order_);
}

void ClipLibrary::sort(Order order) {
    order_ = order;
    std::stable_sort(clips_.begin(), clips_.end(), [&](const MadeClip& a, const MadeClip& b) {
        if (order == Order::likeliest) return bits_of(a) < bits_of(b);
        return a.file.filename() > b.file.filename();  // names begin with the time
    });
}

void export_clip(const MadeClip& clip, const fs::path& to, SampleFormat format) {
    const Audio audio = read_audio(clip.file);
    app::write_clip(to, audio.samples, audio.rate, clip.facts, format);
}

}  // namespace nigiri::studio
