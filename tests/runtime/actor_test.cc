#include "millrace/runtime/actor.h"

#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "tests/runtime/probe_actor.h"

#include "millrace/runtime/link.h"
#include "millrace/testing/manual_clock.h"
#include "millrace/testing/step_driver.h"

namespace millrace {
namespace {

// One probe, stepped by hand.
class ActorTest : public ::testing::Test {
 protected:
  ActorOptions Named(const std::string& name) { return {.name = name, .clock = &clock_}; }

  Probe& New(const ActorOptions& options) {
    return *probes_.emplace_back(std::make_unique<Probe>(options));
  }

  testing::ManualClock clock_;
  std::vector<std::unique_ptr<Probe>> probes_;
  testing::StepDriver driver_{clock_};  // Goes first, and stops what still runs.
};

TEST_F(ActorTest, HandlesInOrderAndEndsEachBatchOnce) {
  ActorOptions options = Named("probe");
  options.batch_max = 4;
  Probe& probe = New(options);
  ASSERT_TRUE(driver_.Start(probe).ok());
  for (int i = 1; i <= 6; ++i) ASSERT_TRUE(probe.Tell(Note{i}).ok());
  driver_.StepUntilIdle();
  EXPECT_EQ(probe.TakeTranscript(), "start note1 note2 note3 note4 | note5 note6 |");
}

TEST_F(ActorTest, WhatIsSentBeforeTheStartIsHandledAfterIt) {
  Probe& probe = New(Named("probe"));
  ASSERT_TRUE(probe.Tell(Note{1}).ok());
  ASSERT_TRUE(driver_.Start(probe).ok());
  driver_.StepUntilIdle();
  EXPECT_EQ(probe.TakeTranscript(), "start note1 |");
}

TEST_F(ActorTest, WaitRunsTheActorsUnderTheStepDriver) {
  Probe& probe = New(Named("probe"));
  ASSERT_TRUE(driver_.Start(probe).ok());
  EXPECT_EQ(probe.Ask(Echo{7}).Wait()->value, 7);
}

TEST_F(ActorTest, ControlGoesBeforeData) {
  Probe& probe = New(Named("probe"));
  ASSERT_TRUE(driver_.Start(probe).ok());
  ASSERT_TRUE(probe.Tell(Note{1}).ok());
  ASSERT_TRUE(probe.Tell(Urgent{2}).ok());
  driver_.StepUntilIdle();
  EXPECT_EQ(probe.TakeTranscript(), "start urgent2 note1 |");
}

TEST_F(ActorTest, FullMailboxRefusesWithATypedErrorThatSaysNotExecuted) {
  ActorOptions options = Named("probe");
  options.mailbox = {.data_count_max = 2, .data_bytes_max = 10};
  Probe& probe = New(options);
  ASSERT_TRUE(driver_.Start(probe).ok());
  EXPECT_EQ(probe.Tell(Blob{std::string(11, 'x')}).code(), absl::StatusCode::kResourceExhausted);
  ASSERT_TRUE(probe.Tell(Note{1}).ok());
  Pending<Done> first = probe.Ask(Echo{1});
  Pending<Done> refused = probe.Ask(Echo{2});
  ASSERT_TRUE(refused.ready());
  const absl::Status status = refused.Wait().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.GetPayload(kOutcomePayload), absl::Cord("none"));
  EXPECT_TRUE(first.Wait().ok());
  EXPECT_TRUE(probe.Tell(Blob{std::string(10, 'x')}).ok());
  EXPECT_EQ(probe.Status().rejected_full, 2u);
}

TEST_F(ActorTest, RequestNobodyWaitsForIsNotHandled) {
  Probe& probe = New(Named("probe"));
  ASSERT_TRUE(driver_.Start(probe).ok());
  probe.Freeze();
  EXPECT_EQ(probe.Ask(Echo{1}).Wait(absl::Seconds(5)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  probe.Unfreeze();
  driver_.StepUntilIdle();
  EXPECT_EQ(probe.TakeTranscript(), "start |");
  EXPECT_EQ(probe.Status().expired, 1u);
}

TEST_F(ActorTest, ExceptionBecomesInternalAndTheActorGoesOn) {
  ActorOptions options = Named("probe");
  options.supervision = Supervision::Escalate(/*tolerated_max=*/2);
  Probe& probe = New(options);
  ASSERT_TRUE(driver_.Start(probe).ok());
  Pending<Done> thrown = probe.Ask(Throw{});
  Pending<Done> claimed = probe.Ask(Throw{.claim_first = true});
  Pending<Done> after = probe.Ask(Echo{1});
  const absl::Status status = thrown.Wait().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(absl::StrContains(status.message(), "Throw: boom")) << status;
  EXPECT_EQ(status.GetPayload(kOutcomePayload), absl::Cord("none"));
  EXPECT_EQ(claimed.Wait().status().GetPayload(kOutcomePayload), absl::Cord("unknown"));
  EXPECT_TRUE(after.Wait().ok());
  EXPECT_EQ(probe.Status().failed, 2u);
  EXPECT_EQ(probe.Status().state, ActorState::kRunning);
  EXPECT_EQ(probe.Status().last_error.code(), absl::StatusCode::kInternal);
}

TEST_F(ActorTest, DoorbellCoalescesAndIsNotLostWhileFrozen) {
  Probe& probe = New(Named("probe"));
  ASSERT_TRUE(driver_.Start(probe).ok());
  probe.Freeze();
  for (int i = 0; i < 5; ++i) probe.Ring();
  EXPECT_EQ(driver_.StepUntilIdle(), 0u);
  probe.Unfreeze();
  driver_.StepUntilIdle();
  EXPECT_EQ(probe.TakeTranscript(), "start bell |");
  probe.Ring();
  driver_.StepUntilIdle();
  EXPECT_EQ(probe.TakeTranscript(), "bell |");
}

TEST_F(ActorTest, FrozenActorLeavesOthersAlone) {
  Probe& frozen = New(Named("frozen"));
  Probe& other = New(Named("other"));
  ASSERT_TRUE(driver_.Start(frozen).ok());
  ASSERT_TRUE(driver_.Start(other).ok());
  frozen.Freeze();
  Pending<Done> waits = frozen.Ask(Echo{1});
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(other.Ask(Echo{i}).Wait().ok());
  EXPECT_FALSE(waits.ready());
  EXPECT_EQ(frozen.Status().depth, 1u);
  frozen.Unfreeze();
  EXPECT_TRUE(waits.Wait().ok());
}

TEST_F(ActorTest, TimersRunUnderTheInjectedClock) {
  Probe& probe = New(Named("probe"));
  probe.on_start = [&] {
    probe.SetTimer(1, absl::Seconds(5));
    probe.SetPeriodic(2, absl::Seconds(2), MissedTick::kSkip, FirstTick::kAtOnce);
    probe.SetPeriodic(3, absl::ZeroDuration());
    probe.SetTimer(4, absl::Seconds(1));
    probe.CancelTimer(4);
  };
  ASSERT_TRUE(driver_.Start(probe).ok());
  driver_.StepUntilIdle();
  EXPECT_EQ(probe.TakeTranscript(), "start timer2 |");
  driver_.AdvanceBy(absl::Seconds(6));
  EXPECT_EQ(probe.TakeTranscript(), "timer2 | timer2 | timer1 | timer2 |");
  clock_.Advance(absl::Seconds(31));  // A stall: the ticks on the way are skipped.
  driver_.StepUntilIdle();
  EXPECT_EQ(probe.TakeTranscript(), "timer2 |");
}

TEST_F(ActorTest, AnswerComesAsAMessage) {
  Probe& asker = New(Named("asker"));
  Probe& answerer = New(Named("answerer"));
  ASSERT_TRUE(driver_.Start(asker).ok());
  ASSERT_TRUE(driver_.Start(answerer).ok());
  ASSERT_TRUE(asker
                  .Tell(Call{[&] {
                    answerer.Ask(Echo{5}, asker.ReplyTo<Done>(17));
                    answerer.Ask(Throw{}, asker.ReplyTo<Done>(18));
                  }})
                  .ok());
  driver_.StepUntilIdle();
  EXPECT_EQ(asker.TakeTranscript(), "start | answer17=5 answer18=INTERNAL |");
}

TEST_F(ActorTest, RefusedQuestionOfAnActorIsAnsweredToo) {
  Probe& asker = New(Named("asker"));
  Probe& closed = New(Named("closed"));
  ASSERT_TRUE(driver_.Start(asker).ok());
  closed.Close(CloseMode::kDrain);
  ASSERT_TRUE(asker.Tell(Call{[&] { closed.Ask(Echo{5}, asker.ReplyTo<Done>(1)); }}).ok());
  driver_.StepUntilIdle();
  EXPECT_EQ(asker.TakeTranscript(), "start | answer1=CANCELLED |");
}

TEST_F(ActorTest, ClosedActorWaitsForItsAnswersBeforeItStops) {
  Probe& asker = New(Named("asker"));
  Probe& answerer = New(Named("answerer"));
  ASSERT_TRUE(driver_.Start(asker).ok());
  ASSERT_TRUE(driver_.Start(answerer).ok());
  ASSERT_TRUE(asker.Tell(Call{[&] { answerer.Ask(Hold{}, asker.ReplyTo<Done>(1)); }}).ok());
  driver_.StepUntilIdle();
  asker.Close(CloseMode::kDrain);
  driver_.StepUntilIdle();
  EXPECT_EQ(asker.TakeTranscript(), "start | closing |");
  answerer.held[0].Send(Done{3});
  driver_.StepUntilIdle();
  EXPECT_EQ(asker.TakeTranscript(), "answer1=3 | stop");
  EXPECT_TRUE(asker.Report().Balanced());
}

TEST_F(ActorTest, ReadyToStopKeepsADrainedActorGoing) {
  Probe& probe = New(Named("probe"));
  probe.ready_to_stop = false;
  probe.on_start = [&] { probe.SetTimer(1, absl::Seconds(1)); };
  ASSERT_TRUE(driver_.Start(probe).ok());
  probe.Close(CloseMode::kDrain);
  driver_.AdvanceBy(absl::Seconds(2));
  EXPECT_EQ(probe.TakeTranscript(), "start closing | timer1 |");
  probe.ready_to_stop = true;
  driver_.StepUntilIdle();
  EXPECT_EQ(probe.TakeTranscript(), "stop");
}

TEST_F(ActorTest, DiscardingAnswersEveryWaiterOnceAndCountsByType) {
  Probe& probe = New(Named("probe"));
  ASSERT_TRUE(driver_.Start(probe).ok());
  std::vector<Pending<Done>> waiters;
  for (int i = 0; i < 10; ++i) waiters.push_back(probe.Ask(Echo{i}));
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(probe.Tell(Note{i}).ok());
  probe.Close(CloseMode::kDiscard);
  driver_.StepUntilIdle();
  for (Pending<Done>& waiter : waiters) {
    ASSERT_TRUE(waiter.ready());
    EXPECT_EQ(waiter.Wait().status().code(), absl::StatusCode::kCancelled);
  }
  const ActorStatus status = probe.Status();
  EXPECT_EQ(status.state, ActorState::kStopped);
  for (const MessageCounts& counts : status.messages) {
    EXPECT_EQ(counts.discarded, counts.name == "Echo"   ? 10u
                                : counts.name == "Note" ? 5u
                                                        : 0u)
        << counts.name;
  }
  const ShutdownReport report{.actors = {probe.Report()}};
  EXPECT_TRUE(report.Balanced());
  for (const char* count : {"10 Echo discarded", "5 Note discarded"}) {
    EXPECT_NE(report.ToString().find(count), std::string::npos) << report.ToString();
  }
  EXPECT_EQ(probe.TakeTranscript(), "start stop");
}

TEST_F(ActorTest, CreditComesBackWhenAToldMessageIsTakenUp) {
  Probe& sender = New(Named("sender"));
  Probe& receiver = New(Named("receiver"));
  Link<Probe> link(receiver, 2, &sender);
  ASSERT_TRUE(driver_.Start(sender).ok());
  ASSERT_TRUE(driver_.Start(receiver).ok());
  ASSERT_TRUE(link.Tell(Note{1}).ok());
  ASSERT_TRUE(link.Tell(Note{2}).ok());
  EXPECT_FALSE(link.Ready());
  EXPECT_DEATH(link.Tell(Note{3}).IgnoreError(), "without a credit");
  driver_.StepUntilIdle();
  EXPECT_EQ(link.available(), 2u);
  // The sender found none, so it is rung.
  EXPECT_EQ(sender.TakeTranscript(), "start bell |");
  EXPECT_EQ(receiver.TakeTranscript(), "start note1 note2 |");
}

TEST_F(ActorTest, WaitingForRoomRunsTheActorsUnderTheStepDriver) {
  ActorOptions small = Named("probe");
  small.mailbox.data_count_max = 1;
  Probe& probe = New(small);
  ASSERT_TRUE(driver_.Start(probe).ok());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(probe.TellUntil(Note{i}, MonotonicTime::Infinite()).ok());
  EXPECT_EQ(probe.TakeTranscript(), "start note0 | note1 |");
  probe.Freeze();
  const MonotonicTime deadline = clock_.Now() + absl::Seconds(1);
  EXPECT_EQ(probe.TellUntil(Note{3}, deadline).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(clock_.Now(), deadline);
  probe.Unfreeze();
}

TEST_F(ActorTest, CyclesOfFullMailboxesAreRefusedNotDeadlocked) {
  ActorOptions small_a = Named("a"), small_b = Named("b");
  small_a.mailbox.data_count_max = small_b.mailbox.data_count_max = 2;
  Probe& a = New(small_a);
  Probe& b = New(small_b);
  ASSERT_TRUE(driver_.Start(a).ok());
  ASSERT_TRUE(driver_.Start(b).ok());
  int refused = 0;
  const auto flood = [&refused](Probe& to) {
    return Call{[&to, &refused] {
      for (int i = 0; i < 3; ++i) refused += to.Tell(Note{i}).ok() ? 0 : 1;
    }};
  };
  ASSERT_TRUE(a.Tell(flood(b)).ok());
  ASSERT_TRUE(b.Tell(flood(a)).ok());
  driver_.StepUntilIdle();
  EXPECT_GE(refused, 2);
  EXPECT_EQ(a.Status().depth + b.Status().depth, 0u);
}

TEST_F(ActorTest, StatusIsReadableWhileTheActorStands) {
  Probe& probe = New(Named("probe"));
  ASSERT_TRUE(driver_.Start(probe).ok());
  probe.Freeze();
  ASSERT_TRUE(probe.Tell(Note{1}).ok());
  ASSERT_TRUE(probe.Tell(Note{2}).ok());
  clock_.Advance(absl::Seconds(3));
  EXPECT_EQ(probe.Status().depth, 2u);
  probe.Unfreeze();
  ActorStatus during;
  ASSERT_TRUE(probe
                  .Tell(Call{[&] {
                    clock_.Advance(absl::Seconds(4));
                    during = probe.Status();
                  }})
                  .ok());
  driver_.StepUntilIdle();
  EXPECT_EQ(during.current_message, "Call");
  EXPECT_EQ(during.current_age, absl::Seconds(4));
  EXPECT_EQ(during.oldest_age, absl::Seconds(7));
  const ActorStatus after = probe.Status();
  EXPECT_EQ(after.current_age, absl::ZeroDuration());
  EXPECT_EQ(after.depth_high_water, 3u);
  EXPECT_EQ(after.handled, 3u);
  EXPECT_EQ(after.queue_delay_ns.count(), 1u);
  EXPECT_GE(after.queue_delay_ns.Percentile(0.5), 3'000'000'000u);
  EXPECT_EQ(after.batch_size.count(), 1u);
  EXPECT_EQ(after.handling_ns.count(), 3u);
  EXPECT_NEAR(after.busy_ratio, 4.0 / 7.0, 0.01);
}

TEST_F(ActorTest, LastDeliveriesCanBeDumped) {
  Probe& probe = New(Named("probe"));
  ASSERT_TRUE(driver_.Start(probe).ok());
  for (int i = 0; i < 300; ++i) ASSERT_TRUE(probe.Tell(Note{i}).ok());
  ASSERT_TRUE(probe.Tell(Urgent{0}).ok());
  driver_.StepUntilIdle();
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  probe.DumpDeliveries(ends[1]);
  close(ends[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof(buffer))) > 0;) text.append(buffer, n);
  close(ends[0]);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 256);
  EXPECT_TRUE(absl::StrContains(text, "probe #300 ")) << text;
  EXPECT_FALSE(absl::StrContains(text, "probe #44 ")) << text;
}

#ifndef NDEBUG
TEST_F(ActorTest, WaitingInsideAHandlerIsABug) {
  Probe& probe = New(Named("probe"));
  Probe& other = New(Named("other"));
  ASSERT_TRUE(driver_.Start(probe).ok());
  ASSERT_TRUE(probe.Tell(Call{[&] { (void)other.Ask(Echo{1}).Wait(); }}).ok());
  EXPECT_DEATH(driver_.StepUntilIdle(), "never waits");
}
#endif

}  // namespace
}  // namespace millrace
