#include "millrace/actors/batch_effects.h"

#include <optional>

#include "absl/strings/str_cat.h"

#include "millrace/storage/document.h"

namespace millrace {
namespace {

using storage::CurrentRow;
using storage::Operation;
using storage::OperationKind;
using storage::Precondition;
using storage::ToAbsl;

// "record 'id'", for messages.
std::string Name(std::string_view row_key) {
  const absl::StatusOr<storage::RowKey> key = storage::DecodeRowKey(row_key);
  return key.ok() ? absl::StrCat("record '", ToAbsl(key->id), "'") : "row";
}

absl::Status CheckPrecondition(const Operation& operation, const std::optional<CurrentRow>& row) {
  switch (operation.precondition.kind) {
    case Precondition::Kind::kNone:
      return absl::OkStatus();
    case Precondition::Kind::kAbsent:
      if (!row.has_value()) return absl::OkStatus();
      return absl::FailedPreconditionError(absl::StrCat(
          Name(operation.key), " was to be absent but exists at version ", row->version));
    case Precondition::Kind::kVersion:
      if (row.has_value() && row->version == operation.precondition.version) {
        return absl::OkStatus();
      }
      return absl::FailedPreconditionError(absl::StrCat(
          Name(operation.key), " was to be at version ", operation.precondition.version, " but ",
          row.has_value() ? absl::StrCat("is at version ", row->version)
                          : std::string("does not exist")));
  }
  return absl::InternalError("unknown precondition");
}

}  // namespace

absl::Status BatchEffects::Append(const storage::WriteBatch& batch, std::string* out) {
  if (absl::Status status = CheckCollections(batch); !status.ok()) return status;
  if (batch.blind()) {
    out->append(batch.encoded());
    return absl::OkStatus();
  }
  const size_t start = out->size();
  std::string_view rest = batch.encoded();
  Operation operation;
  while (storage::ConsumeOperation(&rest, &operation)) {
    absl::Status status = AppendOne(operation, out);
    if (status.ok() && out->size() - start > storage::WriteBatch::kBytesMax) {
      status = absl::InvalidArgumentError(absl::StrCat("the batch has more than ",
                                                       storage::WriteBatch::kBytesMax,
                                                       " bytes after its merges; split it"));
    }
    if (!status.ok()) {
      out->resize(start);
      return status;
    }
  }
  return absl::OkStatus();
}

absl::Status BatchEffects::CheckCollections(const storage::WriteBatch& batch) const {
  std::string_view rest = batch.encoded();
  Operation operation;
  storage::CollectionId checked = 0;
  while (storage::ConsumeOperation(&rest, &operation)) {
    std::string_view key = operation.key;
    if (static_cast<storage::Tree>(key.front()) != storage::Tree::kRecords) continue;
    key.remove_prefix(1);
    storage::BranchId branch = 0;
    storage::CollectionId collection = 0;
    if (!storage::ConsumeOrderedInteger(&key, &branch) ||
        !storage::ConsumeOrderedInteger(&key, &collection)) {
      return absl::InternalError("a batch holds a damaged row key");
    }
    if (collection == checked) continue;
    if (!collections_.contains(collection)) {
      return absl::NotFoundError(
          absl::StrCat("there is no collection number ", collection, "; open or create it first"));
    }
    checked = collection;
  }
  return absl::OkStatus();
}

absl::Status BatchEffects::AppendOne(const Operation& operation, std::string* out) {
  std::optional<CurrentRow> row;
  if (operation.kind == OperationKind::kMerge ||
      operation.precondition.kind != Precondition::Kind::kNone) {
    absl::StatusOr<std::optional<CurrentRow>> found = current_.Find(operation.key);
    if (!found.ok()) return found.status();
    row = *found;
  }
  if (absl::Status status = CheckPrecondition(operation, row); !status.ok()) return status;
  if (operation.kind == OperationKind::kRequire) return absl::OkStatus();
  if (operation.kind == OperationKind::kMerge && row.has_value()) {
    const absl::StatusOr<storage::Document> merged = storage::Document::Merge(
        row->payload, storage::Document::FromTrustedBytes(std::string(operation.value)));
    if (!merged.ok()) {
      return absl::Status(merged.status().code(), absl::StrCat("merge into ", Name(operation.key),
                                                               ": ", merged.status().message()));
    }
    storage::AppendOperation(
        {.kind = OperationKind::kPut, .key = operation.key, .value = merged->bytes()}, out);
    return absl::OkStatus();
  }
  const OperationKind effect =
      operation.kind == OperationKind::kMerge ? OperationKind::kPut : operation.kind;
  storage::AppendOperation({.kind = effect, .key = operation.key, .value = operation.value}, out);
  return absl::OkStatus();
}

}  // namespace millrace
