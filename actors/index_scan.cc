#include "millrace/actors/index_scan.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "millrace/storage/current_rows.h"
#include "millrace/storage/index_entry.h"
#include "millrace/storage/meta.h"
#include "millrace/storage/record.h"

namespace millrace {
namespace {

using storage::BuildSource;
using storage::kTrunk;
using storage::RecordView;
using storage::Tree;
using storage::TreeId;

// A relation's links are counted one by one, for progress alone: not more than this.
constexpr uint64_t kLinksCountedMax = 500'000;

bool WalksLinks(const IndexPlan& plan) {
  return plan.source == BuildSource::kParticipation;
}

std::string RecordsPrefix(const IndexPlan& plan) {
  const std::string prefix =
      storage::EncodeCollectionPrefix(Tree::kRecords, kTrunk, plan.definition.collection);
  return std::string(storage::KeyInTree(prefix));
}

// In its tree, that is without the tree's byte.
std::string WalkedPrefix(const IndexPlan& plan) {
  if (WalksLinks(plan)) {
    const std::string prefix = storage::AllOwnerRowsPrefix(kTrunk, plan.scope->id);
    return std::string(storage::KeyInTree(prefix));
  }
  if (plan.source == BuildSource::kInstances) return RecordsPrefix(plan);
  std::string branch;
  storage::AppendOrderedInteger(kTrunk, &branch);
  return branch;
}

// Whether any row of the tree begins so.
absl::StatusOr<bool> HasRows(const storage::ReadTransaction& transaction, TreeId tree,
                             std::string_view prefix) {
  storage::Cursor row = transaction.NewCursor(tree);
  row.Seek(prefix);
  if (!row.status().ok()) return row.status();
  return row.Valid() && row.key().starts_with(prefix);
}

}  // namespace

absl::Status CheckPlan(const IndexPlan& plan) {
  const storage::IndexDefinition& index = plan.definition;
  if (index.scoped() && !plan.scope.has_value()) {
    return absl::NotFoundError(absl::StrCat("index '", index.name, "' is scoped by relation ",
                                            index.scope,
                                            ", which is not defined; define it, or "
                                            "drop the index"));
  }
  if (WalksLinks(plan) && !index.scoped()) {
    return absl::InvalidArgumentError(
        absl::StrCat("index '", index.name,
                     "' is not scoped by a relation, so it cannot be built "
                     "from a participation; build it from its instances, or by a scan"));
  }
  return absl::OkStatus();
}

IndexScan::IndexScan(storage::Environment& environment, IndexPlan plan, std::string cursor,
                     const storage::BuildCounts& counts)
    : environment_(environment),
      plan_(std::move(plan)),
      field_(plan_.definition.field),
      tree_(WalksLinks(plan_) ? TreeId::kRelations : TreeId::kRecords),
      prefix_(WalkedPrefix(plan_)),
      records_(RecordsPrefix(plan_)),
      cursor_(std::move(cursor)),
      counts_(counts) {
}

absl::StatusOr<uint64_t> IndexScan::CountSource() {
  const absl::StatusOr<storage::ReadTransaction> transaction = environment_.BeginRead();
  if (!transaction.ok()) return transaction.status();
  uint64_t count = 0;
  if (WalksLinks(plan_)) {
    storage::Cursor row = transaction->NewCursor(tree_);
    for (row.Seek(prefix_);
         row.Valid() && row.key().starts_with(prefix_) && count < kLinksCountedMax; row.Next()) {
      ++count;
    }
    return row.status().ok() ? absl::StatusOr<uint64_t>(count) : row.status();
  }
  const absl::StatusOr<storage::L1State> l1 = storage::ReadL1State(*transaction);
  if (!l1.ok()) return l1.status();
  for (const auto& [key, records] : l1->head.counts) {
    const bool walked =
        plan_.source == BuildSource::kScan || key.second == plan_.definition.collection;
    if (key.first == kTrunk && walked) count += std::max<int64_t>(records, 0);
  }
  return count;
}

absl::Status IndexScan::Read(size_t row_max, storage::RunSorter* sorter) {
  absl::StatusOr<storage::ReadTransaction> transaction = environment_.BeginRead();
  if (!transaction.ok()) return transaction.status();
  sorter_ = sorter;
  storage::Cursor row = transaction->NewCursor(tree_);
  // No key ends with a zero byte that is not its own: this is the first one above the cursor.
  row.Seek(cursor_.empty() ? prefix_ : cursor_ + '\0');
  for (size_t count = 0; count < row_max && !sorter->full(); ++count, row.Next()) {
    if (!row.Valid() || !row.key().starts_with(prefix_)) {
      if (!row.status().ok()) return row.status();
      return Finish(*transaction);
    }
    if (absl::Status status = ReadRow(*transaction, row); !status.ok()) return status;
    cursor_.assign(row.key());
  }
  return row.status();
}

absl::Status IndexScan::ReadRow(const storage::ReadTransaction& transaction,
                                const storage::Cursor& row) {
  if (WalksLinks(plan_)) return ReadLink(transaction, row.key(), row.value());
  ++counts_.scanned;
  if (!row.key().starts_with(records_)) return absl::OkStatus();  // Of another collection.
  return ReadRecord(transaction, row.key(), row.value());
}

absl::Status IndexScan::ReadRecord(const storage::ReadTransaction& transaction,
                                   std::string_view key, std::string_view value) {
  const absl::StatusOr<storage::Version> version = Extract(key, value);
  if (!version.ok()) return version.status();
  if (*version == storage::kNoVersion) return absl::OkStatus();
  const std::string_view id = key.substr(records_.size());
  if (plan_.definition.scoped()) return AddOfEachOwner(transaction, id, *version);
  AddEntry({}, id, *version);
  return absl::OkStatus();
}

absl::StatusOr<storage::Version> IndexScan::Extract(std::string_view key, std::string_view value) {
  const absl::StatusOr<RecordView> record = storage::DecodeRecord(key, value);
  if (!record.ok()) return record.status();
  if (record->tombstone) {
    ++counts_.missing;
    return storage::kNoVersion;
  }
  ++counts_.live;
  if (field_.Extract(record->payload, &value_)) return record->version;
  ++counts_.skipped_blank;
  return storage::kNoVersion;
}

// A link names a member; its record has the value.
absl::Status IndexScan::ReadLink(const storage::ReadTransaction& transaction, std::string_view key,
                                 std::string_view value) {
  ++counts_.scanned;
  const absl::StatusOr<bool> live = storage::IsLiveLink(key, value);
  if (!live.ok()) return live.status();
  if (!*live) return absl::OkStatus();
  link_key_.assign(1, static_cast<char>(Tree::kRelations)).append(key);
  const absl::StatusOr<storage::LinkRow> row =
      storage::DecodeLinkRowKey(link_key_, plan_.scope->order);
  if (!row.ok()) return row.status();
  record_key_.assign(records_).append(row->ends.member);
  const auto member = transaction.Get(TreeId::kRecords, record_key_);
  if (!member.ok()) return member.status();
  if (!member->has_value()) {
    ++counts_.missing;
    return absl::OkStatus();
  }
  const absl::StatusOr<storage::Version> version = Extract(record_key_, **member);
  if (!version.ok()) return version.status();
  if (*version != storage::kNoVersion) AddEntry(row->ends.owner, row->ends.member, *version);
  return absl::OkStatus();
}

absl::Status IndexScan::AddOfEachOwner(const storage::ReadTransaction& transaction,
                                       std::string_view id, storage::Version version) {
  const std::string links = storage::MemberRowPrefix(kTrunk, plan_.scope->id, id);
  const std::string_view prefix = storage::KeyInTree(links);
  storage::Cursor link = transaction.NewCursor(TreeId::kRelations);
  for (link.Seek(prefix); link.Valid() && link.key().starts_with(prefix); link.Next()) {
    const absl::StatusOr<bool> live = storage::IsLiveLink(link.key(), link.value());
    if (!live.ok()) return live.status();
    if (*live) AddEntry(link.key().substr(prefix.size()), id, version);
  }
  return link.status();
}

void IndexScan::AddEntry(std::string_view owner, std::string_view id, storage::Version version) {
  entry_.clear();
  storage::AppendIndexEntry({.index = plan_.definition.id,
                             .generation = plan_.generation,
                             .owner = owner,
                             .value = value_.entry(),
                             .id = id},
                            &entry_);
  sorter_->Add({.key = entry_, .version = version});
  ++counts_.indexed;
}

// A source that gives nothing makes an empty index only if the store, in the same transaction,
// knows of nothing either: a lost source must not pass for an empty one.
absl::Status IndexScan::Finish(const storage::ReadTransaction& transaction) {
  const absl::StatusOr<storage::L1State> l1 = storage::ReadL1State(transaction);
  if (!l1.ok()) return l1.status();
  record_count_ = static_cast<uint64_t>(
      std::max<int64_t>(0, l1->RecordCount(kTrunk, plan_.definition.collection)));
  done_ = true;
  std::string proof;
  if (counts_.live + counts_.missing > 0) return absl::OkStatus();
  if (WalksLinks(plan_)) {
    // A link has two rows.
    const std::string other_side = storage::AllMemberRowsPrefix(kTrunk, plan_.scope->id);
    const absl::StatusOr<bool> linked =
        HasRows(transaction, TreeId::kRelations, storage::KeyInTree(other_side));
    if (!linked.ok()) return linked.status();
    if (*linked && counts_.scanned == 0) proof = "the members name owners";
  } else if (record_count_ > 0) {
    proof = absl::StrCat("the store counts ", record_count_, " records");
  }
  if (proof.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the source of index '", plan_.definition.name, "' (",
                   storage::ToAbsl(storage::ToString(plan_.source)), ") gave nothing, but ", proof,
                   "; the index stays as it is: audit the store, or name another source"));
}

}  // namespace millrace
