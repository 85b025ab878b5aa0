#include "millrace/actors/engine.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "glog/logging.h"

#include "millrace/actors/backpressure.h"
#include "millrace/actors/build_board.h"
#include "millrace/actors/committer.h"
#include "millrace/actors/flush_finalizer.h"
#include "millrace/actors/flush_streamer.h"
#include "millrace/actors/health.h"
#include "millrace/actors/lease_time.h"
#include "millrace/actors/pacing.h"
#include "millrace/actors/rebuilder.h"
#include "millrace/actors/recovery.h"
#include "millrace/actors/store_repair.h"
#include "millrace/actors/writer.h"
#include "millrace/runtime/runtime.h"
#include "millrace/storage/commit_log.h"
#include "millrace/storage/environment.h"
#include "millrace/storage/lease_registry.h"
#include "millrace/storage/live_view.h"
#include "millrace/storage/store_directory.h"
#include "millrace/storage/task_rows.h"
#include "millrace/storage/task_transition.h"

namespace millrace {
namespace {

using storage::Collection;

// Of actors that no client waits for. When L0 fills up, clients wait, and leave them the cores.
constexpr int kMaintenanceNiceness = 10;

// Who holds the snapshots of an audit.
constexpr char kAuditor[] = "audit";

constexpr char kStopped[] = "the engine is stopping or has stopped; open the store again";

// Not inlined: GCC 12 believes then that the answer frees the other end too.
template <typename T>
[[gnu::noinline]] void Refuse(Reply<T> reply, absl::Status status) {
  reply.Send(std::move(status));
}

// A trigger that is 0 is off.
uint64_t OrOff(uint64_t trigger) {
  return trigger == 0 ? ~uint64_t{0} : trigger;
}

storage::L0Buffer::Options ExpectedRows(const EngineOptions& options) {
  storage::L0Buffer::Options buffer;
  if (options.rotate_rows != 0) buffer.expected_rows = options.rotate_rows;
  return buffer;
}

storage::EnvironmentOptions EnvironmentOptionsOf(std::string_view directory,
                                                 const EngineOptions& options) {
  storage::EnvironmentOptions environment;
  environment.directory = std::string(directory);
  environment.create_if_missing = options.create_if_missing;
  environment.quota_bytes = options.quota_bytes;
  environment.l0_hard_bytes = options.l0_hard_bytes_max;
  return environment;
}

RebuildTriggers Triggers(const EngineOptions& options) {
  return {.growth_ratio = options.rebuild_growth_ratio,
          .age_max = options.rebuild_age_max,
          .failed_cool_down = options.rebuild_cool_down};
}

// What waiting for a build answers.
absl::StatusOr<storage::BuildResult> ResultOrError(const storage::IndexTask& task) {
  switch (task.state) {
    case storage::TaskState::kComplete:
      return storage::ResultOf(task);
    case storage::TaskState::kFailed:
      return task.error;
    case storage::TaskState::kCancelled:
      return absl::CancelledError(absl::StrCat("index build ", task.id, " was cancelled"));
    default:
      return absl::AbortedError(absl::StrCat(
          "index build ", task.id, " was superseded: the index was defined anew, or dropped"));
  }
}

}  // namespace

// Everything there is, in the order of construction; each part refers only to parts above it.
struct Engine::Parts {
  Parts(const EngineOptions& options, const Dependencies& dependencies)
      : options(options),
        clock(dependencies.clock),
        files(dependencies.files),
        driver(dependencies.driver),
        leases(std::make_shared<storage::LeaseRegistry>(storage::LeaseRegistry::Options{
            .soft_age = options.snapshot_soft_age, .hard_age = options.snapshot_hard_age})),
        pacing(clock) {}
  // Opened or not, what was started is stopped.
  ~Parts() { Stop(options.shutdown_timeout); }

  absl::Status Open(std::string_view directory);
  void BuildActors(storage::WritePermit permit, Recovered recovered);
  void BuildRebuilder(std::string_view directory);
  absl::Status GuardFormats();
  absl::StatusOr<storage::Snapshot> Snap(std::string_view owner);
  ActorOptions Tuned(ActorOptions actor_options) const;
  absl::Status Start();
  template <Request M>
  absl::StatusOr<typename M::ReplyType> AskRebuilder(M message);
  absl::StatusOr<storage::ReadTransaction> BeginRead();
  ShutdownReport Stop(absl::Duration timeout);
  void Close();
  EngineStatus Status() const;
  absl::Status Stopped() const;

  const EngineOptions options;
  Clock& clock;
  storage::FileSystem& files;
  Driver* const driver;

  // Null once closed. Clients' reads hold the mutex as readers while they begin.
  absl::Mutex closing;
  std::unique_ptr<storage::Environment> environment;
  storage::LiveView view;
  const std::shared_ptr<storage::LeaseRegistry> leases;
  Health health;
  Pacing pacing;
  FlushMetrics flush_metrics;
  std::unique_ptr<Backpressure> backpressure;

  std::unique_ptr<Writer> writer;
  std::vector<std::unique_ptr<FlushStreamer>> streamers;
  std::unique_ptr<FlushFinalizer> finalizer;
  std::unique_ptr<Committer> committer;
  BuildBoard builds;
  std::unique_ptr<Rebuilder> rebuilder;
  std::unique_ptr<Runtime> runtime;

  // Whether calls are let in, and the numbers that tokens get.
  std::atomic<bool> admitting{false};
  std::atomic<uint64_t> next_token{1};

  EngineStatus final_status;  // Once closed.
};

absl::StatusOr<std::unique_ptr<Engine>> Engine::Open(std::string_view directory,
                                                     const EngineOptions& options) {
  return Open(directory, options, Dependencies{});
}

absl::StatusOr<std::unique_ptr<Engine>> Engine::Open(std::string_view directory,
                                                     const EngineOptions& options,
                                                     const Dependencies& dependencies) {
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  auto parts = std::make_unique<Parts>(options, dependencies);
  if (absl::Status status = parts->Open(directory); !status.ok()) return status;
  return std::unique_ptr<Engine>(new Engine(std::move(parts)));
}

// Lock, environment, recovery, actors, admission: each needs the one before it.
absl::Status Engine::Parts::Open(std::string_view directory) {
  absl::StatusOr<std::unique_ptr<storage::Environment>> opened =
      storage::Environment::Open(EnvironmentOptionsOf(directory, options));
  if (!opened.ok()) return opened.status();
  environment = *std::move(opened);
  absl::StatusOr<storage::WritePermit> permit = environment->TakeWritePermit();
  if (!permit.ok()) return permit.status();
  absl::StatusOr<Recovered> recovered = Recover(
      *environment, files,
      {.directory = storage::JoinPath(directory, "log"), .file_bytes = options.log_file_bytes},
      ExpectedRows(options), view);
  if (!recovered.ok()) return recovered.status();
  for (const std::string& warning : recovered->report.warnings) LOG(WARNING) << warning;
  BuildActors(*std::move(permit), *std::move(recovered));
  BuildRebuilder(directory);
  if (absl::Status formats = GuardFormats(); !formats.ok()) return formats;
  // Nobody has the engine yet; an actor that escalates from now on closes the door for good.
  admitting.store(true, std::memory_order_release);
  return Start();
}

void Engine::Parts::BuildActors(storage::WritePermit permit, Recovered recovered) {
  const uint64_t hard_bytes = environment->quota().l0_hard_bytes();
  const uint64_t soft_bytes = std::min(options.l0_soft_bytes_max, hard_bytes / 2);
  backpressure = std::make_unique<Backpressure>(
      Backpressure::Limits{.soft_bytes_max = soft_bytes, .hard_bytes_max = hard_bytes});
  writer = std::make_unique<Writer>(Tuned({.name = "writer", .niceness = kMaintenanceNiceness}),
                                    *environment, std::move(permit), pacing, health);
  for (uint32_t i = 1; i <= options.pending_flushes_max; ++i) {
    streamers.push_back(
        std::make_unique<FlushStreamer>(Tuned({.name = absl::StrCat("streamer-", i),
                                               .supervision = FlushStreamer::Supervised(),
                                               .niceness = kMaintenanceNiceness}),
                                        *environment, *recovered.log));
  }
  finalizer = std::make_unique<FlushFinalizer>(
      Tuned({.name = "finalizer", .niceness = kMaintenanceNiceness}),
      FlushFinalizer::Options{.stream_timeout = options.stream_timeout,
                              .retries_max = options.flush_retries_max},
      FlushFinalizer::Neighbours{
          .writer = *writer, .streamers = streamers, .health = health, .metrics = flush_metrics});
  committer = std::make_unique<Committer>(
      // A turn of the Committer is a group: all that has arrived while the last one was synced.
      Tuned({.name = "committer",
             .mailbox = {.data_count_max = 16'384, .data_bytes_max = uint64_t{64} << 20},
             .batch_max = 8'192}),
      Committer::Options{.sync_interval = options.sync_interval,
                         .group_bytes_max = std::min<size_t>(storage::WriteBatch::kBytesMax,
                                                             options.log_file_bytes / 4),
                         // A small quota shrinks the limits; who waits there waits for a flush.
                         .rotate_bytes = std::min(OrOff(options.rotate_bytes), soft_bytes),
                         .rotate_rows = OrOff(options.rotate_rows),
                         .rotate_interval = options.rotate_interval,
                         .rotate_interval_rows_min = options.rotate_interval_rows_min,
                         .pending_flushes_max = options.pending_flushes_max},
      std::move(recovered),
      Committer::Neighbours{.environment = *environment,
                            .view = view,
                            .leases = leases,
                            .backpressure = *backpressure,
                            .pacing = pacing,
                            .health = health,
                            .flush_metrics = flush_metrics,
                            .finalizer = *finalizer,
                            .streamers = streamers});
}

void Engine::Parts::BuildRebuilder(std::string_view directory) {
  rebuilder = std::make_unique<Rebuilder>(
      Tuned({.name = "rebuilder",
             .supervision = Supervision::Restart(),
             .niceness = kMaintenanceNiceness}),
      Rebuilder::Options{.triggers = Triggers(options),
                         .auto_rebuild = options.auto_rebuild,
                         .retries_max = options.rebuild_retries_max,
                         .retry_delay = options.rebuild_retry_delay,
                         .memory_bytes_max = options.rebuild_memory_bytes},
      Rebuilder::Neighbours{.source = {.environment = *environment, .view = view, .leases = leases},
                            .runs = storage::RunDirectory(
                                files, storage::JoinPath(directory, storage::kRunsDirectoryName)),
                            .board = builds,
                            .pacing = pacing,
                            .committer = *committer,
                            .writer = *writer});
  committer->RingAfterPublish(*rebuilder);
}

absl::Status Engine::Parts::GuardFormats() {
  const absl::StatusOr<storage::Snapshot> snapshot = Snap("format guard");
  if (!snapshot.ok()) return snapshot.status();
  absl::Status formats = CheckFormats(*snapshot);
  if (!absl::IsFailedPrecondition(formats) || options.format_guard == FormatGuard::kFail) {
    return formats;
  }
  LOG(WARNING) << formats.message();
  return absl::OkStatus();
}

absl::StatusOr<storage::Snapshot> Engine::Parts::Snap(std::string_view owner) {
  return storage::Snapshot::Take({.environment = *environment, .view = view, .leases = leases},
                                 owner, LeaseTime(clock.Now()));
}

ActorOptions Engine::Parts::Tuned(ActorOptions actor_options) const {
  actor_options.clock = &clock;
  if (driver != nullptr) driver->Tune(actor_options);
  return actor_options;
}

// Who is sent to starts before who sends, and stops after him.
absl::Status Engine::Parts::Start() {
  Runtime::Options runtime_options;
  runtime_options.shutdown_timeout = options.shutdown_timeout;
  runtime_options.driver = driver;
  runtime_options.stop_on_escalate = true;
  runtime_options.on_escalate = [this](Cell& /*actor*/, const absl::Status& cause) {
    health.Fail(cause);
    backpressure->Close(cause);
    admitting.store(false, std::memory_order_release);
    LOG(ERROR) << "the engine stops: " << health.status();
  };
  runtime = std::make_unique<Runtime>(std::move(runtime_options));
  runtime->Add(*writer);
  for (const auto& streamer : streamers) runtime->Add(*streamer);
  runtime->Add(*finalizer);
  runtime->Add(*committer);
  runtime->Add(*rebuilder);
  return runtime->Start();
}

ShutdownReport Engine::Parts::Stop(absl::Duration timeout) {
  admitting.store(false, std::memory_order_release);
  ShutdownReport report;
  if (runtime != nullptr) report = runtime->Shutdown(timeout);
  Close();
  return report;
}

// After the last actor: the snapshots, once their running calls have ended; the log; the
// environment, whose lock goes last.
void Engine::Parts::Close() {
  leases->Close();  // Not under the mutex: a running scan may ask for another snapshot.
  absl::MutexLock lock(&closing);
  if (environment == nullptr) return;
  if (committer != nullptr) {
    const absl::Status status = committer->log().CloseCleanly();
    if (!status.ok()) LOG(WARNING) << "the commit log was not closed cleanly: " << status;
  }
  final_status = Status();
  environment.reset();
}

// What calls are answered that are no longer let in: why the engine failed, if it did.
absl::Status Engine::Parts::Stopped() const {
  const absl::Status cause = health.final_cause();
  return WithOutcome(cause.ok() ? absl::CancelledError(kStopped) : cause, Outcome::kNotExecuted);
}

EngineStatus Engine::Parts::Status() const {
  EngineStatus status;
  status.published_version = view.published();
  status.health = health.status();
  if (committer != nullptr) {
    status.flushed_version = committer->flushed_version();
    status.manifest = committer->manifest();
    status.epoch = committer->log().epoch();
    status.l0_bytes = backpressure->l0_bytes();
    status.l0_soft_bytes_max = backpressure->limits().soft_bytes_max;
    status.l0_hard_bytes_max = backpressure->limits().hard_bytes_max;
    status.parked_commits = backpressure->parked_count();
    status.admission_delay = backpressure->delay();
    status.degraded = health.degraded();
    status.flush = flush_metrics.Status();
  }
  status.used_bytes = environment->used_bytes();
  status.quota_bytes = environment->quota().quota_bytes();
  if (runtime != nullptr) status.actors = runtime->Status();
  return status;
}

Engine::Engine(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {
}

Engine::~Engine() = default;

absl::StatusOr<Collection> Engine::OpenCollection(std::string_view name) {
  absl::StatusOr<storage::Snapshot> snapshot = TakeSnapshot();
  if (!snapshot.ok()) return snapshot.status();
  return snapshot->FindCollection(name);
}

absl::StatusOr<Collection> Engine::CreateCollection(std::string_view name) {
  if (!parts_->admitting.load(std::memory_order_acquire)) return parts_->Stopped();
  return parts_->committer->Ask(DefineCollection{.name = std::string(name)})
      .Wait(parts_->options.commit_timeout);
}

// What is defined is in the log; a task that cannot be written now is written by the next start, or
// behind one of the next flushes.
absl::StatusOr<IndexDefined> Engine::CreateIndex(const Collection& collection,
                                                 const storage::IndexOptions& options) {
  if (!parts_->admitting.load(std::memory_order_acquire)) return parts_->Stopped();
  absl::StatusOr<IndexDefined> defined =
      parts_->committer->Ask(DefineIndex{.collection = collection.id, .options = options})
          .Wait(parts_->options.commit_timeout);
  if (!defined.ok()) return defined;
  if (defined->replaced.has_value()) {
    parts_->AskRebuilder(ForgetIndex{.definition = *defined->replaced}).status().IgnoreError();
  }
  if (defined->complete) return defined;
  const absl::StatusOr<storage::IndexTask> task = parts_->AskRebuilder(millrace::ScheduleBuild{
      .request = {.index = defined->definition.id, .reason = storage::BuildReason::kDefinition}});
  if (task.ok()) defined->build = task->id;
  return defined;
}

absl::StatusOr<IndexDropped> Engine::DropIndex(const Collection& collection,
                                               std::string_view name) {
  if (!parts_->admitting.load(std::memory_order_acquire)) return parts_->Stopped();
  absl::StatusOr<IndexDropped> dropped =
      parts_->committer
          ->Ask(millrace::DropIndex{.collection = collection.id, .name = std::string(name)})
          .Wait(parts_->options.commit_timeout);
  // Its entries are deleted in time; if not now, behind the next start.
  if (dropped.ok()) {
    parts_->AskRebuilder(ForgetIndex{.definition = dropped->definition}).status().IgnoreError();
  }
  return dropped;
}

template <Request M>
absl::StatusOr<typename M::ReplyType> Engine::Parts::AskRebuilder(M message) {
  if (!admitting.load(std::memory_order_acquire)) return Stopped();
  return rebuilder->Ask(std::move(message)).Wait(options.commit_timeout);
}

absl::StatusOr<storage::ReadTransaction> Engine::Parts::BeginRead() {
  if (!admitting.load(std::memory_order_acquire)) return Stopped();
  return environment->BeginRead();
}

absl::StatusOr<storage::IndexTask> Engine::ScheduleBuild(const storage::BuildRequest& request) {
  return parts_->AskRebuilder(millrace::ScheduleBuild{.request = request});
}

absl::StatusOr<storage::BuildResult> Engine::WaitForBuild(
    storage::TaskId task, absl::Duration timeout,
    absl::FunctionRef<void(const BuildProgress&)> watch) {
  const absl::StatusOr<storage::IndexTask> now = FindBuild(task);
  if (!now.ok()) return now.status();
  if (!storage::IsFinal(*now)) {
    const absl::StatusOr<storage::IndexTask> ended = parts_->builds.Wait(task, timeout, watch);
    if (!ended.ok()) return ended.status();
    return ResultOrError(*ended);
  }
  watch({.task = task,
         .attempt = now->attempts + 1,
         .phase = now->phase,
         .completed = now->counts.indexed,
         .total = now->counts.indexed,
         .elapsed = now->active,
         .eta = absl::ZeroDuration()});
  return ResultOrError(*now);
}

absl::StatusOr<storage::IndexTask> Engine::CancelBuild(storage::TaskId task) {
  return parts_->AskRebuilder(ControlBuild{.task = task, .action = ControlBuild::Action::kCancel});
}

absl::StatusOr<storage::IndexTask> Engine::PauseBuild(storage::TaskId task) {
  return parts_->AskRebuilder(ControlBuild{.task = task, .action = ControlBuild::Action::kPause});
}

absl::StatusOr<storage::IndexTask> Engine::ResumeBuild(storage::TaskId task) {
  return parts_->AskRebuilder(ControlBuild{.task = task, .action = ControlBuild::Action::kResume});
}

absl::StatusOr<storage::IndexTask> Engine::RetryBuild(storage::TaskId task, bool reset) {
  return parts_->AskRebuilder(
      ControlBuild{.task = task, .action = ControlBuild::Action::kRetry, .reset = reset});
}

absl::StatusOr<std::vector<storage::TaskId>> Engine::RetryFailedBuilds(bool reset) {
  absl::StatusOr<BuildsRetried> retried =
      parts_->AskRebuilder(millrace::RetryFailedBuilds{.reset = reset});
  if (!retried.ok()) return retried.status();
  return std::move(retried->tasks);
}

absl::StatusOr<uint64_t> Engine::CleanUpBuilds() {
  const absl::StatusOr<TasksForgotten> forgotten = parts_->AskRebuilder(millrace::CleanUpBuilds{});
  if (!forgotten.ok()) return forgotten.status();
  return forgotten->tasks.size();
}

absl::StatusOr<std::vector<storage::IndexTask>> Engine::ListBuilds() const {
  absl::ReaderMutexLock lock(&parts_->closing);
  const absl::StatusOr<storage::ReadTransaction> transaction = parts_->BeginRead();
  if (!transaction.ok()) return transaction.status();
  return storage::ListTasks(*transaction);
}

absl::StatusOr<storage::IndexTask> Engine::FindBuild(storage::TaskId task) const {
  absl::ReaderMutexLock lock(&parts_->closing);
  const absl::StatusOr<storage::ReadTransaction> transaction = parts_->BeginRead();
  if (!transaction.ok()) return transaction.status();
  return storage::FindTask(*transaction, task);
}

absl::StatusOr<IndexStatus> Engine::GetIndexStatus(const storage::IndexDefinition& index) const {
  absl::ReaderMutexLock lock(&parts_->closing);
  const absl::StatusOr<storage::ReadTransaction> transaction = parts_->BeginRead();
  if (!transaction.ok()) return transaction.status();
  absl::StatusOr<IndexStatus> status = ReadIndexStatus(*transaction, index);
  if (!status.ok()) return status;
  DeriveLifecycle(Triggers(parts_->options), parts_->clock.WallNow(), &*status);
  if (status->task.has_value()) status->progress = parts_->builds.Find(status->task->id);
  return status;
}

absl::StatusOr<storage::Relation> Engine::DefineRelation(const storage::RelationOptions& options) {
  if (!parts_->admitting.load(std::memory_order_acquire)) return parts_->Stopped();
  return parts_->committer->Ask(millrace::DefineRelation{.options = options})
      .Wait(parts_->options.commit_timeout);
}

absl::StatusOr<storage::Relation> Engine::OpenRelation(std::string_view name) {
  absl::StatusOr<storage::Snapshot> snapshot = TakeSnapshot();
  if (!snapshot.ok()) return snapshot.status();
  return snapshot->FindRelation(name);
}

absl::StatusOr<std::vector<Collection>> Engine::ListCollections() {
  absl::StatusOr<storage::Snapshot> snapshot = TakeSnapshot();
  if (!snapshot.ok()) return snapshot.status();
  return snapshot->ListCollections();
}

Pending<CommitReceipt> Engine::Commit(storage::WriteBatch batch, const CommitOptions& options) {
  absl::Status refusal = batch.status();
  if (refusal.ok() && batch.empty()) refusal = absl::InvalidArgumentError("the batch is empty");
  if (!parts_->admitting.load(std::memory_order_acquire)) refusal = parts_->Stopped();
  if (!refusal.ok()) {
    auto [reply, pending] = MakeReply<CommitReceipt>();
    Refuse(std::move(reply), WithOutcome(std::move(refusal), Outcome::kNotExecuted));
    return std::move(pending);
  }
  batch.Normalize();
  millrace::Commit commit{.batch = std::move(batch),
                          .durability = options.durability.value_or(parts_->options.durability),
                          .token = options.token};
  const MonotonicTime deadline =
      parts_->clock.Now() + options.timeout.value_or(parts_->options.commit_timeout);
  if (parts_->backpressure->Open()) {
    return parts_->committer->AskUntil(std::move(commit), deadline);
  }
  auto [reply, pending] = MakeReply<CommitReceipt>();
  parts_->backpressure->Park(
      {.commit = std::move(commit), .reply = std::move(reply), .deadline = deadline});
  parts_->committer->Ring();
  return std::move(pending);
}

CommitToken Engine::NewToken() {
  return {.epoch = parts_->committer->log().epoch(),
          .number = parts_->next_token.fetch_add(1, std::memory_order_relaxed)};
}

absl::StatusOr<CommitOutcome> Engine::GetOutcome(CommitToken token) {
  if (token.epoch == 0) {
    return absl::InvalidArgumentError("the token names no commit; Engine::NewToken gives one");
  }
  if (!parts_->admitting.load(std::memory_order_acquire)) return parts_->Stopped();
  return parts_->committer->Ask(FindOutcome{.token = token}).Wait(parts_->options.commit_timeout);
}

absl::StatusOr<storage::Snapshot> Engine::TakeSnapshot(std::string_view owner) {
  absl::ReaderMutexLock lock(&parts_->closing);
  if (!parts_->admitting.load(std::memory_order_acquire)) return parts_->Stopped();
  return parts_->Snap(owner);
}

FlushTicket Engine::Flush() {
  if (!parts_->admitting.load(std::memory_order_acquire)) {
    auto [reply, pending] = MakeReply<FlushReceipt>();
    Refuse(std::move(reply), parts_->Stopped());
    return std::move(pending);
  }
  return parts_->committer->Ask(Fence{});
}

absl::StatusOr<FlushReceipt> Engine::Drain(absl::Duration timeout) {
  if (!parts_->admitting.load(std::memory_order_acquire)) return parts_->Stopped();
  return parts_->committer->Ask(millrace::Drain{}).Wait(timeout);
}

absl::StatusOr<FlushReceipt> Engine::Resume(absl::Duration timeout) {
  if (!parts_->admitting.load(std::memory_order_acquire)) return parts_->Stopped();
  return parts_->committer->Ask(millrace::Resume{}).Wait(timeout);
}

absl::StatusOr<storage::AuditReport> Engine::Audit(const storage::AuditOptions& options) {
  return AuditStore([this] { return TakeSnapshot(kAuditor); }, options);
}

absl::StatusOr<RepairReport> Engine::Repair(const storage::AuditOptions& options,
                                            const storage::AuditReport* audit) {
  const absl::Duration timeout = parts_->options.commit_timeout;
  return RepairStore({.take_snapshot = [this] { return TakeSnapshot(kAuditor); },
                      .flush = [&] { return Flush().Wait(timeout).status(); },
                      .writer = *parts_->writer,
                      .timeout = timeout},
                     options, audit);
}

EngineStatus Engine::GetStatus() const {
  absl::ReaderMutexLock lock(&parts_->closing);
  return parts_->environment != nullptr ? parts_->Status() : parts_->final_status;
}

ShutdownReport Engine::Shutdown() {
  return Shutdown(parts_->options.shutdown_timeout);
}

ShutdownReport Engine::Shutdown(absl::Duration timeout) {
  return parts_->Stop(timeout);
}

}  // namespace millrace
