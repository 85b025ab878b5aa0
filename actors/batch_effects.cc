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

absl::Status BatchEffects::Prepare(const storage::WriteBatch& batch) {
  marked_ = false;
  reads_rows_ = !batch.blind();
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
    const storage::CollectionMarks* const marks = indexes_.marks().Of(collection);
    if (marks == nullptr) continue;
    if (!marks->refusal.ok()) return marks->refusal;
    marked_ = true;
    reads_rows_ = reads_rows_ || marks->enforced;
  }
  return absl::OkStatus();
}

absl::Status BatchEffects::Append(const storage::WriteBatch& batch, storage::Version version,
                                  std::string* out) {
  row_count_ = batch.operation_count();
  if (batch.blind() && !marked_) {
    out->append(batch.encoded());
    return absl::OkStatus();
  }
  const size_t start = out->size();
  links_.clear();
  absl::Status status = AppendAll(batch, out);
  if (status.ok()) status = AppendDerived(start, version, out);
  if (!status.ok()) out->resize(start);
  return status;
}

absl::Status BatchEffects::AppendAll(const storage::WriteBatch& batch, std::string* out) {
  if (batch.blind()) {
    out->append(batch.encoded());
    return absl::OkStatus();
  }
  const size_t start = out->size();
  std::string_view rest = batch.encoded();
  Operation operation;
  while (storage::ConsumeOperation(&rest, &operation)) {
    if (operation.kind == OperationKind::kLink || operation.kind == OperationKind::kUnlink) {
      links_.push_back(operation);
      continue;
    }
    if (absl::Status status = AppendOne(operation, out); !status.ok()) return status;
    if (out->size() - start > storage::WriteBatch::kBytesMax) {
      return absl::InvalidArgumentError(absl::StrCat("the batch has more than ",
                                                     storage::WriteBatch::kBytesMax,
                                                     " bytes after its merges; split it"));
    }
  }
  return absl::OkStatus();
}

absl::Status BatchEffects::AppendDerived(size_t start, storage::Version version, std::string* out) {
  if (!marked_ && links_.empty()) return absl::OkStatus();
  derived_.clear();
  const std::string_view effects = std::string_view(*out).substr(start);
  absl::Status status =
      indexes_.Append({.effects = effects, .links = links_, .version = version}, &derived_);
  if (!status.ok()) return status;
  if (effects.size() + derived_.size() > kBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("the batch has more than ", kBytesMax,
                                                   " bytes with what its indexes hold; split it"));
  }
  out->append(derived_);
  row_count_ += indexes_.row_count();
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
