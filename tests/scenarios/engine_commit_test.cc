// The public contract of commits: order, visibility, refusals, outcomes.

#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scenarios/test_engine.h"
#include "tests/testing/temporary_directory.h"

#include "millrace/actors/engine.h"

namespace millrace {
namespace {

using storage::Collection;
using storage::Precondition;
using storage::Version;
using storage::WriteBatch;
using ::testing::HasSubstr;
using testing::MustCommit;
using testing::Number;
using testing::NumberOf;
using testing::PutNumber;

class EngineCommitTest : public ::testing::Test {
 protected:
  void SetUp() override { Open(testing::SmallEngine()); }
  void Open(const EngineOptions& options) {
    engine_.reset();
    engine_ = testing::OpenEngine(directory_.path(), options);
    ASSERT_NE(engine_, nullptr);
    people_ = testing::MakeCollection(*engine_, "people");
  }
  absl::Status CommitStatus(WriteBatch batch) {
    return engine_->Commit(std::move(batch)).Wait().status();
  }

  testing::TemporaryDirectory directory_;
  std::unique_ptr<Engine> engine_;
  Collection people_;
};

TEST_F(EngineCommitTest, VersionsRiseStrictlyPerThreadAndAreDenseOverAll) {
  constexpr int kThreadCount = 8;
  const int commit_count = static_cast<int>(testing::Scaled(1000));
  std::vector<std::vector<Version>> versions(kThreadCount);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreadCount; ++t) {
    threads.emplace_back([&, t] {
      std::vector<Pending<CommitReceipt>> pending;
      for (int i = 0; i < commit_count; ++i) {
        pending.push_back(engine_->Commit(PutNumber(people_, absl::StrCat(t, "/", i), i)));
      }
      for (Pending<CommitReceipt>& one : pending) {
        const absl::StatusOr<CommitReceipt> receipt = one.Wait();
        ASSERT_TRUE(receipt.ok()) << receipt.status();
        versions[t].push_back(receipt->version);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<Version> all;
  for (const std::vector<Version>& mine : versions) {
    ASSERT_TRUE(std::adjacent_find(mine.begin(), mine.end(), std::greater_equal<>()) == mine.end());
    all.insert(all.end(), mine.begin(), mine.end());
  }
  std::sort(all.begin(), all.end());
  ASSERT_EQ(all.size(), size_t{kThreadCount} * commit_count);
  for (size_t i = 0; i < all.size(); ++i) ASSERT_EQ(all[i], i + 2);  // 1 is the collection.
}

TEST_F(EngineCommitTest, AnsweredCommitIsVisibleAtOnce) {
  const int count = static_cast<int>(testing::Scaled(1000));
  for (int i = 0; i < count; ++i) {
    CommitOptions options;
    options.durability = static_cast<Durability>(i % 3);
    const Version version = MustCommit(*engine_, PutNumber(people_, "ada", i), options);
    const absl::StatusOr<storage::Snapshot> snapshot = engine_->TakeSnapshot("test");
    ASSERT_TRUE(snapshot.ok()) << snapshot.status();
    ASSERT_GE(snapshot->version(), version);
    ASSERT_EQ(NumberOf(*snapshot, people_, "ada"), i);
  }
}

TEST_F(EngineCommitTest, RefusedBatchesLeaveTheirNeighboursAlone) {
  MustCommit(*engine_, PutNumber(people_, "taken", 0));
  constexpr int kCount = 600;
  std::vector<Pending<CommitReceipt>> pending;
  for (int i = 0; i < kCount; ++i) {
    WriteBatch batch = PutNumber(people_, absl::StrCat("id", i), i);
    if (i % 3 == 1) batch.Put(people_, "taken", Number(i), Precondition::Absent());
    if (i % 3 == 2) batch.Put(Collection{.id = 99, .name = "nowhere"}, "x", Number(i));
    pending.push_back(engine_->Commit(std::move(batch)));
  }
  Version last = 2;
  for (int i = 0; i < kCount; ++i) {
    const absl::StatusOr<CommitReceipt> receipt = pending[i].Wait();
    if (i % 3 == 0) {
      ASSERT_TRUE(receipt.ok()) << receipt.status();
      ASSERT_EQ(receipt->version, ++last);
    } else {
      ASSERT_EQ(receipt.status().code(),
                i % 3 == 1 ? absl::StatusCode::kFailedPrecondition : absl::StatusCode::kNotFound);
      ASSERT_EQ(GetOutcome(receipt.status()), Outcome::kNotExecuted);
    }
    ASSERT_EQ(NumberOf(*engine_, people_, absl::StrCat("id", i)), i % 3 == 0 ? i : -1);
  }
  EXPECT_EQ(NumberOf(*engine_, people_, "taken"), 0);
}

TEST_F(EngineCommitTest, BatchSeesThoseHandedOverBeforeIt) {
  std::vector<Pending<CommitReceipt>> pending;
  const auto commit = [&](WriteBatch batch) {
    pending.push_back(engine_->Commit(std::move(batch)));
  };
  WriteBatch merge;
  merge.Merge(people_, "ada", testing::Json(R"({"born": 1815})"), Precondition::AtVersion(2));
  WriteBatch forget;
  forget.Delete(people_, "ada", Precondition::AtVersion(3));
  WriteBatch require;
  require.Require(people_, "ada", Precondition::AtVersion(3));
  commit(PutNumber(people_, "ada", 1, Precondition::Absent()));
  commit(PutNumber(people_, "ada", 2, Precondition::Absent()));
  commit(merge);
  commit(require);
  commit(forget);
  commit(forget);
  commit(PutNumber(people_, "ada", 3, Precondition::Absent()));
  std::vector<absl::StatusOr<CommitReceipt>> answers;
  for (Pending<CommitReceipt>& one : pending) answers.push_back(one.Wait());
  ASSERT_TRUE(answers[0].ok()) << answers[0].status();
  EXPECT_EQ(answers[0]->version, 2u);
  EXPECT_THAT(answers[1].status().ToString(),
              HasSubstr("record 'ada' was to be absent but exists at version 2"));
  ASSERT_TRUE(answers[2].ok()) << answers[2].status();
  EXPECT_EQ(answers[2]->version, 3u);
  ASSERT_TRUE(answers[3].ok()) << answers[3].status();
  ASSERT_TRUE(answers[4].ok()) << answers[4].status();
  EXPECT_THAT(answers[5].status().ToString(),
              HasSubstr("record 'ada' was to be at version 3 but does not exist"));
  ASSERT_TRUE(answers[6].ok()) << answers[6].status();
  EXPECT_EQ(NumberOf(*engine_, people_, "ada"), 3);
}

TEST_F(EngineCommitTest, PreconditionsNameRecordAndVersionsWhereverTheRowIs) {
  MustCommit(*engine_, PutNumber(people_, "grace", 1));
  for (const bool flushed : {false, true}) {
    if (flushed) testing::MustFlush(*engine_);
    const absl::Status wrong =
        CommitStatus(PutNumber(people_, "grace", 2, Precondition::AtVersion(77)));
    EXPECT_EQ(wrong.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(wrong.ToString(),
                HasSubstr("record 'grace' was to be at version 77 but is at version 2"));
    const absl::Status present =
        CommitStatus(PutNumber(people_, "grace", 2, Precondition::Absent()));
    EXPECT_THAT(present.ToString(), HasSubstr("was to be absent but exists at version 2"));
  }
}

TEST_F(EngineCommitTest, PreconditionMayNameARecordThatIsNotWritten) {
  const Version version = MustCommit(*engine_, PutNumber(people_, "ada", 1));
  WriteBatch good = PutNumber(people_, "grace", 2);
  good.Require(people_, "ada", Precondition::AtVersion(version));
  good.Require(people_, "nobody", Precondition::Absent());
  MustCommit(*engine_, good);
  MustCommit(*engine_, PutNumber(people_, "ada", 5));
  good.Put(people_, "grace", Number(9));
  EXPECT_EQ(CommitStatus(good).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(NumberOf(*engine_, people_, "grace"), 2);
}

TEST_F(EngineCommitTest, BatchOfPreconditionsAloneIsACommit) {
  WriteBatch batch;
  batch.Require(people_, "nobody", Precondition::Absent());
  const Version version = MustCommit(*engine_, batch);
  EXPECT_EQ(version, 2u);
  EXPECT_GE(testing::MustFlush(*engine_).version, version);
  Open(testing::SmallEngine());
  EXPECT_EQ(MustCommit(*engine_, PutNumber(people_, "ada", 1)), version + 1);
}

TEST_F(EngineCommitTest, LastOperationOnARecordWins) {
  WriteBatch batch;
  batch.Put(people_, "ada", Number(1)).Delete(people_, "ada").Put(people_, "ada", Number(3));
  batch.Put(people_, "grace", Number(1)).Delete(people_, "grace");
  MustCommit(*engine_, batch);
  EXPECT_EQ(NumberOf(*engine_, people_, "ada"), 3);
  EXPECT_EQ(NumberOf(*engine_, people_, "grace"), -1);
  EXPECT_EQ(*engine_->TakeSnapshot()->Count(people_), 1u);
}

TEST_F(EngineCommitTest, BadBatchesAreRefusedWithATypedError) {
  WriteBatch too_many;
  for (size_t i = 0; i <= WriteBatch::kOperationCountMax; ++i) {
    too_many.Delete(people_, absl::StrCat(i));
  }
  WriteBatch too_large;
  const storage::Document large =
      *storage::DocumentBuilder().Set("text", std::string(900'000, 'x')).Finish();
  for (int i = 0; i < 20; ++i) too_large.Put(people_, absl::StrCat(i), large);
  struct Case {
    const char* name;
    WriteBatch batch;
    absl::StatusCode code;
    const char* text;
  };
  const auto put = [&](std::string_view id) { return PutNumber(people_, id, 1); };
  const std::vector<Case> cases = {
      {"empty batch", WriteBatch(), absl::StatusCode::kInvalidArgument, "empty"},
      {"empty id", put(""), absl::StatusCode::kInvalidArgument, "id"},
      {"long id", put(std::string(256, 'x')), absl::StatusCode::kInvalidArgument, "255"},
      {"not UTF-8", put("a\xff"), absl::StatusCode::kInvalidArgument, "UTF-8"},
      {"collection never opened", PutNumber(Collection(), "x", 1),
       absl::StatusCode::kInvalidArgument, "never opened"},
      {"unknown collection", PutNumber(Collection{.id = 77, .name = "?"}, "x", 1),
       absl::StatusCode::kNotFound, "77"},
      {"too many operations", too_many, absl::StatusCode::kInvalidArgument, "100000"},
      {"too many bytes", too_large, absl::StatusCode::kInvalidArgument, "split"},
  };
  const Version before = engine_->GetStatus().published_version;
  for (const Case& one : cases) {
    SCOPED_TRACE(one.name);
    const absl::Status status = CommitStatus(one.batch);
    EXPECT_EQ(status.code(), one.code) << status;
    EXPECT_THAT(status.ToString(), HasSubstr(one.text));
    EXPECT_EQ(GetOutcome(status), Outcome::kNotExecuted);
  }
  EXPECT_EQ(engine_->GetStatus().published_version, before);
  MustCommit(*engine_, put(std::string(255, 'x')));
}

TEST_F(EngineCommitTest, MergeThatGrowsTooLargeIsRefused) {
  const std::string half(600'000, 'x');
  WriteBatch first;
  first.Put(people_, "ada", *storage::DocumentBuilder().Set("a", half).Finish());
  MustCommit(*engine_, first);
  WriteBatch second;
  second.Merge(people_, "ada", *storage::DocumentBuilder().Set("b", half).Finish());
  const absl::Status status = CommitStatus(second);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(status.ToString(), HasSubstr("'ada'"));
  EXPECT_EQ(GetOutcome(status), Outcome::kNotExecuted);
}

TEST_F(EngineCommitTest, OutcomeOfATokenSaysWhatBecameOfTheCommit) {
  CommitOptions options;
  options.token = engine_->NewToken();
  const Version version = MustCommit(*engine_, PutNumber(people_, "ada", 1), options);
  CommitOptions refused;
  refused.token = engine_->NewToken();
  EXPECT_FALSE(
      engine_->Commit(PutNumber(people_, "ada", 1, Precondition::Absent()), refused).Wait().ok());
  const CommitToken unknown{.epoch = 1'000'000, .number = 5};
  const auto expect = [&](CommitToken token, CommitOutcome::State state, Version want) {
    const absl::StatusOr<CommitOutcome> outcome = engine_->GetOutcome(token);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_EQ(outcome->state, state);
    EXPECT_EQ(outcome->version, want);
  };
  // In L0, in LMDB, after a reopen.
  for (int where = 0; where < 3; ++where) {
    SCOPED_TRACE(where);
    if (where == 1) testing::MustFlush(*engine_);
    if (where == 2) Open(testing::SmallEngine());
    expect(options.token, CommitOutcome::State::kCommitted, version);
    expect(refused.token, CommitOutcome::State::kAborted, 0);
    expect(unknown, CommitOutcome::State::kAborted, 0);
  }
}

TEST_F(EngineCommitTest, TokenWhoseOutcomeWasAbortedCanNoLongerCommit) {
  CommitOptions options;
  options.token = engine_->NewToken();
  const absl::StatusOr<CommitOutcome> outcome = engine_->GetOutcome(options.token);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->state, CommitOutcome::State::kAborted);
  const absl::Status status =
      engine_->Commit(PutNumber(people_, "late", 1), options).Wait().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << status;
  EXPECT_EQ(GetOutcome(status), Outcome::kNotExecuted);
  EXPECT_EQ(NumberOf(*engine_, people_, "late"), -1);
}

TEST_F(EngineCommitTest, TokensOfTwoLivesDiffer) {
  const CommitToken first = engine_->NewToken();
  EXPECT_NE(first, engine_->NewToken());
  Open(testing::SmallEngine());
  EXPECT_LT(first, engine_->NewToken());
}

TEST_F(EngineCommitTest, FlushReceiptNamesManifestAndVersion) {
  const Version version = MustCommit(*engine_, PutNumber(people_, "ada", 1));
  const FlushReceipt first = testing::MustFlush(*engine_);
  EXPECT_GE(first.version, version);
  EXPECT_GE(first.manifest, 1u);
  const FlushReceipt again = testing::MustFlush(*engine_);
  EXPECT_EQ(again.manifest, first.manifest);
  EXPECT_EQ(again.version, first.version);
  MustCommit(*engine_, PutNumber(people_, "ada", 2));
  const FlushReceipt second = testing::MustFlush(*engine_);
  EXPECT_GT(second.manifest, first.manifest);
  EXPECT_EQ(second.version, version + 1);
  EXPECT_EQ(engine_->GetStatus().flushed_version, version + 1);
  EXPECT_EQ(engine_->GetStatus().manifest, second.manifest);
}

TEST_F(EngineCommitTest, QuotaReachedRefusesPutsAndDeletesEmptyTheStore) {
  EngineOptions options = testing::SmallEngine();
  options.quota_bytes = uint64_t{24} << 20;
  Open(options);
  const std::string text(30'000, 'x');
  absl::Status full;
  int put_count = 0;
  for (; put_count < 2'000 && full.ok(); ++put_count) {
    WriteBatch batch;
    batch.Put(people_, absl::StrCat("r", put_count),
              *storage::DocumentBuilder().Set("t", text).Finish());
    full = CommitStatus(batch);
    if (!full.ok()) break;
  }
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted) << full;
  EXPECT_THAT(full.ToString(), HasSubstr("quota"));
  EXPECT_EQ(GetOutcome(full), Outcome::kNotExecuted);
  ASSERT_GT(put_count, 100);
  EXPECT_EQ(*engine_->TakeSnapshot()->Count(people_), static_cast<uint64_t>(put_count));
  for (int i = 0; i < put_count; ++i) {
    WriteBatch batch;
    batch.Delete(people_, absl::StrCat("r", i));
    ASSERT_TRUE(CommitStatus(batch).ok());
  }
  testing::MustFlush(*engine_);
  EXPECT_EQ(*engine_->TakeSnapshot()->Count(people_), 0u);
  MustCommit(*engine_, PutNumber(people_, "again", 1));
}

// Clients that all wait for room in L0 must be let in when a flush has made some.
TEST_F(EngineCommitTest, CommitsGoOnWhenAFlushHasMadeRoom) {
  EngineOptions options = testing::SmallEngine();
  options.rotate_bytes = uint64_t{64} << 10;
  options.l0_soft_bytes_max = uint64_t{200} << 10;
  options.l0_hard_bytes_max = uint64_t{400} << 10;
  options.commit_timeout = absl::Seconds(20);
  Open(options);
  const std::string text(100'000, 'x');
  const int commit_count = static_cast<int>(testing::Scaled(40));
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < commit_count; ++i) {
        WriteBatch batch;
        batch.Put(people_, absl::StrCat(t, "/", i),
                  *storage::DocumentBuilder().Set("t", text).Finish());
        const absl::Status status = CommitStatus(batch);
        ASSERT_TRUE(status.ok()) << status;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace millrace
