// The engine of the processor. One sample is a plan, a list of pieces of the stages' steps, that all threads of the
// team run together, each on its share of the channels of every map and layer.
//
// A step of an inner stage begins with the last sample of its coarse step and is needed at the next step of the stage
// above. Directly below the outermost stage that is at once; further inside there are as many samples in between as a
// step of the stage above lasts, and the pieces are spread evenly over them.
#include <algorithm>
#include <chrono>
#include <numeric>
#include <thread>

#include "kernels/cpu/engine/pace.h"
#include "kernels/cpu/engine/stage.h"

namespace nigiri {

namespace cpu {
namespace {

struct Piece {
    size_t stage;
    int piece;
    int64_t time;
};

class CpuEngine final : public RecurrentEngine {
  public:
    CpuEngine(const RecurrentProgram& program, const CpuEngineOptions& options, int threads)
        : streams_(options.streams),
          vocabulary_(program.vocabulary),
          period_(program.period()),
          block_count_(program.block_count),
          format_(options.weights),
          weights_(static_cast<size_t>(threads)),
          scratch_(widest(program), threads, options.streams, other_),
          offsets_(static_cast<size_t>(options.streams), 0),
          ready_(static_cast<size_t>(options.streams), 0),
          pace_(period_),
          team_(threads, [this](const Part& part) { run_plan(part); }) {
        const StepMemory memory{threads, streams_, format_, &weights_, &other_};
        auto outer = std::make_unique<OuterStage>(program, memory);
        outer_ = outer.get();
        stages_.push_back(std::move(outer));
        strides_.push_back(1);
        for (size_t i = 1; i < program.stages.size(); ++i) {
            stages_.push_back(std::make_unique<InnerStage>(program, i, *stages_[i - 1], memory));
            strides_.push_back(strides_.back() * program.stages[i - 1].factor);
        }
        size_t pieces = 0;
        for (const auto& stage : stages_) {
            next_.push_back(stage->pieces());
            times_.push_back(0);
            pieces += static_cast<size_t>(stage->pieces());
        }
        plan_.reserve(2 * pieces);  // what is left of one step and the whole next one
    }

    int64_t streams() const override { return streams_; }
    int64_t vocabulary() const override { return vocabulary_; }

    std::string description() const override {
        const char* formats[] = {"float32", "bf16", "int8"};
        return std::string(instruction_set()) + ", " + std::to_string(team_.size()) +
               (team_.size() == 1 ? " thread, " : " threads, ") + formats[static_cast<size_t>(format_)];
    }

    size_t weight_bytes() const override {
        return std::accumulate(weights_.begin(), weights_.end(), size_t{0},
                               [](size_t sum, const Arena& a) { return sum + a.bytes(); });
    }

    void advance(const int32_t* codes, float* logits) override {
        for (int64_t s = 0; s < streams_; ++s)
            if (codes[s] < 0 || codes[s] >= vocabulary_)
                throw Error("there is no code " + std::to_string(codes[s]) + " among " + std::to_string(vocabulary_));
        for (int64_t s = 0; s < streams_; ++s)
            if (ready_[index(s)] != clock_)
                throw Error("streams of one engine must keep step: " + std::to_string(position(0)) + " and " +
                            std::to_string(position(s)) + " samples differ by no multiple of " +
                            std::to_string(period_));
        outer_->codes = codes;
        plan_.clear();
        begin(0, clock_);
        finish(0);
        for (size_t i = 1; i < stages_.size(); ++i) {
            // Samples, this one included, until the stage above begins its next step.
            const int64_t stride = strides_[i - 1], left = stride - (clock_ + 1) % stride;
            const int64_t pending = stages_[i]->pieces() - next_[i];
            for (int64_t n = (pending + left - 1) / left; n > 0; --n) push(i);
        }
        run();
        ++clock_;
        std::fill(ready_.begin(), ready_.end(), clock_);
        for (int64_t s = 0; s < streams_; ++s) std::copy_n(outer_->logits()[s], vocabulary_, logits + s * vocabulary_);
    }

    StreamState state(int64_t stream) const override {
        check_stream(stream);
        // What is pending is computed earlier than it had to be: nothing else changes.
        const_cast<CpuEngine*>(this)->drain();
        StreamState state;
        state.position = position(stream);
        state.blocks.resize(block_count_);
        state.down.resize(stages_.size() - 1);
        state.up.resize(stages_.size() - 1);
        for (size_t i = 0; i < stages_.size(); ++i)
            stages_[i]->save(stream, ready_[index(stream)] / strides_[i], state, i);
        return state;
    }

    void set_state(int64_t stream, const StreamState& state) override {
        check_stream(stream);
        bool fits = state.position >= 0 && state.blocks.size() == block_count_ &&
                    state.down.size() == stages_.size() - 1 && state.up.size() == stages_.size() - 1;
        for (size_t i = 0; fits && i < stages_.size(); ++i) fits = stages_[i]->fits(state, i);
        if (!fits)
            throw Error("the state of a stream does not fit the engine's network",
                        "use it with the model it came from");
        drain();
        clock_ = state.position % period_;
        for (int64_t s = 0; s < streams_; ++s)
            if (s != stream && (ready_[index(s)] - state.position) % period_ == 0) clock_ = ready_[index(s)];
        for (size_t i = 0; i < stages_.size(); ++i) stages_[i]->load(stream, clock_ / strides_[i], state, i);
        offsets_[index(stream)] = state.position - clock_;
        ready_[index(stream)] = clock_;
    }

  private:
    static size_t index(int64_t stream) { return static_cast<size_t>(stream); }
    int64_t position(int64_t stream) const { return ready_[index(stream)] + offsets_[index(stream)]; }

    static int64_t widest(const RecurrentProgram& program) {
        int64_t width = program.norm.width;
        for (const StageProgram& stage : program.stages)
            for (const auto* blocks : {&stage.down, &stage.up})
                for (const BlockStep& step : *blocks) width = std::max(width, EngineBlock::widest(step));
        return width;
    }

    void check_stream(int64_t stream) const {
        if (stream < 0 || stream >= streams_)
            throw Error("an engine of " + std::to_string(streams_) + " streams has no stream " +
                        std::to_string(stream));
    }

    // A stage's next step. What the stage below it still has to do for this step comes first.
    void begin(size_t stage, int64_t time) {
        if (stage + 1 < stages_.size()) finish(stage + 1);
        times_[stage] = time;
        next_[stage] = 0;
    }

    void push(size_t stage) {
        const int piece = next_[stage]++;
        const int64_t time = times_[stage], factor = stages_[stage]->factor();
        plan_.push_back({stage, piece, time});
        if (piece == stages_[stage]->gathering_piece() && time % factor == factor - 1) begin(stage + 1, time / factor);
    }

    void finish(size_t stage) {
        while (next_[stage] < stages_[stage]->pieces()) push(stage);
    }

    void drain() {
        plan_.clear();
        for (size_t i = 1; i < stages_.size(); ++i) finish(i);
        if (!plan_.empty()) team_.run_alone();
    }

    void run() {
        if (team_.size() == 1) return team_.run_alone();
        const auto begun = std::chrono::steady_clock::now();
        pace_.together() ? team_.run_together() : team_.run_alone();
        pace_.took(std::chrono::steady_clock::now() - begun);
    }

    void run_plan(const Part& part) {
        for (const Piece& p : plan_) stages_[p.stage]->run(p.piece, part, p.time, scratch_);
        part.meet();
    }

    int64_t streams_, vocabulary_, period_;
    size_t block_count_;
    WeightFormat format_;
    std::vector<Arena> weights_;  // one a share, in the order of use
    Arena other_;
    Scratch scratch_;
    std::vector<std::unique_ptr<Stage>> stages_;
    OuterStage* outer_ = nullptr;
    std::vector<int64_t> strides_;  // samples a step

    // One clock for all streams. It counts samples and moves where a stream is set to another phase; streams that are
    // not set to the new phase as well are refused by the next sample.
    int64_t clock_ = 0;
    std::vector<int64_t> offsets_;  // of a stream's position from the clock: whole periods
    std::vector<int64_t> ready_;    // the clock that a stream's memory is right for
    std::vector<int> next_;         // of each stage: the next piece of the step under way
    std::vector<int64_t> times_;    // and that step
    std::vector<Piece> plan_;
    Pace pace_;
    Team team_;  // last: its threads use all of the above
};

// Multiplications by weights that a sample of one stream takes on average.
double work_of(const RecurrentProgram& program) {
    const auto size = [](const LinearMap& map) { return static_cast<double>(map.weight.size()); };
    double work = size(program.head), stride = 1;
    for (const StageProgram& stage : program.stages) {
        for (const auto* blocks : {&stage.down, &stage.up})
            for (const BlockStep& step : *blocks)
                work += (size(step.in) + size(step.out) + size(step.ssm.x_proj) + size(step.ssm.dt_proj)) / stride;
        if (stage.factor > 0) stride *= static_cast<double>(stage.factor);
        work += (size(stage.pool_down) + size(stage.pool_up)) / stride;
    }
    return work;
}

// Below that a sample takes some 10 us, and meeting a few dozen times would be much of it.
constexpr double worth_two_threads = 250'000;

void check(const RecurrentProgram& program) {
    const auto require = [](bool holds) {
        if (!holds) throw Error("a recurrent program is incomplete");
    };
    require(!program.stages.empty());
    std::vector<bool> used(program.block_count);
    for (size_t i = 0; i < program.stages.size(); ++i) {
        const StageProgram& stage = program.stages[i];
        require((stage.factor > 0) == (i + 1 < program.stages.size()));
        for (const auto* blocks : {&stage.down, &stage.up})
            for (const BlockStep& step : *blocks) {
                require(step.state < used.size() && !used[step.state]);
                used[step.state] = true;
            }
    }
    require(std::find(used.begin(), used.end(), false) == used.end());
}

}  // namespace
}  // namespace cpu

std::unique_ptr<RecurrentEngine> make_cpu_engine(const RecurrentProgram& program, const CpuEngineOptions& options) {
    if (options.streams < 1) throw Error("an engine needs at least one stream");
    if (options.threads < 0 || options.threads > 64) throw Error("an engine runs on 1 to 64 threads");
    cpu::check(program);
    int threads = options.threads;
    if (threads == 0) {
        const bool large = cpu::work_of(program) * static_cast<double>(options.streams) >= cpu::worth_two_threads;
        threads = large && std::thread::hardware_concurrency() >= 2 ? 2 : 1;
    }
    return std::make_unique<cpu::CpuEngine>(program, options, threads);
}

}  // namespace nigiri
