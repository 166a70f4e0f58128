#include "model/checkpoint.h"

#include <nlohmann/json.hpp>

namespace nigiri {

using nlohmann::json;

namespace {

constexpr const char* checkpoint_format = "nigiri-checkpoint";

template <class V>
void visit(TrainingState& s, V&& v) {
    v("step", s.step), v("tokens", s.tokens), v("seconds", s.seconds), v("best_valid_bits", s.best_valid_bits);
    v("best_step", s.best_step), v("valid_bits", s.valid_bits), v("train_bits", s.train_bits),
        v("bits_sum", s.bits_sum), v("bits_steps", s.bits_steps);
    v("log_seconds", s.log_seconds), v("log_tokens", s.log_tokens), v("plateau_factor", s.plateau.factor);
    v("plateau_best", s.plateau.best), v("plateau_bad", s.plateau.bad);
}

std::string state_to_json(TrainingState state) {
    json out = json::object();
    visit(state, [&](const char* name, auto& value) { out[name] = value; });
    return out.dump();
}

TrainingState state_from_json(const std::string& text, const std::string& name) {
    const json in = json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!in.is_object()) throw Error(name + ": its training state is not readable", "the file is damaged");
    TrainingState state;
    visit(state, [&](const char* field, auto& value) {
        using T = std::decay_t<decltype(value)>;
        if (!in.contains(field)) return;
        const json& j = in[field];
        if (!j.is_number() || (std::is_integral_v<T> && !j.is_number_integer()))
            throw Error(name + ": training state field '" + field + "' is not a number", "the file is damaged");
        value = j.get<T>();
        if (std::is_integral_v<T> && value < T{0})
            throw Error(name + ": training state field '" + field + "' is negative", "the file is damaged");
    });
    return state;
}

const char* safetensors_dtype(DType dtype) { return dtype == DType::f64 ? "F64" : "F32"; }

std::vector<int64_t> extents(const Shape& shape) {
    std::vector<int64_t> e;
    for (int i = 0; i < shape.rank(); ++i) e.push_back(shape[i]);
    return e;
}

int64_t ssm_parameters(const SsmConfig& c, int64_t width, int64_t model_width) {
    const int64_t n = c.stored_states(), numbers = c.is_complex ? 2 : 1;
    if (c.kind == SsmKind::s6) {
        const int64_t rank = c.selective_delta ? (c.dt_rank > 0 ? c.dt_rank : (model_width + 15) / 16) : 0;
        const int64_t columns = rank + n * numbers * ((c.selective_b ? 1 : 0) + (c.selective_c ? 1 : 0));
        const int64_t constants = width * n * numbers * ((c.selective_b ? 0 : 1) + (c.selective_c ? 0 : 1));
        return columns * width + width * rank + width + width * n * numbers + constants + width;
    }
    if (c.kind == SsmKind::attention) return 3 * width * width;
    if (c.kind == SsmKind::hyena) {
        const int64_t h = c.filter_width, features = 1 + 2 * c.filter_bands;
        return features * h + h + 2 * (h * h + h) + h + h * width + width;
    }
    const int64_t copies = c.copies > 0 ? c.copies : width;
    const int64_t low_rank = c.kind == SsmKind::s4 ? copies * n * 2 : 0;
    return width + copies * n * numbers + copies * n * numbers + width * n * numbers + low_rank + width;
}

int64_t layer_parameters(const LayerConfig& c, const ModelConfig& model, int64_t width) {
    const int64_t norm = model.norm == NormKind::rms ? width : model.norm == NormKind::scalar ? 2 : 2 * width;
    if (c.block == BlockKind::mamba) {
        const int64_t inner = c.expand * width;
        return norm + 2 * inner * width + inner * (c.conv_width + 1) + ssm_parameters(c.ssm, inner, width) +
               width * inner;
    }
    if (c.block == BlockKind::h3) {
        const int64_t inner = c.expand * width;
        return norm + 3 * inner * width + inner * (c.conv_width + 1) + ssm_parameters(c.ssm, inner, width) +
               width * inner;
    }
    const bool pair = c.block == BlockKind::s4_mlp;
    const int64_t out = pair && c.glu ? 2 * width : width, hidden = c.ff_expand * width;
    int64_t count = norm + ssm_parameters(c.ssm, width, width) + out * width + out;
    if (pair && c.ff_expand > 0) count += norm + hidden * width + hidden + width * hidden + width;
    return count;
}

}  // namespace

int64_t parameter_count(const ModelConfig& config) {
    int64_t count = config.vocabulary * config.width, width = config.width;
    for (const int64_t p : config.pools) {
        const int64_t inner = width * config.pool_expand;
        const int64_t stages = config.form == UNetForm::unet ? 2 : 1;
        count += stages * config.layers * layer_parameters(config.outer, config, width);
        count += inner * p * width + inner + p * width * inner + p * width;
        width = inner;
    }
    count += config.layers * layer_parameters(config.centre, config, width);
    count += config.norm == NormKind::rms ? config.width : config.norm == NormKind::scalar ? 2 : 2 * config.width;
    return count + (config.tied_head ? 0 : config.vocabulary * config.width) + config.vocabulary;
}

void save_checkpoint(const std::filesystem::path& path, const Config& config, const Network& network,
                     const Optimizer* optimizer, const TrainingState& state, const ModelFacts& facts, StoredAs stored) {
    if (optimizer && stored != StoredAs::f32) throw Error("training cannot go on from rounded weights");
    Backend& backend = network.backend();
    SafeTensorsWriter writer;
    std::vector<std::unique_ptr<std::vector<uint8_t>>> host;  // alive until written
    const auto add = [&](const std::string& name, const Tensor& t) {
        host.push_back(std::make_unique<std::vector<uint8_t>>(static_cast<size_t>(t.size()) * size_of(t.dtype())));
        backend.download(t, host.back()->data());
        writer.add(name, safetensors_dtype(t.dtype()), extents(t.shape()), *host.back());
    };
    const auto add_rounded = [&]<class Half>(const std::string& name, const char* dtype, const Tensor& t, Half) {
        host.push_back(std::make_unique<std::vector<uint8_t>>());
        for (const double x : download_values(backend, t)) {
            const uint16_t bits = Half(static_cast<float>(x)).bits;
            host.back()->push_back(static_cast<uint8_t>(bits & 0xff));
            host.back()->push_back(static_cast<uint8_t>(bits >> 8));
        }
        writer.add(name, dtype, extents(t.shape()), *host.back());
    };
    const auto& parameters = network.parameters().all();
    for (const auto& p : parameters) {
        const std::string name = "model." + p->name;
        if (stored == StoredAs::half && p->group == ParameterGroup::decay)
            add_rounded(name, "BF16", p->value, BFloat16{});
        else if (stored == StoredAs::half && p->group == ParameterGroup::state_space)
            add_rounded(name, "F16", p->value, Float16{});
        else
            add(name, p->value);
    }
    if (optimizer)
        for (size_t i = 0; i < parameters.size(); ++i) {
            add("opt.m." + parameters[i]->name, optimizer->moments()[i].m);
            add("opt.v." + parameters[i]->name, optimizer->moments()[i].v);
        }
    for (const auto& [key, value] : facts) writer.set_metadata("fact." + key, value);
    writer.set_metadata("format", checkpoint_format);
    writer.set_metadata("version", std::to_string(checkpoint_version));
    writer.set_metadata("config", to_json(config));
    writer.set_metadata("training_state", state_to_json(state));
    writer.write(path);
}

Checkpoint Checkpoint::read(const std::filesystem::path& path) {
    Checkpoint c;
    c.file_ = SafeTensorsFile::read(path);
    c.name_ = path.string();
    c.interpret();
    return c;
}

Checkpoint Checkpoint::parse(std::vector<uint8_t> bytes, const std::string& name) {
    Checkpoint c;
    c.file_ = SafeTensorsFile::parse(std::move(bytes), name);
    c.name_ = name;
    c.interpret();
    return c;
}

void Checkpoint::interpret() {
    const auto& metadata = file_.metadata();
    const auto field = [&](const char* key) {
        const auto it = metadata.find(key);
        if (it == metadata.end())
            throw Error(name_ + " is not a nigiri model: its metadata lacks '" + key + "'",
                        "give a checkpoint written by nigiri train or export");
        return it->second;
    };
    if (field("format") != checkpoint_format)
        throw Error(name_ + " is not a nigiri model", "give a checkpoint written by nigiri");
    if (field("version") != std::to_string(checkpoint_version))
        throw Error(name_ + " has checkpoint version " + field("version").substr(0, 20) +
                        ", this program reads version " + std::to_string(checkpoint_version),
                    "use the version of nigiri that wrote it");
    try {
        config_ = config_from_json(field("config"));
    } catch (const Error& e) {
        throw Error(name_ + ": " + e.what(), e.hint());
    }
    if (metadata.count("training_state")) state_ = state_from_json(metadata.at("training_state"), name_);
    for (const auto& [key, value] : metadata)
        if (key.starts_with("fact.")) facts_[key.substr(5)] = value;

    // Counted before anything is allocated, so that a lying configuration cannot ask for more memory than the file has.
    parameters_ = parameter_count(config_.model);
    int64_t held = 0;
    for (const auto& [name, tensor] : file_.tensors()) {
        if (name.starts_with("model.")) held += tensor.size();
        if (name.starts_with("opt.m.")) has_optimizer_ = true;
    }
    if (held != parameters_)
        throw Error(name_ + " holds " + std::to_string(held) + " weights where its configuration needs " +
                        std::to_string(parameters_),
                    "the file is damaged");
}

void Checkpoint::upload(Backend& backend, const std::string& name, const Tensor& to) const {
    const SafeTensor& t = file_.at(name);
    if (t.shape != extents(to.shape()))
        throw Error(name_ + ": tensor '" + name + "' has not the shape " + to.shape().text(), "the file is damaged");
    upload_values(backend, file_.values(name), to);
}

std::unique_ptr<Network> Checkpoint::make_network(std::shared_ptr<Backend> backend, DType dtype) const {
    auto network = std::make_unique<Network>(std::move(backend), config_.model, dtype, config_.training.seed,
                                             config_.training.length);
    restore(*network);
    return network;
}

void Checkpoint::restore(Network& network) const {
    for (const auto& p : network.parameters().all()) upload(network.backend(), "model." + p->name, p->value);
    network.parameters().values_changed();
}

void Checkpoint::restore(Optimizer& optimizer, const ParameterStore& store) const {
    if (!has_optimizer_)
        throw Error(name_ + " holds a model without its optimizer, so training cannot go on from it",
                    "resume from checkpoints/last.safetensors of the run");
    for (size_t i = 0; i < optimizer.moments().size(); ++i) {
        const std::string& name = store.all()[i]->name;
        upload(store.backend(), "opt.m." + name, optimizer.moments()[i].m);
        upload(store.backend(), "opt.v." + name, optimizer.moments()[i].v);
    }
    optimizer.set_steps(state_.step);
}

}  // namespace nigiri
