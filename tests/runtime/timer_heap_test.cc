#include "millrace/runtime/timer_heap.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace millrace {
namespace {

MonotonicTime At(int64_t seconds) {
  return MonotonicTime::FromNanoseconds(seconds * 1'000'000'000);
}

std::vector<TimerId> AllDue(TimerHeap& timers, MonotonicTime now) {
  std::vector<TimerId> due;
  while (auto id = timers.PopDue(now)) due.push_back(*id);
  return due;
}

TEST(TimerHeapTest, FiresInOrderOfTimeThenOfSetting) {
  TimerHeap timers;
  timers.Set(1, At(3));
  timers.Set(2, At(1));
  timers.Set(3, At(3));
  timers.Set(4, At(9));
  EXPECT_EQ(timers.NextDeadline(), At(1));
  EXPECT_EQ(AllDue(timers, At(3)), (std::vector<TimerId>{2, 1, 3}));
  EXPECT_EQ(timers.NextDeadline(), At(9));
}

TEST(TimerHeapTest, CancelledTimerDoesNotFireEvenIfDue) {
  TimerHeap timers;
  timers.Set(1, At(1));
  timers.Cancel(1);
  EXPECT_TRUE(AllDue(timers, At(5)).empty());
  EXPECT_EQ(timers.NextDeadline(), MonotonicTime::Infinite());
}

TEST(TimerHeapTest, SettingAgainReplaces) {
  TimerHeap timers;
  for (int i = 0; i < 1000; ++i) timers.Set(1, At(1000 - i));
  timers.Set(1, At(5));
  EXPECT_EQ(timers.NextDeadline(), At(5));
  EXPECT_EQ(AllDue(timers, At(2000)), (std::vector<TimerId>{1}));
}

struct MissedCase {
  std::string name;
  MissedTick missed;
  size_t want_at_once;        // Calls after a stall of 30 periods.
  int64_t want_next_seconds;  // Where the next tick lies.
};

class MissedTickTest : public ::testing::TestWithParam<MissedCase> {};

TEST_P(MissedTickTest, StallOfThirtyPeriods) {
  TimerHeap timers;
  timers.SetPeriodic(1, At(0), absl::Seconds(2), GetParam().missed, FirstTick::kAfterPeriod);
  EXPECT_TRUE(AllDue(timers, At(1)).empty());
  EXPECT_EQ(AllDue(timers, At(61)).size(), GetParam().want_at_once);
  EXPECT_EQ(timers.NextDeadline(), At(GetParam().want_next_seconds));
}

INSTANTIATE_TEST_SUITE_P(All, MissedTickTest,
                         ::testing::Values(MissedCase{"Skip", MissedTick::kSkip, 1, 62},
                                           MissedCase{"Delay", MissedTick::kDelay, 1, 63},
                                           MissedCase{"Burst", MissedTick::kBurst, 30, 62}),
                         [](const auto& info) { return info.param.name; });

TEST(TimerHeapTest, FirstTickAtOnceOrAfterAPeriod) {
  TimerHeap timers;
  timers.SetPeriodic(1, At(0), absl::Seconds(2), MissedTick::kSkip, FirstTick::kAtOnce);
  EXPECT_EQ(AllDue(timers, At(0)).size(), 1u);
  EXPECT_TRUE(AllDue(timers, At(1)).empty());
  EXPECT_EQ(AllDue(timers, At(2)).size(), 1u);
}

TEST(TimerHeapTest, DisabledPeriodIsNoTimer) {
  TimerHeap timers;
  timers.SetPeriodic(1, At(0), absl::ZeroDuration(), MissedTick::kSkip, FirstTick::kAtOnce);
  timers.SetPeriodic(2, At(0), absl::InfiniteDuration(), MissedTick::kSkip, FirstTick::kAtOnce);
  EXPECT_TRUE(AllDue(timers, At(100)).empty());
  EXPECT_EQ(timers.NextDeadline(), MonotonicTime::Infinite());
}

}  // namespace
}  // namespace millrace
