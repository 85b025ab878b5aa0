#pragma once

#include <cstdint>

#include "millrace/storage/row_key.h"

namespace millrace {

// The conversation of whoever must know that something is published in LMDB, a client or an actor,
// with the Committer.

// What is published now.
struct FlushReceipt {
  uint64_t manifest = 0;  // The head manifest; 0 if nothing was ever flushed.
  storage::Version version = storage::kNoVersion;  // Everything up to here is in LMDB.
};

// Asks the Committer to answer once everything up to a version is published in LMDB. It rotates for
// that as soon as a flush is free; nothing is rotated if L0 holds nothing so old.
//
// This is the fence of whoever begins or ends something that flushes must take into account (a
// generation, a fork, a drop): mark it, by a commit or by a row of the Writer's; then a fence; when
// that is answered, every flush whose stream may not have seen the mark is published. A client's
// Engine::Flush() is a fence, too.
//
// Errors: InvalidArgument for a version that was not committed yet. While the engine is Degraded,
// or once it becomes so, the cause of that, marked (IsDegraded in messages/error.h). Cancelled: the
// engine stops.
struct Fence {
  using ReplyType = FlushReceipt;
  // That of a CommitReceipt; kNoVersion is everything accepted before this message.
  storage::Version version = storage::kNoVersion;
};

// From an actor that stops: its fences that are not answered yet are, with Cancelled, for what it
// would do behind them is left to the next life. So no maintenance waits for the last flush.
// Answered with what is published.
struct EndFences {
  using ReplyType = FlushReceipt;
};

// Asks the Committer to answer once everything is published that is rotated now, or that a fence
// waits for. Rotates nothing itself, and waits for no flush that comes later. Errors: as for Fence.
struct Drain {
  using ReplyType = FlushReceipt;
};

// Asks a Degraded Committer to try its flushes again now; answered once what was rotated is
// published, or has failed again. OK at once if the engine is not Degraded.
struct Resume {
  using ReplyType = FlushReceipt;
};

}  // namespace millrace
