#include "millrace/actors/derived_changes.h"

#include <algorithm>
#include <optional>
#include <tuple>

#include "glog/logging.h"

#include "millrace/storage/index_entry.h"
#include "millrace/storage/key_cursor.h"

namespace millrace {
namespace {

using storage::CollectionMarks;
using storage::CurrentRow;
using storage::Generation;
using storage::LinkEnds;
using storage::MarkedIndex;
using storage::Relation;
using storage::RowView;

// The keys of link rows that begin with `prefix`, wherever they lie.
storage::KeyCursor LinkRows(const RowView& view, const std::string& prefix) {
  return {view.buffers(),
          view.transaction(),
          {.l0_prefix = prefix,
           .tree = storage::TreeId::kRelations,
           .tree_prefix = std::string(storage::KeyInTree(prefix))},
          /*reverse=*/false};
}

// A row, or nothing also if it is damaged: a flush does not fail for a row that it only looks at.
// What that leaves behind is found by an audit.
absl::StatusOr<std::optional<CurrentRow>> FindReadable(const RowView& view, std::string_view key) {
  absl::StatusOr<std::optional<CurrentRow>> row = view.Find(key);
  if (!absl::IsDataLoss(row.status())) return row;
  LOG(ERROR) << "FlushStreamer: " << row.status();
  return std::nullopt;
}

}  // namespace

absl::Status DerivedChanges::AddRecord(const RecordChange& record, const CollectionMarks& marks,
                                       Slice* slice, absl::FunctionRef<absl::Status()> make_room) {
  if (record.older.exists && after_.DeletedSince(record.row.key, first_version_ - 1)) {
    for (const Relation* relation : marks.as_owner) {
      absl::Status status = EndLinks(*relation, /*as_owner=*/true, record.key.id, slice, make_room);
      if (!status.ok()) return status;
    }
    for (const Relation* relation : marks.as_member) {
      absl::Status status =
          EndLinks(*relation, /*as_owner=*/false, record.key.id, slice, make_room);
      if (!status.ok()) return status;
    }
  }
  for (const MarkedIndex* index : marks.indexes) {
    const ValueChange change = ChangeOf(*index, record);
    if (!index->definition.scoped()) {
      AddEntries(*index, {}, record.key.id, change, slice);
    } else if (absl::Status status = AddScoped(*index, record, change, slice); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

// Its keys are good until the next call.
DerivedChanges::ValueChange DerivedChanges::ChangeOf(const MarkedIndex& index,
                                                     const RecordChange& record) {
  ValueChange change;
  if (record.older.exists && record.older.known &&
      index.field.Extract(record.older.payload, &old_key_)) {
    change.before = &old_key_;
  }
  if (!record.row.tombstone && index.field.Extract(record.row.value, &new_key_)) {
    change.after = &new_key_;
  }
  return change;
}

// A live generation gets what changes. One that is building gets every entry that there will be:
// nobody knows what its build has read.
void DerivedChanges::AddEntries(const MarkedIndex& index, std::string_view owner,
                                std::string_view id, const ValueChange& change, Slice* slice) {
  const bool same = change.before != nullptr && change.after != nullptr &&
                    change.before->entry() == change.after->entry();
  const Generation live = index.generations.IsForeign() ? 0 : index.generations.live;
  const Generation building = index.generations.building;
  for (Generation generation : {live, building}) {
    if (generation == 0) continue;
    storage::IndexEntry entry{.branch = storage::kTrunk,
                              .index = index.definition.id,
                              .generation = generation,
                              .owner = owner,
                              .id = id};
    if (change.before != nullptr && !same) {
      entry.value = change.before->entry();
      entry_.clear();
      storage::AppendIndexEntry(entry, &entry_);
      Append(DerivedChange::Kind::kEraseEntry, entry_, slice);
    }
    if (change.after != nullptr && (!same || generation == building)) {
      entry.value = change.after->entry();
      entry_.clear();
      storage::AppendIndexEntry(entry, &entry_);
      Append(DerivedChange::Kind::kPutEntry, entry_, slice);
    }
  }
}

// The record's entry under each owner that it had or will have.
absl::Status DerivedChanges::AddScoped(const MarkedIndex& index, const RecordChange& record,
                                       const ValueChange& change, Slice* slice) {
  const Relation* const scope = marks_.FindRelation(index.definition.scope);
  if (scope == nullptr || (change.before == nullptr && change.after == nullptr)) {
    return absl::OkStatus();
  }
  storage::KeyCursor owners =
      LinkRows(after_, storage::MemberRowPrefix(record.key.branch, scope->id, record.key.id));
  for (owners.Seek(""); owners.Valid(); owners.Next()) {
    const LinkEnds ends{.branch = record.key.branch,
                        .relation = scope->id,
                        .owner = owners.suffix(),
                        .member = record.key.id};
    const absl::StatusOr<bool> was = IsMember(before_, *scope, ends);
    if (!was.ok()) return was.status();
    const absl::StatusOr<bool> will_be = IsMember(after_, *scope, ends);
    if (!will_be.ok()) return will_be.status();
    AddEntries(
        index, ends.owner, record.key.id,
        {.before = *was ? change.before : nullptr, .after = *will_be ? change.after : nullptr},
        slice);
  }
  return owners.status();
}

// All links of an end that was deleted. Those that were made afterwards come back as rows of the
// flush, behind all records.
absl::Status DerivedChanges::EndLinks(const Relation& relation, bool as_owner, std::string_view id,
                                      Slice* slice, absl::FunctionRef<absl::Status()> make_room) {
  const std::string prefix = as_owner ? storage::OwnerRowPrefix(storage::kTrunk, relation.id, id)
                                      : storage::MemberRowPrefix(storage::kTrunk, relation.id, id);
  storage::KeyCursor rows = LinkRows(before_, prefix);
  std::string key;
  for (rows.Seek(""); rows.Valid(); rows.Next()) {
    key = prefix;
    key.append(rows.suffix());
    const absl::StatusOr<storage::LinkRow> row = storage::DecodeLinkRowKey(key, relation.order);
    if (!row.ok()) return row.status();
    absl::Status status = EndLink(relation, row->ends, slice);
    if (status.ok()) status = make_room();
    if (!status.ok()) return status;
  }
  return rows.status();
}

absl::Status DerivedChanges::EndLink(const Relation& relation, const LinkEnds& ends, Slice* slice) {
  const std::string member_row = storage::MemberRowKey(ends);
  const absl::StatusOr<std::optional<CurrentRow>> row = FindReadable(before_, member_row);
  if (!row.ok()) return row.status();
  if (!row->has_value()) return absl::OkStatus();
  const absl::StatusOr<storage::LinkData> data = storage::DecodeLinkData((*row)->payload);
  if (!data.ok()) return data.status();
  const std::string owner_row = storage::OwnerRowKey(ends, relation.order, *data);
  Append(DerivedChange::Kind::kEraseLink, storage::KeyInTree(member_row), slice);
  Append(DerivedChange::Kind::kEraseLink, storage::KeyInTree(owner_row), slice);
  return EraseScopedEntries(relation, ends, slice);
}

// What the link's member had in scoped indexes, but for what it will have again.
absl::Status DerivedChanges::EraseScopedEntries(const Relation& relation, const LinkEnds& ends,
                                                Slice* slice) {
  const std::vector<const MarkedIndex*>& indexes = marks_.ScopedBy(relation.id);
  if (indexes.empty()) return absl::OkStatus();
  const std::string key = storage::EncodeRowKey(
      {.branch = ends.branch, .collection = relation.members, .id = ends.member});
  const absl::StatusOr<std::optional<CurrentRow>> was = FindReadable(before_, key);
  if (!was.ok()) return was.status();
  if (!was->has_value()) return absl::OkStatus();
  const absl::StatusOr<bool> will_be = IsMember(after_, relation, ends);
  if (!will_be.ok()) return will_be.status();
  std::optional<CurrentRow> now;
  if (*will_be) {
    const absl::StatusOr<std::optional<CurrentRow>> found = FindReadable(after_, key);
    if (!found.ok()) return found.status();
    now = *found;
  }
  for (const MarkedIndex* index : indexes) {
    if (!index->field.Extract((*was)->payload, &old_key_)) continue;
    const bool again = now.has_value() && index->field.Extract(now->payload, &new_key_) &&
                       new_key_.entry() == old_key_.entry();
    if (!again) AddEntries(*index, ends.owner, ends.member, {.before = &old_key_}, slice);
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> DerivedChanges::LinkLives(const storage::L0Row& row) const {
  storage::RelationId id = 0;
  bool of_owner = false;
  const Relation* const relation =
      storage::PeekLinkRow(row.key, &id, &of_owner) ? marks_.FindRelation(id) : nullptr;
  if (row.tombstone || relation == nullptr) return !row.tombstone;
  const absl::StatusOr<storage::LinkRow> link = storage::DecodeLinkRowKey(row.key, relation->order);
  if (!link.ok()) return link.status();
  absl::StatusOr<bool> live = after_.EndsLive(*relation, link->ends, row.version);
  if (absl::IsDataLoss(live.status())) return true;  // An end that cannot be read may be there.
  return live;
}

// The member's row stands for the link: its entries are worked out once.
absl::Status DerivedChanges::AddLink(const storage::L0Row& row, Slice* slice) {
  storage::RelationId id = 0;
  bool of_owner = false;
  if (!storage::PeekLinkRow(row.key, &id, &of_owner) || of_owner) return absl::OkStatus();
  const std::vector<const MarkedIndex*>& indexes = marks_.ScopedBy(id);
  const Relation* const relation = marks_.FindRelation(id);
  if (indexes.empty() || relation == nullptr) return absl::OkStatus();
  const absl::StatusOr<storage::LinkRow> link = storage::DecodeLinkRowKey(row.key, relation->order);
  if (!link.ok()) return link.status();
  const LinkEnds& ends = link->ends;
  if (InFlush(relation->members, ends.member)) return absl::OkStatus();
  const absl::StatusOr<bool> was = IsMember(before_, *relation, ends);
  if (!was.ok()) return was.status();
  const absl::StatusOr<bool> will_be = IsMember(after_, *relation, ends);
  if (!will_be.ok()) return will_be.status();
  const absl::StatusOr<std::optional<CurrentRow>> record = FindReadable(
      after_, storage::EncodeRowKey({.collection = relation->members, .id = ends.member}));
  if (!record.ok()) return record.status();
  if (!record->has_value()) return absl::OkStatus();
  for (const MarkedIndex* index : indexes) {
    if (!index->field.Extract((*record)->payload, &new_key_)) continue;
    AddEntries(*index, ends.owner, ends.member,
               {.before = *was ? &new_key_ : nullptr, .after = *will_be ? &new_key_ : nullptr},
               slice);
  }
  return absl::OkStatus();
}

bool DerivedChanges::InFlush(storage::CollectionId collection, std::string_view id) const {
  storage::L0Row row;
  return after_.buffers().front()->Find(storage::EncodeRowKey({.collection = collection, .id = id}),
                                        after_.version(), &row);
}

absl::StatusOr<bool> DerivedChanges::IsMember(const RowView& view, const Relation& relation,
                                              const LinkEnds& ends) const {
  const absl::StatusOr<std::optional<RowView::Link>> link = view.FindLink(relation, ends);
  if (absl::IsDataLoss(link.status())) return false;
  if (!link.ok()) return link.status();
  return link->has_value() && !(*link)->data.staged;
}

void DerivedChanges::Append(DerivedChange::Kind kind, std::string_view key, Slice* slice) {
  slice->derived.push_back({.kind = kind,
                            .key_bytes = static_cast<uint16_t>(key.size()),
                            .key_offset = static_cast<uint32_t>(slice->derived_keys.size())});
  slice->derived_keys.append(key);
}

// Of several changes to one key the last one counts: they keep their order.
void SortDerived(Slice* slice) {
  std::stable_sort(slice->derived.begin(), slice->derived.end(),
                   [slice](const DerivedChange& a, const DerivedChange& b) {
                     const bool a_link = a.kind == DerivedChange::Kind::kEraseLink;
                     const bool b_link = b.kind == DerivedChange::Kind::kEraseLink;
                     if (a_link != b_link) return a_link;
                     return DerivedKey(*slice, a) < DerivedKey(*slice, b);
                   });
}

}  // namespace millrace
