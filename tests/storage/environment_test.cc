#include "millrace/storage/environment.h"

#include <array>
#include <atomic>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/storage/test_store.h"
#include <lmdb.h>

namespace millrace::storage {
namespace {

using ::testing::HasSubstr;
constexpr TreeId kTree = TreeId::kRecords;

std::string Message(const absl::Status& status) {
  return status.ToString();
}

std::string Numbered(uint64_t number) {
  std::string key(16, '0');
  for (size_t i = key.size(); number != 0; number /= 10) key[--i] = '0' + number % 10;
  return key;
}

std::map<std::string, std::string> AllRows(Cursor cursor) {
  std::map<std::string, std::string> rows;
  std::string last;
  for (cursor.Seek(""); cursor.Valid(); cursor.Next()) {
    EXPECT_TRUE(rows.empty() || last < cursor.key());
    last = cursor.key();
    rows.emplace(cursor.key(), cursor.value());
  }
  EXPECT_TRUE(cursor.status().ok()) << cursor.status();
  return rows;
}

// Bytes of pages that are not on the free list, found by walking it.
uint64_t UsedBytesByWalking(const std::string& path) {
  MDB_env* env = nullptr;
  MDB_txn* txn = nullptr;
  MDB_cursor* cursor = nullptr;
  EXPECT_EQ(mdb_env_create(&env), 0);
  EXPECT_EQ(mdb_env_set_mapsize(env, size_t{1} << 32), 0);
  EXPECT_EQ(mdb_env_open(env, path.c_str(), MDB_NOSUBDIR | MDB_RDONLY | MDB_NOLOCK, 0), 0);
  EXPECT_EQ(mdb_txn_begin(env, nullptr, MDB_RDONLY, &txn), 0);
  EXPECT_EQ(mdb_cursor_open(txn, 0, &cursor), 0);
  uint64_t free_pages = 0;
  MDB_val key;
  MDB_val value;
  while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
    free_pages += *static_cast<const size_t*>(value.mv_data);
  }
  mdb_cursor_close(cursor);
  mdb_txn_abort(txn);
  MDB_envinfo info;
  MDB_stat stat;
  mdb_env_info(env, &info);
  mdb_env_stat(env, &stat);
  mdb_env_close(env);
  return (info.me_last_pgno + 1 - free_pages) * stat.ms_psize;
}

TEST(EnvironmentTest, CommittedRowsAreReadAfterReopening) {
  TestStore store;
  WriteTransaction write = store.BeginWrite();
  ASSERT_TRUE(write.Put(kTree, "a", "1").ok());
  absl::StatusOr<absl::Span<char>> room = write.Reserve(kTree, "b", 3);
  ASSERT_TRUE(room.ok());
  std::string("two").copy(room->data(), 3);
  ASSERT_TRUE(write.Append(kTree, "c", "3").ok());
  ASSERT_EQ(*write.Delete(kTree, "a"), true);
  ASSERT_EQ(*write.Delete(kTree, "a"), false);
  EXPECT_EQ(*write.Get(kTree, "b"), "two");
  EXPECT_EQ(write.written_bytes(), 2u + 4u + 2u + 1u);
  ASSERT_TRUE(write.Commit().ok());
  store.Close();
  store.Open();
  ReadTransaction read = store.BeginRead();
  EXPECT_EQ(*read.Get(kTree, "a"), std::nullopt);
  EXPECT_EQ(*read.Get(kTree, "b"), "two");
  const std::map<std::string, std::string> want = {{"b", "two"}, {"c", "3"}};
  EXPECT_EQ(AllRows(read.NewCursor(kTree)), want);
  EXPECT_TRUE(AllRows(read.NewCursor(TreeId::kCatalog)).empty());
}

TEST(EnvironmentTest, AbortedAndDroppedTransactionsLeaveNothing) {
  TestStore store;
  {
    WriteTransaction write = store.BeginWrite();
    ASSERT_TRUE(write.Put(kTree, "a", "1").ok());
    write.Abort();
  }
  {
    WriteTransaction write = store.BeginWrite();
    ASSERT_TRUE(write.Put(kTree, "a", "1").ok());
    WriteTransaction moved = std::move(write);
    ASSERT_TRUE(moved.Put(kTree, "b", "1").ok());
  }
  EXPECT_EQ(store.Get("a"), "(none)");
  EXPECT_EQ(store.Get("b"), "(none)");
}

TEST(EnvironmentTest, ReadersSeeOneStateUntilTheyRenew) {
  TestStore store;
  ASSERT_TRUE(store.Put("k", "old").ok());
  ReadTransaction read = store.BeginRead();
  ASSERT_TRUE(store.Put("k", "new").ok());
  EXPECT_EQ(*read.Get(kTree, "k"), "old");
  ASSERT_TRUE(read.Renew().ok());
  EXPECT_EQ(*read.Get(kTree, "k"), "new");
}

TEST(EnvironmentTest, RefusedKeysDoNotDoomTheTransaction) {
  TestStore store;
  WriteTransaction write = store.BeginWrite();
  EXPECT_EQ(write.Put(kTree, "", "1").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(write.Put(kTree, std::string(512, 'k'), "1").code(),
            absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(write.Put(kTree, std::string(511, 'k'), "1").ok());
  EXPECT_EQ(write.Append(kTree, "a", "1").code(), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(write.Commit().ok());
  EXPECT_EQ(store.Get(std::string(511, 'k')), "1");
  EXPECT_EQ(store.Get("a"), "(none)");
}

TEST(EnvironmentTest, PermitIsHandedOutOnce) {
  TestStore store;
  const absl::StatusOr<WritePermit> second = store.environment().TakeWritePermit();
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(EnvironmentTest, PermitOfAnotherEnvironmentIsRefused) {
  TestStore store;
  TestStore other;
  EXPECT_EQ(store.environment().BeginWrite(other.permit()).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(EnvironmentTest, SecondWriteTransactionIsRefusedInsteadOfDeadlocking) {
  TestStore store;
  WriteTransaction write = store.BeginWrite();
  EXPECT_EQ(store.environment().BeginWrite(store.permit()).status().code(),
            absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(write.Put(kTree, "a", "1").ok());
  EXPECT_TRUE(write.Commit().ok());
  EXPECT_TRUE(store.Put("b", "1").ok());
}

TEST(EnvironmentTest, PermitBelongsToItsThreadUntilItIsMoved) {
  TestStore store;
  ASSERT_TRUE(store.Put("a", "1").ok());
  std::thread([&] {
    EXPECT_EQ(store.environment().BeginWrite(store.permit()).status().code(),
              absl::StatusCode::kFailedPrecondition);
  }).join();
}

TEST(EnvironmentTest, MovedPermitWritesOnItsNewThread) {
  testing::TemporaryDirectory directory;
  absl::StatusOr<std::unique_ptr<Environment>> environment =
      Environment::Open(SmallOptions(directory.path()));
  ASSERT_TRUE(environment.ok());
  absl::StatusOr<WritePermit> permit = (*environment)->TakeWritePermit();
  ASSERT_TRUE((*environment)->BeginWrite(*permit)->Commit().ok());
  std::thread([&, moved = *std::move(permit)] {
    EXPECT_TRUE((*environment)->BeginWrite(moved).ok());
  }).join();
  EXPECT_EQ((*environment)->BeginWrite(*permit).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(EnvironmentTest, ReaderSlotsRunOutWithTheLimitNamedAndRecover) {
  TestStore store(
      EnvironmentOptions{.map_size_bytes = 1 << 30, .quota_bytes = 1 << 29, .reader_slots_max = 3});
  std::vector<ReadTransaction> readers;
  for (int i = 0; i < 3; ++i) readers.push_back(store.BeginRead());
  const absl::Status refused = store.environment().BeginRead().status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(Message(refused), HasSubstr("3"));
  EXPECT_EQ(store.environment().Usage().reader_count, 3);
  ASSERT_TRUE(store.Put("a", "1").ok());  // A commit needs no slot of theirs.
  readers.pop_back();
  EXPECT_EQ(store.Get("a"), "1");
  readers.clear();
  EXPECT_EQ(store.environment().Usage().reader_count, 0);
}

TEST(EnvironmentTest, ManyMoreThreadsThanPlacesBeginAndEndReads) {
  TestStore store;
  ASSERT_TRUE(store.Put("k", "0").ok());
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 100; ++t) {
    threads.emplace_back([&] {
      std::string last = "0";
      for (int i = 0; i < 50 && !stop; ++i) {
        ReadTransaction read = store.BeginRead();
        ReadTransaction nested = store.BeginRead();
        const std::string now(**nested.Get(kTree, "k"));
        EXPECT_GE(now, last);
        EXPECT_LE(std::string(**read.Get(kTree, "k")), now);
        last = now;
      }
    });
  }
  for (int i = 1; i < 10; ++i) ASSERT_TRUE(store.Put("k", std::to_string(i)).ok());
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(store.environment().Usage().reader_count, 0);
}

TEST(EnvironmentTest, UsedBytesAreThePagesOfTheFileLessItsFreeList) {
  TestStore store;
  std::mt19937_64 random(7);
  for (int round = 0; round < 12; ++round) {
    WriteTransaction write = store.BeginWrite();
    for (int i = 0; i < 2000; ++i) {
      const std::string key = Numbered(random() % 5000);
      const TreeId tree = static_cast<TreeId>(random() % kTreeCount);
      if (round % 3 == 2) {
        ASSERT_TRUE(write.Delete(tree, key).ok());
      } else {
        ASSERT_TRUE(write.Put(tree, key, std::string(random() % 9000, 'v')).ok());
      }
    }
    ASSERT_TRUE(write.Commit().ok());
    const uint64_t used_bytes = store.environment().used_bytes();
    store.Close();
    EXPECT_EQ(used_bytes, UsedBytesByWalking(store.File("store.mdb"))) << "round " << round;
    store.Open();
    EXPECT_EQ(store.environment().used_bytes(), used_bytes);
    EXPECT_LE(used_bytes, store.environment().Usage().file_bytes);
  }
}

TEST(EnvironmentTest, FullMapNamesUsedBytesAndQuotaAndStaysUsable) {
  // The quota is past what fits the map, so that LMDB's limit is the one that is met.
  TestStore store(EnvironmentOptions{.map_size_bytes = 1 << 20, .quota_bytes = 1 << 20});
  WriteTransaction write = store.BeginWrite();
  absl::Status status;
  for (uint64_t i = 0; i < 10000 && status.ok(); ++i) {
    status = write.Put(kTree, Numbered(i), std::string(1000, 'v'));
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(GetCommitFailure(status), CommitFailure::kFull);
  EXPECT_THAT(Message(status), HasSubstr("quota of 1048576"));
  EXPECT_THAT(Message(status), HasSubstr("uses"));
  EXPECT_EQ(write.Put(kTree, "a", "1"), status);
  EXPECT_EQ(write.Get(kTree, "a").status(), status);
  EXPECT_EQ(write.Commit(), status);
  EXPECT_EQ(store.Get(Numbered(0)), "(none)");
  EXPECT_TRUE(store.Put("a", "1").ok());
}

TEST(EnvironmentTest, CommitPastTheQuotaIsRefusedAndDeletesAreNot) {
  TestStore store(EnvironmentOptions{.map_size_bytes = 1 << 30, .quota_bytes = 4 << 20});
  uint64_t rows = 0;
  absl::Status status;
  while (status.ok()) {
    WriteTransaction write = store.BeginWrite();
    for (int i = 0; i < 100; ++i) {
      ASSERT_TRUE(write.Append(kTree, Numbered(rows + i), std::string(1000, 'v')).ok());
    }
    status = write.Commit();
    if (status.ok()) rows += 100;
  }
  EXPECT_EQ(GetCommitFailure(status), CommitFailure::kQuota);
  EXPECT_THAT(Message(status), HasSubstr("4194304"));
  EXPECT_THAT(Message(status), HasSubstr(std::to_string(store.environment().used_bytes())));
  EXPECT_EQ(store.Get(Numbered(rows)), "(none)");
  EXPECT_GT(rows, 2000u);
  const uint64_t full_bytes = store.environment().used_bytes();
  EXPECT_FALSE(store.environment().AdmitPut(1 << 20).ok());
  // What frees space may pass the quota.
  WriteTransaction reclaim = store.BeginWrite();
  reclaim.AllowReclaiming();
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(reclaim.Append(kTree, Numbered(rows + i), std::string(1000, 'v')).ok());
  }
  EXPECT_TRUE(reclaim.Commit().ok());
  EXPECT_GT(store.environment().used_bytes(), full_bytes);
  WriteTransaction write = store.BeginWrite();
  for (uint64_t i = 0; i < rows; ++i) ASSERT_TRUE(*write.Delete(kTree, Numbered(i)));
  ASSERT_TRUE(write.Commit().ok());
  EXPECT_LT(store.environment().used_bytes(), full_bytes / 4);
  EXPECT_TRUE(store.environment().AdmitPut(1 << 16).ok());
}

// Rows are read ahead: wherever a walk turns or jumps, the cursor is where it shows to be.
TEST(EnvironmentTest, CursorTurnsAndJumpsInTheMiddleOfAScan) {
  TestStore store;
  constexpr uint64_t kRows = 3'000;
  {
    WriteTransaction write = store.BeginWrite();
    for (uint64_t i = 0; i < kRows; ++i) {
      ASSERT_TRUE(write.Put(kTree, Numbered(2 * i), Numbered(i)).ok());
    }
    ASSERT_TRUE(write.Commit().ok());
  }
  const ReadTransaction read = store.BeginRead();
  Cursor cursor = read.NewCursor(kTree);
  std::mt19937_64 random(20261127);
  cursor.Seek("");
  uint64_t at = 0;
  for (int turn = 0; turn < 2'000; ++turn) {
    const uint64_t choice = random() % 8;
    if (choice == 0) {
      at = random() % kRows;
      cursor.Seek(Numbered(2 * at));
    }
    for (uint64_t steps = random() % 40; steps > 0; --steps) {
      const bool back = choice % 2 == 1;
      if (back ? at == 0 : at == kRows - 1) break;
      back ? cursor.Prev() : cursor.Next();
      at += back ? -1 : 1;
    }
    ASSERT_TRUE(cursor.Valid());
    ASSERT_EQ(cursor.key(), Numbered(2 * at)) << "turn " << turn;
    ASSERT_EQ(cursor.value(), Numbered(at));
  }
}

TEST(EnvironmentTest, CursorMovesBothWaysAndSeeksAround) {
  TestStore store;
  WriteTransaction write = store.BeginWrite();
  {
    Cursor empty = write.NewCursor(kTree);
    empty.Seek("");
    EXPECT_FALSE(empty.Valid());
    empty.SeekBefore("x");
    EXPECT_FALSE(empty.Valid());
    EXPECT_TRUE(empty.status().ok());
  }
  for (const char* key : {"b", "d", "f"}) ASSERT_TRUE(write.Put(kTree, key, key).ok());
  {
    Cursor own = write.NewCursor(kTree);
    own.SeekLast();
    EXPECT_EQ(own.key(), "f");
  }
  ASSERT_TRUE(write.Commit().ok());
  ReadTransaction read = store.BeginRead();
  Cursor cursor = read.NewCursor(kTree);
  EXPECT_FALSE(cursor.Valid());
  cursor.Seek("c");
  ASSERT_TRUE(cursor.Valid());
  EXPECT_EQ(cursor.key(), "d");
  cursor.Prev();
  EXPECT_EQ(cursor.key(), "b");
  cursor.Prev();
  EXPECT_FALSE(cursor.Valid());
  EXPECT_FALSE(cursor.SeekExact("c"));
  EXPECT_TRUE(cursor.SeekExact("f"));
  cursor.Next();
  EXPECT_FALSE(cursor.Valid());
  cursor.SeekBefore("d");
  EXPECT_EQ(cursor.key(), "b");
  cursor.SeekBefore("zzz");
  EXPECT_EQ(cursor.key(), "f");
  cursor.SeekBefore("b");
  EXPECT_FALSE(cursor.Valid());
  cursor.Seek("g");
  EXPECT_FALSE(cursor.Valid());
  EXPECT_FALSE(cursor.SeekExact(""));
  EXPECT_TRUE(cursor.status().ok());
}

// All kinds of writes, mixed, against a map, with commits, aborts and reopening in between.
TEST(EnvironmentTest, RandomTransactionsMatchAMap) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  TestStore store;
  using Rows = std::map<std::string, std::string>;
  std::array<Rows, kTreeCount> committed;
  committed[static_cast<size_t>(TreeId::kMeta)] = {{"format", "1"}};
  for (int round = 0; round < 60; ++round) {
    std::array<Rows, kTreeCount> now = committed;
    WriteTransaction write = store.BeginWrite();
    uint64_t next = random() % 3000;
    for (int i = 0; i < 400; ++i) {
      const TreeId tree = static_cast<TreeId>(random() % 2);
      Rows& rows = now[static_cast<size_t>(tree)];
      next = random() % 4 == 0 ? random() % 3000 : next + random() % 3;  // Runs of rising keys.
      const std::string key = Numbered(next);
      const std::string value(random() % 50 == 0 ? random() % 20000 : random() % 200, 'a' + i % 26);
      switch (random() % 4) {
        case 0:
          ASSERT_TRUE(write.Put(tree, key, value).ok());
          rows[key] = value;
          break;
        case 1: {
          absl::StatusOr<absl::Span<char>> room = write.Reserve(tree, key, value.size());
          ASSERT_TRUE(room.ok());
          value.copy(room->data(), value.size());
          rows[key] = value;
          break;
        }
        case 2: {
          const bool above = rows.empty() || rows.rbegin()->first < key;
          const absl::Status status = write.Append(tree, key, value);
          ASSERT_EQ(status.ok(), above) << status;
          if (above) rows[key] = value;
          break;
        }
        default: {
          const absl::StatusOr<bool> deleted = write.Delete(tree, key);
          ASSERT_TRUE(deleted.ok());
          ASSERT_EQ(*deleted, rows.erase(key) == 1);
          break;
        }
      }
      if (random() % 8 != 0) continue;
      const auto got = write.Get(tree, key);
      ASSERT_TRUE(got.ok());
      ASSERT_EQ(got->has_value(), rows.count(key) == 1);
      if (got->has_value()) {
        ASSERT_EQ(**got, rows[key]);
      }
    }
    if (random() % 4 == 0) {
      write.Abort();
    } else {
      ASSERT_TRUE(write.Commit().ok());
      committed = now;
    }
    if (random() % 8 == 0) {
      store.Close();
      store.Open();
    }
    ReadTransaction read = store.BeginRead();
    for (size_t t = 0; t < kTreeCount; ++t) {
      ASSERT_EQ(AllRows(read.NewCursor(static_cast<TreeId>(t))), committed[t]) << "round " << round;
    }
  }
}

}  // namespace
}  // namespace millrace::storage
