#pragma once

#include <vector>

#include "millrace/actors/health.h"
#include "millrace/actors/pacing.h"
#include "millrace/actors/slice_applier.h"
#include "millrace/messages/flush.h"
#include "millrace/runtime/actor.h"
#include "millrace/storage/environment.h"

namespace millrace {

// Writer is the sole owner of LMDB's write transaction.
//   In:   ApplySlice, in order, from the FlushFinalizer.
//   Out:  one Reply per slice, after its transaction is synced.
//   Blocks on: LMDB's commit. Never on a mailbox.
//   Fails: a transaction that aborts answers Aborted to every sender in it; each goes on from its
//   own
//          durable row. When the sync or the meta page failed, nothing more is written: it
//          escalates.
class Writer final : public Actor<Writer, ApplySlice> {
 public:
  Writer(const ActorOptions& actor_options, storage::Environment& environment,
         storage::WritePermit permit, const Pacing& pacing, Health& health);

 private:
  friend Actor;
  absl::Status OnStart() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(ApplySlice slice, Reply<SliceApplied> reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void OnBatchEnd() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void OnTimer(TimerId timer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void OnStop(StopReason reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);

  struct Waiting {
    Reply<SliceApplied> reply;
    absl::StatusOr<SliceApplied> answer;
  };

  void EndTransaction() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  absl::Status Commit() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void FailWaiting(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Answer() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);

  // Constant after construction.
  const Pacing& pacing_;
  Health& health_;

  // Touched only on the Writer thread.
  SliceApplier applier_ ABSL_GUARDED_BY(owner_);
  std::vector<Waiting> waiting_ ABSL_GUARDED_BY(owner_);  // For the open transaction.
  std::vector<Waiting> decided_ ABSL_GUARDED_BY(owner_);  // For the end of the pause.
  absl::Status failure_ ABSL_GUARDED_BY(owner_);
};

}  // namespace millrace
