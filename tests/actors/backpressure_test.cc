#include "millrace/actors/backpressure.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "millrace/messages/error.h"
#include "millrace/testing/manual_clock.h"

namespace millrace {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kSoft = 1'000;
constexpr uint64_t kHard = 8'000;

class BackpressureTest : public ::testing::Test {
 protected:
  // Parks a commit with one operation on `id`; its answer is at the same place in pending_.
  void Park(const std::string& id, absl::Duration patience = absl::Hours(1), bool deletes = false,
            size_t text_bytes = 0) {
    const storage::Collection collection{.id = 1, .name = "c"};
    storage::WriteBatch batch;
    if (deletes) {
      batch.Delete(collection, id);
    } else {
      batch.Put(collection, id,
                *storage::DocumentBuilder().Set("t", std::string(text_bytes, 'x')).Finish());
    }
    auto [reply, pending] = MakeReply<CommitReceipt>();
    pending_.push_back(std::move(pending));
    backpressure_.Park({.commit = {.batch = std::move(batch)},
                        .reply = std::move(reply),
                        .deadline = clock_.Now() + patience});
  }
  // The id of the commit that may go in now, which is answered with version 1; "" if none may.
  std::string Take() {
    std::optional<Backpressure::Parked> parked = backpressure_.Take(clock_.Now());
    if (!parked.has_value()) return "";
    std::string_view rest = parked->commit.batch.encoded();
    storage::Operation operation;
    EXPECT_TRUE(storage::ConsumeOperation(&rest, &operation));
    parked->reply.Send(CommitReceipt{.version = 1});
    return std::string(storage::DecodeRowKey(operation.key)->id);
  }
  absl::Status Answer(size_t index) {
    EXPECT_TRUE(pending_[index].ready());
    return pending_[index].Wait().status();
  }

  testing::ManualClock clock_;
  Backpressure backpressure_{{.soft_bytes_max = kSoft, .hard_bytes_max = kHard}};
  std::vector<Pending<CommitReceipt>> pending_;
};

TEST_F(BackpressureTest, OpenWhileL0IsSmallAndNobodyWaits) {
  EXPECT_TRUE(backpressure_.Open());
  backpressure_.SetL0Bytes(kSoft);
  EXPECT_FALSE(backpressure_.Open());
  Park("a");
  backpressure_.SetL0Bytes(0);
  EXPECT_FALSE(backpressure_.Open()) << "a later commit would overtake the one that waits";
  EXPECT_EQ(Take(), "a");
  EXPECT_TRUE(backpressure_.Open());
}

TEST_F(BackpressureTest, LetsInAtOnceAndInOrderBelowTheSoftLimit) {
  for (const char* id : {"a", "b", "c"}) Park(id);
  EXPECT_EQ(Take(), "a");
  EXPECT_EQ(Take(), "b");
  EXPECT_EQ(Take(), "c");
  EXPECT_EQ(Take(), "");
  EXPECT_EQ(backpressure_.NextWake(), MonotonicTime::Infinite());
}

TEST_F(BackpressureTest, DelayDoublesFromTenMillisecondsToASecond) {
  backpressure_.SetL0Bytes(kSoft);
  for (int i = 0; i < 12; ++i) Park(absl::StrCat(i));
  EXPECT_EQ(Take(), "0");
  absl::Duration delay = absl::Milliseconds(10);
  for (int i = 1; i < 12; ++i) {
    EXPECT_EQ(Take(), "") << i;
    EXPECT_EQ(backpressure_.NextWake() - clock_.Now(), delay) << i;
    clock_.Advance(delay - absl::Nanoseconds(1));
    EXPECT_EQ(Take(), "") << i;
    clock_.Advance(absl::Nanoseconds(1));
    EXPECT_EQ(Take(), absl::StrCat(i));
    delay = std::min(2 * delay, absl::Seconds(1));
  }
  EXPECT_EQ(delay, absl::Seconds(1));
}

TEST_F(BackpressureTest, DelayIsForgottenBelowTheSoftLimit) {
  backpressure_.SetL0Bytes(kSoft);
  for (int i = 0; i < 8; ++i) Park(absl::StrCat(i));
  EXPECT_EQ(Take(), "0");
  clock_.Advance(absl::Milliseconds(10));
  EXPECT_EQ(Take(), "1");
  backpressure_.SetL0Bytes(kSoft - 1);
  EXPECT_EQ(Take(), "2");
  EXPECT_EQ(Take(), "3");
  backpressure_.SetL0Bytes(kSoft);
  EXPECT_EQ(Take(), "4");
  EXPECT_EQ(backpressure_.NextWake() - clock_.Now(), absl::Milliseconds(10));
}

TEST_F(BackpressureTest, NothingPassesTheHardLimitBeforeThereIsRoom) {
  backpressure_.SetL0Bytes(kHard);
  Park("a", absl::Seconds(7));
  clock_.Advance(absl::Seconds(5));
  EXPECT_EQ(Take(), "");
  EXPECT_EQ(backpressure_.NextWake() - clock_.Now(), absl::Seconds(2));  // The deadline.
  backpressure_.SetL0Bytes(kHard - 1);
  EXPECT_EQ(Take(), "a");
}

TEST_F(BackpressureTest, DeletesPassTheHardLimitByAnEighth) {
  backpressure_.SetL0Bytes(kHard + kHard / 8 - 1);
  Park("delete", absl::Hours(1), /*deletes=*/true);
  EXPECT_EQ(Take(), "delete");
  backpressure_.SetL0Bytes(kHard + kHard / 8);
  Park("delete", absl::Hours(1), /*deletes=*/true);
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(Take(), "");
}

TEST_F(BackpressureTest, DeadlineAnswersResourceExhaustedWithTheReason) {
  backpressure_.SetL0Bytes(kHard);
  Park("late", absl::Seconds(1));
  Park("patient", absl::Seconds(3));
  Park("late too", absl::Seconds(1));
  clock_.Advance(absl::Seconds(1));
  backpressure_.Expire(clock_.Now(), absl::OkStatus());
  for (const size_t index : {0, 2}) {
    const absl::Status status = Answer(index);
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    EXPECT_THAT(status.ToString(), HasSubstr("8000"));
    EXPECT_EQ(GetOutcome(status), Outcome::kNotExecuted);
  }
  EXPECT_FALSE(pending_[1].ready());
  clock_.Advance(absl::Seconds(2));
  backpressure_.Expire(clock_.Now(), absl::UnavailableError("the disk is full"));
  EXPECT_THAT(Answer(1).ToString(), HasSubstr("the disk is full"));
  EXPECT_EQ(backpressure_.parked_count(), 0u);
}

TEST_F(BackpressureTest, AtMostTenThousandCommitsWait) {
  for (int i = 0; i < 10'000; ++i) Park("x");
  EXPECT_EQ(backpressure_.parked_count(), 10'000u);
  Park("one too many");
  const absl::Status status = Answer(10'000);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_EQ(GetOutcome(status), Outcome::kNotExecuted);
  EXPECT_EQ(Take(), "x");
  Park("fits again");
  EXPECT_FALSE(pending_.back().ready());
}

TEST_F(BackpressureTest, AtMostSixtyFourMebibytesWait) {
  for (int i = 0; i < 64; ++i) Park("x", absl::Hours(1), false, 1'020'000);
  EXPECT_EQ(backpressure_.parked_count(), 64u);
  Park("y", absl::Hours(1), false, 1'020'000);
  Park("z", absl::Hours(1), false, 1'020'000);
  Park("refused", absl::Hours(1), false, 1'020'000);
  EXPECT_EQ(Answer(66).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(Take(), "x");
  Park("fits again", absl::Hours(1), false, 1'000'000);
  EXPECT_FALSE(pending_.back().ready());
}

TEST_F(BackpressureTest, CloseAnswersAllAndAllThatComeLater) {
  backpressure_.SetL0Bytes(kHard);
  Park("a");
  Park("b");
  backpressure_.Close(absl::CancelledError("the engine is stopping"));
  Park("c");
  for (size_t i = 0; i < 3; ++i) {
    const absl::Status status = Answer(i);
    EXPECT_EQ(status.code(), absl::StatusCode::kCancelled) << status;
    EXPECT_EQ(GetOutcome(status), Outcome::kNotExecuted);
  }
  EXPECT_EQ(Take(), "");
}

}  // namespace
}  // namespace millrace
