#include "bench/commit_reads.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/harness.h"

#include "millrace/actors/engine.h"

namespace millrace {
namespace {

// Tells a second process which store to fill, and with how many records.
constexpr char kFillStore[] = "MILLRACE_BENCH_FILL_STORE";
constexpr char kFillCount[] = "MILLRACE_BENCH_FILL_COUNT";

constexpr size_t kBatchRecords = 1'000;
// Of DocumentOf, with its id, in the log.
constexpr double kLogBytesPerRecord = 135;

using SteadyClock = std::chrono::steady_clock;

double SecondsSince(SteadyClock::time_point begin) {
  return std::chrono::duration<double>(SteadyClock::now() - begin).count();
}

// Sixteen characters, in no order.
std::string IdOf(size_t number) {
  return absl::StrFormat("%016x", (number + 1) * 0x9e3779b97f4a7c15);
}

storage::Document DocumentOf(size_t number) {
  const std::string value = absl::StrFormat("%0100d", number);
  return *storage::DocumentBuilder().Set("v", value).Finish();
}

absl::Status Fill(Engine& engine, size_t count) {
  const absl::StatusOr<storage::Collection> collection = engine.CreateCollection("records");
  if (!collection.ok()) return collection.status();
  for (size_t done = 0; done < count;) {
    storage::WriteBatch batch;
    for (const size_t end = std::min(count, done + kBatchRecords); done < end; ++done) {
      batch.Put(*collection, IdOf(done), DocumentOf(done));
    }
    const absl::Status status = engine.Commit(std::move(batch)).Wait().status();
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

struct Store {
  explicit Store(size_t count_) : count(count_) {}

  // Everything in LMDB, nothing in the log; done once.
  absl::Status FillAndFlush() {
    if (filled) return absl::OkStatus();
    const absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Open(path);
    if (!engine.ok()) return engine.status();
    if (absl::Status status = Fill(**engine, count); !status.ok()) return status;
    absl::Status status = (*engine)->Flush().Wait().status();
    filled = status.ok();
    return status;
  }

  const BenchDirectory directory;
  const std::string& path = directory.path();
  const size_t count;
  bool filled = false;
};

// An open store with a snapshot of it.
struct Reader {
  absl::Status Open(const Store& store) {
    absl::StatusOr<std::unique_ptr<Engine>> opened = Engine::Open(store.path);
    if (!opened.ok()) return opened.status();
    engine = *std::move(opened);
    absl::StatusOr<storage::Collection> found = engine->OpenCollection("records");
    if (!found.ok()) return found.status();
    collection = *std::move(found);
    absl::StatusOr<storage::Snapshot> taken = engine->TakeSnapshot("bench");
    if (!taken.ok()) return taken.status();
    snapshot = std::make_unique<storage::Snapshot>(*std::move(taken));
    return absl::OkStatus();
  }

  std::unique_ptr<Engine> engine;
  storage::Collection collection;
  std::unique_ptr<storage::Snapshot> snapshot;  // Goes before the engine.
};

std::vector<size_t> Shuffled(size_t count) {
  std::vector<size_t> numbers(count);
  for (size_t i = 0; i < count; ++i) numbers[i] = i;
  std::shuffle(numbers.begin(), numbers.end(), std::mt19937_64(20261121));
  return numbers;
}

std::vector<BenchMetric> PerSecond(double rate, const char* unit) {
  return {{"per_second", unit, rate}};
}

absl::StatusOr<std::vector<BenchMetric>> PointReads(Store& store) {
  if (absl::Status status = store.FillAndFlush(); !status.ok()) return status;
  Reader reader;
  if (absl::Status status = reader.Open(store); !status.ok()) return status;
  std::vector<std::string> ids;
  for (size_t number : Shuffled(store.count)) ids.push_back(IdOf(number));
  const auto begin = SteadyClock::now();
  for (const std::string& id : ids) {
    const absl::StatusOr<storage::Record> record = reader.snapshot->Get(reader.collection, id);
    if (!record.ok()) return record.status();
    Keep(record->document.bytes().size());
  }
  const double rate = static_cast<double>(store.count) / SecondsSince(begin);
  const absl::StatusOr<storage::Record> last =
      reader.snapshot->Get(reader.collection, IdOf(store.count - 1));
  if (!last.ok() || last->document != DocumentOf(store.count - 1)) {
    return absl::DataLossError("millrace: the last record is missing or has another value");
  }
  return PerSecond(rate, "reads/s");
}

absl::StatusOr<std::vector<BenchMetric>> LmdbPointReads(Store& store) {
  if (absl::Status status = store.FillAndFlush(); !status.ok()) return status;
  std::vector<std::string> keys;
  for (size_t number : Shuffled(store.count)) {
    // As the tree holds it: without the tree byte. The only collection has number 1.
    keys.push_back(storage::EncodeRowKey({.collection = 1, .id = IdOf(number)}).substr(1));
  }
  const absl::StatusOr<double> rate = RawPointReads(store.path, keys);
  if (!rate.ok()) return rate.status();
  return PerSecond(*rate, "reads/s");
}

absl::StatusOr<std::vector<BenchMetric>> Scan(Store& store) {
  if (absl::Status status = store.FillAndFlush(); !status.ok()) return status;
  Reader reader;
  if (absl::Status status = reader.Open(store); !status.ok()) return status;
  size_t rows = 0;
  uint64_t bytes = 0;
  const auto begin = SteadyClock::now();
  const absl::Status status =
      reader.snapshot->Scan(reader.collection, {}, [&](const storage::RecordRef& record) {
        ++rows;
        bytes += static_cast<uint8_t>(record.document.back());
        return true;
      });
  const double seconds = SecondsSince(begin);
  Keep(bytes);
  if (!status.ok()) return status;
  if (rows != store.count) return absl::DataLossError(absl::StrCat("millrace: ", rows, " rows"));
  return PerSecond(static_cast<double>(rows) / seconds, "rows/s");
}

absl::StatusOr<std::vector<BenchMetric>> LmdbScan(Store& store) {
  if (absl::Status status = store.FillAndFlush(); !status.ok()) return status;
  const absl::StatusOr<double> rate = RawScan(store.path, store.count);
  if (!rate.ok()) return rate.status();
  return PerSecond(*rate, "rows/s");
}

// Lets a second process fill the store and die by SIGKILL.
absl::Status FillAndKill(const std::string& program, const Store& store) {
  setenv(kFillStore, store.path.c_str(), 1);
  setenv(kFillCount, absl::StrCat(store.count).c_str(), 1);
  const pid_t child = fork();
  if (child == 0) {
    execl(program.c_str(), program.c_str(), nullptr);
    _exit(127);
  }
  unsetenv(kFillStore);
  unsetenv(kFillCount);
  int ended = 0;
  if (child < 0 || waitpid(child, &ended, 0) != child) return absl::InternalError("fork");
  if (!WIFSIGNALED(ended) || WTERMSIG(ended) != SIGKILL) {
    return absl::InternalError(absl::StrCat("the filling process ended with ", ended));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<BenchMetric>> Reopen(const std::string& program, size_t count) {
  const Store store(count);
  if (absl::Status status = FillAndKill(program, store); !status.ok()) return status;
  const auto begin = SteadyClock::now();
  Reader reader;
  if (absl::Status status = reader.Open(store); !status.ok()) return status;
  const double seconds = SecondsSince(begin);
  const absl::StatusOr<uint64_t> found = reader.snapshot->Count(reader.collection);
  if (!found.ok()) return found.status();
  if (*found != count) return absl::DataLossError(absl::StrCat("millrace: ", *found, " records"));
  return std::vector<BenchMetric>{{"open_ms", "ms", seconds * 1e3}};
}

}  // namespace

bool FillStoreIfAsked() {
  const char* const path = getenv(kFillStore);
  const char* const count_text = getenv(kFillCount);
  size_t count = 0;
  if (path == nullptr || count_text == nullptr || !absl::SimpleAtoi(count_text, &count)) {
    return false;
  }
  // Nothing is flushed: the log holds it all.
  EngineOptions options;
  options.rotate_bytes = uint64_t{1} << 40;
  options.rotate_rows = uint64_t{1} << 40;
  options.rotate_interval = absl::InfiniteDuration();
  options.l0_soft_bytes_max = uint64_t{2} << 40;
  options.l0_hard_bytes_max = uint64_t{4} << 40;
  const absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Open(path, options);
  if (engine.ok() && Fill(**engine, count).ok()) kill(getpid(), SIGKILL);
  _exit(1);
}

void AddReadCases(BenchSuite& suite, const std::string& program) {
  // Kept until the suite has run: its bodies hold it.
  static Store* const store = new Store(static_cast<size_t>(suite.Scale(500'000, 2'000)));
  std::atexit([] { delete store; });
  suite.Add("point-read", "millrace", [] { return PointReads(*store); });
  suite.Add("point-read", "lmdb", [] { return LmdbPointReads(*store); });
  suite.Add("scan", "millrace", [] { return Scan(*store); });
  suite.Add("scan", "lmdb", [] { return LmdbScan(*store); });
  const size_t logged = static_cast<size_t>(
      suite.Scale(static_cast<int64_t>((64 << 20) / kLogBytesPerRecord), 2'000));
  suite.Add("reopen 64MiB-log", "millrace", [program, logged] { return Reopen(program, logged); });
  for (const auto& [name, ratio] : {std::pair("point-read", 0.6), std::pair("scan", 0.7)}) {
    suite.Goal({.case_name = name,
                .metric = "per_second",
                .system = "millrace",
                .rival = "lmdb",
                .at_least = ratio});
  }
}

}  // namespace millrace
