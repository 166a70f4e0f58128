// The screen of a listening test: nothing on it says who plays.
#pragma once

#include "app/studio/sessions/listening_test.h"
#include "app/studio/studio.h"

namespace nigiri::studio {

class BlindTestView {
  public:
    explicit BlindTestView(const Wake& wake) : session_(wake) {}

    // Shows the test until it is finished or left.
    void begin(Desk& desk, ListeningTest test);
    bool active() const { return test_.has_value(); }
    ListeningSession& session() { return session_; }

    // Every frame: notes what was heard.
    void update(Desk& desk);
    void draw(Desk& desk);

  private:
    void play(Desk& desk, size_t track);
    void answer(Desk& desk, int choice);
    void leave(Desk& desk);
    void draw_question(Desk& desk);
    void draw_sounds(Desk& desk);
    void draw_answers(Desk& desk);
    void draw_result(Desk& desk);
    void keys(Desk& desk);

    std::optional<ListeningTest> test_;
    ListeningSession session_;
    uint64_t showing_ = 0;  // Deck::showing() of this trial's sounds; 0: not there yet
    int64_t last_position_ = 0;
    double trial_began_ = 0;
    uint64_t seen_saves_ = 0;
    bool asked_ = false;  // the question was drawn in this frame
};

}  // namespace nigiri::studio
