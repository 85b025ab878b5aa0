#include "millrace/runtime/cell.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include <glog/logging.h>

#include "millrace/runtime/check.h"
#include "millrace/runtime/reply.h"

namespace millrace {
namespace {

// So that a timer that is always due cannot starve the mailbox.
constexpr int kTimersPerStep = 64;

absl::string_view ToAbsl(std::string_view text) {
  return {text.data(), text.size()};
}

}  // namespace

Cell::Cell(const ActorOptions& options, MailboxGate<SystemSync>& gate,
           absl::Span<const std::string_view> message_names)
    : options_(options),
      gate_(gate),
      message_names_(message_names),
      full_status_(MarkNotExecuted(absl::ResourceExhaustedError(absl::StrCat(
          "the mailbox of ", options.name, " is full: at most ", options.mailbox.data_count_max,
          " messages and ", options.mailbox.data_bytes_max, " bytes; try again later")))),
      memory_status_(MarkNotExecuted(
          absl::ResourceExhaustedError(absl::StrCat("no memory for a message to ", options.name)))),
      counts_(message_names.size()),
      close_cause_(absl::CancelledError(absl::StrCat(options.name, " is stopped or stopping"))) {
  constexpr uint32_t kDataMax = (1u << 24) - 1, kControlMax = (1u << 16) - 1;
  if (options.batch_max == 0 || options.clock == nullptr ||
      options.mailbox.data_count_max > kDataMax ||
      options.mailbox.control_count_max > kControlMax) {
    DieOfBug("an actor's options are out of range");
  }
}

Cell::~Cell() {
  if (state() != ActorState::kNew && state() != ActorState::kStopped) {
    DieOfBug("an actor is destroyed before it has stopped");
  }
}

void Cell::SetState(ActorState state) {
  state_.store(state, std::memory_order_relaxed);
}

// ---- Anyone ----

void Cell::Ring() {
  // acq_rel: what the ringer wrote before is seen by OnDoorbell.
  if (!bell_.exchange(true, std::memory_order_acq_rel)) gate_.Wake();
}

void Cell::Close(CloseMode mode) {
  int64_t never = 0;
  closed_at_ns_.compare_exchange_strong(never, clock().Now().nanoseconds());
  gate_.Close(mode);
}

void Cell::SetCloseCause(absl::Status cause) {
  absl::MutexLock lock(&mutex_);
  close_cause_ = std::move(cause);
}

absl::Status Cell::CloseCause() const {
  absl::MutexLock lock(&mutex_);
  return MarkNotExecuted(close_cause_);
}

void Cell::Freeze() {
  frozen_.store(true, std::memory_order_release);
}

void Cell::Unfreeze() {
  frozen_.store(false, std::memory_order_release);
  gate_.Wake();
}

absl::Status Cell::AwaitStarted() {
  absl::MutexLock lock(&mutex_);
  while (!start_status_.has_value()) changed_.Wait(&mutex_);
  return *start_status_;
}

bool Cell::AwaitFinished(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  absl::MutexLock lock(&mutex_);
  while (!finished_) {
    if (changed_.WaitWithDeadline(&mutex_, deadline)) break;
  }
  return finished_;
}

ActorReport Cell::Report() const {
  ActorReport report{.name = options_.name, .accepted = gate_.accepted()};
  for (size_t i = 0; i < counts_.size(); ++i) {
    const ActorMetrics::PerMessage& counts = counts_[i];
    report.messages.push_back({.name = message_names_[i],
                               .handled = counts.handled.Get(),
                               .failed = counts.failed.Get(),
                               .expired = counts.expired.Get(),
                               .discarded = counts.discarded.Get()});
    report.handled += report.messages.back().handled;
    report.discarded += report.messages.back().discarded;
    report.expired += report.messages.back().expired;
  }
  report.rejected_after_close = gate_.rejected_closed();
  report.restarts = metrics_.restarts.Get();
  report.drain_time = absl::Nanoseconds(drain_ns_.load(std::memory_order_relaxed));
  absl::MutexLock lock(&mutex_);
  report.last_error = last_error_;
  return report;
}

ActorStatus Cell::Status() const {
  const ActorReport report = Report();
  ActorStatus status{.name = options_.name,
                     .state = state(),
                     .depth = gate_.depth(),
                     .depth_high_water = metrics_.depth_high_water.Get(),
                     .accepted = report.accepted,
                     .handled = report.handled,
                     .expired = report.expired,
                     .discarded = report.discarded,
                     .rejected_full = gate_.rejected_full(),
                     .rejected_closed = report.rejected_after_close,
                     .restarts = report.restarts,
                     .wakeups = metrics_.wakeups.Get(),
                     .last_error = report.last_error,
                     .queue_delay_ns = metrics_.queue_delay_ns.Snapshot(),
                     .handling_ns = metrics_.handling_ns.Snapshot(),
                     .batch_size = metrics_.batch_size.Snapshot()};
  const auto now = static_cast<uint64_t>(clock().Now().nanoseconds());
  const auto age = [now](uint64_t since) {
    return since == 0 || since > now ? absl::ZeroDuration() : absl::Nanoseconds(now - since);
  };
  status.current_age = age(metrics_.batch_began_ns.Get());
  status.oldest_age = status.depth == 0 ? absl::ZeroDuration() : age(metrics_.oldest_ns.Get());
  if (const uint64_t current = metrics_.current_message.Get(); current > 0) {
    status.current_message = message_names_[current - 1];
  }
  if (const uint64_t started = metrics_.started_ns.Get(); started > 0 && now > started) {
    const absl::Duration busy = absl::Nanoseconds(metrics_.busy_ns.Get()) + status.current_age;
    status.busy_ratio = std::min(1.0, absl::FDivDuration(busy, absl::Nanoseconds(now - started)));
  }
  status.messages = report.messages;
  for (const MessageCounts& counts : status.messages) status.failed += counts.failed;
  return status;
}

void Cell::DumpDeliveries(int fd) const {
  ring_.Dump(fd, options_.name, message_names_.data(), message_names_.size());
}

absl::Status Cell::RefusalOf(Admission admission) const {
  switch (admission) {
    case Admission::kAdmitted:
      return absl::OkStatus();
    case Admission::kFull:
      return full_status_;
    case Admission::kClosed:
      return CloseCause();
    case Admission::kNoMemory:
      return memory_status_;
  }
  return CloseCause();
}

// ---- For the actor ----

void Cell::SetTimer(TimerId id, absl::Duration after) {
  timers_.Set(id, clock().Now() + after);
}

void Cell::SetPeriodic(TimerId id, absl::Duration period, MissedTick missed, FirstTick first) {
  timers_.SetPeriodic(id, clock().Now(), period, missed, first);
}

void Cell::Fail(absl::Status cause) {
  if (!failure_.has_value()) failure_ = Failure{.cause = std::move(cause), .by_the_actor = true};
}

void Cell::BeginDelivery(size_t message, int64_t enqueued_ns) {
  metrics_.current_message.Set(message + 1);
  ring_.Record(static_cast<uint32_t>(message), batch_time_.nanoseconds(), incarnation_);
  if (enqueued_ns != 0) {
    metrics_.oldest_ns.Set(static_cast<uint64_t>(enqueued_ns));
    const int64_t delay = batch_time_.nanoseconds() - enqueued_ns;
    metrics_.queue_delay_ns.Add(delay > 0 ? static_cast<uint64_t>(delay) : 0);
  }
}

void Cell::EndDelivery(Slot slot, uint64_t bytes) {
  released_.Add(slot, bytes);
  ++delivered_;
}

// ---- The step ----

StepOutcome Cell::Step() {
  if (state() == ActorState::kStopped) return {.finished = true};
  const bool nested = SetOnActorThread(true);
  ReplyCollector* const collector = SetReplyCollector(this);
  const StepOutcome outcome = state() == ActorState::kNew ? FirstStep() : RunningStep();
  SetReplyCollector(collector);
  SetOnActorThread(nested);
  return outcome;
}

StepOutcome Cell::FirstStep() {
  metrics_.started_ns.Set(static_cast<uint64_t>(clock().Now().nanoseconds()));
  absl::Status status =
      gate_.closed() ? absl::CancelledError(absl::StrCat(name(), " was stopped before it started"))
                     : TryStart();
  if (status.ok()) {
    SetState(ActorState::kRunning);
  } else {
    // Whoever has sent already is answered with the reason.
    failed_cause_ = status;
    failure_.reset();
    SetState(ActorState::kFailed);
    Close(CloseMode::kDiscard);
  }
  absl::MutexLock lock(&mutex_);
  if (!status.ok()) last_error_ = status;
  start_status_ = std::move(status);
  changed_.SignalAll();
  return {.worked = true};
}

StepOutcome Cell::RunningStep() {
  const bool closing = gate_.closed();
  if (!closing && frozen_.load(std::memory_order_acquire)) return {};
  if (!closing && NothingToDo()) return {};
  batch_time_ = clock().Now();
  if (state() == ActorState::kRestarting && !gate_.discarding()) {
    if (!closing && batch_time_ < restart_at_) return {.next_deadline = restart_at_};
    if (absl::Status status = TryStart(); !status.ok()) {
      if (!failure_.has_value()) failure_ = Failure{.cause = std::move(status)};
      ApplyFailure();
      return {.worked = true};
    }
    SetState(ActorState::kRunning);
  }
  handlers_ran_ = false;
  if (state() == ActorState::kRunning && !gate_.discarding()) {
    handlers_ran_ |= NoticeClosing();
    handlers_ran_ |= RunTimers(batch_time_);
    handlers_ran_ |= RunDoorbell();
  }
  const uint32_t messages = RunBatch();
  if (handlers_ran_ || messages > 0) {
    EndBatch(messages);
    return {.worked = true, .messages = messages};
  }
  if (closing && TryFinish()) return {.finished = true};
  return {.next_deadline = timers_.NextDeadline()};
}

void Cell::EndBatch(uint32_t messages) {
  if (handlers_ran_ && state() == ActorState::kRunning) {
    Guard("OnBatchEnd", [this] { CallOnBatchEnd(); });
  }
  ApplyFailure();
  const absl::Duration busy = clock().Now() - batch_time_;
  const auto busy_ns = static_cast<uint64_t>(absl::ToInt64Nanoseconds(busy));
  metrics_.busy_ns.Add(busy_ns);
  if (messages > 0) metrics_.handling_ns.Add(busy_ns / messages, messages);
  metrics_.current_message.Set(0);
  metrics_.batch_began_ns.Set(0);
}

bool Cell::NothingToDo() {
  // Spares idle looks the clock, which costs more than all the rest of them.
  if (state() == ActorState::kRestarting || bell_.load(std::memory_order_relaxed) ||
      timers_.NextDeadline() != MonotonicTime::Infinite()) {
    return false;
  }
  if (BatchSize() == 0) taken_ += FillBatch(options_.batch_max);
  return BatchSize() == 0;
}

uint32_t Cell::RunBatch() {
  // After a restart the rest of the batch it came from goes first.
  if (BatchSize() == 0) taken_ += FillBatch(options_.batch_max);
  const size_t size = BatchSize();
  if (size == 0) return 0;
  metrics_.batch_began_ns.Set(static_cast<uint64_t>(batch_time_.nanoseconds()));
  metrics_.depth_high_water.Raise(gate_.depth());
  metrics_.batch_size.Add(size);
  delivered_ = 0;
  while (BatchSize() > 0) {
    if (gate_.discarding() || state() == ActorState::kFailed) {
      DiscardBatch(state() == ActorState::kFailed ? failed_cause_ : CloseCause());
      break;
    }
    if (state() != ActorState::kRunning) break;
    handlers_ran_ = true;
    Guard("", [this] { DeliverBatch(); });
    ApplyFailure();
  }
  gate_.Release(std::exchange(released_, {}));
  return delivered_;
}

bool Cell::RunTimers(MonotonicTime now) {
  int fired = 0;
  for (; fired < kTimersPerStep && state() == ActorState::kRunning; ++fired) {
    const std::optional<TimerId> due = timers_.PopDue(now);
    if (!due.has_value()) break;
    Guard("OnTimer", [&] { CallOnTimer(*due); });
    ApplyFailure();
  }
  return fired > 0;
}

bool Cell::RunDoorbell() {
  if (state() != ActorState::kRunning || !bell_.load(std::memory_order_relaxed) ||
      !bell_.exchange(false, std::memory_order_acq_rel)) {
    return false;
  }
  Guard("OnDoorbell", [this] { CallOnDoorbell(); });
  ApplyFailure();
  return true;
}

bool Cell::NoticeClosing() {
  if (closing_noticed_ || !gate_.closed()) return false;
  closing_noticed_ = true;
  Guard("OnClosing", [this] { CallOnClosing(); });
  ApplyFailure();
  return true;
}

void Cell::Wait(MonotonicTime deadline) {
  metrics_.wakeups.Add();
  // Another clock's deadline means nothing to the kernel: who moves that clock wakes us.
  const bool real = options_.clock == &SystemClock();
  gate_.Wait(real ? deadline : MonotonicTime::Infinite());
}

bool Cell::TryFinish() {
  const bool orderly = state() == ActorState::kRunning && !gate_.discarding();
  if (orderly && outstanding_answers_ > 0) return false;
  if (orderly) {
    bool ready = true;
    Guard("ReadyToStop", [&] { ready = CallReadyToStop(); });
    ApplyFailure();
    if (!ready) return false;
  }
  if (!gate_.TryFinish(taken_)) return false;
  if (state() == ActorState::kRunning) {
    Guard("OnStop", [this] { CallOnStop(StopReason::kShutdown); });
    if (failure_.has_value()) Escalate(std::exchange(failure_, std::nullopt)->cause);
  }
  timers_.Clear();
  drain_ns_.store(clock().Now().nanoseconds() - closed_at_ns_.load(), std::memory_order_relaxed);
  SetState(ActorState::kStopped);
  absl::MutexLock lock(&mutex_);
  finished_ = true;
  changed_.SignalAll();
  return true;
}

// ---- Failure ----

template <typename F>
void Cell::Guard(std::string_view where, F&& function) {
  try {
    function();
  } catch (const std::exception& e) {
    OnException(where, e.what());
  } catch (...) {
    OnException(where, "something that is no std::exception");
  }
}

void Cell::OnException(std::string_view where, std::string_view what) {
  if (const uint64_t current = metrics_.current_message.Get(); where.empty() && current > 0) {
    where = message_names_[current - 1];
    counts_[current - 1].failed.Add();
  }
  absl::Status cause =
      absl::InternalError(absl::StrCat(name(), " threw in ", ToAbsl(where), ": ", ToAbsl(what)));
  for (ReplyCellBase* orphan : std::exchange(orphans_, {})) {
    orphan->Fail(orphan->claimed() ? MarkOutcomeUnknown(cause) : MarkNotExecuted(cause));
  }
  if (!failure_.has_value()) failure_ = Failure{.cause = std::move(cause)};
}

absl::Status Cell::TryStart() {
  absl::Status status;
  Guard("OnStart", [&] { status = CallOnStart(); });
  if (failure_.has_value()) status = failure_->cause;
  return status;
}

void Cell::ApplyFailure() {
  if (!failure_.has_value()) return;
  const Failure failure = *std::exchange(failure_, std::nullopt);
  {
    absl::MutexLock lock(&mutex_);
    last_error_ = failure.cause;
  }
  LOG(WARNING) << name() << " failed: " << failure.cause;
  const Supervision& policy = options_.supervision;
  const MonotonicTime now = clock().Now();
  failures_.push_back(now);
  while (!failures_.empty() && now - failures_.front() > policy.window) failures_.pop_front();
  const bool too_many = failures_.size() > policy.failure_max;
  if (policy.kind == Supervision::Kind::kRestart) {
    if (too_many) return Escalate(failure.cause);
    BeginRestart(failures_.size());
  } else if (too_many || failure.by_the_actor) {
    Escalate(failure.cause);
  }
}

void Cell::Escalate(absl::Status cause) {
  if (state() == ActorState::kFailed) return;
  const bool started = state() == ActorState::kRunning;
  SetState(ActorState::kFailed);
  failed_cause_ = cause;
  timers_.Clear();
  {
    absl::MutexLock lock(&mutex_);
    last_error_ = cause;
  }
  LOG(ERROR) << name() << " escalates: " << cause;
  if (started) Guard("OnStop", [this] { CallOnStop(StopReason::kFailed); });
  failure_.reset();
  if (listener_ != nullptr) listener_->OnEscalate(*this, cause);
}

void Cell::BeginRestart(size_t recent_failures) {
  const Supervision& policy = options_.supervision;
  const bool started = state() == ActorState::kRunning;
  SetState(ActorState::kRestarting);
  if (started) Guard("OnStop", [this] { CallOnStop(StopReason::kRestart); });
  failure_.reset();  // A failure while stopping is part of this one.
  timers_.Clear();
  ++incarnation_;
  metrics_.restarts.Add();
  absl::Duration pause = policy.backoff_min;
  for (size_t i = 1; i < recent_failures && pause < policy.backoff_max; ++i) pause *= 2;
  restart_at_ = clock().Now() + std::min(pause, policy.backoff_max);
}

}  // namespace millrace
