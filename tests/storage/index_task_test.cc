#include "millrace/storage/index_task.h"

#include <map>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "millrace/storage/task_transition.h"

namespace millrace::storage {
namespace {

using Kind = TaskEvent::Kind;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const absl::Time kNoon = absl::FromUnixSeconds(1'780'000'000);

IndexTask FullTask() {
  return {
      .id = 7,
      .request = {.index = 3,
                  .source = BuildSource::kParticipation,
                  .duplicates = DuplicatePolicy::kLowestId,
                  .reason = BuildReason::kGrowth,
                  .priority = 9},
      .definition = 4,
      .generation = 12,
      .state = TaskState::kFailed,
      .phase = BuildPhase::kVerify,
      .attempts = 2,
      .next_attempt_at = kNoon + absl::Nanoseconds(1),
      .created_at = kNoon - absl::Hours(3),
      .started_at = kNoon - absl::Hours(2),
      .finished_at = kNoon,
      .active = absl::Milliseconds(1'234),
      .counts =
          {.scanned = 1, .live = 2, .indexed = 3, .skipped_blank = 4, .missing = 5, .conflicts = 6},
      .resume = {.record_count = 90,
                 .source_total = 100,
                 .source_cursor = std::string("a\0b", 3),
                 .source_done = true,
                 .runs = {{.number = 1, .entry_count = 10, .block_count = 1},
                          {.number = 5, .entry_count = 20, .block_count = 2}},
                 .next_run = 6,
                 .applied_cursor = std::string("\xff\0", 2),
                 .applied_done = true,
                 .applied_entry_count = 8,
                 .merged_entry_count = 9,
                 .maintained_count = 11},
      .samples = {{.value = "\"x\"", .owner = "o", .ids = {"a", "b"}}},
      .error = absl::DataLossError("row 'x' is damaged")};
}

TEST(IndexTaskTest, RowComesBackAsItWas) {
  for (const IndexTask& task : {FullTask(), IndexTask{}, IndexTask{.id = 1}}) {
    const absl::StatusOr<IndexTask> decoded = DecodeTask(EncodeTask(task));
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_EQ(*decoded, task);
  }
}

TEST(IndexTaskTest, DamagedRowIsDataLoss) {
  const std::string good = EncodeTask(FullTask());
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x10);
    EXPECT_EQ(DecodeTask(bad).status().code(), absl::StatusCode::kDataLoss) << i;
    EXPECT_EQ(DecodeTask(good.substr(0, i)).status().code(), absl::StatusCode::kDataLoss) << i;
  }
}

TEST(IndexTaskTest, KeysOrderByIndexThenTaskBehindTheCounter) {
  EXPECT_LT(TaskCounterKey(), TaskPrefix(1));
  EXPECT_LT(TaskKey(1, 300), TaskKey(2, 1));
  EXPECT_LT(TaskKey(1, 240), TaskKey(1, 241));
  EXPECT_EQ(TaskKey(300, 1).substr(0, TaskPrefix(300).size()), TaskPrefix(300));
}

TEST(IndexTaskTest, StatesAndTheRestHaveStableNames) {
  std::set<std::string_view> names;
  for (const TaskState state : kTaskStates) names.insert(ToString(state));
  EXPECT_EQ(names.size(), kTaskStates.size());
  EXPECT_EQ(ToString(TaskState::kCatchUp), "catch-up");
  EXPECT_EQ(ToString(TaskState::kSuperseded), "superseded");
  EXPECT_EQ(ToString(BuildPhase::kDone), "done");
  EXPECT_EQ(ToString(BuildSource::kParticipation), "participation");
  EXPECT_EQ(ToString(DuplicatePolicy::kKeepLive), "keep-live");
  EXPECT_EQ(ToString(BuildReason::kAge), "age");
  EXPECT_EQ(ToString(Kind::kSupersede), "superseded");
}

// An event that is otherwise as it must be.
TaskEvent EventFor(const IndexTask& task, Kind kind) {
  TaskEvent event{.kind = kind, .now = kNoon, .expected_generation = task.generation};
  event.generation = task.generation + 1;
  event.resume = task.resume;
  return event;
}

absl::StatusOr<IndexTask> Happen(const IndexTask& task, Kind kind) {
  return Advance(task, EventFor(task, kind));
}

// A task of which only the state matters, as far into its build as the state can be.
IndexTask TaskIn(TaskState state) {
  IndexTask task{.id = 1, .request = {.index = 1}, .generation = 2, .state = state};
  task.resume.source_done = state == TaskState::kBuilding || state == TaskState::kCatchUp ||
                            state == TaskState::kSwapping;
  return task;
}

// "failed" will be tried again, and it is time; "failed for good" will not.
std::map<std::string, IndexTask> AllTasks() {
  std::map<std::string, IndexTask> tasks;
  for (const TaskState state : kTaskStates) tasks[std::string(ToString(state))] = TaskIn(state);
  tasks["failed for good"] = tasks["failed"];
  tasks["failed"].next_attempt_at = kNoon;
  return tasks;
}

// The whole table: what can happen in which state, and where it leads. Everything else is refused.
TEST(TaskTransitionTest, OnlyTheseTransitionsExist) {
  std::ostringstream transcript;
  for (const auto& [name, task] : AllTasks()) {
    for (int kind = 1; kind <= kTaskEventKinds; ++kind) {
      const absl::StatusOr<IndexTask> next = Happen(task, static_cast<Kind>(kind));
      if (next.ok()) {
        transcript << name << ": " << ToString(static_cast<Kind>(kind)) << " -> "
                   << ToString(next->state) << "\n";
        continue;
      }
      EXPECT_EQ(next.status().code(), absl::StatusCode::kFailedPrecondition) << next.status();
      EXPECT_THAT(next.status().ToString(), HasSubstr(absl::StrCat("is ", name)));
    }
  }
  EXPECT_EQ(transcript.str(), R"(building: sorted -> building
building: applied -> building
building: restarted -> building
building: failed -> failed
building: interrupted -> pending
building: paused -> paused
building: cancelled -> cancelled
building: superseded -> superseded
catch-up: verified -> swapping
catch-up: restarted -> building
catch-up: failed -> failed
catch-up: interrupted -> pending
catch-up: paused -> paused
catch-up: cancelled -> cancelled
catch-up: superseded -> superseded
failed: tried again -> pending
failed: retried -> pending
failed: paused -> paused
failed: cancelled -> cancelled
failed: superseded -> superseded
paused: resumed -> pending
paused: cancelled -> cancelled
paused: superseded -> superseded
pending: begun -> building
pending: paused -> paused
pending: cancelled -> cancelled
pending: superseded -> superseded
swapping: flipped -> complete
swapping: restarted -> building
swapping: failed -> failed
swapping: interrupted -> pending
swapping: paused -> paused
swapping: cancelled -> cancelled
swapping: superseded -> superseded
)");
}

TEST(TaskTransitionTest, WhatTheBuilderTellsOfAnotherGenerationIsRefused) {
  for (const auto& [name, task] : AllTasks()) {
    for (int kind = 1; kind <= kTaskEventKinds; ++kind) {
      TaskEvent event = EventFor(task, static_cast<Kind>(kind));
      const bool by_builder = event.kind >= Kind::kSorted && event.kind <= Kind::kInterrupt;
      event.expected_generation = task.generation + 1;
      const absl::Status status = Advance(task, event).status();
      EXPECT_EQ(status.code() == absl::StatusCode::kAborted, by_builder)
          << name << " " << ToString(event.kind) << ": " << status;
    }
  }
}

TEST(TaskTransitionTest, ScanMergeAndCatchUpFollowEachOther) {
  IndexTask task = TaskIn(TaskState::kPending);
  task = *Happen(task, Kind::kBegin);
  EXPECT_EQ(task.phase, BuildPhase::kWaiting);
  EXPECT_FALSE(Happen(task, Kind::kApplied).ok()) << "nothing is applied before all is read";
  TaskEvent sorted = EventFor(task, Kind::kSorted);
  sorted.resume.runs = {{.number = 1}};
  sorted.counts.scanned = 10;
  task = *Advance(task, sorted);
  EXPECT_EQ(task.phase, BuildPhase::kScan);
  EXPECT_FALSE(Happen(task, Kind::kApplied).ok());
  sorted.resume.source_done = true;
  task = *Advance(task, sorted);
  EXPECT_EQ(task.phase, BuildPhase::kMerge);
  EXPECT_EQ(task.counts.scanned, 10u);
  // Too many runs are merged into fewer.
  sorted.resume.runs = {{.number = 2}};
  task = *Advance(task, sorted);
  TaskEvent applied = EventFor(task, Kind::kApplied);
  applied.resume.applied_cursor = "k";
  task = *Advance(task, applied);
  EXPECT_EQ(task.state, TaskState::kBuilding);
  EXPECT_FALSE(Happen(task, Kind::kSorted).ok()) << "runs do not change under a merge";
  applied.resume.applied_done = true;
  task = *Advance(task, applied);
  EXPECT_EQ(task.state, TaskState::kCatchUp);
  TaskEvent verified = EventFor(task, Kind::kVerified);
  verified.counts = {.scanned = 10, .indexed = 9};
  task = *Advance(task, verified);
  task = *Happen(task, Kind::kFlipped);
  EXPECT_EQ(task.phase, BuildPhase::kDone);
  EXPECT_EQ(ResultOf(task).indexed, 9u);
  EXPECT_TRUE(IsFinal(task));
}

TEST(TaskTransitionTest, InterruptedBuildGoesOnWhereItWas) {
  IndexTask task = TaskIn(TaskState::kBuilding);
  task.resume.source_cursor = "m";
  const ResumePoint resume = task.resume;
  task = *Happen(task, Kind::kInterrupt);
  EXPECT_EQ(task.state, TaskState::kPending);
  EXPECT_EQ(task.attempts, 0u) << "an interruption is no failure";
  TaskEvent begin = EventFor(task, Kind::kBegin);
  begin.generation = task.generation;
  EXPECT_EQ(Advance(task, begin)->resume, resume);
  EXPECT_EQ(Advance(task, begin)->generation, 2u);
  begin.generation = 3;
  EXPECT_EQ(Advance(task, begin)->resume, (ResumePoint{.next_run = resume.next_run}))
      << "a new generation begins anew, under new file names";
}

TEST(TaskTransitionTest, RetriesAreCountedAndComeWhenTheyAreDue) {
  IndexTask task = TaskIn(TaskState::kBuilding);
  TaskEvent fail = EventFor(task, Kind::kFail);
  fail.error = absl::InternalError("EIO");
  fail.next_attempt_at = kNoon + absl::Minutes(1);
  fail.active = absl::Seconds(5);
  task = *Advance(task, fail);
  EXPECT_EQ(task.attempts, 1u);
  EXPECT_EQ(task.active, absl::Seconds(5));
  EXPECT_FALSE(IsFinal(task));
  EXPECT_TRUE(KeepsGeneration(task));
  EXPECT_FALSE(Happen(task, Kind::kDue).ok()) << "a minute too early";
  TaskEvent due = EventFor(task, Kind::kDue);
  due.now = kNoon + absl::Minutes(1);
  task = *Advance(task, due);
  EXPECT_EQ(task.state, TaskState::kPending);
  EXPECT_EQ(task.error.message(), "EIO") << "until the next attempt has ended";
  task = *Happen(task, Kind::kBegin);
  fail = EventFor(task, Kind::kFail);
  fail.error = absl::InternalError("EIO again");
  task = *Advance(task, fail);
  EXPECT_EQ(task.attempts, 2u);
  EXPECT_TRUE(IsFinal(task)) << "no next attempt";
  EXPECT_FALSE(KeepsGeneration(task));
  EXPECT_FALSE(Happen(task, Kind::kDue).ok());
  EXPECT_FALSE(Happen(task, Kind::kRetry).ok());
  TaskEvent retry = EventFor(task, Kind::kRetry);
  retry.reset = true;
  task = *Advance(task, retry);
  EXPECT_EQ(task.state, TaskState::kPending);
  EXPECT_EQ(task.attempts, 0u);
}

// Whatever happens in whatever order, these hold.
TEST(TaskTransitionTest, RandomLivesKeepTheInvariants) {
  std::mt19937_64 random(20260102);
  std::set<TaskState> reached;
  for (int life = 0; life < 10'000; ++life) {
    IndexTask task{.id = 1, .request = {.index = 1}};
    Generation last = 0;
    bool verified = false;
    for (int step = 0; step < 40; ++step) {
      // Half of the time something that lets the build go on.
      const int kinds = random() % 2 == 0 ? 5 : kTaskEventKinds;
      TaskEvent event{.kind = static_cast<Kind>(1 + random() % kinds),
                      .now = kNoon + absl::Minutes(step),
                      .expected_generation = task.generation};
      const bool anew = task.generation == 0 || random() % 4 == 0;
      event.generation = anew ? last + 1 : task.generation;
      event.resume = task.resume;
      event.resume.source_done |= random() % 2 == 0;
      event.resume.applied_done = random() % 2 == 0;
      event.reset = random() % 8 == 0;
      if (random() % 2 == 0) event.next_attempt_at = event.now + absl::Minutes(random() % 4);
      const IndexTask before = task;
      const absl::StatusOr<IndexTask> next = Advance(task, event);
      ASSERT_EQ(task, before) << "a pure function";
      if (!next.ok()) continue;
      task = *next;
      ASSERT_EQ(task.id, before.id);
      ASSERT_EQ(task.request, before.request);
      ASSERT_GE(task.generation, before.generation) << "generations are not used again";
      if (task.generation != before.generation) {
        ASSERT_TRUE(event.kind == Kind::kBegin || event.kind == Kind::kRestart);
        ASSERT_TRUE(task.resume.runs.empty() && !task.resume.source_done);
      }
      last = std::max(last, task.generation);
      ASSERT_EQ(task.attempts, event.kind == Kind::kFail                   ? before.attempts + 1
                               : event.kind == Kind::kRetry && event.reset ? 0
                                                                           : before.attempts);
      ASSERT_FALSE(IsFinal(before) && !(event.kind == Kind::kRetry && event.reset));
      if (event.kind == Kind::kVerified) verified = true;
      if (!IsUnderWay(task.state) && task.state != TaskState::kComplete) verified = false;
      if (event.kind == Kind::kRestart) verified = false;
      ASSERT_TRUE(task.state != TaskState::kComplete || verified)
          << "complete without having been verified in this attempt";
      ASSERT_TRUE(!IsUnderWay(task.state) || task.generation != 0);
      ASSERT_TRUE(task.state == TaskState::kFailed ||
                  task.next_attempt_at == absl::InfiniteFuture());
      ASSERT_EQ(*DecodeTask(EncodeTask(task)), task);
      reached.insert(task.state);
    }
  }
  EXPECT_EQ(reached.size(), kTaskStates.size()) << "some state was never reached";
}

TEST(TaskTransitionTest, OldTasksAreForgottenButNotThoseThatLive) {
  std::vector<IndexTask> tasks;
  for (TaskId id = 1; id <= 20; ++id) {
    tasks.push_back({.id = id, .state = TaskState::kComplete});
  }
  EXPECT_THAT(TasksToForget(tasks), ElementsAre(1, 2, 3, 4));
  tasks[1].state = TaskState::kPaused;
  EXPECT_THAT(TasksToForget(tasks), ElementsAre(1, 3, 4));
  tasks.resize(16);
  EXPECT_THAT(TasksToForget(tasks), ElementsAre());
}

}  // namespace
}  // namespace millrace::storage
