#include "millrace/storage/generations.h"

#include <random>
#include <string>

#include "gtest/gtest.h"
#include "tests/storage/test_store.h"

namespace millrace::storage {
namespace {

using Kind = GenerationChange::Kind;

IndexDefinition Index(uint64_t complete_at) {
  return {.id = 7,
          .number = 1,
          .collection = 1,
          .name = "by age",
          .field = "age",
          .complete_at = complete_at};
}

class GenerationsTest : public ::testing::Test {
 protected:
  // The state behind a change, committed if it was allowed.
  absl::StatusOr<GenerationState> Change(Kind kind, Generation generation = 0) {
    WriteTransaction write = store_.BeginWrite();
    absl::StatusOr<GenerationState> state =
        ChangeGenerations(write, {.kind = kind,
                                  .definition = definition_,
                                  .generation = generation,
                                  .built_at = absl::FromUnixSeconds(1000),
                                  .row_count = 5});
    if (state.ok()) {
      EXPECT_TRUE(write.Commit().ok());
      EXPECT_EQ(state->retired.empty() && state->dropped ? GenerationState() : *state, Stored());
    }
    return state;
  }
  GenerationState Stored() {
    const ReadTransaction read = store_.BeginRead();
    const auto rows = ListGenerations(read);
    EXPECT_TRUE(rows.ok()) << rows.status();
    return rows->empty() ? GenerationState() : rows->front();
  }
  GenerationState Read() {
    const ReadTransaction read = store_.BeginRead();
    const auto state = ReadGenerations(read, definition_);
    EXPECT_TRUE(state.ok()) << state.status();
    return *state;
  }

  TestStore store_;
  IndexDefinition definition_ = Index(0);
};

TEST_F(GenerationsTest, ABuildIsAllocatedFlippedAndItsPredecessorForgotten) {
  EXPECT_FALSE(Read().Serves());
  ASSERT_TRUE(Change(Kind::kAllocate).ok());
  EXPECT_EQ(Read().building, 2u);
  EXPECT_TRUE(Read().Has(2));
  EXPECT_FALSE(Read().Serves());
  ASSERT_TRUE(Change(Kind::kFlip, 2).ok());
  EXPECT_TRUE(Read().Fulfils(definition_));
  EXPECT_EQ(Read().live, 2u);
  EXPECT_EQ(Read().row_count, 5u);
  EXPECT_EQ(Read().built_at, absl::FromUnixSeconds(1000));
  ASSERT_TRUE(Change(Kind::kAllocate).ok());
  ASSERT_TRUE(Change(Kind::kFlip, 3).ok());
  EXPECT_EQ(Read().retired, std::vector<Generation>{2});
  EXPECT_FALSE(Read().Has(2));
  ASSERT_TRUE(Change(Kind::kForget, 2).ok());
  EXPECT_TRUE(Read().retired.empty());
}

TEST_F(GenerationsTest, AnIndexDefinedOverNothingIsCompleteByBirth) {
  definition_ = Index(1);
  EXPECT_TRUE(Read().Fulfils(definition_));
  EXPECT_EQ(Read().live, 1u);
  ASSERT_TRUE(Change(Kind::kAllocate).ok());
  EXPECT_EQ(Read().building, 2u);
  EXPECT_EQ(Read().live, 1u) << "the row knows the generation that had none";
  ASSERT_TRUE(Change(Kind::kFlip, 2).ok());
  EXPECT_EQ(Read().retired, std::vector<Generation>{1});
}

TEST_F(GenerationsTest, ANewDefinitionThatNeedsABuildIsServedByTheOldOneOnly) {
  definition_ = Index(1);
  definition_.number = 2;
  definition_.needs = 2;
  EXPECT_TRUE(Read().Serves());
  EXPECT_FALSE(Read().Fulfils(definition_));
  ASSERT_TRUE(Change(Kind::kAllocate).ok());
  ASSERT_TRUE(Change(Kind::kFlip, 2).ok());
  EXPECT_TRUE(Read().Fulfils(definition_));
}

TEST_F(GenerationsTest, EntriesOfANewerFormatDoNotServe) {
  GenerationState state = InitialGenerations(Index(1));
  state.format = kIndexFormat + 1;
  EXPECT_FALSE(state.Serves());
}

TEST_F(GenerationsTest, WhatIsNotAsExpectedIsAbortedAndChangesNothing) {
  for (Kind kind : {Kind::kFlip, Kind::kAbandon, Kind::kForget}) {
    EXPECT_EQ(Change(kind, 1).status().code(), absl::StatusCode::kAborted);
  }
  EXPECT_EQ(Stored(), GenerationState());
  ASSERT_TRUE(Change(Kind::kAllocate).ok());
  EXPECT_EQ(Change(Kind::kAllocate).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(Change(Kind::kFlip, 1).status().code(), absl::StatusCode::kAborted);
  ASSERT_TRUE(Change(Kind::kAbandon, 2).ok());
  EXPECT_EQ(Read().retired, std::vector<Generation>{2});
  ASSERT_TRUE(Change(Kind::kAllocate).ok());
  EXPECT_EQ(Read().building, 3u) << "a number is never given again";
}

TEST_F(GenerationsTest, TheRowOfADroppedIndexGoesWithItsLastGeneration) {
  ASSERT_TRUE(Change(Kind::kAllocate).ok());
  ASSERT_TRUE(Change(Kind::kFlip, 2).ok());
  ASSERT_TRUE(Change(Kind::kAllocate).ok());
  ASSERT_TRUE(Change(Kind::kDrop).ok());
  EXPECT_FALSE(Read().Has(2));
  EXPECT_FALSE(Read().Has(3));
  EXPECT_EQ(Change(Kind::kAllocate).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(Change(Kind::kDrop).status().code(), absl::StatusCode::kAborted);
  ASSERT_TRUE(Change(Kind::kForget, 2).ok());
  ASSERT_TRUE(Change(Kind::kForget, 3).ok());
  EXPECT_EQ(Stored(), GenerationState());
}

// Random changes: at most one is live and one building, all that ever was is accounted for.
TEST_F(GenerationsTest, NoGenerationIsLostOrTwice) {
  std::mt19937_64 random(1);
  GenerationState before = Read();
  for (int i = 0; i < 300; ++i) {
    const auto kind = static_cast<Kind>(random() % 5 == 3 ? 0 : random() % 5);
    const auto state =
        Change(kind == Kind::kDrop ? Kind::kAllocate : kind, random() % 4 + before.last - 2);
    if (!state.ok()) continue;
    EXPECT_GE(state->last, before.last);
    EXPECT_TRUE(state->live == 0 || state->live != state->building);
    for (Generation generation : state->retired) EXPECT_FALSE(state->Has(generation));
    before = *state;
  }
  EXPECT_GT(before.last, 20u);
}

TEST_F(GenerationsTest, ADamagedRowIsDataLoss) {
  ASSERT_TRUE(Change(Kind::kAllocate).ok());
  std::string row = EncodeGenerations(Read());
  row.back() = static_cast<char>(row.back() ^ 1);
  const absl::Status status = DecodeGenerations(row).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(status.message().find("rebuild the index"), absl::string_view::npos);
}

}  // namespace
}  // namespace millrace::storage
