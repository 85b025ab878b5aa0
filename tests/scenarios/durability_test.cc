// That what was answered as durable is on the disk, where a kill cannot show it (it keeps the page
// cache): by the order of file calls and answers, and by power losses.

#include <algorithm>
#include <atomic>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "gtest/gtest.h"
#include "tests/scenarios/numbered_batches.h"
#include "tests/scenarios/steered_file_system.h"
#include "tests/testing/faulty_file_system.h"
#include "tests/testing/power_loss_file_system.h"
#include "tests/testing/sound_store.h"
#include "tests/testing/temporary_directory.h"

#include "millrace/storage/log_format.h"
#include "millrace/testing/manual_clock.h"

namespace millrace {
namespace {

using storage::Collection;
using storage::Version;
using testing::FaultyFileSystem;
using testing::FileCall;
using testing::FileEvent;
using testing::Numbered;
using testing::NumberedBatch;
using testing::NumberedCollection;
using testing::OpenEngine;
using testing::PowerLossFileSystem;
using testing::QuietOptions;
using testing::ReadNumbered;
using testing::SteeredFileSystem;
using testing::TemporaryDirectory;

// An answer, and how many file calls had ended when it arrived.
struct Answered {
  Version version = 0;
  size_t call_count = 0;
};

// Runs numbered batches from several threads; `durable` says which ask for durability.
std::vector<Answered> CommitFrom(Engine& engine, const FaultyFileSystem& files, int thread_count,
                                 int commits_each, bool every_other_undurable) {
  const Collection collection = NumberedCollection(engine);
  absl::Mutex mutex;
  std::vector<Answered> answered;
  std::vector<std::thread> threads;
  for (int t = 0; t < thread_count; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < commits_each; ++i) {
        const bool durable = !every_other_undurable || (t + i) % 2 == 0;
        const auto receipt =
            engine
                .Commit(NumberedBatch(collection, t * commits_each + i),
                        {.durability = durable ? Durability::kDurable : Durability::kNone})
                .Wait(testing::kPatience);
        const auto call_count = static_cast<size_t>(files.total_count());
        ASSERT_TRUE(receipt.ok()) << receipt.status();
        absl::MutexLock lock(&mutex);
        if (durable) answered.push_back({receipt->version, call_count});
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return answered;
}

// Which call wrote each version: the groups stand in the log where the calls put them.
std::map<Version, size_t> WritesByVersion(const std::vector<FileEvent>& events,
                                          const std::string& log) {
  std::map<Version, size_t> writes;
  for (size_t i = 0; i < events.size(); ++i) {
    if (events[i].call != FileCall::kWrite || events[i].result <= 0) continue;
    const storage::LogRecord record = storage::ReadAnyLogRecord(log, events[i].offset);
    if (record.kind != storage::RecordKind::kGroup) continue;
    for (Version v = record.header.first_version; v < record.header.next_version(); ++v) {
      writes[v] = i;
    }
  }
  return writes;
}

std::string OnlyLogFile(const std::string& directory) {
  const auto names = storage::SystemFileSystem().List(directory);
  std::string contents;
  int count = 0;
  for (const std::string& name : *names) {
    if (!storage::ParseLogFileName(name).has_value()) continue;
    ++count;
    std::ifstream in(storage::JoinPath(directory, name), std::ios::binary);
    contents.assign(std::istreambuf_iterator<char>(in), {});
  }
  EXPECT_EQ(count, 1);
  return contents;
}

struct OrderReport {
  size_t answer_count = 0;
  size_t violation_count = 0;  // Answers whose group was not synced between write and answer.
};

OrderReport CheckOrder(int thread_count, bool every_other_undurable, bool drop_syncs) {
  TemporaryDirectory directory;
  FaultyFileSystem files(storage::SystemFileSystem());
  SteeredFileSystem steered(files);
  EngineOptions options = QuietOptions();
  options.log_file_bytes = uint64_t{4} << 20;
  const auto engine = OpenEngine(directory.path(), options, {.files = steered});
  files.ClearEvents();  // Those of the recovery wrote zeros where groups stand later.
  steered.set_drops_syncs(drop_syncs);
  const std::vector<Answered> answered =
      CommitFrom(*engine, files, thread_count, 240 / thread_count, every_other_undurable);
  const std::vector<FileEvent> events = files.events();
  const std::map<Version, size_t> writes =
      WritesByVersion(events, OnlyLogFile(directory.File("log")));
  OrderReport report{.answer_count = answered.size()};
  for (const Answered& answer : answered) {
    const auto write = writes.find(answer.version);
    EXPECT_TRUE(write != writes.end()) << "version " << answer.version << " was never written";
    if (write == writes.end()) continue;
    const size_t end = std::min(answer.call_count, events.size());
    bool synced = false;
    for (size_t i = write->second + 1; i < end; ++i) {
      synced = synced || (events[i].call == FileCall::kSync && events[i].result == 0 &&
                          events[i].path == events[write->second].path);
    }
    report.violation_count += !synced;
  }
  return report;
}

TEST(DurabilityTest, NoAnswerPrecedesTheSyncOfItsGroup) {
  for (const int thread_count : {1, 2, 8, 24}) {
    const OrderReport report = CheckOrder(thread_count, false, false);
    EXPECT_EQ(report.answer_count, 240u);
    EXPECT_EQ(report.violation_count, 0u) << thread_count << " clients";
  }
}

TEST(DurabilityTest, NoDurableAnswerPrecedesItsSyncAmongCommitsThatAskForNone) {
  const OrderReport report = CheckOrder(8, true, false);
  EXPECT_EQ(report.answer_count, 120u);
  EXPECT_EQ(report.violation_count, 0u);
}

TEST(DurabilityTest, ControlTheOrderTestSeesSyncsThatAreDropped) {
  for (const int thread_count : {1, 8}) {
    const OrderReport report = CheckOrder(thread_count, false, true);
    EXPECT_EQ(report.violation_count, report.answer_count) << thread_count << " clients";
  }
}

// A log in memory whose unsynced bytes a power loss takes, under an engine whose LMDB file is real:
// what LMDB holds was synced in the log before.
class PowerLossStore {
 public:
  explicit PowerLossStore(const EngineOptions& options, Clock& clock = SystemClock())
      : options_(options), clock_(clock) {
    std::string path;
    for (const char c : directory_.path() + "/") {
      if (c == '/' && !path.empty()) {
        EXPECT_TRUE(disk_.CreateDirectory(path).ok());
        EXPECT_TRUE(disk_.SyncDirectory(storage::ParentDirectory(path)).ok());
      }
      path += c;
    }
    Open();
  }

  void Open() {
    calls_.Heal();
    engine_ = OpenEngine(directory_.path(), options_, {.clock = clock_, .files = steered_});
  }
  // From now on no call reaches the disk, as if the process had died; the engine fails.
  void Freeze() { calls_.Fail({.at = 1, .forever = true}); }
  // The power goes, and comes back. Empty, or why the store could not be opened.
  std::string LosePower(uint64_t seed) {
    Freeze();
    engine_.reset();
    disk_.PowerLoss(seed);
    calls_.Heal();
    steered_.set_drops_syncs(false);
    if (absl::StatusOr<storage::VerifyReport> report =
            storage::VerifyStore(directory_.path(), disk_);
        !report.ok() || !report->sound()) {
      return report.ok() ? report->damage.front() : report.status().ToString();
    }
    auto opened = Engine::Open(directory_.path(), options_, {.clock = clock_, .files = steered_});
    if (!opened.ok()) return opened.status().ToString();
    engine_ = *std::move(opened);
    return "";
  }

  Engine& engine() { return *engine_; }
  FaultyFileSystem& calls() { return calls_; }
  SteeredFileSystem& steered() { return steered_; }

 private:
  const EngineOptions options_;
  Clock& clock_;
  TemporaryDirectory directory_;
  PowerLossFileSystem disk_;
  FaultyFileSystem calls_{disk_};
  SteeredFileSystem steered_{calls_};
  std::unique_ptr<Engine> engine_;
};

struct LossPlan {
  uint64_t seed = 0;
  int client_count = 1;
  bool flushes = false;
  bool drop_syncs = false;
  Durability durability = Durability::kDurable;
};

struct LossReport {
  size_t acknowledged_count = 0;
  size_t lost_count = 0;  // Acknowledged, and not there after the power loss.
  std::string fault;
};

// Clients commit until the power goes, after a number of answers that the seed says.
LossReport RunUntilPowerLoss(const LossPlan& plan) {
  std::mt19937_64 random(plan.seed);
  EngineOptions options = QuietOptions();
  if (plan.flushes) options.rotate_rows = 20;
  PowerLossStore store(options);
  Engine& engine = store.engine();
  const Collection collection = NumberedCollection(engine);
  store.steered().set_drops_syncs(plan.drop_syncs);
  const int freeze_at = 1 + static_cast<int>(random() % 60);
  std::atomic<int> answer_count{0};
  absl::Mutex mutex;
  std::map<int, Version> acknowledged;
  std::vector<std::thread> threads;
  for (int t = 0; t < plan.client_count; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0;; ++i) {
        const int number = t * 1000 + i;
        const auto receipt =
            engine
                .Commit(NumberedBatch(collection, number, static_cast<size_t>(number % 7) * 100),
                        {.durability = plan.durability})
                .Wait(testing::kPatience);
        if (!receipt.ok()) return;
        if (answer_count.fetch_add(1) + 1 == freeze_at) store.Freeze();
        absl::MutexLock lock(&mutex);
        acknowledged[number] = receipt->version;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  LossReport report{.acknowledged_count = acknowledged.size()};
  report.fault = store.LosePower(plan.seed);
  if (!report.fault.empty()) return report;
  const Numbered found = ReadNumbered(store.engine());
  report.fault = found.fault;
  if (!found.IsPrefix()) report.fault += "; the batches found are no prefix of the commits";
  for (const auto& [number, version] : acknowledged) {
    const auto it = found.batches.find(number);
    if (it == found.batches.end()) {
      ++report.lost_count;
    } else if (it->second != version) {
      report.fault += "; a batch came back under another version";
    }
  }
  return report;
}

TEST(DurabilityTest, PowerLossTakesNothingThatWasAnsweredAsDurable) {
  for (const int client_count : {1, 6}) {
    for (const bool flushes : {false, true}) {
      for (uint64_t seed = 1; seed <= 12; ++seed) {
        const LossReport report =
            RunUntilPowerLoss({.seed = seed, .client_count = client_count, .flushes = flushes});
        EXPECT_GT(report.acknowledged_count, 0u);
        EXPECT_EQ(report.lost_count, 0u)
            << "seed " << seed << ", " << client_count << " clients, flushes " << flushes;
        EXPECT_EQ(report.fault, "") << "seed " << seed << ", " << client_count << " clients";
      }
    }
  }
}

TEST(DurabilityTest, ControlThePowerLossTestSeesSyncsThatAreDropped) {
  for (const int client_count : {1, 6}) {
    size_t lost_count = 0;
    for (uint64_t seed = 1; seed <= 12; ++seed) {
      lost_count +=
          RunUntilPowerLoss({.seed = seed, .client_count = client_count, .drop_syncs = true})
              .lost_count;
    }
    EXPECT_GT(lost_count, 0u) << client_count << " clients";
  }
}

TEST(DurabilityTest, PowerLossLeavesAPrefixOfCommitsThatAskedForNoDurability) {
  size_t lost_count = 0;
  for (uint64_t seed = 1; seed <= 24; ++seed) {
    const LossReport report = RunUntilPowerLoss(
        {.seed = seed, .client_count = seed % 2 == 0 ? 1 : 5, .durability = Durability::kNone});
    EXPECT_EQ(report.fault, "") << "seed " << seed;
    lost_count += report.lost_count;
  }
  EXPECT_GT(lost_count, 0u) << "no seed lost anything: the power loss takes nothing";
}

// Commits that asked for nothing are on the disk with the durable one that came behind them.
TEST(DurabilityTest, DurableCommitTakesTheUndurableOnesBeforeItAlong) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    PowerLossStore store(QuietOptions());
    const Collection collection = NumberedCollection(store.engine());
    for (int i = 0; i < 8; ++i) {
      const auto durability = i == 5 ? Durability::kDurable : Durability::kNone;
      ASSERT_TRUE(store.engine()
                      .Commit(NumberedBatch(collection, i), {.durability = durability})
                      .Wait(testing::kPatience)
                      .ok());
    }
    ASSERT_EQ(store.LosePower(seed), "") << "seed " << seed;
    const Numbered found = ReadNumbered(store.engine());
    EXPECT_EQ(found.fault, "");
    EXPECT_TRUE(found.IsPrefix()) << "seed " << seed;
    for (int i = 0; i <= 5; ++i) EXPECT_TRUE(found.Holds(i)) << "seed " << seed << ", " << i;
  }
}

// An engine on threads does not know that the clock moved until it hears something.
void LetTimersRun(Engine& engine) {
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(engine.GetOutcome(engine.NewToken()).ok());
}

TEST(DurabilityTest, IntervalCommitsAreSyncedWhenTheIntervalEndsAlsoIfNothingFollows) {
  testing::ManualClock clock;
  EngineOptions options = QuietOptions();
  options.sync_interval = absl::Milliseconds(100);
  PowerLossStore store(options, clock);
  Engine& engine = store.engine();
  const Collection collection = NumberedCollection(engine);
  const auto sync_count = [&] { return store.calls().count(FileCall::kSync); };
  const auto commit = [&](int number) {
    return engine.Commit(NumberedBatch(collection, number), {.durability = Durability::kInterval})
        .Wait(testing::kPatience)
        .ok();
  };
  const int64_t before = sync_count();
  ASSERT_TRUE(commit(1));
  clock.Advance(absl::Milliseconds(60));
  ASSERT_TRUE(commit(2));
  clock.Advance(absl::Milliseconds(39));
  LetTimersRun(engine);
  EXPECT_EQ(sync_count(), before) << "synced early: the interval saves nothing";
  clock.Advance(absl::Milliseconds(1));
  LetTimersRun(engine);
  EXPECT_EQ(sync_count(), before + 1) << "the first commit is 100 ms old and not synced";
  clock.Advance(absl::Seconds(1));
  LetTimersRun(engine);
  EXPECT_EQ(sync_count(), before + 1) << "synced although nothing was owed";
  ASSERT_TRUE(commit(3));
  clock.Advance(absl::Milliseconds(100));
  LetTimersRun(engine);
  EXPECT_EQ(sync_count(), before + 2);
}

TEST(DurabilityTest, PowerLossTakesAtMostTheLastIntervalOfIntervalCommits) {
  size_t lost_count = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    testing::ManualClock clock;
    EngineOptions options = QuietOptions();
    options.durability = Durability::kInterval;
    options.sync_interval = absl::Milliseconds(100);
    PowerLossStore store(options, clock);
    Engine& engine = store.engine();
    const Collection collection = NumberedCollection(engine);
    std::mt19937_64 random(seed);
    std::map<int, MonotonicTime> answered;
    const int commit_count = 5 + static_cast<int>(random() % 30);
    for (int i = 0; i < commit_count; ++i) {
      ASSERT_TRUE(engine.Commit(NumberedBatch(collection, i)).Wait(testing::kPatience).ok());
      answered[i] = clock.Now();
      clock.Advance(absl::Milliseconds(random() % 50));
      LetTimersRun(engine);
    }
    const MonotonicTime end = clock.Now();
    ASSERT_EQ(store.LosePower(seed), "") << "seed " << seed;
    const Numbered found = ReadNumbered(store.engine());
    EXPECT_EQ(found.fault, "") << "seed " << seed;
    EXPECT_TRUE(found.IsPrefix()) << "seed " << seed;
    for (const auto& [number, time] : answered) {
      if (found.Holds(number)) continue;
      ++lost_count;
      EXPECT_LT(end - time, options.sync_interval) << "seed " << seed << ", batch " << number;
    }
  }
  EXPECT_GT(lost_count, 0u) << "no seed lost anything: the interval is not used";
}

// Several power losses in a row: each recovery is as durable as the commits were.
TEST(DurabilityTest, StoreSurvivesPowerLossAfterPowerLoss) {
  EngineOptions options = QuietOptions();
  options.rotate_rows = 40;
  PowerLossStore store(options);
  int number = 0;
  for (uint64_t seed = 1; seed <= 15; ++seed) {
    const Collection collection = NumberedCollection(store.engine());
    for (int i = 0; i < 7; ++i) {
      ASSERT_TRUE(
          store.engine().Commit(NumberedBatch(collection, number++)).Wait(testing::kPatience).ok());
    }
    ASSERT_EQ(store.LosePower(seed), "") << "seed " << seed;
    const Numbered found = ReadNumbered(store.engine());
    EXPECT_EQ(found.fault, "") << "seed " << seed;
    EXPECT_TRUE(found.IsPrefix()) << "seed " << seed;
    EXPECT_EQ(found.batches.size(), static_cast<size_t>(number)) << "seed " << seed;
  }
}

}  // namespace
}  // namespace millrace
