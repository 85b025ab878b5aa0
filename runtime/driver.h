#pragma once

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "millrace/runtime/cell.h"
#include "millrace/runtime/clock.h"

namespace millrace {

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
  // The time that shutdown deadlines are measured in.
  virtual MonotonicTime Now() const = 0;
};

}  // namespace millrace
