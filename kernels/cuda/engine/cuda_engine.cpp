// The engine on a CUDA device: groups of streams, one a block at a time, and what host and device say to each other
// while a launch draws.
#include <algorithm>
#include <bit>
#include <chrono>
#include <exception>
#include <thread>
#include <utility>

#include "kernels/cuda/check.h"
#include "kernels/cuda/engine/device_memory.h"
#include "kernels/cuda/engine/diagnosis.h"
#include "kernels/cuda/engine/grouped_engine.h"
#include "kernels/cuda/engine/job.h"

namespace nigiri {

namespace cuda::engine {

namespace {

// As many streams a block as let all streams run at once, and no more.
int streams_per_block(const CudaEngineOptions& options, int processors) {
    if (options.streams < 1) throw Error("an engine needs at least one stream");
    if (options.streams_per_block != 0) return options.streams_per_block;
    int each = 1;
    while (each < 8 && options.streams > int64_t{each} * processors * resident_blocks(each)) each *= 2;
    return each;
}

bool stages_apart(const CudaEngineOptions& options, int64_t groups, int32_t stages, int processors) {
    using Stages = CudaEngineOptions::Stages;
    const bool fits = stages > 1 && groups * stages <= processors;
    if (options.stages == Stages::apart && !fits)
        throw Error("this device has no " + std::to_string(groups * stages) + " multiprocessors for a block a stage",
                    "leave it to the engine how stages are divided");
    return fits && options.stages != Stages::together;
}

class CudaEngine final : public GroupedEngine {
  public:
    CudaEngine(const RecurrentProgram& program, const CudaEngineOptions& options, const Device& device)
        : GroupedEngine(program, options.weights, options.streams, streams_per_block(options, device.processors)),
          device_(device),
          format_(options.weights),
          shared_image_(shared_image(image())),
          weights_(image().weights),
          constants_(image().constants),
          state_(static_cast<size_t>(groups()) * image().program.state_size),
          codes_(static_cast<size_t>(groups() * per_group())),
          dice_(static_cast<size_t>(streams())),
          logits_(static_cast<size_t>(streams() * image().program.vocabulary)),
          agreed_(1),
          arrived_(1),
          host_(1),
          controls_(static_cast<size_t>(streams())),
          host_controls_(static_cast<size_t>(streams())),
          relay_(1),
          apart_(stages_apart(options, groups(), image().program.stages, device.processors)),
          blocks_(static_cast<int>(std::min<int64_t>(groups(), int64_t{device.processors} * prepare()))),
          links_(apart_ ? static_cast<size_t>(groups() * image().program.stages) : 0),
          made_(static_cast<size_t>(blocks_)) {
        state_.clear(stream_), codes_.clear(stream_);
        check(cudaDeviceSynchronize(), "preparing the engine");
    }

    std::string description() const override {
        return device_.name + ", " + (format_ == WeightFormat::f32 ? "f32" : "bf16") + ", " +
               std::to_string(per_group()) + (per_group() == 1 ? " stream" : " streams") + " a block, " +
               std::to_string(blocks_) + (blocks_ == 1 ? " block" : " blocks") + (apart_ ? " a stage" : "");
    }

    std::vector<std::pair<std::string, double>> measure(const DrawRequest& request);

  protected:
    void read_group(int64_t group, float* state) const override {
        copy(state, group_state(group), cudaMemcpyDeviceToHost, "reading a stream's state");
    }
    void write_group(int64_t group, const float* state) override {
        copy(group_state(group), state, cudaMemcpyHostToDevice, "writing a stream's state");
    }

    void run(uint32_t position, const int32_t* codes, float* logits) override {
        codes_.upload(codes, static_cast<size_t>(streams()), stream_);
        start(job(position));
        check(cudaMemcpyAsync(logits, logits_.data(), logits_.size() * sizeof(float), cudaMemcpyDeviceToHost,
                              stream_.get()),
              "reading logits");
        stream_.wait("advancing streams");
    }

    void run_draw(uint32_t position, const DrawRequest& request, const DrawSink& sink, int64_t& drawn) override;

  private:
    void copy(float* to, const float* from, cudaMemcpyKind kind, const char* what) const {
        const size_t bytes = image().program.state_size * sizeof(float);
        check(cudaMemcpyAsync(to, from, bytes, kind, stream_.get()), what);
        stream_.wait(what);
    }
    float* group_state(int64_t group) const {
        return state_.data() + static_cast<size_t>(group) * image().program.state_size;
    }

    Job job(uint32_t position) const {
        Job j = {};
        j.program = image().program;
        j.shared_image = shared_image_.data();
        j.weights = weights_.data();
        j.constants = constants_.data();
        j.state = state_.data();
        j.groups = static_cast<int32_t>(groups()), j.streams = static_cast<int32_t>(streams());
        j.links = apart_ ? links_.data() : nullptr;
        j.position = position;
        j.logits = logits_.data();
        j.cycles = cycles_ ? cycles_->data() : nullptr;
        j.draw.codes = codes_.data();
        return j;
    }

    void start(const Job& j) {
        if (apart_) links_.clear(stream_);
        const int blocks = blocks_ * (apart_ ? image().program.stages : 1);
        with_kernel([&](auto kernel) { kernel.launch(j, blocks, stream_.get()); });
    }
    int prepare() const {
        int blocks = 0;
        if (image().program.shared.size <= device_.shared_per_block)
            with_kernel([&](auto kernel) { blocks = kernel.prepare(image().program); });
        if (blocks == 0) throw Error("this model does not fit a block of " + device_.name, "use the plain path");
        return blocks;
    }
    template <class F>
    void with_kernel(F&& f) const {
        const auto call = [&]<int kStreams>() {
            if (image().program.parts == 2)
                f(Kernel<kStreams, 2>());
            else
                f(Kernel<kStreams, 3>());
        };
        switch (per_group()) {
            case 1:
                return call.template operator()<1>();
            case 2:
                return call.template operator()<2>();
            case 4:
                return call.template operator()<4>();
            default:
                return call.template operator()<8>();
        }
    }

    void set_controls(const DrawRequest& request);
    // What is in the ring and has not been given to the sink. False: the drawing shall end.
    bool deliver(const DrawSink& sink, unsigned long long& taken, bool& failed);

    Device device_;
    WeightFormat format_;
    Stream stream_;
    DeviceArray<unsigned char> shared_image_;
    DeviceArray<Piece> weights_;
    DeviceArray<float> constants_;
    DeviceArray<float> state_;
    DeviceArray<int32_t> codes_;
    DeviceArray<Dice> dice_;
    DeviceArray<float> logits_;
    DeviceArray<uint32_t> agreed_;
    DeviceArray<uint32_t> arrived_;
    MappedArray<HostWord> host_;
    DeviceArray<SamplingControls> controls_;
    MappedArray<SamplingControls> host_controls_;
    DeviceArray<HostWord> relay_;
    bool apart_;
    int blocks_;  // that draw
    DeviceArray<StageLink> links_;
    MappedArray<unsigned long long> made_;
    MappedArray<DrawEntry> ring_;
    size_t slots_ = 0;
    std::vector<int32_t> drawn_codes_;
    std::vector<float> drawn_bits_;
    std::unique_ptr<DeviceArray<unsigned long long>> cycles_;  // while measuring
};

void CudaEngine::set_controls(const DrawRequest& request) {
    bool changes = false;
    const auto set = [&](auto& to, auto value) {
        changes = changes || to != value;
        store_shared(to, value);
    };
    for (int64_t s = 0; s < streams(); ++s) {
        const DrawControls c = request.controls(s);
        const auto limit = static_cast<int64_t>(most_drawn_codes);
        SamplingControls& to = host_controls_.host()[s];
        set(to.temperature, static_cast<float>(c.temperature));
        set(to.top_p, static_cast<float>(c.top_p));
        set(to.top_k, static_cast<int32_t>(std::clamp<int64_t>(c.top_k, 0, limit)));
    }
    if (changes) store_shared(host_.host()->changes, host_.host()->changes + 1);
}

bool CudaEngine::deliver(const DrawSink& sink, unsigned long long& taken, bool& failed) {
    unsigned long long ready = load_shared(made_.host()[0]);
    for (size_t b = 1; b < made_.size(); ++b) ready = std::min(ready, load_shared(made_.host()[b]));
    const auto width = static_cast<size_t>(streams());
    drawn_codes_.clear(), drawn_bits_.clear();
    for (; taken < ready && !failed; ++taken) {
        const DrawEntry* row = ring_.host() + static_cast<size_t>(taken % slots_) * width;
        failed = std::any_of(row, row + width, [](const DrawEntry& e) { return e.code < 0; });
        for (size_t s = 0; s < width && !failed; ++s)
            drawn_codes_.push_back(row[s].code), drawn_bits_.push_back(row[s].bits);
    }
    taken = ready;
    const auto count = static_cast<int64_t>(drawn_codes_.size() / width);
    const bool goes_on = count == 0 || sink(count, drawn_codes_.data(), drawn_bits_.data());
    // The sink has what stands in the ring: its slots are free.
    store_shared(host_.host()->taken, taken);
    return goes_on && !failed;
}

void CudaEngine::run_draw(uint32_t position, const DrawRequest& request, const DrawSink& sink, int64_t& drawn) {
    const auto width = static_cast<size_t>(streams());
    const size_t wanted = std::bit_floor(static_cast<size_t>(std::clamp<int64_t>(request.ahead, 2, 1 << 16)));
    if (slots_ != wanted) ring_ = MappedArray<DrawEntry>(wanted * width), slots_ = wanted;
    std::vector<Dice> dice;
    for (const Random& r : request.dice) dice.push_back({r.seed(), r.stream(), r.position()});
    codes_.upload(request.codes.data(), width, stream_);
    host_.reset(), made_.reset();
    set_controls(request);

    unsigned long long taken = 0;
    bool stopped = false, failed = false;
    std::exception_ptr failure;
    // Cards that also drive a display end kernels that run for seconds.
    const int64_t piece = device_.has_time_limit ? 2048 : int64_t{1} << 31;
    while (drawn < request.samples && !stopped) {
        Job j = job(static_cast<uint32_t>((position + static_cast<uint64_t>(drawn)) % image().program.wrap));
        for (size_t s = 0; s < width; ++s) dice[s].position = request.dice[s].position() + static_cast<uint64_t>(drawn);
        dice_.upload(dice.data(), width, stream_);
        agreed_.clear(stream_), arrived_.clear(stream_);
        // A change from here on is one that the device has not seen.
        relay_.upload(host_.host(), 1, stream_);
        controls_.upload(host_controls_.host(), width, stream_);
        j.draw.controls = controls_.data(), j.draw.host_controls = host_controls_.device();
        j.draw.host = host_.device(), j.draw.relay = relay_.data(), j.draw.ring = ring_.device();
        j.draw.made = made_.device(), j.draw.dice = dice_.data();
        j.draw.agreed = agreed_.data(), j.draw.arrived = arrived_.data();
        j.draw.slots = slots_, j.draw.first = static_cast<unsigned long long>(drawn);
        j.draw.samples = static_cast<uint32_t>(std::min(piece, request.samples - drawn));
        j.draw.publish_every = static_cast<uint32_t>(std::clamp<size_t>(slots_ / 4, 1, 32));
        start(j);
        for (bool running = true; running;) {
            running = !stream_.is_done("drawing codes");
            try {
                // Also after the end was asked for: the sink gets what was under way.
                if (!deliver(sink, taken, failed)) stopped = true;
                if (!stopped) set_controls(request);
            } catch (...) {
                if (!failure) failure = std::current_exception();
                stopped = true;
                store_shared(host_.host()->taken, taken);
            }
            if (stopped) store_shared(host_.host()->stop, 1u);
            if (running) std::this_thread::sleep_for(std::chrono::microseconds(50));
        }
        // Every stream stopped at the same sample.
        drawn = static_cast<int64_t>(load_shared(made_.host()[0]));
    }
    if (failure) std::rethrow_exception(failure);
    if (failed) throw Error("the model's output is not a number", "it has diverged; use an earlier checkpoint");
}

std::vector<std::pair<std::string, double>> CudaEngine::measure(const DrawRequest& request) {
    static constexpr const char* names[] = {"embed", "gather",  "normed", "scan", "s4",      "mamba",
                                            "gelu",  "project", "settle", "glu",  "pool_up", "head"};
    const size_t count = image().phases.size() + 1;
    cycles_ = std::make_unique<DeviceArray<unsigned long long>>(count);
    cycles_->clear(stream_);
    const int64_t drawn = draw(request, [](int64_t, const int32_t*, const float*) { return true; });
    std::vector<unsigned long long> sums(count);
    check(cudaMemcpy(sums.data(), cycles_->data(), count * sizeof(sums[0]), cudaMemcpyDeviceToHost), "measuring");
    cycles_.reset();
    std::vector<std::pair<std::string, double>> all;
    for (size_t i = 0; i < image().stages.size(); ++i)
        for (int32_t k = 0; k < image().stages[i].phases; ++k) {
            const auto phase = static_cast<size_t>(image().stages[i].first_phase + k);
            all.emplace_back("stage " + std::to_string(i) + ", " + std::to_string(k) + " " +
                                 names[std::countr_zero(image().phases[phase].kind)],
                             static_cast<double>(sums[phase]) / static_cast<double>(drawn));
        }
    all.emplace_back("draw", static_cast<double>(sums.back()) / static_cast<double>(drawn));
    return all;
}

}  // namespace

std::vector<std::pair<std::string, double>> phase_cycles(RecurrentEngine& engine, const DrawRequest& request) {
    auto* cuda_engine = dynamic_cast<CudaEngine*>(&engine);
    if (cuda_engine == nullptr) throw Error("only a CUDA engine has phases to measure");
    return cuda_engine->measure(request);
}

}  // namespace cuda::engine

std::unique_ptr<RecurrentEngine> make_cuda_engine(const RecurrentProgram& program, const CudaEngineOptions& options) {
    return std::make_unique<cuda::engine::CudaEngine>(program, options, cuda::engine::Device::present());
}

}  // namespace nigiri
