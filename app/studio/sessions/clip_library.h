// The clips that were made, with their settings: from the folder at start, and new ones as they come.
#pragma once

#include "app/studio/sessions/generation_session.h"

namespace nigiri::studio {

class ClipLibrary {
  public:
    explicit ClipLibrary(Wake wake) : work_(std::move(wake)) {}

    // Reads a folder of clips beside the window. Files that are no clips of ours are left out.
    void open(const std::filesystem::path& folder);
    // The window's thread, every frame.
    void update();
    void add(MadeClip clip);

    enum class Order : uint8_t { latest, likeliest };
    void sort(Order order);
    Order order() const { return order_; }
    const std::vector<MadeClip>& clips() const { return clips_; }
    bool reading() const { return work_.running(); }

  private:
    std::vector<MadeClip> clips_;
    Order order_ = Order::latest;
    std::filesystem::path next_;
    std::mutex mutex_;  // of found_
    std::optional<std::vector<MadeClip>> found_;
    Background work_;  // last: it uses the others
};

// Copies a clip to another place and format, its facts with it. Throws Error.
void export_clip(const MadeClip& clip, const std::filesystem::path& to, SampleFormat format);

// Bits per sample of a clip as its facts say; infinity where they say nothing.
double bits_of(const MadeClip& clip);

}  // namespace nigiri::studio
