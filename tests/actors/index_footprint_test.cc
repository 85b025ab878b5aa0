// What an index build takes of memory, disk and turns, whatever it builds.

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "tests/actors/stepped_engine.h"
#include "tests/testing/temporary_directory.h"
#include <malloc.h>

#include "millrace/actors/adaptive_batch.h"

namespace millrace::testing {
namespace {

using storage::IndexDefinition;
using storage::TaskId;
using storage::TaskState;

// Bytes that the process has from malloc; 0 where a sanitizer has taken malloc's place.
uint64_t HeapBytes() {
  const struct mallinfo2 info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

// I22: from 5,000 on, at most doubled or halved, within [100, 50,000].
TEST(AdaptiveBatchTest, FollowsWhatBatchesTook) {
  AdaptiveBatch batch(absl::Milliseconds(50));
  EXPECT_EQ(batch.rows(), 5'000u);
  batch.Took(5'000, absl::Milliseconds(40));
  EXPECT_EQ(batch.rows(), 6'250u);
  batch.Took(6'250, absl::Milliseconds(1));
  EXPECT_EQ(batch.rows(), 12'500u) << "doubled at most";
  batch.Took(12'500, absl::Seconds(10));
  EXPECT_EQ(batch.rows(), 6'250u) << "halved at most";
  batch.Took(10, absl::Microseconds(1));
  EXPECT_EQ(batch.rows(), 6'250u) << "a short one says nothing";
  for (int i = 0; i < 20; ++i) batch.Took(batch.rows(), absl::ZeroDuration());
  EXPECT_EQ(batch.rows(), 50'000u);
  for (int i = 0; i < 20; ++i) batch.Took(batch.rows(), absl::Seconds(10));
  EXPECT_EQ(batch.rows(), 100u);
}

class IndexFootprintTest : public ::testing::Test {
 protected:
  // Records with numbers from `begin` on, flushed.
  static void Fill(SteppedEngine& store, int begin, int count) {
    for (int i = begin; i < begin + count;) {
      storage::WriteBatch batch;
      for (const int end = std::min(i + 50'000, begin + count); i < end; ++i) {
        batch.Put(store.people(), SteppedEngine::Id(i), SteppedEngine::Person(i, i));
      }
      ASSERT_TRUE(store.engine().Commit(std::move(batch)).Wait().ok());
      store.Flush();
    }
  }

  const TemporaryDirectory directory_ = TemporaryDirectory::InMemory();
};

// I20: ten times the entries of what fits the budget, and no more memory than budget and the
// Writer's transaction.
TEST_F(IndexFootprintTest, MemoryStaysWithinTheBudget) {
  constexpr uint64_t kBudget = uint64_t{1} << 20;
  // LMDB's pages of one transaction, the slices under way, the blocks of the runs that are merged.
  constexpr uint64_t kBeside = uint64_t{6} << 20;
  constexpr int kRecords = 250'000;
  constexpr uint64_t kEntryBytes = 40;  // Key and place, as the sorter holds them; a low estimate.
  static_assert(kRecords * kEntryBytes > kBudget + kBeside, "or it would prove nothing");
  EngineOptions options = SteppedEngine::Options();
  options.rebuild_memory_bytes = kBudget;
  SteppedEngine store(directory_.File("store"), options);
  Fill(store, 0, kRecords);
  store.Idle();
  const IndexDefined defined = store.Create({.field = "u"});
  const uint64_t before = HeapBytes();
  if (before == 0) GTEST_SKIP() << "malloc does not say what it has given";
  uint64_t peak = before;
  ASSERT_TRUE(store.StepUntil([&] {
    peak = std::max(peak, HeapBytes());
    return store.Task(defined.build).state == TaskState::kComplete;
  }));
  EXPECT_EQ(store.Status(defined.definition).generations.row_count, uint64_t{kRecords});
  EXPECT_LE(peak - before, kBudget + kBeside);
  RecordProperty("peak_bytes", std::to_string(peak - before));
}

// I21: a build holds no page of the past for longer than a batch: the file grows by what flushes
// would have it grow anyway, and the new generation.
TEST_F(IndexFootprintTest, FlushesBesideABuildReuseTheirPages) {
  constexpr int kRecords = 60'000;
  EngineOptions options = SteppedEngine::Options();
  options.rebuild_memory_bytes = uint64_t{1} << 20;  // Many runs, so many steps.
  int rounds = 0;
  uint64_t pages[2] = {};
  for (const bool beside : {true, false}) {
    const std::string directory = directory_.File(beside ? "beside" : "behind");
    SteppedEngine store(directory, options);
    Fill(store, 0, kRecords);
    const IndexDefinition index = store.CreateComplete({.field = "n"});
    const TaskId task = store.Schedule({.index = index.id});
    if (!beside) store.Idle();
    // Changes all over the store, flushed one by one, as many as the build lasts.
    for (int round = 0; beside ? store.Task(task).state != TaskState::kComplete : round < rounds;
         ++round) {
      storage::WriteBatch batch;
      for (int i = round % 100; i < kRecords; i += 100) {
        batch.Put(store.people(), SteppedEngine::Id(i), SteppedEngine::Person(i + round, i));
      }
      ASSERT_TRUE(store.engine().Commit(std::move(batch)).Wait().ok());
      store.Flush();
      if (beside) rounds = round + 1;
    }
    store.Idle();
    pages[beside ? 0 : 1] = std::filesystem::file_size(directory + "/store.mdb") / 4096;
  }
  EXPECT_GE(rounds, 5) << "or the build was not beside the flushes";
  EXPECT_LE(static_cast<double>(pages[0]), 1.3 * static_cast<double>(pages[1]));
  RecordProperty("rounds", std::to_string(rounds));
  RecordProperty("pages_beside", std::to_string(pages[0]));
  RecordProperty("pages_behind", std::to_string(pages[1]));
}

}  // namespace
}  // namespace millrace::testing
