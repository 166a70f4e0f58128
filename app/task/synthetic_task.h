// The synthetic tasks of the Mamba paper (Gu & Dao 2023, sections 4.1 and E.1): what a sequence looks like, and batches
// of them. Every sequence is drawn anew and depends on the seed and its place in the run only.
//
//   selective copying   noise (0) with `data_tokens` tokens (1 to V - 2) at random places among `length`, then as many
//                       markers (V - 1). At the k-th marker the answer is the k-th of the tokens.
//   induction heads     tokens 0 to V - 2 at random; at a random place stands the special token V - 1, and once more at
//                       the end. There the answer is the token that followed it the first time.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "kernels/random.h"
#include "model/trainer.h"

namespace nigiri::app {

enum class TaskKind : uint8_t { selective_copying, induction_heads };

std::string to_string(TaskKind kind);  // "selective-copying", "induction-heads"
TaskKind task_by_name(const std::string& name);

struct TaskSetting {
    TaskKind kind = TaskKind::induction_heads;
    int64_t vocabulary = 16;
    int64_t length = 256;      // tokens a sequence; of selective copying those before the markers
    int64_t data_tokens = 16;  // selective copying: how many are to be copied

    // The last positions of a sequence, where an answer is asked for. All others do not count.
    int64_t answers() const { return kind == TaskKind::selective_copying ? data_tokens : 1; }
    int64_t sequence() const { return kind == TaskKind::selective_copying ? length + data_tokens : length; }
    // What guessing gets right.
    double chance() const;
    TaskSetting with_length(int64_t other) const;
    bool operator==(const TaskSetting&) const = default;
};

TaskSetting published_setting(TaskKind kind);
// Throws Error where no sequence can be made.
void validate(const TaskSetting& setting);
std::string describe(const TaskSetting& setting);

// One sequence: `inputs` and `targets` of setting.sequence() tokens each; targets are -1 where nothing is asked.
void draw_sequence(const TaskSetting& setting, Random& random, std::span<int32_t> inputs, std::span<int32_t> targets);

// Sequences that training never sees, the same for every model: number `first` and the ones after it.
Batch test_sequences(const TaskSetting& setting, uint64_t seed, int64_t first, int64_t count);

class TaskData final : public TrainingData {
  public:
    TaskData(const TaskSetting& setting, const TrainingConfig& config) : setting_(setting), config_(config) {}
    void draw(uint64_t seed, int64_t step, Batch& batch) override;
    std::vector<Batch> validation() override;

  private:
    TaskSetting setting_;
    TrainingConfig config_;
};

}  // namespace nigiri::app
