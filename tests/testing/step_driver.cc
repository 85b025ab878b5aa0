#include "millrace/testing/step_driver.h"

#include <algorithm>
#include <utility>

namespace millrace::testing {

class StepDriver::StepStandby final : public Standby {
 public:
  StepStandby(StepDriver& driver, absl::AnyInvocable<void()> work)
      : driver_(driver), work_(std::move(work)) {
    driver_.standbys_.push_back(this);
  }
  ~StepStandby() override { std::erase(driver_.standbys_, this); }
  void Wake() override { woken_ = true; }
  bool woken() const { return woken_; }
  void Work() { std::exchange(work_, nullptr)(); }

 private:
  StepDriver& driver_;
  absl::AnyInvocable<void()> work_;
  bool woken_ = false;
};

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

Cell* StepDriver::Find(std::string_view name) const {
  const auto found = std::find_if(order_.begin(), order_.end(),
                                  [name](const Cell* actor) { return actor->name() == name; });
  return found == order_.end() ? nullptr : *found;
}

bool StepDriver::Step(Cell& actor) {
  StepOutcome& last = actors_[&actor];
  if (last.finished) return false;
  last = actor.Step();
  return last.worked || last.finished;
}

bool StepDriver::StepNext() {
  for (size_t tried = 0; tried < order_.size(); ++tried) {
    Cell* const actor = order_[next_++ % order_.size()];
    if (actors_.contains(actor) && Step(*actor)) return true;
  }
  return RunStandby();
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
    worked = RunStandby() || worked;
  }
  return steps;
}

bool StepDriver::RunStandby() {
  if (stopping_) return false;
  const auto woken = std::find_if(standbys_.begin(), standbys_.end(),
                                  [](const StepStandby* standby) { return standby->woken(); });
  if (woken == standbys_.end()) return false;
  StepStandby& standby = **woken;
  standbys_.erase(woken);
  standby.Work();
  return true;
}

absl::StatusOr<std::unique_ptr<Standby>> StepDriver::MakeStandby(absl::AnyInvocable<void()> work) {
  return std::make_unique<StepStandby>(*this, std::move(work));
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
  RunUntil([] { return false; }, end, "the clock");
}

void StepDriver::RunUntil(absl::FunctionRef<bool()> ready, MonotonicTime deadline,
                          std::string_view /*what*/) {
  for (;;) {
    if (stops_when_answered_) {
      while (!ready() && StepNext()) {
      }
    } else {
      StepUntilIdle();
    }
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
  const bool nested = std::exchange(stopping_, true);
  RunUntil([&] { return actors_[&actor].finished; }, clock_.Now() + timeout, actor.name());
  stopping_ = nested;
  return actors_[&actor].finished;
}

}  // namespace millrace::testing
