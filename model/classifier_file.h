// A classifier on disk: one safetensors file holds the weights (`model.NAME`) and, in its metadata, the configuration
// as JSON, the name of the front end that made its inputs, and facts ("data", "licence", "test_accuracy", ...).
#pragma once

#include <filesystem>

#include "model/checkpoint.h"
#include "model/classifier.h"

namespace nigiri {

inline constexpr int classifier_version = 1;

// Replaces `path` atomically. float32.
void save_classifier(const std::filesystem::path& path, const SequenceClassifier& classifier,
                     const std::string& front_end, const ModelFacts& facts);

class ClassifierFile {
  public:
    // Reads and checks the file: kind, version, configuration, and that it holds all the weights of that configuration.
    // Throws Error in one line on anything else.
    static ClassifierFile read(const std::filesystem::path& path);
    static ClassifierFile parse(std::vector<uint8_t> bytes, const std::string& name);

    const ClassifierConfig& config() const { return config_; }
    const std::string& front_end() const { return front_end_; }
    const ModelFacts& facts() const { return facts_; }
    std::unique_ptr<SequenceClassifier> make(std::shared_ptr<Backend> backend) const;

  private:
    void interpret();

    std::string name_;
    SafeTensorsFile file_;
    ClassifierConfig config_;
    std::string front_end_;
    ModelFacts facts_;
};

}  // namespace nigiri
