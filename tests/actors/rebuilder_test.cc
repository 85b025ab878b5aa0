// Index builds step by step, through the engine's door.

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/actors/stepped_engine.h"
#include "tests/testing/temporary_directory.h"

#include "millrace/storage/task_transition.h"

namespace millrace::testing {
namespace {

using storage::BuildPhase;
using storage::BuildReason;
using storage::DuplicatePolicy;
using storage::IndexDefinition;
using storage::IndexKind;
using storage::IndexTask;
using storage::TaskId;
using storage::TaskState;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr BuildPhase kPhases[] = {BuildPhase::kWaiting, BuildPhase::kScan, BuildPhase::kMerge,
                                  BuildPhase::kCatchUp, BuildPhase::kVerify};

class RebuilderTest : public ::testing::Test {
 protected:
  uint64_t CountFound(const IndexDefinition& index, const storage::IndexQuery& query = {}) {
    return *store_->engine().TakeSnapshot()->CountFound(index, query);
  }
  std::string OwnerOf(const IndexDefinition& index, const std::string& value) {
    const auto found = store_->engine().TakeSnapshot()->FindUnique(index, value);
    return found.ok() ? found->id : std::string(found.status().message());
  }
  std::string CloseAndFindFault(const IndexDefinition& index) {
    return store_->CloseAndFindFault(index);
  }

  const TemporaryDirectory directory_ = TemporaryDirectory::InMemory();
  std::optional<SteppedEngine> store_{std::in_place, directory_.File("store")};
};

// I3: as a kill right behind the answer would leave it.
TEST_F(RebuilderTest, TaskIsDurableBeforeItIsAnswered) {
  store_->Fill();
  const IndexDefinition index = store_->CreateComplete({.field = "n"});
  const TaskId task = store_->Schedule({.index = index.id});
  EXPECT_FALSE(storage::IsFinal(store_->Task(task)));
  store_->CopyTo(directory_.File("copy"));
  SteppedEngine copy(directory_.File("copy"));
  ASSERT_TRUE(copy.engine().FindBuild(task).ok());
  copy.Idle();
  EXPECT_EQ(copy.Task(task).state, TaskState::kComplete);
}

// I2, D-FA8.
TEST_F(RebuilderTest, OneBuildHoweverOftenItIsAskedFor) {
  store_->Fill();
  const IndexDefinition index = store_->CreateComplete({.field = "n"});
  const storage::Generation before = store_->Status(index).generations.last;
  const TaskId task = store_->Schedule({.index = index.id});
  for (const BuildPhase phase : kPhases) {
    if (phase == BuildPhase::kVerify) break;  // It may end before it is asked for.
    ASSERT_TRUE(store_->StepUntil(index, phase)) << storage::ToString(phase);
    EXPECT_EQ(store_->Schedule({.index = index.id}), task);
  }
  store_->Idle();
  EXPECT_EQ(store_->Task(task).state, TaskState::kComplete);
  EXPECT_EQ(store_->Status(index).generations.last, before + 1);
  EXPECT_NE(store_->Schedule({.index = index.id}), task);
}

// I10, D-IR2.
TEST_F(RebuilderTest, LookingChangesNothing) {
  store_->Fill();
  const IndexDefinition index = store_->Create({.field = "n"}).definition;
  ASSERT_TRUE(store_->StepUntil(index, BuildPhase::kMerge));
  const IndexStatus before = store_->Status(index);
  EXPECT_EQ(before.lifecycle, IndexLifecycle::kBuilding);
  EXPECT_FALSE(before.serves);
  for (int i = 0; i < 10; ++i) {
    EXPECT_THAT(*store_->engine().ListBuilds(), ElementsAre(*before.task));
    EXPECT_EQ(store_->Task(before.task->id), *before.task);
    EXPECT_EQ(store_->Status(index).generations, before.generations);
  }
  store_->Idle();
  EXPECT_EQ(store_->Status(index).lifecycle, IndexLifecycle::kOnline);
}

// I8, D-IR13: in any phase; nothing is left, and what serves serves on.
TEST_F(RebuilderTest, CancelledBuildLeavesTheLiveIndexAsItWas) {
  store_->Fill();
  const IndexDefinition index = store_->CreateComplete({.field = "n"});
  const storage::Generation live = store_->Status(index).generations.live;
  for (const BuildPhase phase : kPhases) {
    SCOPED_TRACE(storage::ToString(phase));
    const TaskId task = store_->Schedule({.index = index.id});
    ASSERT_TRUE(store_->StepUntil(index, phase));
    ASSERT_TRUE(store_->engine().CancelBuild(task).ok());
    EXPECT_EQ(store_->Task(task).state, TaskState::kCancelled);
    store_->Idle();
    EXPECT_EQ(store_->Status(index).generations.live, live);
    EXPECT_THAT(store_->RunFiles(), IsEmpty());
    EXPECT_TRUE(absl::IsCancelled(store_->engine().WaitForBuild(task).status()));
    EXPECT_TRUE(absl::IsFailedPrecondition(store_->engine().CancelBuild(task).status()));
  }
  EXPECT_EQ(CountFound(index), uint64_t{SteppedEngine::kRecords});
  EXPECT_EQ(CloseAndFindFault(index), "");
}

// What was read is not read again; what commits change meanwhile is not lost.
TEST_F(RebuilderTest, PausedBuildGoesOnWhereItWas) {
  store_->Fill();
  const IndexDefinition index = store_->CreateComplete({.field = "n"});
  int64_t number = 0;
  for (const BuildPhase phase : kPhases) {
    SCOPED_TRACE(storage::ToString(phase));
    const TaskId task = store_->Schedule({.index = index.id});
    ASSERT_TRUE(store_->StepUntil(index, phase));
    ASSERT_TRUE(store_->engine().PauseBuild(task).ok());
    store_->Idle();
    EXPECT_EQ(store_->Task(task).state, TaskState::kPaused);
    EXPECT_EQ(store_->Schedule({.index = index.id}), task);
    for (int i = 0; i < 100; ++i, ++number) {
      if (number % 3 == 0) store_->Delete(number);
      if (number % 3 == 1) {
        ASSERT_TRUE(store_->Put(number + 7, 1'000'000 + number).ok());
      }
    }
    store_->Flush();
    EXPECT_EQ(store_->Task(task).state, TaskState::kPaused);
    ASSERT_TRUE(store_->engine().ResumeBuild(task).ok());
    EXPECT_TRUE(absl::IsFailedPrecondition(store_->engine().ResumeBuild(task).status()));
    store_->Idle();
    const IndexTask ended = store_->Task(task);
    ASSERT_EQ(ended.state, TaskState::kComplete) << ended.error;
    EXPECT_LE(ended.counts.scanned, uint64_t{SteppedEngine::kRecords});
  }
  EXPECT_EQ(CloseAndFindFault(index), "");
}

// I6, I7, D-IR6, D-IR7: delays double, the count is kept by a kill, what is used up wants a reset.
TEST_F(RebuilderTest, FailedBuildIsTriedAgainWhenItIsDue) {
  store_->Fill();
  const IndexDefinition index = store_->Create({.field = "n"}).definition;
  const TaskId task = store_->Status(index).task->id;
  const auto fail = [&] {
    ASSERT_TRUE(store_->StepUntil(index, BuildPhase::kScan));
    store_->files().Fail({.call = FileCall::kWrite});
    ASSERT_TRUE(store_->StepUntil([&] { return store_->Task(task).state == TaskState::kFailed; }));
    store_->Idle();
  };
  absl::Duration delay = absl::Seconds(60);
  for (uint32_t attempt = 1; attempt <= 3; ++attempt, delay *= 2) {
    fail();
    const IndexTask failed = store_->Task(task);
    EXPECT_EQ(failed.attempts, attempt);
    EXPECT_FALSE(failed.error.ok());
    EXPECT_EQ(failed.next_attempt_at, store_->clock().WallNow() + delay);
    EXPECT_EQ(store_->Status(index).lifecycle, IndexLifecycle::kBuilding);
    store_->driver().AdvanceBy(delay - absl::Seconds(1));
    EXPECT_EQ(store_->Task(task).state, TaskState::kFailed);
    if (attempt == 1) {
      store_->CopyTo(directory_.File("copy"));
      SteppedEngine copy(directory_.File("copy"));
      copy.Idle();
      EXPECT_EQ(copy.Task(task), failed);
      copy.driver().AdvanceBy(2 * delay);
      EXPECT_EQ(copy.Task(task).state, TaskState::kComplete);
      EXPECT_EQ(copy.CloseAndFindFault(index), "");
    }
    store_->clock().Advance(absl::Seconds(1));
  }
  fail();
  EXPECT_TRUE(storage::IsFinal(store_->Task(task)));
  EXPECT_EQ(store_->Status(index).lifecycle, IndexLifecycle::kFailed);
  store_->driver().AdvanceBy(absl::Hours(10));
  EXPECT_EQ(store_->Task(task).state, TaskState::kFailed);
  EXPECT_EQ(CountFound(index), uint64_t{SteppedEngine::kRecords});  // By a scan.
  EXPECT_FALSE(store_->engine().WaitForBuild(task).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(store_->engine().RetryBuild(task).status()));
  ASSERT_TRUE(store_->engine().RetryBuild(task, /*reset=*/true).ok());
  EXPECT_EQ(store_->Task(task).attempts, 0u);
  store_->Idle();
  EXPECT_EQ(store_->Status(index).lifecycle, IndexLifecycle::kOnline);
  EXPECT_EQ(CloseAndFindFault(index), "");
}

// I7, I9, D-FA6: duplicates fail for good, and are named.
TEST_F(RebuilderTest, AllThatFailedAreRetriedTogetherAndOldTasksCleanedUp) {
  store_->Fill(2'000);
  const TaskId numbers = store_->Create({.field = "n", .kind = IndexKind::kUnique}).build;
  store_->Idle();
  ASSERT_TRUE(store_->Put(1, 2).ok());
  const TaskId words = store_->Create({.field = "u", .kind = IndexKind::kUnique}).build;
  const TaskId multi = store_->Create({.field = "n", .name = "multi"}).build;
  store_->Idle();
  const IndexTask failed = store_->Task(words);
  EXPECT_EQ(failed.state, TaskState::kFailed);
  EXPECT_EQ(failed.counts.conflicts, 1u);
  ASSERT_EQ(failed.samples.size(), 1u);
  EXPECT_THAT(failed.samples[0].ids, UnorderedElementsAre("p1", "p2"));
  EXPECT_THAT(std::string(failed.error.message()), HasSubstr("\"u2\""));
  EXPECT_EQ(store_->Task(numbers).counts.conflicts, 1'000u);
  EXPECT_EQ(store_->Task(numbers).samples.size(), storage::kDuplicateSamplesMax);
  EXPECT_THAT(*store_->engine().RetryFailedBuilds(), IsEmpty());
  store_->Delete(1);
  EXPECT_THAT(*store_->engine().RetryFailedBuilds(/*reset=*/true), ElementsAre(numbers, words));
  store_->Idle();
  EXPECT_EQ(store_->Task(words).state, TaskState::kComplete) << store_->Task(words).error;
  EXPECT_EQ(store_->Task(numbers).state, TaskState::kFailed);
  EXPECT_EQ(store_->Task(multi).state, TaskState::kComplete);
  EXPECT_EQ(*store_->engine().CleanUpBuilds(), 3u);
  EXPECT_THAT(*store_->engine().ListBuilds(), IsEmpty());
  EXPECT_TRUE(absl::IsNotFound(store_->engine().FindBuild(words).status()));
}

// I26: who owns the value before is "p5", by a claim that the lower "p4" lost; "p3" has nothing.
TEST_F(RebuilderTest, DuplicatesAreResolvedAsThePolicySays) {
  store_->Fill(10);
  ASSERT_TRUE(store_->Put(4, 3).ok());
  const IndexDefinition index =
      store_->Create({.field = "u", .kind = IndexKind::kUnique}).definition;
  store_->Idle();
  EXPECT_FALSE(store_->Status(index).serves);
  const TaskId lowest =
      store_->Schedule({.index = index.id, .duplicates = DuplicatePolicy::kLowestId});
  store_->Idle();
  ASSERT_EQ(store_->Task(lowest).state, TaskState::kComplete) << store_->Task(lowest).error;
  EXPECT_EQ(store_->Task(lowest).counts.conflicts, 1u);
  EXPECT_EQ(store_->Task(lowest).counts.indexed, 9u);
  EXPECT_EQ(OwnerOf(index, "u3"), "p3");
  ASSERT_TRUE(store_->Put(3, 300).ok());
  ASSERT_TRUE(store_->Put(5, 3).ok());
  store_->Flush();
  const TaskId keep =
      store_->Schedule({.index = index.id, .duplicates = DuplicatePolicy::kKeepLive});
  store_->Idle();
  ASSERT_EQ(store_->Task(keep).state, TaskState::kComplete) << store_->Task(keep).error;
  EXPECT_EQ(OwnerOf(index, "u3"), "p5");
  const TaskId lowest_again =
      store_->Schedule({.index = index.id, .duplicates = DuplicatePolicy::kLowestId});
  store_->Idle();
  ASSERT_EQ(store_->Task(lowest_again).state, TaskState::kComplete);
  EXPECT_EQ(OwnerOf(index, "u3"), "p4");
  const TaskId strict = store_->Schedule({.index = index.id});
  store_->Idle();
  EXPECT_EQ(store_->Task(strict).state, TaskState::kFailed);
  EXPECT_EQ(store_->Status(index).lifecycle, IndexLifecycle::kStale);
  EXPECT_EQ(OwnerOf(index, "u3"), "p4");
}

// I27: what is live claims throughout; what is built for the first time, from the catch-up on.
TEST_F(RebuilderTest, UniqueValuesAreClaimedWhileTheIndexIsBuilt) {
  store_->Fill();
  const IndexDefinition index =
      store_->Create({.field = "u", .kind = IndexKind::kUnique}).definition;
  ASSERT_TRUE(store_->StepUntil(index, BuildPhase::kScan));
  ASSERT_TRUE(store_->Put(100, 101).ok());
  ASSERT_TRUE(store_->Put(100, 100).ok());
  ASSERT_TRUE(store_->StepUntil(index, BuildPhase::kVerify));
  EXPECT_TRUE(absl::IsAlreadyExists(store_->Put(200, 201)));
  store_->Idle();
  ASSERT_EQ(store_->Status(index).lifecycle, IndexLifecycle::kOnline);
  store_->Schedule({.index = index.id});
  for (const BuildPhase phase : kPhases) {
    SCOPED_TRACE(storage::ToString(phase));
    ASSERT_TRUE(store_->StepUntil(index, phase));
    const int64_t taken = 300 + static_cast<int64_t>(phase);
    EXPECT_TRUE(absl::IsAlreadyExists(store_->Put(200, taken)));
    ASSERT_TRUE(store_->Put(400 + static_cast<int64_t>(phase), 2'000'000 + taken).ok());
    EXPECT_TRUE(absl::IsAlreadyExists(store_->Put(200, 2'000'000 + taken)));
  }
  store_->Idle();
  EXPECT_EQ(CloseAndFindFault(index), "");
}

// I35, D-RB3: the old build ends, the new one is of the new shape.
TEST_F(RebuilderTest, DefinedAnewWhileItIsBuilt) {
  store_->Fill();
  IndexKind kind = IndexKind::kUnique;
  IndexDefined last = store_->Create({.field = "u", .name = "words"});
  for (const BuildPhase phase : kPhases) {
    SCOPED_TRACE(storage::ToString(phase));
    if (phase != BuildPhase::kWaiting) {
      store_->Schedule({.index = last.definition.id});
    }
    ASSERT_TRUE(store_->StepUntil(last.definition, phase));
    const TaskId old = store_->Status(last.definition).task->id;
    last = store_->Create({.field = "u", .kind = kind, .name = "words"});
    store_->Idle();
    if (kind == IndexKind::kUnique) {
      EXPECT_EQ(store_->Task(old).state, TaskState::kSuperseded);
      EXPECT_EQ(store_->Task(last.build).state, TaskState::kComplete);
    }
    EXPECT_EQ(store_->Status(last.definition).lifecycle, IndexLifecycle::kOnline);
    EXPECT_EQ(absl::IsAlreadyExists(store_->Put(1, 2)), kind == IndexKind::kUnique);
    ASSERT_TRUE(store_->Put(1, 1).ok());
    kind = kind == IndexKind::kUnique ? IndexKind::kMulti : IndexKind::kUnique;
  }
  EXPECT_EQ(CloseAndFindFault(last.definition), "");
}

TEST_F(RebuilderTest, DroppedWhileItIsBuilt) {
  store_->Fill();
  for (const BuildPhase phase : kPhases) {
    SCOPED_TRACE(storage::ToString(phase));
    const IndexDefined defined = store_->Create({.field = "n"});
    ASSERT_TRUE(store_->StepUntil(defined.definition, phase));
    ASSERT_TRUE(store_->engine().DropIndex(store_->people(), "n").ok());
    EXPECT_TRUE(absl::IsAborted(store_->engine().WaitForBuild(defined.build).status()));
    store_->Idle();
    EXPECT_EQ(store_->Task(defined.build).state, TaskState::kSuperseded);
    EXPECT_THAT(store_->RunFiles(), IsEmpty());
    const storage::GenerationState left = store_->Status(defined.definition).generations;
    EXPECT_EQ(left.live + left.building + left.retired.size(), 0u);
    EXPECT_TRUE(absl::IsNotFound(
        store_->engine().ScheduleBuild({.index = defined.definition.id}).status()));
  }
  const IndexDefinition again = store_->CreateComplete({.field = "n"});
  EXPECT_EQ(CloseAndFindFault(again), "");
}

// I41, D-IR11: by (priority, task), and without a pause.
TEST_F(RebuilderTest, BuildsTakeTurns) {
  store_->Fill(100);
  std::vector<IndexDefinition> indexes;
  for (const char* name : {"a", "b", "c", "d"}) {
    indexes.push_back(store_->CreateComplete({.field = "n", .name = name}));
  }
  store_->Schedule({.index = indexes[0].id, .priority = 100});
  ASSERT_TRUE(store_->StepUntil(indexes[0], BuildPhase::kScan));
  store_->Schedule({.index = indexes[3].id, .priority = 100});
  store_->Schedule({.index = indexes[1].id, .priority = 100});
  store_->Schedule({.index = indexes[2].id, .priority = 1});
  const MonotonicTime begin = store_->clock().Now();
  std::vector<std::string> order;
  const auto note = [&] {
    for (const IndexDefinition& index : indexes) {
      const IndexStatus status = store_->Status(index);
      if (!storage::IsUnderWay(status.task->state)) continue;
      if (order.empty() || order.back() != index.name) order.push_back(index.name);
    }
    return false;
  };
  store_->StepUntil(note);
  EXPECT_THAT(order, ElementsAre("a", "c", "d", "b"));
  EXPECT_EQ(store_->clock().Now(), begin);
}

// I11, I37, D-FA13: nothing goes back, each phase ends with all done, and the end is told.
TEST_F(RebuilderTest, ProgressNeverGoesBack) {
  store_->Fill();
  const IndexDefined defined = store_->Create({.field = "n"});
  std::optional<BuildProgress> last;
  store_->StepUntil([&] {
    const std::optional<BuildProgress> now = store_->Status(defined.definition).progress;
    if (!now.has_value()) return false;
    if (last.has_value()) {
      EXPECT_GE(now->phase, last->phase);
      if (now->phase == last->phase) {
        EXPECT_GE(now->completed, last->completed);
      }
      EXPECT_GE(now->elapsed, last->elapsed);
    }
    EXPECT_LE(now->completed, now->total);
    EXPECT_GE(now->per_second, 0);
    last = now;
    store_->clock().Advance(absl::Milliseconds(1));
    return false;
  });
  std::vector<BuildProgress> told;
  const absl::StatusOr<storage::BuildResult> result = store_->engine().WaitForBuild(
      defined.build, absl::InfiniteDuration(),
      [&](const BuildProgress& progress) { told.push_back(progress); });
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(last->phase, BuildPhase::kDone);
  EXPECT_EQ(last->completed, uint64_t{SteppedEngine::kRecords});
  ASSERT_FALSE(told.empty());
  EXPECT_EQ(told.back().phase, BuildPhase::kDone);
  EXPECT_EQ(told.back().completed, told.back().total);
  EXPECT_EQ(result->scanned, uint64_t{SteppedEngine::kRecords});
  EXPECT_EQ(result->live, uint64_t{SteppedEngine::kRecords});
  EXPECT_EQ(result->indexed, uint64_t{SteppedEngine::kRecords});
  EXPECT_EQ(result->conflicts + result->missing + result->skipped_blank, 0u);
  EXPECT_GT(result->duration, absl::ZeroDuration());
}

}  // namespace
}  // namespace millrace::testing
