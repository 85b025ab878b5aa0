// Opening, stopping, and what becomes of those who come too late.

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scenarios/child_process.h"
#include "tests/scenarios/test_engine.h"
#include "tests/testing/temporary_directory.h"

#include "millrace/actors/engine.h"

namespace millrace {
namespace {

using storage::Collection;
using storage::Version;
using ::testing::HasSubstr;
using testing::MakeCollection;
using testing::MustCommit;
using testing::NumberOf;
using testing::OpenEngine;
using testing::PutNumber;
using testing::SmallEngine;

std::map<std::string, std::string> FilesOf(const std::string& directory) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream in(entry.path(), std::ios::binary);
    std::ostringstream contents;
    contents << in.rdbuf();
    files[entry.path().string()] = contents.str();
  }
  return files;
}

TEST(EngineLifeTest, OptionsOutOfRangeAreRefusedByName) {
  struct Case {
    const char* name;
    void (*change)(EngineOptions&);
  };
  const std::vector<Case> cases = {
      {"sync_interval", [](EngineOptions& o) { o.sync_interval = absl::ZeroDuration(); }},
      {"rotate_bytes", [](EngineOptions& o) { o.rotate_bytes = 100; }},
      {"rotate_interval_rows_min", [](EngineOptions& o) { o.rotate_interval_rows_min = 0; }},
      {"pending_flushes_max", [](EngineOptions& o) { o.pending_flushes_max = 0; }},
      {"pending_flushes_max", [](EngineOptions& o) { o.pending_flushes_max = 17; }},
      {"stream_timeout", [](EngineOptions& o) { o.stream_timeout = absl::ZeroDuration(); }},
      {"rotate_interval", [](EngineOptions& o) { o.rotate_interval = -absl::Seconds(1); }},
      {"l0_soft_bytes_max", [](EngineOptions& o) { o.l0_soft_bytes_max = 1; }},
      {"l0_hard_bytes_max", [](EngineOptions& o) { o.l0_hard_bytes_max = o.l0_soft_bytes_max; }},
      {"snapshot_soft_age", [](EngineOptions& o) { o.snapshot_soft_age = absl::ZeroDuration(); }},
      {"snapshot_hard_age", [](EngineOptions& o) { o.snapshot_hard_age = absl::Seconds(1); }},
      {"log_file_bytes", [](EngineOptions& o) { o.log_file_bytes = 1000; }},
      {"commit_timeout", [](EngineOptions& o) { o.commit_timeout = absl::ZeroDuration(); }},
      {"shutdown_timeout", [](EngineOptions& o) { o.shutdown_timeout = -absl::Seconds(1); }},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.name);
    const testing::TemporaryDirectory directory;
    EngineOptions options;
    one.change(options);
    const absl::Status status = Engine::Open(directory.path(), options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(status.ToString(), HasSubstr(one.name));
    EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
  }
}

TEST(EngineLifeTest, CollectionsAreCreatedFoundAndListed) {
  const testing::TemporaryDirectory directory;
  std::unique_ptr<Engine> engine = OpenEngine(directory.path(), SmallEngine());
  ASSERT_NE(engine, nullptr);
  EXPECT_TRUE(engine->ListCollections()->empty());
  const Collection pears = MakeCollection(*engine, "pears");
  const Collection apples = MakeCollection(*engine, "apples");
  EXPECT_EQ(MakeCollection(*engine, "pears"), pears);
  EXPECT_NE(apples.id, pears.id);
  for (int life = 0; life < 3; ++life) {
    EXPECT_EQ(*engine->OpenCollection("pears"), pears);
    EXPECT_EQ(*engine->ListCollections(), (std::vector<Collection>{apples, pears}));
    EXPECT_EQ(MakeCollection(*engine, "apples"), apples);
    engine.reset();
    engine = OpenEngine(directory.path(), SmallEngine());
    ASSERT_NE(engine, nullptr);
  }
  const absl::Status missing = engine->OpenCollection("plums").status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(missing.ToString(), HasSubstr("'plums'"));
  for (const std::string& name : {std::string(), std::string(256, 'x'), std::string("a\xff")}) {
    EXPECT_EQ(engine->CreateCollection(name).status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(engine->OpenCollection(name).status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(engine->ListCollections()->size(), 2u);
}

TEST(EngineLifeTest, ThreadsThatCreateOneCollectionGetTheSame) {
  const testing::TemporaryDirectory directory;
  const std::unique_ptr<Engine> engine = OpenEngine(directory.path(), SmallEngine());
  ASSERT_NE(engine, nullptr);
  std::vector<Collection> collections(8);
  std::vector<std::thread> threads;
  for (Collection& collection : collections) {
    threads.emplace_back([&] {
      collection = MakeCollection(*engine, "shared");
      MustCommit(*engine, PutNumber(collection, "x", 1));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Collection& collection : collections) EXPECT_EQ(collection, collections.front());
  EXPECT_EQ(engine->ListCollections()->size(), 1u);
}

TEST(EngineLifeTest, SecondOpenInThisProcessNamesIt) {
  const testing::TemporaryDirectory directory;
  const std::unique_ptr<Engine> engine = OpenEngine(directory.path(), SmallEngine());
  ASSERT_NE(engine, nullptr);
  MustCommit(*engine, PutNumber(MakeCollection(*engine, "c"), "x", 1));
  testing::MustFlush(*engine);
  const absl::Status status = Engine::Open(directory.path()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_EQ(GetOwnerPid(status), getpid());
  MustCommit(*engine, PutNumber(*engine->OpenCollection("c"), "x", 2));
}

TEST(EngineLifeTest, StoreOfAnotherProcessIsRefusedNamedAndLeftAlone) {
  const testing::TemporaryDirectory directory;
  {
    testing::ChildProcess child({MILLRACE_KILL_CHILD, "hold", directory.path()});
    char byte = 0;
    ASSERT_EQ(child.Read(&byte, 1), 1u);
    const auto before = FilesOf(directory.path());
    const absl::Status status = Engine::Open(directory.path()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    EXPECT_EQ(GetOwnerPid(status), child.pid());
    EXPECT_THAT(status.ToString(), HasSubstr(absl::StrCat(child.pid())));
    EXPECT_EQ(FilesOf(directory.path()), before);
    child.CloseInput();
    EXPECT_EQ(child.Wait(), 0);
  }
  EXPECT_NE(OpenEngine(directory.path(), SmallEngine()), nullptr);
}

TEST(EngineLifeTest, DirectoryThatIsNoStoreIsRefused) {
  const testing::TemporaryDirectory directory;
  std::ofstream(directory.File("letter.txt")) << "dear reader";
  const absl::Status status = Engine::Open(directory.path()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_FALSE(std::filesystem::exists(directory.File("store.mdb")));
}

TEST(EngineLifeTest, EveryCallAfterShutdownAnswersCancelled) {
  const testing::TemporaryDirectory directory;
  const std::unique_ptr<Engine> engine = OpenEngine(directory.path(), SmallEngine());
  ASSERT_NE(engine, nullptr);
  const Collection collection = MakeCollection(*engine, "c");
  const Version version = MustCommit(*engine, PutNumber(collection, "x", 1));
  const absl::StatusOr<storage::Snapshot> snapshot = engine->TakeSnapshot("kept");
  ASSERT_TRUE(snapshot.ok());
  const ShutdownReport report = engine->Shutdown();
  EXPECT_TRUE(report.Balanced()) << report.ToString();

  const absl::Status commit = engine->Commit(PutNumber(collection, "y", 1)).Wait().status();
  EXPECT_EQ(commit.code(), absl::StatusCode::kCancelled) << commit;
  EXPECT_EQ(GetOutcome(commit), Outcome::kNotExecuted);
  const std::vector<absl::Status> answers = {
      engine->OpenCollection("c").status(),
      engine->CreateCollection("d").status(),
      engine->ListCollections().status(),
      engine->GetOutcome(engine->NewToken()).status(),
      engine->TakeSnapshot().status(),
      engine->Flush().Wait().status(),
      snapshot->Get(collection, "x").status(),
      snapshot->Count(collection).status(),
      snapshot->Scan(collection, {}, [](const storage::RecordRef&) { return true; }),
      snapshot->ListCollections().status(),
  };
  for (const absl::Status& status : answers) {
    EXPECT_EQ(status.code(), absl::StatusCode::kCancelled) << status;
  }
  const EngineStatus status = engine->GetStatus();
  EXPECT_EQ(status.published_version, version);
  EXPECT_EQ(status.flushed_version, version);
  EXPECT_TRUE(status.health.ok()) << status.health;
}

TEST(EngineLifeTest, HandlesOutliveTheEngineAndItsStore) {
  const testing::TemporaryDirectory directory;
  std::unique_ptr<Engine> engine = OpenEngine(directory.path(), SmallEngine());
  ASSERT_NE(engine, nullptr);
  const Collection collection = MakeCollection(*engine, "c");
  absl::StatusOr<storage::Snapshot> snapshot = engine->TakeSnapshot("kept");
  ASSERT_TRUE(snapshot.ok());
  std::vector<Pending<CommitReceipt>> pending;
  for (int i = 0; i < 100; ++i) {
    pending.push_back(engine->Commit(PutNumber(collection, absl::StrCat(i), i)));
  }
  Pending<FlushReceipt> flush = engine->Flush();
  engine.reset();
  // What was accepted was answered; the last one was too, though nobody has looked yet.
  for (Pending<CommitReceipt>& one : pending) {
    ASSERT_TRUE(one.ready());
    const absl::StatusOr<CommitReceipt> receipt = one.Wait();
    EXPECT_TRUE(receipt.ok()) << receipt.status();
  }
  EXPECT_TRUE(flush.ready());
  EXPECT_EQ(snapshot->Get(collection, "1").status().code(), absl::StatusCode::kCancelled);
  engine = OpenEngine(directory.path(), SmallEngine());  // The old handles hold nothing of it.
  ASSERT_NE(engine, nullptr);
  EXPECT_EQ(*engine->TakeSnapshot()->Count(collection), 100u);
  EXPECT_EQ(snapshot->Get(collection, "1").status().code(), absl::StatusCode::kCancelled);
}

TEST(EngineLifeTest, ConcurrentShutdownsGetOneReport) {
  const testing::TemporaryDirectory directory;
  const std::unique_ptr<Engine> engine = OpenEngine(directory.path(), SmallEngine());
  ASSERT_NE(engine, nullptr);
  const Collection collection = MakeCollection(*engine, "c");
  for (int i = 0; i < 500; ++i) engine->Commit(PutNumber(collection, absl::StrCat(i), i));
  std::vector<std::string> reports(4);
  std::vector<std::thread> threads;
  for (std::string& report : reports) {
    threads.emplace_back([&] { report = engine->Shutdown().ToString(); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& report : reports) EXPECT_EQ(report, reports.front());
  EXPECT_EQ(engine->Shutdown().ToString(), reports.front());
}

TEST(EngineLifeTest, ActorsStartReceiversFirstAndStopSendersFirst) {
  const testing::TemporaryDirectory directory;
  const std::unique_ptr<Engine> engine = OpenEngine(directory.path(), SmallEngine());
  ASSERT_NE(engine, nullptr);
  std::vector<std::string> order;
  for (const ActorStatus& actor : engine->GetStatus().actors) order.push_back(actor.name);
  EXPECT_EQ(order, (std::vector<std::string>{"writer", "streamer-1", "streamer-2", "finalizer",
                                             "committer", "rebuilder"}));
  order.clear();
  for (const ActorReport& actor : engine->Shutdown().actors) order.push_back(actor.name);
  EXPECT_EQ(order, (std::vector<std::string>{"rebuilder", "committer", "finalizer", "streamer-2",
                                             "streamer-1", "writer"}));
}

// What clients count is what the engine counts, whenever it is stopped.
TEST(EngineLifeTest, EveryAcceptedCommitIsAnsweredOnceHoweverTheEngineStops) {
  std::mt19937_64 random(testing::Seed());
  const testing::TemporaryDirectory directory;
  const size_t life_count = testing::Scaled(30);
  uint64_t committed_before = 0;
  for (size_t life = 0; life < life_count; ++life) {
    const std::unique_ptr<Engine> engine = OpenEngine(directory.path(), SmallEngine());
    ASSERT_NE(engine, nullptr);
    const Collection collection = MakeCollection(*engine, "c");
    ASSERT_EQ(*engine->TakeSnapshot()->Count(collection), committed_before);
    std::atomic<uint64_t> answered{0};
    std::atomic<uint64_t> committed{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        std::vector<Pending<CommitReceipt>> pending;
        for (int i = 0; i < 20'000; ++i) {
          pending.push_back(
              engine->Commit(PutNumber(collection, absl::StrCat(life, "/", t, "/", i), i)));
          if (pending.back().ready() && !engine->GetStatus().health.ok()) break;
          if (i % 64 == 0) answered.fetch_add(64);
          if (engine->TakeSnapshot().status().code() == absl::StatusCode::kCancelled) break;
        }
        for (Pending<CommitReceipt>& one : pending) {
          const absl::StatusOr<CommitReceipt> receipt = one.Wait();
          if (receipt.ok()) {
            committed.fetch_add(1);
          } else {
            ASSERT_EQ(receipt.status().code(), absl::StatusCode::kCancelled) << receipt.status();
            ASSERT_EQ(GetOutcome(receipt.status()), Outcome::kNotExecuted);
          }
        }
      });
    }
    const uint64_t stop_at = random() % 2'000;
    while (answered.load() < stop_at) std::this_thread::yield();
    const bool hasty = random() % 3 == 0;
    const ShutdownReport report =
        hasty ? engine->Shutdown(absl::ZeroDuration()) : engine->Shutdown();
    for (std::thread& thread : threads) thread.join();
    ASSERT_TRUE(report.Balanced()) << report.ToString();
    committed_before += committed.load();
  }
  const std::unique_ptr<Engine> engine = OpenEngine(directory.path(), SmallEngine());
  EXPECT_EQ(*engine->TakeSnapshot()->Count(*engine->OpenCollection("c")), committed_before);
}

TEST(EngineLifeTest, ReopenedStoreHoldsWhatWasCommittedFlushedOrNot) {
  const testing::TemporaryDirectory directory;
  Version last = 0;
  for (int life = 0; life < 6; ++life) {
    const std::unique_ptr<Engine> engine = OpenEngine(directory.path(), testing::QuietEngine());
    ASSERT_NE(engine, nullptr);
    const Collection collection = MakeCollection(*engine, "c");
    for (int i = 0; i < 50 * life; ++i) {
      ASSERT_EQ(NumberOf(*engine, collection, absl::StrCat(i)), i % 7 == 0 ? -1 : i);
    }
    for (int i = 50 * life; i < 50 * (life + 1); ++i) {
      last = MustCommit(*engine, PutNumber(collection, absl::StrCat(i), i));
      if (i % 7 == 0) {
        storage::WriteBatch batch;
        last = MustCommit(*engine, batch.Delete(collection, absl::StrCat(i)));
      }
      if (life % 2 == 0 && i % 20 == 0) testing::MustFlush(*engine);
    }
    EXPECT_EQ(engine->GetStatus().published_version, last);
  }
}

}  // namespace
}  // namespace millrace
