#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"

#include "millrace/storage/entry_batch.h"
#include "millrace/storage/generations.h"
#include "millrace/storage/index_build.h"
#include "millrace/storage/index_definition.h"
#include "millrace/storage/index_task.h"
#include "millrace/storage/task_transition.h"

namespace millrace {

// The conversation about index builds: what the Rebuilder has the Writer do, and what it tells of a
// build. Every change of a task is a transition of task_transition.h, made in the Writer's
// transaction with the change of generations that belongs to it. Whatever is no longer as the
// message expects it is refused, and nothing of it is done: Aborted if it is about a build or a
// generation of the past, FailedPrecondition if the transition does not exist. Aborted is also told
// to all whose transaction was aborted.

// Task and generations as they are behind a change.
struct TaskChanged {
  storage::IndexTask task;
  storage::GenerationState generations;
};

// Asks for a build. An index has one task that is not at its end: if it is for this definition or a
// later one, it is the answer (one that waits for its next attempt need not wait any more); if it
// is for an earlier one, it is superseded.
struct CreateTask {
  using ReplyType = TaskChanged;
  storage::IndexDefinition definition;
  storage::BuildRequest request;
  absl::Time now;
};

// Events happen to a task, all or none. kBegin takes the generation that the task has filled before
// if it is still building, else a new one. kFlipped makes its generation the live one. A task that
// comes to its end otherwise retires it.
struct ChangeTask {
  using ReplyType = TaskChanged;
  storage::IndexDefinition definition;
  storage::TaskId task = 0;
  std::vector<storage::TaskEvent> events;
};

// Removes tasks that are at their end, of one index or (0) of all.
struct TasksForgotten {
  std::vector<storage::TaskId> tasks;
};
struct ForgetTasks {
  using ReplyType = TasksForgotten;
  storage::IndexId index = 0;
};

// Entries of a generation that is building, in order, behind those up to `after`. Each is put if
// the version that it was read from is still there.
struct ApplyEntries {
  using ReplyType = TaskChanged;
  storage::IndexDefinition definition;
  storage::TaskId task = 0;
  storage::Generation generation = 0;
  std::string after;  // The task's applied_cursor before.
  storage::EntryBatch entries;
  uint64_t merged_entry_count = 0;  // Of the resume point, behind this.
  bool last = false;                // Then nothing follows.
};

// Generations are no longer wanted: those that no row names, and, if the index is dropped, all. A
// build of a dropped index is superseded.
struct GenerationsRetired {
  storage::GenerationState generations;
};
struct RetireGenerations {
  using ReplyType = GenerationsRetired;
  storage::IndexDefinition definition;  // Of a dropped index at least the id.
  std::vector<storage::Generation> orphans;
  bool dropped = false;
  absl::Time now;
};

// Deletes entries of a retired generation, which is forgotten with the last of them.
struct DeleteEntries {
  using ReplyType = GenerationsRetired;
  storage::IndexDefinition definition;
  storage::Generation generation = 0;
  storage::EntryBatch entries;
  bool last = false;
};

// Of a build's own generation, the entries of records that shall not own their value.
struct RemoveEntries {
  using ReplyType = GenerationsRetired;
  storage::IndexDefinition definition;
  storage::Generation generation = 0;
  storage::EntryBatch entries;
};

}  // namespace millrace
