// What builds, flips, drops and verification of indexes need fences for: a stream that was rotated
// before a mark, and has not seen it, is held for as long as it would do harm.

#include <filesystem>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/actors/stepped_engine.h"
#include "tests/testing/temporary_directory.h"

namespace millrace::testing {
namespace {

using storage::BuildPhase;
using storage::IndexDefinition;
using storage::IndexKind;
using storage::TaskState;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class IndexFenceTest : public ::testing::Test {
 protected:
  static constexpr int kRecords = 200;

  // Everything of it is in a flush whose stream is held.
  FlushTicket PutAndHold(int64_t number, int64_t unique) {
    EXPECT_TRUE(store_->Put(number, unique).ok());
    return Hold();
  }
  FlushTicket Hold() {
    store_->HoldStreams();
    FlushTicket ticket = store_->engine().Flush();
    store_->Idle();
    EXPECT_FALSE(ticket.ready());
    return ticket;
  }
  BuildPhase Phase(const IndexDefinition& index) { return store_->Status(index).progress->phase; }
  std::string CloseAndFindFault(const IndexDefinition& index) {
    return store_->CloseAndFindFault(index);
  }

  const TemporaryDirectory directory_ = TemporaryDirectory::InMemory();
  std::optional<SteppedEngine> store_{std::in_place, directory_.File("store")};
};

// Its rows are in no scan that begins before it is published, and it brings no entries.
TEST_F(IndexFenceTest, BuildReadsBehindTheStreamsThatDoNotKnowItsGeneration) {
  store_->Fill(kRecords);
  const FlushTicket held = PutAndHold(1'000, 1'000);
  const IndexDefined defined = store_->Create({.field = "n"});
  store_->Idle();
  EXPECT_EQ(Phase(defined.definition), BuildPhase::kWaiting);
  ASSERT_TRUE(store_->Put(1'001, 1'001).ok());
  store_->Idle();
  EXPECT_EQ(Phase(defined.definition), BuildPhase::kWaiting);
  store_->ReleaseStreams();
  EXPECT_EQ(store_->Task(defined.build).state, TaskState::kComplete);
  EXPECT_EQ(store_->Task(defined.build).counts.indexed, uint64_t{kRecords} + 2);
  EXPECT_EQ(CloseAndFindFault(defined.definition), "");
}

// It would put entries of the old generation behind their deletion.
TEST_F(IndexFenceTest, OldGenerationIsDeletedBehindTheStreamsThatMaintainIt) {
  store_->Fill(kRecords);
  const IndexDefinition index = store_->CreateComplete({.field = "n"});
  const storage::Generation old = store_->Status(index).generations.live;
  store_->Schedule({.index = index.id});
  ASSERT_TRUE(store_->StepUntil(index, BuildPhase::kVerify));
  const FlushTicket held = PutAndHold(1'000, 1'000);
  EXPECT_GT(store_->Status(index).generations.live, old) << "the flip waits for nothing";
  EXPECT_THAT(store_->Status(index).generations.retired, ElementsAre(old));
  store_->ReleaseStreams();
  EXPECT_THAT(store_->Status(index).generations.retired, IsEmpty());
  EXPECT_EQ(CloseAndFindFault(index), "");
}

// The same of an index that is no longer defined at all.
TEST_F(IndexFenceTest, EntriesOfADroppedIndexAreDeletedBehindTheStreamsThatMaintainIt) {
  store_->Fill(kRecords);
  const IndexDefinition index = store_->CreateComplete({.field = "n"});
  const FlushTicket held = PutAndHold(1'000, 1'000);
  ASSERT_TRUE(store_->engine().DropIndex(store_->people(), "n").ok());
  store_->Idle();
  EXPECT_EQ(store_->Status(index).generations.retired.size(), 1u);
  ASSERT_TRUE(store_->Put(1'001, 1'001).ok());
  store_->ReleaseStreams();
  EXPECT_THAT(store_->Status(index).generations.retired, IsEmpty());
  EXPECT_EQ(CloseAndFindFault(index), "") << "no entry is left";
}

// A value that was given twice before the new generation was asked is in a flush that the
// verification must see.
TEST_F(IndexFenceTest, UniqueValuesAreVerifiedBehindTheStreamsOfCommitsThatDidNotClaimThem) {
  store_->Fill(kRecords);
  const IndexDefined defined = store_->Create({.field = "u", .kind = IndexKind::kUnique});
  ASSERT_TRUE(store_->StepUntil(defined.definition, BuildPhase::kMerge));
  const FlushTicket held = PutAndHold(1'000, 7);  // As record 7 has it.
  EXPECT_EQ(Phase(defined.definition), BuildPhase::kCatchUp);
  EXPECT_TRUE(absl::IsAlreadyExists(store_->Put(1'001, 8))) << "from here on they are claimed";
  store_->ReleaseStreams();
  const storage::IndexTask task = store_->Task(defined.build);
  EXPECT_EQ(task.state, TaskState::kFailed);
  EXPECT_THAT(task.error.ToString(), HasSubstr("\"u7\" of p1000 and p7"));
  EXPECT_EQ(store_->Status(defined.definition).generations.live, 0u);
}

// Nobody knows for how long: the build looks again from time to time, and goes on once it can.
TEST_F(IndexFenceTest, BuildOfADegradedEngineGoesOnWhenItIsMended) {
  EngineOptions options = SteppedEngine::Options();
  options.stream_timeout = absl::Seconds(1);
  options.flush_retries_max = 0;
  store_.reset();
  store_.emplace(directory_.File("degraded"), options);
  store_->Fill(kRecords);
  const FlushTicket held = PutAndHold(1'000, 1'000);
  store_->driver().AdvanceBy(absl::Seconds(1));
  ASSERT_FALSE(store_->engine().GetStatus().degraded.ok());
  const IndexDefined defined = store_->Create({.field = "n"});
  store_->Idle();
  EXPECT_FALSE(store_->Status(defined.definition).serves);
  EXPECT_FALSE(storage::IsFinal(store_->Task(defined.build)));
  EXPECT_EQ(store_->Task(defined.build).counts.scanned, 0u);
  store_->ReleaseStreams();
  ASSERT_TRUE(store_->engine().Resume().ok());
  store_->driver().AdvanceBy(absl::Minutes(2));
  EXPECT_EQ(store_->Task(defined.build).state, TaskState::kComplete);
  EXPECT_EQ(CloseAndFindFault(defined.definition), "");
}

// A flush that was half in LMDB when the process died is resumed first; build and deletion begin
// again at their fences.
TEST_F(IndexFenceTest, BuildBehindAKillReadsBehindTheFlushThatIsResumed) {
  constexpr int kMany = 6'000;  // More slices than are under way at once.
  store_->Fill(kRecords);
  storage::WriteBatch batch;
  for (int i = 1'000; i < 1'000 + kMany; ++i) {
    batch.Put(store_->people(), SteppedEngine::Id(i), SteppedEngine::Person(i, i));
  }
  ASSERT_TRUE(store_->engine().Commit(std::move(batch)).Wait().ok());
  const FlushTicket ticket = store_->engine().Flush();
  const auto applied_slices = [this] {
    for (const auto& message : store_->Actor("writer").Status().messages) {
      if (message.name == "ApplySlice") return message.handled;
    }
    return uint64_t{0};
  };
  const uint64_t before = applied_slices();
  ASSERT_TRUE(store_->StepUntil([&] { return applied_slices() >= before + 100; }));
  store_->Actor("finalizer").Freeze();
  const IndexDefined defined = store_->Create({.field = "n"});
  store_->Idle();
  EXPECT_EQ(Phase(defined.definition), BuildPhase::kWaiting);
  store_->CopyTo(directory_.File("killed"));
  store_.emplace(directory_.File("killed"), SteppedEngine::Options(), /*hold_streams=*/true);
  store_->Idle();
  EXPECT_EQ(Phase(defined.definition), BuildPhase::kWaiting);
  EXPECT_EQ(store_->engine().GetStatus().manifest, 1u) << "the flush is not published";
  store_->ReleaseStreams();
  EXPECT_EQ(store_->Task(defined.build).state, TaskState::kComplete);
  EXPECT_EQ(store_->Task(defined.build).counts.indexed, uint64_t{kRecords} + kMany);
  EXPECT_EQ(CloseAndFindFault(defined.definition), "");
}

}  // namespace
}  // namespace millrace::testing
