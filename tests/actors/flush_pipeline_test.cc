// The flush pipeline stepped by hand: Committer, two streamers, finalizer and Writer, with streams
// that are held, that fail, and that end in any order.

#include <algorithm>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/actors/stepped_pipeline.h"

#include "millrace/messages/error.h"

namespace millrace {
namespace {

using storage::Version;
using ::testing::HasSubstr;

class FlushPipelineTest : public ::testing::Test, protected testing::SteppedPipeline {
 protected:
  FlushPipelineTest() { Start(NeverRotate()); }

  Version Commit(storage::WriteBatch batch) {
    Pending<CommitReceipt> pending = Send(std::move(batch));
    driver_->StepUntilIdle();
    return pending.Wait()->version;
  }
  Version Put(std::string_view id, int64_t number) {
    return Commit(SteppedPipeline::Put(id, number));
  }
  void Delete(std::string_view id) { Commit(SteppedPipeline::Delete(id)); }
  Pending<FlushReceipt> AskFence(Version version = storage::kNoVersion) {
    Pending<FlushReceipt> fence = committer_->Ask(Fence{.version = version});
    driver_->StepUntilIdle();
    return fence;
  }
  Pending<FlushReceipt> PutAndFence(std::string_view id, int64_t number) {
    Put(id, number);
    return AskFence();
  }
  void FlushAll() { ASSERT_TRUE(AskFence().Wait().ok()); }
  Pending<FlushReceipt> AskDrain() {
    Pending<FlushReceipt> drain = committer_->Ask(Drain{});
    driver_->StepUntilIdle();
    return drain;
  }
  // A held streamer takes nothing up.
  void HoldStreamers() {
    for (const auto& streamer : streamers_) streamer->Freeze();
  }
  // Lets what it holds, and nothing after that, go.
  void Release(size_t streamer) {
    streamers_[streamer]->Unfreeze();
    driver_->StepUntilIdle();
  }

  int64_t Count() { return static_cast<int64_t>(*TakeSnapshot().Count(people_)); }
  storage::L1State L1() {
    const absl::StatusOr<storage::ReadTransaction> transaction = environment_->BeginRead();
    return *storage::ReadL1State(*transaction);
  }
};

TEST_F(FlushPipelineTest, TwoStreamsRunAtOnceAndArePublishedInRotateOrder) {
  HoldStreamers();
  Pending<FlushReceipt> first = PutAndFence("a", 1);
  Pending<FlushReceipt> second = PutAndFence("b", 1);
  PutAndFence("c", 1);
  EXPECT_EQ(streamers_[0]->Status().depth, 1u);
  EXPECT_EQ(streamers_[1]->Status().depth, 1u);
  Release(1);
  EXPECT_FALSE(second.ready()) << "the flush before it is not published";
  EXPECT_EQ(committer_->manifest(), 0u);
  Release(0);
  EXPECT_EQ(first.Wait()->version, 2u);
  EXPECT_GE(second.Wait()->version, 3u);
  EXPECT_EQ(committer_->manifest(), 3u) << "the third was rotated when a flush was free";
}

// Rows of flush n+1 that flush n, not in LMDB yet, has put, changed or deleted.
TEST_F(FlushPipelineTest, StreamSeesTheRowsOfEarlierUnfinishedBuffers) {
  Put("old", 1);
  FlushAll();
  HoldStreamers();
  Put("stays", 1);
  Put("goes", 1);
  Put("returns", 1);
  Delete("returns");
  Delete("old");
  Pending<FlushReceipt> first = AskFence();
  Put("stays", 2);
  Delete("goes");
  Put("returns", 2);
  Put("old", 2);
  Pending<FlushReceipt> second = AskFence();
  EXPECT_EQ(Count(), 3);
  Release(1);
  EXPECT_EQ(Count(), 3);
  Release(0);
  ASSERT_TRUE(first.Wait().ok());
  ASSERT_TRUE(second.Wait().ok());
  EXPECT_EQ(Count(), 3);
  EXPECT_EQ(L1().RecordCount(storage::kTrunk, people_.id), 3);
  EXPECT_EQ((L1().head.counts[{storage::kTrunk, people_.id}]), 3);
}

TEST_F(FlushPipelineTest, FenceIdleStoreAnswersAtOnceAndRotatesNothing) {
  FlushAll();
  const uint64_t manifest = committer_->manifest();
  for (int i = 0; i < 3; ++i) {
    Pending<FlushReceipt> fence = AskFence();
    ASSERT_TRUE(fence.ready());
    EXPECT_EQ(fence.Wait()->manifest, manifest);
  }
}

TEST_F(FlushPipelineTest, FenceVersionThatIsPublishedNeedsNoRotationOfWhatIsNewer) {
  const Version version = Put("a", 1);
  FlushAll();
  const uint64_t manifest = committer_->manifest();
  Put("b", 1);
  Pending<FlushReceipt> fence = AskFence(version);
  ASSERT_TRUE(fence.ready());
  EXPECT_EQ(fence.Wait()->version, version);
  EXPECT_EQ(committer_->manifest(), manifest);
}

TEST_F(FlushPipelineTest, FenceVersionThatWasNeverCommittedIsRefused) {
  Put("a", 1);
  const absl::Status status = AskFence(99).Wait().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.ToString(), HasSubstr("version 99 is not committed yet"));
}

// With every flush in flight the fence waits, and its rotation is the next thing that happens.
TEST_F(FlushPipelineTest, FenceIsRotatedForAsSoonAsAFlushIsFree) {
  HoldStreamers();
  PutAndFence("a", 1);
  PutAndFence("b", 1);
  const Version version = Put("c", 1);
  Pending<FlushReceipt> fence = AskFence();
  Pending<FlushReceipt> older = AskFence(2);
  EXPECT_FALSE(fence.ready());
  Release(0);
  EXPECT_TRUE(older.ready());
  EXPECT_FALSE(fence.ready());
  Release(1);
  ASSERT_TRUE(fence.ready());
  EXPECT_EQ(fence.Wait()->version, version);
}

TEST_F(FlushPipelineTest, FenceDegradedAnswersWhoWaitsAndWhoComesLater) {
  HoldStreamers();
  Pending<FlushReceipt> fence = PutAndFence("a", 1);
  driver_->AdvanceBy(absl::Minutes(20));
  ASSERT_TRUE(fence.ready());
  const absl::Status status = fence.Wait().status();
  EXPECT_TRUE(IsDegraded(status)) << status;
  Pending<FlushReceipt> later = AskFence();
  ASSERT_TRUE(later.ready());
  EXPECT_TRUE(IsDegraded(later.Wait().status()));
}

TEST_F(FlushPipelineTest, DrainWaitsForWhatIsRotatedAndForNothingNewer) {
  FlushAll();
  EXPECT_TRUE(AskDrain().ready());
  HoldStreamers();
  PutAndFence("a", 1);
  Pending<FlushReceipt> drain = AskDrain();
  PutAndFence("b", 1);
  const Version unrotated = Put("c", 1);
  EXPECT_FALSE(drain.ready());
  Release(0);
  ASSERT_TRUE(drain.ready());
  EXPECT_LT(drain.Wait()->version, unrotated);
}

}  // namespace
}  // namespace millrace
