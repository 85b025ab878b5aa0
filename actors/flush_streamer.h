#pragma once

#include "millrace/actors/slice_builder.h"
#include "millrace/messages/flush.h"
#include "millrace/runtime/actor.h"
#include "millrace/storage/commit_log.h"
#include "millrace/storage/environment.h"

namespace millrace {

// FlushStreamer does the thinking of a flush: it turns a sealed buffer into slices while commits go
// on. It also does what the Committer has no time for: next log files, retired buffers.
//   In:   Stream from the FlushFinalizer, one at a time; Retired, PrepareLog from the Committer.
//   Out:  one Reply per Stream.
//   Blocks on: reads of LMDB, writes of log files that nobody uses yet.
//   Fails: an error is the stream's reply, and so is what it throws (memory is out), behind which
//          it restarts; the finalizer lets it be tried again, by whichever streamer is free.
class FlushStreamer final : public Actor<FlushStreamer, Stream, Retired, PrepareLog> {
 public:
  // For its options. Whoever counts what fails is the finalizer, which degrades the engine; a
  // streamer is always worth another try.
  static Supervision Supervised();

  FlushStreamer(const ActorOptions& actor_options, storage::Environment& environment,
                storage::CommitLog& log);

 private:
  friend Actor;
  void Handle(Stream stream, Reply<Streamed> reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(Retired retired) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(PrepareLog prepare) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);

  absl::StatusOr<Streamed> WorkOut(Stream& stream) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  // One step towards the log's next file, if it wants one. True while there is more to do.
  bool PrepareStep();

  // Constant after construction.
  storage::Environment& environment_;
  storage::CommitLog& log_;  // Its thread-safe parts.
};

}  // namespace millrace
