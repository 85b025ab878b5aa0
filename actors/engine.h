#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "millrace/actors/flush_metrics.h"
#include "millrace/actors/index_status.h"
#include "millrace/actors/options.h"
#include "millrace/actors/repair_report.h"
#include "millrace/messages/commit.h"
#include "millrace/messages/error.h"
#include "millrace/messages/fence.h"
#include "millrace/messages/index.h"
#include "millrace/messages/index_build.h"
#include "millrace/runtime/actor_metrics.h"
#include "millrace/runtime/clock.h"
#include "millrace/runtime/reply.h"
#include "millrace/runtime/shutdown_report.h"
#include "millrace/storage/audit_report.h"
#include "millrace/storage/document.h"
#include "millrace/storage/file_system.h"
#include "millrace/storage/row_key.h"
#include "millrace/storage/snapshot.h"
#include "millrace/storage/write_batch.h"

namespace millrace {

class Driver;

// How one commit differs from the engine's defaults. Value.
struct CommitOptions {
  std::optional<Durability> durability;
  // How long the commit may wait to be let in; the engine's commit_timeout if not set. How long to
  // wait for the answer is what Pending::Wait is told.
  std::optional<absl::Duration> timeout;
  // From Engine::NewToken: makes the outcome answerable by Engine::GetOutcome, also after a
  // restart.
  CommitToken token;
};

// The answer to one Engine::Flush(), to be waited for from a client's thread.
using FlushTicket = Pending<FlushReceipt>;

// What stat shows. Value.
struct EngineStatus {
  storage::Version published_version = 0;  // The newest that a snapshot sees.
  storage::Version flushed_version = 0;    // Everything up to here is in LMDB.
  uint64_t manifest = 0;                   // The head manifest's number.
  uint64_t epoch = 0;                      // This life of the log.
  uint64_t l0_bytes = 0;           // Active, sealed and retired buffers, results of streams.
  uint64_t l0_soft_bytes_max = 0;  // From here on commits are delayed,
  uint64_t l0_hard_bytes_max = 0;  // and from here on they wait.
  uint64_t parked_commits = 0;     // Delayed or waiting now.
  absl::Duration admission_delay = absl::ZeroDuration();  // From one of them to the next.
  uint64_t used_bytes = 0;                                // Of LMDB's file.
  uint64_t quota_bytes = 0;
  absl::Status health;    // OK, or the first cause of the trouble.
  absl::Status degraded;  // OK, or why flushes wait for a probe or for Resume().
  FlushStatus flush;
  std::vector<ActorStatus> actors;
};

// The door to a store: one object, opened on a directory, used from any number of threads.
// Thread-safe. Snapshots and pending answers do not keep it alive: used afterwards they answer
// Cancelled. Destruction is Shutdown with the default deadline.
class Engine {
 public:
  // Where everything comes from that a test replaces. Outlives the engine.
  struct Dependencies {
    Clock& clock = SystemClock();
    storage::FileSystem& files = storage::SystemFileSystem();
    // Null is a thread for each actor.
    Driver* driver = nullptr;
  };

  // Opens the store in `directory`, creating it if there is none, and recovers what was
  // acknowledged. Unavailable: another process has it (GetOwnerPid). DataLoss: damage, naming file
  // and offset. FailedPrecondition: not a store, or of another format version. PermissionDenied.
  // InvalidArgument: an option out of range. Blocks for the recovery.
  static absl::StatusOr<std::unique_ptr<Engine>> Open(std::string_view directory,
                                                      const EngineOptions& options = {});
  static absl::StatusOr<std::unique_ptr<Engine>> Open(std::string_view directory,
                                                      const EngineOptions& options,
                                                      const Dependencies& dependencies);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Finds a collection. NotFound if there is none of that name.
  absl::StatusOr<storage::Collection> OpenCollection(std::string_view name);
  // Finds or creates a collection; durable when it returns. InvalidArgument: a name has 1 to 255
  // bytes of UTF-8.
  absl::StatusOr<storage::Collection> CreateCollection(std::string_view name);
  // All collections, by name.
  absl::StatusOr<std::vector<storage::Collection>> ListCollections();

  // Defines an index, or defines it anew; durable when it returns. Over an empty collection it is
  // complete at once; else lookups scan until it is built, which begins now: WaitForBuild. Errors:
  // DefineIndex, messages/index.h.
  absl::StatusOr<IndexDefined> CreateIndex(const storage::Collection& collection,
                                           const storage::IndexOptions& options);
  // NotFound if there is no such index.
  absl::StatusOr<IndexDropped> DropIndex(const storage::Collection& collection,
                                         std::string_view name);
  // Asks for an index to be built anew, beside commits and lookups: the new build takes the place
  // of the old one in one step. Durable when it returns. Errors: ScheduleBuild,
  // messages/index_build.h.
  absl::StatusOr<storage::IndexTask> ScheduleBuild(const storage::BuildRequest& request);
  // Waits until the build is at its end, and says what it met. `watch` is called on this thread as
  // it goes on, and once at the end. The error of a build that failed for good; Cancelled or
  // Aborted if it was cancelled or superseded; DeadlineExceeded, and it goes on.
  absl::StatusOr<storage::BuildResult> WaitForBuild(
      storage::TaskId task, absl::Duration timeout = absl::InfiniteDuration(),
      absl::FunctionRef<void(const BuildProgress&)> watch = [](const BuildProgress&) {});
  // What can be done with a build that is not at its end; `reset` also retries one that has used up
  // its attempts. Durable when they return. Errors: messages/index_build.h.
  absl::StatusOr<storage::IndexTask> CancelBuild(storage::TaskId task);
  absl::StatusOr<storage::IndexTask> PauseBuild(storage::TaskId task);
  absl::StatusOr<storage::IndexTask> ResumeBuild(storage::TaskId task);
  absl::StatusOr<storage::IndexTask> RetryBuild(storage::TaskId task, bool reset = false);
  absl::StatusOr<std::vector<storage::TaskId>> RetryFailedBuilds(bool reset = false);
  // Forgets builds that are at their end; how many.
  absl::StatusOr<uint64_t> CleanUpBuilds();
  // Looks only, on this thread: all builds that are remembered, one of them (NotFound), an index.
  absl::StatusOr<std::vector<storage::IndexTask>> ListBuilds() const;
  absl::StatusOr<storage::IndexTask> FindBuild(storage::TaskId task) const;
  absl::StatusOr<IndexStatus> GetIndexStatus(const storage::IndexDefinition& index) const;

  // Defines a relation, or finds it; durable when it returns. FailedPrecondition: it is defined
  // otherwise.
  absl::StatusOr<storage::Relation> DefineRelation(const storage::RelationOptions& options);
  // NotFound if there is none of that name.
  absl::StatusOr<storage::Relation> OpenRelation(std::string_view name);

  // Hands the batch to the Committer; blocks only while 16,384 commits or 64 MiB of them wait
  // already, at most until the timeout. The answer says that the batch is committed, visible, and
  // durable as asked; see messages/commit.h for the errors. Commits of one thread are committed in
  // the order of the calls. Dropping the Pending cancels nothing.
  Pending<CommitReceipt> Commit(storage::WriteBatch batch, const CommitOptions& options = {});
  // A fresh name for one commit.
  CommitToken NewToken();
  // What became of it.
  absl::StatusOr<CommitOutcome> GetOutcome(CommitToken token);

  // What is published now, as a lease; `owner` is shown where old snapshots are listed. Every read
  // is done on the caller's thread. ResourceExhausted: no reader slot is free.
  absl::StatusOr<storage::Snapshot> TakeSnapshot(std::string_view owner = "");

  // Flushes what was committed before the call. Answered exactly once: when all of it is in LMDB,
  // synced, or with the cause when it cannot be (IsDegraded), or Cancelled at the end. Dropping the
  // ticket cancels nothing.
  FlushTicket Flush();
  // Waits until everything that is being flushed at the time of the call is in LMDB; what is
  // rotated later does not prolong it. DeadlineExceeded; otherwise errors as of Flush().
  absl::StatusOr<FlushReceipt> Drain(absl::Duration timeout);
  // Flushes that failed as often as they may are kept, readable and in the log, and the engine is
  // Degraded: it tries again by itself every few seconds, and at once when this is called, after
  // the cause was mended. Waits for the outcome: OK if nothing is kept back any more.
  absl::StatusOr<FlushReceipt> Resume(absl::Duration timeout = absl::Seconds(60));

  // Compares what is in LMDB (Flush() brings everything there): indexes, relations and counts with
  // the records, both ways, on this thread and beside everything else. Changes nothing. What cannot
  // be checked is in the report, and why. NotFound: there is no such collection, or no such index.
  absl::StatusOr<storage::AuditReport> Audit(const storage::AuditOptions& options = {});
  // Mends what an audit of the same options has found (the one that is given, or a new one), beside
  // everything else: what is wrong is looked at again by the Writer, and follows the records of
  // that moment. Records, and values that two of them share, are not touched. A part that cannot be
  // mended is a stage that says so; the others are. Ends with another audit.
  absl::StatusOr<RepairReport> Repair(const storage::AuditOptions& options = {},
                                      const storage::AuditReport* audit = nullptr);

  EngineStatus GetStatus() const;

  // Ends admission, answers what was accepted, flushes, stops the actors in order and closes the
  // store. Waits for running reads. From any thread but an actor's, and not from a scan's callback;
  // a second call returns the same report. Past the timeout it discards what is still queued (each
  // answered Cancelled) and goes on waiting for running work.
  ShutdownReport Shutdown();
  ShutdownReport Shutdown(absl::Duration timeout);

 private:
  struct Parts;
  explicit Engine(std::unique_ptr<Parts> parts);

  std::unique_ptr<Parts> parts_;
};

}  // namespace millrace
