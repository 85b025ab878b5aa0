#include "millrace/actors/index_verify.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "millrace/storage/current_rows.h"
#include "millrace/storage/record.h"

namespace millrace {
namespace {

using storage::DuplicatePolicy;
using storage::IndexEntry;
using storage::IndexKey;
using storage::kTrunk;
using storage::ReadTransaction;
using storage::Snapshot;
using storage::ToAbsl;
using storage::TreeId;

constexpr size_t kSampleIdsMax = 5;
// Of all runs together so many blocks are sampled, and so many entries of each.
constexpr uint64_t kSampleBlocksMax = 512;
constexpr int kSampleEntriesPerBlock = 4;

}  // namespace

IndexVerify::IndexVerify(storage::Environment& environment, IndexPlan plan,
                         DuplicatePolicy duplicates, storage::Generation live)
    : environment_(environment),
      plan_(std::move(plan)),
      duplicates_(duplicates),
      live_(live),
      field_(plan_.definition.field),
      collection_{.id = plan_.definition.collection},
      prefix_(storage::IndexGenerationPrefix(kTrunk, plan_.definition.id, plan_.generation)) {
}

absl::Status IndexVerify::Read(size_t row_max, const Snapshot& snapshot) {
  const absl::StatusOr<ReadTransaction> transaction = environment_.BeginRead();
  if (!transaction.ok()) return transaction.status();
  storage::Cursor row = transaction->NewCursor(TreeId::kIndex);
  row.Seek(cursor_.empty() ? prefix_ : cursor_ + '\0');
  for (size_t count = 0; count < row_max; ++count, row.Next()) {
    if (!row.Valid() || !row.key().starts_with(prefix_)) {
      done_ = row.status().ok();
      return row.status();
    }
    ++entry_count_;
    if (plan_.definition.unique()) {
      absl::Status status = AddToGroup(*transaction, snapshot, row.key());
      if (!status.ok()) return status;
    }
    if (count + 1 == row_max) cursor_.assign(row.key());
  }
  return row.status();
}

// An entry alone with its value, as almost all are, needs no look at its record.
absl::Status IndexVerify::AddToGroup(const ReadTransaction& transaction, const Snapshot& snapshot,
                                     std::string_view key) {
  if (!group_.empty() && key.starts_with(group_)) {
    if (!group_judged_) {
      group_judged_ = true;
      absl::Status status = Judge(transaction, snapshot, std::string(group_first_));
      if (!status.ok()) return status;
    }
    return Judge(transaction, snapshot, key);
  }
  const absl::StatusOr<IndexEntry> entry = storage::DecodeIndexEntry(key);
  if (!entry.ok()) return entry.status();
  group_.assign(key.substr(0, key.size() - entry->id.size()));
  group_first_.assign(key);
  group_judged_ = false;
  winners_.clear();
  return absl::OkStatus();
}

// The first of a group that really has the value owns it, or who owned it before.
absl::Status IndexVerify::Judge(const ReadTransaction& transaction, const Snapshot& snapshot,
                                std::string_view key) {
  const absl::StatusOr<IndexEntry> entry = storage::DecodeIndexEntry(key);
  if (!entry.ok()) return entry.status();
  IndexKey value;
  const absl::StatusOr<bool> holds = Holds(transaction, snapshot, *entry, &value);
  if (!holds.ok()) return holds.status();
  if (!*holds) return absl::OkStatus();
  auto winner = winners_.find(value.full);
  if (winner == winners_.end()) {
    std::string id(entry->id);
    if (duplicates_ == DuplicatePolicy::kKeepLive) {
      const absl::StatusOr<std::string> owner =
          LiveOwner(transaction, snapshot, *entry, value.full);
      if (!owner.ok()) return owner.status();
      if (!owner->empty()) id = *owner;
    }
    winner = winners_.emplace(value.full, std::move(id)).first;
  }
  if (winner->second == entry->id) return absl::OkStatus();
  AddConflict(*entry, winner->second);
  if (duplicates_ != DuplicatePolicy::kFail) losers_.Add({.key = key});
  return absl::OkStatus();
}

// Whether the record has, as the snapshot sees it, a value with this entry.
absl::StatusOr<bool> IndexVerify::Holds(const ReadTransaction& transaction,
                                        const Snapshot& snapshot, const IndexEntry& entry,
                                        IndexKey* value) const {
  const absl::StatusOr<storage::Record> record = snapshot.Get(collection_, entry.id);
  if (absl::IsNotFound(record.status())) return false;
  if (!record.ok()) return record.status();
  if (!field_.Extract(record->document.bytes(), value)) return false;
  if (value->entry() != entry.value) return false;
  return IsInScope(transaction, entry);
}

// Of a scoped index: whether the record is a member of the owner.
absl::StatusOr<bool> IndexVerify::IsInScope(const ReadTransaction& transaction,
                                            const IndexEntry& entry) const {
  if (!plan_.definition.scoped()) return true;
  const std::string link = storage::MemberRowKey(
      {.relation = plan_.definition.scope, .owner = entry.owner, .member = entry.id});
  const auto row = transaction.Get(TreeId::kRelations, storage::KeyInTree(link));
  if (!row.ok()) return row.status();
  if (!row->has_value()) return false;
  return storage::IsLiveLink(storage::KeyInTree(link), **row);
}

// The record that owns the value in the generation that serves, if it still has it; else "".
absl::StatusOr<std::string> IndexVerify::LiveOwner(const ReadTransaction& transaction,
                                                   const Snapshot& snapshot,
                                                   const IndexEntry& entry,
                                                   const std::string& full) const {
  if (live_ == 0) return std::string();
  const std::string prefix =
      storage::IndexOwnerPrefix(kTrunk, entry.index, live_, entry.owner).append(entry.value);
  storage::Cursor row = transaction.NewCursor(TreeId::kIndex);
  for (row.Seek(prefix); row.Valid() && row.key().starts_with(prefix); row.Next()) {
    IndexEntry live = entry;
    live.id = row.key().substr(prefix.size());
    IndexKey value;
    const absl::StatusOr<bool> holds = Holds(transaction, snapshot, live, &value);
    if (!holds.ok()) return holds.status();
    if (*holds && value.full == full) return std::string(live.id);
  }
  if (!row.status().ok()) return row.status();
  return std::string();
}

void IndexVerify::AddConflict(const IndexEntry& entry, const std::string& owner_id) {
  ++conflict_count_;
  std::string_view rest = entry.value;
  storage::IndexValue value;
  bool cut = false;
  std::string text = "?";
  if (storage::ConsumeIndexValue(&rest, &value, &cut)) text = storage::ToString(value);
  if (!samples_.empty() && samples_.back().value == text && samples_.back().owner == entry.owner &&
      samples_.back().ids.front() == owner_id) {
    if (samples_.back().ids.size() < kSampleIdsMax) samples_.back().ids.emplace_back(entry.id);
    return;
  }
  if (samples_.size() >= storage::kDuplicateSamplesMax) return;
  samples_.push_back({.value = std::move(text),
                      .owner = std::string(entry.owner),
                      .ids = {owner_id, std::string(entry.id)}});
}

absl::Status IndexVerify::CheckSample(storage::RunDirectory& runs, storage::TaskId task,
                                      const std::vector<storage::RunInfo>& infos) const {
  const absl::StatusOr<ReadTransaction> transaction = environment_.BeginRead();
  if (!transaction.ok()) return transaction.status();
  uint64_t block_count = 0;
  for (const storage::RunInfo& info : infos) block_count += info.block_count;
  const uint64_t step = std::max<uint64_t>(1, block_count / kSampleBlocksMax);
  for (const storage::RunInfo& info : infos) {
    absl::StatusOr<storage::RunReader> run = storage::RunReader::Open(runs, task, info);
    if (!run.ok()) return run.status();
    for (uint64_t block = 0; block < info.block_count; block += step) {
      run->SeekToBlock(block);
      for (int i = 0; run->Valid() && i < kSampleEntriesPerBlock; ++i, run->Next()) {
        absl::Status status = CheckEntry(*transaction, run->entry().key);
        if (!status.ok()) return status;
      }
      if (!run->status().ok()) return run->status();
    }
  }
  return absl::OkStatus();
}

// The entry's record may have changed since; then with what it holds now.
absl::Status IndexVerify::CheckEntry(const ReadTransaction& transaction,
                                     std::string_view key) const {
  absl::StatusOr<IndexEntry> entry = storage::DecodeIndexEntry(key);
  if (!entry.ok()) return entry.status();
  const std::string row_key =
      storage::EncodeRowKey({.collection = plan_.definition.collection, .id = entry->id});
  const auto row = transaction.Get(TreeId::kRecords, storage::KeyInTree(row_key));
  if (!row.ok()) return row.status();
  if (!row->has_value()) return absl::OkStatus();
  const absl::StatusOr<storage::RecordView> record =
      storage::DecodeRecord(storage::KeyInTree(row_key), **row);
  if (!record.ok()) return record.status();
  IndexKey value;
  if (record->tombstone || !field_.Extract(record->payload, &value)) return absl::OkStatus();
  const absl::StatusOr<bool> in_scope = IsInScope(transaction, *entry);
  if (!in_scope.ok()) return in_scope.status();
  if (!*in_scope) return absl::OkStatus();
  entry->value = value.entry();
  std::string wanted;
  storage::AppendIndexEntry(*entry, &wanted);
  const auto found = transaction.Get(TreeId::kIndex, wanted);
  if (!found.ok()) return found.status();
  if (found->has_value()) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("generation ", plan_.generation, " of index '",
                                          plan_.definition.name, "' lacks the entry of record '",
                                          absl::Utf8SafeCHexEscape(ToAbsl(entry->id)),
                                          "': it is not used"));
}

}  // namespace millrace
