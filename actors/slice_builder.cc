#include "millrace/actors/slice_builder.h"

#include <optional>
#include <string>
#include <utility>

#include "glog/logging.h"

#include "millrace/actors/derived_changes.h"
#include "millrace/storage/current_rows.h"
#include "millrace/storage/l0_merge.h"
#include "millrace/storage/record.h"

namespace millrace {
namespace {

using storage::Cursor;
using storage::L0Row;
using storage::TreeId;

// Looks ascending row keys up in what L1 will hold before this flush: the flushes before it, which
// may be in LMDB already, partly or not at all, then LMDB.
class OlderRows {
 public:
  OlderRows(const storage::BufferList& earlier, const storage::ReadTransaction& transaction)
      : earlier_(earlier),
        records_(transaction.NewCursor(TreeId::kRecords)),
        catalog_(transaction.NewCursor(TreeId::kCatalog)),
        relations_(transaction.NewCursor(TreeId::kRelations)) {}

  bool Contains(std::string_view row_key) {
    in_l0_ = storage::FindInL0(earlier_, row_key, storage::kNewestVersion, &row_);
    if (in_l0_) return !row_.tombstone;
    lmdb_ = &CursorOf(storage::TreeOf(row_key));
    const std::string_view key = storage::KeyInTree(row_key);
    lmdb_->Seek(key);
    return lmdb_->Valid() && lmdb_->key() == key;
  }
  // What Contains found.
  OlderRecord Record() const {
    if (in_l0_) return {.exists = true, .payload = row_.value};
    const absl::StatusOr<storage::RecordView> record =
        storage::DecodeRecord(lmdb_->key(), lmdb_->value());
    if (record.ok()) return {.exists = true, .payload = record->payload};
    LOG(ERROR) << "FlushStreamer: replaces a damaged row: " << record.status();
    return {.exists = true, .known = false};
  }
  absl::Status status() const {
    for (const Cursor* cursor : {&records_, &catalog_, &relations_}) {
      if (!cursor->status().ok()) return cursor->status();
    }
    return absl::OkStatus();
  }

 private:
  Cursor& CursorOf(TreeId tree) {
    if (tree == TreeId::kCatalog) return catalog_;
    return tree == TreeId::kRelations ? relations_ : records_;
  }

  const storage::BufferList& earlier_;  // Newest first.
  Cursor records_;
  Cursor catalog_;
  Cursor relations_;
  bool in_l0_ = false;
  L0Row row_;
  Cursor* lmdb_ = nullptr;
};

void AddCount(const storage::RowKey& key, int64_t delta, std::vector<CountDelta>* counts) {
  if (delta == 0) return;
  for (CountDelta& count : *counts) {
    if (count.branch == key.branch && count.collection == key.collection) {
      count.delta += delta;
      return;
    }
  }
  counts->push_back({.branch = key.branch, .collection = key.collection, .delta = delta});
}

// Cuts what rows change into slices. A slice is complete between two rows.
class SliceCutter {
 public:
  SliceCutter(const FlushJob& job, const SliceLimits& limits,
              absl::FunctionRef<absl::Status()> between_slices)
      : limits_(limits),
        between_slices_(between_slices),
        slice_{.number = job.resume_slice, .cursor = job.resume_after} {}

  Slice& slice() { return slice_; }
  void Add(const RowChange& row) {
    slice_.rows.push_back(row);
    row_bytes_ += row.key.size() + row.payload.size();
  }
  // Ends the slice if it is full: everything up to its cursor is in it.
  absl::Status MaybeCut() {
    if (slice_.rows.size() + slice_.derived.size() < limits_.rows_max &&
        row_bytes_ + slice_.derived_keys.size() < limits_.bytes_max) {
      return absl::OkStatus();
    }
    Slice next{.number = slice_.number + 1, .cursor = slice_.cursor};
    Close();
    slice_ = std::move(next);
    return between_slices_();
  }
  std::vector<Slice> Finish() && {
    slice_.last = true;
    Close();
    return std::move(slices_);
  }

 private:
  void Close() {
    SortDerived(&slice_);
    slices_.push_back(std::move(slice_));
    row_bytes_ = 0;
  }

  const SliceLimits limits_;
  absl::FunctionRef<absl::Status()> between_slices_;
  std::vector<Slice> slices_;
  Slice slice_;
  size_t row_bytes_ = 0;
};

// What follows from a row of a link. One that has ended by the end of the flush goes.
absl::Status AddLinkRow(L0Row* row, DerivedChanges& derived, Slice* slice) {
  if (absl::Status status = derived.AddLink(*row, slice); !status.ok()) return status;
  const absl::StatusOr<bool> lives = derived.LinkLives(*row);
  if (!lives.ok()) return lives.status();
  row->tombstone = !*lives;
  if (row->tombstone) row->value = {};
  return absl::OkStatus();
}

// One row of the flush: its own change, and what follows from it.
absl::Status AddRow(L0Row row, OlderRows& older, DerivedChanges& derived, SliceCutter& cutter) {
  const absl::StatusOr<storage::RowKey> key = storage::DecodeRowKey(row.key);
  if (!key.ok()) return key.status();
  const bool before = older.Contains(row.key);
  if (!older.status().ok()) return older.status();
  if (key->tree == storage::Tree::kRelations) {
    absl::Status status = AddLinkRow(&row, derived, &cutter.slice());
    if (!status.ok()) return status;
  }
  if (key->tree == storage::Tree::kRecords) {
    const storage::CollectionMarks* const marks = derived.Of(key->collection);
    if (marks != nullptr) {
      absl::Status status = derived.AddRecord(
          {.row = row, .key = *key, .older = before ? older.Record() : OlderRecord()}, *marks,
          &cutter.slice(), [&cutter] { return cutter.MaybeCut(); });
      if (!status.ok()) return status;
    }
    AddCount(*key, (row.tombstone ? 0 : 1) - (before ? 1 : 0), &cutter.slice().counts);
  }
  cutter.slice().cursor.assign(row.key);
  // A row of a link that is not there now may be there by then: a repair puts what is missing.
  if (row.tombstone && !before && key->tree != storage::Tree::kRelations) return absl::OkStatus();
  cutter.Add(
      {.key = row.key, .payload = row.value, .version = row.version, .tombstone = row.tombstone});
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<Slice>> BuildSlices(const FlushJob& job,
                                               storage::Environment& environment,
                                               const SliceLimits& limits,
                                               absl::FunctionRef<absl::Status()> between_slices) {
  const absl::StatusOr<storage::ReadTransaction> transaction = environment.BeginRead();
  if (!transaction.ok()) return transaction.status();
  storage::BufferList buffers = {job.sealed};
  storage::L0Merge rows(buffers, job.last_version);
  storage::BufferList behind = buffers;
  behind.insert(behind.end(), job.earlier.begin(), job.earlier.end());
  const storage::RowView before(job.earlier, *transaction, job.first_version - 1);
  const storage::RowView after(behind, *transaction, job.last_version);
  const storage::Marks none{};
  DerivedChanges derived(job.marks != nullptr ? *job.marks : none, before, after,
                         job.first_version);
  OlderRows older(job.earlier, *transaction);
  SliceCutter cutter(job, limits, between_slices);
  rows.Seek(job.resume_after);
  if (!job.resume_after.empty() && rows.Valid() && rows.row().key == job.resume_after) rows.Next();
  for (; rows.Valid(); rows.Next()) {
    const L0Row row = rows.row();
    // Candidates are the last rows of a buffer; what they stand for was worked out with the
    // records.
    if (static_cast<storage::Tree>(row.key.front()) == storage::Tree::kCandidates) break;
    absl::Status status = AddRow(row, older, derived, cutter);
    if (status.ok()) status = cutter.MaybeCut();
    if (!status.ok()) return status;
  }
  return std::move(cutter).Finish();
}

}  // namespace millrace
