#pragma once

#include <optional>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "millrace/storage/cursor.h"
#include "millrace/storage/tree_id.h"

struct MDB_txn;

namespace millrace::storage {

class ReadPool;

// One state of LMDB: the last commit at the moment it was begun or renewed. It holds a reader slot,
// and as long as it lives no page of its state is used again: end or renew it soon. Made by
// Environment::BeginRead(), ends before its environment. Move-only. Thread-compatible, but two
// threads may not use it at the same time; it need not stay on one thread.
class ReadTransaction {
 public:
  ReadTransaction(ReadTransaction&& other) noexcept
      : pool_(other.pool_), trees_(other.trees_), txn_(std::exchange(other.txn_, nullptr)) {}
  ReadTransaction& operator=(ReadTransaction&& other) noexcept;
  ~ReadTransaction() { End(); }

  // The value of `key`, or nothing. The view ends with the transaction and when it is renewed.
  // InvalidArgument if the key is empty, DataLoss if a page is damaged. LMDB has no checksums:
  // those of records are their readers' business.
  absl::StatusOr<std::optional<std::string_view>> Get(TreeId tree, std::string_view key) const;

  // At no row yet. A cursor that could not be opened says so in its status().
  Cursor NewCursor(TreeId tree) const;

  // The state as of now instead; its views and cursors must have ended. If it fails, so will all
  // that is asked of this transaction.
  absl::Status Renew();

  // Gives the reader slot back; the destructor does so too. Nothing may be asked afterwards.
  void End();

 private:
  friend class Environment;
  ReadTransaction(ReadPool* pool, const unsigned* trees, MDB_txn* txn)
      : pool_(pool), trees_(trees), txn_(txn) {}

  ReadPool* pool_;
  const unsigned* trees_;  // LMDB's handle of each TreeId; the environment's.
  MDB_txn* txn_;
};

}  // namespace millrace::storage
