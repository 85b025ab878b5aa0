#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "millrace/actors/applier.h"
#include "millrace/actors/changed_records.h"
#include "millrace/messages/flush.h"
#include "millrace/messages/index_build.h"
#include "millrace/storage/index_task.h"
#include "millrace/storage/write_transaction.h"

namespace millrace {

// The index builds' part of the Writer's transaction: tasks with their generations, the entries of
// builds, the entries of generations that are no longer wanted. Owned by the Writer thread.
class BuildApplier final : public Applier {
 public:
  BuildApplier() = default;

  absl::StatusOr<TaskChanged> Apply(storage::WriteTransaction& transaction,
                                    const CreateTask& create);
  absl::StatusOr<TaskChanged> Apply(storage::WriteTransaction& transaction,
                                    const ChangeTask& change);
  absl::StatusOr<TasksForgotten> Apply(storage::WriteTransaction& transaction,
                                       const ForgetTasks& forget);
  absl::StatusOr<TaskChanged> Apply(storage::WriteTransaction& transaction,
                                    const ApplyEntries& apply);
  absl::StatusOr<GenerationsRetired> Apply(storage::WriteTransaction& transaction,
                                           const RetireGenerations& retire);
  absl::StatusOr<GenerationsRetired> Apply(storage::WriteTransaction& transaction,
                                           const DeleteEntries& remove);
  absl::StatusOr<GenerationsRetired> Apply(storage::WriteTransaction& transaction,
                                           const RemoveEntries& remove);

  // What it remembers of a transaction that is gone does no harm: see ChangedRecords.
  void Committed() override {}
  void Aborted() override {}

  // A flush changes these rows in the open transaction.
  void Note(const Slice& slice);

 private:
  using BuildId = std::pair<storage::IndexId, storage::Generation>;
  // What flushes have changed beside a build, since its generation was allocated.
  struct Watch {
    void NoteLink(std::string_view key_in_tree);

    std::string record_prefix;  // Of the collection's records.
    std::string member_prefix;  // Of the scope's links; empty if there is none.
    ChangedRecords records;
    bool entry_count_known = true;
    uint64_t entry_count = 0;  // Entries of the generation that were put or deleted.
  };

  absl::Status Happen(storage::WriteTransaction& transaction,
                      const storage::IndexDefinition& definition, storage::TaskEvent event,
                      storage::IndexTask* task, storage::GenerationState* state);
  void Follow(const storage::IndexDefinition& definition, const storage::GenerationState& state,
              bool allocated);
  // Sets how many entries flushes have changed.
  void NoteMaintained(storage::IndexTask* task) const;
  absl::StatusOr<bool> IsGood(const storage::WriteTransaction& transaction,
                              const ApplyEntries& apply, const storage::RunEntry& read) const;
  absl::StatusOr<uint64_t> PutEntries(storage::WriteTransaction& transaction,
                                      const ApplyEntries& apply) const;

  std::map<BuildId, Watch> watches_;
};

}  // namespace millrace
