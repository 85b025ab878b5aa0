#include "millrace/storage/current_rows.h"

#include <utility>

#include "millrace/storage/record.h"

namespace millrace::storage {

TreeId TreeOf(std::string_view row_key) {
  switch (static_cast<Tree>(row_key.front())) {
    case Tree::kCatalog:
      return TreeId::kCatalog;
    case Tree::kRelations:
      return TreeId::kRelations;
    case Tree::kRecords:
    case Tree::kCandidates:  // Candidates are in no tree; nobody asks for theirs.
      break;
  }
  return TreeId::kRecords;
}

std::string_view KeyInTree(std::string_view row_key) {
  return row_key.substr(1);
}

absl::StatusOr<std::optional<CurrentRow>> CurrentRows::Find(std::string_view row_key) {
  constexpr Version kNewest = ~Version{0};
  for (const auto& buffer : buffers_) {
    L0Row row;
    if (!buffer->Find(row_key, kNewest, &row)) continue;
    if (row.tombstone) return std::nullopt;
    return CurrentRow{.version = row.version, .payload = row.value};
  }
  if (!transaction_.has_value()) {
    absl::StatusOr<ReadTransaction> transaction = environment_.BeginRead();
    if (!transaction.ok()) return transaction.status();
    transaction_.emplace(*std::move(transaction));
  }
  const absl::StatusOr<std::optional<std::string_view>> value =
      transaction_->Get(TreeOf(row_key), KeyInTree(row_key));
  if (!value.ok()) return value.status();
  if (!value->has_value()) return std::nullopt;
  const absl::StatusOr<RecordView> record = DecodeRecord(KeyInTree(row_key), **value);
  if (!record.ok()) return record.status();
  if (record->tombstone) return std::nullopt;
  return CurrentRow{.version = record->version, .payload = record->payload};
}

}  // namespace millrace::storage
