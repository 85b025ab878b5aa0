// How much of the device maintenance takes while clients commit.

#include "millrace/actors/pacing.h"

#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/testing/temporary_directory.h"

#include "millrace/actors/writer.h"
#include "millrace/storage/meta.h"
#include "millrace/testing/manual_clock.h"
#include "millrace/testing/step_driver.h"

namespace millrace {
namespace {

using testing::ManualClock;

class PacingTest : public ::testing::Test {
 protected:
  // A group that took so long and ends now.
  void Group(absl::Duration work, double l0_fill = 0) {
    const MonotonicTime begin = clock_.Now();
    clock_.Advance(work);
    pacing_.NoteGroup(begin, l0_fill);
  }
  void Commit(uint64_t bytes, absl::Duration work) {
    const MonotonicTime begin = clock_.Now();
    pacing_.BeginCommit();
    clock_.Advance(work);
    pacing_.EndCommit(bytes, work);
    pacing_.NoteGroup(begin, 0);  // Clients are there, and shared the device.
  }

  ManualClock clock_;
  Pacing pacing_{clock_};
};

TEST_F(PacingTest, NothingWaitsWhileClientsAreQuiet) {
  EXPECT_EQ(pacing_.PauseAfter(absl::Milliseconds(10)), absl::ZeroDuration());
  EXPECT_EQ(pacing_.BytesMax(), Pacing::kBytesMax);
  Group(absl::Microseconds(200));
  EXPECT_GT(pacing_.PauseAfter(absl::Milliseconds(10)), absl::ZeroDuration());
  EXPECT_LT(pacing_.BytesMax(), Pacing::kBytesMax);
  clock_.Advance(Pacing::kQuiet + absl::Nanoseconds(1));
  EXPECT_EQ(pacing_.PauseAfter(absl::Milliseconds(10)), absl::ZeroDuration());
  EXPECT_EQ(pacing_.BytesMax(), Pacing::kBytesMax);
}

TEST_F(PacingTest, ShareGrowsAsL0FillsUp) {
  const absl::Duration work = absl::Milliseconds(1);
  Group(absl::Microseconds(200), Pacing::kFillCalm);
  const absl::Duration calm = pacing_.PauseAfter(work);
  EXPECT_NEAR(absl::FDivDuration(work, work + calm), Pacing::kShareMin, 1e-6);
  absl::Duration before = calm;
  for (double fill = Pacing::kFillCalm + 0.05; fill < Pacing::kFillUnpaced; fill += 0.05) {
    Group(absl::Microseconds(200), fill);
    EXPECT_LT(pacing_.PauseAfter(work), before) << fill;
    before = pacing_.PauseAfter(work);
  }
  Group(absl::Microseconds(200), Pacing::kFillUnpaced + 0.01);
  EXPECT_EQ(pacing_.PauseAfter(work), absl::ZeroDuration());
  EXPECT_EQ(pacing_.BytesMax(), Pacing::kBytesMax);
}

// 10 ms a MiB, beside groups of 200 us: what fits is 80 KiB.
TEST_F(PacingTest, CommitsComeToLastAFewGroups) {
  Group(absl::Microseconds(200));
  const auto work_of = [](uint64_t bytes) {
    return absl::Milliseconds(10) * (static_cast<double>(bytes) / (1 << 20));
  };
  uint64_t bytes = 4 << 10;
  for (int i = 0; i < 100; ++i) {
    bytes = std::max<uint64_t>(pacing_.BytesMax(), 4 << 10);  // A slice at least.
    EXPECT_LE(work_of(bytes), Pacing::kGroupsPerCommit * absl::Microseconds(200) * 1.2);
    Commit(bytes, work_of(bytes));
  }
  EXPECT_GE(work_of(bytes), Pacing::kGroupsPerCommit * absl::Microseconds(200) * 0.4);
}

TEST_F(PacingTest, GroupsThatSharedTheDeviceDoNotCount) {
  Group(absl::Microseconds(200));
  for (int i = 0; i < 100; ++i) {
    pacing_.BeginCommit();
    Group(absl::Milliseconds(50));  // Within it.
    const MonotonicTime begin = clock_.Now();
    pacing_.EndCommit(100, absl::Milliseconds(50));
    pacing_.NoteGroup(begin + -absl::Milliseconds(1), 0);  // Begun within it.
  }
  EXPECT_EQ(pacing_.BytesMax(), 1u);  // 50 ms still are too long.
}

// A manual clock that goes on by a millisecond whenever it is looked at, so that work takes time.
class TickingClock final : public Clock {
 public:
  explicit TickingClock(ManualClock& clock) : clock_(clock) {}
  MonotonicTime Now() const override {
    clock_.Advance(absl::Milliseconds(1));
    return clock_.Now();
  }
  absl::Time WallNow() const override { return clock_.WallNow(); }

 private:
  ManualClock& clock_;
};

// It had gone on adding to the open transaction in the pause, which then lasted the longer.
TEST(WriterPacingTest, TakesUpNothingWhileItPauses) {
  const testing::TemporaryDirectory directory = testing::TemporaryDirectory::InMemory();
  absl::StatusOr<std::unique_ptr<storage::Environment>> environment =
      storage::Environment::Open({.directory = directory.path(),
                                  .map_size_bytes = uint64_t{1} << 30,
                                  .quota_bytes = uint64_t{1} << 28});
  ASSERT_TRUE(environment.ok()) << environment.status();
  ManualClock clock;
  TickingClock ticking(clock);
  Pacing pacing(clock);
  Health health;
  Writer writer({.name = "writer", .clock = &ticking}, **environment,
                *(*environment)->TakeWritePermit(), pacing, health);
  testing::StepDriver driver(clock);
  ASSERT_TRUE(driver.Start(writer).ok());
  const auto slices_in_lmdb = [&] {
    const absl::StatusOr<storage::ReadTransaction> transaction = (*environment)->BeginRead();
    return storage::ReadL1State(*transaction)->flush->next_slice;
  };

  pacing.NoteGroup(clock.Now(), 0);
  std::vector<Pending<SliceApplied>> answers;
  const auto send_slice = [&] {
    const uint64_t number = answers.size();
    answers.push_back(writer.Ask(
        ApplySlice{.sequence = 1,
                   .attempt = 1,
                   .first_version = 1,
                   .last_version = 9,
                   .slice = {.number = number, .cursor = absl::StrCat("row ", number)}}));
  };
  for (int i = 0; i < 3; ++i) send_slice();
  driver.StepUntilIdle();
  EXPECT_EQ(slices_in_lmdb(), 1u);
  send_slice();  // Comes in the pause, and waits like the others.
  driver.StepUntilIdle();
  EXPECT_EQ(slices_in_lmdb(), 1u);
  for (uint64_t number = 0; number < answers.size(); ++number) {
    EXPECT_FALSE(answers[number].ready()) << number;
    for (int i = 0; i < 100 && !answers[number].ready(); ++i) {
      pacing.NoteGroup(clock.Now(), 0);
      driver.AdvanceBy(absl::Milliseconds(1));
    }
    EXPECT_TRUE(answers[number].ready()) << number;
    EXPECT_EQ(slices_in_lmdb(), std::min<uint64_t>(number + 2, answers.size()));
  }
}

}  // namespace
}  // namespace millrace
