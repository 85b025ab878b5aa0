#include "millrace/runtime/reply.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "gtest/gtest.h"

#include "millrace/runtime/deferred_wakes.h"

namespace millrace {
namespace {

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr int kRaces = 100'000;
#else
constexpr int kRaces = 1'000'000;
#endif

std::string OutcomeOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kOutcomePayload);
  return payload.has_value() ? std::string(*payload) : "";
}

TEST(ReplyTest, AnswerReachesTheWaiter) {
  auto [reply, pending] = MakeReply<std::string>();
  EXPECT_FALSE(pending.ready());
  EXPECT_FALSE(pending.TryTake().has_value());
  std::thread replier([reply = std::move(reply)]() mutable { reply.Send("answer"); });
  EXPECT_EQ(*pending.Wait(), "answer");
  EXPECT_FALSE(pending.valid());
  replier.join();
}

TEST(ReplyTest, TryTakeGivesTheAnswerOnce) {
  auto [reply, pending] = MakeReply<int>();
  reply.Send(7);
  EXPECT_TRUE(pending.ready());
  EXPECT_EQ(**pending.TryTake(), 7);
  EXPECT_FALSE(pending.TryTake().has_value());
}

TEST(ReplyTest, DroppedReplyIsCancelledNotForgotten) {
  auto [reply, pending] = MakeReply<int>();
  { Reply<int> dropped = std::move(reply); }
  const absl::StatusOr<int> result = pending.Wait();
  EXPECT_EQ(result.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(OutcomeOf(result.status()), "none");
}

TEST(ReplyTest, ReplyDroppedAfterAClaimIsOfUnknownOutcome) {
  auto [reply, pending] = MakeReply<int>();
  ASSERT_TRUE(reply.Claim());
  reply = Reply<int>();
  EXPECT_EQ(OutcomeOf(pending.Wait().status()), "unknown");
}

TEST(ReplyTest, DroppedPendingCancelsNothing) {
  auto [reply, pending] = MakeReply<std::unique_ptr<int>>();
  pending = Pending<std::unique_ptr<int>>();
  EXPECT_FALSE(reply.abandoned());
  EXPECT_TRUE(reply.Claim());
  reply.Send(std::make_unique<int>(1));
}

TEST(ReplyTest, DeadlineBeforeTheClaimMeansNotExecuted) {
  auto [reply, pending] = MakeReply<int>();
  const absl::Status status = pending.Wait(absl::ZeroDuration()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(OutcomeOf(status), "none");
  EXPECT_TRUE(reply.abandoned());
  EXPECT_FALSE(reply.Claim());
}

TEST(ReplyTest, DeadlineAfterTheClaimMeansUnknown) {
  auto [reply, pending] = MakeReply<int>();
  ASSERT_TRUE(reply.Claim());
  const absl::Status status = pending.Wait(absl::Milliseconds(1)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(OutcomeOf(status), "unknown");
  reply.Send(1);
}

TEST(ReplyTest, GivingUpRacesWithTheClaimAndOneOfThemWins) {
  constexpr int kBatch = 1000;
  int not_executed = 0, answered = 0, unknown = 0;
  for (int done = 0; done < kRaces; done += kBatch) {
    std::vector<Reply<int>> replies;
    std::vector<Pending<int>> pendings;
    for (int i = 0; i < kBatch; ++i) {
      auto [reply, pending] = MakeReply<int>();
      replies.push_back(std::move(reply));
      pendings.push_back(std::move(pending));
    }
    std::vector<char> committed(kBatch, 0);
    std::atomic<int> at = -1;
    std::thread handler([&] {
      for (int i = 0; i < kBatch; ++i) {
        at.store(i, std::memory_order_release);
        if (replies[i].Claim()) {
          committed[i] = 1;
          replies[i].Send(i);
        } else {
          replies[i] = Reply<int>();
        }
      }
    });
    std::vector<absl::StatusOr<int>> results;
    for (int i = 0; i < kBatch; ++i) {
      // Close behind the handler, so that both are at the same cell.
      while (at.load(std::memory_order_acquire) < i - 1) {
      }
      results.push_back(pendings[i].Wait(MonotonicTime()));
    }
    handler.join();
    for (int i = 0; i < kBatch; ++i) {
      if (results[i].ok()) {
        ++answered;
        ASSERT_TRUE(committed[i]);
      } else if (OutcomeOf(results[i].status()) == "none") {
        ++not_executed;
        ASSERT_FALSE(committed[i]) << "told not executed, but it was";
      } else {
        ++unknown;
        ASSERT_TRUE(committed[i]);
      }
    }
  }
  RecordProperty("not_executed", not_executed);
  RecordProperty("answered", answered);
  RecordProperty("unknown", unknown);
  EXPECT_EQ(not_executed + answered + unknown, kRaces);
}

TEST(ReplyTest, SleepingWaitersAreWoken) {
  for (int i = 0; i < 2000; ++i) {
    auto [reply, pending] = MakeReply<int>();
    std::thread replier([reply = std::move(reply), i]() mutable { reply.Send(i); });
    ASSERT_EQ(*pending.Wait(), i);
    replier.join();
  }
}

// More than the scope remembers, and waiters that saw their answer without sleeping among them.
TEST(ReplyTest, DeferredWakesReachEveryone) {
  constexpr int kWaiters = 300;
  std::vector<Reply<int>> replies;
  std::vector<std::thread> waiters;
  std::atomic<int> right{0};
  for (int i = 0; i < kWaiters; ++i) {
    auto [reply, pending] = MakeReply<int>();
    replies.push_back(std::move(reply));
    waiters.emplace_back([pending = std::move(pending), i, &right]() mutable {
      right += *pending.Wait() == i ? 1 : 0;
    });
  }
  {
    const DeferredWakes wakes;
    for (int i = 0; i < kWaiters; ++i) replies[static_cast<size_t>(i)].Send(i);
  }
  for (std::thread& waiter : waiters) waiter.join();
  EXPECT_EQ(right, kWaiters);
}

TEST(ReplyDeathTest, DeferringWakesTwiceIsABug) {
  const DeferredWakes wakes;
  EXPECT_DEATH(DeferredWakes(), "not nested");
}

TEST(ReplyDeathTest, SendingTwiceIsABug) {
  auto [reply, pending] = MakeReply<int>();
  reply.Send(1);
  EXPECT_DEATH(reply.Send(2), "sent twice");
}

}  // namespace
}  // namespace millrace
