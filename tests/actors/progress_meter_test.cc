#include "millrace/actors/progress_meter.h"

#include <cmath>
#include <random>
#include <tuple>

#include "gtest/gtest.h"

namespace millrace {
namespace {

using storage::BuildPhase;

MonotonicTime After(absl::Duration duration) {
  return MonotonicTime::FromNanoseconds(1'000'000'000) + duration;
}

TEST(ProgressMeterTest, RateIsZeroAndNotInfiniteWhenNoTimeHasPassed) {
  ProgressMeter meter(7, 1, absl::ZeroDuration(), After(absl::ZeroDuration()));
  meter.Begin(BuildPhase::kScan, 0, 1'000, After(absl::ZeroDuration()));
  meter.Advance(500);
  const BuildProgress progress = meter.At(After(absl::ZeroDuration()));
  EXPECT_EQ(progress.per_second, 0);
  EXPECT_EQ(progress.eta, absl::InfiniteDuration());
  EXPECT_EQ(progress.elapsed, absl::ZeroDuration());
}

TEST(ProgressMeterTest, RateAndTimeToGoFollowThePhase) {
  ProgressMeter meter(7, 1, absl::Seconds(100), After(absl::ZeroDuration()));
  meter.Begin(BuildPhase::kScan, 0, 1'000, After(absl::Seconds(5)));
  meter.Advance(500);
  BuildProgress progress = meter.At(After(absl::Seconds(10)));
  EXPECT_EQ(progress.per_second, 100);
  EXPECT_EQ(progress.elapsed, absl::Seconds(110));
  // The rest of the scan, merge and verification.
  EXPECT_EQ(progress.eta, absl::Seconds(25));
  meter.Begin(BuildPhase::kMerge, 0, 900, After(absl::Seconds(15)));
  meter.Advance(900);
  progress = meter.At(After(absl::Seconds(16)));
  EXPECT_EQ(progress.per_second, 900);
  EXPECT_EQ(progress.eta, absl::Seconds(1));
  meter.Begin(BuildPhase::kDone, 900, 900, After(absl::Seconds(17)));
  EXPECT_EQ(meter.At(After(absl::Seconds(20))).eta, absl::ZeroDuration());
}

TEST(ProgressMeterTest, WhatAnEarlierLifeDidIsDoneButNotOfThisRate) {
  ProgressMeter meter(7, 1, absl::ZeroDuration(), After(absl::ZeroDuration()));
  meter.Begin(BuildPhase::kScan, 500, 1'000, After(absl::ZeroDuration()));
  EXPECT_EQ(meter.At(After(absl::Seconds(1))).completed, 500u);
  EXPECT_EQ(meter.At(After(absl::Seconds(1))).per_second, 0);
  meter.Advance(600);
  EXPECT_EQ(meter.At(After(absl::Seconds(1))).per_second, 100);
}

TEST(ProgressMeterTest, EachPhaseEndsWithAllDoneWhateverWasExpected) {
  ProgressMeter meter(7, 1, absl::ZeroDuration(), After(absl::ZeroDuration()));
  meter.Begin(BuildPhase::kScan, 0, 10, After(absl::ZeroDuration()));
  meter.Advance(12);
  EXPECT_EQ(meter.At(After(absl::Seconds(1))).total, 12u) << "rows came meanwhile";
  meter.Begin(BuildPhase::kMerge, 0, 20, After(absl::Seconds(1)));
  meter.Advance(12);
  meter.Finish();
  EXPECT_EQ(meter.At(After(absl::Seconds(1))).total, 12u);
}

TEST(ProgressMeterTest, WhatBeginsAnewIsTheNextAttempt) {
  ProgressMeter meter(7, 3, absl::ZeroDuration(), After(absl::ZeroDuration()));
  meter.Begin(BuildPhase::kMerge, 5, 10, After(absl::ZeroDuration()));
  EXPECT_EQ(meter.At(After(absl::Seconds(1))).attempt, 3u);
  meter.Begin(BuildPhase::kScan, 0, 10, After(absl::Seconds(1)));
  EXPECT_EQ(meter.At(After(absl::Seconds(1))).attempt, 4u);
  EXPECT_EQ(meter.At(After(absl::Seconds(1))).completed, 0u);
}

TEST(ProgressMeterTest, NeverGoesBackWhateverIsTold) {
  std::mt19937_64 random(20260103);
  for (int life = 0; life < 200; ++life) {
    MonotonicTime now = After(absl::ZeroDuration());
    ProgressMeter meter(1, 1, absl::ZeroDuration(), now);
    BuildProgress last = meter.At(now);
    for (int step = 0; step < 100; ++step) {
      now = now + absl::Milliseconds(random() % 3);
      const auto phase = static_cast<BuildPhase>(1 + random() % 6);
      switch (random() % 4) {
        case 0:
          if (phase != last.phase) meter.Begin(phase, random() % 10, random() % 1'000, now);
          break;
        case 1:
          meter.Finish();
          break;
        default:
          meter.Advance(random() % 1'200);
      }
      const BuildProgress next = meter.At(now);
      ASSERT_LE(std::tie(last.attempt, last.phase), std::tie(next.attempt, next.phase));
      if (last.attempt == next.attempt && last.phase == next.phase) {
        ASSERT_LE(last.completed, next.completed);
      }
      ASSERT_LE(next.completed, next.total);
      ASSERT_LE(last.elapsed, next.elapsed);
      ASSERT_TRUE(std::isfinite(next.per_second));
      ASSERT_GE(next.per_second, 0);
      ASSERT_GE(next.eta, absl::ZeroDuration());
      last = next;
    }
  }
}

}  // namespace
}  // namespace millrace
