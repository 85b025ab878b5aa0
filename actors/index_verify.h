#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "millrace/actors/index_scan.h"
#include "millrace/storage/entry_batch.h"
#include "millrace/storage/environment.h"
#include "millrace/storage/index_build.h"
#include "millrace/storage/index_entry.h"
#include "millrace/storage/index_task.h"
#include "millrace/storage/snapshot.h"
#include "millrace/storage/sorted_run.h"

namespace millrace {

// The last part of a build, behind the second fence: walks the generation, counts it, finds records
// that share a unique value, and looks for entries that should be there. Owned by the Rebuilder
// thread.
class IndexVerify {
 public:
  // `live` is the generation that serves now, or 0.
  IndexVerify(storage::Environment& environment, IndexPlan plan,
              storage::DuplicatePolicy duplicates, storage::Generation live);

  // Looks at up to `row_max` more entries, in a fresh read transaction. Records that share a value
  // are read as `snapshot` has them, which may be newer: whoever gave the value up is no owner.
  absl::Status Read(size_t row_max, const storage::Snapshot& snapshot);
  bool done() const { return done_; }
  uint64_t entry_count() const { return entry_count_; }
  // Records beyond the first that have a unique value, and some of them.
  uint64_t conflict_count() const { return conflict_count_; }
  const std::vector<storage::DuplicateSample>& samples() const { return samples_; }
  // The entries of those that shall not own it, by the policy; found since the last call.
  storage::EntryBatch TakeLosers() { return std::exchange(losers_, {}); }

  // Whether records that were read, picked all over the runs, are in the generation with what they
  // hold now.
  absl::Status CheckSample(storage::RunDirectory& runs, storage::TaskId task,
                           const std::vector<storage::RunInfo>& infos) const;

 private:
  absl::Status AddToGroup(const storage::ReadTransaction& transaction,
                          const storage::Snapshot& snapshot, std::string_view key);
  absl::Status Judge(const storage::ReadTransaction& transaction, const storage::Snapshot& snapshot,
                     std::string_view key);
  absl::StatusOr<bool> Holds(const storage::ReadTransaction& transaction,
                             const storage::Snapshot& snapshot, const storage::IndexEntry& entry,
                             storage::IndexKey* value) const;
  absl::StatusOr<bool> IsInScope(const storage::ReadTransaction& transaction,
                                 const storage::IndexEntry& entry) const;
  absl::StatusOr<std::string> LiveOwner(const storage::ReadTransaction& transaction,
                                        const storage::Snapshot& snapshot,
                                        const storage::IndexEntry& entry,
                                        const std::string& full) const;
  void AddConflict(const storage::IndexEntry& entry, const std::string& owner_id);
  absl::Status CheckEntry(const storage::ReadTransaction& transaction, std::string_view key) const;

  storage::Environment& environment_;
  const IndexPlan plan_;
  const storage::DuplicatePolicy duplicates_;
  const storage::Generation live_;
  const storage::IndexField field_;
  const storage::Collection collection_;
  const std::string prefix_;  // Of the generation's entries.
  std::string cursor_;        // The last entry that was looked at.
  bool done_ = false;
  uint64_t entry_count_ = 0;
  uint64_t conflict_count_ = 0;
  std::vector<storage::DuplicateSample> samples_;
  storage::EntryBatch losers_;
  // The entries of one owner and value: what they begin with, the first, and who of them shall own
  // which whole value (an entry may hold a part of it only).
  std::string group_;
  std::string group_first_;
  bool group_judged_ = false;
  std::map<std::string, std::string> winners_;
};

}  // namespace millrace
