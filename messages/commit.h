#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "millrace/storage/commit_token.h"
#include "millrace/storage/row_key.h"
#include "millrace/storage/write_batch.h"

namespace millrace {

// The conversation between clients and the Committer.

// When a commit is answered, and what a crash may take. After any crash the store holds exactly a
// prefix of the commits, and that prefix contains every one answered as durable.
enum class Durability : uint8_t {
  kDurable,   // Answered after fdatasync. Nothing answered is lost, by a kill or by power loss.
  kInterval,  // Answered when written. A kill loses nothing; power loss at most the sync interval.
  kNone,      // Answered when written. A kill loses nothing; power loss what was not yet synced.
};

using storage::CommitToken;

// Committed, visible to every snapshot taken from now on, and durable as the commit asked.
struct CommitReceipt {
  storage::Version version = storage::kNoVersion;
};

// Commits a batch. FailedPrecondition: a precondition does not hold. NotFound: an unknown
// collection. InvalidArgument: the batch cannot be committed at all. ResourceExhausted: L0 or the
// quota is full. DeadlineExceeded: the mailbox had no room in time. Cancelled: the engine is
// stopping. Outcome (messages/error.h) is kUnknown only if the log failed.
struct Commit {
  using ReplyType = CommitReceipt;
  storage::WriteBatch batch;
  Durability durability = Durability::kDurable;
  CommitToken token;

  // What counts against the mailbox's byte bound.
  size_t PayloadBytes() const { return batch.bytes(); }
};

// Creates a collection, or finds it. Always durable. InvalidArgument: not a possible name.
struct DefineCollection {
  using ReplyType = storage::Collection;
  std::string name;
};

// What became of the commit with a token.
struct CommitOutcome {
  enum class State : uint8_t {
    kCommitted,
    kAborted,  // It was refused, or never reached the log: nothing of it is in the store.
    kPruned,   // Too old: 65,536 later outcomes were kept instead.
  };
  State state = State::kAborted;
  storage::Version version = storage::kNoVersion;  // Of a committed one.
};

// Asks the Committer, which answers after every commit that it was given before.
struct FindOutcome {
  using ReplyType = CommitOutcome;
  CommitToken token;
};

}  // namespace millrace
