// A picture on the graphics card.
#pragma once

#include <imgui.h>

#include <cstdint>
#include <span>

namespace nigiri::studio {

class Texture {
  public:
    Texture() = default;
    ~Texture();
    Texture(const Texture&) = delete;
    Texture& operator=(const Texture&) = delete;

    // RGB, rows from the top. On the window's thread, as all of this.
    void set(int width, int height, std::span<const uint8_t> pixels);
    bool there() const { return name_ != 0; }
    ImTextureID id() const { return reinterpret_cast<ImTextureID>(static_cast<uintptr_t>(name_)); }

  private:
    unsigned name_ = 0;
};

}  // namespace nigiri::studio
