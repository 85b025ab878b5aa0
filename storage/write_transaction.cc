#include "millrace/storage/write_transaction.h"

#include <errno.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include <lmdb.h>

#include "millrace/storage/environment.h"
#include "millrace/storage/lmdb_status.h"
#include "millrace/storage/process_fork.h"
#include "millrace/storage/row_key.h"

namespace millrace::storage {
namespace {

MDB_val ToVal(std::string_view bytes) {
  return {bytes.size(), const_cast<char*>(bytes.data())};
}

// Whether the transaction goes on after this code of a write: LMDB refused it before it changed
// anything.
bool IsHarmless(int code) {
  return code == MDB_BAD_VALSIZE || code == MDB_KEYEXIST;
}

}  // namespace

WriteTransaction::WriteTransaction(Environment* environment, MDB_txn* txn)
    : environment_(environment), txn_(txn), thread_(std::this_thread::get_id()) {
}

WriteTransaction::WriteTransaction(WriteTransaction&& other) noexcept
    : environment_(other.environment_),
      txn_(std::exchange(other.txn_, nullptr)),
      thread_(other.thread_),
      put_cursors_(other.put_cursors_),
      written_bytes_(other.written_bytes_),
      reclaiming_(other.reclaiming_),
      doom_(std::move(other.doom_)) {
}

int WriteTransaction::BeginTxn(MDB_env* env, MDB_txn** txn) {
  return mdb_txn_begin(env, nullptr, 0, txn);
}

absl::Status WriteTransaction::Put(TreeId tree, std::string_view key, std::string_view value) {
  MDB_val v = ToVal(value);
  return PutRow(tree, key, &v, 0);
}

absl::StatusOr<absl::Span<char>> WriteTransaction::Reserve(TreeId tree, std::string_view key,
                                                           size_t size_bytes) {
  MDB_val v = {size_bytes, nullptr};
  if (absl::Status status = PutRow(tree, key, &v, MDB_RESERVE); !status.ok()) return status;
  return absl::MakeSpan(static_cast<char*>(v.mv_data), v.mv_size);
}

absl::Status WriteTransaction::Append(TreeId tree, std::string_view key, std::string_view value) {
  MDB_val v = ToVal(value);
  return PutRow(tree, key, &v, MDB_APPEND);
}

absl::StatusOr<bool> WriteTransaction::Delete(TreeId tree, std::string_view key) {
  AssertThread();
  if (!doom_.ok()) return doom_;
  MDB_val k = ToVal(key);
  errno = 0;
  const int code = mdb_del(txn_, environment_->trees_[static_cast<size_t>(tree)], &k, nullptr);
  if (code == MDB_NOTFOUND) return false;
  if (code != MDB_SUCCESS) return Outcome(code, "deleting a row of tree", tree);
  written_bytes_ += key.size();
  return true;
}

absl::StatusOr<std::optional<std::string_view>> WriteTransaction::Get(TreeId tree,
                                                                      std::string_view key) const {
  AssertThread();
  if (!doom_.ok()) return doom_;
  MDB_val k = ToVal(key);
  MDB_val v;
  const int code = mdb_get(txn_, environment_->trees_[static_cast<size_t>(tree)], &k, &v);
  if (code == MDB_SUCCESS) {
    return std::string_view(static_cast<const char*>(v.mv_data), v.mv_size);
  }
  if (code == MDB_NOTFOUND) return std::nullopt;
  return LmdbStatus(code, "reading a row of tree", TreeName(tree));
}

Cursor WriteTransaction::NewCursor(TreeId tree) {
  AssertThread();
  MDB_cursor* cursor = nullptr;
  const int code = mdb_cursor_open(txn_, environment_->trees_[static_cast<size_t>(tree)], &cursor);
  return Cursor(cursor, LmdbStatus(code, "opening a cursor of tree", TreeName(tree)),
                &environment_->write_cursor_count_);
}

absl::Status WriteTransaction::Commit() {
  AssertThread();
  absl::Status status = doom_;
  if (status.ok()) status = environment_->AdmitCommit(txn_, reclaiming_);
  if (!status.ok()) {
    Abort();
    return status;
  }
  CHECK_EQ(environment_->write_cursor_count_, 0) << "a cursor outlives its write transaction";
  errno = 0;
  const int code = mdb_txn_commit(std::exchange(txn_, nullptr));
  const int error = errno;
  Ended();
  if (code == MDB_SUCCESS) {
    environment_->Committed();
    return absl::OkStatus();
  }
  return environment_->WriteFailed(code, error, "committing to");
}

void WriteTransaction::Abort() {
  if (txn_ == nullptr) return;
  // In a forked child the transaction and the lock it holds are the parent's.
  if (environment_->fork_generation_ != ForkGeneration()) {
    txn_ = nullptr;
    return;
  }
  AssertThread();
  CHECK_EQ(environment_->write_cursor_count_, 0) << "a cursor outlives its write transaction";
  mdb_txn_abort(std::exchange(txn_, nullptr));
  Ended();
}

absl::Status WriteTransaction::PutRow(TreeId tree, std::string_view key, MDB_val* value,
                                      unsigned flags) {
  AssertThread();
  if (!doom_.ok()) return doom_;
  const size_t index = static_cast<size_t>(tree);
  MDB_cursor*& cursor = put_cursors_[index];
  if (cursor == nullptr) {
    const int code = mdb_cursor_open(txn_, environment_->trees_[index], &cursor);
    if (code != MDB_SUCCESS) return Outcome(code, "opening a cursor of tree", tree);
  }
  MDB_val k = ToVal(key);
  const size_t size_bytes = key.size() + value->mv_size;
  errno = 0;
  if (const int code = mdb_cursor_put(cursor, &k, value, flags); code != MDB_SUCCESS) {
    return Outcome(code, "writing a row of tree", tree);
  }
  written_bytes_ += size_bytes;
  return absl::OkStatus();
}

absl::Status WriteTransaction::Outcome(int code, const char* operation, TreeId tree) {
  const int error = errno;
  if (IsHarmless(code)) return LmdbStatus(code, operation, TreeName(tree));
  const std::string what = absl::StrCat(operation, " ", ToAbsl(TreeName(tree)), " of");
  doom_ = environment_->WriteFailed(code, error, what);
  return doom_;
}

void WriteTransaction::AssertThread() const {
  // LMDB's writer lock belongs to the thread that took it.
  DCHECK(thread_ == std::this_thread::get_id()) << "a write transaction on a second thread";
  DCHECK(txn_ != nullptr) << "a write transaction that has ended";
}

void WriteTransaction::Ended() {
  environment_->write_active_.store(false);
}

}  // namespace millrace::storage
