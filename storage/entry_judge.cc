#include "millrace/storage/entry_judge.h"

#include "absl/strings/str_cat.h"

#include "millrace/storage/record.h"
#include "millrace/storage/row_view.h"
#include "millrace/storage/write_transaction.h"

namespace millrace::storage {
namespace {

// `transaction` reads or writes.
template <typename Transaction>
absl::StatusOr<EntryVerdict> JudgeMembership(const Transaction& transaction,
                                             const MarkedIndex& index, const IndexEntry& entry) {
  if (!index.definition.scoped()) {
    return entry.owner.empty() ? EntryVerdict::kGood : EntryVerdict::kNoMember;
  }
  const std::string row_key =
      MemberRowKey({.relation = index.definition.scope, .owner = entry.owner, .member = entry.id});
  const std::string_view key = KeyInTree(row_key);
  const auto row = transaction.Get(TreeId::kRelations, key);
  if (!row.ok()) return row.status();
  if (!row->has_value()) return EntryVerdict::kNoMember;
  const absl::StatusOr<bool> live = IsLiveLink(key, **row);
  if (!live.ok()) return EntryVerdict::kUnreadable;
  return *live ? EntryVerdict::kGood : EntryVerdict::kNoMember;
}

template <typename Transaction>
absl::StatusOr<EntryVerdict> Judge(const Transaction& transaction, const MarkedIndex& index,
                                   const IndexEntry& entry, IndexKey* value) {
  const std::string row_key =
      EncodeRowKey({.collection = index.definition.collection, .id = entry.id});
  const std::string_view key = KeyInTree(row_key);
  const auto row = transaction.Get(TreeId::kRecords, key);
  if (!row.ok()) return row.status();
  if (!row->has_value()) return EntryVerdict::kNoRecord;
  const absl::StatusOr<RecordView> record = DecodeRecord(key, **row);
  if (!record.ok()) return EntryVerdict::kUnreadable;
  if (record->tombstone) return EntryVerdict::kNoRecord;
  if (!index.field.Extract(record->payload, value) || value->entry() != entry.value) {
    return EntryVerdict::kOtherValue;
  }
  return JudgeMembership(transaction, index, entry);
}

template <typename Transaction>
absl::StatusOr<OtherOwners> FindOthers(Transaction& transaction, const MarkedIndex& index,
                                       const IndexEntry& entry, const IndexKey& value) {
  const std::string prefix =
      IndexOwnerPrefix(entry.branch, entry.index, entry.generation, entry.owner)
          .append(entry.value);
  OtherOwners others;
  Cursor row = transaction.NewCursor(TreeId::kIndex);
  for (row.Seek(prefix); row.Valid() && row.key().starts_with(prefix); row.Next()) {
    IndexEntry other = entry;
    other.id = row.key().substr(prefix.size());
    if (other.id == entry.id) continue;
    others.found = true;
    IndexKey its;
    const absl::StatusOr<EntryVerdict> verdict = Judge(transaction, index, other, &its);
    if (!verdict.ok()) return verdict.status();
    if (*verdict != EntryVerdict::kGood || its.full != value.full) continue;
    others.holder.assign(other.id);
    return others;
  }
  if (!row.status().ok()) return row.status();
  return others;
}

}  // namespace

absl::StatusOr<EntryVerdict> JudgeEntry(const ReadTransaction& transaction,
                                        const MarkedIndex& index, const IndexEntry& entry,
                                        IndexKey* value) {
  return Judge(transaction, index, entry, value);
}
absl::StatusOr<EntryVerdict> JudgeEntry(const WriteTransaction& transaction,
                                        const MarkedIndex& index, const IndexEntry& entry,
                                        IndexKey* value) {
  return Judge(transaction, index, entry, value);
}

absl::StatusOr<OtherOwners> FindOtherOwners(const ReadTransaction& transaction,
                                            const MarkedIndex& index, const IndexEntry& entry,
                                            const IndexKey& value) {
  return FindOthers(transaction, index, entry, value);
}
absl::StatusOr<OtherOwners> FindOtherOwners(WriteTransaction& transaction, const MarkedIndex& index,
                                            const IndexEntry& entry, const IndexKey& value) {
  return FindOthers(transaction, index, entry, value);
}

std::string EntryValueText(std::string_view encoded) {
  IndexValue value;
  bool cut = false;
  if (!ConsumeIndexValue(&encoded, &value, &cut)) return "?";
  return absl::StrCat(ToString(value), cut ? "..." : "");
}

}  // namespace millrace::storage
