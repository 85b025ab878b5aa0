#include "millrace/testing/step_driver.h"

#include <algorithm>

namespace millrace::testing {

StepDriver::StepDriver(ManualClock& clock) : clock_(clock), before_(SetWaitDriver(this)) {
}

StepDriver::~StepDriver() {
  for (Cell* actor : std::vector<Cell*>(order_)) {
    if (!actors_.contains(actor)) continue;
    actor->Close(CloseMode::kDiscard);
    while (!actors_[actor].finished) Step(*actor);
  }
  SetWaitDriver(before_);
}

bool StepDriver::Step(Cell& actor) {
  StepOutcome& last = actors_[&actor];
  if (last.finished) return false;
  last = actor.Step();
  return last.worked || last.finished;
}

size_t StepDriver::StepUntilIdle() {
  size_t steps = 0;
  for (bool worked = true; worked;) {
    worked = false;
    for (size_t i = 0; i < order_.size(); ++i) {
      if (!actors_.contains(order_[i]) || !Step(*order_[i])) continue;
      worked = true;
      ++steps;
    }
  }
  return steps;
}

MonotonicTime StepDriver::NextDeadline() const {
  MonotonicTime next = MonotonicTime::Infinite();
  for (const auto& [actor, outcome] : actors_) {
    if (!outcome.finished) next = std::min(next, outcome.next_deadline);
  }
  return next;
}

void StepDriver::AdvanceBy(absl::Duration duration) {
  const MonotonicTime end = clock_.Now() + duration;
  RunUntil([] { return false; }, end);
}

void StepDriver::RunUntil(absl::FunctionRef<bool()> ready, MonotonicTime deadline) {
  for (;;) {
    StepUntilIdle();
    if (ready()) return;
    const MonotonicTime now = clock_.Now();
    const MonotonicTime next = std::min(NextDeadline(), deadline);
    if (now >= deadline || next == MonotonicTime::Infinite()) return;
    if (next > now) clock_.Advance(next - now);
  }
}

absl::Status StepDriver::Start(Cell& actor) {
  actor.Attach();
  order_.push_back(&actor);
  Step(actor);
  return actor.AwaitStarted();
}

bool StepDriver::AwaitFinished(Cell& actor, absl::Duration timeout) {
  RunUntil([&] { return actors_[&actor].finished; }, clock_.Now() + timeout);
  return actors_[&actor].finished;
}

}  // namespace millrace::testing
