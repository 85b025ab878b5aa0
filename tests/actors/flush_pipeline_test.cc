// The flush pipeline stepped by hand: Committer, two streamers, finalizer and Writer, with streams
// that are held, that fail, and that end in any order.

#include <algorithm>
#include <map>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/actors/fenced_pipeline.h"

namespace millrace {
namespace {

using storage::Version;
using ::testing::HasSubstr;

class FlushPipelineTest : public ::testing::Test, protected testing::FencedPipeline {
 protected:
  void StartWith(uint32_t pending_flushes_max) {
    Committer::Options options = NeverRotate();
    options.pending_flushes_max = pending_flushes_max;
    Start(options);
  }
};

struct Begin {};

// Asks for a fence, and stops without waiting for it.
class Maintainer final : public Actor<Maintainer, Begin, Answer<FlushReceipt>> {
 public:
  Maintainer(const ActorOptions& options, Committer& committer)
      : Actor(options), committer_(committer, 2, this) {}

  std::vector<absl::Status> answers;

 private:
  friend Actor;
  void Handle(Begin /*begin*/) { committer_.Ask(Fence{}, ReplyTo<FlushReceipt>(1)); }
  void Handle(Answer<FlushReceipt> answer) { answers.push_back(answer.result.status()); }
  void OnClosing() { committer_.Ask(EndFences{}, ReplyTo<FlushReceipt>(2)); }

  Link<Committer> committer_;
};

TEST_F(FlushPipelineTest, TwoStreamsRunAtOnceAndArePublishedInRotateOrder) {
  StartWith(2);
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
  StartWith(2);
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
  Release(0);
  EXPECT_EQ(Count(), 3);
  Release(1);
  ASSERT_TRUE(first.Wait().ok());
  ASSERT_TRUE(second.Wait().ok());
  EXPECT_EQ(Count(), 3);
  EXPECT_EQ(L1Count(), 3);
}

TEST_F(FlushPipelineTest, FenceIdleStoreAnswersAtOnceAndRotatesNothing) {
  StartWith(2);
  FlushAll();
  const uint64_t manifest = committer_->manifest();
  for (int i = 0; i < 3; ++i) {
    Pending<FlushReceipt> fence = AskFence();
    ASSERT_TRUE(fence.ready());
    EXPECT_EQ(fence.Wait()->manifest, manifest);
  }
}

TEST_F(FlushPipelineTest, FenceVersionThatIsPublishedNeedsNoRotationOfWhatIsNewer) {
  StartWith(2);
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
  StartWith(2);
  Put("a", 1);
  const absl::Status status = AskFence(99).Wait().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.ToString(), HasSubstr("version 99 is not committed yet"));
}

// With every flush in flight the fence waits, and its rotation is the next thing that happens.
TEST_F(FlushPipelineTest, FenceIsRotatedForAsSoonAsAFlushIsFree) {
  StartWith(2);
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

TEST_F(FlushPipelineTest, DrainWaitsForWhatIsRotatedAndForNothingNewer) {
  StartWith(2);
  FlushAll();
  EXPECT_TRUE(Ask(Drain{}).ready());
  HoldStreamers();
  PutAndFence("a", 1);
  Pending<FlushReceipt> drain = Ask(Drain{});
  PutAndFence("b", 1);
  const Version unrotated = Put("c", 1);
  EXPECT_FALSE(drain.ready());
  Release(1);  // Streamers take turns.
  ASSERT_TRUE(drain.ready());
  EXPECT_LT(drain.Wait()->version, unrotated);
}

// However the streams end, publications come in rotate order, counts are right, and a fence is
// answered exactly when everything up to it is published.
TEST_F(FlushPipelineTest, AThousandOrdersOfCompletionAreOneOrderOfPublication) {
  constexpr size_t kFlights = 6;
  StartWith(kFlights);
  std::mt19937_64 random(20261127);
  std::map<std::string, int64_t> model;
  std::vector<size_t> order(kFlights);
  std::iota(order.begin(), order.end(), 0);
  for (int round = 0; round < 1'000; ++round) {
    std::shuffle(order.begin(), order.end(), random);
    HoldStreamers();
    std::vector<Pending<FlushReceipt>> fences;
    for (size_t flight = 0; flight < kFlights; ++flight) {
      const std::string id = absl::StrCat(random() % 12);
      if (random() % 3 == 0) {
        Delete(id);
        model.erase(id);
      } else {
        Put(id, round);
        model[id] = round;
      }
      fences.push_back(AskFence());
    }
    const uint64_t before = committer_->manifest();
    std::vector<bool> streamed(kFlights, false);
    for (const size_t flight : order) {
      Release(flight);
      streamed[flight] = true;
      const auto published = static_cast<size_t>(
          std::find(streamed.begin(), streamed.end(), false) - streamed.begin());
      ASSERT_EQ(committer_->manifest(), before + published) << ::testing::PrintToString(order);
      for (size_t i = 0; i < kFlights; ++i) ASSERT_EQ(fences[i].ready(), i < published);
      ASSERT_EQ(Count(), static_cast<int64_t>(model.size()));
    }
    ASSERT_EQ(L1Count(), static_cast<int64_t>(model.size()));
    ASSERT_EQ(L1().head.parent, L1().head.id - 1);
  }
  EXPECT_EQ(metrics_.reorder_depth_high_water.Get(), kFlights - 1);
  EXPECT_EQ(metrics_.published.Get(), 1'000 * kFlights);
  EXPECT_EQ(metrics_.retried.Get(), 0u);
}

// What a stream has worked out counts as L0 does: entries of indexes, too.
TEST_F(FlushPipelineTest, ResultsOfStreamsCountWithAllThatFollowsFromTheirRows) {
  StartWith(2);
  for (const char* field : {"n", "text"}) {
    Pending<IndexDefined> defined =
        committer_->Ask(DefineIndex{.collection = people_.id, .options = {.field = field}});
    driver_->StepUntilIdle();
    ASSERT_TRUE(defined.Wait().ok());
  }
  FlushAll();
  streamers_[1]->Freeze();
  PutAndFence("first", 1);  // Its stream is held, so the next one's result waits.
  constexpr uint64_t kRows = 200;
  const std::string text(100, 'x');
  storage::WriteBatch batch;
  for (uint64_t i = 0; i < kRows; ++i) {
    batch.Put(
        people_, absl::StrCat(i),
        *storage::DocumentBuilder().Set("n", static_cast<int64_t>(i)).Set("text", text).Finish());
  }
  Commit(std::move(batch));
  const uint64_t before = backpressure_->l0_bytes();
  AskFence();
  EXPECT_EQ(metrics_.reorder_depth.Get(), 1u);
  EXPECT_GT(metrics_.result_bytes.Get(),
            kRows * (sizeof(RowChange) + 2 * sizeof(DerivedChange) + text.size()));
  Put("later", 1);  // The Committer looks.
  EXPECT_GE(backpressure_->l0_bytes(), before + metrics_.result_bytes.Get());
  Release(1);
  EXPECT_EQ(metrics_.result_bytes.Get(), 0u);
}

TEST_F(FlushPipelineTest, OneFlightAtATimeIsEnough) {
  StartWith(1);
  HoldStreamers();
  Pending<FlushReceipt> first = PutAndFence("a", 1);
  Pending<FlushReceipt> second = PutAndFence("b", 1);
  Pending<FlushReceipt> third = PutAndFence("c", 1);
  EXPECT_EQ(streamers_[0]->Status().depth, 1u);
  Release(0);
  for (auto* fence : {&first, &second, &third}) EXPECT_TRUE(fence->Wait().ok());
  EXPECT_EQ(L1Count(), 3);
}

TEST_F(FlushPipelineTest, DueBufferIsSkippedOnceWhileNoFlushIsFreeAndRotatedLater) {
  Committer::Options options = NeverRotate();
  options.rotate_rows = 2;
  Start(options);
  HoldStreamers();
  for (int i = 0; i < 8; ++i) Put(absl::StrCat(i), i);
  EXPECT_EQ(metrics_.pending.Get(), 2u);
  EXPECT_EQ(metrics_.skipped.Get(), 1u);
  Release(0);
  Release(1);
  EXPECT_EQ(metrics_.pending.Get(), 0u);
  EXPECT_EQ(metrics_.rotated.Get(), 3u);
  EXPECT_EQ(L1Count(), 8);
}

TEST_F(FlushPipelineTest, IntervalLeavesBuffersWithFewRowsAlone) {
  Committer::Options options = NeverRotate();
  options.rotate_interval = absl::Seconds(1);
  options.rotate_interval_rows_min = 4;
  Start(options);
  Put("a", 1);
  Put("b", 1);
  driver_->AdvanceBy(absl::Minutes(1));
  EXPECT_EQ(metrics_.rotated.Get(), 0u);
  Put("c", 1);  // With the collection's row, the fourth.
  EXPECT_EQ(metrics_.rotated.Get(), 1u);
}

TEST_F(FlushPipelineTest, NothingIsRotatedByItselfWithEveryTriggerOff) {
  StartWith(2);
  for (int i = 0; i < 1'000; ++i) Send(SteppedPipeline::Put(absl::StrCat(i), i));
  driver_->AdvanceBy(absl::Hours(1));
  EXPECT_EQ(metrics_.rotated.Get(), 0u);
  FlushAll();
  EXPECT_EQ(metrics_.rotated.Get(), 1u);
  EXPECT_EQ(L1Count(), 1'000);
}

TEST_F(FlushPipelineTest, WhoAskedForItIsRungAfterEveryPublication) {
  class Listener final : public Actor<Listener, StopRetrying> {
   public:
    explicit Listener(const ActorOptions& options) : Actor(options) {}
    int rings = 0;

   private:
    friend Actor;
    void Handle(StopRetrying /*stop*/) {}
    void OnDoorbell() { ++rings; }
  };
  StartWith(2);
  Listener listener(Named("listener"));
  ASSERT_TRUE(driver_->Start(listener).ok());
  committer_->RingAfterPublish(listener);
  FlushAll();
  EXPECT_EQ(listener.rings, 1);
  PutAndFence("a", 1);
  EXPECT_EQ(listener.rings, 2);
  driver_.reset();
}

// The last flush of an engine that stops may take long; who would go on behind it need not stay.
TEST_F(FlushPipelineTest, ActorThatStopsEndsItsOwnFencesAlone) {
  Start(NeverRotate());
  Maintainer maintainer(Named("maintainer"), *committer_);
  ASSERT_TRUE(driver_->Start(maintainer).ok());
  HoldStreamers();
  Pending<FlushReceipt> client = PutAndFence("a", 1);
  ASSERT_TRUE(maintainer.Tell(Begin{}).ok());
  driver_->StepUntilIdle();
  EXPECT_THAT(maintainer.answers, ::testing::IsEmpty());
  maintainer.Close(CloseMode::kDrain);
  driver_->StepUntilIdle();
  ASSERT_EQ(maintainer.answers.size(), 2u);
  EXPECT_TRUE(absl::IsCancelled(maintainer.answers[0])) << maintainer.answers[0];
  EXPECT_TRUE(maintainer.answers[1].ok()) << maintainer.answers[1];
  EXPECT_EQ(maintainer.Status().state, ActorState::kStopped);
  driver_->Join(maintainer);
  EXPECT_FALSE(client.ready());
  for (size_t i = 0; i < streamers_.size(); ++i) Release(i);
  EXPECT_TRUE(client.Wait().ok());
}

}  // namespace
}  // namespace millrace
