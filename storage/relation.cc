#include "millrace/storage/relation.h"

#include <bit>
#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "millrace/storage/catalog.h"
#include "millrace/storage/index_entry.h"
#include "millrace/storage/record.h"

namespace millrace::storage {
namespace {

constexpr char kOwnerSide = 0;
constexpr char kMemberSide = 1;
constexpr size_t kPlaceBytes = 8;

// Flags, score, position.
constexpr size_t kLinkDataBytes = 1 + 8 + 8;
constexpr uint8_t kStagedFlag = 1;

std::string SidePrefix(BranchId branch, RelationId relation, char side) {
  std::string prefix = EncodeCollectionPrefix(Tree::kRelations, branch, relation);
  prefix.push_back(side);
  return prefix;
}

std::string EndPrefix(BranchId branch, RelationId relation, char side, std::string_view end) {
  std::string prefix = SidePrefix(branch, relation, side);
  AppendOrderedInteger(end.size(), &prefix);
  prefix.append(end);
  return prefix;
}

// Eight bytes that order as the scores do, or as the positions.
void AppendPlace(MemberOrder order, const LinkData& data, std::string* out) {
  if (order == MemberOrder::kId) return;
  uint64_t place = data.position;
  if (order == MemberOrder::kScore) {
    const auto bits = std::bit_cast<uint64_t>(data.score + 0.0);
    constexpr uint64_t kSign = uint64_t{1} << 63;
    place = (bits & kSign) != 0 ? ~bits : bits | kSign;
  }
  for (int shift = 56; shift >= 0; shift -= 8) out->push_back(static_cast<char>(place >> shift));
}

absl::Status DamagedRow(std::string_view key) {
  return absl::DataLossError(absl::StrCat("relation row ", absl::BytesToHexString(ToAbsl(key)),
                                          " is damaged; link its ends again"));
}

}  // namespace

std::string_view ToString(MemberOrder order) {
  switch (order) {
    case MemberOrder::kId:
      return "id";
    case MemberOrder::kScore:
      return "score";
    case MemberOrder::kInsertion:
      return "insertion";
  }
  return "unknown";
}

std::string RelationDefinitionKey(std::string_view name) {
  return CatalogPrefix(CatalogKind::kRelation).append(name);
}

std::string AllRelationsPrefix() {
  return CatalogPrefix(CatalogKind::kRelation);
}

Document EncodeRelation(const Relation& relation) {
  DocumentBuilder builder;
  builder.Set("format", kRelationFormat)
      .Set("id", relation.id)
      .Set("member_max", relation.member_max)
      .Set("members", relation.members)
      .Set("order", static_cast<int64_t>(relation.order))
      .Set("owners", relation.owners);
  return *builder.Finish();
}

absl::StatusOr<Relation> ReadRelation(std::string_view name, std::string_view document) {
  const DocumentView view(document);
  const uint64_t format = CatalogNumber(view, "format");
  if (format > kRelationFormat) {
    return absl::FailedPreconditionError(absl::StrCat(
        "relation '", ToAbsl(name), "' was defined by a newer version of Millrace (format ", format,
        ", this one knows ", kRelationFormat, "); use that version"));
  }
  Relation relation{.id = CatalogNumber(view, "id"),
                    .name = std::string(name),
                    .owners = CatalogNumber(view, "owners"),
                    .members = CatalogNumber(view, "members"),
                    .order = static_cast<MemberOrder>(CatalogNumber(view, "order")),
                    .member_max = CatalogNumber(view, "member_max")};
  const bool good = format != 0 && relation.id != 0 && relation.owners != 0 &&
                    relation.members != 0 && relation.order >= MemberOrder::kId &&
                    relation.order <= MemberOrder::kInsertion;
  if (good) return relation;
  return absl::DataLossError(absl::StrCat("the definition of relation '", ToAbsl(name),
                                          "' is damaged; restore the store from a copy"));
}

std::string MemberRowPrefix(BranchId branch, RelationId relation, std::string_view member) {
  return EndPrefix(branch, relation, kMemberSide, member);
}

std::string OwnerRowPrefix(BranchId branch, RelationId relation, std::string_view owner) {
  return EndPrefix(branch, relation, kOwnerSide, owner);
}

std::string AllMemberRowsPrefix(BranchId branch, RelationId relation) {
  return SidePrefix(branch, relation, kMemberSide);
}

std::string AllOwnerRowsPrefix(BranchId branch, RelationId relation) {
  return SidePrefix(branch, relation, kOwnerSide);
}

std::string MemberRowKey(const LinkEnds& ends) {
  std::string key = MemberRowPrefix(ends.branch, ends.relation, ends.member);
  key.append(ends.owner);
  return key;
}

std::string OwnerRowKey(const LinkEnds& ends, MemberOrder order, const LinkData& data) {
  std::string key = OwnerRowPrefix(ends.branch, ends.relation, ends.owner);
  AppendPlace(order, data, &key);
  key.append(ends.member);
  return key;
}

bool PeekLinkRow(std::string_view key, RelationId* relation, bool* of_owner) {
  BranchId branch = 0;
  if (key.empty() || static_cast<Tree>(key.front()) != Tree::kRelations) return false;
  key.remove_prefix(1);
  if (!ConsumeOrderedInteger(&key, &branch) || !ConsumeOrderedInteger(&key, relation)) return false;
  if (key.empty() || (key.front() != kOwnerSide && key.front() != kMemberSide)) return false;
  *of_owner = key.front() == kOwnerSide;
  return true;
}

absl::StatusOr<LinkRow> DecodeLinkRowKey(std::string_view key, MemberOrder order) {
  LinkRow row;
  std::string_view rest = key;
  if (!PeekLinkRow(key, &row.ends.relation, &row.of_owner)) return DamagedRow(key);
  rest.remove_prefix(1);
  uint64_t skipped = 0;
  uint64_t end_size = 0;
  if (!ConsumeOrderedInteger(&rest, &row.ends.branch) || !ConsumeOrderedInteger(&rest, &skipped)) {
    return DamagedRow(key);
  }
  rest.remove_prefix(1);
  if (!ConsumeOrderedInteger(&rest, &end_size) || end_size > rest.size()) return DamagedRow(key);
  const std::string_view first = rest.substr(0, end_size);
  rest.remove_prefix(end_size);
  if (row.of_owner && order != MemberOrder::kId) {
    if (rest.size() < kPlaceBytes) return DamagedRow(key);
    rest.remove_prefix(kPlaceBytes);
  }
  if (first.empty() || rest.empty()) return DamagedRow(key);
  row.ends.owner = row.of_owner ? first : rest;
  row.ends.member = row.of_owner ? rest : first;
  return row;
}

std::string EncodeLinkData(const LinkData& data) {
  std::string bytes(kLinkDataBytes, '\0');
  bytes[0] = static_cast<char>(data.staged ? kStagedFlag : 0);
  std::memcpy(bytes.data() + 1, &data.score, sizeof(data.score));
  std::memcpy(bytes.data() + 1 + sizeof(data.score), &data.position, sizeof(data.position));
  return bytes;
}

absl::StatusOr<LinkData> DecodeLinkData(std::string_view bytes) {
  if (bytes.size() < kLinkDataBytes) {
    return absl::DataLossError("a relation row is damaged: it is too short; link its ends again");
  }
  LinkData data;
  data.staged = (static_cast<uint8_t>(bytes[0]) & kStagedFlag) != 0;
  std::memcpy(&data.score, bytes.data() + 1, sizeof(data.score));
  std::memcpy(&data.position, bytes.data() + 1 + sizeof(data.score), sizeof(data.position));
  return data;
}

absl::StatusOr<bool> IsLiveLink(std::string_view key_in_tree, std::string_view row) {
  const absl::StatusOr<RecordView> link = DecodeRecord(key_in_tree, row);
  if (!link.ok()) return link.status();
  if (link->tombstone) return false;
  const absl::StatusOr<LinkData> data = DecodeLinkData(link->payload);
  if (!data.ok()) return data.status();
  return !data->staged;
}

absl::Status CheckLinkEnds(std::string_view owner, std::string_view member) {
  if (absl::Status status = CheckCatalogName(owner, "the owner"); !status.ok()) return status;
  if (absl::Status status = CheckCatalogName(member, "the member"); !status.ok()) return status;
  if (owner.size() + member.size() <= kLinkIdsBytesMax) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the ids of owner and member have ", owner.size() + member.size(),
                   " bytes together; a link holds ", kLinkIdsBytesMax));
}

}  // namespace millrace::storage
