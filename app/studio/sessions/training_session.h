// Training beside the window: reads the audio, trains, pauses, goes on, stops. Whatever goes wrong becomes text.
#pragma once

#include <memory>
#include <optional>

#include "app/studio/sessions/background.h"
#include "app/training_run.h"

namespace nigiri::studio {

struct TrainingPlan {
    std::filesystem::path data;
    std::filesystem::path files = {};  // if set: the list of training files to keep
    std::filesystem::path run;
    // If set: the model (file or run folder) whose weights a new run begins with.
    std::filesystem::path from = {};
    // Of a new run; with `from`, the network and the signal are that model's. Where `run` holds a run already, that one
    // goes on with its own configuration; only the limits (training.steps, training.minutes) are taken from here,
    // unless both are 0.
    Config config;
    std::string device = "auto";
    int threads = 0;
};

enum class TrainingStage : uint8_t {
    idle,
    reading,    // the audio
    preparing,  // statistics of the audio, the network, its memory
    training,
    pausing,   // the step under way, then saving
    paused,    // saved; audio and network stay in memory, the processor is free
    stopping,  // as pausing; then the memory is given back
    stopped,
    finished,
    failed,  // see error
};

// What the window shows, as of now.
struct TrainingSnapshot {
    TrainingStage stage = TrainingStage::idle;
    std::string what;     // being read
    double fraction = 0;  // of reading, or of the run; in [0, 1]
    // Whether the audio and the network are in memory though nothing runs: paused, or failed and worth another try.
    bool resumable = false;

    std::filesystem::path run, data;
    std::filesystem::path from;    // the model whose weights it began with; empty: none
    std::optional<Config> config;  // once the run folder was looked at
    std::string device;            // what computes
    app::MemoryNeed memory;
    std::optional<app::Baseline> baseline;
    int64_t parameters = 0;
    double train_seconds = 0, valid_seconds = 0;  // of audio
    size_t skipped_files = 0;

    int64_t first_step = 0;  // where this session began; above 0 for a run that goes on
    int64_t step = 0, tokens = 0;
    double seconds = 0;                   // spent training, over all sessions
    double seconds_left = -1;             // negative: unknown
    std::optional<TrainingMetrics> last;  // the last line of the log
    double valid_bits = -1;               // of the last validation; negative: none yet
    double best_valid_bits = -1;          // likewise
    std::string error, hint;              // where failed

    bool active() const {
        return stage == TrainingStage::reading || stage == TrainingStage::preparing ||
               stage == TrainingStage::training || stage == TrainingStage::pausing || stage == TrainingStage::stopping;
    }
};

// For the window's thread. Asking twice, or for what makes no sense now, does nothing.
class TrainingSession {
  public:
    explicit TrainingSession(Wake wake) : work_(std::move(wake)) {}
    // Stops and saves; takes up to a training step.
    ~TrainingSession();

    // Returns false while another run is trained or paused.
    bool start(TrainingPlan plan);
    void pause();
    // Goes on after a pause, or tries again after a failure that left the run in memory (a full disk).
    void resume();
    // Saves and gives the memory back; what was being read or prepared is dropped.
    void stop();
    // Gives the memory back without saving: for a run that cannot be saved.
    void discard();

    TrainingSnapshot snapshot() const;

  private:
    void begin(const TrainingPlan& plan);
    void train();
    void settle(TrainingStage stage);
    void enter(TrainingStage stage);
    void note(const TrainingMetrics& metrics);
    void note(const TrainingState& state);
    // Runs `part`; what it throws decides how the session stands afterwards.
    template <class Part>
    void guarded(const Part& part);

    std::unique_ptr<app::TrainingRun> run_;  // the worker's while it runs, else the window's
    mutable std::mutex mutex_;               // of what follows
    TrainingSnapshot now_;
    bool keep_ = false;     // paused rather than stopped when the worker ends
    bool unsaved_ = false;  // steps that may be in no checkpoint yet
    double last_wake_ = 0;  // the worker's
    Background work_;       // last: it uses the others
};

}  // namespace nigiri::studio
