#include "millrace/testing/sim_driver.h"

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <utility>

#include "absl/strings/str_cat.h"

#include "millrace/runtime/check.h"
#include "millrace/testing/fiber.h"

namespace millrace::testing {
namespace {

// A step of an actor, or of a client between two waits, takes so many nanoseconds.
constexpr uint64_t kCostLeastNs = 50, kCostMostNs = 500;
constexpr uint64_t kSlowness = 1000;
// Reading the clock takes a little, so that time passes within handlers, and is where one handler
// in so many lets others go first.
constexpr uint64_t kClockLeastNs = 20, kClockMostNs = 100;
constexpr uint64_t kPauseInterval = 16;

using Odds = FaultPoints::Odds;
constexpr Odds kSmallMailboxOdds = {.enabled = 0.5, .strike = 0.7, .count_max = 1'000'000};
constexpr Odds kSpuriousWakeOdds = {.enabled = 0.5, .strike = 0.02, .count_max = 500};
constexpr Odds kDoorbellOdds = {.enabled = 0.25, .strike = 0.02, .count_max = 100};
constexpr Odds kLateOdds = {.enabled = 0.5, .strike = 0.002, .count_max = 50};
constexpr Odds kSlowOdds = {.enabled = 0.15, .strike = 1, .count_max = 1};
constexpr Odds kStartOdds = {.enabled = 0.03, .strike = 1, .count_max = 1};

// Unwinds a task that waits for what will never come.
struct SimStopped {};

}  // namespace

struct SimDriver::Task {
  enum class State {
    kRunnable,  // From wake_at on.
    kParked,    // An actor with nothing to do: until it is woken, or wake_at.
    kWaiting,   // A client: until *ready, or wake_at.
  };
  Task(uint32_t task_id, std::string task_name, absl::AnyInvocable<void(Task&)> task_body)
      : id(task_id),
        name(std::move(task_name)),
        body(std::move(task_body)),
        fiber([this] { body(*this); }) {}

  const uint32_t id;
  const std::string name;
  absl::AnyInvocable<void(Task&)> body;
  Fiber fiber;
  Cell* cell = nullptr;  // Of an actor.
  State state = State::kRunnable;
  MonotonicTime wake_at;
  const absl::FunctionRef<bool()>* ready = nullptr;
  std::string_view what;  // It waits for.
  bool started = false;   // OnStart has returned.
  bool slow = false;
  bool has_paid = false;  // A slow one: its time has passed, now it may run.
  bool spawned = false;   // Gone when it has ended.
};

class SimDriver::SimStandby final : public Standby {
 public:
  SimStandby(SimDriver& driver, absl::AnyInvocable<void()> work)
      : driver_(driver), work_(std::move(work)) {}
  ~SimStandby() override {
    if (task_ == nullptr) return;
    driver_.RunUntil([this] { return task_->fiber.ended(); }, MonotonicTime::Infinite(),
                     "whoever stands by");
    driver_.Forget(*task_);
  }
  void Wake() override {
    task_ = &driver_.AddTask("standby", [this](Task& /*task*/) { work_(); });
  }

 private:
  SimDriver& driver_;
  absl::AnyInvocable<void()> work_;
  Task* task_ = nullptr;
};

SimDriver::SimDriver(const SimOptions& options)
    : options_(options),
      random_(options.seed, "schedule"),
      client_random_(options.seed, "client"),
      faults_(options.seed, options.odds),
      before_(SetWaitDriver(this)) {
  if (options.keep_trace) trace_.KeepAll();
}

SimDriver::~SimDriver() {
  // Fibers that a failed test leaves behind cannot be destroyed where they stand.
  stuck_ = absl::CancelledError("the simulation ends");
  const auto client_left = [](const auto& task) { return task->cell == nullptr; };
  while (std::any_of(tasks_.begin(), tasks_.end(), client_left) && Turn(Now())) {
  }
  if (!actors_.empty()) DieOfBug("a simulation is destroyed before its actors have stopped");
  SetWaitDriver(before_);
}

// ---- Tasks ----

SimDriver::Task& SimDriver::AddTask(std::string name, absl::AnyInvocable<void(Task&)> body) {
  tasks_.push_back(std::make_unique<Task>(next_id_++, std::move(name), std::move(body)));
  tasks_.back()->wake_at = Now();
  return *tasks_.back();
}

void SimDriver::Forget(Task& task) {
  std::erase_if(tasks_, [&task](const auto& other) { return other.get() == &task; });
}

void SimDriver::Spawn(std::string name, absl::AnyInvocable<void()> body) {
  Task& task = AddTask(std::move(name), [body = std::move(body)](Task& /*task*/) mutable {
    try {
      body();
    } catch (const SimStopped&) {
    }
  });
  task.spawned = true;
}

// What a thread of an actor does, with a turn of the simulation in place of its waits.
void SimDriver::RunActor(Task& task) {
  Cell& cell = *task.cell;
  for (;;) {
    StepOutcome outcome = cell.Step();
    task.started = true;
    if (!outcome.worked && !outcome.finished) {
      cell.PrepareWait();
      outcome = cell.Step();
      if (outcome.worked) cell.CancelWait();
    }
    trace_.Note(Now(), task.name, outcome.worked ? "works" : "rests", outcome.messages);
    if (outcome.finished) return;
    if (!outcome.worked) {
      task.state = Task::State::kParked;
      task.wake_at = outcome.next_deadline;
      Fiber::Suspend();
      if (cell.Parked()) cell.CancelWait();
    } else {
      Pause();
    }
  }
}

void SimDriver::WaitAsTask(Task& task, absl::FunctionRef<bool()> ready, MonotonicTime deadline,
                           std::string_view what) {
  if (ready()) return;
  task.state = Task::State::kWaiting;
  task.wake_at = deadline;
  task.ready = &ready;
  task.what = what;
  Fiber::Suspend();
  task.ready = nullptr;
  if (!stuck_.ok() && !ready() && Now() < deadline) throw SimStopped();
}

void SimDriver::Sleep(absl::Duration duration) {
  if (running_ == nullptr) {
    if (duration > absl::ZeroDuration()) RunUntil([] { return false; }, Now() + duration, "time");
    return;
  }
  running_->state = Task::State::kRunnable;
  running_->wake_at = Now() + duration;
  Fiber::Suspend();
  if (!stuck_.ok() && running_->cell == nullptr) throw SimStopped();
}

MonotonicTime SimDriver::ReadClock() {
  if (running_ != nullptr && running_->cell != nullptr && OnActorThread() && !calm()) {
    const uint64_t ns = random_.Between(kClockLeastNs, kClockMostNs);
    time_.Advance(absl::Nanoseconds(running_->slow ? ns * kSlowness : ns));
    if (random_.OneIn(kPauseInterval)) Pause();
  }
  return Now();
}

// ---- Turns ----

bool SimDriver::CanRun(const Task& task) const {
  if (task.fiber.ended()) return false;
  if (task.wake_at <= Now()) return true;
  switch (task.state) {
    case Task::State::kRunnable:
      return false;
    case Task::State::kParked:
      return !task.cell->Parked();
    case Task::State::kWaiting:
      return !stuck_.ok() || (*task.ready)();
  }
  return false;
}

// Time passes only when nobody can run now. Null, at `limit` or at a time that never comes, if
// nobody can before.
SimDriver::Task* SimDriver::NextTask(MonotonicTime limit) {
  std::vector<size_t> able;
  for (;;) {
    MonotonicTime next = limit;
    for (size_t i = 0; i < tasks_.size(); ++i) {
      if (CanRun(*tasks_[i])) able.push_back(i);
      if (!tasks_[i]->fiber.ended()) next = std::min(next, tasks_[i]->wake_at);
    }
    if (!able.empty()) break;
    if (next == MonotonicTime::Infinite()) return nullptr;
    if (next > Now()) time_.Advance(next - Now());
    if (next == limit) return nullptr;
  }
  size_t chosen = able[0];
  if (!calm()) {
    chosen = able[random_.Below(able.size())];
  } else if (const auto behind = std::upper_bound(able.begin(), able.end(), last_index_);
             behind != able.end()) {
    chosen = *behind;
  }
  last_index_ = chosen;
  return tasks_[chosen].get();
}

bool SimDriver::Turn(MonotonicTime limit) {
  ++turns_;
  if (!calm()) MakeTrouble();
  Task* const task = NextTask(limit);
  if (task == nullptr) return false;
  if (task->slow && !std::exchange(task->has_paid, !task->has_paid) && !calm()) {
    // What it does it does at the end of the time that it takes.
    task->state = Task::State::kRunnable;
    task->wake_at = Now() + Cost(*task);
    return true;
  }
  Resume(*task);
  return true;
}

absl::Duration SimDriver::Cost(const Task& task) {
  const uint64_t ns = calm() ? kCostLeastNs : random_.Between(kCostLeastNs, kCostMostNs);
  return absl::Nanoseconds(task.slow ? ns * kSlowness : ns);
}

void SimDriver::Resume(Task& task) {
  trace_.Note(Now(), task.name, "goes on", task.id);
  running_ = &task;
  try {
    task.fiber.Resume();
  } catch (const SimStopped&) {  // Whoever stood by.
  } catch (...) {
    running_ = nullptr;
    if (task.spawned) Forget(task);
    throw;
  }
  running_ = nullptr;
  if (!task.slow) time_.Advance(Cost(task));
  if (task.spawned && task.fiber.ended()) Forget(task);
}

void SimDriver::MakeTrouble() {
  if (faults_.Strike("sim/late", kLateOdds)) {
    time_.Advance(absl::Microseconds(1 << faults_.Below(18)));
  }
  const auto strike_actor = [this](std::string_view point, const Odds& odds) -> Cell* {
    if (!faults_.Strike(point, odds) || tasks_.empty()) return nullptr;
    const Task& task = *tasks_[faults_.Below(tasks_.size())];
    return task.fiber.ended() ? nullptr : task.cell;
  };
  if (Cell* const actor = strike_actor("sim/spurious_wake", kSpuriousWakeOdds)) actor->Wake();
  if (Cell* const actor = strike_actor("sim/doorbell", kDoorbellOdds)) actor->Ring();
}

void SimDriver::RunUntil(absl::FunctionRef<bool()> ready, MonotonicTime deadline,
                         std::string_view what) {
  if (running_ != nullptr) return WaitAsTask(*running_, ready, deadline, what);
  while (!ready() && Now() < deadline) {
    const bool went_on = turns_ < options_.turns_max && Turn(deadline);
    if (went_on || Now() >= deadline) continue;
    const absl::Status status =
        Stuck(turns_ < options_.turns_max ? "deadlock" : "no end",
              absl::StrCat("the test waits for ", absl::string_view(what.data(), what.size())));
    throw std::runtime_error(std::string(status.message()));
  }
}

absl::Status SimDriver::Run() {
  const auto left = [this] {
    return std::any_of(tasks_.begin(), tasks_.end(),
                       [](const auto& task) { return task->spawned; });
  };
  while (left()) {
    if (turns_ < options_.turns_max && Turn(MonotonicTime::Infinite())) continue;
    if (!stuck_.ok()) DieOfBug("a client of a simulation cannot be unwound");
    stuck_ = Stuck(turns_ < options_.turns_max ? "deadlock" : "no end", "");
    while (left() && Turn(Now() + absl::Seconds(1))) {
    }
    return std::exchange(stuck_, absl::OkStatus());
  }
  return absl::OkStatus();
}

absl::Status SimDriver::Stuck(std::string_view why, std::string_view who_else) const {
  std::string text =
      absl::StrCat(why == "deadlock" ? "deadlock" : "no end", " in the simulation of seed ",
                   options_.seed, " after ", turns_, " turns: ", std::string(who_else));
  for (const auto& task : tasks_) {
    if (task->fiber.ended()) continue;
    absl::StrAppend(&text, text.ends_with(": ") ? "" : "; ", task->name);
    if (task->state == Task::State::kWaiting) {
      absl::StrAppend(&text, " waits for ", std::string(task->what));
    } else if (task->cell != nullptr) {
      absl::StrAppend(&text, task->state == Task::State::kParked ? " sleeps" : " works", " with ",
                      task->cell->Status().depth, " messages");
    }
    if (task->wake_at != MonotonicTime::Infinite()) {
      absl::StrAppend(&text, " until ", absl::FormatDuration(task->wake_at - Now()), " from now");
    }
  }
  return absl::InternalError(text);
}

// ---- Driver ----

void SimDriver::Tune(ActorOptions& options) {
  if (!faults_.Strike("sim/small_mailbox", kSmallMailboxOdds)) return;
  options.mailbox.data_count_max = 1 + static_cast<uint32_t>(faults_.Below(3));
  options.batch_max = 1 + static_cast<uint32_t>(faults_.Below(3));
}

absl::Status SimDriver::Start(Cell& actor) {
  actor.SetLaneSelector(this);
  actor.Attach();
  Task& task = AddTask(actor.name(), [this](Task& self) { RunActor(self); });
  task.cell = &actor;
  actors_[&actor] = &task;
  task.slow = faults_.Strike(absl::StrCat("sim/slow/", actor.name()), kSlowOdds);
  if (faults_.Strike(absl::StrCat("sim/start/", actor.name()), kStartOdds)) {
    // As where there is no thread for it: what is in its mailbox is answered.
    actor.Close(CloseMode::kDiscard);
    RunUntil([&] { return task.fiber.ended(); }, MonotonicTime::Infinite(), actor.name());
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot start the thread of ", actor.name(), ": simulated"));
  }
  RunUntil([&] { return task.started; }, MonotonicTime::Infinite(), actor.name());
  return actor.AwaitStarted();
}

bool SimDriver::AwaitFinished(Cell& actor, absl::Duration timeout) {
  const Task& task = *actors_.at(&actor);
  RunUntil([&] { return task.fiber.ended(); }, Now() + timeout, actor.name());
  return task.fiber.ended();
}

void SimDriver::Join(Cell& actor) {
  const auto task = actors_.find(&actor);
  if (task == actors_.end()) return;
  Forget(*task->second);
  actors_.erase(task);
}

absl::StatusOr<std::unique_ptr<Standby>> SimDriver::MakeStandby(absl::AnyInvocable<void()> work) {
  return std::make_unique<SimStandby>(*this, std::move(work));
}

// ---- LaneSelector ----

uint32_t SimDriver::SenderLane() {
  return running_ != nullptr ? running_->id : 0;
}

size_t SimDriver::Choose(absl::Span<const uint32_t> waiting) {
  const size_t chosen = calm() ? 0 : random_.Below(waiting.size());
  trace_.Note(Now(), running_ != nullptr ? running_->name : "", "takes from", waiting[chosen]);
  return chosen;
}

size_t SimDriver::BatchSize(size_t max) {
  if (calm() || random_.OneIn(2)) return max;
  return 1 + random_.Below(std::min<size_t>(max, 8));
}

}  // namespace millrace::testing
