// Index builds on real threads: beside readers and writers, again and again.

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scenarios/test_engine.h"
#include "tests/testing/index_truth.h"
#include "tests/testing/temporary_directory.h"

#include "millrace/actors/engine.h"

namespace millrace::testing {
namespace {

using storage::BuildResult;
using storage::BuildSource;
using storage::Collection;
using storage::IndexDefinition;
using storage::IndexKind;
using storage::IndexQuery;
using storage::RecordRef;
using storage::Snapshot;
using storage::TaskId;
using storage::WriteBatch;

constexpr absl::Duration kPatience = absl::Seconds(60);

class RebuildTest : public ::testing::Test {
 protected:
  void Open() {
    engine_.reset();
    engine_ = OpenEngine(directory_.path(), SmallEngine());
    ASSERT_NE(engine_, nullptr);
    people_ = MakeCollection(*engine_, "people");
  }
  IndexDefined Create(const storage::IndexOptions& options) {
    const absl::StatusOr<IndexDefined> defined = engine_->CreateIndex(people_, options);
    EXPECT_TRUE(defined.ok()) << defined.status();
    return defined.ok() ? *defined : IndexDefined();
  }
  BuildResult Wait(TaskId task) {
    const absl::StatusOr<BuildResult> result = engine_->WaitForBuild(task, kPatience);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *result : BuildResult();
  }
  BuildResult Rebuild(const IndexDefinition& index, BuildSource source = BuildSource::kInstances) {
    const absl::StatusOr<storage::IndexTask> task =
        engine_->ScheduleBuild({.index = index.id, .source = source});
    EXPECT_TRUE(task.ok()) << task.status();
    return task.ok() ? Wait(task->id) : BuildResult();
  }
  // One lookup by each index of what every record has all the time; whether both found it.
  bool FindsWhatIsThere(const IndexDefinition& multi, int64_t number, size_t wanted_count,
                        const IndexDefinition& unique, int64_t person) {
    const absl::StatusOr<Snapshot> snapshot = engine_->TakeSnapshot("hammer");
    size_t found_count = 0;
    const IndexQuery query{.equal = number, .may_scan = false};
    const absl::StatusOr<storage::FoundPage> page =
        snapshot->Find(multi, query, [&](const RecordRef& record) {
          const storage::Document found =
              storage::Document::FromTrustedBytes(std::string(record.document));
          if (std::get<int64_t>(*found.Field("n")) == number) ++found_count;
          return true;
        });
    const absl::StatusOr<storage::Record> owner =
        snapshot->FindUnique(unique, absl::StrCat("u", person));
    return page.ok() && found_count == wanted_count && owner.ok() &&
           owner->id == absl::StrCat("p", person);
  }
  // Until what builds have left behind is deleted.
  void AwaitDeletions(const IndexDefinition& index) {
    const absl::Time deadline = absl::Now() + kPatience;
    while (!engine_->GetIndexStatus(index)->generations.retired.empty()) {
      ASSERT_LT(absl::Now(), deadline);
      MustFlush(*engine_);
    }
  }

  TemporaryDirectory directory_ = TemporaryDirectory::InMemory();
  std::unique_ptr<Engine> engine_;
  Collection people_;
};

TEST_F(RebuildTest, IndexOverRecordsThatAreThereIsBuilt) {
  Open();
  for (int i = 0; i < 1'000; ++i) {
    MustCommit(*engine_, PutNumber(people_, absl::StrCat("p", i), i % 100),
               {.durability = Durability::kNone});
  }
  const IndexDefined defined = Create({.field = "n"});
  EXPECT_FALSE(defined.complete);
  ASSERT_NE(defined.build, 0u);
  EXPECT_EQ(Wait(defined.build).indexed, 1'000u);
  EXPECT_EQ(*engine_->TakeSnapshot()->CountFound(defined.definition, {.may_scan = false}), 1'000u);
  EXPECT_EQ(engine_->GetIndexStatus(defined.definition)->lifecycle, IndexLifecycle::kOnline);
}

TEST_F(RebuildTest, WaitingEndsAtItsDeadlineAndTheBuildGoesOn) {
  Open();
  MustCommit(*engine_, PutNumber(people_, "p", 1));
  const IndexDefined defined = Create({.field = "n"});
  Wait(defined.build);
  const TaskId task = engine_->ScheduleBuild({.index = defined.definition.id})->id;
  const absl::StatusOr<storage::IndexTask> paused = engine_->PauseBuild(task);
  if (paused.ok()) {  // It may be complete already.
    EXPECT_TRUE(
        absl::IsDeadlineExceeded(engine_->WaitForBuild(task, absl::Milliseconds(1)).status()));
    ASSERT_TRUE(engine_->ResumeBuild(task).ok());
  }
  Wait(task);
  EXPECT_TRUE(absl::IsNotFound(engine_->WaitForBuild(task + 1).status()));
}

// I2: whoever asks while a build begins gets it, and it is not begun twice.
TEST_F(RebuildTest, ConcurrentRequestsAreOneBuild) {
  Open();
  MustCommit(*engine_, PutNumber(people_, "p", 1));
  const IndexDefined defined = Create({.field = "n"});
  Wait(defined.build);
  std::array<std::thread, 4> threads;
  for (std::thread& thread : threads) {
    thread = std::thread([&] {
      for (uint64_t round = Scaled(100); round > 0 && !HasFailure(); --round) {
        EXPECT_EQ(Rebuild(defined.definition).indexed, 1u);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// I17, D-FA1: 0 missing, 0 wrong; lookups that may not scan always have a build to answer from.
TEST_F(RebuildTest, ReaderNeverMissesARowWhileGenerationsComeAndGo) {
  constexpr int kRecords = 600;
  constexpr int kValues = 30;
  Open();
  WriteBatch batch;
  for (int i = 0; i < kRecords; ++i) {
    batch.Put(people_, absl::StrCat("p", i),
              *storage::DocumentBuilder()
                   .Set("n", int64_t{i % kValues})
                   .Set("u", absl::StrCat("u", i))
                   .Finish());
  }
  MustCommit(*engine_, std::move(batch));
  const IndexDefined multi = Create({.field = "n"});
  const IndexDefined unique = Create({.field = "u", .kind = IndexKind::kUnique});
  Wait(multi.build);
  Wait(unique.build);

  std::atomic<bool> stop = false;
  std::atomic<uint64_t> lookup_count = 0;
  std::atomic<uint64_t> wrong_count = 0;
  std::vector<std::thread> readers;
  for (int reader = 0; reader < 2; ++reader) {
    readers.emplace_back([&, reader] {
      for (int64_t i = reader; !stop.load(); i += 7) {
        if (!FindsWhatIsThere(multi.definition, i % kValues, kRecords / kValues, unique.definition,
                              i % kRecords)) {
          ++wrong_count;
        }
        ++lookup_count;
      }
    });
  }
  const uint64_t rebuild_count = Scaled(200);
  for (uint64_t i = 0; i < rebuild_count; ++i) {
    EXPECT_EQ(Rebuild(i % 2 == 0 ? multi.definition : unique.definition).indexed,
              uint64_t{kRecords});
  }
  stop.store(true);
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(wrong_count.load(), 0u);
  EXPECT_GT(lookup_count.load(), rebuild_count);
  AwaitDeletions(multi.definition);
  AwaitDeletions(unique.definition);
  engine_.reset();
  EXPECT_EQ(IndexFault(directory_.path(), multi.definition), "");
  EXPECT_EQ(IndexFault(directory_.path(), unique.definition), "");
}

// A thread that changes, adds and deletes records of its own, and remembers them.
class RandomWriter {
 public:
  struct Person {
    int64_t number = 0;
    std::string word;
  };
  using Persons = std::map<std::string, Person>;

  RandomWriter(Engine& engine, const Collection& people, const storage::Relation& staff,
               uint64_t seed, int name)
      : engine_(engine), people_(people), staff_(staff), random_(seed), name_(name) {}

  void Step() {
    WriteBatch batch;
    std::set<std::string> touched;
    for (size_t i = 1 + random_() % 8; i > 0; --i) {
      const std::string id = absl::StrCat(name_, "/", random_() % 300);
      if (!touched.insert(id).second) continue;
      if (random_() % 4 == 0) {
        batch.Delete(people_, id);
        persons_.erase(id);
        continue;
      }
      // No other writer, and none of its own at another time, has the word.
      const Person person{.number = static_cast<int64_t>(random_() % 50),
                          .word = absl::StrCat(id, ".", random_() % 3)};
      batch.Put(people_, id,
                *storage::DocumentBuilder().Set("n", person.number).Set("u", person.word).Finish());
      persons_[id] = person;
      if (random_() % 2 == 0) batch.Link(staff_, absl::StrCat("t", random_() % 3), id);
    }
    const absl::StatusOr<CommitReceipt> receipt =
        engine_.Commit(std::move(batch), {.durability = Durability::kNone}).Wait();
    ASSERT_TRUE(receipt.ok()) << receipt.status();
  }
  const Persons& persons() const { return persons_; }

 private:
  Engine& engine_;
  const Collection people_;
  const storage::Relation staff_;
  std::mt19937_64 random_;
  const int name_;
  Persons persons_;
};

// Lets threads work a while for each turn that begins.
class Turns {
 public:
  void Begin() {
    absl::MutexLock lock(&mutex_);
    ++turn_;
  }
  void End() {
    absl::MutexLock lock(&mutex_);
    ended_ = true;
  }
  // Waits for the turn behind `turn`; false if there is none.
  bool Await(uint64_t turn) {
    const auto reached = [&] {
      mutex_.AssertReaderHeld();
      return ended_ || turn_ > turn;
    };
    absl::MutexLock lock(&mutex_, absl::Condition(&reached));
    return !ended_;
  }

 private:
  absl::Mutex mutex_;
  uint64_t turn_ ABSL_GUARDED_BY(mutex_) = 0;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

class RebuildModelTest : public RebuildTest {
 protected:
  // All of the index, in the snapshot, against all records in the snapshot.
  void CheckIn(const Snapshot& snapshot, const IndexDefinition& index) {
    std::set<std::string> wanted;
    ASSERT_TRUE(snapshot
                    .Scan(people_, {},
                          [&](const RecordRef& record) {
                            wanted.emplace(record.id);
                            return true;
                          })
                    .ok());
    std::set<std::string> found;
    const auto page = snapshot.Find(index, {.may_scan = false}, [&](const RecordRef& record) {
      EXPECT_TRUE(found.emplace(record.id).second) << "twice: " << record.id;
      return true;
    });
    ASSERT_TRUE(page.ok()) << page.status();
    ASSERT_EQ(found, wanted);
  }
};

// I18, I19, I31, D-IR1, D-FA3, D-RB2: what four writers do during 100 rebuilds is in the index
// after each; nothing that they took away comes back. From every source.
TEST_F(RebuildModelTest, IndexIsWhatTheRecordsSayWhateverIsCommittedMeanwhile) {
  constexpr int kWriters = 4;
  const uint64_t seed = Seed();
  Open();
  const Collection teams = MakeCollection(*engine_, "teams");
  for (int i = 0; i < 3; ++i) MustCommit(*engine_, PutNumber(teams, absl::StrCat("t", i), i));
  const storage::Relation staff =
      *engine_->DefineRelation({.name = "staff", .owners = teams, .members = people_});
  std::vector<std::unique_ptr<RandomWriter>> writers;
  for (int i = 0; i < kWriters; ++i) {
    writers.push_back(std::make_unique<RandomWriter>(*engine_, people_, staff, seed + i, i));
    for (int step = 0; step < 50; ++step) writers.back()->Step();
  }
  const std::array<IndexDefined, 3> defined = {Create({.field = "n"}),
                                               Create({.field = "u", .kind = IndexKind::kUnique}),
                                               Create({.field = "n", .scope = "staff"})};
  Turns turns;
  std::vector<std::thread> threads;
  for (const auto& writer : writers) {
    threads.emplace_back([&turns, &writer] {
      for (uint64_t turn = 0; turns.Await(turn) && !HasFatalFailure(); ++turn) {
        for (int step = 0; step < 25; ++step) writer->Step();
      }
    });
  }
  turns.Begin();
  for (const IndexDefined& index : defined) Wait(index.build);
  constexpr std::array kSources = {BuildSource::kInstances, BuildSource::kScan,
                                   BuildSource::kParticipation};
  const uint64_t rebuild_count = Scaled(100);
  for (uint64_t i = 0; i < rebuild_count && !HasFailure(); ++i) {
    const size_t which = i % defined.size();
    const bool scoped = defined[which].definition.scoped();
    turns.Begin();
    Rebuild(defined[which].definition, kSources[(i / 3) % (scoped ? 3 : 2)]);
    const Snapshot snapshot = *engine_->TakeSnapshot("test");
    if (!scoped) CheckIn(snapshot, defined[which].definition);
  }
  turns.End();
  for (std::thread& thread : threads) thread.join();

  const Snapshot snapshot = *engine_->TakeSnapshot("test");
  uint64_t count = 0;
  for (const auto& writer : writers) {
    count += writer->persons().size();
    for (const auto& [id, person] : writer->persons()) {
      const absl::StatusOr<storage::Record> owner =
          snapshot.FindUnique(defined[1].definition, person.word);
      ASSERT_TRUE(owner.ok()) << person.word << " " << owner.status();
      ASSERT_EQ(owner->id, id);
    }
  }
  EXPECT_EQ(*snapshot.CountFound(defined[0].definition, {}), count);
  EXPECT_EQ(*snapshot.CountFound(defined[1].definition, {}), count);
  MustFlush(*engine_);
  for (const IndexDefined& index : defined) AwaitDeletions(index.definition);
  engine_.reset();
  for (const IndexDefined& index : defined) {
    EXPECT_EQ(IndexFault(directory_.path(), index.definition), "") << index.definition.name;
  }
}

// Clients that never pause keep the device, L0 and the flushes busy; builds take their turns all
// the same, through both fences, and the deletions behind them.
TEST_F(RebuildModelTest, BuildsEndHoweverFastClientsCommit) {
  const uint64_t seed = Seed();
  Open();
  const Collection teams = MakeCollection(*engine_, "teams");
  for (int i = 0; i < 3; ++i) MustCommit(*engine_, PutNumber(teams, absl::StrCat("t", i), i));
  const storage::Relation staff =
      *engine_->DefineRelation({.name = "staff", .owners = teams, .members = people_});
  std::array<std::unique_ptr<RandomWriter>, 4> writers;
  std::array<std::thread, 4> threads;
  std::atomic<bool> stop = false;
  for (size_t i = 0; i < writers.size(); ++i) {
    writers[i] =
        std::make_unique<RandomWriter>(*engine_, people_, staff, seed + i, static_cast<int>(i));
    threads[i] = std::thread([&stop, &writer = *writers[i]] {
      while (!stop && !HasFatalFailure()) writer.Step();
    });
  }
  const std::array<IndexDefined, 2> defined = {Create({.field = "n"}),
                                               Create({.field = "u", .kind = IndexKind::kUnique})};
  for (const IndexDefined& index : defined) {
    if (!index.complete) Wait(index.build);
  }
  for (uint64_t i = 0; i < Scaled(10) && !HasFailure(); ++i) Rebuild(defined[i % 2].definition);
  stop = true;
  for (std::thread& thread : threads) thread.join();
  for (const IndexDefined& index : defined) AwaitDeletions(index.definition);
  engine_.reset();
  for (const IndexDefined& index : defined) {
    EXPECT_EQ(IndexFault(directory_.path(), index.definition), "") << index.definition.name;
  }
}

}  // namespace
}  // namespace millrace::testing
