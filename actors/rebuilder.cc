#include "millrace/actors/rebuilder.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"

#include "millrace/actors/lease_time.h"
#include "millrace/messages/error.h"
#include "millrace/storage/task_rows.h"
#include "millrace/storage/task_transition.h"

namespace millrace {
namespace {

using storage::IndexTask;
using storage::One;
using storage::TaskEvent;
using storage::TaskState;
using Kind = storage::TaskEvent::Kind;

// Of the Writer: four slices of a build, one of a deletion, and some requests.
constexpr uint32_t kWriterCredits = 8;
constexpr uint32_t kCommitterCredits = 4;

constexpr absl::Duration kRetiredDelay = absl::Seconds(1);
constexpr absl::Duration kTriggerPeriod = absl::Seconds(5);
// Ages go by the wall clock, which jumps: it is looked at so often.
constexpr absl::Duration kAgeWaitMin = absl::Seconds(1);
constexpr absl::Duration kAgeWaitMax = absl::Hours(1);

Kind EventOf(ControlBuild::Action action) {
  switch (action) {
    case ControlBuild::Action::kCancel:
      return Kind::kCancel;
    case ControlBuild::Action::kPause:
      return Kind::kPause;
    case ControlBuild::Action::kResume:
      return Kind::kResume;
    case ControlBuild::Action::kRetry:
      break;
  }
  return Kind::kRetry;
}

// Time alone does not mend it.
bool IsForGood(const absl::Status& cause) {
  return absl::IsInvalidArgument(cause) || absl::IsFailedPrecondition(cause) ||
         absl::IsAlreadyExists(cause) || absl::IsNotFound(cause);
}

// The newest of each index, if it has failed; of those that have failed for good only with `all`.
std::vector<IndexTask> NewestFailed(const std::vector<IndexTask>& tasks, bool all) {
  std::vector<IndexTask> failed;
  for (size_t i = 0; i < tasks.size(); ++i) {
    const bool newest =
        i + 1 == tasks.size() || tasks[i + 1].request.index != tasks[i].request.index;
    if (!newest || tasks[i].state != TaskState::kFailed) continue;
    if (all || !storage::IsFinal(tasks[i])) failed.push_back(tasks[i]);
  }
  return failed;
}

}  // namespace

Rebuilder::Rebuilder(const ActorOptions& actor_options, const Options& options,
                     const Neighbours& neighbours)
    : Actor(actor_options),
      options_(options),
      source_(neighbours.source),
      board_(neighbours.board),
      pacing_(neighbours.pacing),
      runs_(neighbours.runs),
      committer_(neighbours.committer, kCommitterCredits, this),
      writer_(neighbours.writer, kWriterCredits, this),
      retired_(*this, source_.environment) {
}

// What cannot be read fails the start: to go on without it would be to forget it.
absl::Status Rebuilder::OnStart() {
  absl::Status status = runs_.Prepare();
  if (status.ok()) status = ReadDefinitions();
  if (status.ok()) status = Load();
  if (status.ok()) status = FindOrphans();
  if (status.ok()) status = RemoveOrphanRuns();
  if (status.ok()) status = TriggerBuilds();
  if (status.ok()) {
    SetWakeTimer();
    Ring();
  }
  return status;
}

void Rebuilder::Handle(ScheduleBuild schedule, TaskReply reply) {
  const absl::StatusOr<IndexPlan> plan = PlanFor(schedule.request);
  if (!plan.ok()) return reply.Send(plan.status());
  Create(plan->definition, schedule.request,
         [reply = std::move(reply)](absl::StatusOr<TaskChanged> created) mutable {
           if (!created.ok()) return reply.Send(created.status());
           reply.Send(std::move(created->task));
         });
}

void Rebuilder::Handle(ControlBuild control, TaskReply reply) {
  const absl::StatusOr<IndexTask> task = ReadTask(control.task);
  if (!task.ok()) return reply.Send(task.status());
  TaskEvent event{.kind = EventOf(control.action), .reset = control.reset};
  if (Builds(control.task)) {
    event.active = build_->meter().ActiveSince(Now());
    if (control.action == ControlBuild::Action::kPause) {
      const absl::Status kept = build_->KeepRun();  // What was read is worth keeping.
      if (!kept.ok()) return reply.Send(kept);
    }
  }
  Change(*task, One(std::move(event)),
         [reply = std::move(reply)](absl::StatusOr<TaskChanged> changed) mutable {
           if (!changed.ok()) return reply.Send(changed.status());
           reply.Send(std::move(changed->task));
         });
}

void Rebuilder::Handle(RetryFailedBuilds retry, Reply<BuildsRetried> reply) {
  const absl::StatusOr<storage::ReadTransaction> transaction = source_.environment.BeginRead();
  if (!transaction.ok()) return reply.Send(transaction.status());
  const absl::StatusOr<std::vector<IndexTask>> tasks = storage::ListTasks(*transaction);
  if (!tasks.ok()) return reply.Send(tasks.status());
  RetryEach(NewestFailed(*tasks, retry.reset), retry.reset, {}, std::move(reply));
}

void Rebuilder::Handle(CleanUpBuilds /*clean_up*/, Reply<TasksForgotten> reply) {
  writer_.Ask(ForgetTasks{},
              Await<TasksForgotten>([reply = std::move(reply)](auto forgotten) mutable {
                reply.Send(std::move(forgotten));
              }));
}

// The Committer has dropped it: no flush that is rotated from now on maintains it.
void Rebuilder::Handle(ForgetIndex forget, Reply<GenerationsRetired> reply) {
  DropIndex(forget.definition, {}, std::move(reply));
}

void Rebuilder::OnDoorbell() {
  if (stopping_) return;
  if (Now() >= std::min(triggers_at_, age_at_)) CheckTriggers();
  StartNext();
  if (build_ != nullptr) build_->Work();
  if (Now() >= retired_at_) retired_.Work();
}

void Rebuilder::OnTimer(TimerId /*timer*/) {
  if (stopping_) return;
  if (Now() >= reload_at_) {
    reload_at_ = MonotonicTime::Infinite();
    if (const absl::Status status = Load(); !status.ok()) ReloadLater(status);
  }
  RetryDue();
  OnDoorbell();
  SetWakeTimer();
}

// Work is kept: what was read so far becomes a run, and the build goes on in the next life.
void Rebuilder::OnClosing() {
  stopping_ = true;
  committer_.Clear();
  committer_.Ask(EndFences{}, Await<FlushReceipt>([](const absl::StatusOr<FlushReceipt>&) {}));
  if (build_ == nullptr) return;
  if (const absl::Status status = build_->KeepRun(); !status.ok()) {
    LOG(WARNING) << "Rebuilder: what was read last will be read again: " << status;
  }
  const absl::Duration active = build_->meter().ActiveSince(Now());
  const IndexTask task = build_->task();
  build_.reset();
  Change(task, One({.kind = Kind::kInterrupt, .active = active}),
         [](const absl::StatusOr<TaskChanged>&) {});  // The next start does it otherwise.
}

void Rebuilder::OnStop(StopReason reason) {
  build_.reset();
  writer_.Clear();
  committer_.Clear();
  std::apply([](auto&... awaited) { (awaited.Clear(), ...); }, awaited_);
  tasks_.clear();
  told_.clear();
  enforced_ = {};
  retired_.Clear();
  reload_at_ = MonotonicTime::Infinite();
  if (reason == StopReason::kRestart) return;
  board_.Close(absl::CancelledError(
      "the engine is stopping; the index build goes on when the store is opened again"));
}

// The first of those that wait, by (priority, task).
void Rebuilder::StartNext() {
  if (build_ != nullptr || reload_at_ != MonotonicTime::Infinite()) return;
  Known* next = nullptr;
  for (auto& [id, known] : tasks_) {
    if (known.task.state != TaskState::kPending || known.asked) continue;
    if (next == nullptr || known.task.request.priority < next->task.request.priority) {
      next = &known;
    }
  }
  if (next == nullptr) return;
  absl::StatusOr<IndexPlan> plan = PlanFor(next->task.request);
  if (absl::IsNotFound(plan.status()) && IsDropped(next->task.request.index)) {
    next->asked = true;
    return DropIndex({.id = next->task.request.index}, {}, {});
  }
  if (plan.ok() && plan->definition.number > next->task.definition) {
    // It was defined anew, and nobody has said so.
    next->asked = true;
    storage::BuildRequest request = next->task.request;
    request.reason = storage::BuildReason::kDefinition;
    return Create(plan->definition, request, OrReload());
  }
  const IndexTask task = next->task;
  StartBuild(task, std::move(plan), ProgressMeter(task.id, task.attempts + 1, task.active, Now()));
  build_->Begin();
}

void Rebuilder::StartBuild(IndexTask task, absl::StatusOr<IndexPlan> plan, ProgressMeter meter) {
  ++build_number_;
  BuildHost& host = *this;
  build_ = std::make_unique<IndexBuild>(
      host,
      IndexBuild::Options{.environment = source_.environment,
                          .runs = runs_,
                          .memory_bytes_max = options_.memory_bytes_max,
                          .run_row_min = options_.run_row_min},
      std::move(task), std::move(plan), meter);
}

void Rebuilder::ChangeTask(std::vector<TaskEvent> events, Then<TaskChanged> then) {
  owner_.AssertOwned();
  Change(build_->task(), std::move(events),
         [this, number = build_number_,
          then = std::move(then)](absl::StatusOr<TaskChanged> changed) mutable {
           owner_.AssertOwned();
           if (build_ != nullptr && build_number_ == number) then(std::move(changed));
         });
}

void Rebuilder::Apply(ApplyEntries entries, Then<TaskChanged> then) {
  owner_.AssertOwned();
  writer_.Ask(std::move(entries),
              AwaitForBuild<TaskChanged>(
                  [this, then = std::move(then)](absl::StatusOr<TaskChanged> applied) mutable {
                    owner_.AssertOwned();
                    if (applied.ok()) Remember(applied->task);
                    then(std::move(applied));
                  }));
}

void Rebuilder::Remove(RemoveEntries entries, Then<GenerationsRetired> then) {
  owner_.AssertOwned();
  writer_.Ask(std::move(entries), AwaitForBuild<GenerationsRetired>(std::move(then)));
}

void Rebuilder::FenceBuild(Then<FlushReceipt> then) {
  owner_.AssertOwned();
  committer_.Ask(Fence{},
                 AwaitForBuild<FlushReceipt>(
                     [this, then = std::move(then)](absl::StatusOr<FlushReceipt> receipt) mutable {
                       owner_.AssertOwned();
                       if (receipt.ok()) reload_delay_ = absl::ZeroDuration();
                       then(std::move(receipt));
                     }));
}

void Rebuilder::Enforce(const storage::GenerationState& state) {
  owner_.AssertOwned();
  enforced_ = {state.index, state.building};
  TellGenerations(state);
}

absl::StatusOr<storage::Snapshot> Rebuilder::TakeSnapshot() {
  return storage::Snapshot::Take(source_, "rebuilder", LeaseTime(Now()));
}

// What is not as the build thought it was is looked at anew; what cannot go on fails the attempt.
void Rebuilder::Trouble(const absl::Status& cause) {
  owner_.AssertOwned();
  if (storage::IsBadRun(cause)) {
    LOG(WARNING) << "Rebuilder: task " << build_->task().id << " begins anew: " << cause;
    const IndexTask task = build_->task();
    RemoveRuns(task.id);
    StartBuild(task, build_->plan(), build_->meter());
    return build_->BeginAnew();
  }
  const bool look_again =
      stopping_ || IsDegraded(cause) || absl::IsAborted(cause) || absl::IsCancelled(cause);
  if (!look_again) return FailBuild(cause);
  build_.reset();
  ReloadLater(cause);
}

void Rebuilder::FailBuild(const absl::Status& cause) {
  const IndexTask task = build_->task();
  TaskEvent event = build_->Failure(cause);
  event.now = clock().WallNow();
  if (!IsForGood(cause) && task.attempts < options_.retries_max) {
    const absl::Duration delay =
        options_.retry_delay * (int64_t{1} << std::min<uint32_t>(task.attempts, 20));
    event.next_attempt_at = event.now + std::min(delay, kRetryDelayMax);
  }
  LOG(WARNING) << "Rebuilder: task " << task.id << " of index " << task.request.index
               << " failed: " << cause;
  build_.reset();
  Change(task, One(std::move(event)), OrReload());
}

void Rebuilder::FenceRetired(Then<FlushReceipt> then) {
  owner_.AssertOwned();
  committer_.Ask(Fence{}, Await<FlushReceipt>(std::move(then)));
}

void Rebuilder::Delete(DeleteEntries remove, Then<GenerationsRetired> then) {
  owner_.AssertOwned();
  writer_.Ask(std::move(remove), Await<GenerationsRetired>(std::move(then)));
}

void Rebuilder::WorkLater(const absl::Status& cause) {
  owner_.AssertOwned();
  if (stopping_) return;
  LOG(WARNING) << "Rebuilder: retired index entries stay for now: " << cause;
  retired_at_ = Now() + kRetiredDelay;
  SetWakeTimer();
}

template <typename T>
Reply<T> Rebuilder::AwaitForBuild(Then<T> then) {
  return Await<T>(
      [this, number = build_number_, then = std::move(then)](absl::StatusOr<T> answer) mutable {
        owner_.AssertOwned();
        if (build_ != nullptr && build_number_ == number) then(std::move(answer));
      });
}

void Rebuilder::CheckTriggers() {
  const absl::Status status = TriggerBuilds();
  if (!status.ok()) LOG(WARNING) << "Rebuilder: cannot see which indexes are stale: " << status;
  SetWakeTimer();
}

// Builds what is defined otherwise than it was built, and, where that is wanted, what has grown or
// aged.
absl::Status Rebuilder::TriggerBuilds() {
  triggers_at_ = Now() + kTriggerPeriod;
  age_at_ = MonotonicTime::Infinite();
  absl::Time ages_at = absl::InfiniteFuture();
  if (absl::Status status = ReadDefinitions(); !status.ok()) return status;
  const absl::StatusOr<storage::ReadTransaction> transaction = source_.environment.BeginRead();
  if (!transaction.ok()) return transaction.status();
  for (const auto& [id, definition] : definitions_) {
    absl::StatusOr<IndexStatus> index = ReadIndexStatus(*transaction, definition);
    if (!index.ok()) return index.status();
    DeriveLifecycle(options_.triggers, clock().WallNow(), &*index);
    if (!index->trigger.has_value()) {
      ages_at = std::min(ages_at, AgesAt(*index));
      continue;
    }
    // A build that somebody cancelled, or that failed for good, is not begun again by itself.
    const bool wanted =
        *index->trigger == storage::BuildReason::kDefinition
            ? !index->task.has_value() || index->task->definition < definition.number
            : options_.auto_rebuild;
    if (wanted) Create(definition, {.index = id, .reason = *index->trigger}, OrReload());
  }
  if (ages_at != absl::InfiniteFuture()) {
    const absl::Duration wait = ages_at - clock().WallNow();
    age_at_ = Now() + std::clamp(wait, kAgeWaitMin, kAgeWaitMax);
  }
  return absl::OkStatus();
}

absl::Time Rebuilder::AgesAt(const IndexStatus& index) const {
  const bool ages = options_.auto_rebuild && index.serves &&
                    index.generations.built_at != absl::InfinitePast() &&
                    index.lifecycle != IndexLifecycle::kBuilding;
  if (!ages) return absl::InfiniteFuture();
  const absl::Time ages_at = index.generations.built_at + options_.triggers.age_max;
  if (!index.task.has_value() || index.task->state != TaskState::kFailed) return ages_at;
  return std::max(ages_at, index.task->finished_at + options_.triggers.failed_cool_down);
}

// To what is due first; nothing due is no timer.
void Rebuilder::SetWakeTimer() {
  MonotonicTime wake = reload_at_;
  if (retired_at_ > Now()) wake = std::min(wake, retired_at_);
  for (const auto& [id, known] : tasks_) wake = std::min(wake, known.due);
  wake = std::min(wake, age_at_);
  if (wake == MonotonicTime::Infinite()) return CancelTimer(kWakeTimer);
  SetTimer(kWakeTimer, std::max(absl::ZeroDuration(), wake - Now()));
}

}  // namespace millrace
