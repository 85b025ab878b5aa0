#include "millrace/testing/sim_driver.h"

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"
#include "tests/runtime/probe_actor.h"

#include "millrace/runtime/runtime.h"

namespace millrace {
namespace {

using testing::SimDriver;
using testing::SimOptions;

// No faults but those of the schedule.
SimOptions Seed(uint64_t seed) {
  return {.seed = seed, .odds = {.enabled = 0}};
}

// A runtime of probes in a simulation, where no start fails. Owned by the test.
class Simulation {
 public:
  Simulation(const SimOptions& options, const std::vector<std::string>& names) : sim(options) {
    for (const std::string& name : names) {
      probes.push_back(std::make_unique<Probe>(ActorOptions{.name = name, .clock = &sim.clock()}));
      runtime.Add(*probes.back());
      sim.faults().SetOdds("sim/start/" + name, {.enabled = 0});
    }
    EXPECT_TRUE(runtime.Start().ok());
  }

  SimDriver sim;
  std::vector<std::unique_ptr<Probe>> probes;
  Runtime runtime{{.driver = &sim, .stop_on_escalate = true}};  // Goes first.
};

// Three clients send three notes each. Owned by the test.
struct ThreeClients {
  explicit ThreeClients(uint64_t seed) {
    Simulation simulation(Seed(seed), {"probe"});
    SimDriver& sim = simulation.sim;
    Probe& probe = *simulation.probes[0];
    for (int client = 0; client < 3; ++client) {
      sim.Spawn(absl::StrCat("client-", client), [&, client] {
        for (int i = 0; i < 3; ++i) {
          EXPECT_TRUE(probe.Tell(Note{10 * client + i}).ok());
          sim.Pause();
        }
      });
    }
    EXPECT_TRUE(sim.Run().ok());
    simulation.runtime.Shutdown();
    for (const std::string& line : probe.transcript) {
      if (line.starts_with("note")) order += absl::StrCat(order.empty() ? "" : " ", line.substr(4));
    }
    hash = sim.trace().hash();
  }
  std::string order;
  uint64_t hash = 0;
};

TEST(SimDriverTest, OneSeedIsOneRun) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    const ThreeClients one(seed), again(seed);
    EXPECT_EQ(one.order, again.order);
    EXPECT_EQ(one.hash, again.hash) << "seed " << seed;
  }
}

// One thread has one sub-queue in moodycamel: without lanes every seed would see one total order.
TEST(SimDriverTest, SeedsDifferInTheOrderAcrossSendersNeverWithinOne) {
  std::set<std::string> orders;
  std::set<uint64_t> hashes;
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    const ThreeClients run(seed);
    for (const char* client : {"0 1 2", "10 11 12", "20 21 22"}) {
      size_t at = 0;
      for (const std::string& number : std::vector<std::string>(absl::StrSplit(client, ' '))) {
        at = absl::StrCat(" ", run.order, " ").find(absl::StrCat(" ", number, " "), at);
        ASSERT_NE(at, std::string::npos) << run.order;
      }
    }
    orders.insert(run.order);
    hashes.insert(run.hash);
  }
  EXPECT_GT(orders.size(), 25u);
  EXPECT_EQ(hashes.size(), 50u);
}

TEST(SimDriverTest, WaitingForEverIsADeadlockThatIsNamed) {
  Simulation simulation(Seed(1), {"probe"});
  SimDriver& sim = simulation.sim;
  Probe* const probe = simulation.probes[0].get();
  sim.Spawn("client", [&] { probe->Ask(Hold{}).Wait().IgnoreError(); });
  sim.Spawn("other", [&] { EXPECT_TRUE(probe->Ask(Echo{1}).Wait().ok()); });
  const absl::Status status = sim.Run();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(absl::StrContains(status.message(), "client waits for Done")) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "probe sleeps with 0 messages")) << status;
  EXPECT_FALSE(absl::StrContains(status.message(), "other waits")) << status;
  EXPECT_TRUE(sim.Run().ok());
}

TEST(SimDriverTest, TestThatWaitsForEverIsThrownOut) {
  Simulation simulation(Seed(1), {"probe"});
  Probe* const probe = simulation.probes[0].get();
  EXPECT_THROW(probe->Ask(Hold{}).Wait().IgnoreError(), std::runtime_error);
}

TEST(SimDriverTest, RunThatDoesNotEndIsTold) {
  SimOptions options = Seed(1);
  options.turns_max = 1000;
  SimDriver sim(options);
  sim.Spawn("client", [&] {
    for (;;) sim.Sleep(absl::Seconds(1));
  });
  const absl::Status status = sim.Run();
  EXPECT_TRUE(absl::StrContains(status.message(), "no end")) << status;
}

// Flags that are looked at when the doorbell rings. Owned by its thread.
struct Poke {};
class Forgetful final : public Actor<Forgetful, Poke> {
 public:
  explicit Forgetful(const ActorOptions& options) : Actor(options) {}
  bool flag = false;
  bool seen = false;

 private:
  friend Actor;
  void Handle(Poke /*poke*/) {}
  void OnDoorbell() { seen = flag; }
};

// The step driver looks at every actor and would not notice.
TEST(SimDriverTest, ForgottenDoorbellIsADeadlock) {
  for (const bool rings : {true, false}) {
    SimDriver sim(Seed(1));
    Forgetful actor({.name = "forgetful", .clock = &sim.clock()});
    sim.faults().SetOdds("sim/start/forgetful", {.enabled = 0});
    sim.faults().SetOdds("sim/doorbell", {.enabled = 0});
    Runtime runtime({.driver = &sim});
    runtime.Add(actor);
    ASSERT_TRUE(runtime.Start().ok());
    sim.Spawn("client", [&] {
      sim.Sleep(absl::Seconds(1));
      actor.flag = true;
      if (rings) actor.Ring();
      sim.RunUntil([&] { return actor.seen; }, MonotonicTime::Infinite(), "the flag");
    });
    EXPECT_EQ(sim.Run().ok(), rings);
  }
}

TEST(SimDriverTest, TimePassesOnlyWhenNobodyCanRun) {
  Simulation simulation(Seed(1), {"probe"});
  SimDriver& sim = simulation.sim;
  Probe* const probe = simulation.probes[0].get();
  ASSERT_TRUE(probe->Tell(Call{[&] { probe->SetTimer(7, absl::Hours(1)); }}).ok());
  const MonotonicTime begin = sim.Now();
  std::vector<std::string> events;
  probe->on_timer = [&] { events.push_back("timer"); };
  for (const int minutes : {90, 30}) {
    sim.Spawn(absl::StrCat("client-", minutes), [&, minutes] {
      sim.Sleep(absl::Minutes(minutes));
      EXPECT_NEAR(absl::ToDoubleMinutes(sim.Now() - begin), minutes, 10);
      events.push_back(absl::StrCat("client-", minutes));
    });
  }
  ASSERT_TRUE(sim.Run().ok());
  EXPECT_EQ(events, (std::vector<std::string>{"client-30", "timer", "client-90"}));
}

TEST(SimDriverTest, HandlersLetOthersGoFirst) {
  std::set<std::string> orders;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Simulation simulation(Seed(seed), {"one", "other"});
    SimDriver& sim = simulation.sim;
    std::string order;
    const auto call = [&](char name) {
      return Call{[&order, &sim, name] {
        for (int i = 0; i < 3; ++i) {
          order += name;
          sim.Pause();
        }
      }};
    };
    ASSERT_TRUE(simulation.probes[0]->Tell(call('1')).ok());
    ASSERT_TRUE(simulation.probes[1]->Tell(call('2')).ok());
    sim.Sleep(absl::Seconds(1));
    orders.insert(order);
  }
  EXPECT_GT(orders.size(), 5u);
}

TEST(SimDriverTest, ActorWithoutAThreadFailsTheStartAndAnswersWhatItWasSent) {
  SimDriver sim(Seed(1));
  Probe probe({.name = "probe", .clock = &sim.clock()});
  Runtime runtime({.driver = &sim});
  runtime.Add(probe);
  sim.faults().SetOdds("sim/start/probe", {.enabled = 1, .strike = 1, .count_max = 1});
  Pending<Done> early = probe.Ask(Echo{1});
  EXPECT_EQ(runtime.Start().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(early.Wait().status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(probe.TakeTranscript(), "");
}

TEST(SimDriverTest, EscalationStopsTheRuntimeWhileClientsStopItToo) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    Simulation simulation(Seed(seed), {"a", "b"});
    SimDriver& sim = simulation.sim;
    std::vector<std::string> reports(3);
    for (std::string& report : reports) {
      sim.Spawn("stopper", [&] {
        sim.Pause();
        report = simulation.runtime.Shutdown().ToString();
      });
    }
    sim.Spawn("breaker", [&] { simulation.probes[0]->Tell(Break{"broken"}).IgnoreError(); });
    const absl::Status status = sim.Run();
    ASSERT_TRUE(status.ok()) << status;
    for (const std::string& report : reports) EXPECT_EQ(report, reports[0]);
    EXPECT_EQ(simulation.probes[1]->transcript.back(), "stop");
  }
}

TEST(SimDriverTest, AfterTheChaosEverythingRunsInTurn) {
  std::set<std::string> orders;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SimOptions options = Seed(seed);
    options.chaos_turns_max = 0;
    Simulation simulation(options, {"probe"});
    SimDriver& sim = simulation.sim;
    Probe* const probe = simulation.probes[0].get();
    for (int client = 0; client < 3; ++client) {
      sim.Spawn(absl::StrCat("client-", client), [&, client] {
        for (int i = 0; i < 3; ++i) {
          EXPECT_TRUE(probe->Ask(Echo{10 * client + i}).Wait().ok());
        }
      });
    }
    EXPECT_TRUE(sim.calm());
    EXPECT_TRUE(sim.Run().ok());
    orders.insert(probe->TakeTranscript());
  }
  EXPECT_EQ(orders.size(), 1u);
}

}  // namespace
}  // namespace millrace
