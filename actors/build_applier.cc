#include "millrace/actors/build_applier.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "millrace/storage/current_rows.h"
#include "millrace/storage/index_entry.h"
#include "millrace/storage/record.h"
#include "millrace/storage/task_rows.h"

namespace millrace {
namespace {

using storage::GenerationChange;
using storage::GenerationState;
using storage::IndexDefinition;
using storage::IndexTask;
using storage::TaskEvent;
using storage::ToAbsl;
using storage::TreeId;
using storage::WriteTransaction;
using Kind = storage::TaskEvent::Kind;

// A build that ended otherwise than by becoming the live one leaves its generation to be deleted.
absl::StatusOr<GenerationState> RetireIfEnded(WriteTransaction& transaction,
                                              const IndexDefinition& definition,
                                              const IndexTask& task) {
  absl::StatusOr<GenerationState> state = storage::ReadGenerations(transaction, definition);
  if (!state.ok() || storage::KeepsGeneration(task) || state->building == 0 ||
      state->building != task.generation) {
    return state;
  }
  return storage::ChangeGenerations(transaction, {.kind = GenerationChange::Kind::kAbandon,
                                                  .definition = definition,
                                                  .generation = task.generation});
}

// What becomes of the generations with an event; before it, for a new one is part of the event.
absl::StatusOr<GenerationState> ChangeWith(WriteTransaction& transaction,
                                           const IndexDefinition& definition, const IndexTask& task,
                                           const TaskEvent& event) {
  absl::StatusOr<GenerationState> state = storage::ReadGenerations(transaction, definition);
  if (!state.ok()) return state;
  if (event.kind == Kind::kFlipped) {
    return storage::ChangeGenerations(transaction, {.kind = GenerationChange::Kind::kFlip,
                                                    .definition = definition,
                                                    .generation = task.generation,
                                                    .built_at = event.now,
                                                    .row_count = task.counts.indexed,
                                                    .record_count = task.resume.record_count});
  }
  if (state->building != 0) {
    state = storage::ChangeGenerations(transaction, {.kind = GenerationChange::Kind::kAbandon,
                                                     .definition = definition,
                                                     .generation = state->building});
    if (!state.ok()) return state;
  }
  return storage::ChangeGenerations(
      transaction, {.kind = GenerationChange::Kind::kAllocate, .definition = definition});
}

bool NeedsGeneration(const GenerationState& state, const IndexTask& task, Kind kind) {
  return kind == Kind::kRestart ||
         (kind == Kind::kBegin && (task.generation == 0 || state.building != task.generation));
}

// Of the collection's records in tree kRecords.
std::string RecordsPrefix(const IndexDefinition& definition) {
  return std::string(storage::KeyInTree(storage::EncodeCollectionPrefix(
      storage::Tree::kRecords, storage::kTrunk, definition.collection)));
}

// Whether the version that an entry was read from is still there, and, in a scoped index, its link.
absl::StatusOr<bool> IsCurrent(const WriteTransaction& transaction,
                               const IndexDefinition& definition, const storage::IndexEntry& entry,
                               storage::Version version) {
  const std::string record_key = RecordsPrefix(definition) + std::string(entry.id);
  const auto row = transaction.Get(TreeId::kRecords, record_key);
  if (!row.ok()) return row.status();
  if (!row->has_value()) return false;
  const absl::StatusOr<storage::RecordView> record = storage::PeekRecord(record_key, **row);
  if (!record.ok()) return record.status();
  if (record->tombstone || record->version != version) return false;
  if (!definition.scoped()) return true;
  const std::string link_key = storage::MemberRowKey(
      {.relation = definition.scope, .owner = entry.owner, .member = entry.id});
  const auto link = transaction.Get(TreeId::kRelations, storage::KeyInTree(link_key));
  if (!link.ok()) return link.status();
  if (!link->has_value()) return false;
  return storage::IsLiveLink(storage::KeyInTree(link_key), **link);
}

// The last of an index's tasks, and no more finished ones than are kept.
absl::Status PutNewest(WriteTransaction& transaction, const std::vector<IndexTask>& tasks) {
  absl::Status status = storage::PutTask(transaction, tasks.back());
  for (const storage::TaskId old : storage::TasksToForget(tasks)) {
    if (status.ok()) status = storage::DeleteTask(transaction, tasks.back().request.index, old);
  }
  return status;
}

// The entries that were counted must be those that the build put, give or take what flushes
// changed.
absl::Status CheckCount(const IndexTask& task, uint64_t counted) {
  const uint64_t changed = task.resume.maintained_count;
  const uint64_t put = task.resume.applied_entry_count;
  if (changed == storage::kMaintainedUnknown) return absl::OkStatus();
  if (counted + changed >= put && counted <= put + changed) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(
      "generation ", task.generation, " of index ", task.request.index, " holds ", counted,
      " entries, but ", put, " were put, and ", changed, " changed by flushes: it is not used"));
}

}  // namespace

absl::StatusOr<TaskChanged> BuildApplier::Apply(WriteTransaction& transaction,
                                                const CreateTask& create) {
  const IndexDefinition& definition = create.definition;
  absl::StatusOr<std::vector<IndexTask>> tasks = storage::ListTasks(transaction, definition.id);
  if (!tasks.ok()) return tasks.status();
  absl::StatusOr<GenerationState> state = storage::ReadGenerations(transaction, definition);
  if (!state.ok()) return state.status();
  if (!tasks->empty() && !storage::IsFinal(tasks->back())) {
    IndexTask& current = tasks->back();
    const bool obsolete = current.definition < definition.number;
    if (!obsolete && current.state != storage::TaskState::kFailed) {
      return TaskChanged{std::move(current), *std::move(state)};
    }
    absl::StatusOr<IndexTask> next = storage::Advance(
        current, {.kind = obsolete ? Kind::kSupersede : Kind::kRetry, .now = create.now});
    if (!next.ok()) return next.status();
    if (absl::Status status = storage::PutTask(transaction, *next); !status.ok()) return status;
    if (!obsolete) return TaskChanged{*std::move(next), *std::move(state)};
    state = RetireIfEnded(transaction, definition, *next);
    if (!state.ok()) return state.status();
    current = *std::move(next);
  }
  const absl::StatusOr<storage::TaskId> id = storage::TakeTaskId(transaction);
  if (!id.ok()) return id.status();
  tasks->push_back({.id = *id,
                    .request = create.request,
                    .definition = definition.number,
                    .created_at = create.now});
  tasks->back().request.index = definition.id;
  if (absl::Status status = PutNewest(transaction, *tasks); !status.ok()) return status;
  return TaskChanged{std::move(tasks->back()), *std::move(state)};
}

absl::StatusOr<TaskChanged> BuildApplier::Apply(WriteTransaction& transaction,
                                                const ChangeTask& change) {
  absl::StatusOr<IndexTask> task =
      storage::ReadTask(transaction, change.definition.id, change.task);
  if (!task.ok()) return task.status();
  absl::StatusOr<GenerationState> state = storage::ReadGenerations(transaction, change.definition);
  if (!state.ok()) return state.status();
  NoteMaintained(&*task);
  for (const TaskEvent& event : change.events) {
    absl::Status status = Happen(transaction, change.definition, event, &*task, &*state);
    if (!status.ok()) return status;
  }
  if (absl::Status status = storage::PutTask(transaction, *task); !status.ok()) return status;
  state = RetireIfEnded(transaction, change.definition, *task);
  if (!state.ok()) return state.status();
  if (state->building == 0) watches_.erase({change.definition.id, task->generation});
  return TaskChanged{*std::move(task), *std::move(state)};
}

// One event, with the change of generations that belongs to it.
absl::Status BuildApplier::Happen(WriteTransaction& transaction, const IndexDefinition& definition,
                                  TaskEvent event, IndexTask* task, GenerationState* state) {
  if (event.kind == Kind::kVerified) {
    if (absl::Status status = CheckCount(*task, event.counts.indexed); !status.ok()) return status;
  }
  const bool allocate = NeedsGeneration(*state, *task, event.kind);
  event.generation = allocate ? state->last + 1 : task->generation;
  absl::StatusOr<IndexTask> next = storage::Advance(*task, event);
  if (!next.ok()) return next.status();
  if (allocate || event.kind == Kind::kFlipped) {
    absl::StatusOr<GenerationState> changed = ChangeWith(transaction, definition, *task, event);
    if (!changed.ok()) return changed.status();
    *state = *std::move(changed);
  }
  if (event.kind == Kind::kBegin || event.kind == Kind::kRestart) {
    Follow(definition, *state, allocate);
  }
  *task = *std::move(next);
  return absl::OkStatus();
}

absl::StatusOr<TasksForgotten> BuildApplier::Apply(WriteTransaction& transaction,
                                                   const ForgetTasks& forget) {
  const absl::StatusOr<std::vector<IndexTask>> tasks =
      storage::ListTasks(transaction, forget.index);
  if (!tasks.ok()) return tasks.status();
  TasksForgotten forgotten;
  for (const IndexTask& task : *tasks) {
    if (!storage::IsFinal(task)) continue;
    absl::Status status = storage::DeleteTask(transaction, task.request.index, task.id);
    if (!status.ok()) return status;
    forgotten.tasks.push_back(task.id);
  }
  return forgotten;
}

absl::StatusOr<TaskChanged> BuildApplier::Apply(WriteTransaction& transaction,
                                                const ApplyEntries& apply) {
  absl::StatusOr<IndexTask> task = storage::ReadTask(transaction, apply.definition.id, apply.task);
  if (!task.ok()) return task.status();
  absl::StatusOr<GenerationState> state = storage::ReadGenerations(transaction, apply.definition);
  if (!state.ok()) return state.status();
  TaskEvent event{
      .kind = Kind::kApplied, .expected_generation = apply.generation, .resume = task->resume};
  event.resume.merged_entry_count = apply.merged_entry_count;
  event.resume.applied_done = apply.last;
  if (!apply.entries.empty()) event.resume.applied_cursor = apply.entries.back().key;
  absl::StatusOr<IndexTask> next = storage::Advance(*task, event);
  if (!next.ok()) return next.status();
  if (state->building != apply.generation || task->resume.applied_cursor != apply.after) {
    return absl::AbortedError(absl::StrCat("task ", apply.task, " generation ", apply.generation,
                                           ": what these entries follow is not applied"));
  }
  const absl::StatusOr<uint64_t> count = PutEntries(transaction, apply);
  if (!count.ok()) return count.status();
  next->resume.applied_entry_count += *count;
  if (absl::Status status = storage::PutTask(transaction, *next); !status.ok()) return status;
  return TaskChanged{*std::move(next), *std::move(state)};
}

absl::StatusOr<GenerationsRetired> BuildApplier::Apply(WriteTransaction& transaction,
                                                       const RetireGenerations& retire) {
  const IndexDefinition& definition = retire.definition;
  absl::StatusOr<GenerationState> state = storage::ReadGenerations(transaction, definition);
  if (!state.ok()) return state.status();
  for (const storage::Generation orphan : retire.orphans) {
    absl::StatusOr<GenerationState> adopted = storage::ChangeGenerations(
        transaction,
        {.kind = GenerationChange::Kind::kAdopt, .definition = definition, .generation = orphan});
    if (absl::IsAborted(adopted.status())) continue;  // It is known after all.
    if (!adopted.ok()) return adopted.status();
    state = std::move(adopted);
  }
  if (!retire.dropped) return GenerationsRetired{*std::move(state)};
  const absl::StatusOr<std::vector<IndexTask>> tasks =
      storage::ListTasks(transaction, definition.id);
  if (!tasks.ok()) return tasks.status();
  for (const IndexTask& task : *tasks) {
    if (storage::IsFinal(task)) continue;
    const absl::StatusOr<IndexTask> ended =
        storage::Advance(task, {.kind = Kind::kSupersede, .now = retire.now});
    if (!ended.ok()) return ended.status();
    if (absl::Status status = storage::PutTask(transaction, *ended); !status.ok()) return status;
  }
  if (!state->dropped) {
    state = storage::ChangeGenerations(
        transaction, {.kind = GenerationChange::Kind::kDrop, .definition = definition});
    if (!state.ok()) return state.status();
  }
  std::erase_if(watches_, [&](const auto& watch) { return watch.first.first == definition.id; });
  return GenerationsRetired{*std::move(state)};
}

absl::StatusOr<GenerationsRetired> BuildApplier::Apply(WriteTransaction& transaction,
                                                       const DeleteEntries& remove) {
  absl::StatusOr<GenerationState> state = storage::ReadGenerations(transaction, remove.definition);
  if (!state.ok()) return state.status();
  if (!state->IsRetired(remove.generation)) {
    return absl::AbortedError(absl::StrCat("generation ", remove.generation, " of index ",
                                           remove.definition.id, " is not retired"));
  }
  transaction.AllowReclaiming();
  for (size_t i = 0; i < remove.entries.size(); ++i) {
    const absl::Status status = transaction.Delete(TreeId::kIndex, remove.entries[i].key).status();
    if (!status.ok()) return status;
  }
  if (!remove.last) return GenerationsRetired{*std::move(state)};
  state = storage::ChangeGenerations(transaction, {.kind = GenerationChange::Kind::kForget,
                                                   .definition = remove.definition,
                                                   .generation = remove.generation});
  if (!state.ok()) return state.status();
  return GenerationsRetired{*std::move(state)};
}

absl::StatusOr<GenerationsRetired> BuildApplier::Apply(WriteTransaction& transaction,
                                                       const RemoveEntries& remove) {
  absl::StatusOr<GenerationState> state = storage::ReadGenerations(transaction, remove.definition);
  if (!state.ok()) return state.status();
  if (state->building != remove.generation) {
    return absl::AbortedError(absl::StrCat("generation ", remove.generation, " of index ",
                                           remove.definition.id, " is not building"));
  }
  const auto watch = watches_.find({remove.definition.id, remove.generation});
  for (size_t i = 0; i < remove.entries.size(); ++i) {
    absl::Status status = transaction.Delete(TreeId::kIndex, remove.entries[i].key).status();
    if (!status.ok()) return status;
    if (watch != watches_.end()) ++watch->second.entry_count;
  }
  return GenerationsRetired{*std::move(state)};
}

void BuildApplier::Note(const Slice& slice) {
  for (auto& [build, watch] : watches_) {
    for (const RowChange& row : slice.rows) {
      const TreeId tree = storage::TreeOf(row.key);
      const std::string_view key = storage::KeyInTree(row.key);
      if (tree == TreeId::kRecords && key.starts_with(watch.record_prefix)) watch.records.Note(key);
      if (tree == TreeId::kRelations) watch.NoteLink(key);
    }
    for (const DerivedChange& change : slice.derived) {
      const std::string_view key = DerivedKey(slice, change);
      if (change.kind == DerivedChange::Kind::kEraseLink) {
        watch.NoteLink(key);
        continue;
      }
      storage::IndexEntry entry;
      if (storage::PeekIndexEntry(key, &entry) && build == BuildId(entry.index, entry.generation)) {
        ++watch.entry_count;
      }
    }
  }
}

// A link that changes changes what its member's record means to a scoped index.
void BuildApplier::Watch::NoteLink(std::string_view key_in_tree) {
  if (member_prefix.empty() || !key_in_tree.starts_with(member_prefix)) return;
  std::string_view rest = key_in_tree.substr(member_prefix.size());
  uint64_t size = 0;
  if (!storage::ConsumeOrderedInteger(&rest, &size) || size > rest.size()) return;
  records.Note(absl::StrCat(record_prefix, ToAbsl(rest.substr(0, size))));
}

void BuildApplier::NoteMaintained(IndexTask* task) const {
  const auto watch = watches_.find({task->request.index, task->generation});
  const bool known = watch != watches_.end() && watch->second.entry_count_known;
  task->resume.maintained_count = known ? watch->second.entry_count : storage::kMaintainedUnknown;
}

// From the allocation on every change is seen; if the build goes on in another life of the engine,
// some were not.
void BuildApplier::Follow(const IndexDefinition& definition, const GenerationState& state,
                          bool allocated) {
  Watch watch{.record_prefix = RecordsPrefix(definition),
              .records = ChangedRecords(/*unknown=*/!allocated),
              .entry_count_known = allocated};
  if (definition.scoped()) {
    const std::string members = storage::AllMemberRowsPrefix(storage::kTrunk, definition.scope);
    watch.member_prefix = storage::KeyInTree(members);
  }
  watches_.try_emplace({definition.id, state.building}, std::move(watch));
  if (!allocated) return;
  // Builds of the past are no longer followed.
  std::erase_if(watches_, [&](const auto& watch) {
    return watch.first.first == definition.id && watch.first.second != state.building;
  });
}

// What flushes have not changed since it was read is as it was.
absl::StatusOr<bool> BuildApplier::IsGood(const WriteTransaction& transaction,
                                          const ApplyEntries& apply,
                                          const storage::RunEntry& read) const {
  const auto found = watches_.find({apply.definition.id, apply.generation});
  const Watch* const watch = found == watches_.end() ? nullptr : &found->second;
  if (watch != nullptr && watch->records.none()) return true;
  const absl::StatusOr<storage::IndexEntry> entry = storage::DecodeIndexEntry(read.key);
  if (!entry.ok()) return entry.status();
  if (watch != nullptr &&
      !watch->records.MayHold(absl::StrCat(watch->record_prefix, ToAbsl(entry->id)))) {
    return true;
  }
  return IsCurrent(transaction, apply.definition, *entry, read.version);
}

absl::StatusOr<uint64_t> BuildApplier::PutEntries(WriteTransaction& transaction,
                                                  const ApplyEntries& apply) const {
  uint64_t count = 0;
  if (apply.entries.empty()) return count;
  // While the generation is the end of its tree, its pages are filled whole.
  bool append = true;
  {
    storage::Cursor last = transaction.NewCursor(TreeId::kIndex);
    last.SeekLast();
    if (!last.status().ok()) return last.status();
    append = !last.Valid() || last.key() < apply.entries[0].key;
  }
  for (size_t i = 0; i < apply.entries.size(); ++i) {
    const storage::RunEntry entry = apply.entries[i];
    const absl::StatusOr<bool> good = IsGood(transaction, apply, entry);
    if (!good.ok()) return good.status();
    if (!*good) continue;
    absl::Status status = append ? transaction.Append(TreeId::kIndex, entry.key, "")
                                 : transaction.Put(TreeId::kIndex, entry.key, "");
    if (absl::IsAlreadyExists(status)) {
      append = false;
      status = transaction.Put(TreeId::kIndex, entry.key, "");
    }
    if (!status.ok()) return status;
    ++count;
  }
  return count;
}

}  // namespace millrace
