#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/runtime/probe_actor.h"

#include "millrace/runtime/link.h"
#include "millrace/runtime/runtime.h"
#include "millrace/testing/manual_clock.h"
#include "millrace/testing/step_driver.h"

namespace millrace {
namespace {

class SupervisionTest : public ::testing::Test {
 protected:
  ActorOptions Supervised(const Supervision& supervision) {
    return {.name = "probe", .clock = &clock_, .supervision = supervision};
  }

  Probe& New(const ActorOptions& options) {
    return *probes_.emplace_back(std::make_unique<Probe>(options));
  }

  testing::ManualClock clock_;
  std::vector<std::unique_ptr<Probe>> probes_;
  testing::StepDriver driver_{clock_};  // Goes first, and stops what still runs.
};

TEST_F(SupervisionTest, RestartKeepsTheMailboxAndTheRestOfTheBatch) {
  Probe& probe = New(Supervised(Supervision::Restart()));
  ASSERT_TRUE(driver_.Start(probe).ok());
  ASSERT_TRUE(probe.Tell(Note{1}).ok());
  ASSERT_TRUE(probe.Tell(Break{"first"}).ok());
  ASSERT_TRUE(probe.Tell(Note{2}).ok());
  driver_.StepUntilIdle();
  EXPECT_EQ(probe.TakeTranscript(), "start note1 break stop-restart");
  EXPECT_EQ(probe.Status().state, ActorState::kRestarting);
  ASSERT_TRUE(probe.Tell(Note{3}).ok());
  driver_.StepUntilIdle();
  EXPECT_EQ(probe.TakeTranscript(), "");
  driver_.AdvanceBy(absl::Milliseconds(10));
  EXPECT_EQ(probe.TakeTranscript(), "start note2 | note3 |");
  EXPECT_EQ(probe.Status().restarts, 1u);
  EXPECT_EQ(probe.Status().last_error.message(), "first");
}

TEST_F(SupervisionTest, TimersOfTheFormerLifeAreGone) {
  Probe& probe = New(Supervised(Supervision::Restart()));
  ASSERT_TRUE(driver_.Start(probe).ok());
  ASSERT_TRUE(probe.Tell(Call{[&] { probe.SetTimer(1, absl::Seconds(1)); }}).ok());
  ASSERT_TRUE(probe.Tell(Break{"why"}).ok());
  driver_.AdvanceBy(absl::Seconds(10));
  EXPECT_EQ(probe.TakeTranscript(), "start break stop-restart start");
}

TEST_F(SupervisionTest, PausesGrowUntilTheFailureEscalates) {
  Probe& probe = New(Supervised(Supervision::Restart(/*restart_max=*/3)));
  ASSERT_TRUE(driver_.Start(probe).ok());
  std::vector<absl::Duration> pauses;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(probe.Tell(Break{"why"}).ok());
    driver_.StepUntilIdle();
    const MonotonicTime failed = clock_.Now();
    Pending<Done> next = probe.Ask(Echo{1});
    ASSERT_TRUE(next.Wait().ok());
    pauses.push_back(clock_.Now() - failed);
  }
  EXPECT_EQ(pauses, (std::vector<absl::Duration>{absl::Milliseconds(10), absl::Milliseconds(20),
                                                 absl::Milliseconds(40)}));
  ASSERT_TRUE(probe.Tell(Break{"the last straw"}).ok());
  Pending<Done> waiter = probe.Ask(Echo{1});
  EXPECT_EQ(waiter.Wait().status().message(), "the last straw");
  EXPECT_EQ(probe.Status().state, ActorState::kFailed);
}

TEST_F(SupervisionTest, OldFailuresAreForgiven) {
  Probe& probe = New(Supervised(Supervision::Restart(/*restart_max=*/1)));
  ASSERT_TRUE(driver_.Start(probe).ok());
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(probe.Tell(Break{"why"}).ok());
    driver_.AdvanceBy(absl::Seconds(61));
    EXPECT_EQ(probe.Status().state, ActorState::kRunning);
  }
}

TEST_F(SupervisionTest, FailedRestartIsAnotherFailure) {
  Probe& probe = New(Supervised(Supervision::Restart(/*restart_max=*/3)));
  ASSERT_TRUE(driver_.Start(probe).ok());
  probe.start_status = absl::UnavailableError("no disk");
  ASSERT_TRUE(probe.Tell(Break{"why"}).ok());
  Pending<Done> waiter = probe.Ask(Echo{1});
  EXPECT_EQ(waiter.Wait(absl::Seconds(30)).status().message(), "no disk");
  EXPECT_EQ(probe.TakeTranscript(), "start break stop-restart start start start");
}

TEST_F(SupervisionTest, AnswersToAFormerLifeOnlyGiveTheirCreditBack) {
  ActorOptions options = Supervised(Supervision::Restart());
  Probe& asker = New(options);
  Probe& answerer = New({.name = "answerer", .clock = &clock_});
  Link<Probe> link(answerer, 1, &asker);
  ASSERT_TRUE(driver_.Start(asker).ok());
  ASSERT_TRUE(driver_.Start(answerer).ok());
  ASSERT_TRUE(asker.Tell(Call{[&] { link.Ask(Hold{}, asker.ReplyTo<Done>(1)); }}).ok());
  driver_.StepUntilIdle();
  EXPECT_EQ(link.available(), 0u);
  ASSERT_TRUE(asker.Tell(Break{"why"}).ok());
  driver_.AdvanceBy(absl::Seconds(1));
  asker.TakeTranscript();
  answerer.held[0].Send(Done{1});
  driver_.StepUntilIdle();
  EXPECT_EQ(asker.TakeTranscript(), "|");
  EXPECT_EQ(link.available(), 1u);
  asker.Close(CloseMode::kDrain);
  driver_.StepUntilIdle();
  EXPECT_TRUE(asker.Report().Balanced());
  EXPECT_EQ(asker.Report().discarded, 1u);
}

TEST_F(SupervisionTest, EscalationAnswersEveryoneWithTheCauseAndTellsTheRuntime) {
  Probe& probe = New(Supervised(Supervision::Escalate()));
  std::string escalated;
  Runtime runtime({.driver = &driver_, .on_escalate = [&](Cell& actor, const absl::Status& cause) {
                     escalated = actor.name() + ": " + std::string(cause.message());
                   }});
  runtime.Add(probe);
  ASSERT_TRUE(runtime.Start().ok());
  Pending<Done> held = probe.Ask(Hold{});
  ASSERT_TRUE(probe.Tell(Break{"the disk is gone"}).ok());
  Pending<Done> queued = probe.Ask(Echo{1});
  driver_.StepUntilIdle();
  EXPECT_EQ(escalated, "probe: the disk is gone");
  EXPECT_EQ(queued.Wait().status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(held.Wait().status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(probe.Ask(Echo{2}).Wait().status().message(), "the disk is gone");
  const ShutdownReport report = runtime.Shutdown();
  EXPECT_EQ(probe.TakeTranscript(), "start hold break stop-failed");
  EXPECT_EQ(report.Find("probe")->last_error.message(), "the disk is gone");
  EXPECT_TRUE(report.Balanced()) << report.ToString();
}

TEST_F(SupervisionTest, EscalationStopsTheRuntimeUnderTheStepDriver) {
  Probe& probe = New(Supervised(Supervision::Escalate()));
  Probe& other = New({.name = "other", .clock = &clock_});
  Runtime runtime({.driver = &driver_, .stop_on_escalate = true});
  runtime.Add(other);
  runtime.Add(probe);
  ASSERT_TRUE(runtime.Start().ok());
  ASSERT_TRUE(probe.Tell(Break{"the disk is gone"}).ok());
  driver_.StepUntilIdle();
  EXPECT_EQ(other.TakeTranscript(), "start closing | stop");
  EXPECT_EQ(other.Ask(Echo{1}).Wait().status().message(), "the disk is gone");
  EXPECT_EQ(runtime.Shutdown().actors.size(), 2u);
}

TEST_F(SupervisionTest, ToleratedExceptionsAreLimited) {
  Probe& probe = New(Supervised(Supervision::Escalate(/*tolerated_max=*/2)));
  ASSERT_TRUE(driver_.Start(probe).ok());
  for (int i = 0; i < 2; ++i) EXPECT_FALSE(probe.Ask(Throw{}).Wait().ok());
  EXPECT_EQ(probe.Status().state, ActorState::kRunning);
  EXPECT_FALSE(probe.Ask(Throw{}).Wait().ok());
  EXPECT_EQ(probe.Status().state, ActorState::kFailed);
}

TEST_F(SupervisionTest, ClosingEndsTheBackOff) {
  Probe& probe = New(Supervised(Supervision::Restart()));
  ASSERT_TRUE(driver_.Start(probe).ok());
  ASSERT_TRUE(probe.Tell(Break{"why"}).ok());
  ASSERT_TRUE(probe.Tell(Note{1}).ok());
  driver_.StepUntilIdle();
  probe.Close(CloseMode::kDrain);
  driver_.StepUntilIdle();
  EXPECT_EQ(probe.TakeTranscript(), "start break stop-restart start closing note1 | stop");
}

}  // namespace
}  // namespace millrace
