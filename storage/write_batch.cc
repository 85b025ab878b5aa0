#include "millrace/storage/write_batch.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"

namespace millrace::storage {
namespace {

// The encoding of an operation, little endian:
//   kind u8 | precondition u8 | key bytes u16 | value bytes u32 | [version u64 if kVersion] | key |
//   value
// A put or delete without a precondition is, byte for byte, an effect of the log: the Committer
// copies a blind batch as it stands.
constexpr size_t kHeaderBytes = 8;

template <typename T>
void AppendInteger(T value, std::string* out) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  out->append(bytes, sizeof(T));
}

template <typename T>
T ReadInteger(std::string_view in, size_t offset) {
  T value;
  std::memcpy(&value, in.data() + offset, sizeof(T));
  return value;
}

}  // namespace

void AppendOperation(const Operation& operation, std::string* out) {
  out->push_back(static_cast<char>(operation.kind));
  out->push_back(static_cast<char>(operation.precondition.kind));
  AppendInteger(static_cast<uint16_t>(operation.key.size()), out);
  AppendInteger(static_cast<uint32_t>(operation.value.size()), out);
  if (operation.precondition.kind == Precondition::Kind::kVersion) {
    AppendInteger(uint64_t{operation.precondition.version}, out);
  }
  out->append(operation.key);
  out->append(operation.value);
}

bool ConsumeOperation(std::string_view* in, Operation* operation) {
  if (in->size() < kHeaderBytes) return false;
  const auto kind = static_cast<uint8_t>((*in)[0]);
  const auto precondition = static_cast<uint8_t>((*in)[1]);
  if (kind < static_cast<uint8_t>(OperationKind::kPut) ||
      kind > static_cast<uint8_t>(OperationKind::kUnlink) || precondition > 2) {
    return false;
  }
  const auto key_bytes = ReadInteger<uint16_t>(*in, 2);
  const auto value_bytes = ReadInteger<uint32_t>(*in, 4);
  size_t offset = kHeaderBytes;
  operation->kind = static_cast<OperationKind>(kind);
  operation->precondition = {.kind = static_cast<Precondition::Kind>(precondition)};
  if (operation->precondition.kind == Precondition::Kind::kVersion) {
    if (in->size() < offset + sizeof(uint64_t)) return false;
    operation->precondition.version = ReadInteger<uint64_t>(*in, offset);
    offset += sizeof(uint64_t);
  }
  if (in->size() - offset < size_t{key_bytes} + value_bytes) return false;
  operation->key = in->substr(offset, key_bytes);
  operation->value = in->substr(offset + key_bytes, value_bytes);
  in->remove_prefix(offset + key_bytes + value_bytes);
  return true;
}

WriteBatch& WriteBatch::Put(const Collection& collection, std::string_view id,
                            const Document& document, Precondition precondition) {
  AddRecord(OperationKind::kPut, collection, id, document.bytes(), precondition);
  return *this;
}

WriteBatch& WriteBatch::Merge(const Collection& collection, std::string_view id,
                              const Document& fields, Precondition precondition) {
  AddRecord(OperationKind::kMerge, collection, id, fields.bytes(), precondition);
  return *this;
}

WriteBatch& WriteBatch::Delete(const Collection& collection, std::string_view id,
                               Precondition precondition) {
  AddRecord(OperationKind::kDelete, collection, id, {}, precondition);
  return *this;
}

WriteBatch& WriteBatch::Require(const Collection& collection, std::string_view id,
                                Precondition precondition) {
  AddRecord(OperationKind::kRequire, collection, id, {}, precondition);
  return *this;
}

WriteBatch& WriteBatch::Link(const Relation& relation, std::string_view owner,
                             std::string_view member, double score) {
  AddLink(OperationKind::kLink, relation,
          {.relation = relation.id, .owner = owner, .member = member}, {.score = score});
  return *this;
}

WriteBatch& WriteBatch::Stage(const Relation& relation, std::string_view owner,
                              std::string_view member, double score) {
  AddLink(OperationKind::kLink, relation,
          {.relation = relation.id, .owner = owner, .member = member},
          {.score = score, .staged = true});
  return *this;
}

WriteBatch& WriteBatch::Unlink(const Relation& relation, std::string_view owner,
                               std::string_view member) {
  AddLink(OperationKind::kUnlink, relation,
          {.relation = relation.id, .owner = owner, .member = member}, {});
  return *this;
}

void WriteBatch::Add(const Operation& operation) {
  if (!status_.ok()) return;
  const size_t bytes = kHeaderBytes + 8 + operation.key.size() + operation.value.size();
  if (operation_count_ == kOperationCountMax) {
    status_ = absl::InvalidArgumentError(
        absl::StrCat("the batch has more than ", kOperationCountMax, " operations; split it"));
    return;
  }
  if (encoded_.size() + bytes > kBytesMax) {
    status_ = absl::InvalidArgumentError(
        absl::StrCat("the batch has more than ", kBytesMax, " bytes; split it"));
    return;
  }
  if (encoded_.empty()) encoded_.reserve(bytes);
  AppendOperation(operation, &encoded_);
  ++operation_count_;
  adds_rows_ = adds_rows_ || operation.kind == OperationKind::kPut ||
               operation.kind == OperationKind::kMerge || operation.kind == OperationKind::kLink;
  blind_ = blind_ && operation.precondition.kind == Precondition::Kind::kNone &&
           (operation.kind == OperationKind::kPut || operation.kind == OperationKind::kDelete);
}

// A later operation on a row replaces an earlier one; the earlier one's precondition stays, as a
// kRequire of its own.
void WriteBatch::Normalize() {
  if (operation_count_ < 2) return;
  absl::flat_hash_map<absl::string_view, size_t> last;  // Row key to the ordinal of its last write.
  last.reserve(operation_count_);
  Operation operation;
  std::string_view rest = encoded_;
  for (size_t i = 0; ConsumeOperation(&rest, &operation); ++i) {
    if (operation.kind != OperationKind::kRequire) last[ToAbsl(operation.key)] = i;
  }
  WriteBatch normal;
  normal.encoded_.reserve(encoded_.size());
  bool changed = false;
  rest = encoded_;
  for (size_t i = 0; ConsumeOperation(&rest, &operation); ++i) {
    if (operation.kind != OperationKind::kRequire && last[ToAbsl(operation.key)] != i) {
      changed = true;
      if (operation.precondition.kind == Precondition::Kind::kNone) continue;
      operation.kind = OperationKind::kRequire;
      operation.value = {};
    }
    normal.Add(operation);
  }
  if (changed) *this = std::move(normal);
}

void WriteBatch::AddRecord(OperationKind kind, const Collection& collection, std::string_view id,
                           std::string_view value, Precondition precondition) {
  if (!status_.ok()) return;
  if (collection.id == 0) {
    status_ = absl::InvalidArgumentError("the collection was never opened");
    return;
  }
  status_ = CheckId(id);
  if (!status_.ok()) return;
  const std::string key = EncodeRowKey({.collection = collection.id, .id = id});
  Add({.kind = kind, .precondition = precondition, .key = key, .value = value});
}

void WriteBatch::AddLink(OperationKind kind, const Relation& relation, const LinkEnds& ends,
                         const LinkData& data) {
  if (!status_.ok()) return;
  if (relation.id == 0) {
    status_ = absl::InvalidArgumentError("the relation was never opened");
  } else if (std::isnan(data.score)) {
    status_ = absl::InvalidArgumentError("the score of a link is not a number");
  } else {
    status_ = CheckLinkEnds(ends.owner, ends.member);
  }
  if (!status_.ok()) return;
  const std::string value = kind == OperationKind::kLink ? EncodeLinkData(data) : std::string();
  Add({.kind = kind, .key = MemberRowKey(ends), .value = value});
}

}  // namespace millrace::storage
