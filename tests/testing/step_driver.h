#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include "millrace/runtime/driver.h"
#include "millrace/runtime/reply_cell.h"
#include "millrace/testing/manual_clock.h"

namespace millrace::testing {

// Runs actors by hand, on the test's own thread, through the same steps that their threads would
// take. While one exists, Pending::Wait() on this thread runs the actors, and moves the clock to
// their next timer when they are idle, instead of sleeping. Thread-compatible.
//
//   ManualClock clock;
//   StepDriver driver(clock);
//   Writer writer({.name = "writer", .clock = &clock}, ...);
//   Runtime runtime({.driver = &driver});   // Or driver.Start(writer) without a runtime.
class StepDriver final : public Driver, public WaitDriver {
 public:
  explicit StepDriver(ManualClock& clock);
  // Stops what was started without a runtime, discarding.
  ~StepDriver() override;

  // From now on a wait ends with the step that answers it, and not when all actors are idle.
  void StopWhenAnswered() { stops_when_answered_ = true; }

  // The actor of this name, which was started; null if there is none. To freeze it, for one.
  Cell* Find(std::string_view name) const;

  // One step of one actor; false if it found nothing to do.
  bool Step(Cell& actor);
  // One step of the next actor, in turn, that has something to do; false if none has.
  bool StepNext();
  // Steps all actors in turn until none has anything to do; returns how many steps did something.
  // Timers that are not due stay where they are.
  size_t StepUntilIdle();
  // The clock goes on by `duration`, stopping at each timer on the way for the actors to take.
  void AdvanceBy(absl::Duration duration);

  // Driver: what the runtime calls.
  absl::Status Start(Cell& actor) override;
  bool AwaitFinished(Cell& actor, absl::Duration timeout) override;
  void Join(Cell& actor) override { actors_.erase(&actor); }
  // Its work is done by StepUntilIdle and what calls it, but not while a runtime stops.
  absl::StatusOr<std::unique_ptr<Standby>> MakeStandby(absl::AnyInvocable<void()> work) override;
  MonotonicTime Now() const override { return clock_.Now(); }

  // WaitDriver: what Pending::Wait() calls.
  void RunUntil(absl::FunctionRef<bool()> ready, MonotonicTime deadline,
                std::string_view what) override;

 private:
  class StepStandby;

  // The earliest timer of an idle actor.
  MonotonicTime NextDeadline() const;
  bool RunStandby();

  ManualClock& clock_;
  WaitDriver* const before_;
  std::map<Cell*, StepOutcome> actors_;  // With the outcome of the last step.
  std::vector<Cell*> order_;             // Of starting: stepping must not depend on addresses.
  size_t next_ = 0;                      // In order_, for StepNext.
  std::vector<StepStandby*> standbys_;   // Those that wait.
  bool stops_when_answered_ = false;
  bool stopping_ = false;  // In AwaitFinished.
};

}  // namespace millrace::testing
