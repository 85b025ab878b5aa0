// The Committer stepped by hand, with the whole pipeline behind it, a clock that is moved and files
// that fail when told to.

#include "millrace/actors/committer.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/actors/stepped_pipeline.h"

#include "millrace/messages/error.h"
#include "millrace/storage/outcome_rows.h"

namespace millrace {
namespace {

using storage::Collection;
using storage::Precondition;
using storage::WriteBatch;
using testing::FileCall;
using ::testing::HasSubstr;

class CommitterTest : public ::testing::Test, protected testing::SteppedPipeline {};

TEST_F(CommitterTest, TurnIsOneWriteAndOneSync) {
  Start(NeverRotate());
  std::vector<Pending<CommitReceipt>> pending;
  for (int i = 0; i < 20; ++i) pending.push_back(Send(Put(absl::StrCat(i), i)));
  EXPECT_FALSE(pending.front().ready());
  driver_->Step(*committer_);
  for (uint64_t i = 0; i < 20; ++i) EXPECT_EQ(pending[i].Wait()->version, 2 + i);
  EXPECT_EQ(files_.count(FileCall::kWrite), 1);
  EXPECT_EQ(files_.count(FileCall::kSync), 1);
  EXPECT_EQ(view_.published(), 21u);
}

TEST_F(CommitterTest, BatchIsValidatedAgainstThoseBeforeItInItsGroup) {
  Start(NeverRotate());
  auto first = Send(Put("ada", 1, Precondition::Absent()));
  auto refused = Send(Put("ada", 2, Precondition::Absent()));
  WriteBatch merge;
  merge.Merge(people_, "ada", *storage::DocumentBuilder().Set("m", 7).Finish(),
              Precondition::AtVersion(2));
  auto merged = Send(std::move(merge));
  auto stale = Send(Put("ada", 3, Precondition::AtVersion(2)));
  driver_->Step(*committer_);
  EXPECT_EQ(files_.count(FileCall::kWrite), 1);
  EXPECT_EQ(first.Wait()->version, 2u);
  EXPECT_THAT(refused.Wait().status().ToString(), HasSubstr("exists at version 2"));
  EXPECT_EQ(merged.Wait()->version, 3u);
  EXPECT_THAT(stale.Wait().status().ToString(), HasSubstr("is at version 3"));
  EXPECT_EQ(TakeSnapshot().Get(people_, "ada")->document.ToJson(), R"({"m":7,"n":1})");
}

TEST_F(CommitterTest, DroppedPendingCancelsNothing) {
  Start(NeverRotate());
  Send(Put("ada", 1));  // Nobody keeps the answer.
  auto neighbour = Send(Put("grace", 1));
  driver_->StepUntilIdle();
  EXPECT_EQ(neighbour.Wait()->version, 3u);
  EXPECT_TRUE(TakeSnapshot().Get(people_, "ada").ok());
}

TEST_F(CommitterTest, IntervalCommitsAreSyncedByTheTimerOnce) {
  Start(NeverRotate());
  auto first = Send(Put("a", 1), Durability::kInterval);
  driver_->StepUntilIdle();
  EXPECT_TRUE(first.ready());
  EXPECT_EQ(committer_->log().synced_version(), 1u);
  driver_->AdvanceBy(absl::Milliseconds(60));
  auto second = Send(Put("b", 1), Durability::kInterval);
  driver_->StepUntilIdle();
  EXPECT_EQ(files_.count(FileCall::kSync), 0);
  driver_->AdvanceBy(absl::Milliseconds(40));
  EXPECT_EQ(files_.count(FileCall::kSync), 1);
  EXPECT_EQ(committer_->log().synced_version(), 3u);
  driver_->AdvanceBy(absl::Seconds(5));
  EXPECT_EQ(files_.count(FileCall::kSync), 1);
}

TEST_F(CommitterTest, DurableCommitPaysWhatIsOwedAndNoneOwesNothing) {
  Start(NeverRotate());
  Send(Put("a", 1), Durability::kInterval);
  driver_->StepUntilIdle();
  Send(Put("b", 1), Durability::kDurable);
  driver_->StepUntilIdle();
  EXPECT_EQ(files_.count(FileCall::kSync), 1);
  Send(Put("c", 1), Durability::kNone);
  driver_->AdvanceBy(absl::Seconds(5));
  EXPECT_EQ(files_.count(FileCall::kSync), 1);
}

// Clients that wait for no device are not in the way of LMDB's commits.
TEST_F(CommitterTest, MaintenanceIsPacedForDurableCommitsAlone) {
  Start(NeverRotate());
  const auto pause = [this] { return pacing_.PauseAfter(absl::Milliseconds(1)); };
  driver_->AdvanceBy(absl::Seconds(1));
  for (const Durability durability : {Durability::kNone, Durability::kInterval}) {
    Send(Put("a", 1), durability);
    driver_->StepUntilIdle();
    EXPECT_EQ(pause(), absl::ZeroDuration());
  }
  Send(Put("b", 1), Durability::kDurable);
  driver_->StepUntilIdle();
  EXPECT_GT(pause(), absl::ZeroDuration());
}

// Of what is no longer remembered nobody may say that it did not happen.
TEST_F(CommitterTest, OutcomeBelowTheRememberedOnesIsPruned) {
  Start(NeverRotate());
  const auto token = [this](uint64_t number) {
    return CommitToken{.epoch = committer_->log().epoch(), .number = number};
  };
  constexpr uint64_t kCount = storage::kRememberedCommitsMax + 10;
  for (uint64_t number = 1; number <= kCount; ++number) {
    committer_->Ask(
        Commit{.batch = Put("a", 1), .durability = Durability::kNone, .token = token(number)});
    if (number % 1'000 == 0) driver_->StepUntilIdle();
  }
  auto flushed = committer_->Ask(Fence{});
  driver_->StepUntilIdle();
  ASSERT_TRUE(flushed.Wait().ok());
  const auto outcome = [&](uint64_t number) {
    auto found = committer_->Ask(FindOutcome{.token = token(number)});
    driver_->StepUntilIdle();
    return found.Wait()->state;
  };
  EXPECT_EQ(outcome(10), CommitOutcome::State::kPruned);
  EXPECT_EQ(outcome(11), CommitOutcome::State::kCommitted);
  EXPECT_EQ(outcome(kCount), CommitOutcome::State::kCommitted);
  EXPECT_EQ(outcome(kCount + 1), CommitOutcome::State::kAborted);
}

TEST_F(CommitterTest, FailedSyncIsAnUnknownOutcomeAndTheEnd) {
  Start(NeverRotate());
  auto before = Send(Put("before", 1));
  driver_->StepUntilIdle();
  files_.Fail({.call = FileCall::kSync});
  auto lost = Send(Put("lost", 1));
  auto refused = Send(Put("before", 1, Precondition::Absent()));
  auto misled = Send(Put("lost", 2, Precondition::Absent()));
  auto flush = committer_->Ask(Fence{});
  driver_->StepUntilIdle();
  EXPECT_TRUE(before.Wait().ok());
  const absl::Status status = lost.Wait().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_EQ(GetOutcome(status), Outcome::kUnknown);
  EXPECT_EQ(GetOutcome(refused.Wait().status()), Outcome::kNotExecuted);
  // What stood in its way was never committed.
  const absl::Status not_refused = misled.Wait().status();
  EXPECT_EQ(not_refused.code(), absl::StatusCode::kUnavailable) << not_refused;
  EXPECT_EQ(GetOutcome(not_refused), Outcome::kNotExecuted);
  EXPECT_FALSE(flush.Wait().ok());
  EXPECT_EQ(view_.published(), 2u) << "what was not confirmed is not shown";
  EXPECT_FALSE(health_.status().ok());
  files_.Heal();
  auto later = Send(Put("later", 1));
  auto parked = Park(Put("parked", 1));
  driver_->StepUntilIdle();
  EXPECT_EQ(GetOutcome(later.Wait().status()), Outcome::kNotExecuted);
  EXPECT_EQ(GetOutcome(parked.Wait().status()), Outcome::kNotExecuted);
  EXPECT_EQ(files_.count(FileCall::kSync), 2) << "a failed sync is never tried again";
}

TEST_F(CommitterTest, FailedWriteIsAnUnknownOutcomeToo) {
  Start(NeverRotate());
  files_.Fail({.call = FileCall::kWrite, .effect = testing::FileFault::Effect::kPart});
  auto lost = Send(Put("lost", 1), Durability::kNone);
  driver_->StepUntilIdle();
  EXPECT_EQ(GetOutcome(lost.Wait().status()), Outcome::kUnknown);
  EXPECT_EQ(view_.published(), 1u);
}

TEST_F(CommitterTest, RotatesByRows) {
  Committer::Options by_rows = NeverRotate();
  by_rows.rotate_rows = 11;  // The collection's row is the first.
  Start(by_rows);
  for (int i = 0; i < 9; ++i) Send(Put(absl::StrCat(i), i));
  driver_->StepUntilIdle();
  EXPECT_EQ(committer_->flushed_version(), 0u);
  Send(Put("tenth", 1));
  driver_->StepUntilIdle();
  EXPECT_EQ(committer_->flushed_version(), 11u);
  EXPECT_EQ(committer_->manifest(), 1u);
}

TEST_F(CommitterTest, RotatesByBytes) {
  Committer::Options by_bytes = NeverRotate();
  by_bytes.rotate_bytes = 100'000;
  Start(by_bytes);
  const storage::Document document =
      *storage::DocumentBuilder().Set("t", std::string(60'000, 'x')).Finish();
  Send(WriteBatch().Put(people_, "a", document));
  driver_->StepUntilIdle();
  EXPECT_EQ(committer_->manifest(), 0u);
  Send(WriteBatch().Put(people_, "b", document));
  driver_->StepUntilIdle();
  EXPECT_EQ(committer_->manifest(), 1u);
}

TEST_F(CommitterTest, RotatesByIntervalCountedFromTheFirstCommit) {
  Committer::Options by_time = NeverRotate();
  by_time.rotate_interval = absl::Seconds(1);
  Start(by_time);
  driver_->AdvanceBy(absl::Seconds(1));
  EXPECT_EQ(committer_->manifest(), 1u);  // The collection.
  driver_->AdvanceBy(absl::Seconds(10));
  EXPECT_EQ(committer_->manifest(), 1u) << "nothing to flush";
  Send(Put("a", 1));
  driver_->StepUntilIdle();
  driver_->AdvanceBy(absl::Milliseconds(999));
  EXPECT_EQ(committer_->manifest(), 1u);
  driver_->AdvanceBy(absl::Milliseconds(1));
  EXPECT_EQ(committer_->manifest(), 2u);
  EXPECT_EQ(committer_->flushed_version(), 2u);
}

TEST_F(CommitterTest, CommitsGoOnWhileAStreamIsHeld) {
  Start(NeverRotate());
  for (int i = 0; i < 100; ++i) Send(Put(absl::StrCat(i), i));
  driver_->Step(*committer_);
  Pending<FlushReceipt> flush = committer_->Ask(Fence{});
  driver_->Step(*committer_);  // Rotated; nobody steps the streamer.
  for (int i = 0; i < 10; ++i) {
    auto pending = Send(Put("5", i, Precondition::AtVersion(i == 0 ? 7 : 101 + i)));
    driver_->Step(*committer_);
    ASSERT_EQ(pending.Wait()->version, 102u + i);
  }
  EXPECT_FALSE(flush.ready());
  EXPECT_EQ(*TakeSnapshot().Count(people_), 100u);
  driver_->StepUntilIdle();
  const absl::StatusOr<FlushReceipt> receipt = flush.Wait();
  EXPECT_EQ(receipt->version, 101u);
  EXPECT_EQ(receipt->manifest, 1u);
  EXPECT_EQ(*TakeSnapshot().Count(people_), 100u);
}

// Commits of one client: the first was sent, the second had to wait outside.
TEST_F(CommitterTest, ParkedCommitDoesNotOvertakeOneThatWasSentBefore) {
  Start(NeverRotate(), /*batch_max=*/1);
  auto unrelated = Send(Put("other", 1));
  auto sent = Send(Put("ada", 1));
  auto parked = Park(Put("ada", 2));
  driver_->StepUntilIdle();
  ASSERT_TRUE(unrelated.Wait().ok());
  EXPECT_LT(sent.Wait()->version, parked.Wait()->version);
}

TEST_F(CommitterTest, ParkedCommitsAreLetInByTheClockPastTheSoftLimit) {
  Start(NeverRotate(), 256, {.soft_bytes_max = 1, .hard_bytes_max = 1 << 27});
  std::vector<Pending<CommitReceipt>> pending;
  for (int i = 0; i < 4; ++i) pending.push_back(Park(Put(absl::StrCat(i), i)));
  const auto ready_count = [&] {
    return std::count_if(pending.begin(), pending.end(), [](auto& one) { return one.ready(); });
  };
  driver_->StepUntilIdle();
  EXPECT_EQ(ready_count(), 1);
  driver_->AdvanceBy(absl::Milliseconds(10));
  EXPECT_EQ(ready_count(), 2);
  driver_->AdvanceBy(absl::Milliseconds(19));
  EXPECT_EQ(ready_count(), 2);
  driver_->AdvanceBy(absl::Milliseconds(1));
  EXPECT_EQ(ready_count(), 3);
  driver_->AdvanceBy(absl::Milliseconds(40));
  EXPECT_EQ(ready_count(), 4);
}

TEST_F(CommitterTest, ParkedCommitPastTheHardLimitIsLetInByTheFlushThatMakesRoom) {
  Committer::Options options = NeverRotate();
  options.rotate_rows = 50;
  Start(options, 256, {.soft_bytes_max = 1 << 10, .hard_bytes_max = 8 << 10});
  std::vector<Pending<CommitReceipt>> pending;
  for (int i = 0; i < 49; ++i) {
    pending.push_back(Send(
        WriteBatch().Put(people_, absl::StrCat(i),
                         *storage::DocumentBuilder().Set("t", std::string(1'000, 'x')).Finish())));
  }
  driver_->Step(*committer_);  // 50 rows: rotated, past the hard limit.
  auto parked = Park(Put("parked", 1));
  driver_->Step(*committer_);
  EXPECT_FALSE(parked.ready());
  driver_->StepUntilIdle();
  driver_->AdvanceBy(absl::Milliseconds(10));
  ASSERT_TRUE(parked.ready());
  EXPECT_TRUE(parked.Wait().ok());
}

TEST_F(CommitterTest, OldSnapshotIsEndedByAge) {
  Start(NeverRotate());
  const storage::Snapshot old = TakeSnapshot();
  driver_->AdvanceBy(absl::Minutes(9));
  EXPECT_TRUE(old.Count(people_).ok());
  const storage::Snapshot young = TakeSnapshot();
  driver_->AdvanceBy(absl::Minutes(2));
  EXPECT_EQ(old.Count(people_).status().code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(young.Count(people_).ok());
}

TEST_F(CommitterTest, ClosedCommitterFlushesWhatItAccepted) {
  Start(NeverRotate());
  auto accepted = Send(Put("ada", 1), Durability::kNone);
  committer_->Close(CloseMode::kDrain);
  auto late = Send(Put("late", 1));
  EXPECT_EQ(late.Wait().status().code(), absl::StatusCode::kCancelled);
  ASSERT_TRUE(driver_->AwaitFinished(*committer_, absl::Seconds(10)));
  EXPECT_EQ(accepted.Wait()->version, 2u);
  EXPECT_EQ(committer_->flushed_version(), 2u);
  EXPECT_TRUE(committer_->Report().Balanced());
}

}  // namespace
}  // namespace millrace
