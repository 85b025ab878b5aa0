// Repairs in the Writer's transaction, beside the slices of a flush, step by step.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/testing/temporary_directory.h"

#include "millrace/actors/writer.h"
#include "millrace/storage/document.h"
#include "millrace/storage/index_entry.h"
#include "millrace/storage/meta.h"
#include "millrace/storage/row_view.h"
#include "millrace/testing/manual_clock.h"
#include "millrace/testing/step_driver.h"

namespace millrace {
namespace {

using storage::TreeId;

// People (collection 1), owned by teams (2) in relation 1; index 1 over their badge, scoped by it.
class WriterRepairTest : public ::testing::Test {
 protected:
  WriterRepairTest()
      : environment_(*storage::Environment::Open({.directory = directory_.path(),
                                                  .map_size_bytes = uint64_t{1} << 30,
                                                  .quota_bytes = uint64_t{1} << 28})),
        writer_({.name = "writer", .clock = &clock_}, *environment_,
                *environment_->TakeWritePermit(), pacing_, health_) {
    EXPECT_TRUE(driver_.Start(writer_).ok());
    storage::IndexKey key;
    storage::SetIndexKey(storage::IndexValue(std::string("b")), &key);
    storage::AppendIndexEntry(
        {.index = 1, .generation = 1, .owner = "t", .value = key.entry(), .id = "p"}, &entry_);
  }

  // Applies the rows as a slice of flush 1.
  void SendSlice(uint64_t number, std::vector<RowChange> rows, bool last) {
    Slice slice{.number = number, .rows = std::move(rows), .cursor = "x", .last = last};
    if (number == 0) {
      slice.derived = {{.key_bytes = static_cast<uint16_t>(entry_.size())}};
      slice.derived_keys = entry_;
    }
    applied_.push_back(writer_.Ask(ApplySlice{.sequence = 1,
                                              .attempt = 1,
                                              .first_version = 1,
                                              .last_version = 1,
                                              .slice = std::move(slice)}));
    driver_.StepUntilIdle();
  }
  bool Holds(TreeId tree, std::string_view key) {
    return (*environment_->BeginRead()).Get(tree, key)->has_value();
  }

  const testing::TemporaryDirectory directory_ = testing::TemporaryDirectory::InMemory();
  const std::unique_ptr<storage::Environment> environment_;
  testing::ManualClock clock_;
  Pacing pacing_{clock_};
  Health health_;
  Writer writer_;
  testing::StepDriver driver_{clock_};
  std::string entry_;
  std::vector<Pending<SliceApplied>> applied_;
  const std::string person_ = storage::EncodeRowKey({.collection = 1, .id = "p"});
  const std::string team_ = storage::EncodeRowKey({.collection = 2, .id = "t"});
  const std::string document_{storage::Document::FromJson(R"({"badge":"b"})")->bytes()};
  const std::string link_ = storage::EncodeLinkData({});
  const std::string member_row_ =
      storage::MemberRowKey({.relation = 1, .owner = "t", .member = "p"});
  const std::string owner_row_ = storage::OwnerRowKey({.relation = 1, .owner = "t", .member = "p"},
                                                      storage::MemberOrder::kId, {});
  const storage::IndexDefinition badge_{
      .id = 1, .collection = 1, .name = "badge", .field = "badge", .scope = 1, .complete_at = 1};
  const storage::Relation relation_{.id = 1, .name = "team", .owners = 2, .members = 1};
};

// The entry comes with its record, in slice 0; the link that bears it out in slice 1.
TEST_F(WriterRepairTest, WhatWaitsForTheFlushsNextSliceIsNotMended) {
  SendSlice(0,
            {{.key = person_, .payload = document_, .version = 1},
             {.key = team_, .payload = document_, .version = 1}},
            /*last=*/false);
  RepairEntries entries{.definition = badge_, .generation = 1};
  entries.entries.Add({.key = entry_});
  Pending<Repaired> of_entries = writer_.Ask(std::move(entries));
  Pending<Repaired> of_links =
      writer_.Ask(RepairLinks{.relation = relation_, .links = {{.owner = "t", .member = "p"}}});
  driver_.StepUntilIdle();
  EXPECT_FALSE(of_entries.ready());
  EXPECT_FALSE(of_links.ready());
  EXPECT_TRUE(Holds(TreeId::kIndex, entry_));
  // A count needs no whole flush, and takes no part in it; there is no head to mend yet.
  Pending<Repaired> of_count = writer_.Ask(RepairCount{.collection = 1, .delta = 1});
  driver_.StepUntilIdle();
  ASSERT_TRUE(of_count.ready());
  EXPECT_TRUE(absl::IsAborted(of_count.Wait().status()));

  SendSlice(1,
            {{.key = owner_row_, .payload = link_, .version = 1},
             {.key = member_row_, .payload = link_, .version = 1}},
            /*last=*/true);
  ASSERT_TRUE(of_entries.ready());
  ASSERT_TRUE(of_links.ready());
  EXPECT_EQ(of_entries.Wait()->left, 1u);
  EXPECT_EQ(of_links.Wait()->left, 1u);
  EXPECT_TRUE(Holds(TreeId::kIndex, entry_));
  for (Pending<SliceApplied>& applied : applied_) EXPECT_TRUE(applied.Wait().ok());
}

// Two repairs have seen the same count: the second finds that it is not theirs any more.
TEST_F(WriterRepairTest, CountIsMendedOnce) {
  SendSlice(0, {{.key = person_, .payload = document_, .version = 1}}, /*last=*/true);
  const RepairCount repair{.collection = 1, .delta = 5};
  Pending<Repaired> first = writer_.Ask(RepairCount(repair));
  Pending<Repaired> second = writer_.Ask(RepairCount(repair));
  driver_.StepUntilIdle();
  EXPECT_EQ(first.Wait()->put, 1u);
  EXPECT_TRUE(absl::IsAborted(second.Wait().status()));
  const storage::L1State l1 = *storage::ReadL1State(*environment_->BeginRead());
  EXPECT_EQ(l1.RecordCount(storage::kTrunk, 1), 5);
}

}  // namespace
}  // namespace millrace
