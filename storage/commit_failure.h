#pragma once

#include <optional>

#include "absl/status/status.h"

namespace millrace::storage {

// Why a write transaction was not committed, and so what its owner must do. Carried by the status
// of WriteTransaction::Commit() and of the writes in it. All of this file is thread-safe.
enum class CommitFailure {
  // The disk or the map is full (LMDB reports a short write as EIO). Nothing of the transaction is
  // in the store; the environment is healthy: keep the work, free space or back off, try again.
  kFull,
  // It would have grown the store past its quota. Otherwise as kFull.
  kQuota,
  // More pages were changed than one transaction can hold: split the work and try again.
  kTransactionFull,
  // The data could not be synced or written for another cause than space. Nothing of the
  // transaction
  // is in the store and the state before it holds. No further write is begun: stop.
  kSyncFailed,
  // The meta page may or may not be on the disk. Reads end too: stop; the next open resolves it.
  kOutcomeUnknown,
  // None of the above (out of memory, misuse). Nothing of the transaction is in the store.
  kOther,
};

// Nothing if `status` is OK or does not come from a write transaction.
std::optional<CommitFailure> GetCommitFailure(const absl::Status& status);

// `status` marked with `failure`; kOutcomeUnknown also marks it for messages/error.h GetOutcome().
absl::Status WithCommitFailure(absl::Status status, CommitFailure failure);

}  // namespace millrace::storage
