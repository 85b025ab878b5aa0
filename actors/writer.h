#pragma once

#include <deque>

#include "absl/functional/any_invocable.h"

#include "millrace/actors/build_applier.h"
#include "millrace/actors/health.h"
#include "millrace/actors/pacing.h"
#include "millrace/actors/repair_applier.h"
#include "millrace/actors/shared_transaction.h"
#include "millrace/actors/slice_applier.h"
#include "millrace/messages/flush.h"
#include "millrace/messages/index_build.h"
#include "millrace/messages/repair.h"
#include "millrace/runtime/actor.h"
#include "millrace/storage/environment.h"

namespace millrace {

// Writer is the sole owner of LMDB's write transaction, which the work of all senders shares.
//   In:   ApplySlice, in order, from the FlushFinalizer; tasks and entries of index builds from the
//         Rebuilder; repairs from any thread.
//   Out:  one Reply per message, after its transaction is synced.
//   Blocks on: LMDB's commit. Never on a mailbox.
//   Fails: a transaction that aborts answers Aborted to every sender in it; each goes on from its
//          own durable row (see SharedTransaction). When the sync or the meta page failed, nothing
//          more is written: it escalates.
// A new kind of work is a message, an Applier for it, and a Handle that queues the two.
class Writer final : public Actor<Writer, ApplySlice, CreateTask, ChangeTask, ForgetTasks,
                                  ApplyEntries, RetireGenerations, DeleteEntries, RemoveEntries,
                                  RepairEntries, RepairLinks, RepairCount> {
 public:
  Writer(const ActorOptions& actor_options, storage::Environment& environment,
         storage::WritePermit permit, Pacing& pacing, Health& health);

 private:
  friend Actor;
  absl::Status OnStart() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(ApplySlice slice, Reply<SliceApplied> reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(CreateTask create, Reply<TaskChanged> reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(ChangeTask change, Reply<TaskChanged> reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(ForgetTasks forget, Reply<TasksForgotten> reply)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(ApplyEntries apply, Reply<TaskChanged> reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(RetireGenerations retire, Reply<GenerationsRetired> reply)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(DeleteEntries remove, Reply<GenerationsRetired> reply)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(RemoveEntries remove, Reply<GenerationsRetired> reply)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(RepairEntries repair, Reply<Repaired> reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(RepairLinks repair, Reply<Repaired> reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(RepairCount repair, Reply<Repaired> reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void OnBatchEnd() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void OnTimer(TimerId timer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void OnStop(StopReason reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);

  // Work waits here for the open transaction to take it.
  template <typename KindOfApplier, Request M>
  void Queue(KindOfApplier& applier, M message, Reply<typename M::ReplyType> reply)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void ApplyNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  // As Queue, for repairs. Between two slices of a flush, links and what they scope may not be
  // whole: work that needs them waits for the last slice, and comes before the next flush.
  template <Request M>
  void QueueBetweenFlushes(M message, Reply<typename M::ReplyType> reply)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  // Puts one message's work into the open transaction; the reply waits for its end.
  template <typename KindOfApplier, Request M>
  void Apply(KindOfApplier& applier, const M& message, Reply<typename M::ReplyType> reply)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  // Whether the open transaction is to be committed before it takes more.
  bool Full(uint64_t bytes_max) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void EndTransaction() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void NoticeFailure(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Answer() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);

  // Constant after construction.
  Pacing& pacing_;
  Health& health_;

  // Touched only on the Writer thread.
  SharedTransaction transaction_ ABSL_GUARDED_BY(owner_);
  SliceApplier slices_ ABSL_GUARDED_BY(owner_);
  BuildApplier builds_ ABSL_GUARDED_BY(owner_);
  RepairApplier repairs_ ABSL_GUARDED_BY(owner_);
  std::deque<absl::AnyInvocable<void()>> queue_ ABSL_GUARDED_BY(owner_);
  std::deque<absl::AnyInvocable<void()>> between_flushes_ ABSL_GUARDED_BY(owner_);
  MonotonicTime began_ ABSL_GUARDED_BY(owner_);  // When the open transaction was.
  bool pausing_ ABSL_GUARDED_BY(owner_) = false;
  absl::Status failure_ ABSL_GUARDED_BY(owner_);
};

}  // namespace millrace
