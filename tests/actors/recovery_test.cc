// A kill at every step of a flush: what is found and what becomes of it.

#include "millrace/actors/recovery.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/actors/pipeline_store.h"

namespace millrace {
namespace {

using storage::Version;
using storage::WriteBatch;
using testing::kPeople;
using testing::Number;
using testing::PersonKey;
using testing::PipelineStore;

using Model = std::map<std::string, int64_t>;

// Commits a few batches that add, change and delete, and what they leave.
void CommitRound(PipelineStore& store, int round, Model& model) {
  for (int b = 0; b < 5; ++b) {
    WriteBatch batch;
    for (int i = 0; i < 6; ++i) {
      const std::string id = absl::StrCat("p", (round * 11 + b * 5 + i * 3) % 40);
      if ((b + i + round) % 4 == 0) {
        batch.Delete(kPeople, id);
        model.erase(id);
      } else {
        batch.Put(kPeople, id, Number(round * 100 + b * 10 + i));
        model[id] = round * 100 + b * 10 + i;
      }
    }
    store.Commit(std::move(batch),
                 {.epoch = 1, .number = static_cast<uint64_t>(round * 10 + b + 1)});
  }
}

void ExpectHolds(PipelineStore& store, const Model& model) {
  const storage::Snapshot snapshot = store.TakeSnapshot();
  Model found;
  const absl::Status status = snapshot.Scan(kPeople, {}, [&](const storage::RecordRef& record) {
    found[std::string(record.id)] =
        std::get<int64_t>(*storage::DocumentView(record.document).Field("n"));
    return true;
  });
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_EQ(found, model);
  ASSERT_EQ(*snapshot.Count(kPeople), model.size());
  for (const auto& [id, number] : model) ASSERT_TRUE(snapshot.Get(kPeople, id).ok()) << id;
}

// Brings everything that is left into L1, as the Committer would.
void FlushAll(PipelineStore& store) {
  Recovered& recovered = store.recovered();
  if (recovered.resumed.has_value()) {
    store.Flush(*recovered.resumed, 4);
    recovered.l0->DropOldest();
    recovered.resumed.reset();
  }
  FlushJob job = store.Rotate();
  job.first_version = recovered.active_first_version;
  job.outcomes = recovered.active_outcomes;
  store.Flush(job, 4);
  recovered.l0->DropOldest();
}

TEST(RecoveryTest, FreshStoreIsEmpty) {
  PipelineStore store;
  EXPECT_EQ(store.view().published(), storage::kNoVersion);
  EXPECT_FALSE(store.recovered().resumed.has_value());
  EXPECT_EQ(store.recovered().active_first_version, storage::kNoVersion);
  store.Reopen();
  EXPECT_EQ(store.view().published(), storage::kNoVersion);
}

TEST(RecoveryTest, WhatWasNeverFlushedIsReplayed) {
  PipelineStore store;
  Model model;
  CommitRound(store, 0, model);
  for (int life = 0; life < 3; ++life) {
    store.Reopen();
    EXPECT_EQ(store.view().published(), 5u);
    EXPECT_FALSE(store.recovered().resumed.has_value());
    EXPECT_EQ(store.recovered().active_first_version, 1u);
    EXPECT_EQ(store.recovered().active_outcomes.size(), 5u);
    ASSERT_NO_FATAL_FAILURE(ExpectHolds(store, model));
  }
}

// Flush 1 is published. Of flush 2 so many slices are in L1 when the process dies; commits came
// after its rotation.
TEST(RecoveryTest, FlushIsResumedBehindItsLastSlice) {
  constexpr size_t kRowsMax = 4;
  size_t slice_count = 1;
  for (size_t applied = 0; applied <= slice_count; ++applied) {
    SCOPED_TRACE(absl::StrCat(applied, " slices"));
    PipelineStore store;
    Model model;
    CommitRound(store, 0, model);
    store.Flush(store.Rotate(), kRowsMax);
    store.recovered().l0->DropOldest();
    CommitRound(store, 1, model);
    const FlushJob job = store.Rotate();
    CommitRound(store, 2, model);
    slice_count = store.Flush(job, kRowsMax, applied);
    ASSERT_GT(slice_count, 4u);
    ASSERT_NO_FATAL_FAILURE(ExpectHolds(store, model));
    const std::string cursor = store.L1().flush.has_value() ? store.L1().flush->cursor : "";

    store.Reopen();
    ASSERT_NO_FATAL_FAILURE(ExpectHolds(store, model));
    EXPECT_EQ(store.view().published(), 15u);
    const Recovered& recovered = store.recovered();
    const bool begun = applied > 0 && applied < slice_count;
    ASSERT_EQ(recovered.resumed.has_value(), begun);
    if (begun) {
      EXPECT_EQ(recovered.resumed->sequence, 2u);
      EXPECT_EQ(recovered.resumed->attempt, 2u);
      EXPECT_EQ(recovered.resumed->first_version, 6u);
      EXPECT_EQ(recovered.resumed->last_version, 10u);
      EXPECT_EQ(recovered.resumed->resume_slice, applied);
      EXPECT_EQ(recovered.resumed->resume_after, cursor);
      EXPECT_EQ(recovered.resumed->outcomes.size(), 5u);
      EXPECT_EQ(store.Slices(*recovered.resumed, kRowsMax).size(), slice_count - applied);
    }
    // What the flush did not take, or all of it if it had not begun.
    EXPECT_EQ(recovered.active_first_version, applied == 0 ? 6u : 11u);
    EXPECT_EQ(recovered.active_outcomes.size(), applied == 0 ? 10u : 5u);

    FlushAll(store);
    EXPECT_EQ(store.L1().head.last_version, 15u);
    EXPECT_EQ(store.L1().RecordCount(storage::kTrunk, kPeople.id),
              static_cast<int64_t>(model.size()));
    ASSERT_NO_FATAL_FAILURE(ExpectHolds(store, model));
    store.Reopen();
    ASSERT_NO_FATAL_FAILURE(ExpectHolds(store, model));
    EXPECT_EQ(store.Commit(WriteBatch().Put(kPeople, "next", Number(1))), 16u);
  }
}

// The process dies again and again, one slice further each time.
TEST(RecoveryTest, FlushThatIsKilledAfterEverySliceEndsAllTheSame) {
  PipelineStore store;
  Model model;
  CommitRound(store, 0, model);
  store.Flush(store.Rotate(), 3, 1);
  int lives = 0;
  for (store.Reopen(); store.recovered().resumed.has_value(); store.Reopen()) {
    ASSERT_NO_FATAL_FAILURE(ExpectHolds(store, model));
    EXPECT_EQ(store.recovered().resumed->resume_slice, static_cast<uint64_t>(++lives));
    store.Flush(*store.recovered().resumed, 3, 1);
  }
  EXPECT_GT(lives, 4);
  EXPECT_EQ(store.L1().head.id, 1u);
  EXPECT_EQ(store.L1().RecordCount(storage::kTrunk, kPeople.id),
            static_cast<int64_t>(model.size()));
  ASSERT_NO_FATAL_FAILURE(ExpectHolds(store, model));
}

}  // namespace
}  // namespace millrace
