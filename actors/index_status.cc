#include "millrace/actors/index_status.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "millrace/storage/meta.h"
#include "millrace/storage/task_rows.h"
#include "millrace/storage/task_transition.h"

namespace millrace {
namespace {

using storage::BuildReason;
using storage::TaskState;

bool HasGrown(double ratio, uint64_t built, uint64_t now) {
  if (ratio <= 0) return false;
  return static_cast<double>(now) > std::floor(static_cast<double>(built) * (1 + ratio));
}

// Nothing is known of a generation that was complete by birth: it triggers nothing.
std::optional<BuildReason> Trigger(const RebuildTriggers& triggers, absl::Time now,
                                   const IndexStatus& status) {
  const storage::GenerationState& generations = status.generations;
  if (!generations.Fulfils(status.definition)) return BuildReason::kDefinition;
  if (generations.built_at == absl::InfinitePast()) return std::nullopt;
  if (HasGrown(triggers.growth_ratio, generations.record_count, status.record_count)) {
    return BuildReason::kGrowth;
  }
  if (now - generations.built_at > triggers.age_max) return BuildReason::kAge;
  return std::nullopt;
}

}  // namespace

std::string_view ToString(IndexLifecycle lifecycle) {
  switch (lifecycle) {
    case IndexLifecycle::kOnline:
      return "online";
    case IndexLifecycle::kStale:
      return "stale";
    case IndexLifecycle::kBuilding:
      return "building";
    case IndexLifecycle::kFailed:
      return "failed";
  }
  return "unknown";
}

absl::StatusOr<IndexStatus> ReadIndexStatus(const storage::ReadTransaction& transaction,
                                            const storage::IndexDefinition& definition) {
  IndexStatus status{.definition = definition};
  absl::StatusOr<storage::GenerationState> generations =
      storage::ReadGenerations(transaction, definition);
  if (!generations.ok()) return generations.status();
  status.generations = *std::move(generations);
  absl::StatusOr<std::vector<storage::IndexTask>> tasks =
      storage::ListTasks(transaction, definition.id);
  if (!tasks.ok()) return tasks.status();
  if (!tasks->empty()) status.task = std::move(tasks->back());
  const absl::StatusOr<storage::L1State> l1 = storage::ReadL1State(transaction);
  if (!l1.ok()) return l1.status();
  status.record_count = static_cast<uint64_t>(
      std::max<int64_t>(0, l1->RecordCount(storage::kTrunk, definition.collection)));
  return status;
}

void DeriveLifecycle(const RebuildTriggers& triggers, absl::Time now, IndexStatus* status) {
  status->serves = status->generations.Serves();
  status->trigger = Trigger(triggers, now, *status);
  const bool building = status->task.has_value() && !storage::IsFinal(*status->task);
  const bool failed = status->task.has_value() && status->task->state == TaskState::kFailed;
  if (building) {
    status->lifecycle = IndexLifecycle::kBuilding;
  } else if (failed && !status->generations.Fulfils(status->definition)) {
    status->lifecycle = IndexLifecycle::kFailed;
  } else if (failed || status->trigger.has_value()) {
    status->lifecycle = IndexLifecycle::kStale;
  } else {
    status->lifecycle = IndexLifecycle::kOnline;
  }
  // What is being built, or has just failed, triggers nothing.
  if (building || (failed && now < status->task->finished_at + triggers.failed_cool_down)) {
    status->trigger.reset();
  }
}

absl::Status CheckFormats(const storage::Snapshot& snapshot) {
  const absl::StatusOr<std::vector<storage::IndexInfo>> indexes = snapshot.ListIndexes();
  if (!indexes.ok()) return indexes.status();
  const absl::StatusOr<std::vector<storage::RelationInfo>> relations = snapshot.ListRelations();
  if (!relations.ok()) return relations.status();
  std::vector<std::string> foreign;
  for (const storage::IndexInfo& info : *indexes) {
    const storage::IndexDefinition& index = info.definition;
    if (absl::IsFailedPrecondition(info.status)) {
      foreign.emplace_back(info.status.message());
    } else if (info.generations.IsForeign()) {
      foreign.push_back(absl::StrCat("index '", index.name, "' of collection ", index.collection,
                                     " was built by another version of Millrace (format ",
                                     info.generations.format, ", this one writes ",
                                     storage::kIndexFormat, "); rebuild the index"));
    }
  }
  for (const storage::RelationInfo& info : *relations) {
    if (absl::IsFailedPrecondition(info.status)) foreign.emplace_back(info.status.message());
  }
  if (foreign.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrJoin(foreign, "\n"));
}

}  // namespace millrace
