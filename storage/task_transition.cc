#include "millrace/storage/task_transition.h"

#include <algorithm>
#include <initializer_list>

#include "absl/strings/str_cat.h"

namespace millrace::storage {
namespace {

using Kind = TaskEvent::Kind;

bool IsOneOf(TaskState state, std::initializer_list<TaskState> states) {
  return std::find(states.begin(), states.end(), state) != states.end();
}

// Whether the task tries again by itself.
bool WillRetry(const IndexTask& task) {
  return task.state == TaskState::kFailed && task.next_attempt_at != absl::InfiniteFuture();
}

bool CanHappen(const IndexTask& task, const TaskEvent& event) {
  const TaskState state = task.state;
  switch (event.kind) {
    case Kind::kBegin:
      return state == TaskState::kPending && event.generation != 0;
    case Kind::kSorted:
      return state == TaskState::kBuilding && task.resume.applied_cursor.empty() &&
             !task.resume.applied_done;
    case Kind::kApplied:
      return state == TaskState::kBuilding && task.resume.source_done;
    case Kind::kVerified:
      return state == TaskState::kCatchUp;
    case Kind::kFlipped:
      return state == TaskState::kSwapping;
    case Kind::kRestart:
      return IsUnderWay(state) && event.generation > task.generation;
    case Kind::kFail:
    case Kind::kInterrupt:
      return IsUnderWay(state);
    case Kind::kDue:
      return WillRetry(task) && event.now >= task.next_attempt_at;
    case Kind::kRetry:
      return WillRetry(task) || (state == TaskState::kFailed && event.reset);
    case Kind::kPause:
      return IsUnderWay(state) || state == TaskState::kPending || WillRetry(task);
    case Kind::kResume:
      return state == TaskState::kPaused;
    case Kind::kCancel:
    case Kind::kSupersede:
      return !IsFinal(task);
  }
  return false;
}

bool IsTheBuilders(Kind kind) {
  return kind >= Kind::kSorted && kind <= Kind::kInterrupt;
}

void BeginAnew(Generation generation, IndexTask* task) {
  const uint64_t next_run = task->resume.next_run;  // The files of before may still be there.
  task->generation = generation;
  task->resume = {.next_run = next_run};
  task->counts = {};
  task->samples.clear();
}

void Begin(const TaskEvent& event, IndexTask* task) {
  if (event.generation != task->generation) BeginAnew(event.generation, task);
  task->state = TaskState::kBuilding;
  task->phase = BuildPhase::kWaiting;
  task->next_attempt_at = absl::InfiniteFuture();
  if (task->started_at == absl::InfinitePast()) task->started_at = event.now;
}

void Applied(const TaskEvent& event, IndexTask* task) {
  task->resume = event.resume;
  task->phase = BuildPhase::kMerge;
  if (!task->resume.applied_done) return;
  task->state = TaskState::kCatchUp;
  task->phase = BuildPhase::kCatchUp;
}

void Verified(const TaskEvent& event, IndexTask* task) {
  task->counts = event.counts;
  task->samples = event.samples;
  task->state = TaskState::kSwapping;
  task->phase = BuildPhase::kVerify;
}

void Fail(const TaskEvent& event, IndexTask* task) {
  task->state = TaskState::kFailed;
  ++task->attempts;
  task->error = event.error;
  task->next_attempt_at = event.next_attempt_at;
  task->samples = event.samples;
  if (event.counts != BuildCounts{}) task->counts = event.counts;
  task->finished_at = event.now;
}

void Retry(const TaskEvent& event, IndexTask* task) {
  task->state = TaskState::kPending;
  task->next_attempt_at = absl::InfiniteFuture();
  if (event.kind == Kind::kRetry && event.reset) task->attempts = 0;
}

void End(TaskState state, const TaskEvent& event, IndexTask* task) {
  task->state = state;
  task->next_attempt_at = absl::InfiniteFuture();
  task->finished_at = event.now;
}

void Apply(const TaskEvent& event, IndexTask* task) {
  task->active += event.active;
  switch (event.kind) {
    case Kind::kBegin:
      return Begin(event, task);
    case Kind::kSorted:
      task->resume = event.resume;
      task->counts = event.counts;
      task->phase = event.resume.source_done ? BuildPhase::kMerge : BuildPhase::kScan;
      return;
    case Kind::kApplied:
      return Applied(event, task);
    case Kind::kVerified:
      return Verified(event, task);
    case Kind::kFlipped:
      task->phase = BuildPhase::kDone;
      task->error = absl::OkStatus();
      return End(TaskState::kComplete, event, task);
    case Kind::kRestart:
      BeginAnew(event.generation, task);
      task->state = TaskState::kBuilding;
      task->phase = BuildPhase::kWaiting;
      return;
    case Kind::kFail:
      return Fail(event, task);
    case Kind::kInterrupt:
    case Kind::kResume:
      task->state = TaskState::kPending;
      return;
    case Kind::kDue:
    case Kind::kRetry:
      return Retry(event, task);
    case Kind::kPause:
      task->state = TaskState::kPaused;
      task->next_attempt_at = absl::InfiniteFuture();
      return;
    case Kind::kCancel:
      return End(TaskState::kCancelled, event, task);
    case Kind::kSupersede:
      return End(TaskState::kSuperseded, event, task);
  }
}

}  // namespace

std::string_view ToString(Kind kind) {
  static constexpr std::array<std::string_view, kTaskEventKinds + 1> kNames = {
      "",        "begun",     "sorted",  "applied",     "verified",
      "flipped", "restarted", "failed",  "interrupted", "tried again",
      "retried", "paused",    "resumed", "cancelled",   "superseded"};
  return kNames[static_cast<size_t>(kind)];
}

absl::StatusOr<IndexTask> Advance(const IndexTask& task, const TaskEvent& event) {
  if (IsTheBuilders(event.kind) && event.expected_generation != task.generation) {
    return absl::AbortedError(absl::StrCat("task ", task.id, " builds generation ", task.generation,
                                           ", not ", event.expected_generation));
  }
  if (!CanHappen(task, event)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "task ", task.id, " of index ", task.request.index, " is ", ToAbsl(ToString(task.state)),
        IsFinal(task) && task.state == TaskState::kFailed ? " for good" : "", ": it cannot be ",
        ToAbsl(ToString(event.kind))));
  }
  IndexTask next = task;
  Apply(event, &next);
  return next;
}

std::vector<TaskEvent> One(TaskEvent event) {
  std::vector<TaskEvent> events;
  events.push_back(std::move(event));
  return events;
}

bool IsUnderWay(TaskState state) {
  return IsOneOf(state, {TaskState::kBuilding, TaskState::kCatchUp, TaskState::kSwapping});
}

bool IsFinal(const IndexTask& task) {
  if (task.state == TaskState::kFailed) return !WillRetry(task);
  return IsOneOf(task.state, {TaskState::kComplete, TaskState::kCancelled, TaskState::kSuperseded});
}

bool KeepsGeneration(const IndexTask& task) {
  return task.generation != 0 && !IsFinal(task);
}

std::vector<TaskId> TasksToForget(absl::Span<const IndexTask> tasks) {
  std::vector<TaskId> forgotten;
  for (size_t i = 0; i + kTasksKept < tasks.size(); ++i) {
    if (IsFinal(tasks[i])) forgotten.push_back(tasks[i].id);
  }
  return forgotten;
}

}  // namespace millrace::storage
