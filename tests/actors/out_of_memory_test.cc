// Flushes without memory, stepped by hand: rotations that cannot make a new buffer, streams that
// throw. What could not be done consumes nothing and is tried again.

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/actors/fenced_pipeline.h"
#include "tests/testing/allocation_faults.h"

#include "millrace/messages/error.h"

namespace millrace {
namespace {

using testing::AllocationFaults;
using ::testing::HasSubstr;

class OutOfMemoryTest : public ::testing::Test, protected testing::FencedPipeline {
 protected:
  // A rotation that finds no memory is tried again so much later.
  static constexpr absl::Duration kRotateRetry = absl::Milliseconds(50);

  // No memory for a buffer (with what shares it), so often.
  static AllocationFaults::Which NoBuffer(int64_t count) {
    constexpr size_t kBytes = sizeof(storage::L0Buffer);
    return {.count = count, .bytes_min = kBytes, .bytes_max = kBytes + 64};
  }
  // Lets the held streamer that has something to do try it, without memory for its nth piece.
  // Whether it came so far.
  bool StreamWithout(int64_t nth) {
    bool struck = false;
    for (const auto& streamer : streamers_) {
      if (streamer->Status().depth == 0) continue;
      streamer->Unfreeze();
      const AllocationFaults faults({.nth = nth});
      driver_->Step(*streamer);
      struck = struck || faults.struck();
    }
    return struck;
  }
  void ReleaseAll() {
    for (const auto& streamer : streamers_) streamer->Unfreeze();
    driver_->StepUntilIdle();
  }
  // The clock goes on; whatever is streamed meanwhile throws.
  void AdvanceThrowing(absl::Duration duration) {
    const MonotonicTime end = clock_.Now() + duration;
    while (clock_.Now() < end) {
      HoldStreamers();
      driver_->AdvanceBy(absl::Milliseconds(50));
      StreamWithout(1);
    }
    driver_->StepUntilIdle();
  }
  uint64_t Restarts() const {
    uint64_t count = 0;
    for (const auto& streamer : streamers_) count += streamer->Status().restarts;
    return count;
  }
};

// F2, FL-T4.
TEST_F(OutOfMemoryTest, RotationWithoutMemoryConsumesNothingAndIsTriedAgain) {
  Start(NeverRotate());
  uint64_t sequence = 0;
  for (const int64_t times : {1, 3}) {
    Put("before", times);
    const storage::BufferList buffers = *view_.buffers();
    std::optional<AllocationFaults> faults(std::in_place, NoBuffer(times));
    Pending<FlushReceipt> fence = AskFence();
    EXPECT_TRUE(faults->struck());
    for (int64_t i = 1; i < times; ++i) {
      EXPECT_EQ(*view_.buffers(), buffers);
      EXPECT_EQ(metrics_.rotated.Get(), sequence);
      EXPECT_EQ(metrics_.pending.Get(), 0u);
      driver_->AdvanceBy(kRotateRetry);
    }
    faults.reset();
    EXPECT_EQ(health_.status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(health_.status().ToString(), HasSubstr("it is tried again"));
    Put("meanwhile", times);
    EXPECT_EQ(Count(), 2);
    EXPECT_FALSE(fence.ready());
    driver_->AdvanceBy(kRotateRetry);
    ASSERT_TRUE(fence.ready());
    EXPECT_TRUE(fence.Wait().ok());
    EXPECT_EQ(L1().head.id, ++sequence) << "no sequence was consumed";
    EXPECT_EQ(L1Count(), 2) << "what was committed meanwhile went with it";
    EXPECT_TRUE(health_.status().ok()) << health_.status();
  }
}

// Commits go on as far as the limits allow; nothing is lost when the store is stopped like this.
TEST_F(OutOfMemoryTest, StoreThatCannotRotateGoesOnAndLeavesEverythingToTheLog) {
  Committer::Options options = NeverRotate();
  options.rotate_rows = 4;
  Start(options);
  std::optional<AllocationFaults> faults(std::in_place, NoBuffer(1'000'000));
  for (int i = 0; i < 20; ++i) Put(absl::StrCat(i), i);
  Pending<FlushReceipt> fence = AskFence();
  driver_->AdvanceBy(absl::Seconds(1));
  EXPECT_EQ(metrics_.rotated.Get(), 0u);
  committer_->Close(CloseMode::kDrain);
  driver_->AdvanceBy(kRotateRetry);
  ASSERT_TRUE(driver_->AwaitFinished(*committer_, absl::Milliseconds(1)));
  faults.reset();
  ASSERT_TRUE(fence.ready());
  EXPECT_FALSE(fence.Wait().ok());
  EXPECT_EQ(Count(), 20);
}

// F5, FL-T5: wherever it throws, the stream fails, is tried again, and nothing is lost.
TEST_F(OutOfMemoryTest, StreamThatThrowsAnywhereIsStreamedAgain) {
  Start(NeverRotate());
  int64_t nth = 1;
  for (bool struck = true; struck; ++nth) {
    HoldStreamers();
    Put(absl::StrCat("a", nth), nth);
    for (int i = 0; i < 30; ++i) Put(absl::StrCat("b", i), nth);
    if (nth > 1) Delete(absl::StrCat("a", nth - 1));
    Pending<FlushReceipt> fence = AskFence();
    struck = StreamWithout(nth);
    ReleaseAll();
    EXPECT_EQ(fence.ready(), !struck);
    EXPECT_EQ(Count(), 31) << "it stays readable";
    driver_->AdvanceBy(absl::Milliseconds(200));
    ASSERT_TRUE(fence.ready()) << "allocation " << nth;
    EXPECT_TRUE(fence.Wait().ok());
    ASSERT_EQ(L1Count(), 31);
    ASSERT_EQ(L1().head.id, static_cast<uint64_t>(nth));
    ASSERT_TRUE(health_.status().ok()) << health_.status();
  }
  EXPECT_GT(nth, 8) << "a stream allocates";
  EXPECT_EQ(metrics_.retried.Get(), static_cast<uint64_t>(nth - 2));
  EXPECT_EQ(Restarts(), metrics_.retried.Get()) << "each time its streamer began anew";
  EXPECT_EQ(metrics_.abandoned.Get(), 0u);
}

// The flush behind it is streamed meanwhile, and never overtakes.
TEST_F(OutOfMemoryTest, FlushBehindAStreamThatThrowsIsPublishedBehindIt) {
  Start(NeverRotate());
  HoldStreamers();
  Pending<FlushReceipt> first = PutAndFence("a", 1);
  EXPECT_TRUE(StreamWithout(1));
  Pending<FlushReceipt> second = PutAndFence("b", 1);
  ReleaseAll();
  EXPECT_FALSE(first.ready());
  EXPECT_FALSE(second.ready());
  EXPECT_EQ(metrics_.reorder_depth.Get(), 1u);
  for (int i = 0; i < 3; ++i) AdvanceThrowing(absl::Milliseconds(400));
  EXPECT_FALSE(second.ready());
  EXPECT_EQ(L1().head.id, 0u);
  ReleaseAll();
  driver_->AdvanceBy(absl::Seconds(5));
  ASSERT_TRUE(first.ready());
  ASSERT_TRUE(second.ready());
  EXPECT_LT(first.Wait()->manifest, second.Wait()->manifest);
  EXPECT_EQ(L1().head.parent, 1u);
  EXPECT_EQ(L1Count(), 2);
}

TEST_F(OutOfMemoryTest, StreamThatAlwaysThrowsDegradesTheEngineUntilItIsResumed) {
  Committer::Options options = NeverRotate();
  options.probe_interval = absl::Hours(24);
  Start(options);
  HoldStreamers();
  Pending<FlushReceipt> fence = PutAndFence("a", 1);
  AdvanceThrowing(absl::Seconds(20));
  ASSERT_TRUE(fence.ready());
  const absl::Status status = fence.Wait().status();
  EXPECT_TRUE(IsDegraded(status)) << status;
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(status.ToString(), HasSubstr("threw in Stream: std::bad_alloc"));
  EXPECT_EQ(metrics_.retried.Get(), finalizer_options_.retries_max);
  Put("b", 1);
  EXPECT_EQ(Count(), 2);
  ReleaseAll();
  EXPECT_TRUE(Ask(Resume{}).Wait().ok());
  FlushAll();
  EXPECT_EQ(L1Count(), 2);
  EXPECT_TRUE(health_.status().ok()) << health_.status();
}

}  // namespace
}  // namespace millrace
