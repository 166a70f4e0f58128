#include "model/classifier_file.h"

#include <nlohmann/json.hpp>

namespace nigiri {

using nlohmann::json;

namespace {

constexpr const char* classifier_format = "nigiri-classifier";

// The blocks' configuration in the form that checkpoints have, so that one reader judges both.
std::string to_json(const ClassifierConfig& c) {
    Config blocks;
    blocks.model = c.model;
    return json({{"inputs", c.inputs},
                 {"length", c.length},
                 {"features", c.features},
                 {"classes", c.classes},
                 {"model", nigiri::to_json(blocks)}})
        .dump();
}

ClassifierConfig from_json(const std::string& text) {
    const auto shallow = [](int depth, json::parse_event_t, json&) {
        if (depth > 4) throw Error("its configuration is nested too deeply", "the file is damaged");
        return true;
    };
    const json in = json::parse(text, shallow, /*allow_exceptions=*/false);
    if (!in.is_object()) throw Error("its configuration is not readable", "the file is damaged");
    const auto number = [&](const char* name) {
        if (!in.contains(name) || !in[name].is_number_integer())
            throw Error(std::string("its configuration lacks '") + name + "'", "the file is damaged");
        return in[name].get<int64_t>();
    };
    ClassifierConfig c;
    c.inputs = number("inputs");
    c.length = number("length");
    c.features = number("features");
    c.classes = number("classes");
    if (!in.contains("model") || !in["model"].is_string())
        throw Error("its configuration lacks 'model'", "the file is damaged");
    c.model = config_from_json(in["model"].get<std::string>()).model;
    validate(c);
    return c;
}

}  // namespace

void save_classifier(const std::filesystem::path& path, const SequenceClassifier& classifier,
                     const std::string& front_end, const ModelFacts& facts) {
    SafeTensorsWriter writer;
    std::vector<std::unique_ptr<std::vector<float>>> host;  // alive until written
    for (const auto& p : classifier.parameters().all()) {
        host.push_back(std::make_unique<std::vector<float>>(download_floats(classifier.backend(), p->value)));
        std::vector<int64_t> shape;
        for (int i = 0; i < p->value.shape().rank(); ++i) shape.push_back(p->value.shape()[i]);
        const auto* bytes = reinterpret_cast<const uint8_t*>(host.back()->data());
        writer.add("model." + p->name, "F32", shape, {bytes, host.back()->size() * sizeof(float)});
    }
    for (const auto& [key, value] : facts) writer.set_metadata("fact." + key, value);
    writer.set_metadata("format", classifier_format);
    writer.set_metadata("version", std::to_string(classifier_version));
    writer.set_metadata("config", to_json(classifier.config()));
    writer.set_metadata("front_end", front_end);
    writer.write(path);
}

ClassifierFile ClassifierFile::read(const std::filesystem::path& path) {
    ClassifierFile c;
    c.file_ = SafeTensorsFile::read(path);
    c.name_ = path.string();
    c.interpret();
    return c;
}

ClassifierFile ClassifierFile::parse(std::vector<uint8_t> bytes, const std::string& name) {
    ClassifierFile c;
    c.file_ = SafeTensorsFile::parse(std::move(bytes), name);
    c.name_ = name;
    c.interpret();
    return c;
}

void ClassifierFile::interpret() {
    const auto& metadata = file_.metadata();
    const auto field = [&](const char* key) {
        const auto it = metadata.find(key);
        return it == metadata.end() ? std::string() : it->second;
    };
    if (field("format") != classifier_format)
        throw Error(name_ + " is not a nigiri classifier", "give a file written by nigiri digits train-classifier");
    if (field("version") != std::to_string(classifier_version))
        throw Error(name_ + " has classifier version " + field("version").substr(0, 20) +
                        ", this program reads version " + std::to_string(classifier_version),
                    "train it again with nigiri digits train-classifier");
    try {
        config_ = from_json(field("config"));
    } catch (const Error& e) {
        throw Error(name_ + ": " + e.what(), e.hint());
    }
    front_end_ = field("front_end");
    for (const auto& [key, value] : metadata)
        if (key.starts_with("fact.")) facts_[key.substr(5)] = value;
    // Before anything is allocated: a lying configuration cannot ask for more memory than the file has.
    int64_t held = 0;
    for (const auto& [name, tensor] : file_.tensors())
        if (name.starts_with("model.")) held += tensor.size();
    if (held != parameter_count(config_))
        throw Error(name_ + " holds " + std::to_string(held) + " weights where its configuration needs " +
                        std::to_string(parameter_count(config_)),
                    "the file is damaged");
}

std::unique_ptr<SequenceClassifier> ClassifierFile::make(std::shared_ptr<Backend> backend) const {
    auto classifier = std::make_unique<SequenceClassifier>(std::move(backend), config_, DType::f32, 0);
    for (const auto& p : classifier->parameters().all()) {
        const std::string name = "model." + p->name;
        const SafeTensor& t = file_.at(name);
        std::vector<int64_t> shape;
        for (int i = 0; i < p->value.shape().rank(); ++i) shape.push_back(p->value.shape()[i]);
        if (t.shape != shape)
            throw Error(name_ + ": tensor '" + name + "' has not the shape " + p->value.shape().text(),
                        "the file is damaged");
        upload_values(classifier->backend(), file_.values(name), p->value);
    }
    classifier->parameters().values_changed();
    return classifier;
}

}  // namespace nigiri
