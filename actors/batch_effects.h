#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"

#include "millrace/actors/index_effects.h"
#include "millrace/storage/current_rows.h"
#include "millrace/storage/row_key.h"
#include "millrace/storage/write_batch.h"

namespace millrace {

// Turns a batch into its effects: what the log and L0 hold. Checks everything that can refuse a
// batch; what it lets through cannot fail any more. Owned by the Committer thread.
class BatchEffects {
 public:
  // A group with the largest batch, all that is derived from it included, fits any fresh log file.
  static constexpr size_t kBytesMax = 2 * storage::WriteBatch::kBytesMax;

  explicit BatchEffects(storage::CurrentRows& current) : current_(current), indexes_(current) {}

  // A collection that batches may write to.
  void AddCollection(storage::CollectionId id) { collections_.insert(id); }
  // The indexes and relations that stand from the next batch on.
  void SetMarks(storage::MarksRef marks) { indexes_.SetMarks(std::move(marks)); }

  // Looks at a batch, before Append. NotFound: it writes to an unknown collection.
  // FailedPrecondition: to one of which a newer version maintains something.
  absl::Status Prepare(const storage::WriteBatch& batch);
  // Whether Append needs the current rows: then everything accepted must be in L0 before it.
  bool reads_rows() const { return reads_rows_; }

  // Appends the effects of the prepared batch to `out`, one per row: records, links, candidates of
  // indexes. `version` is the one that it would get. On an error nothing is appended:
  // FailedPrecondition, NotFound (relation), AlreadyExists (unique value), InvalidArgument (a merge
  // that cannot be), DataLoss.
  absl::Status Append(const storage::WriteBatch& batch, storage::Version version, std::string* out);
  // At least as many rows as the last Append has appended.
  size_t row_count() const { return row_count_; }

 private:
  absl::Status AppendAll(const storage::WriteBatch& batch, std::string* out);
  absl::Status AppendOne(const storage::Operation& operation, std::string* out);
  absl::Status AppendDerived(size_t start, storage::Version version, std::string* out);

  storage::CurrentRows& current_;
  absl::flat_hash_set<storage::CollectionId> collections_;
  IndexEffects indexes_;
  // Of the batch that is worked at.
  bool marked_ = false;  // It writes to a collection of which something is maintained.
  bool reads_rows_ = false;
  std::vector<storage::Operation> links_;
  std::string derived_;
  size_t row_count_ = 0;
};

}  // namespace millrace
