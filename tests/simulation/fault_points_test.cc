#include "millrace/testing/fault_points.h"

#include <string>

#include "gtest/gtest.h"

namespace millrace::testing {
namespace {

std::string Strikes(FaultPoints& faults, std::string_view point, int passes) {
  std::string strikes;
  for (int i = 0; i < passes; ++i) strikes += faults.Strike(point) ? 'x' : '.';
  return strikes;
}

TEST(FaultPointsTest, SeedDecidesAloneWhateverOtherPointsDraw) {
  constexpr FaultPoints::Odds kOdds = {.enabled = 0.5, .strike = 0.5, .count_max = 1000};
  for (uint64_t seed = 0; seed < 50; ++seed) {
    FaultPoints quiet(seed, kOdds), busy(seed, kOdds);
    Strikes(busy, "another", 17);
    EXPECT_EQ(Strikes(quiet, "point", 100), Strikes(busy, "point", 100));
  }
}

TEST(FaultPointsTest, OddsAreOfTwoLevels) {
  int enabled = 0, struck = 0;
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    FaultPoints faults(seed, {.enabled = 0.25, .strike = 0.1, .count_max = 1000});
    Strikes(faults, "point", 100);
    const FaultPoints::Count count = faults.Counts().at("point");
    EXPECT_EQ(count.passed, 100u);
    if (!count.enabled) {
      EXPECT_EQ(count.struck, 0u);
      continue;
    }
    ++enabled;
    struck += static_cast<int>(count.struck);
  }
  EXPECT_NEAR(enabled, 250, 50);
  EXPECT_NEAR(struck / enabled, 10, 2);
}

TEST(FaultPointsTest, StrikesAreBoundedAndEndWhenHealed) {
  FaultPoints faults(1, {.enabled = 1, .strike = 1, .count_max = 3});
  EXPECT_EQ(Strikes(faults, "point", 5), "xxx..");
  faults.SetOdds("own", {.enabled = 1, .strike = 1, .count_max = 100});
  EXPECT_EQ(Strikes(faults, "own", 2), "xx");
  faults.Heal();
  EXPECT_EQ(Strikes(faults, "own", 2), "..");
}

}  // namespace
}  // namespace millrace::testing
