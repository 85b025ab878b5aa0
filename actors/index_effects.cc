#include "millrace/actors/index_effects.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "millrace/messages/error.h"
#include "millrace/storage/index_entry.h"
#include "millrace/storage/key_cursor.h"
#include "millrace/storage/row_cursor.h"

namespace millrace {
namespace {

using storage::CollectionMarks;
using storage::CurrentRow;
using storage::Generation;
using storage::LinkData;
using storage::LinkEnds;
using storage::MarkedIndex;
using storage::Operation;
using storage::OperationKind;
using storage::Relation;
using storage::ToAbsl;

// Positions of links rise with the version, then within the batch.
constexpr int kPositionShift = 20;
static_assert(storage::WriteBatch::kOperationCountMax < (size_t{1} << kPositionShift));

std::string RecordKey(storage::CollectionId collection, std::string_view id) {
  return storage::EncodeRowKey({.collection = collection, .id = id});
}

// For messages.
std::string Named(std::string_view id) {
  return absl::StrCat("'", absl::Utf8SafeCHexEscape(ToAbsl(id)), "'");
}

absl::Status Conflict(const MarkedIndex& index, std::string_view id, std::string_view owner) {
  return WithIndexConflict(
      absl::AlreadyExistsError(
          absl::StrCat("record ", Named(id), " cannot have a value that unique index '",
                       index.definition.name, "' allows once: record ", Named(owner), " has it")),
      {.index = index.definition.name, .owner = std::string(owner)});
}

// The key of a claim among those of the batch.
std::string ClaimKey(const MarkedIndex& index, std::string_view owner, std::string_view value) {
  std::string key;
  storage::AppendOrderedInteger(index.definition.id, &key);
  storage::AppendOrderedInteger(owner.size(), &key);
  key.append(owner);
  key.append(value);
  return key;
}

template <typename Visit>
absl::Status ForEachPut(std::string_view effects, const storage::Marks& marks, Visit visit) {
  Operation effect;
  while (storage::ConsumeOperation(&effects, &effect)) {
    if (effect.kind != OperationKind::kPut) continue;
    const absl::StatusOr<storage::RowKey> key = storage::DecodeRowKey(effect.key);
    if (!key.ok()) return key.status();
    if (key->tree != storage::Tree::kRecords) continue;
    const CollectionMarks* const collection = marks.Of(key->collection);
    if (collection == nullptr) continue;
    if (absl::Status status = visit(effect, *key, *collection); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status IndexEffects::Append(const Input& input, std::string* out) {
  row_count_ = 0;
  overlay_.clear();
  link_data_.clear();
  links_.clear();
  claims_.clear();
  claimed_.clear();
  if (NeedsState(input)) {
    if (absl::Status status = LoadState(input); !status.ok()) return status;
  }
  for (const Operation& link : input.links) {
    if (absl::Status status = AppendLink(link, input.version, out); !status.ok()) return status;
  }
  absl::Status status = ForEachPut(
      input.effects, *marks_,
      [&](const Operation& effect, const storage::RowKey& key, const CollectionMarks& collection) {
        return AppendCandidates(effect, key.id, collection, out);
      });
  for (const NewLink& link : links_) {
    if (status.ok() && link.member) status = AppendLinkCandidates(link, out);
  }
  if (status.ok()) status = CheckRoom();
  for (const Claim& claim : claims_) {
    if (status.ok()) status = CheckClaim(claim);
  }
  return status;
}

// Links are checked, and unique values: both need to know what is there.
bool IndexEffects::NeedsState(const Input& input) const {
  if (!input.links.empty()) return true;
  bool enforced = false;
  ForEachPut(input.effects, *marks_,
             [&enforced](const Operation&, const storage::RowKey&, const CollectionMarks& marks) {
               enforced = enforced || marks.enforced;
               return absl::OkStatus();
             })
      .IgnoreError();
  return enforced;
}

absl::Status IndexEffects::LoadState(const Input& input) {
  const absl::StatusOr<storage::RowView> view = current_.View();
  if (!view.ok()) return view.status();
  view_.emplace(*view);
  Operation effect;
  std::string_view rest = input.effects;
  while (storage::ConsumeOperation(&rest, &effect)) {
    overlay_[std::string(effect.key)] =
        effect.kind == OperationKind::kDelete
            ? Row()
            : Row(CurrentRow{.version = input.version, .payload = effect.value});
  }
  return absl::OkStatus();
}

// A row as it will be behind the batch.
absl::StatusOr<IndexEffects::Row> IndexEffects::FindAfter(const std::string& row_key) const {
  const auto changed = overlay_.find(row_key);
  if (changed != overlay_.end()) return changed->second;
  return view_->Find(row_key);
}

absl::StatusOr<bool> IndexEffects::IsMemberAfter(const Relation& relation,
                                                 const LinkEnds& ends) const {
  const auto changed = overlay_.find(storage::MemberRowKey(ends));
  if (changed != overlay_.end()) {
    if (!changed->second.has_value()) return false;
    const absl::StatusOr<LinkData> data = storage::DecodeLinkData(changed->second->payload);
    if (!data.ok()) return data.status();
    return !data->staged;
  }
  for (const std::string& end :
       {RecordKey(relation.owners, ends.owner), RecordKey(relation.members, ends.member)}) {
    const auto deleted = overlay_.find(end);
    if (deleted != overlay_.end() && !deleted->second.has_value()) return false;
  }
  const absl::StatusOr<std::optional<storage::RowView::Link>> link =
      view_->FindLink(relation, ends);
  if (!link.ok()) return link.status();
  return link->has_value() && !(*link)->data.staged;
}

// Calls `visit` for each owner that the member will have.
absl::Status IndexEffects::ForEachOwner(
    const Relation& relation, std::string_view member,
    absl::FunctionRef<absl::Status(std::string_view)> visit) const {
  const std::string prefix = storage::MemberRowPrefix(storage::kTrunk, relation.id, member);
  storage::KeyCursor owners(view_->buffers(), view_->transaction(),
                            {.l0_prefix = prefix,
                             .tree = storage::TreeId::kRelations,
                             .tree_prefix = std::string(storage::KeyInTree(prefix))},
                            /*reverse=*/false);
  for (owners.Seek(""); owners.Valid(); owners.Next()) {
    const LinkEnds ends{.relation = relation.id, .owner = owners.suffix(), .member = member};
    if (overlay_.contains(storage::MemberRowKey(ends))) continue;
    const absl::StatusOr<bool> is_member = IsMemberAfter(relation, ends);
    if (!is_member.ok()) return is_member.status();
    if (!*is_member) continue;
    if (absl::Status status = visit(ends.owner); !status.ok()) return status;
  }
  if (!owners.status().ok()) return owners.status();
  for (const NewLink& link : links_) {
    if (!link.member || link.relation != &relation || link.ends.member != member) continue;
    if (absl::Status status = visit(link.ends.owner); !status.ok()) return status;
  }
  return absl::OkStatus();
}

// The two rows of a link, and what is to go of them. A link that a deletion has ended may still
// have its rows: they are replaced like those of any other, but not believed.
absl::Status IndexEffects::AppendLink(const Operation& operation, storage::Version version,
                                      std::string* out) {
  storage::RelationId id = 0;
  bool of_owner = false;
  const Relation* const relation =
      storage::PeekLinkRow(operation.key, &id, &of_owner) ? marks_->FindRelation(id) : nullptr;
  if (relation == nullptr) {
    return absl::NotFoundError(
        absl::StrCat("there is no relation number ", id, "; define it first"));
  }
  const absl::StatusOr<storage::LinkRow> row =
      storage::DecodeLinkRowKey(operation.key, relation->order);
  if (!row.ok()) return row.status();
  NewLink link{.relation = relation, .ends = row->ends};
  const absl::StatusOr<Row> before = view_->Find(operation.key);
  if (!before.ok()) return before.status();
  std::string old_owner_row;
  if (before->has_value()) {
    const absl::StatusOr<LinkData> old = storage::DecodeLinkData((*before)->payload);
    if (!old.ok()) return old.status();
    old_owner_row = storage::OwnerRowKey(link.ends, relation->order, *old);
  }
  if (operation.kind == OperationKind::kUnlink) {
    links_.push_back(link);
    if (!before->has_value()) return absl::OkStatus();
    AppendRow(OperationKind::kDelete, operation.key, {}, out);
    AppendRow(OperationKind::kDelete, old_owner_row, {}, out);
    overlay_[std::string(operation.key)] = Row();
    return absl::OkStatus();
  }
  absl::Status status = CheckEnd(relation->owners, link.ends.owner, *relation);
  if (status.ok()) status = CheckEnd(relation->members, link.ends.member, *relation);
  if (!status.ok()) return status;
  absl::StatusOr<LinkData> data = storage::DecodeLinkData(operation.value);
  if (!data.ok()) return data.status();
  const auto live = view_->FindLink(*relation, link.ends);
  if (!live.ok()) return live.status();
  data->staged = data->staged && !(live->has_value() && !(*live)->data.staged);
  data->position =
      live->has_value() ? (*live)->data.position : version << kPositionShift | links_.size();
  link.member = !data->staged;
  AppendLinkRows(link, old_owner_row, *data, version, out);
  return absl::OkStatus();
}

void IndexEffects::AppendLinkRows(const NewLink& link, const std::string& old_owner_row,
                                  const LinkData& data, storage::Version version,
                                  std::string* out) {
  const std::string owner_row = storage::OwnerRowKey(link.ends, link.relation->order, data);
  if (!old_owner_row.empty() && old_owner_row != owner_row) {
    AppendRow(OperationKind::kDelete, old_owner_row, {}, out);
  }
  const std::string member_row = storage::MemberRowKey(link.ends);
  const std::string& payload = link_data_.emplace_back(storage::EncodeLinkData(data));
  AppendRow(OperationKind::kPut, member_row, payload, out);
  AppendRow(OperationKind::kPut, owner_row, payload, out);
  overlay_[member_row] = CurrentRow{.version = version, .payload = payload};
  links_.push_back(link);
}

absl::Status IndexEffects::CheckEnd(storage::CollectionId collection, std::string_view id,
                                    const Relation& relation) const {
  const absl::StatusOr<Row> row = FindAfter(RecordKey(collection, id));
  if (!row.ok()) return row.status();
  if (row->has_value()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "record ", Named(id), " of collection ", collection, " does not exist, so relation '",
      relation.name, "' cannot link it; put it before, or in the same batch"));
}

absl::Status IndexEffects::AppendCandidates(const Operation& effect, std::string_view id,
                                            const CollectionMarks& collection, std::string* out) {
  for (const MarkedIndex* index : collection.indexes) {
    if (!index->field.Extract(effect.value, &key_)) continue;
    candidate_.clear();
    storage::AppendCandidate(storage::kTrunk, index->definition.id, key_.entry(), id, &candidate_);
    AppendRow(OperationKind::kPut, candidate_, {}, out);
    if (!index->Enforced()) continue;
    if (absl::Status status = AddClaims(*index, id); !status.ok()) return status;
  }
  return absl::OkStatus();
}

// A scoped index holds the record under its new owner, too; its value may have been put long ago.
absl::Status IndexEffects::AppendLinkCandidates(const NewLink& link, std::string* out) {
  for (const MarkedIndex* index : marks_->ScopedBy(link.relation->id)) {
    const std::string record_key = RecordKey(link.relation->members, link.ends.member);
    if (overlay_.contains(record_key)) continue;  // Its candidates come with its put.
    const absl::StatusOr<Row> record = FindAfter(record_key);
    if (!record.ok()) return record.status();
    if (!record->has_value() || !index->field.Extract((*record)->payload, &key_)) continue;
    candidate_.clear();
    storage::AppendCandidate(storage::kTrunk, index->definition.id, key_.entry(), link.ends.member,
                             &candidate_);
    AppendRow(OperationKind::kPut, candidate_, {}, out);
    if (!index->Enforced()) continue;
    if (absl::Status status = AddClaim(*index, link.ends.owner, link.ends.member); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

// Rows are counted before anybody asks which of them count: mostly there is room anyway.
absl::StatusOr<bool> IndexEffects::HasRoom(const Relation& relation, std::string_view owner,
                                           uint64_t new_count) const {
  if (new_count > relation.member_max) return false;
  for (const bool exact : {false, true}) {
    const absl::StatusOr<uint64_t> others =
        CountOthers(relation, owner, relation.member_max, exact);
    if (!others.ok()) return others.status();
    if (new_count + *others <= relation.member_max) return true;
  }
  return false;
}

absl::Status IndexEffects::CheckRoom() const {
  std::map<std::pair<const Relation*, std::string_view>, uint64_t> linked;
  for (const NewLink& link : links_) {
    if (link.member && link.relation->member_max != 0) ++linked[{link.relation, link.ends.owner}];
  }
  for (const auto& [key, count] : linked) {
    const auto& [relation, owner] = key;
    const absl::StatusOr<bool> room = HasRoom(*relation, owner, count);
    if (!room.ok()) return room.status();
    if (*room) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("owner ", Named(owner), " would have more than the ", relation->member_max,
                     " members that relation '", relation->name, "' allows; unlink some first"));
  }
  return absl::OkStatus();
}

// The owner's members that the batch does not touch, counted up to one more than `at_most`; not
// `exact`, those whose membership has ended with a record included.
absl::StatusOr<uint64_t> IndexEffects::CountOthers(const Relation& relation, std::string_view owner,
                                                   uint64_t at_most, bool exact) const {
  const std::string prefix = storage::OwnerRowPrefix(storage::kTrunk, relation.id, owner);
  uint64_t count = 0;
  storage::RowCursor rows(view_->transaction(), view_->buffers(), storage::Tree::kRelations,
                          storage::kNewestVersion);
  for (rows.Seek(prefix); rows.Valid() && rows.key().starts_with(prefix); rows.Next()) {
    const absl::StatusOr<storage::LinkRow> row =
        storage::DecodeLinkRowKey(rows.key(), relation.order);
    if (!row.ok()) return row.status();
    if (overlay_.contains(storage::MemberRowKey(row->ends))) continue;
    if (exact) {
      const absl::StatusOr<bool> is_member = IsMemberAfter(relation, row->ends);
      if (!is_member.ok()) return is_member.status();
      if (!*is_member) continue;
    }
    if (++count > at_most) break;
  }
  if (!rows.status().ok()) return rows.status();
  return count;
}

// The value in key_, for the record: once, or once for each owner that it will have.
absl::Status IndexEffects::AddClaims(const MarkedIndex& index, std::string_view id) {
  if (!index.definition.scoped()) return AddClaim(index, {}, id);
  const Relation* const scope = marks_->FindRelation(index.definition.scope);
  if (scope == nullptr) return absl::OkStatus();
  return ForEachOwner(*scope, id,
                      [&](std::string_view owner) { return AddClaim(index, owner, id); });
}

absl::Status IndexEffects::AddClaim(const MarkedIndex& index, std::string_view owner,
                                    std::string_view id) {
  const auto [first, is_new] = claimed_.try_emplace(ClaimKey(index, owner, key_.full), id);
  if (!is_new) {
    return first->second == id ? absl::OkStatus() : Conflict(index, id, first->second);
  }
  claims_.push_back({.index = &index, .owner = std::string(owner), .key = key_, .id = id});
  return absl::OkStatus();
}

// Whoever had the value has left a candidate in L0 or an entry in LMDB; his record decides.
absl::Status IndexEffects::CheckClaim(const Claim& claim) const {
  const storage::IndexDefinition& index = claim.index->definition;
  const storage::GenerationState& state = claim.index->generations;
  const Generation generations[] = {state.Fulfils(index) ? state.live : 0,
                                    claim.index->enforce_building ? state.building : 0};
  for (Generation generation : generations) {
    if (generation == 0) continue;
    storage::KeyCursor candidates(
        view_->buffers(), view_->transaction(),
        {.l0_prefix = storage::CandidatePrefix(storage::kTrunk, index.id).append(claim.key.entry()),
         .tree = storage::TreeId::kIndex,
         .tree_prefix =
             storage::IndexOwnerPrefix(storage::kTrunk, index.id, generation, claim.owner)
                 .append(claim.key.entry())},
        /*reverse=*/false);
    for (candidates.Seek(""); candidates.Valid(); candidates.Next()) {
      if (candidates.suffix() == claim.id) continue;
      const absl::StatusOr<bool> owns = Owns(claim, candidates.suffix());
      if (!owns.ok()) return owns.status();
      if (*owns) return Conflict(*claim.index, claim.id, candidates.suffix());
    }
    if (!candidates.status().ok()) return candidates.status();
  }
  return absl::OkStatus();
}

// Whether the record will have the value that is claimed, in the same scope.
absl::StatusOr<bool> IndexEffects::Owns(const Claim& claim, std::string_view id) const {
  const storage::IndexDefinition& index = claim.index->definition;
  const absl::StatusOr<Row> record = FindAfter(RecordKey(index.collection, id));
  if (!record.ok()) return record.status();
  storage::IndexKey key;
  if (!record->has_value() || !claim.index->field.Extract((*record)->payload, &key)) return false;
  if (key.full != claim.key.full) return false;
  if (!index.scoped()) return true;
  const Relation* const scope = marks_->FindRelation(index.scope);
  if (scope == nullptr) return false;
  return IsMemberAfter(*scope, {.relation = scope->id, .owner = claim.owner, .member = id});
}

void IndexEffects::AppendRow(OperationKind kind, std::string_view key, std::string_view value,
                             std::string* out) {
  storage::AppendOperation({.kind = kind, .key = key, .value = value}, out);
  ++row_count_;
}

}  // namespace millrace
