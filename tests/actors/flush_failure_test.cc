// Flushes that fail, stepped by hand: streams that cannot read, streams that hang, senders that
// stop. Each is tried again in order, bounded; then the engine is Degraded, and recovers.

#include <filesystem>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/actors/fenced_pipeline.h"

#include "millrace/messages/error.h"
#include "millrace/runtime/lane_selector.h"

namespace millrace {
namespace {

using ::testing::HasSubstr;

class FlushFailureTest : public ::testing::Test, protected testing::FencedPipeline {
 protected:
  FlushFailureTest() {
    reader_slots_max_ = 64;
    finalizer_options_.stream_timeout = absl::Milliseconds(500);
  }
  // Through all attempts: 50 ms to 5 s apart.
  static constexpr absl::Duration kAllAttempts = absl::Seconds(17);

  static Committer::Options NoProbe() {
    Committer::Options options = NeverRotate();
    options.probe_interval = absl::Hours(24);
    return options;
  }
  void ExpectHealthy() {
    EXPECT_TRUE(health_.status().ok()) << health_.status();
    EXPECT_TRUE(health_.degraded().ok()) << health_.degraded();
    EXPECT_EQ(metrics_.pending.Get(), 0u);
  }
};

TEST_F(FlushFailureTest, FailedStreamIsTriedAgainWithGrowingDelays) {
  Start(NeverRotate());
  FailStreams();
  Pending<FlushReceipt> fence = PutAndFence("a", 1);
  EXPECT_EQ(metrics_.retried.Get(), 1u);
  EXPECT_EQ(health_.status().code(), absl::StatusCode::kResourceExhausted);
  driver_->AdvanceBy(absl::Milliseconds(49));
  EXPECT_EQ(metrics_.retried.Get(), 1u);
  driver_->AdvanceBy(absl::Milliseconds(1));
  EXPECT_EQ(metrics_.retried.Get(), 2u);
  driver_->AdvanceBy(absl::Milliseconds(99));
  EXPECT_EQ(metrics_.retried.Get(), 2u);
  driver_->AdvanceBy(absl::Milliseconds(1));
  EXPECT_EQ(metrics_.retried.Get(), 3u);
  Heal();
  EXPECT_FALSE(fence.ready());
  driver_->AdvanceBy(absl::Milliseconds(200));
  ASSERT_TRUE(fence.ready());
  EXPECT_TRUE(fence.Wait().ok());
  EXPECT_EQ(metrics_.abandoned.Get(), 0u);
  ExpectHealthy();
}

// Reads go on, commits go on, who waits is answered with the cause, and Resume mends it.
TEST_F(FlushFailureTest, FlushThatAlwaysFailsDegradesTheEngineUntilItIsResumed) {
  Start(NoProbe());
  Put("before", 1);
  FlushAll();
  FailStreams();
  Pending<FlushReceipt> first = PutAndFence("a", 1);
  Pending<FlushReceipt> second = PutAndFence("b", 1);
  Pending<FlushReceipt> drain = Ask(Drain{});
  driver_->AdvanceBy(kAllAttempts);
  for (Pending<FlushReceipt>* waits : {&first, &second, &drain}) {
    ASSERT_TRUE(waits->ready());
    const absl::Status status = waits->Wait().status();
    EXPECT_TRUE(IsDegraded(status)) << status;
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(status.ToString(), HasSubstr("the engine is degraded, flushes fail: "));
  }
  EXPECT_EQ(metrics_.retried.Get(), 2u * finalizer_options_.retries_max);
  EXPECT_EQ(metrics_.abandoned.Get(), 2u);
  EXPECT_FALSE(health_.degraded().ok());
  for (int i = 0; i < 10; ++i) Put(absl::StrCat("during ", i), i);
  Pending<FlushReceipt> later = AskFence();
  ASSERT_TRUE(later.ready());
  EXPECT_TRUE(IsDegraded(later.Wait().status()));
  EXPECT_EQ(metrics_.rotated.Get(), 3u) << "nothing is rotated while nothing can be flushed";

  Pending<FlushReceipt> in_vain = Ask(Resume{});
  driver_->AdvanceBy(kAllAttempts);
  ASSERT_TRUE(in_vain.ready());
  EXPECT_TRUE(IsDegraded(in_vain.Wait().status()));

  Heal();
  EXPECT_EQ(Count(), 13);
  Pending<FlushReceipt> resumed = Ask(Resume{});
  ASSERT_TRUE(resumed.ready());
  EXPECT_TRUE(resumed.Wait().ok());
  ExpectHealthy();
  FlushAll();
  EXPECT_EQ(L1Count(), 13);
  EXPECT_EQ(L1().head.id, 4u) << "no sequence was lost, none used twice";
  EXPECT_TRUE(Ask(Resume{}).Wait().ok()) << "nothing to do";
}

// One message a step; what clients sent comes before answers.
class ClientsFirst final : public LaneSelector {
 public:
  static constexpr uint32_t kActors = 0;
  static constexpr uint32_t kClients = 1;
  uint32_t sender = kActors;

  uint32_t SenderLane() override { return sender; }
  size_t Choose(absl::Span<const uint32_t> waiting) override {
    for (size_t i = 0; i < waiting.size(); ++i) {
      if (waiting[i] == 2 * kClients) return i;
    }
    return 0;
  }
  size_t BatchSize(size_t /*max*/) override { return 1; }
};

// The answers of one failure are several messages. What is sent again between two of them would
// be taken for another failure when the second arrives.
TEST_F(FlushFailureTest, ResumeAmongTheAnswersOfOneFailureWaitsForAllOfThem) {
  Start(NoProbe());
  FailStreams();
  Pending<FlushReceipt> first = PutAndFence("a", 1);
  Pending<FlushReceipt> second = PutAndFence("b", 1);
  static ClientsFirst selector;  // The Committer asks it to its end.
  committer_->SetLaneSelector(&selector);
  committer_->Freeze();
  driver_->AdvanceBy(kAllAttempts);
  committer_->Unfreeze();
  while (metrics_.abandoned.Get() == 0) ASSERT_TRUE(driver_->Step(*committer_));
  EXPECT_FALSE(health_.degraded().ok());
  Heal();
  selector.sender = ClientsFirst::kClients;
  Pending<FlushReceipt> resumed = committer_->Ask(Resume{});
  ASSERT_TRUE(driver_->Step(*committer_));
  selector.sender = ClientsFirst::kActors;
  ASSERT_EQ(metrics_.abandoned.Get(), 1u) << "the second has not come back yet";
  driver_->StepUntilIdle();
  ASSERT_TRUE(resumed.ready());
  const absl::StatusOr<FlushReceipt> receipt = resumed.Wait();
  EXPECT_TRUE(receipt.ok()) << receipt.status();
  EXPECT_EQ(metrics_.abandoned.Get(), 2u);
  ExpectHealthy();
  EXPECT_EQ(L1Count(), 2);
}

TEST_F(FlushFailureTest, DegradedEngineTriesAgainByItself) {
  Start(NeverRotate());
  FailStreams();
  Pending<FlushReceipt> fence = PutAndFence("a", 1);
  driver_->AdvanceBy(kAllAttempts);
  EXPECT_TRUE(IsDegraded(fence.Wait().status()));
  Heal();
  driver_->AdvanceBy(absl::Seconds(5));
  ExpectHealthy();
  EXPECT_EQ(L1Count(), 1);
}

// All streams stall: nothing wedges, everything stays readable, all is published when they go on.
TEST_F(FlushFailureTest, StalledStreamsTimeOutAndNeitherCommitsNorReadsWait) {
  Start(NoProbe());
  HoldStreamers();
  std::vector<Pending<FlushReceipt>> fences;
  for (int i = 0; i < 6; ++i) fences.push_back(PutAndFence(absl::StrCat(i), i));
  driver_->AdvanceBy(absl::Milliseconds(500));
  EXPECT_EQ(metrics_.timeouts.Get(), 2u);
  driver_->AdvanceBy(absl::Seconds(30));
  EXPECT_GE(metrics_.timeouts.Get(), 16u) << "who finds no free streamer is timed out as well";
  for (auto& fence : fences) {
    ASSERT_TRUE(fence.ready());
    EXPECT_TRUE(IsDegraded(fence.Wait().status()));
  }
  EXPECT_EQ(Count(), 6);
  for (int i = 0; i < 6; ++i) EXPECT_TRUE(TakeSnapshot().Get(people_, absl::StrCat(i)).ok());
  Release(0);
  Release(1);
  EXPECT_EQ(L1().head.id, 0u) << "what was streamed too late is dropped";
  EXPECT_TRUE(Ask(Resume{}).Wait().ok());
  FlushAll();
  EXPECT_EQ(L1Count(), 6);
  ExpectHealthy();
}

TEST_F(FlushFailureTest, OtherStreamersDoTheWorkOfOneThatHangs) {
  Start(NeverRotate());
  streamers_[0]->Freeze();
  Pending<FlushReceipt> first = PutAndFence("a", 1);
  Pending<FlushReceipt> second = PutAndFence("b", 1);
  EXPECT_FALSE(second.ready()) << "it is streamed, but not in its turn";
  EXPECT_EQ(metrics_.reorder_depth.Get(), 1u);
  driver_->AdvanceBy(absl::Milliseconds(550));
  ASSERT_TRUE(first.ready());
  ASSERT_TRUE(second.ready());
  EXPECT_TRUE(first.Wait().ok() && second.Wait().ok());
  EXPECT_EQ(metrics_.timeouts.Get(), 1u);
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(PutAndFence(absl::StrCat(i), i).Wait().ok());
  Release(0);  // Its late result is dropped, and it takes part again.
  streamers_[1]->Freeze();
  EXPECT_TRUE(PutAndFence("c", 1).Wait().ok());
  EXPECT_EQ(L1Count(), 8);
  ExpectHealthy();
}

// A dropped token is an answer: a streamer that stops gives its flush back at once.
TEST_F(FlushFailureTest, FlushOfAStreamerThatStopsGoesToAnother) {
  Start(NeverRotate());
  streamers_[0]->Freeze();
  Pending<FlushReceipt> fence = PutAndFence("a", 1);
  streamers_[0]->Close(CloseMode::kDiscard);
  driver_->StepUntilIdle();
  EXPECT_EQ(metrics_.retried.Get(), 1u);
  driver_->AdvanceBy(absl::Milliseconds(50));
  ASSERT_TRUE(fence.ready());
  EXPECT_TRUE(fence.Wait().ok());
  EXPECT_EQ(metrics_.timeouts.Get(), 0u);
}

// The second flush is given up while the first is merely slow: when the first is published the
// engine is still Degraded, until the second is.
TEST_F(FlushFailureTest, LaterFlushThatFailsDoesNotTakeTheEarlierOneWithIt) {
  finalizer_options_.stream_timeout = absl::Minutes(1);
  Start(NoProbe());
  streamers_[0]->Freeze();
  Pending<FlushReceipt> first = PutAndFence("a", 1);
  FailStreams();
  Pending<FlushReceipt> second = PutAndFence("b", 1);
  driver_->AdvanceBy(kAllAttempts);
  EXPECT_TRUE(IsDegraded(second.Wait().status()));
  Heal();
  Release(0);
  EXPECT_EQ(L1().head.id, 1u);
  EXPECT_TRUE(IsDegraded(AskFence().Wait().status()));
  EXPECT_FALSE(health_.degraded().ok());
  EXPECT_TRUE(Ask(Resume{}).Wait().ok());
  EXPECT_EQ(L1().head.id, 2u);
  EXPECT_EQ(L1Count(), 2);
  ExpectHealthy();
}

// Over retries, Resume and the late answer of an attempt that was given up: each attempt has a
// number of its own, which is the one in L1's flush row.
TEST_F(FlushFailureTest, AttemptsOfAFlushAreNeverNamedTwice) {
  finalizer_options_.retries_max = 1;
  Start(NoProbe());
  constexpr int kRows = 6'000;  // More slices than are under way at once.
  storage::WriteBatch batch;
  for (int i = 0; i < kRows; ++i) batch.Put(people_, absl::StrCat(i), {});
  Commit(std::move(batch));
  streamers_[0]->Freeze();  // Has the first attempt in its mailbox.
  Pending<FlushReceipt> fence = AskFence();
  FailStreams();
  driver_->AdvanceBy(absl::Seconds(5));  // The first is timed out, the second fails.
  EXPECT_TRUE(IsDegraded(fence.Wait().status()));
  Pending<FlushReceipt> in_vain = Ask(Resume{});
  driver_->AdvanceBy(absl::Seconds(5));  // The third and the fourth.
  EXPECT_TRUE(IsDegraded(in_vain.Wait().status()));
  Heal();
  Pending<FlushReceipt> resumed = committer_->Ask(Resume{});
  streamers_[0]->Unfreeze();  // Its late answer comes when the fifth is under way.
  uint32_t attempt = 0;
  while (driver_->StepNext()) {
    if (L1().flush.has_value()) attempt = L1().flush->attempt;
  }
  EXPECT_EQ(attempt, 5u);
  EXPECT_TRUE(resumed.Wait().ok());
  EXPECT_EQ(L1().head.id, 1u);
  EXPECT_EQ(L1Count(), kRows);
  ExpectHealthy();
}

TEST_F(FlushFailureTest, StopLeavesAFlushThatFailsToTheLog) {
  Start(NeverRotate());
  FailStreams();
  Pending<FlushReceipt> fence = PutAndFence("a", 1);
  Put("b", 1);
  committer_->Close(CloseMode::kDrain);
  ASSERT_TRUE(driver_->AwaitFinished(*committer_, absl::Milliseconds(1)));
  EXPECT_FALSE(fence.Wait().ok());
  Heal();
  EXPECT_EQ(Count(), 2);
}

TEST_F(FlushFailureTest, CommitsGoOnToTheHardLimitAndAreToldTheReason) {
  Committer::Options options = NoProbe();
  options.rotate_rows = 10;
  Start(options, 256, {.soft_bytes_max = 64 << 10, .hard_bytes_max = 128 << 10});
  FailStreams();
  const storage::Document document =
      *storage::DocumentBuilder().Set("t", std::string(8'000, 'x')).Finish();
  int count = 0;
  while (backpressure_->l0_bytes() < 128 << 10) {
    Commit(storage::WriteBatch().Put(people_, absl::StrCat(count++), document));
  }
  driver_->AdvanceBy(kAllAttempts);
  EXPECT_FALSE(health_.degraded().ok());
  Pending<CommitReceipt> parked = Park(SteppedPipeline::Put("parked", 1));
  driver_->AdvanceBy(absl::Seconds(29));
  EXPECT_FALSE(parked.ready());
  driver_->AdvanceBy(absl::Seconds(2));
  ASSERT_TRUE(parked.ready());
  const absl::Status status = parked.Wait().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(GetOutcome(status), Outcome::kNotExecuted);
  EXPECT_THAT(status.ToString(), HasSubstr("flushes fail: the engine is degraded"));
  Heal();
  EXPECT_TRUE(Ask(Resume{}).Wait().ok());
  Pending<CommitReceipt> welcome = Park(SteppedPipeline::Put("welcome", 1));
  driver_->AdvanceBy(absl::Seconds(1));
  EXPECT_TRUE(welcome.Wait().ok());
  FlushAll();
  EXPECT_EQ(L1Count(), count + 1);
}

// LMDB must not get ahead of the log: without the sync nothing is sealed, and the ticket says why.
TEST_F(FlushFailureTest, RotationWhoseSyncFailsConsumesNothingAndIsTheEnd) {
  Start(NeverRotate());
  Pending<CommitReceipt> commit = Send(SteppedPipeline::Put("a", 1), Durability::kNone);
  driver_->StepUntilIdle();
  ASSERT_TRUE(commit.Wait().ok());
  files_.Fail({.call = testing::FileCall::kSync});
  const absl::Status status = AskFence().Wait().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(status.ToString(), HasSubstr("the commit log failed"));
  EXPECT_EQ(metrics_.rotated.Get(), 0u);
  EXPECT_EQ(L1().head.id, 0u);
  EXPECT_EQ(Count(), 1) << "what was published stays readable";
}

// Files that cannot be recycled are kept for the next flush; nobody waits for that.
TEST_F(FlushFailureTest, LogFilesThatCannotBeRecycledAreRecycledLater) {
  Start(NeverRotate());
  const auto fill_files = [this](int count) {
    const storage::Document document =
        *storage::DocumentBuilder().Set("t", std::string(1'000'000, 'x')).Finish();
    for (int i = 0; i < 4 * count; ++i) {
      Send(storage::WriteBatch().Put(people_, "large", document), Durability::kNone);
      driver_->StepUntilIdle();
    }
  };
  const auto log_files = [this] {
    return std::distance(std::filesystem::directory_iterator(directory_.File("log")), {});
  };
  fill_files(7);
  const auto before = log_files();
  EXPECT_GE(before, 7);
  files_.Fail({.call = testing::FileCall::kRemove, .forever = true});
  FlushAll();
  EXPECT_TRUE(files_.struck());
  EXPECT_EQ(L1().head.log_floor, committer_->log().current_file());
  EXPECT_GE(log_files(), before - 1);
  files_.Heal();
  Put("a", 1);
  FlushAll();
  EXPECT_LE(log_files(), 4) << "the current one, the next, two spares";
}

}  // namespace
}  // namespace millrace
