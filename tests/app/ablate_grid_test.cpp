// Grid files: what they mean, and what is wrong with them, line by line.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "app/ablate/grid.h"
#include "app/ablate/grid_text.h"

namespace nigiri::app {
namespace {

namespace fs = std::filesystem;

// The message of what parse_grid throws; empty where it throws nothing.
std::string complaint(const std::string& text) {
    try {
        parse_grid(text, "g.toml");
    } catch (const Error& e) {
        return e.what();
    }
    return "";
}

const std::string head = "[budget]\nsteps = 10\n[base]\npreset = \"tiny\"\n";  // four lines

TEST(GridText, IsASmallPartOfToml) {
    const auto sections = parse_grid_text(
        "# a comment\n"
        "a = \"x # \\\"y\\\" \\\\\"  # another\n"
        "\n"
        "[s.t]\r\n"
        "n = 1_000\n"
        "l = [1, 2.5, \"z\", true, ]\n"
        "e = []",
        "f");
    ASSERT_EQ(sections.size(), 2u);
    EXPECT_EQ(sections[0].entries[0].values, std::vector<std::string>{"x # \"y\" \\"});
    EXPECT_EQ(sections[0].entries[0].line, 2);
    EXPECT_EQ(sections[1].name, "s.t");
    EXPECT_EQ(sections[1].line, 4);
    EXPECT_EQ(sections[1].entries[0].text(), "1000");
    EXPECT_EQ(sections[1].entries[1].text(), "1,2.5,z,true");
    EXPECT_TRUE(sections[1].entries[1].is_list);
    EXPECT_TRUE(sections[1].entries[2].values.empty());
}

TEST(GridText, SaysWhereItIsWrong) {
    for (const auto& [text, line, word] : std::vector<std::tuple<std::string, int, std::string>>{
             {"a = 1\nb\n", 2, "'='"},
             {"a = 1\na = 2\n", 2, "already"},
             {"[s]\n[s]\n", 2, "already"},
             {"\n\na = \n", 3, "no value"},
             {"a = lin\n", 1, "'lin'"},
             {"a = \"lin\n", 1, "no end"},
             {"a = \"l\\n\"\n", 1, "backslash"},
             {"a = [1, 2\n", 1, "','"},
             {"a = [1 2]\n", 1, "','"},
             {"a = 1 2\n", 1, "behind"},
             {"[s\n", 1, "']'"},
             {"= 1\n", 1, "no key"},
             {"a = 1__.2.3\n", 1, "value"},
             {std::string("a = \"\x01\"\n"), 1, "control"},
         }) {
        try {
            parse_grid_text(text, "f.toml");
            ADD_FAILURE() << text;
        } catch (const Error& e) {
            const std::string what = e.what();
            EXPECT_TRUE(what.starts_with("f.toml, line " + std::to_string(line) + ": ")) << text << what;
            EXPECT_NE(what.find(word), std::string::npos) << text << what;
        }
    }
    EXPECT_THROW(parse_grid_text(std::string((1 << 20) + 1, ' '), "f"), Error);
}

TEST(Grid, RowsReplaceWhatTheBaseSays) {
    const Grid grid =
        parse_grid("title = \"T\"\nseeds = [3, 5]\nreference = \"b\"\n" + head +
                       "width = 16\nstate = 8\n"
                       "[row.a]\n"
                       "[row.b]\nlayer = \"mamba-s6\"\nstate = 4\nmodel.centre.ssm.state = 2\nlearning-rate = 1e-3\n"
                       "[row.c]\nlayer = \"mamba-s6-complex\"\nselective = [\"delta\"]\n",
                   "g.toml");
    EXPECT_EQ(grid.seeds, (std::vector<uint64_t>{3, 5}));
    ASSERT_EQ(grid.rows.size(), 3u);
    EXPECT_EQ(grid.runs(), 6u);
    EXPECT_EQ(grid.reference, 1u);
    EXPECT_EQ(grid.rows[0].config.model.width, 16);
    EXPECT_EQ(grid.rows[0].config.model.outer.ssm.state, 8);
    EXPECT_EQ(grid.rows[1].config.model.outer.ssm.state, 4);
    EXPECT_EQ(grid.rows[1].config.model.centre.ssm.state, 2);
    EXPECT_EQ(grid.rows[1].config.training.learning_rate, 1e-3);
    EXPECT_EQ(grid.rows[2].config.model.outer.ssm.state, 8) << "an option of the base holds for every layer";
    EXPECT_TRUE(grid.rows[2].config.model.centre.ssm.selective_delta);
    EXPECT_FALSE(grid.rows[2].config.model.centre.ssm.selective_b);
    for (const GridRow& r : grid.rows) {
        EXPECT_EQ(r.config.training.steps, 10);
        EXPECT_EQ(r.config.training.minutes, 0);
        EXPECT_EQ(r.config.training.preview_every, 0);
        EXPECT_EQ(r.config.training.validate_every, 1);
    }
}

TEST(Grid, AxesAreMultipliedTheLastFastest) {
    const Grid grid = parse_grid(head +
                                     "[axes]\nlayer = [\"mamba-s4\", \"s4-mlp\"]\nstate = [4, 8, 16]\n"
                                     "[row.x]\n[row.y]\nwidth = 16\n[row.z]\nstate = 2\n",
                                 "g.toml");
    std::vector<std::string> names;
    for (const GridRow& r : grid.rows) names.push_back(r.name);
    EXPECT_EQ(names, (std::vector<std::string>{"x-mamba-s4-state-4", "x-mamba-s4-state-8", "x-mamba-s4-state-16",
                                               "x-s4-mlp-state-4", "x-s4-mlp-state-8", "x-s4-mlp-state-16",
                                               "y-mamba-s4-state-4", "y-mamba-s4-state-8", "y-mamba-s4-state-16",
                                               "y-s4-mlp-state-4", "y-s4-mlp-state-8", "y-s4-mlp-state-16",
                                               "z-mamba-s4", "z-s4-mlp"}));
    EXPECT_EQ(grid.rows[4].place, (std::vector<std::string>{"s4-mlp", "8"}));
    EXPECT_EQ(grid.rows[4].config.model.outer.block, BlockKind::s4_mlp);
    EXPECT_EQ(grid.rows[4].config.model.outer.ssm.state, 8);
    EXPECT_EQ(grid.rows[13].place, (std::vector<std::string>{"s4-mlp", ""})) << "outside of the axis it sets itself";
    EXPECT_EQ(grid.rows[13].config.model.outer.ssm.state, 2);

    const Grid alone = parse_grid(head + "[axes]\npools = [\"4,4\", \"2\"]\n", "g.toml");
    ASSERT_EQ(alone.rows.size(), 2u);
    EXPECT_EQ(alone.rows[0].name, "pools-4-4");
    EXPECT_EQ(alone.rows[1].config.model.pools, std::vector<int64_t>{2});
}

TEST(Grid, BudgetsAreEqual) {
    const Grid tokens = parse_grid(
        "[budget]\ntokens = 1e6\n[base]\npreset = \"tiny\"\nbatch = 3\n[axes]\nlength = [4096, 1024]\n", "g.toml");
    // 1e6 / (3 x 4096) = 81.4, 1e6 / (3 x 1024) = 325.5: whole steps, no fewer tokens than asked.
    EXPECT_EQ(tokens.rows[0].config.training.steps, 82);
    EXPECT_EQ(tokens.rows[1].config.training.steps, 326);

    const Grid context = parse_grid(
        "[budget]\ntokens = 262_144_000\ntokens-per-batch = 1_048_576\n[axes]\n"
        "length = [8192, 16384, 30720, 61440, 120832, 239616, 479232, 958464]\n",
        "g.toml");
    std::vector<int64_t> batches;
    for (const GridRow& r : context.rows) {
        batches.push_back(r.config.training.batch);
        const TrainingConfig& t = r.config.training;
        EXPECT_EQ(t.validation_segments, t.batch) << "as much audio for all";
        EXPECT_LE(t.batch * t.length, 1'048'576);
        EXPECT_GE(t.batch * t.length, 958'464);
        EXPECT_GE(t.steps * t.batch * t.length, 262'144'000);
        EXPECT_LT((t.steps - 1) * t.batch * t.length, 262'144'000);
    }
    EXPECT_EQ(batches, (std::vector<int64_t>{128, 64, 34, 17, 8, 4, 2, 1}));
}

TEST(Grid, SaysWhichLineIsToBlame) {
    const std::string row = head + "[row.a]\n";  // five lines
    for (const auto& [text, line, word] : std::vector<std::tuple<std::string, int, std::string>>{
             {row + "colour = 3\n", 6, "no option 'colour'"},
             {row + "steps = 3\n", 6, "cannot be set"},
             {row + "config = \"x\"\n", 6, "cannot be set"},
             {row + "width = \"wide\"\n", 6, "'wide'"},
             {row + "layer = \"mamba-s5\"\n", 6, "mamba-s5"},
             {row + "model.outer.ssm.states = 3\n", 6, "model.outer.ssm.states"},
             {row + "width = 16\nstate = 7\n", 7, "even"},
             {row + "selective = [\"delta\", \"d\"]\n", 6, "d"},
             {row + "length = 1000\n", 5, "pools"},
             {row + "[evaluate]\nsplit = \"exam\"\n", 7, "exam"},
             {row + "[evaluate]\nclips = 2.5\n", 7, "whole"},
             {row + "[evaluate]\nclips = 1000\n", 7, "1000"},
             {row + "[evaluate]\nmetrics = 1\n", 7, "true or false"},
             {row + "[evaluate]\nloudness = 1\n", 7, "'loudness' is unknown"},
             {row + "[weights]\n", 6, "no section"},
             {row + "[axes]\nstate = 4\n", 7, "list"},
             {row + "[axes]\nstate = []\n", 7, "list"},
             {row + "[axes]\nstate = [4, 4]\n", 5, "two rows"},
             {row + "[row.../../x]\n", 6, "']'"},
             {row + "[row..hidden]\n", 6, "no name"},
             {"seeds = [1, 1]\n" + row, 1, "seed"},
             {"seeds = [-1]\n" + row, 1, "seed"},
             {"colour = 1\n" + row, 1, "unknown"},
             {"reference = \"b\"\n" + row, 1, "no row 'b'"},
             {"[budget]\ntokens = 0\n", 2, "tokens"},
             {"[budget]\ntokens = 10\nsteps = 1\n", 3, "not both"},
             {"[budget]\n[row.a]\n", 1, "no budget"},
             {"[budget]\nsteps = 1\ntokens-per-batch = 8192\n[row.a]\nbatch = 2\n", 4, "tokens-per-batch"},
         }) {
        const std::string what = complaint(text);
        EXPECT_TRUE(what.starts_with("g.toml, line " + std::to_string(line) + ": ")) << text << what;
        EXPECT_NE(what.find(word), std::string::npos) << text << what;
    }
    EXPECT_NE(complaint(head).find("no rows"), std::string::npos);
    std::string many = head + "[axes]\n";
    for (const std::string key : {"width", "state", "layers"}) {
        many += key + " = [";
        for (int i = 1; i <= 11; ++i) many += std::to_string(2 * i) + ", ";
        many += "]\n";
    }
    EXPECT_NE(complaint(many).find("too many rows"), std::string::npos);
}

TEST(Grid, RowsAreChosenByNameFamilyOrPattern) {
    const Grid grid = parse_grid(head + "[axes]\nstate = [4, 8]\n[row.s4]\n[row.s6]\nlayer = \"mamba-s6\"\n", "g.toml");
    EXPECT_EQ(chosen_rows(grid, {}), (std::vector<bool>{true, true, true, true}));
    EXPECT_EQ(chosen_rows(grid, {"s4-state-8"}), (std::vector<bool>{false, true, false, false}));
    EXPECT_EQ(chosen_rows(grid, {"s6"}), (std::vector<bool>{false, false, true, true}));
    EXPECT_EQ(chosen_rows(grid, {"*-4", "s6-state-8"}), (std::vector<bool>{true, false, true, true}));
    EXPECT_THROW(chosen_rows(grid, {"s4", "s5"}), Error);
}

TEST(Grid, KnowsWhatMakesAnotherExperiment) {
    const Config a = preset_by_name("tiny");
    Config b = a;
    b.training.checkpoint_every = 7;
    b.training.validate_every = 9;
    b.training.recompute = true;
    EXPECT_TRUE(same_experiment(a, b));
    b.training.seed = 1;
    EXPECT_FALSE(same_experiment(a, b));
    b = a;
    b.training.steps += 1;
    EXPECT_FALSE(same_experiment(a, b));
    b = a;
    b.model.centre.ssm.state = 8;
    EXPECT_FALSE(same_experiment(a, b));
    Config plateau = a;
    plateau.training.schedule = Schedule::plateau;
    b = plateau;
    b.training.validate_every = 9;
    EXPECT_FALSE(same_experiment(plateau, b)) << "this schedule follows the validations";
}

TEST(Grid, TheShippedOnesCanBeRead) {
    size_t count = 0;
    for (const auto& entry : fs::directory_iterator(fs::path(NIGIRI_SOURCE_DIR) / "assets" / "ablations")) {
        SCOPED_TRACE(entry.path().string());
        ++count;
        const Grid grid = read_grid(entry.path());
        EXPECT_FALSE(grid.title.empty());
        EXPECT_FALSE(grid.about.empty());
        EXPECT_GE(grid.seeds.size(), 2u);
        EXPECT_GE(grid.rows.size(), 5u);
        EXPECT_EQ(grid.evaluation.split, Split::test);
        double least = 1e300, most = 0;
        for (const GridRow& r : grid.rows) {
            const TrainingConfig& t = r.config.training;
            const auto tokens = static_cast<double>(t.steps * t.batch * t.length);
            least = std::min(least, tokens);
            most = std::max(most, tokens);
            EXPECT_EQ(t.schedule, Schedule::cosine);
            for (const GridRow& other : grid.rows)
                EXPECT_EQ(same_experiment(other.config, r.config), &other == &r) << r.name << " " << other.name;
        }
        EXPECT_LT(most / least, 1.005) << "one budget for all";
    }
    EXPECT_EQ(count, 7u);
    EXPECT_THROW(read_grid("/nowhere.toml"), Error);
    EXPECT_THROW(read_grid(NIGIRI_SOURCE_DIR), Error);
}

}  // namespace
}  // namespace nigiri::app
