// How the Rebuilder comes to know what there is: tasks and generations from LMDB, definitions from
// the catalog. At its start, and whenever something is not as it thought.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"

#include "millrace/actors/rebuilder.h"
#include "millrace/storage/task_rows.h"
#include "millrace/storage/task_transition.h"

namespace millrace {
namespace {

using storage::Generation;
using storage::IndexDefinition;
using storage::IndexId;
using storage::IndexTask;

constexpr absl::Duration kReloadDelayFirst = absl::Milliseconds(50);
constexpr absl::Duration kReloadDelayMax = absl::Seconds(5);

}  // namespace

// The tasks as LMDB has them. What was under way in another life waits for its turn.
absl::Status Rebuilder::Load() {
  const absl::StatusOr<storage::ReadTransaction> transaction = source_.environment.BeginRead();
  if (!transaction.ok()) return transaction.status();
  const absl::StatusOr<std::vector<IndexTask>> tasks = storage::ListTasks(*transaction);
  if (!tasks.ok()) return tasks.status();
  tasks_.clear();
  for (const IndexTask& task : *tasks) {
    if (storage::IsFinal(task)) continue;
    Remember(task);
    if (!storage::IsUnderWay(task.state) || Builds(task.id)) continue;
    Change(task, storage::One({.kind = storage::TaskEvent::Kind::kInterrupt}), OrReload());
  }
  return absl::OkStatus();
}

void Rebuilder::ReloadLater(const absl::Status& cause) {
  if (stopping_) return;
  reload_delay_ = std::clamp(2 * reload_delay_, kReloadDelayFirst, kReloadDelayMax);
  LOG(WARNING) << "Rebuilder: looks again in " << reload_delay_ << ": " << cause;
  reload_at_ = Now() + reload_delay_;
  SetWakeTimer();
}

absl::Status Rebuilder::ReadDefinitions() {
  const absl::StatusOr<storage::Snapshot> snapshot = TakeSnapshot();
  if (!snapshot.ok()) return snapshot.status();
  const absl::StatusOr<std::vector<storage::IndexInfo>> indexes = snapshot->ListIndexes();
  if (!indexes.ok()) return indexes.status();
  definitions_.clear();
  unreadable_.clear();
  for (const storage::IndexInfo& index : *indexes) {
    if (index.status.ok()) {
      definitions_[index.definition.id] = index.definition;
    } else {
      unreadable_[index.definition.id] = index.status;
    }
  }
  return absl::OkStatus();
}

bool Rebuilder::IsDropped(IndexId index) {
  return ReadDefinitions().ok() && !definitions_.contains(index) && !unreadable_.contains(index);
}

// After the definitions were read: an index that is defined later has no entries here.
absl::Status Rebuilder::FindOrphans() {
  const absl::StatusOr<storage::ReadTransaction> transaction = source_.environment.BeginRead();
  if (!transaction.ok()) return transaction.status();
  absl::StatusOr<std::map<IndexId, std::vector<Generation>>> found = FindGenerations(*transaction);
  if (!found.ok()) return found.status();
  const absl::StatusOr<std::vector<storage::GenerationState>> rows =
      storage::ListGenerations(*transaction);
  if (!rows.ok()) return rows.status();
  for (const storage::GenerationState& state : *rows) found->try_emplace(state.index);
  for (const auto& [id, known] : tasks_) found->try_emplace(known.task.request.index);
  if (absl::Status status = ReadDefinitions(); !status.ok()) return status;
  for (auto& [index, generations] : *found) {
    if (unreadable_.contains(index)) continue;  // Whoever can read it knows.
    const auto definition = definitions_.find(index);
    if (definition == definitions_.end()) {
      DropIndex({.id = index}, std::move(generations), {});
      continue;
    }
    const absl::StatusOr<storage::GenerationState> state =
        storage::ReadGenerations(*transaction, definition->second);
    if (!state.ok()) return state.status();
    retired_.Add(definition->second, *state);
    std::erase_if(generations,
                  [&](Generation one) { return state->Has(one) || state->IsRetired(one); });
    if (generations.empty()) continue;
    writer_.Ask(
        RetireGenerations{.definition = definition->second, .orphans = std::move(generations)},
        Await<GenerationsRetired>(
            [this, definition = definition->second](absl::StatusOr<GenerationsRetired> retired) {
              owner_.AssertOwned();
              if (!retired.ok()) return ReloadLater(retired.status());
              retired_.Add(definition, retired->generations);
            }));
  }
  return absl::OkStatus();
}

absl::Status Rebuilder::RemoveOrphanRuns() {
  const absl::StatusOr<std::vector<storage::RunId>> runs = runs_.List();
  if (!runs.ok()) return runs.status();
  for (const storage::RunId& run : *runs) {
    if (tasks_.contains(run.task)) continue;
    if (absl::Status status = runs_.Remove(run); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<IndexPlan> Rebuilder::PlanFor(const storage::BuildRequest& request) {
  if (absl::Status status = ReadDefinitions(); !status.ok()) return status;
  const auto unreadable = unreadable_.find(request.index);
  if (unreadable != unreadable_.end()) return unreadable->second;
  const auto definition = definitions_.find(request.index);
  if (definition == definitions_.end()) {
    return absl::NotFoundError(absl::StrCat("there is no index ", request.index));
  }
  IndexPlan plan{.definition = definition->second, .source = request.source};
  if (plan.definition.scoped()) {
    const absl::StatusOr<storage::Snapshot> snapshot = TakeSnapshot();
    if (!snapshot.ok()) return snapshot.status();
    const absl::StatusOr<std::vector<storage::RelationInfo>> relations = snapshot->ListRelations();
    if (!relations.ok()) return relations.status();
    for (const storage::RelationInfo& info : *relations) {
      if (info.relation.id != plan.definition.scope) continue;
      if (!info.status.ok()) return info.status;
      plan.scope = info.relation;
    }
  }
  if (absl::Status status = CheckPlan(plan); !status.ok()) return status;
  return plan;
}

absl::StatusOr<IndexTask> Rebuilder::ReadTask(storage::TaskId task) {
  const absl::StatusOr<storage::ReadTransaction> transaction = source_.environment.BeginRead();
  if (!transaction.ok()) return transaction.status();
  return storage::FindTask(*transaction, task);
}

// Of an index that is no longer defined, the number.
IndexDefinition Rebuilder::DefinitionOf(IndexId index) {
  const auto definition = definitions_.find(index);
  return definition != definitions_.end() ? definition->second : IndexDefinition{.id = index};
}

}  // namespace millrace
