#include "millrace/actors/batch_effects.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/actors/pipeline_store.h"

#include "millrace/storage/logged_batch.h"

namespace millrace {
namespace {

using storage::Precondition;
using storage::WriteBatch;
using ::testing::HasSubstr;
using testing::kPeople;
using testing::Number;
using testing::PipelineStore;

class BatchEffectsTest : public ::testing::Test {
 protected:
  BatchEffectsTest() : current_(store_.environment()), effects_(current_) {
    effects_.AddCollection(kPeople.id);
    store_.Commit(WriteBatch().Put(kPeople, "flushed", Number(1)));  // 1
    store_.Flush(store_.Rotate(), 10);
    store_.recovered().l0->DropOldest();
    store_.Commit(WriteBatch().Put(kPeople, "sealed", Number(2)));  // 2
    store_.recovered().l0->Rotate().IgnoreError();
    store_.Commit(WriteBatch().Put(kPeople, "active", Number(3)));  // 3
    store_.Commit(WriteBatch().Delete(kPeople, "gone"));            // 4
    current_.SetBuffers(store_.view().buffers());
  }

  // "+id{json} -id", or the error's text; an error must leave the output alone.
  std::string Effects(WriteBatch batch) {
    batch.Normalize();
    std::string out = "before";
    absl::Status status = effects_.Prepare(batch);
    if (status.ok()) status = effects_.Append(batch, /*version=*/5, &out);
    if (!status.ok()) {
      EXPECT_EQ(out, "before");
      return status.ToString();
    }
    std::string text;
    std::string_view rest = std::string_view(out).substr(6);
    storage::Operation operation;
    while (storage::ConsumeOperation(&rest, &operation)) {
      const bool put = operation.kind == storage::OperationKind::kPut;
      EXPECT_TRUE(put || operation.kind == storage::OperationKind::kDelete);
      absl::StrAppend(&text, put ? "+" : "-",
                      std::string(storage::DecodeRowKey(operation.key)->id));
      if (put) absl::StrAppend(&text, storage::DocumentView(operation.value).ToJson());
      text += ' ';
    }
    return text;
  }

  PipelineStore store_;
  storage::CurrentRows current_;
  BatchEffects effects_;
};

TEST_F(BatchEffectsTest, BlindBatchIsItsOwnEffect) {
  WriteBatch batch;
  batch.Put(kPeople, "a", Number(1)).Delete(kPeople, "b");
  EXPECT_EQ(Effects(batch), "+a{\"n\":1} -b ");
  EXPECT_FALSE(effects_.reads_rows());
}

TEST_F(BatchEffectsTest, MergeTakesTheRowWhereverItIs) {
  const storage::Document more = *storage::DocumentBuilder().Set("m", 9).Finish();
  WriteBatch batch;
  for (const char* id : {"active", "flushed", "gone", "nobody", "sealed"}) {
    batch.Merge(kPeople, id, more);
  }
  EXPECT_EQ(Effects(batch),
            "+active{\"m\":9,\"n\":3} +flushed{\"m\":9,\"n\":1} +gone{\"m\":9} +nobody{\"m\":9} "
            "+sealed{\"m\":9,\"n\":2} ");
  EXPECT_TRUE(effects_.reads_rows());
}

TEST_F(BatchEffectsTest, PreconditionsSeeTheRowWhereverItIs) {
  const std::vector<std::pair<const char*, storage::Version>> rows = {
      {"flushed", 1}, {"sealed", 2}, {"active", 3}};
  for (const auto& [id, version] : rows) {
    EXPECT_EQ(Effects(WriteBatch().Delete(kPeople, id, Precondition::AtVersion(version))),
              absl::StrCat("-", id, " "));
    EXPECT_THAT(Effects(WriteBatch().Delete(kPeople, id, Precondition::AtVersion(9))),
                HasSubstr(absl::StrCat("record '", id,
                                       "' was to be at version 9 but is at version ", version)));
    EXPECT_THAT(Effects(WriteBatch().Delete(kPeople, id, Precondition::Absent())),
                HasSubstr(absl::StrCat("exists at version ", version)));
  }
  for (const char* id : {"gone", "nobody"}) {
    EXPECT_EQ(Effects(WriteBatch().Delete(kPeople, id, Precondition::Absent())),
              absl::StrCat("-", id, " "));
    EXPECT_THAT(Effects(WriteBatch().Delete(kPeople, id, Precondition::AtVersion(4))),
                HasSubstr("does not exist"));
  }
}

TEST_F(BatchEffectsTest, OneFalsePreconditionRefusesTheWholeBatch) {
  WriteBatch batch;
  batch.Put(kPeople, "a", Number(1)).Merge(kPeople, "active", Number(2));
  batch.Require(kPeople, "sealed", Precondition::AtVersion(1));
  EXPECT_THAT(Effects(batch), HasSubstr("'sealed'"));
}

TEST_F(BatchEffectsTest, RequirementHasNoEffect) {
  EXPECT_EQ(Effects(WriteBatch().Require(kPeople, "nobody", Precondition::Absent())), "");
}

TEST_F(BatchEffectsTest, UnknownCollectionIsRefused) {
  WriteBatch batch;
  batch.Put(kPeople, "a", Number(1)).Put({.id = 8, .name = "?"}, "b", Number(1));
  EXPECT_THAT(Effects(batch), HasSubstr("NOT_FOUND: there is no collection number 8"));
}

TEST_F(BatchEffectsTest, MergesThatMakeTheBatchTooLargeAreRefused) {
  const std::string half(500'000, 'x');
  for (int i = 0; i < 40; ++i) {
    store_.Commit(WriteBatch().Put(kPeople, absl::StrCat("big", i),
                                   *storage::DocumentBuilder().Set("a", half).Finish()));
  }
  WriteBatch batch;
  for (int i = 0; i < 40; ++i) batch.Merge(kPeople, absl::StrCat("big", i), Number(1));
  EXPECT_THAT(Effects(batch), HasSubstr("after its merges; split it"));
}

TEST(CommitGroupTest, AbandonedBatchLeavesNoTrace) {
  PipelineStore store;
  CommitGroup group(*store.recovered().log);
  storage::L0Buffer& l0 = store.recovered().l0->active();
  const auto add = [&](std::string_view id) -> std::string& {
    return group.OpenBatch({}).append(WriteBatch().Put(kPeople, id, Number(1)).encoded());
  };
  add("a");
  ASSERT_EQ(*group.AcceptBatch(l0, 2), 1u);
  const size_t bytes = group.bytes();
  add("abandoned");
  group.AbandonBatch();
  EXPECT_EQ(group.bytes(), bytes);
  add("b");
  ASSERT_EQ(*group.AcceptBatch(l0, 2), 2u);
  EXPECT_EQ(l0.row_count(), 0u);
  group.InsertInto(l0);
  group.InsertInto(l0);
  EXPECT_EQ(l0.row_count(), 2u);
  EXPECT_EQ(group.last_version(), 2u);
  ASSERT_TRUE(group.Write(true).ok());
  EXPECT_TRUE(group.empty());
  store.Reopen();
  EXPECT_EQ(store.view().published(), 2u);
  EXPECT_TRUE(store.TakeSnapshot().Get(kPeople, "b").ok());
  EXPECT_FALSE(store.TakeSnapshot().Get(kPeople, "abandoned").ok());
}

// More than one log file can hold.
TEST(CommitGroupTest, BatchWithoutRoomIsRefusedAndTheGroupGoesOn) {
  PipelineStore store;
  CommitGroup group(*store.recovered().log);
  storage::L0Buffer& l0 = store.recovered().l0->active();
  const storage::Document large =
      *storage::DocumentBuilder().Set("t", std::string(700'000, 'x')).Finish();
  const WriteBatch two = WriteBatch().Put(kPeople, "a", large).Put(kPeople, "b", large);
  group.OpenBatch({}).append(two.encoded());
  EXPECT_FALSE(group.AcceptBatch(l0, 2).ok());
  group.OpenBatch({}).append(WriteBatch().Put(kPeople, "c", large).encoded());
  ASSERT_EQ(*group.AcceptBatch(l0, 2), 1u);
  group.InsertInto(l0);
  ASSERT_TRUE(group.Write(true).ok());
  store.Reopen();
  EXPECT_TRUE(store.TakeSnapshot().Get(kPeople, "c").ok());
}

}  // namespace
}  // namespace millrace
