#include "model/config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "kernels/error.h"

namespace nigiri {

using nlohmann::json;

namespace {

template <class E>
struct EnumName {
    E value;
    const char* name;
};

constexpr EnumName<SsmKind> ssm_kinds[] = {{SsmKind::s4d, "s4d"},
                                           {SsmKind::s4, "s4"},
                                           {SsmKind::s6, "s6"},
                                           {SsmKind::hyena, "hyena"},
                                           {SsmKind::attention, "attention"}};
constexpr EnumName<SsmInit> ssm_inits[] = {{SsmInit::lin, "lin"},
                                           {SsmInit::inv, "inv"},
                                           {SsmInit::legs, "legs"},
                                           {SsmInit::real, "real"},
                                           {SsmInit::random, "random"}};
constexpr EnumName<Discretization> discretizations[] = {
    {Discretization::euler, "euler"}, {Discretization::zoh, "zoh"}, {Discretization::bilinear, "bilinear"}};
constexpr EnumName<BlockKind> block_kinds[] = {
    {BlockKind::mamba, "mamba"}, {BlockKind::s4_mlp, "s4-mlp"}, {BlockKind::plain, "plain"}, {BlockKind::h3, "h3"}};
constexpr EnumName<UNetForm> unet_forms[] = {{UNetForm::sashimi, "sashimi"}, {UNetForm::unet, "unet"}};
constexpr EnumName<NormKind> norm_kinds[] = {
    {NormKind::layer, "layer"}, {NormKind::rms, "rms"}, {NormKind::scalar, "scalar"}};
constexpr EnumName<Schedule> schedules[] = {
    {Schedule::cosine, "cosine"}, {Schedule::plateau, "plateau"}, {Schedule::constant, "constant"}};
constexpr EnumName<Precision> precisions[] = {
    {Precision::automatic, "auto"}, {Precision::f32, "f32"}, {Precision::bf16, "bf16"}};

std::span<const EnumName<SsmKind>> names_of(SsmKind) { return ssm_kinds; }
std::span<const EnumName<SsmInit>> names_of(SsmInit) { return ssm_inits; }
std::span<const EnumName<Discretization>> names_of(Discretization) { return discretizations; }
std::span<const EnumName<BlockKind>> names_of(BlockKind) { return block_kinds; }
std::span<const EnumName<UNetForm>> names_of(UNetForm) { return unet_forms; }
std::span<const EnumName<NormKind>> names_of(NormKind) { return norm_kinds; }
std::span<const EnumName<Schedule>> names_of(Schedule) { return schedules; }
std::span<const EnumName<Precision>> names_of(Precision) { return precisions; }

template <class E>
std::string enum_name(E value) {
    for (const auto& entry : names_of(value))
        if (entry.value == value) return entry.name;
    throw Error("an enum has a value without a name");
}

template <class E>
E enum_value(const std::string& name, const std::string& field) {
    std::string choices;
    for (const auto& entry : names_of(E{})) {
        if (entry.name == name) return entry.value;
        choices += (choices.empty() ? "" : ", ") + std::string(entry.name);
    }
    throw Error("'" + name + "' is no value of " + field, "choose one of " + choices);
}

// The fields of each struct, once, for reading and for writing.
template <class V>
void visit(SsmConfig& c, V&& v) {
    v("kind", c.kind), v("complex", c.is_complex), v("state", c.state), v("init", c.init);
    v("discretization", c.discretization), v("dt_min", c.dt_min), v("dt_max", c.dt_max), v("copies", c.copies);
    v("selective_delta", c.selective_delta), v("selective_b", c.selective_b), v("selective_c", c.selective_c);
    v("dt_rank", c.dt_rank), v("heads", c.heads);
    v("filter_width", c.filter_width), v("filter_bands", c.filter_bands);
}
template <class V>
void visit(LayerConfig& c, V&& v) {
    v("block", c.block), v("ssm", c.ssm), v("expand", c.expand), v("conv_width", c.conv_width);
    v("ff_expand", c.ff_expand), v("glu", c.glu);
}
template <class V>
void visit(ModelConfig& c, V&& v) {
    v("vocabulary", c.vocabulary), v("width", c.width), v("layers", c.layers), v("pools", c.pools);
    v("pool_expand", c.pool_expand), v("form", c.form), v("norm", c.norm), v("norm_eps", c.norm_eps);
    v("tied_head", c.tied_head);
    v("outer", c.outer), v("centre", c.centre);
}
template <class V>
void visit(TrainingConfig& c, V&& v) {
    v("batch", c.batch), v("length", c.length), v("steps", c.steps), v("minutes", c.minutes);
    v("learning_rate", c.learning_rate), v("state_space_rate", c.state_space_rate);
    v("beta1", c.beta1), v("beta2", c.beta2), v("eps", c.eps), v("weight_decay", c.weight_decay), v("clip", c.clip);
    v("precision", c.precision), v("recompute", c.recompute), v("recompute_cheap", c.recompute_cheap),
        v("graph", c.graph);
    v("schedule", c.schedule), v("warmup", c.warmup), v("final_rate", c.final_rate);
    v("plateau_factor", c.plateau_factor), v("plateau_patience", c.plateau_patience), v("seed", c.seed);
    v("log_every", c.log_every), v("validate_every", c.validate_every);
    v("validation_segments", c.validation_segments), v("checkpoint_every", c.checkpoint_every);
    v("preview_every", c.preview_every), v("preview_seconds", c.preview_seconds);
}
template <class V>
void visit(SignalConfig& c, V&& v) {
    v("sample_rate", c.sample_rate), v("quantization", c.quantization), v("scaling", c.scaling);
}
template <class V>
void visit(Config& c, V&& v) {
    v("model", c.model), v("training", c.training), v("signal", c.signal);
}

template <class T>
json write(T value);  // structs

struct Writer {
    json out = json::object();
    template <class T>
    void operator()(const char* name, T& value) {
        if constexpr (std::is_enum_v<T>)
            out[name] = enum_name(value);
        else if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::string> ||
                           std::is_same_v<T, std::vector<int64_t>>)
            out[name] = value;
        else
            out[name] = write(value);
    }
};

template <class T>
json write(T value) {
    Writer writer;
    visit(value, writer);
    return writer.out;
}

struct Reader {
    const json& in;
    std::string path;
    std::set<std::string> known;

    [[noreturn]] void wrong(const std::string& field, const char* kind) const {
        throw Error("configuration field '" + field + "' is not " + kind, "the file is damaged or of another version");
    }

    template <class T>
    void operator()(const char* name, T& value) {
        known.insert(name);
        if (!in.contains(name)) return;
        const json& j = in[name];
        const std::string field = path + name;
        if constexpr (std::is_enum_v<T>) {
            if (!j.is_string()) wrong(field, "a name");
            value = enum_value<T>(j.get<std::string>(), field);
        } else if constexpr (std::is_same_v<T, bool>) {
            if (!j.is_boolean()) wrong(field, "true or false");
            value = j.get<bool>();
        } else if constexpr (std::is_integral_v<T>) {
            if (!j.is_number_integer()) wrong(field, "a whole number");
            if constexpr (std::is_unsigned_v<T>) {
                if (!j.is_number_unsigned()) wrong(field, "a whole number from 0");
            } else if (j.is_number_unsigned() && j.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
                wrong(field, "a number in range");
            }
            if constexpr (sizeof(T) == 4) {
                const int64_t wide = j.get<int64_t>();
                if (wide < INT32_MIN || wide > INT32_MAX) wrong(field, "a number in range");
            }
            value = j.get<T>();
        } else if constexpr (std::is_floating_point_v<T>) {
            if (!j.is_number()) wrong(field, "a number");
            value = j.get<T>();
        } else if constexpr (std::is_same_v<T, std::string>) {
            if (!j.is_string()) wrong(field, "a text");
            value = j.get<std::string>();
        } else if constexpr (std::is_same_v<T, std::vector<int64_t>>) {
            if (!j.is_array() || j.size() > 8) wrong(field, "a short list of numbers");
            value.clear();
            for (const json& x : j) {
                if (!x.is_number_integer()) wrong(field, "a list of whole numbers");
                value.push_back(x.get<int64_t>());
            }
        } else {
            if (!j.is_object()) wrong(field, "a group of fields");
            Reader inner{j, field + ".", {}};
            visit(value, inner);
            inner.finish();
        }
    }

    void finish() const {
        for (const auto& [key, unused] : in.items())
            if (!known.count(key))
                throw Error("configuration field '" + path + key + "' is unknown",
                            "the file is of a newer version of nigiri; update, or use another checkpoint");
    }
};

void check(bool holds, const std::string& field, const std::string& rule) {
    if (!holds) throw Error("configuration: " + field + " must be " + rule, "correct the option or the file");
}

template <class T>
void check_range(T value, T low, T high, const std::string& field) {
    std::string from = std::to_string(low), to = std::to_string(high);
    check(value >= low && value <= high, field, "between " + from + " and " + to);  // false for NaN
}

void validate_layer(const LayerConfig& c, const std::string& name) {
    const SsmConfig& s = c.ssm;
    check_range<int64_t>(s.state, 1, 1024, name + ".ssm.state");
    check(!s.is_complex || s.state % 2 == 0, name + ".ssm.state", "even for a complex layer");
    check(s.kind != SsmKind::s4 || s.is_complex, name + ".ssm.complex", "true for s4");
    check(s.kind != SsmKind::s4 || s.discretization == Discretization::bilinear, name + ".ssm.discretization",
          "bilinear for s4");
    check(s.kind != SsmKind::s4 || s.init == SsmInit::legs, name + ".ssm.init", "legs for s4");
    check(s.kind != SsmKind::s4d || s.discretization != Discretization::euler, name + ".ssm.discretization",
          "zoh or bilinear for s4d");
    check(s.init == SsmInit::random || (s.init == SsmInit::real) == !s.is_complex, name + ".ssm.init",
          "real or random for a real layer, lin, inv, legs or random for a complex one");
    check_range(s.dt_min, 1e-6, 1.0, name + ".ssm.dt_min");
    check_range(s.dt_max, s.dt_min, 10.0, name + ".ssm.dt_max");
    check_range<int64_t>(s.copies, 0, 65536, name + ".ssm.copies");
    check_range<int64_t>(s.dt_rank, 0, 4096, name + ".ssm.dt_rank");
    check_range<int64_t>(s.heads, 1, 1024, name + ".ssm.heads");
    check_range<int64_t>(s.filter_width, 1, 4096, name + ".ssm.filter_width");
    check_range<int64_t>(s.filter_bands, 1, 1024, name + ".ssm.filter_bands");
    check_range<int64_t>(c.expand, 1, 16, name + ".expand");
    check_range<int64_t>(c.conv_width, 1, 8, name + ".conv_width");
    check_range<int64_t>(c.ff_expand, 0, 16, name + ".ff_expand");
}

void validate_training(const TrainingConfig& t) {
    check_range<int64_t>(t.batch, 1, 65536, "training.batch");
    check_range<int64_t>(t.length, 1, int64_t{1} << 24, "training.length");
    check_range<int64_t>(t.steps, 0, 1'000'000'000, "training.steps");
    check_range(t.minutes, 0.0, 1e7, "training.minutes");
    check_range(t.learning_rate, 0.0, 10.0, "training.learning_rate");
    check_range(t.state_space_rate, 0.0, 10.0, "training.state_space_rate");
    check_range(t.beta1, 0.0, 0.99999, "training.beta1");
    check_range(t.beta2, 0.0, 0.999999, "training.beta2");
    check_range(t.eps, 1e-30, 1.0, "training.eps");
    check_range(t.weight_decay, 0.0, 100.0, "training.weight_decay");
    check_range(t.clip, 0.0, 1e9, "training.clip");
    check_range(t.warmup, 0.0, 1.0, "training.warmup");
    check_range(t.final_rate, 0.0, 1.0, "training.final_rate");
    check_range(t.plateau_factor, 0.0, 1.0, "training.plateau_factor");
    check_range<int64_t>(t.plateau_patience, 0, 1'000'000, "training.plateau_patience");
    check_range<int64_t>(t.log_every, 1, 1'000'000'000, "training.log_every");
    check_range<int64_t>(t.validate_every, 0, 1'000'000'000, "training.validate_every");
    check_range<int64_t>(t.validation_segments, 1, 1'000'000, "training.validation_segments");
    check_range<int64_t>(t.checkpoint_every, 0, 1'000'000'000, "training.checkpoint_every");
    check_range<int64_t>(t.preview_every, 0, 1'000'000'000, "training.preview_every");
    check_range(t.preview_seconds, 0.0, 600.0, "training.preview_seconds");
}

}  // namespace

std::string to_string(SsmKind v) { return enum_name(v); }
std::string to_string(SsmInit v) { return enum_name(v); }
std::string to_string(Discretization v) { return enum_name(v); }
std::string to_string(BlockKind v) { return enum_name(v); }
std::string to_string(UNetForm v) { return enum_name(v); }
std::string to_string(NormKind v) { return enum_name(v); }
std::string to_string(Schedule v) { return enum_name(v); }
std::string to_string(Precision v) { return enum_name(v); }
Precision precision_by_name(const std::string& name) { return enum_value<Precision>(name, "--precision"); }

bool remembers_all(SsmKind kind) { return kind == SsmKind::hyena || kind == SsmKind::attention; }

int64_t ModelConfig::pool_product() const {
    int64_t product = 1;
    for (const int64_t p : pools) product *= p;
    return product;
}

void validate(const Config& config) {
    const ModelConfig& m = config.model;
    check_range<int64_t>(m.vocabulary, 2, 65536, "model.vocabulary");
    check_range<int64_t>(m.width, 1, 8192, "model.width");
    check_range<int64_t>(m.layers, 1, 256, "model.layers");
    check(m.pools.size() <= 6, "model.pools", "at most six factors");
    check_range<int64_t>(m.pool_expand, 1, 8, "model.pool_expand");
    int64_t width = m.width, product = 1;
    for (const int64_t p : m.pools) {
        check_range<int64_t>(p, 2, 4096, "model.pools");
        product *= p;
        width *= m.pool_expand;
        check_range<int64_t>(product, 1, 1 << 20, "the product of model.pools");
        check_range<int64_t>(width, 1, 65536, "the width of the innermost stage");
    }
    check_range(m.norm_eps, 0.0, 1.0, "model.norm_eps");
    validate_layer(m.outer, "model.outer");
    validate_layer(m.centre, "model.centre");
    validate_training(config.training);
    check_range(config.signal.sample_rate, 1000, 384000, "signal.sample_rate");
    check(config.signal.quantization == "mu-law" || config.signal.quantization == "linear", "signal.quantization",
          "mu-law or linear");
    check(config.signal.scaling == "full-scale" || config.signal.scaling == "segment-minmax", "signal.scaling",
          "full-scale or segment-minmax");
}

std::string to_json(const Config& config) { return write(config).dump(); }

Config config_from_json(const std::string& text) {
    const auto shallow = [](int depth, json::parse_event_t, json&) {
        if (depth > 8) throw Error("the configuration is nested too deeply", "the file is damaged");
        return true;
    };
    const json in = json::parse(text, shallow, /*allow_exceptions=*/false);
    if (!in.is_object()) throw Error("the configuration is not a JSON object", "the file is damaged");
    Config config;
    Reader reader{in, "", {}};
    visit(config, reader);
    reader.finish();
    validate(config);
    return config;
}

}  // namespace nigiri
