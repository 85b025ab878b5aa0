#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

#include "millrace/runtime/driver.h"
#include "millrace/runtime/lane_selector.h"
#include "millrace/runtime/reply_cell.h"
#include "millrace/testing/fault_points.h"
#include "millrace/testing/manual_clock.h"
#include "millrace/testing/sim_random.h"
#include "millrace/testing/sim_trace.h"

namespace millrace::testing {

// How one simulation runs. Value.
struct SimOptions {
  uint64_t seed = 1;
  // The prefix that is left to chance, in turns: after it everything runs in turn, in order of
  // arrival, and nothing fails. To shrink a run that fails.
  uint64_t chaos_turns_max = std::numeric_limits<uint64_t>::max();
  // A run that takes more turns does not end by itself.
  uint64_t turns_max = 2'000'000;
  FaultPoints::Odds odds;
  bool keep_trace = false;  // All of it.
};

// Runs actors and the threads of their clients on one thread, in an order and at a time that are
// drawn by a seed; the same seed gives the same run. The actors' code, the mailboxes' gates, the
// wake-up protocol, replies, timers and shutdown are the production code: an actor that sleeps runs
// again only when it is woken or its timer is due, so a missing wake-up is a deadlock here too.
//
// Chance decides: which actor or client goes on, at messages, timers, clock readings within
// handlers, and wherever Pause() is called; whose message comes first, among senders; how many
// make a batch; how long everything takes. Fault points: sim/small_mailbox (capacities and batches
// of 1 to 3), sim/slow/NAME (an actor 1000 times slower), sim/spurious_wake, sim/doorbell,
// sim/late (the whole machine stands for a while), sim/start/NAME (no thread for the actor).
//
//   SimDriver sim({.seed = seed});
//   Runtime runtime({.driver = &sim});                       // Actors with .clock = &sim.clock().
//   sim.Spawn("client", [&] { writer.Ask(Put{}).Wait(); });  // Blocking code, on a fiber.
//   ASSERT_TRUE(sim.Run().ok());                             // Deadlocks are errors, with names.
//
// While one exists, waits of the thread (Pending, Shutdown) run the simulation. Owned by one
// thread.
class SimDriver final : public Driver, public WaitDriver, private LaneSelector {
 public:
  explicit SimDriver(const SimOptions& options);
  // Its runtimes have been shut down.
  ~SimDriver() override;

  Clock& clock() { return clock_; }
  FaultPoints& faults() { return faults_; }
  // A stream of random numbers for the test's own decisions.
  SimRandom& random() { return client_random_; }
  SimTrace& trace() { return trace_; }
  uint64_t turns() const { return turns_; }
  // Counts that something rare was reached, so that a test can tell if it never is.
  void Probe(std::string_view name, uint64_t count = 1) { probes_[std::string(name)] += count; }
  const std::map<std::string, uint64_t>& probes() const { return probes_; }
  // The prefix left to chance is over: clients should come to an end.
  bool calm() const { return turns_ >= options_.chaos_turns_max; }

  // A thread of the test's.
  void Spawn(std::string name, absl::AnyInvocable<void()> body);
  // Until every spawned function has returned. Internal, naming who waits for what, if they never
  // will: then they are unwound.
  absl::Status Run();
  // Whoever is running (client or actor, in a handler) stands for so long, while others go on; not
  // under a mutex. Outside of both the actors just run on.
  void Sleep(absl::Duration duration);
  // Lets others go first, perhaps.
  void Pause() { Sleep(absl::ZeroDuration()); }

  // Driver.
  absl::Status Start(Cell& actor) override;
  bool AwaitFinished(Cell& actor, absl::Duration timeout) override;
  void Join(Cell& actor) override;
  absl::StatusOr<std::unique_ptr<Standby>> MakeStandby(absl::AnyInvocable<void()> work) override;
  void Tune(ActorOptions& options) override;
  MonotonicTime Now() const override { return time_.Now(); }

  // WaitDriver: what Pending::Wait() calls.
  void RunUntil(absl::FunctionRef<bool()> ready, MonotonicTime deadline,
                std::string_view what) override;

 private:
  class SimStandby;
  struct Task;
  // Reading it takes a little of its time.
  class SimClock final : public Clock {
   public:
    explicit SimClock(SimDriver& driver) : driver_(driver) {}
    MonotonicTime Now() const override { return driver_.ReadClock(); }
    absl::Time WallNow() const override { return driver_.time_.WallNow(); }

   private:
    SimDriver& driver_;
  };

  uint32_t SenderLane() override;
  size_t Choose(absl::Span<const uint32_t> waiting) override;
  size_t BatchSize(size_t max) override;

  Task& AddTask(std::string name, absl::AnyInvocable<void(Task&)> body);
  void RunActor(Task& task);
  void WaitAsTask(Task& task, absl::FunctionRef<bool()> ready, MonotonicTime deadline,
                  std::string_view what);
  // One task goes on. False if none ever can again, before `limit`.
  bool Turn(MonotonicTime limit);
  Task* NextTask(MonotonicTime limit);
  bool CanRun(const Task& task) const;
  void Resume(Task& task);
  void MakeTrouble();
  absl::Duration Cost(const Task& task);
  MonotonicTime ReadClock();
  absl::Status Stuck(std::string_view why, std::string_view who_else) const;
  void Forget(Task& task);

  const SimOptions options_;
  SimRandom random_;
  SimRandom client_random_;
  FaultPoints faults_;
  SimTrace trace_;
  std::map<std::string, uint64_t> probes_;
  ManualClock time_;
  SimClock clock_{*this};
  WaitDriver* const before_;
  std::vector<std::unique_ptr<Task>> tasks_;
  std::map<const Cell*, Task*> actors_;  // Looked up only.
  uint32_t next_id_ = 1;                 // 0 is whoever is no task: the test itself.
  Task* running_ = nullptr;
  uint64_t turns_ = 0;
  size_t last_index_ = 0;  // Of the task that ran last.
  absl::Status stuck_;     // The tasks that wait are being unwound.
};

}  // namespace millrace::testing
