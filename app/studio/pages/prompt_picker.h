// What a clip begins with: silence, an audio file, the selection in the player or the microphone.
#pragma once

#include "app/studio/sessions/generation_session.h"
#include "app/studio/studio.h"
#include "audio/recorder.h"

namespace nigiri::studio {

class PromptPicker {
  public:
    explicit PromptPicker(Wake wake) : wake_(std::move(wake)) {}

    void draw(Desk& desk, float label_width);
    // Every frame: takes over a recording that has ended.
    void update(Desk& desk);
    void use_file(const std::filesystem::path& file);
    bool recording() const { return recorder_ != nullptr; }
    // Puts the prompt into the request; false, with a message, where there is none yet.
    bool take(Desk& desk, GenerationRequest& request) const;

  private:
    enum class Source : uint8_t { silence, file, selection, microphone };

    void draw_file(Desk& desk, float label_width);
    void draw_microphone();

    Wake wake_;
    Source source_ = Source::silence;
    std::filesystem::path file_;
    double file_seconds_ = 2;
    std::unique_ptr<Recorder> recorder_;
    std::shared_ptr<const Sound> recorded_;
};

}  // namespace nigiri::studio
