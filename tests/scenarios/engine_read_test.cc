// What snapshots see while commits and flushes go on.

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/scenarios/test_engine.h"
#include "tests/testing/temporary_directory.h"

#include "millrace/actors/engine.h"

namespace millrace {
namespace {

using storage::Collection;
using storage::RecordRef;
using storage::Snapshot;
using storage::Version;
using storage::WriteBatch;
using testing::Number;
using testing::NumberOf;

int64_t NumberIn(const RecordRef& record) {
  return std::get<int64_t>(*storage::DocumentView(record.document).Field("n"));
}

std::map<std::string, int64_t> Contents(const Snapshot& snapshot, const Collection& collection,
                                        const storage::ScanRange& range = {}) {
  std::map<std::string, int64_t> contents;
  const absl::Status status = snapshot.Scan(collection, range, [&](const RecordRef& record) {
    EXPECT_TRUE(contents.empty() || contents.rbegin()->first < record.id) << record.id;
    contents[std::string(record.id)] = NumberIn(record);
    return true;
  });
  EXPECT_TRUE(status.ok()) << status;
  return contents;
}

class EngineReadTest : public ::testing::Test {
 protected:
  void Open(const EngineOptions& options) {
    engine_ = testing::OpenEngine(directory_.path(), options);
    ASSERT_NE(engine_, nullptr);
    collection_ = testing::MakeCollection(*engine_, "c");
  }

  testing::TemporaryDirectory directory_;
  std::unique_ptr<Engine> engine_;
  Collection collection_;
};

// Four writers each rewrite their ten records with one number, some of which they delete in odd
// rounds; a snapshot that mixes two commits shows two numbers.
TEST_F(EngineReadTest, SnapshotsSeeWholeCommitsWhileThreadsWriteAndFlush) {
  Open(testing::SmallEngine());
  constexpr int kWriterCount = 4;
  constexpr int kRecordCount = 10;
  const int64_t round_count = static_cast<int64_t>(testing::Scaled(1'500));
  std::atomic<int> running{kWriterCount};
  std::vector<std::thread> threads;
  for (int w = 0; w < kWriterCount; ++w) {
    threads.emplace_back([&, w] {
      for (int64_t round = 1; round <= round_count; ++round) {
        WriteBatch batch;
        for (int i = 0; i < kRecordCount; ++i) {
          const std::string id = absl::StrCat("w", w, "/", i);
          if (round % 2 == 1 && i % 2 == 1) {
            batch.Delete(collection_, id);
          } else {
            batch.Put(collection_, id, Number(round));
          }
        }
        CommitOptions options;
        options.durability = static_cast<Durability>(round % 3);
        ASSERT_TRUE(engine_->Commit(std::move(batch), options).Wait().ok());
      }
      running.fetch_sub(1);
    });
  }
  std::vector<int64_t> last_round(kWriterCount, 0);
  Version last_version = 0;
  uint64_t snapshot_count = 0;
  while (running.load() > 0) {
    const absl::StatusOr<Snapshot> snapshot = engine_->TakeSnapshot("reader");
    ASSERT_TRUE(snapshot.ok()) << snapshot.status();
    ASSERT_GE(snapshot->version(), last_version);
    last_version = snapshot->version();
    uint64_t count = 0;
    for (int w = 0; w < kWriterCount; ++w) {
      const auto records = Contents(*snapshot, collection_, {.prefix = absl::StrCat("w", w, "/")});
      if (records.empty() && last_round[w] == 0) continue;
      const int64_t round = records.begin()->second;
      ASSERT_GE(round, last_round[w]);
      ASSERT_EQ(records.size(), round % 2 == 1 ? kRecordCount / 2u : kRecordCount + 0u);
      for (const auto& [id, number] : records) ASSERT_EQ(number, round) << id;
      ASSERT_EQ(NumberOf(*snapshot, collection_, absl::StrCat("w", w, "/0")), round);
      last_round[w] = round;
      count += records.size();
    }
    ASSERT_EQ(*snapshot->Count(collection_), count);
    if (snapshot_count++ % 20 == 0) engine_->Flush();
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(snapshot_count, 0u);
}

TEST_F(EngineReadTest, OldSnapshotsStayAsTheyWere) {
  Open(testing::SmallEngine());
  std::vector<std::pair<Snapshot, std::map<std::string, int64_t>>> kept;
  std::map<std::string, int64_t> now;
  for (int round = 0; round < 12; ++round) {
    WriteBatch batch;
    for (int i = 0; i < 300; ++i) {
      const std::string id = absl::StrCat("r", i * 7 % 500);
      if ((i + round) % 5 == 0) {
        batch.Delete(collection_, id);
        now.erase(id);
      } else {
        batch.Put(collection_, id, Number(round * 1000 + i));
        now[id] = round * 1000 + i;
      }
    }
    testing::MustCommit(*engine_, std::move(batch));
    absl::StatusOr<Snapshot> snapshot = engine_->TakeSnapshot("kept");
    ASSERT_TRUE(snapshot.ok()) << snapshot.status();
    kept.emplace_back(*std::move(snapshot), now);
    if (round % 3 == 0) testing::MustFlush(*engine_);
    for (const auto& [old, contents] : kept) {
      ASSERT_EQ(Contents(old, collection_), contents);
      ASSERT_EQ(*old.Count(collection_), contents.size());
    }
  }
}

// One flush of many slices, each its own transaction: at any moment the count is what it should be.
TEST_F(EngineReadTest, CountIsExactWhileAFlushIsHalfWayThrough) {
  EngineOptions options = testing::QuietEngine();
  Open(options);
  const int64_t record_count = static_cast<int64_t>(testing::Scaled(20'000));
  const auto put = [&](int64_t begin, int64_t step, int64_t number) {
    for (int64_t i = begin; i < record_count;) {
      WriteBatch batch;
      for (int n = 0; n < 1'000 && i < record_count; ++n, i += step) {
        const std::string id = absl::StrCat("r", i);
        if (number < 0) {
          batch.Delete(collection_, id);
        } else {
          batch.Put(collection_, id, Number(number));
        }
      }
      testing::MustCommit(*engine_, std::move(batch));
    }
  };
  uint64_t looks = 0;
  const auto watch = [&](uint64_t want) {
    Pending<FlushReceipt> flush = engine_->Flush();
    bool last = false;
    while (!last) {
      last = flush.ready();
      const absl::StatusOr<Snapshot> snapshot = engine_->TakeSnapshot("watch");
      ASSERT_TRUE(snapshot.ok()) << snapshot.status();
      ASSERT_EQ(*snapshot->Count(collection_), want);
      ++looks;
    }
    ASSERT_TRUE(flush.Wait().ok());
  };
  put(0, 1, 1);
  ASSERT_NO_FATAL_FAILURE(watch(record_count));
  put(0, 2, -1);
  put(1, 2, 2);
  ASSERT_NO_FATAL_FAILURE(watch(record_count / 2));
  put(0, 4, 3);
  ASSERT_NO_FATAL_FAILURE(watch(record_count / 2 + (record_count + 3) / 4));
  EXPECT_GE(looks, 3u);
}

TEST_F(EngineReadTest, RangesAndTheEndOfAScan) {
  Open(testing::QuietEngine());
  WriteBatch batch;
  for (const char* id : {"a", "a/1", "a/2", "a0", "b", "b/1", "\xc3\xa9"}) {
    batch.Put(collection_, id, Number(1));
  }
  testing::MustCommit(*engine_, batch);
  const Collection other = testing::MakeCollection(*engine_, "other");
  testing::MustCommit(*engine_, testing::PutNumber(other, "a/3", 1));
  struct Case {
    storage::ScanRange range;
    std::string want;
  };
  const std::vector<Case> cases = {
      {{}, "a a/1 a/2 a0 b b/1 \xc3\xa9 "},
      {{.prefix = "a"}, "a a/1 a/2 a0 "},
      {{.prefix = "a/"}, "a/1 a/2 "},
      {{.from = "a/2"}, "a/2 a0 b b/1 \xc3\xa9 "},
      {{.to = "a/2"}, "a a/1 "},
      {{.from = "a/1", .to = "b"}, "a/1 a/2 a0 "},
      {{.prefix = "b", .from = "a"}, "b b/1 "},
      {{.prefix = "a", .to = "b"}, "a a/1 a/2 a0 "},
      {{.from = "b", .to = "a"}, ""},
      {{.prefix = "zz"}, ""},
  };
  for (const bool flushed : {false, true}) {
    if (flushed) testing::MustFlush(*engine_);
    const absl::StatusOr<Snapshot> snapshot = engine_->TakeSnapshot("test");
    for (const Case& one : cases) {
      std::string found;
      ASSERT_TRUE(snapshot
                      ->Scan(collection_, one.range,
                             [&](const RecordRef& record) {
                               absl::StrAppend(&found, std::string(record.id), " ");
                               return true;
                             })
                      .ok());
      EXPECT_EQ(found, one.want);
    }
    int visited = 0;
    ASSERT_TRUE(
        snapshot->Scan(collection_, {}, [&](const RecordRef&) { return ++visited < 3; }).ok());
    EXPECT_EQ(visited, 3);
  }
}

TEST_F(EngineReadTest, SnapshotsThatFillL0AreEndedSoThatCommitsGoOn) {
  EngineOptions options = testing::SmallEngine();
  options.l0_soft_bytes_max = uint64_t{256} << 10;
  options.l0_hard_bytes_max = uint64_t{512} << 10;
  options.commit_timeout = absl::Seconds(20);
  Open(options);
  const std::string text(20'000, 'x');
  std::vector<Snapshot> kept;
  for (int i = 0; i < 60; ++i) {
    WriteBatch batch;
    batch.Put(collection_, absl::StrCat(i),
              *storage::DocumentBuilder().Set("n", i).Set("t", text).Finish());
    const absl::StatusOr<CommitReceipt> receipt = engine_->Commit(std::move(batch)).Wait();
    ASSERT_TRUE(receipt.ok()) << receipt.status();
    absl::StatusOr<Snapshot> snapshot = engine_->TakeSnapshot("hoarder");
    ASSERT_TRUE(snapshot.ok()) << snapshot.status();
    kept.push_back(*std::move(snapshot));
  }
  EXPECT_EQ(kept.front().Get(collection_, "0").status().code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(kept.back().Get(collection_, "0").ok());
}

}  // namespace
}  // namespace millrace
