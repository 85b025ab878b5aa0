#include "millrace/actors/index_merge.h"

#include <utility>

namespace millrace {

absl::StatusOr<IndexMerge> IndexMerge::Open(storage::RunDirectory& directory, storage::TaskId task,
                                            const storage::ResumePoint& resume) {
  absl::StatusOr<storage::RunMerge> merge = storage::RunMerge::Open(directory, task, resume.runs);
  if (!merge.ok()) return merge.status();
  if (resume.applied_cursor.empty()) {
    merge->SeekToFirst();
  } else {
    merge->SeekAfter(resume.applied_cursor);
  }
  if (!merge->status().ok()) return merge->status();
  return IndexMerge(*std::move(merge), resume.merged_entry_count);
}

absl::StatusOr<storage::EntryBatch> IndexMerge::Read(size_t row_max, size_t bytes_max) {
  storage::EntryBatch batch;
  // Versions of one key go together: a cursor that is a key can resume only behind all of them.
  for (; merge_.Valid(); merge_.Next()) {
    const storage::RunEntry entry = merge_.entry();
    const bool same_key = entry.key == last_key_;
    if (!same_key && (batch.size() >= row_max || batch.bytes() >= bytes_max)) break;
    ++entry_count_;
    if (same_key && entry.version == last_version_) continue;
    batch.Add(entry);
    last_key_.assign(entry.key);
    last_version_ = entry.version;
  }
  if (!merge_.status().ok()) return merge_.status();
  return batch;
}

absl::StatusOr<RunReduction> RunReduction::Begin(storage::RunDirectory& directory,
                                                 const storage::RunId& result,
                                                 absl::Span<const storage::RunInfo> runs) {
  absl::StatusOr<storage::RunMerge> merge = storage::RunMerge::Open(directory, result.task, runs);
  if (!merge.ok()) return merge.status();
  absl::StatusOr<storage::RunWriter> writer = storage::RunWriter::Create(directory, result);
  if (!writer.ok()) return writer.status();
  merge->SeekToFirst();
  return RunReduction(*std::move(merge), *std::move(writer));
}

absl::StatusOr<bool> RunReduction::Step(size_t entry_max) {
  for (size_t count = 0; merge_.Valid() && count < entry_max; ++count, merge_.Next()) {
    if (absl::Status status = writer_.Add(merge_.entry()); !status.ok()) return status;
  }
  if (!merge_.status().ok()) return merge_.status();
  return !merge_.Valid();
}

}  // namespace millrace
