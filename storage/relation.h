#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "millrace/storage/collection.h"
#include "millrace/storage/document.h"
#include "millrace/storage/index_definition.h"
#include "millrace/storage/row_key.h"

namespace millrace::storage {

// How the members of an owner are ordered. The numbers are format.
enum class MemberOrder : uint8_t {
  kId = 1,         // A set: by id.
  kScore = 2,      // A sorted set: by score, then id.
  kInsertion = 3,  // A list: as they were linked.
};
std::string_view ToString(MemberOrder order);

// What a client asks for. Value.
struct RelationOptions {
  std::string name;    // 1 to 255 bytes of UTF-8; of the store.
  Collection owners;   // The collection whose records own.
  Collection members;  // The collection whose records are owned; may be the same.
  MemberOrder order = MemberOrder::kId;
  uint64_t member_max = 0;  // Of one owner; 0 is no limit. Checked when a batch links.
};

// A relation: each owner of one collection has members of another. It is primary data: a link is
// written by clients, and ends when it is unlinked or when one of its ends is deleted. Value; got
// from Engine::DefineRelation or OpenRelation.
struct Relation {
  RelationId id = 0;
  std::string name;
  CollectionId owners = 0;
  CollectionId members = 0;
  MemberOrder order = MemberOrder::kId;
  uint64_t member_max = 0;
  friend bool operator==(const Relation&, const Relation&) = default;
};

// The format of relation definitions and rows that this program writes and understands.
inline constexpr uint64_t kRelationFormat = 1;

// The catalog's rows.
std::string RelationDefinitionKey(std::string_view name);
std::string AllRelationsPrefix();
Document EncodeRelation(const Relation& relation);
// FailedPrecondition naming the relation if a newer version wrote it; DataLoss if it defines none.
absl::StatusOr<Relation> ReadRelation(std::string_view name, std::string_view document);

// What a link says beside its ends. Value.
struct LinkData {
  double score = 0;
  bool staged = false;    // Prepared: no member yet.
  uint64_t position = 0;  // Rises with each link made; orders kInsertion.
  friend bool operator==(const LinkData&, const LinkData&) = default;
};

// A link has two rows in tree `relations`, both with LinkData, in the format of records:
//   of the member   branch | relation | 1 | member: length, bytes | owner
//   of the owner    branch | relation | 0 | owner: length, bytes | place | member
// The place is nothing, the score or the position, as the relation orders. L0 holds the same keys
// behind the tree byte: those that the functions below give and take. Thread-safe.
struct LinkEnds {
  BranchId branch = kTrunk;
  RelationId relation = 0;
  std::string_view owner;
  std::string_view member;
};
std::string MemberRowKey(const LinkEnds& ends);
std::string OwnerRowKey(const LinkEnds& ends, MemberOrder order, const LinkData& data);
// What the rows of one member, or of one owner, begin with.
std::string MemberRowPrefix(BranchId branch, RelationId relation, std::string_view member);
std::string OwnerRowPrefix(BranchId branch, RelationId relation, std::string_view owner);
// The same of all its members, and of all its owners.
std::string AllMemberRowsPrefix(BranchId branch, RelationId relation);
std::string AllOwnerRowsPrefix(BranchId branch, RelationId relation);
// The ends that a row's key holds, whichever of the two it is. DataLoss if it is none.
struct LinkRow {
  LinkEnds ends;
  bool of_owner = false;
};
absl::StatusOr<LinkRow> DecodeLinkRowKey(std::string_view key, MemberOrder order);
// The relation and the direction alone. False if `key` does not begin so.
bool PeekLinkRow(std::string_view key, RelationId* relation, bool* of_owner);

std::string EncodeLinkData(const LinkData& data);
// DataLoss if the bytes are none.
absl::StatusOr<LinkData> DecodeLinkData(std::string_view bytes);

// Whether a row of tree `relations` links its ends: it is no tombstone, and not staged. DataLoss if
// it is damaged.
absl::StatusOr<bool> IsLiveLink(std::string_view key_in_tree, std::string_view row);

// InvalidArgument: an end is no id, or both together are longer than a row's key can hold.
absl::Status CheckLinkEnds(std::string_view owner, std::string_view member);

}  // namespace millrace::storage
