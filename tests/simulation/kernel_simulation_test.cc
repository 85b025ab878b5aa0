// The kernel under simulation: a chain of actors with links, deadlines, exceptions, restarts and a
// shutdown in the middle of it. Whatever happens, every request is answered once, and truly.

#include <deque>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "millrace/runtime/link.h"
#include "millrace/runtime/runtime.h"
#include "millrace/testing/sim_seeds.h"

namespace millrace {
namespace {

using testing::FaultPoints;
using testing::SimDriver;
using testing::SimOptions;
using testing::SimRandom;
using testing::SimResult;

struct Done {
  uint64_t job = 0;
};
struct Job {
  using ReplyType = Done;
  uint64_t id = 0;
  uint32_t client = 0;
  uint32_t hops = 0;  // So many stages pass it on before one does it.
};

struct Gossip {  // Passed on to the last stage; no answer.
  uint64_t number = 0;
};

// What all stages have done. Owned by the simulation's thread.
struct Ledger {
  SimDriver& sim;
  FaultPoints& faults;
  std::map<uint64_t, int> done;               // Times each job was done.
  std::map<uint32_t, uint64_t> last_arrival;  // Of each client's jobs at the first stage.
  uint64_t gossip_accepted = 0;
  uint64_t gossip_heard = 0;  // At the last stage.
  std::string failure;

  void Fail(std::string what) {
    if (failure.empty()) failure = std::move(what);
  }
};

// Does jobs or passes them on, as far as its link has credits.
class Stage final : public Actor<Stage, Job, Gossip, Answer<Done>> {
 public:
  Stage(const ActorOptions& options, Ledger& ledger, Stage* next, bool first)
      : Actor(options), ledger_(ledger), first_(first) {
    if (next != nullptr) next_.emplace(*next, 2, this);
  }

 private:
  friend Actor;
  struct Waiting {
    Job job;
    Reply<Done> reply;
  };

  void Handle(Job job, Reply<Done> reply) {
    if (first_) {
      uint64_t& last = ledger_.last_arrival[job.client];
      if (job.id <= last) ledger_.Fail(absl::StrCat("job ", job.id, " came after ", last));
      last = job.id;
    }
    if (ledger_.faults.Strike("stage/throw")) throw std::runtime_error("thrown before the claim");
    if (ledger_.faults.Strike("stage/linger")) {
      ledger_.sim.Sleep(absl::Microseconds(ledger_.faults.Below(100)));
    }
    if (!reply.Claim()) return;
    if (job.hops == 0 || !next_.has_value()) {
      ++ledger_.done[job.id];
      if (ledger_.faults.Strike("stage/throw_late")) throw std::runtime_error("thrown after it");
      reply.Send(Done{job.id});
      return;
    }
    queue_.push_back({job, std::move(reply)});
    PassOn();
  }
  void Handle(Answer<Done> answer) {
    const auto waiting = under_way_.find(answer.request);
    waiting->second.Send(std::move(answer.result));
    under_way_.erase(waiting);
    PassOn();
  }
  void Handle(Gossip gossip) {
    if (!next_.has_value()) {
      ++ledger_.gossip_heard;
    } else {
      gossip_.push_back(gossip);
      PassOn();
    }
  }
  void OnDoorbell() {
    if (next_.has_value()) PassOn();
  }
  void PassOn() {
    while (!gossip_.empty() && next_->Ready()) {
      if (!next_->Tell(gossip_.front()).ok()) ledger_.Fail("a link was refused");
      gossip_.pop_front();
    }
    while (!queue_.empty() && next_->Ready()) {
      Waiting first = std::move(queue_.front());
      queue_.pop_front();
      under_way_.emplace(++last_request_, std::move(first.reply));
      next_->Ask(Job{.id = first.job.id, .client = first.job.client, .hops = first.job.hops - 1},
                 ReplyTo<Done>(last_request_));
    }
  }
  bool ReadyToStop() { return queue_.empty() && gossip_.empty(); }
  void OnStop(StopReason /*reason*/) {
    gossip_.clear();
    queue_.clear();
    under_way_.clear();
  }

  Ledger& ledger_;
  const bool first_;
  std::optional<Link<Stage>> next_;
  std::deque<Waiting> queue_;
  std::deque<Gossip> gossip_;
  std::map<uint64_t, Reply<Done>> under_way_;
  uint64_t last_request_ = 0;
};

// What a client was told must be what happened.
void CheckAnswer(uint64_t job, const absl::StatusOr<Done>& answer, Ledger& ledger) {
  const int done = ledger.done[job];
  if (done > 1) ledger.Fail(absl::StrCat("job ", job, " was done ", done, " times"));
  if (answer.ok()) {
    if (done != 1) ledger.Fail(absl::StrCat("job ", job, " is said to be done and is not"));
    if (answer->job != job) ledger.Fail(absl::StrCat("job ", job, " has another one's answer"));
    return;
  }
  const auto outcome = answer.status().GetPayload(kOutcomePayload);
  if (!outcome.has_value()) {
    ledger.Fail(
        absl::StrCat("job ", job, " says nothing of its outcome: ", answer.status().ToString()));
  } else if (*outcome == "none" && done != 0) {
    ledger.Fail(absl::StrCat("job ", job, " was done: ", answer.status().ToString()));
  }
}

struct Answered {
  uint64_t job;
  absl::StatusOr<Done> answer;
};

void RunClient(Ledger& ledger, Stage& first, uint32_t client, std::vector<Answered>* answers) {
  SimDriver& sim = ledger.sim;
  SimRandom random(sim.random().Next());
  std::vector<std::pair<uint64_t, Pending<Done>>> pending;
  for (uint64_t i = 1; i <= 12; ++i) {
    const Job job{
        .id = 100 * client + i, .client = client, .hops = static_cast<uint32_t>(random.Below(4))};
    pending.emplace_back(job.id, random.OneIn(2)
                                     ? first.Ask(job)
                                     : first.AskUntil(job, sim.Now() + absl::Seconds(1)));
    if (first.Tell(Gossip{i}).ok()) ++ledger.gossip_accepted;
    if (random.OneIn(3)) sim.Sleep(absl::Microseconds(random.Below(200)));
    while (!pending.empty() && (random.OneIn(2) || i == 12)) {
      const absl::Duration patience =
          random.OneIn(3) ? absl::Microseconds(random.Below(100)) : absl::InfiniteDuration();
      answers->push_back({pending.front().first, pending.front().second.Wait(patience)});
      pending.erase(pending.begin());
    }
  }
}

// Where nothing failed and nothing was discarded, nothing is lost either.
void CheckOrderlyEnd(const ShutdownReport& report, const std::vector<Answered>& answers,
                     Ledger& ledger) {
  bool orderly = report.within_deadline;
  for (const ActorReport& actor : report.actors) {
    orderly = orderly && actor.restarts == 0 && actor.discarded == 0;
  }
  if (!orderly) return;
  if (ledger.gossip_heard != ledger.gossip_accepted) {
    ledger.Fail(absl::StrCat(ledger.gossip_heard, " of ", ledger.gossip_accepted, " arrived"));
  }
  for (const Answered& answered : answers) {
    const absl::Status& status = answered.answer.status();
    if (absl::IsCancelled(status) && status.GetPayload(kOutcomePayload) == "unknown") {
      ledger.Fail(absl::StrCat("job ", answered.job, " was dropped: ", status.ToString()));
    }
  }
}

SimResult RunChain(const SimOptions& options) {
  SimDriver sim(options);
  Ledger ledger{.sim = sim, .faults = sim.faults()};
  const auto actor_options = [&](const char* name) {
    ActorOptions actor{
        .name = name, .clock = &sim.clock(), .supervision = Supervision::Restart(100)};
    actor.supervision.backoff_max = absl::Milliseconds(20);
    sim.Tune(actor);
    return actor;
  };
  Stage last(actor_options("last"), ledger, nullptr, false);
  Stage middle(actor_options("middle"), ledger, &last, false);
  Stage first(actor_options("first"), ledger, &middle, true);
  Runtime runtime({.driver = &sim});
  for (Stage* stage : {&last, &middle, &first}) runtime.Add(*stage);
  // Where it does not start, everyone is still answered.
  runtime.Start().IgnoreError();
  std::vector<Answered> answers;
  for (uint32_t client = 1; client <= 3; ++client) {
    sim.Spawn(absl::StrCat("client-", client),
              [&, client] { RunClient(ledger, first, client, &answers); });
  }
  if (sim.random().OneIn(2)) {
    sim.Spawn("stopper", [&] {
      sim.Sleep(absl::Microseconds(sim.random().Below(500)));
      runtime.Shutdown(absl::Microseconds(sim.random().Below(5000)));
    });
  }
  if (absl::Status status = sim.Run(); !status.ok()) ledger.Fail(status.ToString());
  const ShutdownReport report = runtime.Shutdown();
  if (!report.Balanced()) ledger.Fail("messages are missing: " + report.ToString());
  for (const Answered& answered : answers) CheckAnswer(answered.job, answered.answer, ledger);
  CheckOrderlyEnd(report, answers, ledger);
  if (answers.size() != 36) ledger.Fail(absl::StrCat(answers.size(), " answers to 36 jobs"));
  for (const auto& actor : report.actors)
    sim.trace().Note(sim.Now(), actor.name, "handled", actor.handled);
  return SimResult::Of(sim, ledger.failure);
}

TEST(KernelSimulationTest, EveryRequestIsAnsweredOnceAndTruly) {
  const absl::StatusOr<testing::SeedsReport> report =
      CheckSeeds("chain", testing::SeedRange::FromEnvironment(400), RunChain);
  ASSERT_TRUE(report.ok()) << report.status().message();
  std::cout << report->ToString() << std::endl;
}

}  // namespace
}  // namespace millrace
