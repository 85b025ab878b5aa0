#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "millrace/storage/entry_batch.h"
#include "millrace/storage/index_task.h"
#include "millrace/storage/run_merge.h"

namespace millrace {

// The second part of a build: reads the sorted runs as one, batch by batch. Owned by the Rebuilder
// thread.
class IndexMerge {
 public:
  // Goes on behind the resume point's applied_cursor.
  static absl::StatusOr<IndexMerge> Open(storage::RunDirectory& directory, storage::TaskId task,
                                         const storage::ResumePoint& resume);

  // The next entries, at most `row_max` of at most about `bytes_max`; what was read twice comes
  // once.
  // Storage::IsBadRun says that the source must be read again.
  absl::StatusOr<storage::EntryBatch> Read(size_t row_max, size_t bytes_max);
  bool done() const { return !merge_.Valid(); }
  // Entries of the runs that were given out, since the resume point's.
  uint64_t entry_count() const { return entry_count_; }

 private:
  IndexMerge(storage::RunMerge merge, uint64_t entry_count)
      : merge_(std::move(merge)), entry_count_(entry_count) {}

  storage::RunMerge merge_;
  uint64_t entry_count_;
  // The entry before.
  std::string last_key_;
  storage::Version last_version_ = storage::kNoVersion;
};

// Merges several runs into one, step by step: for when there are more than a merge may have blocks
// in memory. Owned by the Rebuilder thread.
class RunReduction {
 public:
  static absl::StatusOr<RunReduction> Begin(storage::RunDirectory& directory,
                                            const storage::RunId& result,
                                            absl::Span<const storage::RunInfo> runs);

  // Moves up to `entry_max` entries. True when all are moved.
  absl::StatusOr<bool> Step(size_t entry_max);
  absl::StatusOr<storage::RunInfo> Finish() { return writer_.Finish(/*sync=*/true); }

 private:
  RunReduction(storage::RunMerge merge, storage::RunWriter writer)
      : merge_(std::move(merge)), writer_(std::move(writer)) {}

  storage::RunMerge merge_;
  storage::RunWriter writer_;
};

}  // namespace millrace
