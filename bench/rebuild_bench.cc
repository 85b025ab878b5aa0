// How fast is an index built over records that are there? Resumable, verified and with progress,
// beside what a build does at least, and what others do. And what do commits pay meanwhile?

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "bench/harness.h"
#include "bench/rebuild_system.h"

#include "millrace/actors/engine.h"

namespace millrace {
namespace {

constexpr int64_t kBatchRecords = 1'000;

// A store with an index over its records, that was not built yet.
struct Filled {
  std::unique_ptr<Engine> engine;
  storage::Collection people;
  storage::Relation staff;
};

storage::Document DocumentOf(int64_t record) {
  return *storage::DocumentBuilder()
              .Set("n", RebuildNumber(record))
              .Set("text", std::string(kRebuildTextBytes, 'x'))
              .Finish();
}

absl::StatusOr<Filled> Fill(const std::string& directory, int64_t record_count, bool linked) {
  Filled filled;
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Open(directory + "/millrace");
  if (!engine.ok()) return engine.status();
  filled.engine = *std::move(engine);
  filled.people = *filled.engine->CreateCollection("people");
  const storage::Collection teams = *filled.engine->CreateCollection("teams");
  filled.staff =
      *filled.engine->DefineRelation({.name = "staff", .owners = teams, .members = filled.people});
  storage::WriteBatch team;
  team.Put(teams, "t", *storage::DocumentBuilder().Finish());
  absl::Status status = filled.engine->Commit(std::move(team)).Wait().status();
  for (int64_t i = 0; status.ok() && i < record_count;) {
    storage::WriteBatch batch;
    const int64_t end = std::min(record_count, i + kBatchRecords);
    for (; i < end; ++i) {
      batch.Put(filled.people, RebuildId(i), DocumentOf(i));
      if (linked) batch.Link(filled.staff, "t", RebuildId(i));
    }
    status =
        filled.engine->Commit(std::move(batch), {.durability = Durability::kNone}).Wait().status();
  }
  if (status.ok()) status = filled.engine->Flush().Wait().status();
  if (!status.ok()) return status;
  return filled;
}

// Entries a second, from now to the end of the task.
BuildRate AwaitBuild(Engine& engine, storage::TaskId task, int64_t record_count, absl::Time begin) {
  const absl::StatusOr<storage::BuildResult> result = engine.WaitForBuild(task, absl::Minutes(10));
  const double seconds = absl::ToDoubleSeconds(absl::Now() - begin);
  if (!result.ok()) return result.status();
  if (result->indexed < static_cast<uint64_t>(record_count)) {
    return absl::DataLossError(absl::StrCat("millrace: ", result->indexed, " entries"));
  }
  return static_cast<double>(result->indexed) / seconds;
}

BuildRate BuildFrom(const std::string& directory, int64_t record_count,
                    storage::BuildSource source) {
  const bool linked = source == storage::BuildSource::kParticipation;
  const absl::StatusOr<Filled> filled = Fill(directory, record_count, linked);
  if (!filled.ok()) return filled.status();
  const absl::Time begin = absl::Now();
  const absl::StatusOr<IndexDefined> defined =
      filled->engine->CreateIndex(filled->people, {.field = "n", .scope = linked ? "staff" : ""});
  if (!defined.ok()) return defined.status();
  if (source == storage::BuildSource::kInstances) {
    return AwaitBuild(*filled->engine, defined->build, record_count, begin);
  }
  filled->engine->CancelBuild(defined->build).status().IgnoreError();
  const absl::Time again = absl::Now();
  const absl::StatusOr<storage::IndexTask> task =
      filled->engine->ScheduleBuild({.index = defined->definition.id, .source = source});
  if (!task.ok()) return task.status();
  return AwaitBuild(*filled->engine, task->id, record_count, again);
}

// A directory that is removed behind the run.
absl::StatusOr<std::vector<BenchMetric>> Measure(
    absl::AnyInvocable<absl::StatusOr<std::vector<BenchMetric>>(const std::string&)> run) {
  const BenchDirectory directory;
  return run(directory.path());
}

using BuildFunction = BuildRate (*)(const std::string&, int64_t);

void AddBuild(BenchSuite& suite, const std::string& case_name, const std::string& system,
              int64_t record_count, BuildFunction build) {
  suite.Add(case_name, system, [=] {
    return Measure([=](const std::string& directory) -> absl::StatusOr<std::vector<BenchMetric>> {
      const BuildRate rate = build(directory, record_count);
      if (!rate.ok()) return rate.status();
      return std::vector<BenchMetric>{{.name = "per_second", .unit = "entries/s", .value = *rate}};
    });
  });
}

// Commits one record after the other, until told to stop.
void CommitAlong(Engine& engine, const storage::Collection& people, int64_t first,
                 const std::atomic<bool>& stop, std::vector<double>& microseconds) {
  for (int64_t i = first; !stop.load(); i += 64) {
    storage::WriteBatch batch;
    batch.Put(people, RebuildId(i % 1'000'000), DocumentOf(i));
    const absl::Time begin = absl::Now();
    if (!engine.Commit(std::move(batch)).Wait().ok()) return;
    microseconds.push_back(absl::ToDoubleMicroseconds(absl::Now() - begin));
  }
}

// 64 clients commit, and beside them, with `builds`, the index is built again and again.
absl::StatusOr<std::vector<BenchMetric>> RunUnderLoad(const std::string& directory,
                                                      int64_t record_count, absl::Duration time,
                                                      bool builds) {
  const absl::StatusOr<Filled> filled = Fill(directory, record_count, /*linked=*/false);
  if (!filled.ok()) return filled.status();
  Engine& engine = *filled->engine;
  const absl::StatusOr<IndexDefined> defined = engine.CreateIndex(filled->people, {.field = "n"});
  if (!defined.ok()) return defined.status();
  BuildRate rate = AwaitBuild(engine, defined->build, record_count, absl::Now());
  if (!rate.ok()) return rate.status();
  std::atomic<bool> stop = false;
  std::vector<std::vector<double>> latencies(64);
  std::vector<std::thread> clients;
  for (size_t i = 0; i < latencies.size(); ++i) {
    clients.emplace_back([&, i] {
      CommitAlong(engine, filled->people, static_cast<int64_t>(i), stop, latencies[i]);
    });
  }
  const absl::Time begin = absl::Now();
  if (builds) {
    do {
      const absl::Time build_begin = absl::Now();
      const absl::StatusOr<storage::IndexTask> task =
          engine.ScheduleBuild({.index = defined->definition.id});
      rate = task.ok() ? AwaitBuild(engine, task->id, record_count, build_begin)
                       : BuildRate(task.status());
    } while (rate.ok() && absl::Now() - begin < time);
  } else {
    absl::Notification never;
    never.WaitForNotificationWithTimeout(time);
  }
  const double seconds = absl::ToDoubleSeconds(absl::Now() - begin);
  stop.store(true);
  for (std::thread& client : clients) client.join();
  if (!rate.ok()) return rate.status();
  std::vector<double> all;
  for (const std::vector<double>& some : latencies) all.insert(all.end(), some.begin(), some.end());
  std::vector<BenchMetric> metrics = {
      {.name = "commits_per_second",
       .unit = "commits/s",
       .value = static_cast<double>(all.size()) / seconds},
      {.name = "p99_us", .unit = "us", .value = PercentileOf(all, 0.99)}};
  if (builds) metrics.push_back({.name = "per_second", .unit = "entries/s", .value = *rate});
  return metrics;
}

void AddCases(BenchSuite& suite) {
  const int64_t count = suite.Scale(1'000'000, 20'000);
  AddBuild(suite, "instances", "millrace", count, BuildMillrace);
  AddBuild(suite, "instances", "limit", count, BuildLmdbLimit);
  AddBuild(suite, "instances", "lmdb unsorted", count, BuildLmdbUnsorted);
#ifdef MILLRACE_BENCH_SQLITE
  AddBuild(suite, "instances", "sqlite", count, BuildSqlite);
#endif
#ifdef MILLRACE_BENCH_ROCKSDB
  AddBuild(suite, "instances", "rocksdb", count, BuildRocksdb);
#endif
#ifdef MILLRACE_BENCH_REDIS
  AddBuild(suite, "instances", "redis ruby", suite.Scale(100'000, 1'000), BuildRedis);
#endif
  AddBuild(suite, "scan", "millrace", count, BuildMillraceByScan);
  AddBuild(suite, "scan", "limit", count, BuildLmdbLimit);
  AddBuild(suite, "participation", "millrace", count, BuildMillraceByMembers);
  AddBuild(suite, "participation", "limit", count, BuildLmdbLimit);
  const int64_t loaded_count = suite.Scale(200'000, 5'000);
  const absl::Duration time = absl::Milliseconds(suite.Scale(4'000, 50));
  for (const bool builds : {false, true}) {
    suite.Add("64 clients commit", builds ? "building" : "idle", [=] {
      return Measure([=](const std::string& directory) {
        return RunUnderLoad(directory, loaded_count, time, builds);
      });
    });
  }
  for (const char* name : {"instances", "scan", "participation"}) {
    suite.Goal({.case_name = name,
                .metric = "per_second",
                .system = "millrace",
                .rival = "limit",
                .at_least = 0.55});
  }
  suite.Goal({.case_name = "instances",
              .metric = "per_second",
              .system = "millrace",
              .rival = "sqlite",
              .at_least = 1.2});
  suite.Goal({.case_name = "64 clients commit",
              .metric = "p99_us",
              .system = "building",
              .rival = "idle",
              .at_most = 2});
}

}  // namespace

BuildRate BuildMillrace(const std::string& directory, int64_t record_count) {
  return BuildFrom(directory, record_count, storage::BuildSource::kInstances);
}
BuildRate BuildMillraceByScan(const std::string& directory, int64_t record_count) {
  return BuildFrom(directory, record_count, storage::BuildSource::kScan);
}
BuildRate BuildMillraceByMembers(const std::string& directory, int64_t record_count) {
  return BuildFrom(directory, record_count, storage::BuildSource::kParticipation);
}

}  // namespace millrace

int main(int argc, char** argv) {
  millrace::BenchSuite suite("rebuild", argc, argv);
  millrace::AddCases(suite);
  return suite.Run();
}
