#include "millrace/storage/sorted_run.h"

#include <algorithm>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/faulty_file_system.h"
#include "tests/testing/power_loss_file_system.h"

#include "millrace/storage/run_merge.h"
#include "millrace/storage/run_sorter.h"

namespace millrace::storage {
namespace {

using testing::FaultyFileSystem;
using testing::FileCall;
using testing::FileFault;
using ::testing::HasSubstr;
using testing::PowerLossFileSystem;

using Entries = std::vector<std::pair<std::string, Version>>;

constexpr uint64_t kTask = 7;

// Keys as an index has them: much in common, some equal, now and then a long one.
Entries RandomEntries(std::mt19937_64& random, size_t count) {
  Entries entries;
  for (size_t i = 0; i < count; ++i) {
    std::string key = absl::StrCat("generation", random() % (2 * count));
    if (random() % 50 == 0) key.append(random() % 600, static_cast<char>(random() % 256));
    entries.emplace_back(std::move(key), random() % (uint64_t{1} << (random() % 60)));
  }
  return entries;
}

template <typename Source>
Entries ReadAll(Source& source) {
  Entries entries;
  for (; source.Valid(); source.Next()) {
    entries.emplace_back(source.entry().key, source.entry().version);
  }
  return entries;
}

class SortedRunTest : public ::testing::Test {
 protected:
  SortedRunTest() { EXPECT_TRUE(directory_.Prepare().ok()); }

  static RunId Run(uint64_t number) { return {.task = kTask, .number = number}; }

  absl::StatusOr<RunInfo> Sort(const Entries& entries, uint64_t number, bool sync = false) {
    RunSorter sorter(size_t{1} << 30);
    for (const auto& [key, version] : entries) sorter.Add({key, version});
    return sorter.WriteRun(directory_, Run(number), sync);
  }
  RunInfo MustSort(const Entries& entries, uint64_t number, bool sync = false) {
    const absl::StatusOr<RunInfo> info = Sort(entries, number, sync);
    EXPECT_TRUE(info.ok()) << info.status();
    return info.ok() ? *info : RunInfo{};
  }
  // What reading all of the run ends with.
  absl::Status Read(const RunInfo& info, Entries* entries = nullptr) {
    absl::StatusOr<RunReader> reader = RunReader::Open(directory_, kTask, info);
    if (!reader.ok()) return reader.status();
    reader->SeekToFirst();
    Entries read = ReadAll(*reader);
    if (entries != nullptr) *entries = std::move(read);
    return reader->status();
  }

  PowerLossFileSystem memory_;
  FaultyFileSystem files_{memory_};
  RunDirectory directory_{files_, "/runs"};
  std::mt19937_64 random_{20260101};
};

TEST_F(SortedRunTest, RunHoldsWhatWasAddedInOrder) {
  for (const size_t count : {0, 1, 2, 1'000, 30'000}) {
    Entries entries = RandomEntries(random_, count);
    const RunInfo info = MustSort(entries, count);
    EXPECT_EQ(info.entry_count, count);
    Entries read;
    EXPECT_TRUE(Read(info, &read).ok());
    std::sort(entries.begin(), entries.end());
    EXPECT_EQ(read, entries);
  }
}

TEST_F(SortedRunTest, KeysOfAnyBytesAndLengthsKeepTheirOrder) {
  Entries entries = {{"", 1},
                     {std::string(1, '\0'), 1},
                     {std::string(9, '\0'), 3},
                     {std::string(9, '\0'), 2},
                     {std::string(8, '\0'), 1},
                     {std::string(kRunKeyBytesMax, '\xff'), ~uint64_t{0}},
                     {std::string(kRunKeyBytesMax, 'a'), 0}};
  const RunInfo info = MustSort(entries, 1);
  Entries read;
  EXPECT_TRUE(Read(info, &read).ok());
  std::sort(entries.begin(), entries.end());
  EXPECT_EQ(read, entries);
  EXPECT_FALSE(Sort({{std::string(kRunKeyBytesMax + 1, 'a'), 0}}, 2).ok());
}

TEST_F(SortedRunTest, SharedBytesAreStoredOnce) {
  Entries entries;
  for (int i = 0; i < 10'000; ++i) {
    entries.emplace_back(absl::StrCat(std::string(100, 'p'), 100'000 + i), 1'000'000 + i);
  }
  const RunInfo info = MustSort(entries, 1);
  EXPECT_LT(memory_.Contents(directory_.PathOf(Run(1))).size(), 10'000 * 10);
  EXPECT_EQ(info.block_count, 2u);
}

TEST_F(SortedRunTest, SeekAfterFindsTheFirstKeyAbove) {
  Entries entries = RandomEntries(random_, 40'000);
  const RunInfo info = MustSort(entries, 1);
  ASSERT_GT(info.block_count, 5u);
  std::sort(entries.begin(), entries.end());
  absl::StatusOr<RunReader> reader = RunReader::Open(directory_, kTask, info);
  ASSERT_TRUE(reader.ok()) << reader.status();
  for (int i = 0; i < 300; ++i) {
    std::string key = entries[random_() % entries.size()].first;
    if (i % 3 == 0) key.push_back('\0');
    if (i % 5 == 0) key.pop_back();
    const auto want =
        std::upper_bound(entries.begin(), entries.end(), std::pair(key, ~uint64_t{0}));
    reader->SeekAfter(key);
    ASSERT_EQ(reader->Valid(), want != entries.end()) << key;
    if (want == entries.end()) continue;
    ASSERT_EQ(reader->entry(), (RunEntry{want->first, want->second})) << key;
    // And it goes on from there.
    reader->Next();
    ASSERT_EQ(reader->Valid(), want + 1 != entries.end());
    if (!reader->Valid()) continue;
    ASSERT_EQ(reader->entry().key, (want + 1)->first);
  }
  reader->SeekAfter("z");
  EXPECT_FALSE(reader->Valid());
  EXPECT_TRUE(reader->status().ok());
}

TEST_F(SortedRunTest, SorterIsFullWhenItHoldsItsBudget) {
  constexpr size_t kBudget = 64 << 10;
  RunSorter sorter(kBudget);
  for (Version count = 0; !sorter.full(); ++count) sorter.Add({absl::StrCat("key", count), count});
  EXPECT_GE(sorter.bytes(), kBudget);
  EXPECT_LT(sorter.bytes(), kBudget + 64);
  const size_t count = sorter.entry_count();
  sorter.Add({"one", 1});
  EXPECT_EQ(sorter.WriteRun(directory_, Run(1), false)->entry_count, count + 1);
  EXPECT_TRUE(sorter.empty());
  EXPECT_FALSE(sorter.full());
}

TEST_F(SortedRunTest, EveryFlippedBitIsABadRun) {
  const RunInfo info = MustSort(RandomEntries(random_, 7'000), 1);
  ASSERT_EQ(info.block_count, 2u);
  const std::string path = directory_.PathOf(Run(1));
  const std::string good = memory_.Contents(path);
  for (int i = 0; i < 500; ++i) {
    // Every byte of the headers, and some of the rest.
    const size_t at = i < 16 ? i : i < 32 ? kRunBlockBytes + i - 16 : random_() % good.size();
    std::string bad = good;
    // Behind a block that is not full there are bytes that no block owns.
    bad[at] = static_cast<char>(bad[at] ^ (1 << (random_() % 8)));
    memory_.SetContents(path, bad);
    Entries entries;
    const absl::Status status = Read(info, &entries);
    if (status.ok()) {
      EXPECT_EQ(entries.size(), info.entry_count) << "byte " << at;
      continue;
    }
    EXPECT_TRUE(IsBadRun(status)) << status;
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    EXPECT_THAT(status.ToString(), HasSubstr("/runs/7.1.run"));
  }
}

TEST_F(SortedRunTest, MissingShortLongAndForeignFilesAreBadRuns) {
  const Entries entries = RandomEntries(random_, 7'000);
  const RunInfo info = MustSort(entries, 1);
  ASSERT_EQ(info.block_count, 2u);
  const std::string path = directory_.PathOf(Run(1));
  const std::string good = memory_.Contents(path);
  const auto expect_bad = [&](std::string_view what) {
    const absl::Status status = Read(info);
    EXPECT_TRUE(IsBadRun(status)) << what << ": " << status;
  };
  for (const size_t size : {size_t{0}, size_t{1}, kRunBlockBytes - 1, kRunBlockBytes,
                            kRunBlockBytes + 10, good.size() - 1}) {
    memory_.SetContents(path, good.substr(0, size));
    expect_bad(absl::StrCat("cut to ", size));
  }
  memory_.SetContents(path, good + "x");
  expect_bad("a byte more");
  memory_.SetContents(path, good + std::string(kRunBlockBytes, '\0'));
  expect_bad("a block more");
  // Another run of the same entries is another run.
  MustSort(entries, 2);
  memory_.SetContents(path, memory_.Contents(directory_.PathOf(Run(2))));
  expect_bad("run 2 under the name of run 1");
  // Blocks that changed places.
  memory_.SetContents(path, good.substr(kRunBlockBytes) + good.substr(0, kRunBlockBytes));
  expect_bad("turned round");
  ASSERT_TRUE(files_.Remove(path).ok());
  expect_bad("removed");
  EXPECT_TRUE(directory_.Remove(Run(1)).ok());
}

TEST_F(SortedRunTest, DirectoryListsRunsAndNothingElse) {
  MustSort({{"a", 1}}, 12);
  MustSort({{"a", 1}}, 2);
  memory_.SetContents("/runs/README", "x");
  memory_.SetContents("/runs/1.2.run.tmp", "x");
  memory_.SetContents("/runs/x.2.run", "x");
  EXPECT_THAT(*directory_.List(), ::testing::ElementsAre(Run(2), Run(12)));
  EXPECT_TRUE(directory_.Remove(Run(2)).ok());
  EXPECT_THAT(*directory_.List(), ::testing::ElementsAre(Run(12)));
  EXPECT_TRUE(directory_.Prepare().ok());
}

TEST_F(SortedRunTest, EveryFailingCallIsAnErrorAndNoBadRun) {
  const Entries entries = RandomEntries(random_, 8'000);
  int64_t before = files_.total_count();
  const RunInfo info = MustSort(entries, 1, /*sync=*/true);
  const int64_t write_calls = files_.total_count() - before;
  for (int64_t at = 1; at <= write_calls; ++at) {
    for (const auto effect : {FileFault::Effect::kNothing, FileFault::Effect::kPart}) {
      files_.Fail({.at = at, .error = 28, .effect = effect});  // ENOSPC
      const absl::Status status = Sort(entries, 1, /*sync=*/true).status();
      ASSERT_TRUE(files_.struck());
      EXPECT_FALSE(status.ok()) << at;
      EXPECT_FALSE(IsBadRun(status)) << status;
      files_.Heal();
      EXPECT_TRUE(Sort(entries, 1, /*sync=*/true).ok()) << "what is left is in nobody's way";
    }
  }
  before = files_.total_count();
  EXPECT_TRUE(Read(info).ok());
  const int64_t read_calls = files_.total_count() - before;
  for (int64_t at = 1; at <= read_calls; ++at) {
    files_.Fail({.at = at});
    const absl::Status status = Read(info);
    ASSERT_TRUE(files_.struck());
    EXPECT_FALSE(status.ok()) << at;
    EXPECT_FALSE(IsBadRun(status)) << status;
  }
  for (int64_t at = 1; at <= read_calls; ++at) {
    files_.Fail({.call = FileCall::kRead, .at = at, .effect = FileFault::Effect::kShort});
    EXPECT_TRUE(Read(info).ok()) << "a short read is gone on with";
  }
}

TEST_F(SortedRunTest, SyncedRunOutlivesPowerLossAndAnotherIsNoticed) {
  const Entries entries = RandomEntries(random_, 8'000);
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    const RunInfo synced = MustSort(entries, 1, /*sync=*/true);
    const RunInfo unsynced = MustSort(entries, 2, /*sync=*/false);
    memory_.PowerLoss(seed);
    EXPECT_TRUE(Read(synced).ok());
    Entries read;
    const absl::Status status = Read(unsynced, &read);
    EXPECT_TRUE(status.ok() ? read.size() == entries.size() : IsBadRun(status)) << status;
    ASSERT_TRUE(directory_.Remove(Run(1)).ok());
    ASSERT_TRUE(directory_.Remove(Run(2)).ok());
    ASSERT_TRUE(files_.SyncDirectory("/runs").ok());
  }
}

TEST_F(SortedRunTest, MergeOfAnyNumberOfRunsIsSorted) {
  for (const size_t run_count : {0, 1, 2, 3, 5, 16, 33}) {
    Entries all;
    std::vector<RunInfo> runs;
    for (size_t run = 0; run < run_count; ++run) {
      const Entries entries = RandomEntries(random_, random_() % 3 == 0 ? 0 : random_() % 5'000);
      all.insert(all.end(), entries.begin(), entries.end());
      runs.push_back(MustSort(entries, run));
    }
    std::sort(all.begin(), all.end());
    absl::StatusOr<RunMerge> merge = RunMerge::Open(directory_, kTask, runs);
    ASSERT_TRUE(merge.ok()) << merge.status();
    merge->SeekToFirst();
    EXPECT_EQ(ReadAll(*merge), all) << run_count << " runs";
    EXPECT_TRUE(merge->status().ok());
    for (int i = 0; i < 20 && !all.empty(); ++i) {
      const std::string key = all[random_() % all.size()].first;
      const auto want = std::upper_bound(all.begin(), all.end(), std::pair(key, ~uint64_t{0}));
      merge->SeekAfter(key);
      EXPECT_EQ(ReadAll(*merge), Entries(want, all.end()));
    }
  }
}

TEST_F(SortedRunTest, MergeEndsAtABadRunWithoutGoingRoundIt) {
  std::vector<RunInfo> runs;
  for (uint64_t run = 0; run < 4; ++run) {
    runs.push_back(MustSort(RandomEntries(random_, 20'000), run));
  }
  const std::string path = directory_.PathOf(Run(2));
  std::string bytes = memory_.Contents(path);
  bytes[kRunBlockBytes + 100] ^= 1;
  memory_.SetContents(path, bytes);
  absl::StatusOr<RunMerge> merge = RunMerge::Open(directory_, kTask, runs);
  ASSERT_TRUE(merge.ok()) << merge.status();
  merge->SeekToFirst();
  const size_t read = ReadAll(*merge).size();
  EXPECT_TRUE(IsBadRun(merge->status())) << merge->status();
  EXPECT_GT(read, 20'000u);
  EXPECT_LT(read, 80'000u);
  ASSERT_TRUE(files_.Remove(directory_.PathOf(Run(0))).ok());
  EXPECT_TRUE(IsBadRun(RunMerge::Open(directory_, kTask, runs).status()));
}

}  // namespace
}  // namespace millrace::storage
