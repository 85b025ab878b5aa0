#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "millrace/storage/commit_failure.h"
#include "millrace/storage/cursor.h"
#include "millrace/storage/tree_id.h"

struct MDB_env;
struct MDB_txn;
struct MDB_val;

namespace millrace::storage {

class Environment;

// The one write transaction of an environment: all of it is in the store, synced, once Commit()
// answered OK, and none of it otherwise (but for CommitFailure::kOutcomeUnknown). It sees its own
// writes. Made by Environment::BeginWrite(), ends before its environment. Move-only.
// Owned by the writer's thread: the one that began it.
//
// Consecutive writes of rising keys in a tree keep their place in it, which makes sorted input
// several times faster than random input. A write that fails with anything but InvalidArgument or
// AlreadyExists dooms the transaction: all that follows, Commit() included, answers the same
// status, which GetCommitFailure() tells apart. Keys have 1 to 511 bytes.
class WriteTransaction {
 public:
  WriteTransaction(WriteTransaction&& other) noexcept;
  WriteTransaction& operator=(WriteTransaction&&) = delete;
  ~WriteTransaction() { Abort(); }

  // Inserts or replaces. Key and value are copied.
  absl::Status Put(TreeId tree, std::string_view key, std::string_view value);
  // As Put() of `size_bytes` bytes that the caller writes to the span before anything else is asked
  // of this transaction. Saves a copy.
  absl::StatusOr<absl::Span<char>> Reserve(TreeId tree, std::string_view key, size_t size_bytes);
  // As Put() of a key above all others of the tree; fills pages completely. AlreadyExists if it is
  // not above.
  absl::Status Append(TreeId tree, std::string_view key, std::string_view value);
  // Whether there was a row to delete.
  absl::StatusOr<bool> Delete(TreeId tree, std::string_view key);

  // The value of `key`, or nothing. The view ends with the next write.
  absl::StatusOr<std::optional<std::string_view>> Get(TreeId tree, std::string_view key) const;
  // At no row yet. Must end before the transaction does.
  Cursor NewCursor(TreeId tree);

  // Key and value bytes written so far: what the owner bounds its transactions by.
  uint64_t written_bytes() const { return written_bytes_; }

  // Whether a failed write has doomed the transaction.
  bool doomed() const { return !doom_.ok(); }

  // This transaction frees space in the end: it may pass the quota by an eighth.
  void AllowReclaiming() { reclaiming_ = true; }

  // Ends the transaction, also when it fails. Whatever the failure, GetCommitFailure() of the
  // status says what it means and what to do.
  absl::Status Commit();
  // Ends the transaction without a trace. Does nothing if it has ended.
  void Abort();

 private:
  friend class Environment;
  WriteTransaction(Environment* environment, MDB_txn* txn);

  // The only call of mdb_txn_begin() for writing in all of the program.
  static int BeginTxn(MDB_env* env, MDB_txn** txn);

  absl::Status PutRow(TreeId tree, std::string_view key, MDB_val* value, unsigned flags);
  // `code` of an operation: OK, or a status that dooms the transaction if LMDB gave it up.
  absl::Status Outcome(int code, const char* operation, TreeId tree);
  void AssertThread() const;
  void Ended();

  Environment* environment_;
  MDB_txn* txn_;  // Null once ended.
  const std::thread::id thread_;
  std::array<MDB_cursor*, kTreeCount> put_cursors_ = {};  // LMDB frees them with the txn.
  uint64_t written_bytes_ = 0;
  bool reclaiming_ = false;
  absl::Status doom_;
};

}  // namespace millrace::storage
