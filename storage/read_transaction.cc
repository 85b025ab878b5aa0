#include "millrace/storage/read_transaction.h"

#include <lmdb.h>

#include "millrace/storage/lmdb_status.h"
#include "millrace/storage/read_pool.h"

namespace millrace::storage {

ReadTransaction& ReadTransaction::operator=(ReadTransaction&& other) noexcept {
  if (this == &other) return *this;
  End();
  pool_ = other.pool_;
  trees_ = other.trees_;
  txn_ = std::exchange(other.txn_, nullptr);
  return *this;
}

absl::StatusOr<std::optional<std::string_view>> ReadTransaction::Get(TreeId tree,
                                                                     std::string_view key) const {
  MDB_val k = {key.size(), const_cast<char*>(key.data())};
  MDB_val v;
  const int code = mdb_get(txn_, trees_[static_cast<size_t>(tree)], &k, &v);
  if (code == MDB_SUCCESS) {
    return std::string_view(static_cast<const char*>(v.mv_data), v.mv_size);
  }
  if (code == MDB_NOTFOUND) return std::nullopt;
  return LmdbStatus(code, "reading a row of tree", TreeName(tree));
}

Cursor ReadTransaction::NewCursor(TreeId tree) const {
  MDB_cursor* cursor = nullptr;
  const int code = mdb_cursor_open(txn_, trees_[static_cast<size_t>(tree)], &cursor);
  return Cursor(cursor, LmdbStatus(code, "opening a cursor of tree", TreeName(tree)), nullptr);
}

absl::Status ReadTransaction::Renew() {
  return pool_->Renew(txn_);
}

void ReadTransaction::End() {
  if (txn_ != nullptr) pool_->Release(std::exchange(txn_, nullptr));
}

}  // namespace millrace::storage
