#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "millrace/runtime/cell.h"
#include "millrace/runtime/driver.h"
#include "millrace/runtime/shutdown_report.h"

namespace millrace {

// One step of stopping: closes the actors, all at once, and waits until they have stopped; then
// runs `then`, on the thread that shuts down. Move-only.
struct StopStep {
  std::string name;  // For the log.
  std::vector<Cell*> actors;
  CloseMode mode = CloseMode::kDrain;
  absl::AnyInvocable<void()> then;
};

// Starts and stops actors in declared orders. It owns the order, not the actors: they outlive it.
// Thread-safe; Add and SetStopOrder come before Start.
class Runtime : private CellListener {
 public:
  struct Options {
    // Of Shutdown() without a deadline of its own, and of the destructor.
    absl::Duration shutdown_timeout = absl::Seconds(30);
    // How often a shutdown logs what it waits for.
    absl::Duration log_interval = absl::Seconds(1);
    // Null is a thread for each actor. Outlives the runtime.
    Driver* driver = nullptr;
    // An actor cannot go on (Supervision::kEscalate). Runs on that actor's thread: must not block,
    // nor shut down from there.
    absl::AnyInvocable<void(Cell& actor, const absl::Status& cause)> on_escalate;
    // Shut down when an actor escalates: on a thread that stands by for it. Whoever is refused from
    // then on, by any actor, is told its cause.
    bool stop_on_escalate = false;
  };

  explicit Runtime(Options options);
  // Shutdown(). On an actor's thread this is a bug that ends the process.
  ~Runtime() override;

  // In the order of starting.
  void Add(Cell& actor);
  // What it does not name stops after it, in the reverse order of starting.
  void SetStopOrder(std::vector<StopStep> steps);

  // Starts every actor, waiting for each OnStart. If one fails, those that were started stop in
  // order (without the `then` of the steps), and its status is returned. Once only.
  absl::Status Start();

  // Stops every actor in order and joins its thread. Past the deadline what is still queued is
  // answered Cancelled, and the wait goes on, logging: a thread is never left behind. From any
  // thread but an actor's (checked). Idempotent: later and concurrent callers get the same report.
  ShutdownReport Shutdown(absl::Duration timeout);
  ShutdownReport Shutdown() { return Shutdown(options_.shutdown_timeout); }

  // Each actor, in the order of starting.
  std::vector<ActorStatus> Status() const;
  // The last deliveries of every actor; may be called from a signal handler.
  void DumpDeliveries(int fd) const;

 private:
  enum class Phase { kNew, kStarted, kStopping, kStopped };

  void OnEscalate(Cell& actor, const absl::Status& cause) override;
  absl::Status StartActors();
  absl::Status StandBy();
  void AwaitStopped() ABSL_LOCKS_EXCLUDED(mutex_);
  ShutdownReport ShutdownOn(absl::Duration timeout, bool on_standby);
  ShutdownReport StopAll(absl::Duration timeout, bool run_hooks);
  void Await(Cell& actor, MonotonicTime deadline, bool* within_deadline);
  void LogWaiting(const Cell& actor) const;

  Options options_;
  const std::unique_ptr<Driver> own_driver_;
  Driver& driver_;
  std::vector<Cell*> actors_;  // Fixed once started.
  std::vector<StopStep> steps_;

  absl::Mutex mutex_;
  absl::CondVar stopped_;
  Phase phase_ ABSL_GUARDED_BY(mutex_) = Phase::kNew;
  ShutdownReport report_ ABSL_GUARDED_BY(mutex_);
  absl::Status escalated_ ABSL_GUARDED_BY(mutex_);  // Not OK: the first actor's cause.
  std::unique_ptr<Standby> standby_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace millrace
