#include "tests/simulation/engine_simulation.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/simulation/sim_history.h"
#include "tests/simulation/sim_machine.h"
#include "tests/testing/io_shim.h"

#include "millrace/actors/engine.h"
#include "millrace/storage/task_transition.h"
#include "millrace/storage/verify.h"

namespace millrace::testing {
namespace {

using storage::Collection;
using storage::OperationKind;
using storage::Precondition;
using storage::Snapshot;
using storage::Version;

constexpr uint64_t kIdCount = 12;
constexpr int kLivesMax = 4;
constexpr absl::Duration kLifeMax = absl::Seconds(3);

// What clients may be told without anything being wrong with the engine.
bool IsExpected(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kAborted:
      return true;
    default:
      return false;
  }
}

class EngineSimulation {
 public:
  EngineSimulation(const SimOptions& options, const EngineFaults& faults)
      : sim_(options), machine_(sim_), faults_(faults) {}

  SimResult Run() {
    const int lives = 1 + static_cast<int>(random().Below(kLivesMax));
    for (int life = 0; life <= lives && failure_.empty(); ++life) {
      if (!Open(life == lives)) break;
      if (life < lives) Live();
    }
    if (engine_ != nullptr) Shutdown();
    EndLmdbFaults();
    return SimResult::Of(sim_, failure_);
  }

 private:
  SimRandom& random() { return sim_.random(); }
  void Fail(std::string what) {
    if (failure_.empty()) failure_ = std::move(what);
  }
  // Nobody hears what is said after the death of the machine, or of the engine.
  bool over() const { return machine_.dead() || stopped_; }

  // ---- Lives ----

  EngineOptions Options() {
    EngineOptions options;
    options.quota_bytes = uint64_t{1} << 30;
    options.log_file_bytes = uint64_t{1} << 20;
    options.sync_interval = absl::Milliseconds(5);
    options.rotate_interval = absl::Milliseconds(1 << random().Below(12));
    options.rotate_rows = 1 + random().Below(40);
    options.pending_flushes_max = 1 + static_cast<uint32_t>(random().Below(3));
    options.flush_retries_max = static_cast<uint32_t>(random().Below(4));
    options.stream_timeout = absl::Microseconds(1 << (6 + random().Below(20)));
    if (random().OneIn(3)) {  // Little room: back-pressure.
      options.rotate_bytes = 4096;
      options.l0_soft_bytes_max = 4096 << random().Below(6);
      options.l0_hard_bytes_max = 2 * options.l0_soft_bytes_max;
    }
    if (random().OneIn(3)) options.snapshot_soft_age = options.snapshot_hard_age = absl::Seconds(1);
    options.commit_timeout = absl::Milliseconds(100 << random().Below(6));
    return options;
  }

  // Opens the store and compares it with the history. A disk may fail and a machine may die while
  // it is being opened, but not for ever, and not if it is the `last` time.
  bool Open(bool last) {
    for (int attempt = 0; attempt < 50; ++attempt) {
      if (!last && random().OneIn(4)) machine_.DieAtCall(1 + random().Below(80));
      machine_.disk().set_sync_lies(faults_.lying_disk);
      if (faults_.lmdb && !last && random().OneIn(8)) BeginLmdbFaults();
      auto opened = Engine::Open(machine_.store_path(), Options(),
                                 {.clock = sim_.clock(), .files = machine_, .driver = &sim_});
      EndLmdbFaults();
      if (opened.ok()) {
        engine_ = *std::move(opened);
        stopped_ = false;
        if (Prepare()) return failure_.empty();
        engine_ = nullptr;
      } else {
        last_error_ = opened.status();
      }
      sim_.trace().Note(sim_.Now(), "test", "cannot open", attempt);
      if (!failure_.empty()) return false;
      if (machine_.dead()) Restart();
    }
    Fail("the store cannot be opened: " + last_error_.ToString());
    return false;
  }

  // False if the engine stopped meanwhile.
  bool Prepare() {
    const absl::StatusOr<std::vector<Collection>> defined = engine_->ListCollections();
    if (!defined.ok()) return Refused(defined.status());
    absl::StatusOr<std::vector<storage::IndexInfo>> indexes = ListIndexes();
    if (!indexes.ok()) return Refused(indexes.status());
    const bool complete = defined->size() == 2 && indexes->size() == 3;
    if (!complete && history_.size() > 0) Fail("definitions are lost");
    // Finds what is there, at no version of its own.
    if (absl::Status status = Define(); !status.ok()) return Refused(status);
    if (complete) {
      const std::optional<SimObservation> found = Observe();
      if (!found.has_value()) return Refused(last_error_);
      const std::string fault =
          history_.Check(*found, SimSchema::kDefinitionCount, std::exchange(power_lost_, false));
      if (!fault.empty()) Fail(fault);
      sim_.Probe("store/compared");
      history_.Begin(found->version);
      return true;
    }
    history_.Begin(SimSchema::kDefinitionCount);
    return true;
  }
  absl::StatusOr<std::vector<storage::IndexInfo>> ListIndexes() {
    const absl::StatusOr<Snapshot> snapshot = engine_->TakeSnapshot("test");
    if (!snapshot.ok()) return snapshot.status();
    return snapshot->ListIndexes();
  }
  absl::Status Define() {
    for (int i = 0; i < 2; ++i) {
      absl::StatusOr<Collection> made = engine_->CreateCollection(i == 0 ? "a" : "b");
      if (!made.ok()) return made.status();
      schema_.collections[i] = *std::move(made);
    }
    absl::StatusOr<IndexDefined> multi =
        engine_->CreateIndex(schema_.collections[0], {.field = "a"});
    if (!multi.ok()) return multi.status();
    schema_.multi = multi->definition;
    absl::StatusOr<IndexDefined> unique = engine_->CreateIndex(
        schema_.collections[1], {.field = "b", .kind = storage::IndexKind::kUnique});
    if (!unique.ok()) return unique.status();
    schema_.unique = unique->definition;
    absl::StatusOr<storage::Relation> relation =
        engine_->DefineRelation({.name = "links",
                                 .owners = schema_.collections[0],
                                 .members = schema_.collections[1],
                                 .order = storage::MemberOrder::kScore});
    if (!relation.ok()) return relation.status();
    schema_.relation = *std::move(relation);
    absl::StatusOr<IndexDefined> scoped =
        engine_->CreateIndex(schema_.collections[1], {.field = "a", .scope = "links"});
    if (!scoped.ok()) return scoped.status();
    schema_.scoped = scoped->definition;
    return absl::OkStatus();
  }
  bool Refused(const absl::Status& status) {
    last_error_ = status;
    if (!IsExpected(status)) Fail("at once after opening: " + status.ToString());
    return false;
  }

  // Until the clients have ended, and the engine with them, in order or not.
  void Live() {
    for (int i = 0; i < 3; ++i) SpawnWriter(absl::StrCat("writer-", i));
    for (int i = 0; i < 2; ++i) sim_.Spawn(absl::StrCat("reader-", i), [this] { Read(); });
    sim_.Spawn("flusher", [this] { Flush(); });
    for (int i = 0; i < 2; ++i) sim_.Spawn(absl::StrCat("builder-", i), [this] { Build(); });
    if (faults_.lmdb) {
      sim_.Spawn("lmdb", [this] {
        sim_.Sleep(absl::Microseconds(random().Below(1 << (8 + random().Below(13)))));
        if (!over() && !sim_.calm()) BeginLmdbFaults();
      });
    }
    const uint64_t end = random().Below(4);
    if (end == 0) {
      sim_.Spawn("stopper", [this] {
        sim_.Sleep(absl::Microseconds(random().Below(1 << (8 + random().Below(13)))));
        Shutdown();
      });
    } else if (end == 1) {
      sim_.Spawn("killer", [this] {
        sim_.Sleep(absl::Microseconds(random().Below(1 << (8 + random().Below(13)))));
        machine_.Die();
      });
    } else if (end == 2) {
      machine_.DieAtCall(1 + random().Below(120));
    }
    if (const absl::Status status = sim_.Run(); !status.ok()) Fail(std::string(status.message()));
    EndLmdbFaults();
    if (!failure_.empty()) return;
    if (random().OneIn(2)) Shutdown();
    if (random().OneIn(2)) machine_.Die();
    Shutdown();
    engine_ = nullptr;
    if (machine_.dead()) Restart();
  }

  // LMDB's own calls fail, from one of the next on; below the simulated machine, by the I/O shim.
  void BeginLmdbFaults() {
    static constexpr const char* kCalls[] = {
        "fdatasync path=store.mdb",          // What a transaction wrote.
        "pwrite path=store.mdb below=8192",  // The meta page.
        "pwrite path=store.mdb", "writev path=store.mdb"};
    static constexpr const char* kEffects[] = {"errno=5", "errno=28", "short=512"};
    std::string rule = kCalls[random().Below(4)];
    absl::StrAppend(&rule, " nth=", 1 + random().Below(12), random().OneIn(3) ? " forever " : " ",
                    kEffects[random().Below(rule.starts_with("fdatasync") ? 1 : 3)]);
    sim_.trace().Note(sim_.Now(), "test", "lmdb faults", 0);
    SetIoFaults(rule.c_str());
  }
  void EndLmdbFaults() {
    if (!faults_.lmdb) return;
    if (IoFaultCount() > 0) sim_.Probe("lmdb/struck");
    SetIoFaults("");
  }

  void Restart() {
    const uint64_t seed = random().Next();
    const bool power_lost = random().OneIn(2);
    sim_.Probe(power_lost ? "machine/power lost" : "machine/killed");
    machine_.Restart(power_lost ? &seed : nullptr);
    power_lost_ = power_lost_ || power_lost;
    CheckSound();
  }

  void Shutdown() {
    const bool alive = !machine_.dead();
    if (alive && !stopped_) NoteStatus();
    const ShutdownReport report = engine_->Shutdown(absl::Seconds(60));
    stopped_ = true;
    if (!report.Balanced()) Fail("messages are missing: " + report.ToString());
    if (alive && !machine_.dead()) CheckSound();
  }

  // What this life has met.
  void NoteStatus() {
    const EngineStatus status = engine_->GetStatus();
    sim_.Probe("flush/published", status.flush.published);
    sim_.Probe("flush/retried", status.flush.retried);
    sim_.Probe("flush/abandoned", status.flush.abandoned);
    sim_.Probe("flush/timed out", status.flush.timeouts);
    sim_.Probe("flush/skipped", status.flush.skipped);
    if (status.flush.reorder_depth_high_water > 0) sim_.Probe("flush/reordered");
    if (!status.degraded.ok()) sim_.Probe("engine/degraded");
    if (!status.health.ok()) sim_.Probe("engine/failed");
    for (const ActorStatus& actor : status.actors) {
      sim_.Probe("actor/restarts", actor.restarts);
      sim_.Probe("actor/rejected full", actor.rejected_full);
    }
  }

  void CheckSound() {
    const absl::StatusOr<storage::VerifyReport> report =
        storage::VerifyStore(machine_.store_path(), machine_.disk());
    if (!report.ok()) return Fail("cannot be verified: " + report.status().ToString());
    if (!report->sound()) Fail("not sound: " + report->damage.front());
  }

  // ---- Clients ----

  void SpawnWriter(std::string name) {
    sim_.Spawn(name, [this, name] { Write(name); });
  }

  struct Open_ {
    uint64_t serial;
    Pending<CommitReceipt> pending;
  };

  void Write(const std::string& name) {
    std::vector<Open_> open;
    const uint64_t count = random().Below(25);
    const MonotonicTime end = sim_.Now() + kLifeMax;
    for (uint64_t i = 0; i < count && !over() && !sim_.calm() && sim_.Now() < end; ++i) {
      SimCommit commit = RandomCommit(name);
      CommitOptions options{.durability = commit.durability, .token = commit.token};
      if (random().OneIn(8)) options.timeout = absl::Microseconds(random().Below(20'000));
      const uint64_t serial = history_.Invoke(commit);
      storage::WriteBatch batch = SimHistory::BatchOf(history_.commit(serial), schema_);
      open.push_back({serial, engine_->Commit(std::move(batch), options)});
      if (random().OneIn(4)) sim_.Sleep(absl::Microseconds(random().Below(5000)));
      while (!open.empty() && (open.size() > 4 || random().OneIn(2))) AwaitFirst(open);
    }
    while (!open.empty()) AwaitFirst(open);
  }

  void AwaitFirst(std::vector<Open_>& open) {
    const uint64_t serial = open.front().serial;
    const absl::Duration patience =
        random().OneIn(8) ? absl::Microseconds(random().Below(2000)) : absl::InfiniteDuration();
    const absl::StatusOr<CommitReceipt> answer = open.front().pending.Wait(patience);
    open.erase(open.begin());
    if (machine_.dead()) return;
    const Version published = engine_->GetStatus().published_version;
    history_.Answer(serial, answer, published);
    sim_.Probe(absl::StrCat(
        "commit/", absl::StatusCodeToString(answer.status().code()),
        !answer.ok() && GetOutcome(answer.status()) == Outcome::kUnknown ? " unknown" : ""));
    sim_.trace().Note(sim_.Now(), "test", "is answered", answer.ok() ? answer->version : 0);
    if (!answer.ok() && !IsExpected(answer.status())) {
      Fail(absl::StrCat("commit ", serial, ": ", answer.status().ToString()));
    }
    const SimCommit& commit = history_.commit(serial);
    if (commit.token.epoch == 0 || !random().OneIn(2)) return;
    const absl::StatusOr<CommitOutcome> outcome = engine_->GetOutcome(commit.token);
    if (!outcome.ok() || machine_.dead()) return;
    sim_.Probe(outcome->state == CommitOutcome::State::kCommitted ? "outcome/committed"
                                                                  : "outcome/aborted");
    history_.Resolve(serial, *outcome);
  }

  SimCommit RandomCommit(const std::string& name) {
    SimCommit commit{.client = name, .durability = static_cast<Durability>(random().Below(3))};
    if (random().OneIn(3)) commit.token = engine_->NewToken();
    if (random().OneIn(4)) {
      for (uint64_t i = 1 + random().Below(4); i > 0; --i) {
        commit.operations.push_back(RandomLink());
      }
      return commit;
    }
    std::optional<SimObservation> seen;
    if (random().OneIn(3)) seen = Observe();
    for (uint64_t i = random().Below(4); i > 0; --i) {
      SimOperation operation{.kind = static_cast<OperationKind>(1 + random().Below(4)),
                             .collection = static_cast<int>(random().Below(2)),
                             .id = absl::StrCat("id-", random().Below(kIdCount))};
      if (operation.kind == OperationKind::kPut || operation.kind == OperationKind::kMerge) {
        for (const char* field : {"a", "b", "c"}) {
          if (random().OneIn(2)) operation.fields[field] = static_cast<int64_t>(random().Below(40));
        }
      }
      if (seen.has_value()) {
        const auto record = seen->tables.find({operation.collection, operation.id});
        operation.precondition = record == seen->tables.end()
                                     ? Precondition::Absent()
                                     : Precondition::AtVersion(record->second.version);
      } else if (operation.kind == OperationKind::kRequire || random().OneIn(5)) {
        operation.precondition = random().OneIn(2)
                                     ? Precondition::Absent()
                                     : Precondition::AtVersion(1 + random().Below(100));
      }
      commit.operations.push_back(std::move(operation));
    }
    return commit;
  }

  SimOperation RandomLink() {
    SimOperation operation{
        .kind = random().OneIn(4) ? OperationKind::kUnlink : OperationKind::kLink,
        .id = absl::StrCat("id-", random().Below(kIdCount)),
        .member = absl::StrCat("id-", random().Below(kIdCount))};
    if (operation.kind == OperationKind::kLink) {
      operation.fields["score"] = static_cast<int64_t>(random().Below(5));
      operation.staged = random().OneIn(4);
    }
    return operation;
  }

  // A snapshot, and all that is in it; nothing if there is none to be had, with last_error_.
  std::optional<SimObservation> Observe() {
    SimObservation observation{.began_at = history_.Now()};
    absl::StatusOr<Snapshot> snapshot = engine_->TakeSnapshot("test");
    absl::StatusOr<SimTables> tables = snapshot.ok() ? SimHistory::ReadAll(*snapshot, schema_)
                                                     : absl::StatusOr<SimTables>(snapshot.status());
    if (!tables.ok()) {
      last_error_ = tables.status();
      if (!IsExpected(last_error_) && !over()) Fail("a read: " + last_error_.ToString());
      return std::nullopt;
    }
    observation.version = snapshot->version();
    observation.tables = *std::move(tables);
    return observation;
  }

  void Read() {
    const uint64_t count = random().Below(10);
    for (uint64_t i = 0; i < count && !over() && !sim_.calm(); ++i) {
      sim_.Sleep(absl::Microseconds(random().Below(10'000)));
      SimObservation observation{.began_at = history_.Now()};
      const absl::StatusOr<Snapshot> snapshot = engine_->TakeSnapshot("reader");
      if (!snapshot.ok()) continue;
      observation.version = snapshot->version();
      const int looks = 1 + static_cast<int>(random().Below(3));
      for (int look = 0; look < looks; ++look) {
        absl::StatusOr<SimTables> tables = SimHistory::ReadAll(*snapshot, schema_);
        if (over()) return;
        if (!tables.ok()) {
          if (!IsExpected(tables.status())) Fail("a read: " + tables.status().ToString());
          sim_.Probe(absl::StrCat("snapshot/", absl::StatusCodeToString(tables.status().code())));
          break;
        }
        observation.tables = *std::move(tables);
        history_.Saw(observation);
        sim_.Probe("snapshot/OK");
        sim_.Sleep(absl::Microseconds(random().Below(1 << random().Below(20))));
        observation.began_at = 0;  // It is as old as it was.
      }
    }
  }

  void Flush() {
    const uint64_t count = random().Below(8);
    for (uint64_t i = 0; i < count && !over() && !sim_.calm(); ++i) {
      sim_.Sleep(absl::Microseconds(random().Below(20'000)));
      const Version published = history_.published();
      const uint64_t what = random().Below(6);
      absl::StatusOr<FlushReceipt> receipt =
          what == 0   ? engine_->Drain(absl::Milliseconds(random().Below(50)))
          : what == 1 ? engine_->Resume(absl::Milliseconds(random().Below(500)))
                      : engine_->Flush().Wait();
      if (over()) return;
      const char* const asked = what == 0 ? "drain/" : what == 1 ? "resume/" : "flush/";
      sim_.Probe(absl::StrCat(asked, absl::StatusCodeToString(receipt.status().code())));
      if (!receipt.ok()) {
        if (!IsExpected(receipt.status())) Fail("a flush: " + receipt.status().ToString());
      } else if (what > 1 && receipt->version < published) {
        Fail(absl::StrCat("flushed up to ", receipt->version, " where ", published,
                          " was published before"));
      }
    }
  }

  // Schedules builds of the indexes, waits for them, cancels and pauses some.
  void Build() {
    const uint64_t count = random().Below(5);
    const MonotonicTime end = sim_.Now() + kLifeMax;
    for (uint64_t i = 0; i < count && !Past(end); ++i) {
      sim_.Sleep(absl::Microseconds(random().Below(20'000)));
      if (Past(end)) return;
      const storage::IndexDefinition* const indexes[] = {&schema_.multi, &schema_.unique,
                                                         &schema_.scoped};
      const storage::IndexDefinition& index = *indexes[random().Below(3)];
      absl::StatusOr<storage::IndexTask> task = engine_->ScheduleBuild({.index = index.id});
      while (task.ok() && !over() && !storage::IsFinal(*task)) {
        if (random().OneIn(3)) Steer(task->id);
        if (Past(end)) return;
        AwaitBuild(task->id);
        if (Past(end)) return;
        task = engine_->FindBuild(task->id);
      }
      if (over()) return;
      if (!task.ok() && !IsExpected(task.status())) Fail("a build: " + task.status().ToString());
      if (task.ok() && absl::IsFailedPrecondition(task->error)) {
        Fail("a build: " + task->error.ToString());
      }
      sim_.Probe(absl::StrCat("build/", task.ok() ? std::string(ToString(task->state))
                                                  : task.status().ToString().substr(0, 20)));
    }
  }
  bool Past(MonotonicTime end) { return over() || sim_.calm() || sim_.Now() >= end; }

  // As clients do: until the build is at its end, or some time, looking on.
  void AwaitBuild(storage::TaskId task) {
    const absl::StatusOr<storage::BuildResult> result = engine_->WaitForBuild(
        task, absl::Microseconds(random().Below(1 << (8 + random().Below(13)))),
        [&](const BuildProgress& progress) {
          sim_.Probe("build/watched");
          if (progress.task != task || progress.completed > progress.total) {
            Fail("strange progress of a build");
          }
        });
    if (over()) return;
    if (!result.ok() && !IsExpected(result.status())) {
      // What a build failed of is its result.
      const absl::StatusOr<storage::IndexTask> failed = engine_->FindBuild(task);
      if (failed.ok() && failed->error != result.status()) {
        Fail("waiting for a build: " + result.status().ToString());
      }
    }
    sim_.Probe(absl::StrCat("build wait/", absl::StatusCodeToString(result.status().code())));
  }

  // It may have come to its end, or somebody else may steer it.
  void Steer(storage::TaskId task) {
    sim_.Sleep(absl::Microseconds(1 + random().Below(20'000)));
    if (over()) return;
    if (random().OneIn(3)) return engine_->CancelBuild(task).status().IgnoreError();
    const absl::StatusOr<storage::IndexTask> paused = engine_->PauseBuild(task);
    if (paused.ok()) sim_.Probe("build/paused");
    sim_.Sleep(absl::Microseconds(1 + random().Below(20'000)));
    if (!over()) engine_->ResumeBuild(task).status().IgnoreError();
  }

  SimDriver sim_;
  SimMachine machine_;
  SimHistory history_;
  SimSchema schema_;
  std::unique_ptr<Engine> engine_;
  const EngineFaults faults_;
  bool stopped_ = false;
  bool power_lost_ = false;  // Since the last look at the whole store.
  absl::Status last_error_;
  std::string failure_;
};

}  // namespace

SimResult RunEngine(const SimOptions& options, const EngineFaults& faults) {
  return EngineSimulation(options, faults).Run();
}

}  // namespace millrace::testing
