#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "millrace/actors/awaited.h"
#include "millrace/actors/build_board.h"
#include "millrace/actors/build_host.h"
#include "millrace/actors/committer.h"
#include "millrace/actors/index_build.h"
#include "millrace/actors/index_status.h"
#include "millrace/actors/pacing.h"
#include "millrace/actors/retired_generations.h"
#include "millrace/actors/writer.h"
#include "millrace/messages/fence.h"
#include "millrace/messages/index.h"
#include "millrace/messages/index_build.h"
#include "millrace/runtime/actor.h"
#include "millrace/runtime/link_queue.h"
#include "millrace/storage/snapshot.h"
#include "millrace/storage/sorted_run.h"

namespace millrace {

// A retry is never further away, wherever the wall clock jumps.
inline constexpr absl::Duration kRetryDelayMax = absl::Hours(1);

// Rebuilder builds indexes, one at a time, beside commits and lookups, and deletes what builds have
// left behind. What it knows of tasks are copies of what the Writer has answered: their rows change
// in the Writer alone. The steps of a build are IndexBuild's.
//   In:   ScheduleBuild, ControlBuild, RetryFailedBuilds, CleanUpBuilds, ForgetIndex from any
//         thread; answers of Writer and Committer. Doorbell: its own, for the next piece of work;
//         and something was published.
//   Out:  tasks and entries to the Writer; generations and fences to the Committer; what is going
//         on to the BuildBoard.
//   Blocks on: reads of LMDB, its run files. Never on another actor.
//   Fails: an attempt that fails becomes a row, with the time of the next one. Whatever is not as
//          it thought it was is read again from LMDB, as at its start.
class Rebuilder final
    : public Actor<Rebuilder, ScheduleBuild, ControlBuild, RetryFailedBuilds, CleanUpBuilds,
                   ForgetIndex, Answer<TaskChanged>, Answer<TasksForgotten>,
                   Answer<GenerationsRetired>, Answer<Marked>, Answer<FlushReceipt>>,
      private BuildHost,
      private RetiredGenerations::Host {
 public:
  struct Options {
    RebuildTriggers triggers;
    bool auto_rebuild = false;
    uint32_t retries_max = 3;
    absl::Duration retry_delay = absl::Seconds(60);
    size_t memory_bytes_max = size_t{64} << 20;
    uint64_t run_row_min = 5'000;
  };
  struct Neighbours {
    storage::Snapshot::Source source;
    storage::RunDirectory runs;
    BuildBoard& board;
    const Pacing& pacing;
    Committer& committer;
    Writer& writer;
  };

  Rebuilder(const ActorOptions& actor_options, const Options& options,
            const Neighbours& neighbours);

 private:
  friend Actor;
  using TaskReply = Reply<storage::IndexTask>;

  absl::Status OnStart() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(ScheduleBuild schedule, TaskReply reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(ControlBuild control, TaskReply reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(RetryFailedBuilds retry, Reply<BuildsRetried> reply)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(CleanUpBuilds clean_up, Reply<TasksForgotten> reply)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(ForgetIndex forget, Reply<GenerationsRetired> reply)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  template <typename T>
  void Handle(Answer<T> answer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_) {
    std::get<Awaited<T>>(awaited_).Take(std::move(answer));
    writer_.SendWaiting();
    committer_.SendWaiting();
  }
  void OnDoorbell() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void OnTimer(TimerId timer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void OnClosing() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void OnStop(StopReason reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);

  // BuildHost and RetiredGenerations::Host.
  void ChangeTask(std::vector<storage::TaskEvent> events, Then<TaskChanged> then) override;
  void Apply(ApplyEntries entries, Then<TaskChanged> then) override;
  void Remove(RemoveEntries entries, Then<GenerationsRetired> then) override;
  void FenceBuild(Then<FlushReceipt> then) override;
  void Enforce(const storage::GenerationState& state) override;
  uint64_t TransactionBytesMax() const override { return pacing_.BytesMax(); }
  absl::StatusOr<storage::Snapshot> TakeSnapshot() override;
  MonotonicTime Now() const override { return clock().Now(); }
  void Show(const BuildProgress& progress) override { board_.Show(progress); }
  void Trouble(const absl::Status& cause) override;
  void FenceRetired(Then<FlushReceipt> then) override;
  void Delete(DeleteEntries remove, Then<GenerationsRetired> then) override;
  void WorkAgain() override { Ring(); }
  void WorkLater(const absl::Status& cause) override;

  // A task that is not at its end.
  struct Known {
    storage::IndexTask task;
    MonotonicTime due = MonotonicTime::Infinite();  // Of a failed one.
    bool asked = false;                             // The Writer is about to change it.
  };

  // The answer as a message of this actor, for `then`.
  template <typename T>
  Reply<T> Await(Then<T> then) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_) {
    return ReplyTo<T>(std::get<Awaited<T>>(awaited_).Add(std::move(then)));
  }
  // The same, unless the build has ended by then.
  template <typename T>
  Reply<T> AwaitForBuild(Then<T> then) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);

  // What it knows, and whence.
  absl::Status Load() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  absl::Status ReadDefinitions() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  absl::Status FindOrphans() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  absl::Status RemoveOrphanRuns() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void ReloadLater(const absl::Status& cause) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  absl::StatusOr<IndexPlan> PlanFor(const storage::BuildRequest& request)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  absl::StatusOr<storage::IndexTask> ReadTask(storage::TaskId task)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  storage::IndexDefinition DefinitionOf(storage::IndexId index)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  // For certain: what cannot be read is not dropped.
  bool IsDropped(storage::IndexId index) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  bool Builds(storage::TaskId task) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_) {
    return build_ != nullptr && build_->task().id == task;
  }

  // What becomes of tasks.
  void Create(const storage::IndexDefinition& definition, const storage::BuildRequest& request,
              Then<TaskChanged> then) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Change(const storage::IndexTask& task, std::vector<storage::TaskEvent> events,
              Then<TaskChanged> then) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void DropIndex(const storage::IndexDefinition& definition,
                 std::vector<storage::Generation> orphans, Reply<GenerationsRetired> reply)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void RetryEach(std::vector<storage::IndexTask> failed, bool reset, BuildsRetried done,
                 Reply<BuildsRetried> reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Learn(const TaskChanged& changed) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Remember(const storage::IndexTask& task) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void EndTasksOf(storage::IndexId index, storage::TaskId except)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void RemoveRuns(storage::TaskId task) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void TellGenerations(const storage::GenerationState& state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  // For an answer of which only an error matters: then all is looked at anew.
  Then<TaskChanged> OrReload() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);

  // What is to be done next.
  void StartNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void StartBuild(storage::IndexTask task, absl::StatusOr<IndexPlan> plan, ProgressMeter meter)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void FailBuild(const absl::Status& cause) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void RetryDue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void CheckTriggers() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  absl::Status TriggerBuilds() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  // When it wants to be built for its age alone; infinite if something else comes before.
  absl::Time AgesAt(const IndexStatus& index) const;
  void SetWakeTimer() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);

  static constexpr TimerId kWakeTimer = 1;

  // Constant after construction.
  const Options options_;
  const storage::Snapshot::Source source_;
  BuildBoard& board_;
  const Pacing& pacing_;

  // Touched only on the Rebuilder thread.
  storage::RunDirectory runs_ ABSL_GUARDED_BY(owner_);
  LinkQueue<Committer> committer_ ABSL_GUARDED_BY(owner_);
  LinkQueue<Writer> writer_ ABSL_GUARDED_BY(owner_);
  std::tuple<Awaited<TaskChanged>, Awaited<TasksForgotten>, Awaited<GenerationsRetired>,
             Awaited<Marked>, Awaited<FlushReceipt>>
      awaited_ ABSL_GUARDED_BY(owner_);

  std::map<storage::IndexId, storage::IndexDefinition> definitions_ ABSL_GUARDED_BY(owner_);
  // Indexes that a newer version defined, or whose rows are damaged: they are left alone.
  std::map<storage::IndexId, absl::Status> unreadable_ ABSL_GUARDED_BY(owner_);
  // What the Committer was told last, and whether it claims unique values in the building one.
  std::map<storage::IndexId, std::pair<storage::GenerationState, bool>> told_
      ABSL_GUARDED_BY(owner_);
  // The building generation in which it shall.
  std::pair<storage::IndexId, storage::Generation> enforced_ ABSL_GUARDED_BY(owner_) = {0, 0};
  std::map<storage::TaskId, Known> tasks_ ABSL_GUARDED_BY(owner_);
  std::unique_ptr<IndexBuild> build_ ABSL_GUARDED_BY(owner_);
  uint64_t build_number_ ABSL_GUARDED_BY(owner_) = 0;  // Of build_, of all that there were.
  RetiredGenerations retired_ ABSL_GUARDED_BY(owner_);

  bool stopping_ ABSL_GUARDED_BY(owner_) = false;
  absl::Duration reload_delay_ ABSL_GUARDED_BY(owner_) = absl::ZeroDuration();
  MonotonicTime reload_at_ ABSL_GUARDED_BY(owner_) = MonotonicTime::Infinite();
  MonotonicTime retired_at_ ABSL_GUARDED_BY(owner_) = MonotonicTime();  // Not before.
  MonotonicTime triggers_at_ ABSL_GUARDED_BY(owner_) = MonotonicTime();
  MonotonicTime age_at_ ABSL_GUARDED_BY(owner_) = MonotonicTime::Infinite();  // The next one ages.
};

}  // namespace millrace
