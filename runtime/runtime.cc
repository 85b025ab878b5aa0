#include "millrace/runtime/runtime.h"

#include <algorithm>
#include <set>
#include <utility>

#include <glog/logging.h>

#include "millrace/runtime/check.h"
#include "millrace/runtime/reply_cell.h"
#include "millrace/runtime/thread_driver.h"

namespace millrace {

Runtime::Runtime(Options options)
    : options_(std::move(options)),
      own_driver_(options_.driver == nullptr ? std::make_unique<ThreadDriver>() : nullptr),
      driver_(own_driver_ != nullptr ? *own_driver_ : *options_.driver) {
}

Runtime::~Runtime() {
  Shutdown();
}

void Runtime::Add(Cell& actor) {
  actor.SetListener(this);
  actors_.push_back(&actor);
}

void Runtime::SetStopOrder(std::vector<StopStep> steps) {
  steps_ = std::move(steps);
}

absl::Status Runtime::Start() {
  {
    absl::MutexLock lock(&mutex_);
    if (phase_ != Phase::kNew) {
      return absl::FailedPreconditionError("a runtime starts once; make a new one");
    }
    phase_ = Phase::kStarted;
  }
  absl::Status status = StartActors();
  if (status.ok()) status = StandBy();
  if (status.ok()) return status;
  {
    absl::MutexLock lock(&mutex_);
    phase_ = Phase::kStopping;
  }
  // The rest never runs OnStart; it only answers what it was sent.
  for (Cell* actor : actors_) {
    if (actor->Status().state == ActorState::kNew) {
      actor->Close(CloseMode::kDiscard);
      driver_.Start(*actor).IgnoreError();
    }
  }
  ShutdownReport report = StopAll(options_.shutdown_timeout, /*run_hooks=*/false);
  absl::MutexLock lock(&mutex_);
  report_ = std::move(report);
  phase_ = Phase::kStopped;
  stopped_.SignalAll();
  return status;
}

absl::Status Runtime::StartActors() {
  for (Cell* actor : actors_) {
    absl::Status status = driver_.Start(*actor);
    if (status.ok()) continue;
    LOG(ERROR) << actor->name() << " did not start: " << status;
    return status;
  }
  return absl::OkStatus();
}

// An actor that escalates cannot stop its own runtime, and may have done so by now.
absl::Status Runtime::StandBy() {
  if (!options_.stop_on_escalate) return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<Standby>> standby =
      driver_.MakeStandby([this] { ShutdownOn(options_.shutdown_timeout, /*on_standby=*/true); });
  if (!standby.ok()) return standby.status();
  absl::MutexLock lock(&mutex_);
  standby_ = *std::move(standby);
  if (!escalated_.ok()) standby_->Wake();
  return absl::OkStatus();
}

ShutdownReport Runtime::Shutdown(absl::Duration timeout) {
  return ShutdownOn(timeout, /*on_standby=*/false);
}

ShutdownReport Runtime::ShutdownOn(absl::Duration timeout, bool on_standby) {
  if (OnActorThread()) DieOfBug("a runtime is shut down from an actor's thread");
  bool started = true;
  absl::Status cause;
  for (bool mine = false; !mine;) {
    AwaitStopped();
    absl::MutexLock lock(&mutex_);
    if (phase_ == Phase::kStopped) return report_;
    if (phase_ == Phase::kStopping) continue;
    started = phase_ == Phase::kStarted;
    phase_ = Phase::kStopping;
    cause = escalated_;
    mine = true;
  }
  for (Cell* actor : actors_) {
    if (!cause.ok()) actor->SetCloseCause(cause);
  }
  ShutdownReport report;
  if (started) report = StopAll(timeout, /*run_hooks=*/true);
  std::unique_ptr<Standby> dismissed;  // Behind the lock: its own call may wait for that.
  absl::MutexLock lock(&mutex_);
  report_ = report;
  phase_ = Phase::kStopped;
  stopped_.SignalAll();
  if (!on_standby) dismissed = std::move(standby_);
  return report;
}

void Runtime::AwaitStopped() {
  const auto stopping = [this] {
    absl::MutexLock lock(&mutex_);
    return phase_ == Phase::kStopping;
  };
  if (DriveWait([&] { return !stopping(); }, MonotonicTime::Infinite(), "a shutdown")) return;
  absl::MutexLock lock(&mutex_);
  while (phase_ == Phase::kStopping) stopped_.Wait(&mutex_);
}

ShutdownReport Runtime::StopAll(absl::Duration timeout, bool run_hooks) {
  const MonotonicTime begin = driver_.Now();
  const MonotonicTime deadline = begin + timeout;
  ShutdownReport report;
  std::set<Cell*> stopped;
  const auto stop = [&](const std::vector<Cell*>& actors, CloseMode mode) {
    for (Cell* actor : actors) actor->Close(mode);
    for (Cell* actor : actors) {
      if (!stopped.insert(actor).second) continue;
      Await(*actor, deadline, &report.within_deadline);
      report.actors.push_back(actor->Report());
    }
  };
  for (StopStep& step : steps_) {
    stop(step.actors, step.mode);
    if (run_hooks && step.then) step.then();
  }
  for (auto it = actors_.rbegin(); it != actors_.rend(); ++it) stop({*it}, CloseMode::kDrain);
  report.elapsed = driver_.Now() - begin;
  return report;
}

void Runtime::Await(Cell& actor, MonotonicTime deadline, bool* within_deadline) {
  for (;;) {
    const MonotonicTime now = driver_.Now();
    absl::Duration wait = options_.log_interval;
    if (now < deadline) wait = std::min(wait, deadline - now);
    if (driver_.AwaitFinished(actor, wait)) break;
    if (driver_.Now() >= deadline) {
      *within_deadline = false;
      actor.Close(CloseMode::kDiscard);
    }
    LogWaiting(actor);
  }
  driver_.Join(actor);
}

void Runtime::LogWaiting(const Cell& actor) const {
  const ActorStatus status = actor.Status();
  LOG(WARNING) << "shutdown waits for " << status.name << ": " << status.depth << " messages"
               << (status.current_message.empty() ? "" : ", handling ") << status.current_message
               << " for " << absl::FormatDuration(status.current_age);
}

void Runtime::OnEscalate(Cell& actor, const absl::Status& cause) {
  if (options_.on_escalate) options_.on_escalate(actor, cause);
  absl::MutexLock lock(&mutex_);
  if (escalated_.ok()) escalated_ = cause;
  if (standby_ != nullptr) standby_->Wake();
}

std::vector<ActorStatus> Runtime::Status() const {
  std::vector<ActorStatus> all;
  for (const Cell* actor : actors_) all.push_back(actor->Status());
  return all;
}

void Runtime::DumpDeliveries(int fd) const {
  for (const Cell* actor : actors_) actor->DumpDeliveries(fd);
}

}  // namespace millrace
