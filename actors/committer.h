#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

#include "millrace/actors/backpressure.h"
#include "millrace/actors/batch_effects.h"
#include "millrace/actors/catalog_state.h"
#include "millrace/actors/commit_group.h"
#include "millrace/actors/flush_finalizer.h"
#include "millrace/actors/flush_streamer.h"
#include "millrace/actors/health.h"
#include "millrace/actors/recovery.h"
#include "millrace/messages/commit.h"
#include "millrace/messages/fence.h"
#include "millrace/messages/flush.h"
#include "millrace/messages/index.h"
#include "millrace/runtime/actor.h"
#include "millrace/runtime/link.h"
#include "millrace/storage/current_rows.h"
#include "millrace/storage/environment.h"
#include "millrace/storage/lease_registry.h"

namespace millrace {

// Committer owns the log and L0: it validates batches, makes a turn's batches durable together,
// shows them to readers, answers clients, and rotates L0 for the flush pipeline.
//   In:   Commit, definitions, FindOutcome, Fence, Drain, Resume from any thread; MarkGenerations
//         from whoever changed them in LMDB; FlushPublished from the pipeline, in the order of the
//         rotations. Doorbell: commits wait in Backpressure.
//   Out:  one Reply per message; Rotated to the FlushFinalizer; Retired and PrepareLog to
//         FlushStreamers.
//   Blocks on: the log's write and sync. Never on a mailbox, never on an LMDB commit.
//   Fails: a log write or sync that fails answers its group "outcome unknown", closes the door and
//         escalates; it is never tried again. A flush that comes back failed makes the engine
//         Degraded: it is kept, and sent again by a probe or by Resume.
class Committer final : public Actor<Committer, Commit, DefineCollection, DefineIndex, DropIndex,
                                     DefineRelation, MarkGenerations, FindOutcome, Fence, EndFences,
                                     Drain, Resume, Answer<FlushPublished>> {
 public:
  struct Options {
    absl::Duration sync_interval;
    // A group is closed before it grows beyond this, so that it fits any fresh log file.
    size_t group_bytes_max = size_t{16} << 20;
    uint64_t rotate_bytes = 0;
    uint64_t rotate_rows = 0;
    absl::Duration rotate_interval;
    // The interval rotates a buffer of at least so many rows.
    uint64_t rotate_interval_rows_min = 1;
    // Flushes between rotation and publication, at least 1.
    uint32_t pending_flushes_max = 2;
    // How long a Degraded Committer waits before it tries again by itself.
    absl::Duration probe_interval = absl::Seconds(5);
  };
  // What the stages around it share with it.
  struct Neighbours {
    storage::Environment& environment;
    storage::LiveView& view;
    std::shared_ptr<storage::LeaseRegistry> leases;
    Backpressure& backpressure;
    Pacing& pacing;
    Health& health;
    FlushMetrics& flush_metrics;
    FlushFinalizer& finalizer;
    absl::Span<const std::unique_ptr<FlushStreamer>> streamers;
  };

  Committer(const ActorOptions& actor_options, const Options& options, Recovered recovered,
            const Neighbours& neighbours);

  // Has the actor rung after every publication. Before the start.
  void RingAfterPublish(Cell& actor) { rung_after_publish_.push_back(&actor); }

  // Everything up to here is in LMDB, and its manifest. For status; any thread.
  storage::Version flushed_version() const {
    return flushed_version_.load(std::memory_order_relaxed);
  }
  uint64_t manifest() const { return manifest_.load(std::memory_order_relaxed); }
  // The log, for its thread-safe parts.
  storage::CommitLog& log() { return *log_; }

 private:
  friend Actor;
  absl::Status OnStart() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(Commit commit, Reply<CommitReceipt> reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(DefineCollection define, Reply<storage::Collection> reply)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(DefineIndex define, Reply<IndexDefined> reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(DropIndex drop, Reply<IndexDropped> reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(DefineRelation define, Reply<storage::Relation> reply)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(MarkGenerations mark, Reply<Marked> reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(FindOutcome find, Reply<CommitOutcome> reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(Fence fence, Reply<FlushReceipt> reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(EndFences end, Reply<FlushReceipt> reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(Drain drain, Reply<FlushReceipt> reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(Resume resume, Reply<FlushReceipt> reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(Answer<FlushPublished> answer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void OnBatchEnd() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void OnDoorbell() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void OnTimer(TimerId timer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void OnClosing() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  bool ReadyToStop() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void OnStop(StopReason reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);

  static constexpr TimerId kSyncTimer = 1;
  static constexpr TimerId kAdmissionTimer = 2;
  static constexpr TimerId kProbeTimer = 3;
  static constexpr TimerId kRotateTimer = 4;
  static constexpr TimerId kReaderTimer = 5;

  // A commit that is accepted and waits for its group.
  struct Accepted {
    Reply<CommitReceipt> reply;
    storage::Version version;
  };
  struct Refused {
    Reply<CommitReceipt> reply;
    absl::Status status;
  };
  // Answers a definition, with its value if the group is committed.
  using Defined = absl::AnyInvocable<void(const absl::Status&) &&>;
  // A rotated buffer that is not published.
  struct Flight {
    FlushJob job;       // Without `earlier`.
    bool sent = false;  // With the finalizer; else it came back failed.
    // A flush before it came back, so it will, too; until then none is sent again.
    bool returning = false;
    // Of retired buffers that this flight's stream may still read.
    uint64_t carried_bytes = 0;
  };

  absl::StatusOr<storage::Version> Accept(const storage::WriteBatch& batch,
                                          storage::CommitToken token)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  template <typename T>
  void Define(absl::StatusOr<CatalogState::Plan<T>> plan, Reply<T> reply)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  absl::StatusOr<storage::RowView> View() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void CheckReaders() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void AdmitParked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void CloseGroup() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void AnswerGroup(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void FailLog(const absl::Status& cause) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void PrepareLog() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);

  void StartFlushes() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  bool WantsRotation() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  bool RotationIsDue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void MaybeRotate() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  absl::Status Rotate() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void SendFlights() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Degrade(const absl::Status& cause) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void FinishFlush(const FlushPublished& published) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  bool NothingCameBack() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  // What back-pressure counts: L0, and results of streams.
  uint64_t UnflushedBytes() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  // Retired buffers that nobody but snapshots can be holding.
  uint64_t BytesOfSnapshots() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  FlushReceipt Published() const;
  void AnswerPublished() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void FailWaiters(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);

  // Constant after construction.
  const Options options_;
  Neighbours neighbours_;
  std::vector<Cell*> rung_after_publish_;

  // Read by status.
  std::atomic<storage::Version> flushed_version_;
  std::atomic<uint64_t> manifest_;

  // Touched only on the Committer thread.
  std::unique_ptr<storage::CommitLog> log_;
  std::unique_ptr<storage::L0Stack> l0_;
  storage::CurrentRows current_ ABSL_GUARDED_BY(owner_);
  BatchEffects effects_ ABSL_GUARDED_BY(owner_);
  CommitGroup group_ ABSL_GUARDED_BY(owner_);
  CatalogState catalog_ ABSL_GUARDED_BY(owner_);
  absl::Status log_failure_ ABSL_GUARDED_BY(owner_);

  // The group under construction.
  bool group_is_durable_ ABSL_GUARDED_BY(owner_) = false;
  std::vector<Accepted> accepted_ ABSL_GUARDED_BY(owner_);
  std::vector<Refused> refused_ ABSL_GUARDED_BY(owner_);
  std::vector<Defined> defined_ ABSL_GUARDED_BY(owner_);
  bool interval_is_owed_ ABSL_GUARDED_BY(owner_) = false;
  bool sync_timer_set_ ABSL_GUARDED_BY(owner_) = false;
  // The log file whose next was asked for, and how far that was.
  std::pair<uint64_t, uint64_t> prepared_behind_ ABSL_GUARDED_BY(owner_);

  bool stopping_ ABSL_GUARDED_BY(owner_) = false;
  bool last_rotation_tried_ ABSL_GUARDED_BY(owner_) = false;

  // Flushes, oldest first, and who waits for a version to be published.
  Link<FlushFinalizer> finalizer_ ABSL_GUARDED_BY(owner_);
  std::deque<Flight> flights_ ABSL_GUARDED_BY(owner_);
  std::multimap<storage::Version, Reply<FlushReceipt>> waiters_ ABSL_GUARDED_BY(owner_);
  bool send_again_ ABSL_GUARDED_BY(owner_) = false;  // When all have come back.
  absl::Status degraded_ ABSL_GUARDED_BY(owner_);    // The cause, if so.
  uint64_t next_sequence_ ABSL_GUARDED_BY(owner_);
  storage::Version active_first_version_ ABSL_GUARDED_BY(owner_);
  bool active_was_skipped_ ABSL_GUARDED_BY(owner_) = false;  // It was due, and no flush free.
  MonotonicTime active_since_ ABSL_GUARDED_BY(owner_);
  MonotonicTime rotate_not_before_ ABSL_GUARDED_BY(owner_);  // After one that failed.
  MonotonicTime rotate_due_ ABSL_GUARDED_BY(owner_);         // What the rotate timer is set to.
  std::vector<storage::RememberedCommit> active_outcomes_ ABSL_GUARDED_BY(owner_);

  // Outcomes not in LMDB yet, and tokens that were said to be aborted: those can no longer commit.
  std::map<storage::CommitToken, storage::Version> recent_outcomes_ ABSL_GUARDED_BY(owner_);
  std::set<storage::CommitToken> ruled_out_ ABSL_GUARDED_BY(owner_);
};

}  // namespace millrace
