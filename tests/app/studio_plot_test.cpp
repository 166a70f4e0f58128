// What a plot shows, without a window: ticks, ranges, the points that remain of millions, smoothing, export.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "app/studio/widgets/plot_state.h"
#include "kernels/random.h"

namespace nigiri::studio {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

std::vector<std::string> labels(const Axis& axis, int most) {
    std::vector<std::string> all;
    for (const Tick& t : ticks(axis, most)) all.push_back(t.label);
    return all;
}
using Labels = std::vector<std::string>;

PlotSeries series_of(const std::vector<PlotPoint>& points) {
    PlotSeries s;
    for (const PlotPoint& p : points) s.append(p.x, p.y);
    return s;
}

TEST(StudioPlotAxis, LinearTicksAreRoundAndFit) {
    EXPECT_EQ(labels({AxisScale::linear, 0, 1}, 6), (Labels{"0", "0.2", "0.4", "0.6", "0.8", "1.0"}));
    EXPECT_EQ(labels({AxisScale::linear, 2.93, 3.48}, 6), (Labels{"3.0", "3.1", "3.2", "3.3", "3.4"}));
    EXPECT_EQ(labels({AxisScale::linear, -1, 1}, 5), (Labels{"-1.0", "-0.5", "0", "0.5", "1.0"}));
    EXPECT_EQ(labels({AxisScale::linear, 0, 20000}, 5), (Labels{"0", "5 k", "10 k", "15 k", "20 k"}));
    EXPECT_EQ(labels({AxisScale::linear, 0, 9000}, 5), (Labels{"0", "2000", "4000", "6000", "8000"}));
    EXPECT_EQ(labels({AxisScale::linear, 0, 3e6}, 4), (Labels{"0", "1 M", "2 M", "3 M"}));
    EXPECT_EQ(labels({AxisScale::linear, 0, 1e-5}, 3), (Labels{"0", "5e-6", "1.0e-5"}));
}

TEST(StudioPlotAxis, LogarithmicTicksFollowTheRange) {
    EXPECT_EQ(labels({AxisScale::logarithmic, 1, 100}, 10), (Labels{"1", "2", "5", "10", "20", "50", "100"}));
    EXPECT_EQ(labels({AxisScale::logarithmic, 1, 100}, 4), (Labels{"1", "10", "100"}));
    EXPECT_EQ(labels({AxisScale::logarithmic, 1, 1e6}, 4), (Labels{"1", "100", "10 k", "1 M"}));
    EXPECT_EQ(labels({AxisScale::logarithmic, 2, 7}, 6), (Labels{"2", "3", "4", "5", "6", "7"}))
        << "less than a decade";
    EXPECT_EQ(labels({AxisScale::logarithmic, 0.01, 1}, 3), (Labels{"0.01", "0.1", "1"}));
}

TEST(StudioPlotAxis, OddAxesHaveNoOrFewTicks) {
    EXPECT_TRUE(ticks({AxisScale::linear, 1, 1}, 5).empty());
    EXPECT_TRUE(ticks({AxisScale::linear, 2, 1}, 5).empty());
    EXPECT_TRUE(ticks({AxisScale::linear, 0, infinity}, 5).empty());
    EXPECT_TRUE(ticks({AxisScale::linear, 0, 1}, 0).empty());
    Random random(11, 0);
    for (int i = 0; i < 2000; ++i) {
        const double begin = std::exp(20 * random.uniform() - 10), span = std::exp(20 * random.uniform() - 10);
        for (const AxisScale scale : {AxisScale::linear, AxisScale::logarithmic}) {
            const Axis axis{scale, begin, begin + span};
            const auto all = ticks(axis, 7);
            EXPECT_LE(all.size(), 7u) << begin << " " << span << " seed 11";
            for (const Tick& t : all) {
                EXPECT_GE(axis.share(t.value), -1e-6);
                EXPECT_LE(axis.share(t.value), 1 + 1e-6);
            }
        }
    }
}

TEST(StudioPlotAxis, SharesAndValuesAreEachOthersInverse) {
    const Axis linear{AxisScale::linear, -2, 6}, logarithmic{AxisScale::logarithmic, 1, 10000};
    EXPECT_DOUBLE_EQ(linear.share(0), 0.25);
    EXPECT_DOUBLE_EQ(linear.value(0.25), 0);
    EXPECT_DOUBLE_EQ(logarithmic.share(100), 0.5);
    EXPECT_DOUBLE_EQ(logarithmic.value(0.5), 100);
    EXPECT_LT(logarithmic.share(0), -1000) << "no logarithm: far outside, and a number";
    EXPECT_LT(logarithmic.share(-1), -1000);
}

TEST(StudioPlotCurve, TakesOnlyPointsInOrderThatAreNumbers) {
    PlotCurve c;
    c.append(1, 5);
    c.append(std::nan(""), 1);
    c.append(2, infinity);
    c.append(2, std::nan(""));
    c.append(0.5, 1);
    c.append(1, 6);
    c.append(3, 4);
    ASSERT_EQ(c.size(), 3u);
    EXPECT_EQ(c[1], (PlotPoint{1, 6}));
    EXPECT_EQ(c.first_at(1), 0u);
    EXPECT_EQ(c.first_above(1), 2u);
    EXPECT_EQ(c.first_at(4), 3u);
    EXPECT_EQ(c.nearest(-9), 0u);
    EXPECT_EQ(c.nearest(1.9), 1u);
    EXPECT_EQ(c.nearest(2.1), 2u);
    EXPECT_EQ(c.nearest(9), 2u);
}

TEST(StudioPlotCurve, ExtremesAreThoseOfASearch) {
    Random random(5, 0);
    PlotCurve c;
    std::vector<double> values;
    for (int i = 0; i < 3000; ++i) {
        values.push_back(std::floor(50 * random.uniform()));  // with many equal ones
        c.append(i, values.back());
    }
    for (int i = 0; i < 500; ++i) {
        const auto a = static_cast<size_t>(2999 * random.uniform());
        const auto b = a + 1 + static_cast<size_t>((2999.0 - static_cast<double>(a)) * random.uniform());
        const auto [low, high] = c.extremes(a, b);
        const auto begin = values.begin() + static_cast<long>(a), end = values.begin() + static_cast<long>(b);
        EXPECT_EQ(low, static_cast<size_t>(std::min_element(begin, end) - values.begin()))
            << a << " " << b << " seed 5";
        EXPECT_EQ(high, static_cast<size_t>(std::max_element(begin, end) - values.begin())) << a << " " << b;
    }
}

TEST(StudioPlotCurve, FewPointsAreDrawnAsTheyAreWithTheirNeighbours) {
    PlotCurve c;
    for (int i = 0; i < 10; ++i) c.append(i, i * i);
    const auto drawn = decimated(c, {AxisScale::linear, 2.5, 5.5}, 100);
    EXPECT_EQ(drawn, (std::vector<PlotPoint>{{2, 4}, {3, 9}, {4, 16}, {5, 25}, {6, 36}}))
        << "one beyond either edge, so that the line reaches it";
    EXPECT_TRUE(decimated({}, {AxisScale::linear, 0, 1}, 100).empty());
}

TEST(StudioPlotCurve, OfManyPointsAColumnKeepsFirstLowestHighestLast) {
    PlotCurve c;
    // Columns of ten points: 0 1 2 ... with one spike up and one down in each.
    for (int i = 0; i < 40; ++i) c.append(i, i % 10 == 3 ? 100 + i : i % 10 == 6 ? -100 - i : i);
    const auto drawn = decimated(c, {AxisScale::linear, 0, 40}, 4);
    EXPECT_EQ(drawn, (std::vector<PlotPoint>{{0, 0},
                                             {3, 103},
                                             {6, -106},
                                             {9, 9},
                                             {10, 10},
                                             {13, 113},
                                             {16, -116},
                                             {19, 19},
                                             {20, 20},
                                             {23, 123},
                                             {26, -126},
                                             {29, 29},
                                             {30, 30},
                                             {33, 133},
                                             {36, -136},
                                             {39, 39}}));
}

TEST(StudioPlotCurve, AMillionPointsBecomeFourAColumnWithEveryExtreme) {
    Random random(3, 0);
    PlotCurve c;
    double low = infinity, high = -infinity;
    for (int i = 0; i < 1'000'000; ++i) {
        const double y = random.uniform();
        low = std::min(low, y), high = std::max(high, y);
        c.append(i, y);
    }
    for (const AxisScale scale : {AxisScale::linear, AxisScale::logarithmic}) {
        const auto drawn = decimated(c, {scale, 1, 999'999}, 800);
        EXPECT_LE(drawn.size(), 3200u);
        EXPECT_GE(drawn.size(), scale == AxisScale::linear ? 3000u : 1000u);
        double seen_low = infinity, seen_high = -infinity, x = -1;
        for (const PlotPoint& p : drawn) {
            EXPECT_GT(p.x, x);
            x = p.x;
            seen_low = std::min(seen_low, p.y), seen_high = std::max(seen_high, p.y);
        }
        EXPECT_EQ(seen_low, low) << "seed 3";
        EXPECT_EQ(seen_high, high);
        EXPECT_EQ(drawn.back().x, 999'999);
    }
}

// By hand: m = w m + (1 - w) y over 1 - w^n, with w = 1/2.
TEST(StudioPlotCurve, SmoothingIsTheBiasCorrectedMean) {
    Smoother half(0.5);
    EXPECT_DOUBLE_EQ(half.next(4), 4);
    EXPECT_DOUBLE_EQ(half.next(1), 2);  // (4 / 4 + 1 / 2) / (3 / 4)
    EXPECT_DOUBLE_EQ(half.next(9), (0.75 + 4.5) / 0.875);
    Smoother none(0);
    EXPECT_DOUBLE_EQ(none.next(4), 4);
    EXPECT_DOUBLE_EQ(none.next(-1), -1);
    Smoother strong(0.99);
    for (int i = 0; i < 1000; ++i) EXPECT_NEAR(strong.next(7), 7, 1e-12) << "a constant stays one";
}

TEST(StudioPlotCurve, ASeriesSmoothsWhatComesLaterAsWhatWasThere) {
    PlotSeries before, after, dots;
    before.set_smoothing(0.8);
    dots.dots = true;
    dots.set_smoothing(0.8);
    for (int i = 0; i < 50; ++i) {
        const double y = std::sin(i);
        before.append(i, y), after.append(i, y), dots.append(i, y);
    }
    after.set_smoothing(0.8);
    ASSERT_EQ(before.smooth().size(), 50u);
    for (size_t i = 0; i < 50; ++i) {
        EXPECT_EQ(before.smooth()[i], after.smooth()[i]);
        EXPECT_EQ(dots.smooth()[i], dots.raw()[i]);
    }
    const Axis axis{AxisScale::linear, 0, 49};
    EXPECT_EQ(after.smooth_line(axis, 100).size(), 50u);
    after.append(50, 0);
    EXPECT_EQ(after.smooth_line(axis, 100).size(), 51u) << "drawn anew when there is more";
    after.clear();
    EXPECT_TRUE(after.smooth_line(axis, 100).empty());
}

TEST(StudioPlotState, FollowsTheDataUntilSomebodyZooms) {
    std::vector<PlotSeries> series = {series_of({{0, 8}, {100, 4}}), series_of({{50, 3}, {200, 2}})};
    PlotState state;
    state.fit(series, {});
    EXPECT_EQ(state.x(), (Axis{AxisScale::linear, 0, 200}));
    EXPECT_DOUBLE_EQ(state.y().begin, 2 - 0.05 * 6);
    EXPECT_DOUBLE_EQ(state.y().end, 8 + 0.05 * 6);
    state.fit(series, {9, 5});  // lines to compare with
    EXPECT_DOUBLE_EQ(state.y().end, 9 + 0.05 * 7);
    series[1].append(400, 1);
    state.fit(series, {});
    EXPECT_EQ(state.x().end, 400);

    state.zoom_x(0.5, 0.25);  // the value at a quarter, 100, stays there
    EXPECT_TRUE(state.zoomed());
    EXPECT_DOUBLE_EQ(state.x().begin, 50);
    EXPECT_DOUBLE_EQ(state.x().end, 250);
    series[1].append(800, 1);
    state.fit(series, {9});
    EXPECT_DOUBLE_EQ(state.x().end, 250) << "what was zoomed stays";
    EXPECT_DOUBLE_EQ(state.y().begin, 2 - 0.05 * 2) << "y covers what is seen: 4, 3, 2; the line is left out";
    EXPECT_DOUBLE_EQ(state.y().end, 4 + 0.05 * 2);
    state.reset();
    state.fit(series, {});
    EXPECT_EQ(state.x().end, 800);
    EXPECT_FALSE(state.zoomed());
}

TEST(StudioPlotState, HiddenSeriesDoNotCount) {
    std::vector<PlotSeries> series = {series_of({{0, 1}, {10, 2}}), series_of({{0, 100}, {1000, 200}})};
    series[1].visible = false;
    PlotState state;
    state.fit(series, {});
    EXPECT_EQ(state.x().end, 10);
    EXPECT_NEAR(state.y().end, 2.05, 1e-12);
    series[0].visible = false;
    state.fit(series, {});
    EXPECT_EQ(state.x(), (Axis{AxisScale::linear, 0, 1}));
}

TEST(StudioPlotState, ZoomingOutEndsAtEverything) {
    std::vector<PlotSeries> series = {series_of({{0, 0}, {100, 1}})};
    PlotState state;
    state.fit(series, {});
    state.zoom_x(0.1, 0);
    EXPECT_DOUBLE_EQ(state.x().end, 10);
    state.zoom_x(2, 0.5);
    EXPECT_DOUBLE_EQ(state.x().begin, 0) << "not beyond the first step";
    EXPECT_DOUBLE_EQ(state.x().end, 15);
    state.zoom_x(1000, 0.5);
    EXPECT_FALSE(state.zoomed());
    EXPECT_DOUBLE_EQ(state.x().end, 100);
    for (int i = 0; i < 500; ++i) state.zoom_x(0.5, 0.3);
    EXPECT_LT(state.x().begin, state.x().end) << "never so deep that there is nothing between the ends";
}

TEST(StudioPlotState, MovesAndShowsRectangles) {
    std::vector<PlotSeries> series = {series_of({{0, 0}, {100, 10}})};
    PlotState state;
    state.fit(series, {});
    state.move(0.5, 0);
    EXPECT_DOUBLE_EQ(state.x().begin, 0) << "all is seen: nothing to move to";
    state.show({0.2, 0.4}, {});
    EXPECT_DOUBLE_EQ(state.x().begin, 20);
    EXPECT_DOUBLE_EQ(state.x().end, 40);
    state.move(0.5, 0);
    EXPECT_DOUBLE_EQ(state.x().begin, 30);
    state.move(100, 0);
    EXPECT_NEAR(state.x().end, 100, 1e-9) << "up to the last step";
    EXPECT_NEAR(state.x().begin, 80, 1e-9);
    state.reset();
    state.fit(series, {});
    state.show({0, 1}, {0.25, 0.5});  // y covers -0.5 .. 10.5
    EXPECT_DOUBLE_EQ(state.y().begin, 2.25);
    EXPECT_DOUBLE_EQ(state.y().end, 5);
}

TEST(StudioPlotState, LogarithmicScalesLeaveOutWhatTheyCannotShow) {
    std::vector<PlotSeries> series = {series_of({{0, -1}, {10, 0.1}, {1000, 10}})};
    PlotState state;
    state.set_scales(AxisScale::logarithmic, AxisScale::logarithmic);
    state.fit(series, {});
    EXPECT_DOUBLE_EQ(state.x().begin, 10);
    EXPECT_DOUBLE_EQ(state.x().end, 1000);
    // A twentieth of two decades on either side.
    EXPECT_NEAR(state.y().begin, 0.1 / std::pow(10, 0.1), 1e-12);
    EXPECT_NEAR(state.y().end, 10 * std::pow(10, 0.1), 1e-9);
    state.zoom_x(0.5, 0.5);
    EXPECT_NEAR(state.x().begin, 10 * std::sqrt(10), 1e-9) << "half of the decades";
}

TEST(StudioPlotState, OneValueGetsRoomAroundIt) {
    std::vector<PlotSeries> series = {series_of({{10, 4}})};
    PlotState state;
    state.fit(series, {});
    EXPECT_EQ(state.y(), (Axis{AxisScale::linear, 3.5, 4.5}));
    EXPECT_EQ(state.x(), (Axis{AxisScale::linear, 9, 11}));
}

TEST(StudioPlotExport, IsATableOfWhatIsShown) {
    PlotSeries a = series_of({{10, 2.5}, {20, 0.125}}), hidden = series_of({{1, 1}});
    a.name = "piano \"4\", training";
    a.set_smoothing(0.5);
    hidden.visible = false;
    EXPECT_EQ(to_csv({a, hidden}, "steps"),
              "curve,steps,value,smoothed\r\n"
              "\"piano \"\"4\"\", training\",10,2.5,2.5\r\n"
              "\"piano \"\"4\"\", training\",20,0.125,0.9166666667\r\n");
}

}  // namespace
}  // namespace nigiri::studio
