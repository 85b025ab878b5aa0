#include "millrace/storage/current_rows.h"

#include <utility>

namespace millrace::storage {

absl::StatusOr<std::optional<CurrentRow>> CurrentRows::Find(std::string_view row_key) {
  L0Row row;
  if (FindInL0(*buffers_, row_key, kNewestVersion, &row)) {
    if (row.tombstone) return std::nullopt;
    return CurrentRow{.version = row.version, .payload = row.value};
  }
  if (absl::Status status = Begin(); !status.ok()) return status;
  return FindInLmdb(*transaction_, row_key);
}

absl::StatusOr<RowView> CurrentRows::View() {
  if (absl::Status status = Begin(); !status.ok()) return status;
  return RowView(*buffers_, *transaction_, kNewestVersion);
}

absl::Status CurrentRows::Begin() {
  if (transaction_.has_value()) return absl::OkStatus();
  absl::StatusOr<ReadTransaction> transaction = environment_.BeginRead();
  if (!transaction.ok()) return transaction.status();
  transaction_.emplace(*std::move(transaction));
  return absl::OkStatus();
}

}  // namespace millrace::storage
