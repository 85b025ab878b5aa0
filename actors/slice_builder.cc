#include "millrace/actors/slice_builder.h"

#include <optional>
#include <string>
#include <utility>

#include "millrace/storage/current_rows.h"
#include "millrace/storage/l0_merge.h"

namespace millrace {
namespace {

using storage::Cursor;
using storage::L0Row;
using storage::TreeId;

// Looks ascending row keys up in what L1 will hold before this flush: the flushes before it, which
// may be in LMDB already, partly or not at all, then LMDB.
class ExistingRows {
 public:
  ExistingRows(const storage::BufferList& earlier, const storage::ReadTransaction& transaction)
      : earlier_(earlier),
        records_(transaction.NewCursor(TreeId::kRecords)),
        catalog_(transaction.NewCursor(TreeId::kCatalog)) {}

  bool Contains(std::string_view row_key) {
    constexpr storage::Version kNewest = ~storage::Version{0};
    L0Row row;
    for (const auto& buffer : earlier_) {
      if (buffer->Find(row_key, kNewest, &row)) return !row.tombstone;
    }
    Cursor& cursor = storage::TreeOf(row_key) == TreeId::kCatalog ? catalog_ : records_;
    const std::string_view key = storage::KeyInTree(row_key);
    cursor.Seek(key);
    return cursor.Valid() && cursor.key() == key;
  }
  absl::Status status() const {
    return records_.status().ok() ? catalog_.status() : records_.status();
  }

 private:
  const storage::BufferList& earlier_;  // Newest first.
  Cursor records_;
  Cursor catalog_;
};

void AddCount(std::string_view row_key, int64_t delta, std::vector<CountDelta>* counts) {
  const absl::StatusOr<storage::RowKey> key = storage::DecodeRowKey(row_key);
  if (delta == 0 || !key.ok() || key->tree != storage::Tree::kRecords) return;
  for (CountDelta& count : *counts) {
    if (count.branch == key->branch && count.collection == key->collection) {
      count.delta += delta;
      return;
    }
  }
  counts->push_back({.branch = key->branch, .collection = key->collection, .delta = delta});
}

}  // namespace

absl::StatusOr<std::vector<Slice>> BuildSlices(const FlushJob& job,
                                               storage::Environment& environment,
                                               const SliceLimits& limits,
                                               absl::FunctionRef<absl::Status()> between_slices) {
  const absl::StatusOr<storage::ReadTransaction> transaction = environment.BeginRead();
  if (!transaction.ok()) return transaction.status();
  ExistingRows existing(job.earlier, *transaction);
  std::vector<Slice> slices;
  Slice slice{.number = job.resume_slice, .cursor = job.resume_after};
  size_t slice_bytes = 0;
  const storage::BufferList buffers = {job.sealed};
  storage::L0Merge rows(buffers, job.last_version);
  rows.Seek(job.resume_after);
  if (!job.resume_after.empty() && rows.Valid() && rows.row().key == job.resume_after) rows.Next();
  for (; rows.Valid(); rows.Next()) {
    const L0Row row = rows.row();
    const bool before = existing.Contains(row.key);
    if (!existing.status().ok()) return existing.status();
    slice.cursor.assign(row.key);
    if (row.tombstone && !before) continue;
    slice.rows.push_back(
        {.key = row.key, .payload = row.value, .version = row.version, .tombstone = row.tombstone});
    AddCount(row.key, (row.tombstone ? 0 : 1) - (before ? 1 : 0), &slice.counts);
    slice_bytes += row.key.size() + row.value.size();
    if (slice.rows.size() < limits.rows_max && slice_bytes < limits.bytes_max) continue;
    const uint64_t next = slice.number + 1;
    std::string cursor = slice.cursor;
    slices.push_back(std::exchange(slice, Slice{.number = next, .cursor = std::move(cursor)}));
    slice_bytes = 0;
    if (absl::Status status = between_slices(); !status.ok()) return status;
  }
  slice.last = true;
  slices.push_back(std::move(slice));
  return slices;
}

}  // namespace millrace
