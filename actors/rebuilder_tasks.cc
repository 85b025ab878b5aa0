// What becomes of tasks: the Rebuilder asks the Writer to change them, and learns how they are
// then.

#include <algorithm>
#include <utility>

#include "glog/logging.h"

#include "millrace/actors/rebuilder.h"
#include "millrace/storage/task_transition.h"

namespace millrace {
namespace {

using storage::IndexDefinition;
using storage::IndexTask;
using storage::One;
using storage::TaskEvent;
using storage::TaskState;
using Kind = storage::TaskEvent::Kind;

}  // namespace

// An older definition's build ends with it.
void Rebuilder::Create(const IndexDefinition& definition, const storage::BuildRequest& request,
                       Then<TaskChanged> then) {
  writer_.Ask(CreateTask{.definition = definition, .request = request, .now = clock().WallNow()},
              Await<TaskChanged>(
                  [this, then = std::move(then)](absl::StatusOr<TaskChanged> created) mutable {
                    owner_.AssertOwned();
                    if (created.ok()) {
                      EndTasksOf(created->task.request.index, created->task.id);
                      Learn(*created);
                    }
                    then(std::move(created));
                  }));
}

void Rebuilder::Change(const IndexTask& task, std::vector<TaskEvent> events,
                       Then<TaskChanged> then) {
  for (TaskEvent& event : events) {
    if (event.now == absl::InfinitePast()) event.now = clock().WallNow();
    event.expected_generation = task.generation;
  }
  writer_.Ask(millrace::ChangeTask{.definition = DefinitionOf(task.request.index),
                                   .task = task.id,
                                   .events = std::move(events)},
              Await<TaskChanged>(
                  [this, then = std::move(then)](absl::StatusOr<TaskChanged> changed) mutable {
                    owner_.AssertOwned();
                    if (changed.ok()) Learn(*changed);
                    then(std::move(changed));
                  }));
}

void Rebuilder::DropIndex(const IndexDefinition& definition,
                          std::vector<storage::Generation> orphans,
                          Reply<GenerationsRetired> reply) {
  definitions_.erase(definition.id);
  told_.erase(definition.id);
  writer_.Ask(RetireGenerations{.definition = definition,
                                .orphans = std::move(orphans),
                                .dropped = true,
                                .now = clock().WallNow()},
              Await<GenerationsRetired>([this, definition, reply = std::move(reply)](
                                            absl::StatusOr<GenerationsRetired> retired) mutable {
                owner_.AssertOwned();
                if (retired.ok()) {
                  EndTasksOf(definition.id, 0);
                  retired_.Add(definition, retired->generations);
                } else {
                  ReloadLater(retired.status());
                }
                if (reply.valid()) reply.Send(std::move(retired));
              }));
}

BuildHost::Then<TaskChanged> Rebuilder::OrReload() {
  return [this](absl::StatusOr<TaskChanged> changed) {
    owner_.AssertOwned();
    if (!changed.ok()) ReloadLater(changed.status());
  };
}

// A change that is durable. The Committer is told before anything is asked of it that depends on
// it.
void Rebuilder::Learn(const TaskChanged& changed) {
  TellGenerations(changed.generations);
  Remember(changed.task);
  retired_.Add(DefinitionOf(changed.task.request.index), changed.generations);
  Ring();
}

// The task as it is now. A build that may not go on ends here: whatever it still has under way is
// refused by the Writer.
void Rebuilder::Remember(const IndexTask& task) {
  if (Builds(task.id)) {
    // Pending as before: somebody asked for it while it is being begun.
    const bool begins =
        task.state == TaskState::kPending && build_->task().state == TaskState::kPending;
    build_->Update(task);
    if (task.state == TaskState::kComplete) build_->ShowEnd();
    if (!storage::IsUnderWay(task.state) && !begins) build_.reset();
  }
  if (storage::IsFinal(task)) {
    if (tasks_.erase(task.id) > 0) RemoveRuns(task.id);
    triggers_at_ = Now();  // What was suppressed meanwhile may be due.
  } else {
    Known& known = tasks_[task.id];
    known = {.task = task};
    if (task.state == TaskState::kFailed) {
      known.due = Now() + std::clamp(task.next_attempt_at - clock().WallNow(), absl::ZeroDuration(),
                                     kRetryDelayMax);
      SetWakeTimer();
    }
  }
  board_.Show(task);
}

// All but one, if any, were superseded.
void Rebuilder::EndTasksOf(storage::IndexId index, storage::TaskId except) {
  std::vector<storage::TaskId> ended;
  for (const auto& [id, known] : tasks_) {
    if (known.task.request.index == index && id != except) ended.push_back(id);
  }
  for (const storage::TaskId id : ended) {
    const absl::StatusOr<IndexTask> task = ReadTask(id);
    if (!task.ok()) return ReloadLater(task.status());
    Remember(*task);
  }
}

void Rebuilder::RemoveRuns(storage::TaskId task) {
  const absl::StatusOr<std::vector<storage::RunId>> runs = runs_.List();
  absl::Status status = runs.status();
  for (size_t i = 0; status.ok() && i < runs->size(); ++i) {
    if ((*runs)[i].task == task) status = runs_.Remove((*runs)[i]);
  }
  if (!status.ok()) {
    LOG(WARNING) << "Rebuilder: sorted runs of task " << task
                 << " stay until the next open: " << status;
  }
}

void Rebuilder::TellGenerations(const storage::GenerationState& state) {
  const bool enforce = state.building != 0 && enforced_ == std::pair(state.index, state.building);
  const auto told = told_.find(state.index);
  if (told != told_.end() && told->second == std::pair(state, enforce)) return;
  told_[state.index] = {state, enforce};
  committer_.Ask(MarkGenerations{.state = state, .enforce_building = enforce},
                 Await<Marked>([this, index = state.index](const absl::StatusOr<Marked>& marked) {
                   owner_.AssertOwned();
                   if (absl::IsNotFound(marked.status()) && IsDropped(index)) {
                     return DropIndex(DefinitionOf(index), {}, {});
                   }
                   if (marked.ok() || build_ == nullptr) return;
                   if (build_->task().request.index == index) Trouble(marked.status());
                 }));
}

void Rebuilder::RetryDue() {
  std::vector<IndexTask> due;
  for (auto& [id, known] : tasks_) {
    if (Now() < known.due) continue;
    known.due = MonotonicTime::Infinite();
    due.push_back(known.task);
  }
  for (const IndexTask& task : due) {
    // It is time by the clock that does not jump.
    const absl::Time now = std::max(clock().WallNow(), task.next_attempt_at);
    Change(task, One({.kind = Kind::kDue, .now = now}), OrReload());
  }
}

// One behind the other; what has changed meanwhile is left out.
void Rebuilder::RetryEach(std::vector<IndexTask> failed, bool reset, BuildsRetried done,
                          Reply<BuildsRetried> reply) {
  if (failed.empty()) return reply.Send(std::move(done));
  const IndexTask task = std::move(failed.back());
  failed.pop_back();
  Change(task, One({.kind = Kind::kRetry, .reset = reset}),
         [this, failed = std::move(failed), reset, done = std::move(done),
          reply = std::move(reply)](absl::StatusOr<TaskChanged> changed) mutable {
           owner_.AssertOwned();
           if (changed.ok()) {
             done.tasks.insert(done.tasks.begin(), changed->task.id);
           } else if (!absl::IsFailedPrecondition(changed.status())) {
             return reply.Send(changed.status());
           }
           RetryEach(std::move(failed), reset, std::move(done), std::move(reply));
         });
}

}  // namespace millrace
