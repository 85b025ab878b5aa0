#include "millrace/actors/slice_applier.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"

#include "millrace/storage/current_rows.h"
#include "millrace/storage/index_entry.h"
#include "millrace/storage/outcome_rows.h"
#include "millrace/storage/record.h"

namespace millrace {

using storage::FlushRow;
using storage::Manifest;
using storage::TreeId;

namespace {

absl::Status ApplyRows(storage::WriteTransaction& transaction, absl::Span<const RowChange> rows) {
  for (const RowChange& row : rows) {
    const TreeId tree = storage::TreeOf(row.key);
    const std::string_view key = storage::KeyInTree(row.key);
    if (row.tombstone) {
      if (absl::Status status = transaction.Delete(tree, key).status(); !status.ok()) return status;
      continue;
    }
    const absl::StatusOr<absl::Span<char>> value =
        transaction.Reserve(tree, key, storage::EncodedRecordSize(row.payload.size()));
    if (!value.ok()) return value.status();
    storage::EncodeRecord(key, {.version = row.version, .payload = row.payload}, value->data());
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status SliceApplier::Load() {
  const absl::StatusOr<storage::ReadTransaction> transaction = environment_.BeginRead();
  if (!transaction.ok()) return transaction.status();
  absl::StatusOr<storage::L1State> state = storage::ReadL1State(*transaction);
  if (!state.ok()) return state.status();
  durable_ = *std::move(state);
  pending_ = durable_;
  return absl::OkStatus();
}

absl::StatusOr<SliceApplied> SliceApplier::Apply(storage::WriteTransaction& transaction,
                                                 const ApplySlice& slice) {
  absl::Status status = CheckNext(slice);
  if (status.ok()) status = ApplyDerived(transaction, slice.slice);
  if (status.ok()) status = ApplyRows(transaction, slice.slice.rows);
  if (status.ok()) status = AdvanceFlushRow(transaction, slice);
  if (status.ok() && slice.slice.last) status = Publish(transaction, slice);
  if (!status.ok()) return status;
  return SliceApplied{.manifest = slice.slice.last ? pending_.head.id : 0};
}

// What a flush under way has counted stands in its row, and is added when it is published.
absl::StatusOr<Repaired> SliceApplier::Apply(storage::WriteTransaction& transaction,
                                             const RepairCount& repair) {
  Manifest head = pending_.head;
  if (head.id == 0 || head.count_repairs != repair.count_repairs) {
    return absl::AbortedError("another repair has changed the counts since the audit");
  }
  head.counts[{storage::kTrunk, repair.collection}] += repair.delta;
  ++head.count_repairs;
  absl::Status status = transaction.Put(TreeId::kManifests, storage::ManifestKey(head.id),
                                        storage::EncodeManifest(head));
  if (!status.ok()) return status;
  pending_.head = std::move(head);
  return Repaired{.put = 1};
}

// Before the rows: a link that ended with a record may be made anew in the same slice.
absl::Status SliceApplier::ApplyDerived(storage::WriteTransaction& transaction,
                                        const Slice& slice) {
  for (const DerivedChange& change : slice.derived) {
    const std::string_view key = DerivedKey(slice, change);
    absl::Status status;
    if (change.kind == DerivedChange::Kind::kEraseLink) {
      status = transaction.Delete(TreeId::kRelations, key).status();
    } else if (change.kind == DerivedChange::Kind::kEraseEntry) {
      status = transaction.Delete(TreeId::kIndex, key).status();
    } else {
      const absl::StatusOr<bool> wanted = IsWanted(transaction, key);
      if (!wanted.ok()) return wanted.status();
      if (*wanted) status = transaction.Put(TreeId::kIndex, key, {});
    }
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// A stream goes by the marks of its rotation; a generation may have been given up since.
absl::StatusOr<bool> SliceApplier::IsWanted(const storage::WriteTransaction& transaction,
                                            std::string_view entry_key) {
  storage::IndexEntry entry;
  if (!storage::PeekIndexEntry(entry_key, &entry)) return false;
  const auto [known, is_new] = generations_.try_emplace(entry.index);
  if (is_new) {
    const auto row = transaction.Get(TreeId::kGenerations, storage::GenerationKey(entry.index));
    if (!row.ok()) return row.status();
    if (row->has_value()) {
      // A damaged row refuses nothing: the index's own readers complain, not the flush.
      absl::StatusOr<storage::GenerationState> state = storage::DecodeGenerations(**row);
      if (state.ok()) known->second = *std::move(state);
    }
  }
  return !known->second.has_value() || known->second->Has(entry.generation);
}

void SliceApplier::Committed() {
  generations_.clear();
  durable_ = pending_;
  if (!published_l0_bytes_.has_value()) return;
  const auto used = static_cast<int64_t>(environment_.used_bytes());
  environment_.quota().RecordFlush(*published_l0_bytes_, used - *used_before_flush_);
  published_l0_bytes_.reset();
}

void SliceApplier::Aborted() {
  generations_.clear();
  published_l0_bytes_.reset();
  pending_ = durable_;
}

// A flush begins with slice 0 on the head before it, and each later slice follows the one in L1.
absl::Status SliceApplier::CheckNext(const ApplySlice& slice) const {
  const bool under_way = pending_.flush.has_value();
  const uint64_t sequence = under_way ? pending_.flush->sequence : pending_.head.id + 1;
  const uint64_t next_slice = under_way ? pending_.flush->next_slice : 0;
  if (under_way && slice.sequence == sequence && slice.attempt < pending_.flush->attempt) {
    return absl::AbortedError(absl::StrCat("flush ", sequence, " attempt ", slice.attempt,
                                           " was given up: attempt ", pending_.flush->attempt,
                                           " is under way"));
  }
  if (slice.sequence == sequence && slice.slice.number == next_slice) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat("flush ", slice.sequence, " slice ", slice.slice.number,
                                         " cannot be applied: L1 waits for flush ", sequence,
                                         " slice ", next_slice));
}

absl::Status SliceApplier::AdvanceFlushRow(storage::WriteTransaction& transaction,
                                           const ApplySlice& slice) {
  if (!pending_.flush.has_value()) {
    pending_.flush = FlushRow{.sequence = slice.sequence,
                              .first_version = slice.first_version,
                              .last_version = slice.last_version};
    pending_.ingested = slice.last_version;
    used_before_flush_ = static_cast<int64_t>(environment_.used_bytes());
    absl::Status status =
        transaction.Put(TreeId::kMeta, storage::kIngestedKey,
                        storage::EncodeNumber(storage::kIngestedKey, slice.last_version));
    if (!status.ok()) return status;
  }
  FlushRow& row = *pending_.flush;
  row.attempt = slice.attempt;
  row.next_slice = slice.slice.number + 1;
  row.cursor = slice.slice.cursor;
  for (const CountDelta& count : slice.slice.counts) {
    row.deltas[{count.branch, count.collection}] += count.delta;
  }
  if (slice.slice.last) return absl::OkStatus();  // Publish ends the row.
  return transaction.Put(TreeId::kMeta, storage::kFlushKey, storage::EncodeFlushRow(row));
}

// The manifest is worked out from the head of this moment, not from what a stream once saw.
absl::Status SliceApplier::Publish(storage::WriteTransaction& transaction,
                                   const ApplySlice& slice) {
  Manifest manifest = pending_.head;
  manifest.parent = pending_.head.id;
  manifest.id = slice.sequence;
  manifest.last_version = slice.last_version;
  manifest.log_floor = std::max(manifest.log_floor, slice.log_floor);
  for (const auto& [key, delta] : pending_.flush->deltas) manifest.counts[key] += delta;
  absl::Status status = transaction.Put(TreeId::kManifests, storage::ManifestKey(manifest.id),
                                        storage::EncodeManifest(manifest));
  if (status.ok()) {
    status = transaction.Put(TreeId::kMeta, storage::kHeadKey,
                             storage::EncodeNumber(storage::kHeadKey, manifest.id));
  }
  if (status.ok()) status = transaction.Delete(TreeId::kMeta, storage::kFlushKey).status();
  if (status.ok() && manifest.id > kManifestsKept) {
    status =
        transaction.Delete(TreeId::kManifests, storage::ManifestKey(manifest.id - kManifestsKept))
            .status();
  }
  for (const storage::RememberedCommit& commit : slice.outcomes) {
    if (status.ok()) status = storage::RememberCommit(transaction, commit);
  }
  if (!status.ok()) return status;
  // Of a flush that an earlier life began, only a part would be measured.
  if (used_before_flush_.has_value() && slice.sealed != nullptr) {
    published_l0_bytes_ = slice.sealed->bytes();
  }
  pending_.head = std::move(manifest);
  pending_.flush.reset();
  return absl::OkStatus();
}

}  // namespace millrace
