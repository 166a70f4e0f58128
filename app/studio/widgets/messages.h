// Sentences for the user that come and go at the edge of the window, and the list of them that stays.
#pragma once

#include <deque>
#include <string>

namespace nigiri::studio {

class Messages {
  public:
    enum class Kind { note, warning, failure };

    void note(const std::string& text) { add(Kind::note, text); }
    void warn(const std::string& text) { add(Kind::warning, text); }
    void fail(const std::string& text, const std::string& hint = {});

    // The latest ones, over everything else, their lowest edge at `bottom`; failures stay until they are pressed.
    void draw(float bottom);
    // All of this session, latest first.
    void draw_log() const;
    bool showing() const;

  private:
    struct Message {
        Kind kind;
        std::string text;
        double shown_at = -1;  // seconds of the window's clock; negative: not yet shown
        bool gone = false;
        int times = 1;
    };
    void add(Kind kind, const std::string& text);

    std::deque<Message> all_;
};

}  // namespace nigiri::studio
