// nigiri compare from end to end: two tiny models, their page, numbers and clips.
#include <signal.h>

#include <set>

#include "audio/file.h"
#include "tests/app/cli.h"

namespace nigiri {
namespace {

// Runs of two layers in folders whose names are meant to break pages.
class Compare : public Cli {
  protected:
    const std::string first = "run <b>&\"1\"", second = "s4|mlp_*";

    void SetUp() override {
        make_audio("audio", 8);
        for (const auto& [run, layer] : {std::pair(first, "mamba-s4"), std::pair(second, "s4-mlp")}) {
            Arguments train = train_arguments(run, 12);
            train.insert(train.end(), {"--layer", layer});
            const auto r = nigiri(train);
            ASSERT_EQ(r.code, 0) << r.err;
        }
    }

    Arguments compare_arguments(const std::string& output) const {
        return {"compare",   text(first), text(second), "--data", text("audio"), "-o",    text(output), "--count", "3",
                "--seconds", "0.2",       "--seed",     "5",      "--split",     "train", "--threads",  "1"};
    }

    std::string content(const std::string& name) const {
        std::ifstream in(at(name), std::ios::binary);
        return {std::istreambuf_iterator<char>(in), {}};
    }
};

size_t count(const std::string& text, const std::string& part) {
    size_t n = 0;
    for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
    return n;
}

// Every tag is closed in order, attributes are quoted; the page is written so that this holds for all elements.
void expect_well_formed(const std::string& page) {
    std::vector<std::string> open;
    for (size_t at = page.find('<'); at != std::string::npos; at = page.find('<', at)) {
        const size_t end = page.find('>', at);
        ASSERT_NE(end, std::string::npos);
        const std::string tag = page.substr(at + 1, end - at - 1), name = tag.substr(0, tag.find_first_of(" \n"));
        at = end;
        if (tag[0] == '!') continue;
        EXPECT_EQ(count(tag, "\"") % 2, 0u) << tag.substr(0, 100);
        if (tag.back() == '/') continue;
        if (tag[0] != '/') {
            open.push_back(name);
            continue;
        }
        ASSERT_FALSE(open.empty()) << tag;
        ASSERT_EQ("/" + open.back(), tag);
        open.pop_back();
    }
    EXPECT_TRUE(open.empty()) << open.back();
}

std::string from_base64(const std::string& text) {
    const std::string letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string out;
    uint32_t bits = 0, n = 0;
    for (const char c : text) {
        if (c == '=') break;
        bits = bits << 6 | static_cast<uint32_t>(letters.find(c));
        if ((n += 6) >= 8) out += static_cast<char>(bits >> (n -= 8) & 255);
    }
    return out;
}

TEST_F(Compare, WritesTablesClipsAndAPage) {
    const json shown = ask(compare_arguments("report"));
    const json report = json::parse(content("report/report.json"));
    EXPECT_EQ(report["complete"], true);
    EXPECT_EQ(report["seed"], 5);
    EXPECT_EQ(report["clips"], 3);
    EXPECT_EQ(report["split"], "train");
    EXPECT_EQ(shown["models"], report["models"]);
    EXPECT_EQ(shown["files"].size(), 3u);
    ASSERT_EQ(report["models"].size(), 2u);
    EXPECT_EQ(report["models"][0]["name"], first);
    EXPECT_EQ(report["models"][1]["name"], second);
    EXPECT_EQ(report["models"][1]["layer"], "s4-mlp (modified)");
    // Six recordings of a second in the train part, cut into pieces of 0.2 s: 3 of 30 are kept apart.
    EXPECT_EQ(report["held_out"]["recordings"], 6);
    EXPECT_DOUBLE_EQ(report["held_out"]["seconds"], 6);
    EXPECT_NEAR(report["held_out"]["reference_seconds"], 27 * 0.2, 1e-9);
    EXPECT_EQ(report["held_out"]["pieces"], 3);

    std::set<std::string> files;
    for (const json& m : report["models"]) {
        EXPECT_EQ(m["complete"], true);
        // The same number as eval's, to the last bit.
        const std::string run = m["name"];
        const json evaluated =
            ask({"eval", "--model", text(run), "--data", text("audio"), "--split", "train", "--threads", "1"});
        EXPECT_EQ(m["bits_per_sample"], evaluated["bits_per_sample"]);
        EXPECT_EQ(m["samples"], evaluated["samples"]);
        EXPECT_EQ(m["recordings"], evaluated["recordings"]);
        const json info = ask({"info", m["model"]});
        EXPECT_EQ(m["parameters"], info["parameters"]);
        EXPECT_EQ(m["step"], info["step"]);
        EXPECT_GT(m["train_tokens_per_second"], 0);
        EXPECT_GT(m["steps_per_second"], 0);
        EXPECT_NEAR(m["samples_per_second"], 3 * m["steps_per_second"].get<double>(), 1e-6);
        // At least the parameters, four bytes each.
        EXPECT_GT(m["memory_bytes"], 4 * m["parameters"].get<int64_t>());
        for (const json& metric : report["metrics"]) {
            EXPECT_TRUE(m["metrics"].contains(metric["key"].get<std::string>())) << metric;
            EXPECT_TRUE(report["held_out"]["metrics"].contains(metric["key"].get<std::string>())) << metric;
        }
        EXPECT_GT(m["metrics"]["frechet_log_mel"], report["held_out"]["metrics"]["frechet_log_mel"])
            << "twelve steps teach nothing";
        ASSERT_EQ(m["clips"].size(), 3u);
        for (const json& c : m["clips"]) {
            const std::string file = c["file"];
            EXPECT_TRUE(files.insert(file).second);
            EXPECT_EQ(file.find_first_of("<>&\"|*"), std::string::npos);
            EXPECT_EQ(read_audio(at("report") / file).samples.size(), 3200u);
            const json tags = json::parse(read_tags(at("report") / file).at("comment"));
            EXPECT_EQ(tags["seed"], 5);
            EXPECT_EQ(tags["log2_likelihood_per_sample"], c["log2_likelihood_per_sample"]);
        }
    }
    // The clips are those that generate makes from this seed.
    const json made = ask({"generate", "--model", text(second), "--seconds", "0.2", "--count", "3", "--seed", "5", "-o",
                           text("clips"), "--threads", "1"});
    std::multiset<double> theirs, ours;
    for (const json& x : made["log2_likelihood_per_sample"]) theirs.insert(x.get<double>());
    for (const json& c : report["models"][1]["clips"]) ours.insert(c["log2_likelihood_per_sample"].get<double>());
    EXPECT_EQ(theirs, ours);
}

TEST_F(Compare, MakesAPageThatStandsAlone) {
    Arguments compare = compare_arguments("out.html");
    compare.insert(compare.end(), {"--prompt-seconds", "0.1", "--no-bits"});
    ask(compare);
    const std::string page = content("out.html"), markdown = content("out.md");
    const json report = json::parse(content("out.json"));
    expect_well_formed(page);
    // Names are text, wherever they stand.
    EXPECT_EQ(page.find("<b>&"), std::string::npos);
    EXPECT_GE(count(page, "run &lt;b&gt;&amp;&quot;1&quot;"), 2u);
    EXPECT_NE(markdown.find("s4\\|mlp\\_\\*"), std::string::npos);
    // Nothing from elsewhere, and no scripts.
    for (const std::string word : {"<script", "http:", "https:", "url(", "@import", "onload", "onclick"})
        EXPECT_EQ(page.find(word), std::string::npos) << word;
    EXPECT_NE(page.find("name=\"viewport\""), std::string::npos);
    // Three clips, each of two models and a recording.
    EXPECT_EQ(count(page, "<audio "), 9u);
    EXPECT_EQ(count(page, "data:image/png;base64,"), 9u);
    EXPECT_EQ(count(page, "a recording <small>"), 3u);
    std::set<std::string> sounds;
    const std::string mark = "data:audio/flac;base64,";
    for (size_t at = page.find(mark); at != std::string::npos; at = page.find(mark, at + 1)) {
        const size_t begin = at + mark.size();
        sounds.insert(from_base64(page.substr(begin, page.find('"', begin) - begin)));
    }
    EXPECT_EQ(sounds.size(), 9u);
    std::ofstream(at("embedded.flac"), std::ios::binary) << *sounds.begin();
    EXPECT_EQ(read_audio(at("embedded.flac")).samples.size(), 4800u) << "0.1 s of prompt and 0.2 s of clip";
    // Without bits nothing is said of them.
    EXPECT_FALSE(report["models"][0].contains("bits_per_sample"));
    EXPECT_EQ(report["complete"], true);
    // The same prompts for both models: the same codes, so the same samples.
    for (size_t i = 0; i < 3; ++i) {
        std::vector<std::vector<float>> prompts;
        for (const json& m : report["models"]) {
            EXPECT_EQ(m["clips"][i]["prompt_samples"], 1600);
            EXPECT_EQ(m["clips"][i]["samples"], 3200);
            auto samples = read_audio(at(m["clips"][i]["file"])).samples;
            ASSERT_EQ(samples.size(), 4800u);
            samples.resize(1600);
            prompts.push_back(samples);
        }
        EXPECT_EQ(prompts[0], prompts[1]);
    }
}

TEST_F(Compare, KeepsWhatWasMadeWhenStopped) {
    // A comparison that would take hours: recordings shorter than the clips are allowed without prompts.
    Arguments endless = compare_arguments("endless");
    endless[std::find(endless.begin(), endless.end(), "--seconds") - endless.begin() + 1] = "3000";
    test::Process long_process(NIGIRI_BINARY, endless, folder.path());
    ASSERT_FALSE(long_process.ended_within(3));
    long_process.send(SIGINT);
    ASSERT_TRUE(long_process.ended_within(30));
    EXPECT_EQ(long_process.wait().code, 0);
    const json report = json::parse(content("endless/report.json"));
    EXPECT_EQ(report["complete"], false);
    EXPECT_EQ(report["models"][0]["complete"], false);
    ASSERT_EQ(report["models"][0]["clips"].size(), 3u);
    EXPECT_GT(read_audio(at("endless") / report["models"][0]["clips"][0]["file"]).samples.size(), 63u);
    EXPECT_FALSE(report["models"][0].contains("metrics")) << "of clips that were cut short";
    EXPECT_NE(content("endless/report.html").find("stopped before its end"), std::string::npos);
    expect_well_formed(content("endless/report.html"));
}

TEST_F(Compare, SaysWhatIsWrongAndOverwritesNothing) {
    ask(compare_arguments("report"));
    const std::string before = content("report/report.json");
    expect_error(compare_arguments("report"), 1, "exists already");
    EXPECT_EQ(content("report/report.json"), before);
    Arguments again = compare_arguments("report");
    again.insert(again.end(), {"--replace", "--no-bits"});
    EXPECT_EQ(nigiri(again).code, 0);
    EXPECT_NE(content("report/report.json"), before);

    const auto with = [&](size_t i, const std::string& value) {
        Arguments a = compare_arguments("other");
        a[i] = value;
        return a;
    };
    expect_error(with(2, text("none")), 1, "none");
    expect_error(with(4, text("nowhere")), 1, "nowhere");
    expect_error(with(6, "/proc/report"), 1, "/proc/report");
    expect_error({"compare", "--data", text("audio"), "-o", text("other")}, 2, "models");
    Arguments prompts = compare_arguments("other");
    prompts.insert(prompts.end(), {"--prompt-seconds", "5"});
    expect_error(prompts, 1, "as long as");
    std::ofstream(at("cut.safetensors")) << "no model";
    expect_error(with(2, text("cut.safetensors")), 1, "cut.safetensors");
    EXPECT_FALSE(fs::exists(at("other/report.html")));
}

}  // namespace
}  // namespace nigiri
