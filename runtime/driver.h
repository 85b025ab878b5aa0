#pragma once

#include <memory>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "millrace/runtime/actor_options.h"
#include "millrace/runtime/cell.h"
#include "millrace/runtime/clock.h"

namespace millrace {

// A thread, no actor's, that stands by to do one piece of work. The destructor waits for it: the
// work has been done then, or never will be.
class Standby {
 public:
  virtual ~Standby() = default;
  // The work is done now. Once only; from an actor's thread too, never blocks.
  virtual void Wake() = 0;
};

// Decides which actor runs next, and where: a thread for each (ThreadDriver), by hand (tests), or
// all on one thread under a seed (simulation). Called by the runtime, from one thread at a time.
class Driver {
 public:
  virtual ~Driver() = default;
  // Runs the actor until its OnStart has returned; that status. After an error the actor still
  // has to be joined.
  virtual absl::Status Start(Cell& actor) = 0;
  // True once the closed actor has stopped; waits at most `timeout`.
  virtual bool AwaitFinished(Cell& actor, absl::Duration timeout) = 0;
  // After AwaitFinished() was true: nothing of the actor runs any more when this returns.
  virtual void Join(Cell& actor) = 0;
  // ResourceExhausted if there is no thread for it.
  virtual absl::StatusOr<std::unique_ptr<Standby>> MakeStandby(absl::AnyInvocable<void()> work) = 0;
  // For whoever builds actors, before each: a simulation makes mailboxes and batches small.
  virtual void Tune(ActorOptions& options) {}
  // The time that shutdown deadlines are measured in.
  virtual MonotonicTime Now() const = 0;
};

}  // namespace millrace
