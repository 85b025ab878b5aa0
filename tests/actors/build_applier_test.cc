// BuildApplier: what the Writer does of an index build, each message in a transaction of its own.
#include "millrace/actors/build_applier.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/storage/test_store.h"

#include "millrace/storage/index_entry.h"
#include "millrace/storage/record.h"
#include "millrace/storage/task_rows.h"

namespace millrace {
namespace {

using storage::EntryBatch;
using storage::IndexDefinition;
using storage::IndexTask;
using storage::TaskEvent;
using storage::TaskState;
using storage::TreeId;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Kind = TaskEvent::Kind;

const absl::Time kNoon = absl::FromUnixSeconds(1'780'000'000);

class BuildApplierTest : public ::testing::Test {
 protected:
  // In a transaction of its own, committed unless refused.
  template <typename M>
  absl::StatusOr<typename M::ReplyType> Apply(const M& message) {
    storage::WriteTransaction transaction = store_.BeginWrite();
    absl::StatusOr<typename M::ReplyType> answer = applier_->Apply(transaction, message);
    if (!answer.ok()) {
      EXPECT_EQ(transaction.written_bytes(), 0u) << answer.status();
      return answer;
    }
    EXPECT_TRUE(transaction.Commit().ok());
    return answer;
  }
  absl::StatusOr<TaskChanged> Create(storage::BuildRequest request = {}) {
    return Apply(CreateTask{.definition = index_, .request = request, .now = kNoon});
  }
  absl::StatusOr<TaskChanged> Change(storage::TaskId task, std::vector<TaskEvent> events) {
    return Apply(ChangeTask{.definition = index_, .task = task, .events = std::move(events)});
  }
  // A task whose source is read: runs are to be applied.
  IndexTask Sorted() {
    const storage::TaskId id = Create()->task.id;
    const IndexTask begun = Change(id, {{.kind = Kind::kBegin, .now = kNoon}})->task;
    TaskEvent sorted{.kind = Kind::kSorted, .expected_generation = begun.generation};
    sorted.resume.source_done = true;
    return Change(id, {sorted})->task;
  }
  ApplyEntries Entries(const IndexTask& task,
                       const std::vector<std::pair<std::string, storage::Version>>& entries) const {
    ApplyEntries message{.definition = index_,
                         .task = task.id,
                         .generation = task.generation,
                         .after = task.resume.applied_cursor};
    for (const auto& [id, version] : entries) {
      message.entries.Add({.key = Key(task.generation, id), .version = version});
    }
    return message;
  }
  // The value is the id.
  std::string Key(storage::Generation generation, std::string_view id) const {
    std::string value;
    storage::AppendIndexValue(storage::FieldValue(id), &value);
    std::string key;
    storage::AppendIndexEntry(
        {.index = index_.id, .generation = generation, .value = value, .id = id}, &key);
    return key;
  }
  static std::string RecordKey(std::string_view id) {
    return storage::EncodeRowKey({.collection = 1, .id = id});
  }
  // A flush puts (or, version 0, deletes) the record.
  void FlushRecord(std::string_view id, storage::Version version) {
    const std::string row_key = RecordKey(id);
    const std::string key(row_key.substr(1));
    storage::WriteTransaction transaction = store_.BeginWrite();
    Slice slice;
    slice.rows.push_back({.key = row_key, .version = version, .tombstone = version == 0});
    applier_->Note(slice);
    if (version == 0) {
      EXPECT_TRUE(transaction.Delete(TreeId::kRecords, key).ok());
    } else {
      std::string value(storage::EncodedRecordSize(0), '\0');
      storage::EncodeRecord(key, {.version = version}, value.data());
      EXPECT_TRUE(transaction.Put(TreeId::kRecords, key, value).ok());
    }
    EXPECT_TRUE(transaction.Commit().ok());
  }
  // "generation:id" of every entry.
  std::vector<std::string> Index() {
    std::vector<std::string> entries;
    const storage::ReadTransaction transaction = store_.BeginRead();
    storage::Cursor row = transaction.NewCursor(TreeId::kIndex);
    for (row.Seek(""); row.Valid(); row.Next()) {
      const storage::IndexEntry entry = *storage::DecodeIndexEntry(row.key());
      entries.push_back(absl::StrCat(entry.generation, ":", std::string(entry.id)));
    }
    return entries;
  }
  storage::GenerationState Generations() {
    return *storage::ReadGenerations(store_.BeginRead(), index_);
  }
  std::vector<IndexTask> Tasks() { return *storage::ListTasks(store_.BeginRead()); }
  // Another life of the engine.
  void Reopen() { applier_.emplace(); }

  storage::TestStore store_;
  std::optional<BuildApplier> applier_{std::in_place};
  IndexDefinition index_{.id = 3, .collection = 1, .name = "name", .field = "name"};
};

TEST_F(BuildApplierTest, OneTaskForAnIndexHoweverOftenItIsAskedFor) {
  const IndexTask first = Create({.priority = 7})->task;
  EXPECT_EQ(first.id, 1u);
  EXPECT_EQ(first.request.index, 3u);
  EXPECT_EQ(first.state, TaskState::kPending);
  EXPECT_EQ(Create({.priority = 9})->task, first);
  index_ = {.id = 4, .collection = 1};
  EXPECT_EQ(Create()->task.id, 2u);
  EXPECT_EQ(Tasks().size(), 2u);
}

TEST_F(BuildApplierTest, NumbersOfForgottenTasksAreNotUsedAgain) {
  ASSERT_TRUE(Change(Create()->task.id, {{.kind = Kind::kCancel, .now = kNoon}}).ok());
  index_.id = 4;
  ASSERT_TRUE(Create().ok());
  EXPECT_THAT(Apply(ForgetTasks{})->tasks, ElementsAre(1)) << "the other one is not at its end";
  index_.id = 3;
  EXPECT_EQ(Create()->task.id, 3u);
}

TEST_F(BuildApplierTest, NewDefinitionSupersedesTheBuildOfTheOld) {
  const IndexTask old = Sorted();
  ASSERT_TRUE(Apply(Entries(old, {{"a", 1}})).ok());
  index_.number = 2;
  const TaskChanged created = *Create();
  EXPECT_EQ(created.task.id, 2u);
  EXPECT_EQ(created.task.definition, 2u);
  EXPECT_EQ(created.generations.building, 0u);
  EXPECT_THAT(created.generations.retired, ElementsAre(old.generation));
  EXPECT_EQ(Tasks()[0].state, TaskState::kSuperseded);
  EXPECT_EQ(Apply(Entries(old, {{"b", 1}})).status().code(), absl::StatusCode::kFailedPrecondition)
      << "what the old build still sends is refused";
  EXPECT_THAT(Index(), ElementsAre("2:a"));
}

TEST_F(BuildApplierTest, TaskThatWaitsForItsNextAttemptIsNotPutBesideAnother) {
  const IndexTask task = Sorted();
  ASSERT_TRUE(Change(task.id, {{.kind = Kind::kFail,
                                .now = kNoon,
                                .expected_generation = task.generation,
                                .error = absl::InternalError("EIO"),
                                .next_attempt_at = kNoon + absl::Hours(1)}})
                  .ok());
  EXPECT_EQ(Generations().building, task.generation) << "kept for the next attempt";
  const IndexTask again = Create()->task;
  EXPECT_EQ(again.id, task.id);
  EXPECT_EQ(again.state, TaskState::kPending);
  const IndexTask begun = Change(task.id, {{.kind = Kind::kBegin, .now = kNoon}})->task;
  EXPECT_EQ(begun.generation, task.generation);
  EXPECT_TRUE(begun.resume.source_done);
}

TEST_F(BuildApplierTest, EveryEndButSuccessRetiresTheGeneration) {
  for (const Kind kind : {Kind::kCancel, Kind::kSupersede, Kind::kFail}) {
    const IndexTask task = Sorted();
    const absl::StatusOr<TaskChanged> ended =
        Change(task.id, {{.kind = kind, .now = kNoon, .expected_generation = task.generation}});
    ASSERT_TRUE(ended.ok()) << ended.status();
    EXPECT_EQ(ended->generations.building, 0u);
    EXPECT_EQ(ended->generations.retired.back(), task.generation);
    EXPECT_EQ(ended->generations.live, 0u);
  }
}

TEST_F(BuildApplierTest, BuildIsVerifiedAndFlippedInOneTransaction) {
  index_.complete_at = 1;  // Generation 1 is live.
  const IndexTask task = Sorted();
  ApplyEntries all = Entries(task, {{"a", 1}, {"b", 2}});
  all.last = true;
  const IndexTask applied = Apply(all)->task;
  EXPECT_EQ(applied.state, TaskState::kCatchUp);
  EXPECT_EQ(applied.resume.applied_entry_count, 2u);
  TaskEvent verified{.kind = Kind::kVerified, .expected_generation = task.generation};
  verified.counts.indexed = 2;
  const TaskEvent flipped{
      .kind = Kind::kFlipped, .now = kNoon, .expected_generation = task.generation};
  EXPECT_FALSE(Change(task.id, {flipped}).ok()) << "not without verification";
  const TaskChanged done = *Change(task.id, {verified, flipped});
  EXPECT_EQ(done.task.state, TaskState::kComplete);
  EXPECT_EQ(done.generations.live, 2u);
  EXPECT_EQ(done.generations.building, 0u);
  EXPECT_EQ(done.generations.row_count, 2u);
  EXPECT_EQ(done.generations.built_at, kNoon);
  EXPECT_THAT(done.generations.retired, ElementsAre(1));
  EXPECT_EQ(Generations(), done.generations);
}

TEST_F(BuildApplierTest, EntriesFollowEachOtherWithoutAGap) {
  IndexTask task = Sorted();
  const ApplyEntries first = Entries(task, {{"a", 1}, {"b", 1}});
  const IndexTask behind = Apply(first)->task;
  EXPECT_EQ(behind.resume.applied_cursor, Key(task.generation, "b"));
  EXPECT_TRUE(absl::IsAborted(Apply(first).status())) << "sent twice";
  ApplyEntries third = Entries(behind, {{"d", 1}});
  third.after = Key(task.generation, "c");
  EXPECT_TRUE(absl::IsAborted(Apply(third).status())) << "the one before was aborted";
  EXPECT_TRUE(Apply(Entries(behind, {{"c", 1}})).ok());
  EXPECT_THAT(Index(), ElementsAre("2:a", "2:b", "2:c"));
}

TEST_F(BuildApplierTest, EntryGoesInWhereverTheTreeStands) {
  const IndexTask task = Sorted();
  {
    storage::WriteTransaction transaction = store_.BeginWrite();
    // What flushes put meanwhile, and another index behind.
    ASSERT_TRUE(transaction.Put(TreeId::kIndex, Key(task.generation, "m"), "").ok());
    ASSERT_TRUE(transaction.Commit().ok());
  }
  const IndexTask behind = Apply(Entries(task, {{"a", 1}, {"m", 1}, {"n", 1}}))->task;
  EXPECT_THAT(Index(), ElementsAre("2:a", "2:m", "2:n"));
  EXPECT_TRUE(Apply(Entries(behind, {{"o", 1}, {"p", 1}})).ok()) << "at the end it is appended";
  EXPECT_THAT(Index(), ElementsAre("2:a", "2:m", "2:n", "2:o", "2:p"));
}

// What was read and has changed since is the flushes' business.
TEST_F(BuildApplierTest, EntryOfAVersionThatIsGoneIsLeftOut) {
  FlushRecord("same", 1);
  FlushRecord("changed", 2);
  FlushRecord("deleted", 3);
  const IndexTask task = Sorted();
  FlushRecord("changed", 4);
  FlushRecord("deleted", 0);
  FlushRecord("new", 5);
  const ApplyEntries entries =
      Entries(task, {{"changed", 2}, {"deleted", 3}, {"new", 5}, {"same", 1}});
  const TaskChanged applied = *Apply(entries);
  EXPECT_THAT(Index(), ElementsAre("2:new", "2:same"));
  EXPECT_EQ(applied.task.resume.applied_entry_count, 2u);
}

TEST_F(BuildApplierTest, AfterAReopenEveryRecordIsLookedAt) {
  FlushRecord("same", 1);
  FlushRecord("changed", 2);
  const IndexTask task = Sorted();
  FlushRecord("changed", 4);
  Reopen();
  ASSERT_TRUE(Change(task.id,
                     {{.kind = Kind::kInterrupt, .expected_generation = 2}, {.kind = Kind::kBegin}})
                  .ok());
  ASSERT_TRUE(Apply(Entries(task, {{"changed", 2}, {"gone", 1}, {"same", 1}})).ok());
  EXPECT_THAT(Index(), ElementsAre("2:same"));
}

TEST_F(BuildApplierTest, RestartTakesANewGenerationAndLeavesTheOldOne) {
  const IndexTask task = Sorted();
  ASSERT_TRUE(Apply(Entries(task, {{"a", 1}})).ok());
  const TaskChanged restarted =
      *Change(task.id, {{.kind = Kind::kRestart, .expected_generation = task.generation}});
  EXPECT_EQ(restarted.task.generation, 3u);
  EXPECT_EQ(restarted.generations.building, 3u);
  EXPECT_THAT(restarted.generations.retired, ElementsAre(2));
  EXPECT_FALSE(restarted.task.resume.source_done);
}

TEST_F(BuildApplierTest, RetiredEntriesAreDeletedAndThenForgotten) {
  const IndexTask task = Sorted();
  ASSERT_TRUE(Apply(Entries(task, {{"a", 1}, {"b", 1}, {"c", 1}})).ok());
  DeleteEntries remove{.definition = index_, .generation = task.generation};
  remove.entries.Add({.key = Key(task.generation, "a")});
  EXPECT_TRUE(absl::IsAborted(Apply(remove).status())) << "it is building";
  ASSERT_TRUE(Change(task.id, {{.kind = Kind::kCancel, .now = kNoon}}).ok());
  EXPECT_THAT(Apply(remove)->generations.retired, ElementsAre(task.generation));
  EXPECT_THAT(Index(), ElementsAre("2:b", "2:c"));
  remove.entries.Add({.key = Key(task.generation, "b")});
  remove.entries.Add({.key = Key(task.generation, "c")});
  remove.last = true;
  EXPECT_THAT(Apply(remove)->generations.retired, IsEmpty());
  EXPECT_THAT(Index(), IsEmpty());
  EXPECT_TRUE(absl::IsAborted(Apply(remove).status())) << "it is forgotten";
}

TEST_F(BuildApplierTest, DroppedIndexEndsItsBuildAndLosesItsGenerations) {
  index_.complete_at = 1;
  const IndexTask task = Sorted();
  RetireGenerations drop{.definition = index_, .orphans = {9}, .dropped = true, .now = kNoon};
  const storage::GenerationState state = Apply(drop)->generations;
  EXPECT_TRUE(state.dropped);
  EXPECT_THAT(state.retired, ElementsAre(9, 1, task.generation));
  EXPECT_EQ(Tasks()[0].state, TaskState::kSuperseded);
  EXPECT_EQ(Apply(drop)->generations, state) << "once more changes nothing";
  for (const storage::Generation generation : {9, 1, 2}) {
    ASSERT_TRUE(
        Apply(DeleteEntries{.definition = index_, .generation = generation, .last = true}).ok());
  }
  EXPECT_THAT(*storage::ListGenerations(store_.BeginRead()), IsEmpty());
}

TEST_F(BuildApplierTest, OrphanIsRetiredButNotWhatIsKnown) {
  const IndexTask task = Sorted();
  const storage::GenerationState state =
      Apply(RetireGenerations{.definition = index_, .orphans = {task.generation, 1}})->generations;
  EXPECT_EQ(state.building, task.generation);
  EXPECT_THAT(state.retired, ElementsAre(1));
}

TEST_F(BuildApplierTest, HistoryIsBounded) {
  for (int i = 0; i < 30; ++i) {
    ASSERT_TRUE(Change(Create()->task.id, {{.kind = Kind::kCancel, .now = kNoon}}).ok());
  }
  EXPECT_EQ(Tasks().size(), storage::kTasksKept);
  EXPECT_EQ(Tasks().back().id, 30u);
}

TEST_F(BuildApplierTest, UnknownTaskIsNotFound) {
  EXPECT_TRUE(absl::IsNotFound(Change(5, {{.kind = Kind::kCancel}}).status()));
}

TEST(ChangedRecordsTest, HoldsWhatWasNotedAndWhenFullEverything) {
  ChangedRecords records(/*unknown=*/false, /*record_max=*/100);
  EXPECT_TRUE(records.none());
  for (int i = 0; i < 99; ++i) records.Note(absl::StrCat(i));
  EXPECT_TRUE(records.MayHold("42"));
  EXPECT_FALSE(records.MayHold("no"));
  EXPECT_FALSE(records.full());
  records.Note("99");
  EXPECT_TRUE(records.full());
  EXPECT_TRUE(records.MayHold("no"));
  EXPECT_FALSE(records.none());
  EXPECT_TRUE(ChangedRecords(/*unknown=*/true).MayHold("no"));
}

}  // namespace
}  // namespace millrace
