#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"

#include "millrace/messages/commit.h"
#include "millrace/storage/commit_token.h"
#include "millrace/storage/l0_buffer.h"
#include "millrace/storage/marks.h"
#include "millrace/storage/row_key.h"

namespace millrace {

// The conversation of a flush: the Committer rotates and hands the flush to the FlushFinalizer,
// which lets a FlushStreamer work it out and publishes it, in the order of the rotations, through
// the Writer. The Reply<FlushPublished> that goes with a rotation is the flush's token: whoever
// drops it has answered, so no flush is ever forgotten.

// The finalizer's answer to the Committer: the flush is in LMDB, synced, with manifest and log
// floor. Answers come in rotate order. An error: it was tried as often as it may be, or one before
// it was; it and those behind it are no longer with the finalizer.
struct FlushPublished {
  uint64_t sequence = 0;
  uint64_t manifest = 0;
  storage::Version last_version = storage::kNoVersion;
};

// What one flush is. Value; shares the sealed buffers with the snapshots that read them.
struct FlushJob {
  uint64_t sequence = 0;  // Dense, 1 is the first.
  uint32_t attempt = 1;   // Of the first stream; the finalizer counts on, also over Resume.
  storage::Version first_version = storage::kNoVersion;
  storage::Version last_version = storage::kNoVersion;
  // Log files below this one hold nothing newer than last_version.
  uint64_t log_floor = 0;
  std::shared_ptr<const storage::L0Buffer> sealed;
  // What is maintained of its records: as it was at the rotation, or at the start of this life.
  storage::MarksRef marks;
  // Rotated before this one and not published then, newest first: what this flush changes is worked
  // out against them. They live until this flush's stream has ended.
  std::vector<std::shared_ptr<const storage::L0Buffer>> earlier;
  // Rows up to this key, and so many slices, are in LMDB.
  std::string resume_after;
  uint64_t resume_slice = 0;
  // The outcomes of this flush's commits that were asked to be remembered, in order.
  std::vector<storage::RememberedCommit> outcomes;
};

// Committer to FlushFinalizer, in the order of the sequences.
struct Rotated {
  using ReplyType = FlushPublished;
  FlushJob job;
};
// Committer to FlushFinalizer, when the engine stops: what fails from now on, or waits to be tried
// again, is answered at once. The next open goes on with it.
struct StopRetrying {};

// Committer to FlushStreamer: LMDB holds this buffer. It is freed, and the log files below the
// floor are recycled, off the Committer's thread.
struct Retired {
  std::shared_ptr<const storage::L0Buffer> buffer;
  uint64_t log_floor = 0;
};
// Committer to FlushStreamer: make the log's next file ready.
struct PrepareLog {};

// The net change of a collection's record count.
struct CountDelta {
  storage::BranchId branch = storage::kTrunk;
  storage::CollectionId collection = 0;
  int64_t delta = 0;
};

// The new state of one row in L1. Value; views into the slice's buffer.
struct RowChange {
  std::string_view key;  // Encoded row key.
  std::string_view payload;
  storage::Version version = storage::kNoVersion;
  bool tombstone = false;  // The row is deleted from L1.
};

// A row of L1 that follows from the records and links of a slice. Value; its key, as the tree holds
// it, lies in the slice.
struct DerivedChange {
  enum class Kind : uint8_t {
    kPutEntry,    // Of an index.
    kEraseEntry,  // Of an index.
    kEraseLink,   // A row of a link that has ended with one of its ends.
  };
  Kind kind = Kind::kPutEntry;
  uint16_t key_bytes = 0;
  uint32_t key_offset = 0;
};

// A bounded piece of a flush. Closed: all that changes with a record lies in the record's slice.
struct Slice {
  uint64_t number = 0;             // Dense within the attempt, counted on by a resumed flush.
  std::vector<RowChange> rows;     // Ascending by key.
  std::vector<CountDelta> counts;  // Of these rows.
  // By tree and key, links first; applied before the rows.
  std::vector<DerivedChange> derived;
  std::string derived_keys;
  std::string cursor;  // The key of the last row.
  bool last = false;   // Carries manifest, head, log floor and the end of the flush row.
};
inline std::string_view DerivedKey(const Slice& slice, const DerivedChange& change) {
  return std::string_view(slice.derived_keys).substr(change.key_offset, change.key_bytes);
}

// FlushFinalizer to FlushStreamer: work out what the flush changes, from where L1 stands with it.
// DeadlineExceeded: it took longer than it may.
struct Streamed {
  bool published = false;     // L1 holds all of the flush already, and there are no slices.
  std::vector<Slice> slices;  // In order; the last one has `last` set.
};
struct Stream {
  using ReplyType = Streamed;
  FlushJob job;
  absl::Duration timeout;
};

// FlushFinalizer to Writer. Applied only behind the slice before it; durable when answered.
// Aborted: the slice before it is not there (its transaction was aborted); the flush goes on from
// the flush row. ResourceExhausted: disk or quota is full. Anything else is final.
struct SliceApplied {
  uint64_t manifest = 0;  // Of a last slice.
};
struct ApplySlice {
  using ReplyType = SliceApplied;
  uint64_t sequence = 0;
  uint32_t attempt = 1;
  storage::Version first_version = storage::kNoVersion;
  storage::Version last_version = storage::kNoVersion;
  uint64_t log_floor = 0;
  std::shared_ptr<const storage::L0Buffer> sealed;  // What the slice's views point into.
  Slice slice;
  std::vector<storage::RememberedCommit> outcomes;  // With a last slice.
};

}  // namespace millrace
