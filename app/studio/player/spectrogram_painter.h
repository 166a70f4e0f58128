// A sound's spectrogram on the screen, from tiles that a thread makes and textures that hold them.
#pragma once

#include <imgui.h>

#include <list>
#include <map>
#include <memory>

#include "app/studio/sessions/background.h"
#include "audio/spectrogram_tiles.h"

namespace nigiri::studio {

class SpectrogramPainter {
  public:
    explicit SpectrogramPainter(Wake wake) : wake_(std::move(wake)) {}
    ~SpectrogramPainter();  // while the window is still there
    SpectrogramPainter(const SpectrogramPainter&) = delete;
    SpectrogramPainter& operator=(const SpectrogramPainter&) = delete;

    void set_sound(std::shared_ptr<const Sound> sound);
    // Samples [begin, end) into the rectangle from `at`; parts not made yet stay empty for now.
    void draw(ImDrawList& draw, ImVec2 at, ImVec2 size, double begin, double end);

  private:
    struct Texture {
        unsigned name = 0;
        std::shared_ptr<const SpectrogramTile> tile;  // what it shows
        uint64_t used = 0;                            // the last frame it was drawn in
    };
    using Key = std::pair<int, int64_t>;

    const Texture& texture_of(const Key& key, const std::shared_ptr<const SpectrogramTile>& tile);
    void draw_frequencies(ImDrawList& draw, ImVec2 at, ImVec2 size) const;
    void forget_textures();

    Wake wake_;
    std::shared_ptr<const Sound> sound_;
    std::unique_ptr<SpectrogramTiles> tiles_;
    std::map<Key, Texture> textures_;
    uint64_t frame_ = 0;
    std::vector<uint32_t> pixels_;
};

}  // namespace nigiri::studio
