#pragma once

#include "millrace/actors/flush_finalizer.h"
#include "millrace/actors/slice_builder.h"
#include "millrace/messages/flush.h"
#include "millrace/runtime/actor.h"
#include "millrace/storage/commit_log.h"
#include "millrace/storage/environment.h"

namespace millrace {

// FlushStreamer does the thinking of a flush: it turns a sealed buffer into slices while commits go
// on. It also does what the Committer has no time for: next log files, retired buffers.
//   In:   Rotated, Retired, PrepareLog from the Committer.
//   Out:  Streamed to the FlushFinalizer; the Reply of Rotated goes with it.
//   Blocks on: reads of LMDB, writes of log files that nobody uses yet.
//   Fails: an error is the flush's reply; the Committer sends it again.
class FlushStreamer final : public Actor<FlushStreamer, Rotated, Retired, PrepareLog> {
 public:
  FlushStreamer(const ActorOptions& actor_options, storage::Environment& environment,
                storage::CommitLog& log, FlushFinalizer& finalizer);

 private:
  friend Actor;
  void Handle(Rotated rotated, Reply<FlushPublished> reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(Retired retired) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(PrepareLog prepare) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);

  // One step towards the log's next file, if it wants one. True while there is more to do.
  bool PrepareStep();

  // Constant after construction.
  storage::Environment& environment_;
  storage::CommitLog& log_;  // Its thread-safe parts.
  FlushFinalizer& finalizer_;
};

}  // namespace millrace
