// SliceBuilder and SliceApplier: what a flush changes in L1, and how it gets there.

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/actors/pipeline_store.h"

#include "millrace/storage/outcome_rows.h"

namespace millrace {
namespace {

using storage::TreeId;
using storage::Version;
using storage::WriteBatch;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::kPeople;
using testing::Number;
using testing::PersonKey;
using testing::PipelineStore;

WriteBatch Put(std::string_view id, int64_t number) {
  WriteBatch batch;
  batch.Put(kPeople, id, Number(number));
  return batch;
}
WriteBatch Delete(std::string_view id) {
  WriteBatch batch;
  batch.Delete(kPeople, id);
  return batch;
}

// "+id" and "-id" for each row, "|" behind each slice, with the count change.
std::string Show(const std::vector<Slice>& slices) {
  std::string text;
  for (const Slice& slice : slices) {
    for (const RowChange& row : slice.rows) {
      absl::StrAppend(&text, row.tombstone ? "-" : "+",
                      std::string(storage::DecodeRowKey(row.key)->id), "@", row.version, " ");
    }
    int64_t count = 0;
    for (const CountDelta& delta : slice.counts) count += delta.delta;
    absl::StrAppend(&text, slice.last ? "last" : "", "#", slice.number, ":", count, "|");
  }
  return text;
}

TEST(SliceBuilderTest, TakesTheNewestStateOfEachRowAndCuts) {
  PipelineStore store;
  store.Commit(Put("a", 1));     // 1
  store.Commit(Put("b", 1));     // 2
  store.Commit(Put("a", 2));     // 3
  store.Commit(Put("gone", 1));  // 4
  store.Commit(Delete("gone"));  // 5
  store.Commit(Put("c", 1));     // 6
  const FlushJob job = store.Rotate();
  EXPECT_EQ(Show(store.Slices(job, 100)), "+a@3 +b@2 +c@6 last#0:3|");
  EXPECT_EQ(Show(store.Slices(job, 2)), "+a@3 +b@2 #0:2|+c@6 last#1:1|");
  EXPECT_EQ(Show(store.Slices(job, 1)), "+a@3 #0:1|+b@2 #1:1|+c@6 #2:1|last#3:0|");
}

TEST(SliceBuilderTest, CountsAgainstWhatL1Holds) {
  PipelineStore store;
  store.Commit(Put("a", 1));
  store.Commit(Put("b", 1));
  store.Flush(store.Rotate(), 100);
  store.recovered().l0->DropOldest();
  store.Commit(Put("a", 2));       // 3: there already.
  store.Commit(Delete("b"));       // 4
  store.Commit(Put("c", 1));       // 5
  store.Commit(Delete("nobody"));  // 6: nothing to do.
  EXPECT_EQ(Show(store.Slices(store.Rotate(), 100)), "+a@3 -b@4 +c@5 last#0:0|");
}

TEST(SliceBuilderTest, EmptyFlushHasALastSlice) {
  PipelineStore store;
  store.Commit(Delete("nobody"));
  EXPECT_EQ(Show(store.Slices(store.Rotate(), 100)), "last#0:0|");
}

TEST(SliceBuilderTest, ResumedJobGoesOnBehindItsCursor) {
  PipelineStore store;
  for (const char* id : {"a", "b", "c", "d"}) store.Commit(Put(id, 1));
  FlushJob job = store.Rotate();
  job.resume_after = PersonKey("b");
  job.resume_slice = 7;
  EXPECT_EQ(Show(store.Slices(job, 1)), "+c@3 #7:1|+d@4 #8:1|last#9:0|");
  job.resume_after = PersonKey("bb");  // Not a row of this buffer.
  EXPECT_EQ(Show(store.Slices(job, 100)), "+c@3 +d@4 last#7:2|");
}

TEST(SliceApplierTest, SliceOutOfOrderIsRefusedAndHarmsNothing) {
  PipelineStore store;
  for (const char* id : {"a", "b", "c"}) store.Commit(Put(id, 1));
  const FlushJob job = store.Rotate();
  const std::vector<Slice> slices = store.Slices(job, 1);
  const auto apply = [&](const FlushJob& flush, size_t slice) {
    return store.Apply(PipelineStore::Message(flush, slices[slice]));
  };
  FlushJob later = job;
  later.sequence = 2;
  EXPECT_EQ(apply(later, 0).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(apply(job, 1).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(store.transaction().written_bytes(), 0u);
  ASSERT_TRUE(apply(job, 0).ok());
  const absl::Status again = apply(job, 0);
  EXPECT_EQ(again.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(again.ToString(), HasSubstr("waits for flush 1 slice 1"));
  EXPECT_EQ(apply(job, 2).code(), absl::StatusCode::kAborted);
  for (size_t i = 1; i < slices.size(); ++i) ASSERT_TRUE(apply(job, i).ok());
  ASSERT_TRUE(store.transaction().Commit().ok());
  EXPECT_EQ(store.L1().RecordCount(storage::kTrunk, kPeople.id), 3);
  EXPECT_EQ(apply(job, 0).code(), absl::StatusCode::kAborted) << "a flush is published once";
}

// Whoever takes a flush up again goes on from the flush row; what is left of the attempt before
// must not go on beside it.
TEST(SliceApplierTest, SliceOfAnAttemptThatWasGivenUpIsRefused) {
  PipelineStore store;
  for (const char* id : {"a", "b", "c"}) store.Commit(Put(id, 1));
  FlushJob job = store.Rotate();
  const std::vector<Slice> slices = store.Slices(job, 1);
  ASSERT_TRUE(store.Apply(PipelineStore::Message(job, slices[0])).ok());
  job.attempt = 3;
  ASSERT_TRUE(store.Apply(PipelineStore::Message(job, slices[1])).ok());
  job.attempt = 2;
  const absl::Status status = store.Apply(PipelineStore::Message(job, slices[2]));
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(status.ToString(), HasSubstr("attempt 2 was given up: attempt 3 is under way"));
  job.attempt = 3;
  EXPECT_TRUE(store.Apply(PipelineStore::Message(job, slices[2])).ok());
}

TEST(SliceApplierTest, AbortTakesBackEverythingSinceTheLastCommit) {
  PipelineStore store;
  for (const char* id : {"a", "b", "c"}) store.Commit(Put(id, 1));
  const FlushJob job = store.Rotate();
  const std::vector<Slice> slices = store.Slices(job, 1);
  ASSERT_TRUE(store.Apply(PipelineStore::Message(job, slices[0])).ok());
  ASSERT_TRUE(store.transaction().Commit().ok());
  ASSERT_TRUE(store.Apply(PipelineStore::Message(job, slices[1])).ok());
  ASSERT_TRUE(store.Apply(PipelineStore::Message(job, slices[2])).ok());
  store.transaction().Abort(absl::InternalError("as told"));
  const storage::L1State l1 = store.L1();
  EXPECT_EQ(l1.head.id, 0u);
  ASSERT_TRUE(l1.flush.has_value());
  EXPECT_EQ(l1.flush->next_slice, 1u);
  EXPECT_EQ(l1.flush->cursor, PersonKey("a"));
  EXPECT_EQ(l1.ingested, 3u);
  EXPECT_EQ(l1.RecordCount(storage::kTrunk, kPeople.id), 1);
  // And the flush goes on where L1 stands.
  for (size_t i = 1; i < slices.size(); ++i) {
    ASSERT_TRUE(store.Apply(PipelineStore::Message(job, slices[i])).ok());
  }
  ASSERT_TRUE(store.transaction().Commit().ok());
  EXPECT_EQ(store.L1().head.counts, (storage::CountMap{{{storage::kTrunk, kPeople.id}, 3}}));
}

TEST(SliceApplierTest, ManifestsFormAChainOfWhichSixtyFourAreKept) {
  PipelineStore store;
  constexpr uint64_t kFlushCount = 70;
  for (uint64_t i = 1; i <= kFlushCount; ++i) {
    const Version version =
        store.Commit(i % 5 == 0 ? Delete(absl::StrCat(i - 1)) : Put(absl::StrCat(i), 1));
    const FlushJob job = store.Rotate();
    ASSERT_EQ(store.Flush(job, 10), 1u);
    store.recovered().l0->DropOldest();
    const storage::L1State l1 = store.L1();
    ASSERT_EQ(l1.head.id, i);
    ASSERT_EQ(l1.head.parent, i - 1);
    ASSERT_EQ(l1.head.last_version, version);
    ASSERT_EQ(l1.ingested, version);
    ASSERT_EQ(l1.head.log_floor, job.log_floor);
    ASSERT_FALSE(l1.flush.has_value());
    // Of five flushes four put and the fifth deletes one of them.
    ASSERT_EQ(l1.RecordCount(storage::kTrunk, kPeople.id), static_cast<int64_t>(i - i / 5 * 2));
  }
  const absl::StatusOr<storage::ReadTransaction> transaction = store.environment().BeginRead();
  storage::Cursor cursor = transaction->NewCursor(TreeId::kManifests);
  uint64_t expected = kFlushCount - SliceApplier::kManifestsKept + 1;
  for (cursor.Seek(storage::ManifestKey(1)); cursor.Valid(); cursor.Next()) {
    const absl::StatusOr<storage::Manifest> manifest = storage::DecodeManifest(cursor.value());
    ASSERT_TRUE(manifest.ok()) << manifest.status();
    ASSERT_EQ(manifest->id, expected++);
  }
  EXPECT_EQ(expected, kFlushCount + 1);
}

TEST(SliceApplierTest, LogFloorNeverFalls) {
  PipelineStore store;
  store.Commit(Put("a", 1));
  FlushJob job = store.Rotate();
  job.log_floor = 9;
  store.Flush(job, 10);
  store.Commit(Put("b", 1));
  job = store.Rotate();
  job.log_floor = 3;
  store.Flush(job, 10);
  EXPECT_EQ(store.L1().head.log_floor, 9u);
}

// Outcomes are kept for the newest tokens; of a pruned one it is never said that it was aborted.
TEST(SliceApplierTest, OutcomesOfTheNewestTokensAreRemembered) {
  PipelineStore store;
  constexpr uint64_t kPruned = 10;
  store.Commit(Put("a", 1));
  FlushJob job = store.Rotate();
  for (uint64_t i = 1; i <= storage::kRememberedCommitsMax + kPruned; ++i) {
    job.outcomes.push_back({.token = {.epoch = 3, .number = 2 * i}, .version = i});
  }
  store.Flush(job, 10);
  const absl::StatusOr<storage::ReadTransaction> transaction = store.environment().BeginRead();
  const auto find = [&](uint64_t epoch, uint64_t number) {
    return *storage::FindCommit(*transaction, {.epoch = epoch, .number = number});
  };
  for (uint64_t i = 1; i <= storage::kRememberedCommitsMax + kPruned; ++i) {
    const storage::CommitLookup found = find(3, 2 * i);
    ASSERT_EQ(found.version, i <= kPruned ? storage::kNoVersion : i);
    ASSERT_EQ(found.pruned, i <= kPruned);
  }
  EXPECT_TRUE(find(3, 1).pruned);
  EXPECT_TRUE(find(2, 1'000'000).pruned);
  EXPECT_FALSE(find(3, 2 * kPruned + 1).pruned);
  EXPECT_FALSE(find(4, 1).pruned);
  EXPECT_EQ(find(4, 1).version, storage::kNoVersion);
}

}  // namespace
}  // namespace millrace
