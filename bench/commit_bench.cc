// How many durable commits a second, and how long does each take? Keys of 16 random characters,
// values of 100, every commit synced. Clients wait for each commit, but for 4x1000: there each has
// 1000 outstanding, or commits batches of 1000 where a system cannot have that. The slow device
// takes 1 ms longer for every sync. Ends with a look at what was committed.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <latch>
#include <random>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "bench/commit_reads.h"
#include "bench/commit_system.h"
#include "bench/harness.h"
#include "bench/slow_device.h"

namespace millrace {
namespace {

using SteadyTime = std::chrono::steady_clock::time_point;
using Metrics = std::vector<BenchMetric>;
using OpenFunction = OpenedSystem (*)(const std::string&, size_t);

constexpr size_t kCheckedMax = 10'000;

struct Load {
  int clients = 1;
  bool streamed = false;
  size_t outstanding_max = 1'000;  // Of a client that streams.
  size_t preloaded = 0;            // Streamed in before, and not waited for.
  bool settles = false;            // The time ends when all is where it stays.
  int64_t device_delay_us = 0;
  size_t commits_max = 0;  // Of all clients.
  double seconds = 1;
};

// Records that can be made again from their number: the key is random, the value a piece of random
// text. The text does not compress, as little as keys do.
class RecordSource {
 public:
  RecordSource() {
    std::mt19937_64 random(20261121);
    for (size_t i = 0; i < kTextBytes; ++i) text_.push_back(kLetters[random() % 64]);
  }

  // The key's bytes are written to `key`.
  CommitRecord Make(uint64_t number, char (&key)[kCommitKeyBytes]) const {
    const uint64_t words[] = {Mix(2 * number), Mix(2 * number + 1)};
    for (size_t i = 0; i < kCommitKeyBytes; ++i)
      key[i] = kLetters[words[i / 8] >> (6 * (i % 8)) & 63];
    const size_t at = (words[0] ^ words[1]) % (kTextBytes - kCommitValueBytes);
    return {.key = {key, kCommitKeyBytes},
            .value = std::string_view(text_).substr(at, kCommitValueBytes)};
  }

 private:
  static constexpr char kLetters[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-";
  static constexpr size_t kTextBytes = size_t{1} << 20;

  static uint64_t Mix(uint64_t value) {  // SplitMix64.
    value += 0x9e3779b97f4a7c15;
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
    value = (value ^ value >> 27) * 0x94d049bb133111eb;
    return value ^ value >> 31;
  }

  std::string text_;
};

// What one client did. Its records have the numbers [client << 40, client << 40 + count).
struct ClientResult {
  absl::Status status;
  size_t count = 0;
  SteadyTime end;
  std::vector<double> latencies_us;
};

uint64_t NumberOf(int client, size_t index) {
  return static_cast<uint64_t>(client) << 40 | index;
}

void RunClient(CommitSystem& system, const RecordSource& source, const Load& load, int client,
               ClientResult* result) {
  const size_t commits_max = load.commits_max / static_cast<size_t>(load.clients);
  const std::unique_ptr<CommitStream> stream =
      load.streamed ? system.NewStream(load.outstanding_max) : nullptr;
  char key[kCommitKeyBytes];
  SteadyTime now = std::chrono::steady_clock::now();
  const SteadyTime deadline =
      now + std::chrono::microseconds(static_cast<int64_t>(load.seconds * 1e6));
  while (result->count < commits_max && now < deadline && result->status.ok()) {
    const CommitRecord record = source.Make(NumberOf(client, result->count++), key);
    result->status = stream != nullptr ? stream->Add(record) : system.Commit(record);
    const SteadyTime then = std::exchange(now, std::chrono::steady_clock::now());
    if (stream == nullptr) {
      result->latencies_us.push_back(std::chrono::duration<double, std::micro>(now - then).count());
    }
  }
  if (stream != nullptr) result->status.Update(stream->Finish());
  result->end = std::chrono::steady_clock::now();
}

// Up to kCheckedMax records of all clients, each one's last among them.
absl::Status CheckRecords(CommitSystem& system, const RecordSource& source,
                          const std::vector<ClientResult>& results, size_t total) {
  const size_t step = std::max<size_t>(1, total / kCheckedMax);
  for (size_t client = 0; client < results.size(); ++client) {
    const size_t count = results[client].count;
    std::vector<CommitRecord> records;
    std::vector<std::unique_ptr<char[][kCommitKeyBytes]>> keys;
    for (size_t i = count; i > 0; i -= std::min(i, step)) {
      keys.push_back(std::make_unique<char[][kCommitKeyBytes]>(1));
      records.push_back(source.Make(NumberOf(static_cast<int>(client), i - 1), keys.back()[0]));
    }
    if (absl::Status status = system.Check(records); !status.ok()) return status;
  }
  return absl::OkStatus();
}

// Records that keep a system busy in the background while the clients are measured.
absl::Status Preload(CommitSystem& system, const RecordSource& source, const Load& load) {
  if (load.preloaded == 0) return absl::OkStatus();
  const std::unique_ptr<CommitStream> stream = system.NewStream(load.outstanding_max);
  char key[kCommitKeyBytes];
  for (size_t i = 0; i < load.preloaded; ++i) {
    const CommitRecord record = source.Make(NumberOf(load.clients, i), key);
    if (absl::Status status = stream->Add(record); !status.ok()) return status;
  }
  return stream->Finish();
}

absl::StatusOr<Metrics> RunLoad(CommitSystem& system, const Load& load) {
  static const RecordSource& source = *new RecordSource;
  if (absl::Status status = Preload(system, source, load); !status.ok()) return status;
  std::vector<ClientResult> results(static_cast<size_t>(load.clients));
  std::vector<std::thread> threads;
  std::latch start(load.clients + 1);
  for (int client = 0; client < load.clients; ++client) {
    threads.emplace_back([&, client] {
      start.arrive_and_wait();
      RunClient(system, source, load, client, &results[static_cast<size_t>(client)]);
    });
  }
  millrace_bench_set_device_delay(load.device_delay_us);
  const SteadyTime begin = std::chrono::steady_clock::now();
  start.arrive_and_wait();
  for (std::thread& thread : threads) thread.join();
  millrace_bench_set_device_delay(0);
  if (absl::Status status = load.settles ? system.Settle() : absl::OkStatus(); !status.ok()) {
    return status;
  }
  SteadyTime end = load.settles ? std::chrono::steady_clock::now() : begin;
  size_t total = 0;
  std::vector<double> latencies_us;
  for (const ClientResult& result : results) {
    if (!result.status.ok()) return result.status;
    total += result.count;
    end = std::max(end, result.end);
    latencies_us.insert(latencies_us.end(), result.latencies_us.begin(), result.latencies_us.end());
  }
  if (absl::Status status = CheckRecords(system, source, results, total); !status.ok()) {
    return status;
  }
  const double seconds = std::chrono::duration<double>(end - begin).count();
  Metrics metrics = {{"per_second", "commits/s", static_cast<double>(total) / seconds}};
  if (!load.streamed) {
    metrics.push_back({"p50_us", "us", PercentileOf(latencies_us, 0.5)});
    metrics.push_back({"p99_us", "us", PercentileOf(latencies_us, 0.99)});
  }
  return metrics;
}

// A virtual machine is given a page by its host when it first touches it, at a twentieth of the
// speed of later touches. Whoever runs next shall find pages that were touched before.
void TouchMemory() {
  constexpr size_t kBytes = size_t{1} << 30;
  constexpr size_t kPageBytes = 4096;
  void* const memory =
      mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return;
  madvise(memory, kBytes, MADV_HUGEPAGE);  // Ours asks for huge pages, too.
  for (size_t i = 0; i < kBytes; i += kPageBytes) static_cast<volatile char*>(memory)[i] = 1;
  munmap(memory, kBytes);
}

absl::StatusOr<Metrics> RunOnce(OpenFunction open, const Load& load) {
  const BenchDirectory directory;
  sync();  // What the system before has left to write is not for this one to wait for.
  TouchMemory();
  const OpenedSystem system = open(directory.path(), load.commits_max);
  if (!system.ok()) return system.status();
  return RunLoad(**system, load);
}

struct System {
  std::string name;
  OpenFunction open;
  bool in_groups;    // Gains from many clients.
  bool streams;      // Runs 4x1000.
  bool many = true;  // Runs with more than one client.
};

std::vector<System> Systems() {
  return {
      {.name = "millrace", .open = OpenMillrace, .in_groups = true, .streams = true},
      {.name = "limit", .open = OpenLimit, .in_groups = false, .streams = false, .many = false},
      {.name = "prototype", .open = OpenPrototype, .in_groups = true, .streams = true},
      {.name = "queue-only", .open = OpenQueueOnly, .in_groups = true, .streams = true},
#ifdef MILLRACE_BENCH_LEVELDB
      {.name = "leveldb", .open = OpenLeveldb, .in_groups = true, .streams = true},
#endif
#ifdef MILLRACE_BENCH_ROCKSDB
      {.name = "rocksdb", .open = OpenRocksdb, .in_groups = true, .streams = true},
#endif
#ifdef MILLRACE_BENCH_SQLITE
      {.name = "sqlite", .open = OpenSqlite, .in_groups = false, .streams = true, .many = false},
#endif
      {.name = "lmdb", .open = OpenLmdb, .in_groups = false, .streams = false},
      {.name = "lmdb-group", .open = OpenLmdbGroup, .in_groups = true, .streams = true},
  };
}

void AddCase(BenchSuite& suite, const std::string& name, const Load& load) {
  for (const System& system : Systems()) {
    const bool runs = load.streamed ? system.streams : load.clients == 1 || system.many;
    if (!runs) continue;
    // Without a device the slow one is no slower.
    if (load.device_delay_us > 0 && system.name == "queue-only") continue;
    suite.Add(name, system.name, [open = system.open, load] { return RunOnce(open, load); });
  }
}

void AddGoals(BenchSuite& suite) {
  const auto at_least = [&](const char* name, double ratio) {
    suite.Goal({.case_name = name,
                .metric = "per_second",
                .system = "millrace",
                .rival = "leveldb",
                .at_least = ratio});
  };
  suite.Goal({.case_name = "clients=1",
              .metric = "p50_us",
              .system = "millrace",
              .rival = "leveldb",
              .at_most = 1.0});
  at_least("clients=16", 1.3);
  at_least("clients=64", 1.6);
  at_least("clients=4x1000", 2);
  at_least("clients=64 slow-device", 1.2);
}

void AddCases(BenchSuite& suite) {
  const double seconds = suite.small() ? 0.05 : 1;
  // The limit writes a block a commit, so its file is large.
  const size_t single_max = static_cast<size_t>(suite.Scale(100'000, 500));
  const size_t waited_max = static_cast<size_t>(suite.Scale(1'000'000, 2'000));
  AddCase(suite, "clients=1", {.clients = 1, .commits_max = single_max, .seconds = seconds});
  AddCase(suite, "clients=16", {.clients = 16, .commits_max = waited_max, .seconds = seconds});
  AddCase(suite, "clients=64", {.clients = 64, .commits_max = waited_max, .seconds = seconds});
  AddCase(suite, "clients=4x1000",
          {.clients = 4,
           .streamed = true,
           .commits_max = static_cast<size_t>(suite.Scale(1'000'000, 8'000)),
           .seconds = suite.small() ? 1.0 : 5.0});
  AddCase(suite, "clients=64 slow-device",
          {.clients = 64, .device_delay_us = 1'000, .commits_max = waited_max, .seconds = seconds});
}

// Everything into LMDB, however far commits may run ahead of it.
void AddSustained(BenchSuite& suite) {
  Load load = {.clients = 4,
               .streamed = true,
               .settles = true,
               .commits_max = static_cast<size_t>(suite.Scale(5'000'000, 20'000)),
               .seconds = 600};
  suite.Add("sustained", "millrace", [load] { return RunOnce(OpenMillraceWithDefaults, load); });
  load.clients = 1;
  load.outstanding_max = 10'000;
  suite.Add("sustained", "lmdb-group", [load] { return RunOnce(OpenLmdbGroup, load); });
  suite.Goal({.case_name = "sustained",
              .metric = "per_second",
              .system = "millrace",
              .rival = "lmdb-group",
              .at_least = 1.5});
}

// What commits feel of the work behind them: ours while flushes run, LevelDB's while it compacts,
// beside ours with nothing to flush.
void AddBackground(BenchSuite& suite) {
  const Load idle = {.clients = 64,
                     .commits_max = static_cast<size_t>(suite.Scale(1'000'000, 2'000)),
                     .seconds = suite.small() ? 0.05 : 2};
  Load busy = idle;
  busy.preloaded = static_cast<size_t>(suite.Scale(3'000'000, 4'000));
  const std::string name = "clients=64 background";
  suite.Add(name, "millrace", [busy] { return RunOnce(OpenMillrace, busy); });
  suite.Add(name, "millrace-idle", [idle] { return RunOnce(OpenMillraceUnflushed, idle); });
  suite.Goal({.case_name = name,
              .metric = "p99_us",
              .system = "millrace",
              .rival = "millrace-idle",
              .at_most = 2.0});
#ifdef MILLRACE_BENCH_LEVELDB
  suite.Add(name, "leveldb", [busy] { return RunOnce(OpenLeveldb, busy); });
  suite.Goal({.case_name = name,
              .metric = "p99_us",
              .system = "millrace",
              .rival = "leveldb",
              .at_most = 1.0});
#endif
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  if (millrace::FillStoreIfAsked()) return 1;
  millrace::BenchSuite suite("commit", argc, argv);
  millrace::AddCases(suite);
  millrace::AddSustained(suite);
  millrace::AddBackground(suite);
  millrace::AddGoals(suite);
  millrace::AddReadCases(suite, argv[0]);
  return suite.Run();
}
