#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"

#include "millrace/storage/current_rows.h"
#include "millrace/storage/row_key.h"
#include "millrace/storage/write_batch.h"

namespace millrace {

// Turns a batch into its effects: what the log and L0 hold. Checks everything that can refuse a
// batch; what it lets through cannot fail any more. Owned by the Committer thread.
class BatchEffects {
 public:
  explicit BatchEffects(storage::CurrentRows& current) : current_(current) {}

  // A collection that batches may write to.
  void AddCollection(storage::CollectionId id) { collections_.insert(id); }

  // True if Append needs the current rows: then everything accepted must be in L0 before the call.
  static bool ReadsRows(const storage::WriteBatch& batch) { return !batch.blind(); }

  // Appends the effects of `batch` to `out`, one per row. On an error nothing is appended:
  // FailedPrecondition, NotFound (collection), InvalidArgument (a merge that cannot be), DataLoss.
  absl::Status Append(const storage::WriteBatch& batch, std::string* out);

 private:
  absl::Status CheckCollections(const storage::WriteBatch& batch) const;
  absl::Status AppendOne(const storage::Operation& operation, std::string* out);

  storage::CurrentRows& current_;
  absl::flat_hash_set<storage::CollectionId> collections_;
};

}  // namespace millrace
