#include "app/studio/player/spectrogram_painter.h"

#include <GL/gl.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "app/studio/widgets/theme.h"

#ifndef GL_CLAMP_TO_EDGE
#define GL_CLAMP_TO_EDGE 0x812F
#endif

namespace nigiri::studio {

namespace {

constexpr size_t most_textures = 96;  // of 128 x 160 pixels, 80 KB each
constexpr int uploads_a_frame = 12;

// From black over violet and orange to white, its lightness rising evenly, so that loudness can be read off it also
// without colours. Between the stops it is linear.
uint32_t colour_of(uint8_t value) {
    struct Stop {
        float at, r, g, b;
    };
    static constexpr std::array<Stop, 6> stops = {{{0, 12, 13, 18},
                                                   {0.3f, 48, 25, 92},
                                                   {0.55f, 143, 39, 112},
                                                   {0.75f, 232, 90, 72},
                                                   {0.9f, 252, 180, 92},
                                                   {1, 255, 250, 225}}};
    const float v = static_cast<float>(value) / 255;
    size_t i = 1;
    while (i + 1 < stops.size() && v > stops[i].at) ++i;
    const Stop &a = stops[i - 1], &b = stops[i];
    const float t = std::clamp((v - a.at) / (b.at - a.at), 0.0f, 1.0f);
    const auto mix = [t](float x, float y) { return static_cast<uint32_t>(std::lround(x + (y - x) * t)); };
    return mix(a.r, b.r) | mix(a.g, b.g) << 8 | mix(a.b, b.b) << 16 | 0xff000000u;
}

const std::array<uint32_t, 256>& colours() {
    static const std::array<uint32_t, 256> table = [] {
        std::array<uint32_t, 256> t{};
        for (size_t i = 0; i < t.size(); ++i) t[i] = colour_of(static_cast<uint8_t>(i));
        return t;
    }();
    return table;
}

}  // namespace

SpectrogramPainter::~SpectrogramPainter() { forget_textures(); }

void SpectrogramPainter::forget_textures() {
    for (const auto& [key, texture] : textures_) glDeleteTextures(1, &texture.name);
    textures_.clear();
}

void SpectrogramPainter::set_sound(std::shared_ptr<const Sound> sound) {
    if (sound == sound_) return;
    sound_ = std::move(sound);
    tiles_.reset();
    forget_textures();
}

const SpectrogramPainter::Texture& SpectrogramPainter::texture_of(const Key& key,
                                                                  const std::shared_ptr<const SpectrogramTile>& tile) {
    Texture& texture = textures_[key];
    texture.used = frame_;
    if (texture.tile == tile) return texture;
    constexpr int columns = SpectrogramTile::columns;
    pixels_.resize(static_cast<size_t>(columns) * static_cast<size_t>(tile->bands));
    for (int c = 0; c < columns; ++c)
        for (int b = 0; b < tile->bands; ++b)  // the highest band is the texture's first row
            pixels_[static_cast<size_t>((tile->bands - 1 - b) * columns + c)] =
                colours()[tile->values[static_cast<size_t>(c * tile->bands + b)]];
    if (texture.name == 0) glGenTextures(1, &texture.name);
    glBindTexture(GL_TEXTURE_2D, texture.name);
    glTexParameteri(GL_TEXTURE_2D, GL_TEXTURE_MIN_FILTER, GL_LINEAR);
    glTexParameteri(GL_TEXTURE_2D, GL_TEXTURE_MAG_FILTER, GL_LINEAR);
    glTexParameteri(GL_TEXTURE_2D, GL_TEXTURE_WRAP_S, GL_CLAMP_TO_EDGE);
    glTexParameteri(GL_TEXTURE_2D, GL_TEXTURE_WRAP_T, GL_CLAMP_TO_EDGE);
    glPixelStorei(GL_UNPACK_ROW_LENGTH, 0);
    glTexImage2D(GL_TEXTURE_2D, 0, GL_RGBA, columns, tile->bands, 0, GL_RGBA, GL_UNSIGNED_BYTE, pixels_.data());
    texture.tile = tile;
    return texture;
}

void SpectrogramPainter::draw(ImDrawList& draw, ImVec2 at, ImVec2 size, double begin, double end) {
    draw.AddRectFilled(at, {at.x + size.x, at.y + size.y}, colours()[0]);
    if (!sound_ || end <= begin) return;
    if (!tiles_) {
        SpectrogramTilesOptions options;
        options.on_change = wake_;
        tiles_ = std::make_unique<SpectrogramTiles>(sound_, options);
    }
    ++frame_;
    const double a_pixel = (end - begin) / static_cast<double>(std::max(size.x, 1.0f));
    const int level = SpectrogramTiles::level_for(a_pixel);
    tiles_->show(level, static_cast<int64_t>(begin), static_cast<int64_t>(std::ceil(end)));
    const double span = static_cast<double>(SpectrogramTile::columns * SpectrogramTiles::hop(level));
    const auto x_of = [&](double sample) {
        return at.x + static_cast<float>((sample - begin) / (end - begin) * static_cast<double>(size.x));
    };
    int uploads = 0;
    for (auto i = static_cast<int64_t>(begin / span); static_cast<double>(i) * span < end; ++i) {
        const auto tile = tiles_->find(level, i);
        if (!tile) continue;
        const Key key{level, i};
        const auto known = textures_.find(key);
        if ((known == textures_.end() || known->second.tile != tile) && ++uploads > uploads_a_frame) {
            if (wake_) wake_();  // the rest with the next frame
            break;
        }
        const Texture& texture = texture_of(key, tile);
        const double from = static_cast<double>(i) * span;
        const double share = static_cast<double>(tile->known) / SpectrogramTile::columns;
        draw.AddImage(reinterpret_cast<ImTextureID>(static_cast<uintptr_t>(texture.name)), {x_of(from), at.y},
                      {x_of(from + span * share), at.y + size.y}, {0, 0}, {static_cast<float>(share), 1});
    }
    draw_frequencies(draw, at, size);
    while (textures_.size() > most_textures) {
        const auto oldest = std::min_element(textures_.begin(), textures_.end(), [](const auto& a, const auto& b) {
            return a.second.used < b.second.used;
        });
        if (oldest->second.used == frame_) break;
        glDeleteTextures(1, &oldest->second.name);
        textures_.erase(oldest);
    }
}

void SpectrogramPainter::draw_frequencies(ImDrawList& draw, ImVec2 at, ImVec2 size) const {
    const SpectrogramTilesOptions options;
    ImGui::PushFont(theme().small);
    float last = at.y + size.y;
    for (const int hertz : {110, 220, 440, 880, 1760, 3520}) {
        int band = 0;
        while (band < options.bands && tiles_->frequency(band) < hertz) ++band;
        if (band == options.bands) break;
        const float y = at.y + size.y * (1 - (static_cast<float>(band) + 0.5f) / static_cast<float>(options.bands));
        if (last - y < theme().units(15)) continue;
        last = y;
        const std::string text = std::to_string(hertz) + " Hz";
        const float width = ImGui::CalcTextSize(text.c_str()).x;
        draw.AddText({at.x + size.x - width - theme().units(6), y - theme().units(8)}, IM_COL32(255, 255, 255, 150),
                     text.c_str());
    }
    ImGui::PopFont();
}

}  // namespace nigiri::studio
