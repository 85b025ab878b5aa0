// Fences where they are easily got wrong: right behind an open that finds unfinished work, and
// while flushes fail. (On an idle store, and with every flush in flight: flush_pipeline_test.cc.)

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/actors/fenced_pipeline.h"

#include "millrace/messages/error.h"

namespace millrace {
namespace {

using storage::Version;

class FenceTest : public ::testing::Test, protected testing::FencedPipeline {
 protected:
  static constexpr int kRows = 6'000;  // More slices than are under way at once.

  FenceTest() { reader_slots_max_ = 64; }

  static Committer::Options Options() {
    Committer::Options options = NeverRotate();
    options.probe_interval = absl::Hours(24);
    return options;
  }
  // Opens the store again behind a kill, with streamers that wait to be released.
  void Reopen() {
    Crash();
    streamers_are_held_ = true;
    Start(Options());
  }
  // A flush of which a part is in LMDB, and no more will be in this life; the version up to which
  // it goes.
  Version BeginFlush() {
    storage::WriteBatch batch;
    for (int i = 0; i < kRows; ++i) batch.Put(people_, absl::StrCat(i), {});
    const Version version = Commit(std::move(batch));
    Pending<FlushReceipt> fence = committer_->Ask(Fence{});
    while (!L1().flush.has_value()) EXPECT_TRUE(driver_->StepNext());
    EXPECT_GT(L1().flush->next_slice, 0u);
    finalizer_->Freeze();
    return version;
  }
};

TEST_F(FenceTest, FenceBehindAnOpenWaitsForTheFlushThatIsResumedAndForWhatWasNeverFlushed) {
  Start(Options());
  const Version begun = BeginFlush();
  const Version unflushed = Put("later", 1);
  Reopen();
  ASSERT_TRUE(L1().flush.has_value());
  Pending<FlushReceipt> older = AskFence(begun);
  Pending<FlushReceipt> all = AskFence();
  Pending<FlushReceipt> drain = Ask(Drain{});
  for (auto* waits : {&older, &all, &drain}) EXPECT_FALSE(waits->ready());
  EXPECT_EQ(metrics_.pending.Get(), 2u) << "the one that is resumed, and the fence's";
  streamers_[0]->Unfreeze();
  Release(1);
  for (auto* waits : {&older, &all, &drain}) ASSERT_TRUE(waits->ready());
  const absl::StatusOr<FlushReceipt> first = older.Wait();
  EXPECT_EQ(first->manifest, 1u);
  EXPECT_EQ(first->version, begun);
  const absl::StatusOr<FlushReceipt> second = all.Wait();
  EXPECT_EQ(second->manifest, 2u);
  EXPECT_EQ(second->version, unflushed);
  EXPECT_EQ(L1Count(), kRows + 1);
  EXPECT_EQ(L1().head.parent, 1u);
}

// Its stream may be the one that missed the mark, so the fence of an old version waits as well;
// one that asks for what L1's head holds does not.
TEST_F(FenceTest, FenceBehindAnOpenForWhatIsPublishedIsAnsweredAtOnce) {
  Start(Options());
  const Version published = Put("first", 1);
  FlushAll();
  const Version begun = BeginFlush();
  Reopen();
  Pending<FlushReceipt> passed = AskFence(published);
  ASSERT_TRUE(passed.ready());
  EXPECT_EQ(passed.Wait()->version, published);
  Pending<FlushReceipt> within = AskFence(published + 1);
  EXPECT_FALSE(within.ready());
  Release(0);
  Release(1);
  ASSERT_TRUE(within.ready());
  EXPECT_EQ(within.Wait()->version, begun);
}

TEST_F(FenceTest, FenceBehindAnOpenRotatesWhatWasReplayed) {
  Start(Options());
  FlushAll();
  const Version unflushed = Put("a", 1);
  Reopen();
  EXPECT_EQ(metrics_.pending.Get(), 0u);
  Pending<FlushReceipt> fence = AskFence();
  EXPECT_FALSE(fence.ready());
  EXPECT_EQ(metrics_.pending.Get(), 1u);
  Release(0);
  Release(1);
  ASSERT_TRUE(fence.ready());
  EXPECT_EQ(fence.Wait()->version, unflushed);
  EXPECT_EQ(L1Count(), 1);
}

TEST_F(FenceTest, FenceBehindAnOpenThatFoundNothingToDoIsAnsweredAtOnce) {
  Start(Options());
  const Version version = Put("a", 1);
  FlushAll();
  Reopen();
  Pending<FlushReceipt> fence = AskFence();
  ASSERT_TRUE(fence.ready());
  EXPECT_EQ(fence.Wait()->version, version);
  EXPECT_TRUE(Ask(Drain{}).ready());
}

// A flush that failed in one life and fails in the next: who waits is told, and nothing is passed
// by that was not published.
TEST_F(FenceTest, FenceOfAResumedFlushThatFailsIsAnsweredWithTheCauseUntilItIsResumed) {
  Start(Options());
  const Version before = Put("before", 1);
  FlushAll();
  const Version begun = BeginFlush();
  Reopen();
  const Version later = Put("later", 1);
  Pending<FlushReceipt> fence = AskFence();
  FailStreams();
  Release(0);
  Release(1);
  driver_->AdvanceBy(absl::Seconds(17));
  ASSERT_TRUE(fence.ready());
  EXPECT_TRUE(IsDegraded(fence.Wait().status()));
  for (const Version version : {begun, later, storage::kNoVersion}) {
    Pending<FlushReceipt> refused = AskFence(version);
    ASSERT_TRUE(refused.ready());
    EXPECT_TRUE(IsDegraded(refused.Wait().status()));
  }
  Pending<FlushReceipt> passed = AskFence(before);
  ASSERT_TRUE(passed.ready());
  EXPECT_TRUE(passed.Wait().ok()) << "it is published, whatever fails";
  Heal();
  EXPECT_TRUE(Ask(Resume{}).Wait().ok());
  Pending<FlushReceipt> mended = AskFence();
  ASSERT_TRUE(mended.ready());
  EXPECT_EQ(mended.Wait()->version, later);
  EXPECT_EQ(L1Count(), kRows + 2);
}

// Killed and opened again and again with a fence that nobody sees answered: each life goes on.
TEST_F(FenceTest, FencesOfLivesThatAreKilledLeaveNothingBehind) {
  Start(Options());
  Version last = BeginFlush();
  for (int life = 0; life < 5; ++life) {
    Reopen();
    last = Put(absl::StrCat("life ", life), life);
    Pending<FlushReceipt> fence = AskFence();
    if (life % 2 == 0) Release(0);
    if (fence.ready()) {
      EXPECT_TRUE(fence.Wait().ok());
    }
  }
  Reopen();
  Release(0);
  Release(1);
  Pending<FlushReceipt> fence = AskFence();
  ASSERT_TRUE(fence.ready());
  EXPECT_EQ(fence.Wait()->version, last);
  EXPECT_EQ(L1Count(), kRows + 5);
}

}  // namespace
}  // namespace millrace
