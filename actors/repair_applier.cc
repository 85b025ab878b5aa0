#include "millrace/actors/repair_applier.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "millrace/storage/entry_judge.h"
#include "millrace/storage/record.h"
#include "millrace/storage/row_view.h"

namespace millrace {
namespace {

using storage::EntryVerdict;
using storage::IndexEntry;
using storage::LinkEnds;
using storage::Relation;
using storage::TreeId;
using storage::WriteTransaction;

absl::StatusOr<bool> Exists(const WriteTransaction& transaction, TreeId tree,
                            std::string_view key) {
  const auto row = transaction.Get(tree, key);
  if (!row.ok()) return row.status();
  return row->has_value();
}

absl::Status Remove(WriteTransaction& transaction, TreeId tree, std::string_view key,
                    Repaired* repaired) {
  const absl::StatusOr<bool> removed = transaction.Delete(tree, key);
  if (!removed.ok()) return removed.status();
  if (*removed) ++repaired->removed;
  return absl::OkStatus();
}

// Whether the entry should be there; nothing: nobody can tell.
absl::StatusOr<std::optional<bool>> IsWanted(WriteTransaction& transaction,
                                             const storage::MarkedIndex& index,
                                             const IndexEntry& entry, bool exists) {
  storage::IndexKey value;
  const absl::StatusOr<EntryVerdict> verdict =
      storage::JudgeEntry(transaction, index, entry, &value);
  if (!verdict.ok()) return verdict.status();
  if (*verdict == EntryVerdict::kUnreadable) return std::optional<bool>();
  if (*verdict != EntryVerdict::kGood) return false;
  if (exists || !index.definition.unique()) return true;
  const absl::StatusOr<storage::OtherOwners> others =
      storage::FindOtherOwners(transaction, index, entry, value);
  if (!others.ok()) return others.status();
  return others->holder.empty();
}

absl::Status RepairEntry(WriteTransaction& transaction, const storage::MarkedIndex& index,
                         std::string_view key, Repaired* repaired) {
  const absl::StatusOr<IndexEntry> entry = storage::DecodeIndexEntry(key);
  if (!entry.ok()) return Remove(transaction, TreeId::kIndex, key, repaired);
  const absl::StatusOr<bool> exists = Exists(transaction, TreeId::kIndex, key);
  if (!exists.ok()) return exists.status();
  const absl::StatusOr<std::optional<bool>> wanted = IsWanted(transaction, index, *entry, *exists);
  if (!wanted.ok()) return wanted.status();
  if (wanted->value_or(*exists) == *exists) {
    ++repaired->left;
    return absl::OkStatus();
  }
  if (*exists) return Remove(transaction, TreeId::kIndex, key, repaired);
  ++repaired->put;
  return transaction.Put(TreeId::kIndex, key, {});
}

// What one row of a link says.
struct LinkRowState {
  storage::Version version = storage::kNoVersion;
  std::string payload;
  storage::LinkData data;
  friend bool operator==(const LinkRowState&, const LinkRowState&) = default;
};

// The rows of a link that is to be mended. Keys are as the tree has them.
class LinkRows {
 public:
  LinkRows(WriteTransaction& transaction, const Relation& relation, const LinkToRepair& link)
      : transaction_(transaction),
        relation_(relation),
        ends_{.relation = relation.id, .owner = link.owner, .member = link.member},
        member_key_(storage::KeyInTree(storage::MemberRowKey(ends_))),
        found_key_(link.owner_row) {}

  absl::Status Repair(Repaired* repaired) {
    if (absl::Status status = Load(); !status.ok()) return status;
    const absl::StatusOr<bool> stands = EndsExist();
    if (!stands.ok()) return stands.status();
    const uint64_t done_before = repaired->put + repaired->removed;
    absl::Status status = *stands ? MakeSame(repaired) : RemoveAll(repaired);
    if (repaired->put + repaired->removed == done_before) ++repaired->left;
    return status;
  }

 private:
  absl::Status Load() {
    if (absl::Status status = Read(member_key_, &member_); !status.ok()) return status;
    if (member_.has_value()) {
      twin_key_ = storage::KeyInTree(storage::OwnerRowKey(ends_, relation_.order, member_->data));
    }
    absl::Status status;
    if (!member_.has_value() && found_key_.empty()) status = FindOwnerRow();
    if (status.ok()) status = Read(found_key_, &found_);
    if (status.ok()) status = Read(twin_key_, &twin_);
    return status;
  }

  // What the member's row would tell if it could be read: among all of the owner.
  absl::Status FindOwnerRow() {
    const std::string row_prefix =
        storage::OwnerRowPrefix(storage::kTrunk, relation_.id, ends_.owner);
    const std::string_view prefix = storage::KeyInTree(row_prefix);
    storage::Cursor row = transaction_.NewCursor(TreeId::kRelations);
    std::string row_key;
    for (row.Seek(prefix); row.Valid() && row.key().starts_with(prefix); row.Next()) {
      row_key.assign(1, static_cast<char>(storage::Tree::kRelations));
      row_key.append(row.key());
      const absl::StatusOr<storage::LinkRow> link =
          storage::DecodeLinkRowKey(row_key, relation_.order);
      if (link.ok() && link->ends.member == ends_.member) found_key_.assign(row.key());
    }
    return row.status();
  }

  // A row that is damaged says nothing.
  absl::Status Read(const std::string& key, std::optional<LinkRowState>* state) const {
    if (key.empty()) return absl::OkStatus();
    const auto row = transaction_.Get(TreeId::kRelations, key);
    if (!row.ok()) return row.status();
    if (!row->has_value()) return absl::OkStatus();
    const absl::StatusOr<storage::RecordView> record = storage::DecodeRecord(key, **row);
    if (!record.ok() || record->tombstone) return absl::OkStatus();
    const absl::StatusOr<storage::LinkData> data = storage::DecodeLinkData(record->payload);
    if (!data.ok()) return absl::OkStatus();
    *state = {.version = record->version, .payload = std::string(record->payload), .data = *data};
    return absl::OkStatus();
  }

  absl::StatusOr<bool> EndsExist() const {
    for (const auto& [collection, id] :
         {std::pair(relation_.owners, ends_.owner), std::pair(relation_.members, ends_.member)}) {
      const std::string row_key = storage::EncodeRowKey({.collection = collection, .id = id});
      absl::StatusOr<bool> exists =
          Exists(transaction_, TreeId::kRecords, storage::KeyInTree(row_key));
      if (!exists.ok() || !*exists) return exists;
    }
    return true;
  }

  // Of two that are equally old, the member's.
  const LinkRowState* Newest() const {
    const LinkRowState* newest = nullptr;
    for (const std::optional<LinkRowState>* row : {&member_, &twin_, &found_}) {
      if (!row->has_value()) continue;
      if (newest == nullptr || (*row)->version > newest->version) newest = &**row;
    }
    return newest;
  }

  absl::Status MakeSame(Repaired* repaired) {
    const LinkRowState* const truth = Newest();
    if (truth == nullptr) return absl::OkStatus();
    const std::string owner_key(
        storage::KeyInTree(storage::OwnerRowKey(ends_, relation_.order, truth->data)));
    absl::Status status = PutRow(member_key_, *truth, repaired);
    if (status.ok()) status = PutRow(owner_key, *truth, repaired);
    if (status.ok()) status = RemoveOwnerRows(owner_key, repaired);
    return status;
  }

  absl::Status PutRow(const std::string& key, const LinkRowState& truth, Repaired* repaired) {
    std::optional<LinkRowState> now;
    if (absl::Status status = Read(key, &now); !status.ok()) return status;
    if (now == truth) return absl::OkStatus();
    const absl::StatusOr<absl::Span<char>> value = transaction_.Reserve(
        TreeId::kRelations, key, storage::EncodedRecordSize(truth.payload.size()));
    if (!value.ok()) return value.status();
    storage::EncodeRecord(key, {.version = truth.version, .payload = truth.payload}, value->data());
    ++repaired->put;
    return absl::OkStatus();
  }

  absl::Status RemoveOwnerRows(std::string_view but, Repaired* repaired) {
    for (std::string_view key : {std::string_view(found_key_), std::string_view(twin_key_)}) {
      if (key.empty() || key == but) continue;
      absl::Status status = Remove(transaction_, TreeId::kRelations, key, repaired);
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status RemoveAll(Repaired* repaired) {
    absl::Status status = RemoveOwnerRows("", repaired);
    return status.ok() ? Remove(transaction_, TreeId::kRelations, member_key_, repaired) : status;
  }

  WriteTransaction& transaction_;
  const Relation& relation_;
  const LinkEnds ends_;
  const std::string member_key_;
  std::string found_key_;  // A row by the owner that was found.
  std::string twin_key_;   // The row by the owner that belongs to the member's.
  std::optional<LinkRowState> member_;
  std::optional<LinkRowState> found_;
  std::optional<LinkRowState> twin_;
};

// A transaction that only removes may do so in a store that is full.
void NoteGrowth(const Repaired& repaired, WriteTransaction& transaction) {
  if (repaired.put == 0 && repaired.removed > 0) transaction.AllowReclaiming();
}

}  // namespace

absl::StatusOr<Repaired> RepairApplier::Apply(WriteTransaction& transaction,
                                              const RepairEntries& repair) {
  const absl::StatusOr<storage::GenerationState> state =
      storage::ReadGenerations(transaction, repair.definition);
  if (!state.ok()) return state.status();
  if (state->live != repair.generation) {
    return absl::AbortedError(absl::StrCat("generation ", repair.generation, " of index '",
                                           repair.definition.name, "' is no longer the live one"));
  }
  const storage::MarkedIndex index(repair.definition);
  Repaired repaired;
  for (size_t i = 0; i < repair.entries.size(); ++i) {
    absl::Status status = RepairEntry(transaction, index, repair.entries[i].key, &repaired);
    if (!status.ok()) return status;
  }
  NoteGrowth(repaired, transaction);
  return repaired;
}

absl::StatusOr<Repaired> RepairApplier::Apply(WriteTransaction& transaction,
                                              const RepairLinks& repair) {
  Repaired repaired;
  for (const LinkToRepair& link : repair.links) {
    absl::Status status = LinkRows(transaction, repair.relation, link).Repair(&repaired);
    if (!status.ok()) return status;
  }
  NoteGrowth(repaired, transaction);
  return repaired;
}

}  // namespace millrace
