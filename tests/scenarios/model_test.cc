// The engine against std::map: what a store should hold after random commits, flushes and reopens
// is worked out beside it, versions and refusals included.

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/scenarios/test_engine.h"
#include "tests/testing/io_shim.h"
#include "tests/testing/sound_store.h"
#include "tests/testing/temporary_directory.h"

#include "millrace/actors/engine.h"

namespace millrace {
namespace {

using storage::Document;
using storage::Precondition;
using storage::Snapshot;
using storage::Version;

constexpr size_t kCollectionCount = 2;
constexpr size_t kInFlightMax = 64;
constexpr size_t kSavedSnapshotsMax = 4;

using Fields = std::map<std::string, std::string>;
struct ModelRecord {
  Version version = 0;
  Fields fields;
};
using Table = std::map<std::string, ModelRecord>;
using Tables = std::array<Table, kCollectionCount>;

struct ModelOperation {
  storage::OperationKind kind = storage::OperationKind::kPut;
  size_t collection = 0;
  std::string id;
  Fields fields;
  Precondition precondition;
};

Document DocumentOf(const Fields& fields) {
  storage::DocumentBuilder builder;
  for (const auto& [name, value] : fields) builder.Set(name, value);
  return *builder.Finish();
}

bool Holds(const Precondition& precondition, const Table& table, const std::string& id) {
  const auto record = table.find(id);
  switch (precondition.kind) {
    case Precondition::Kind::kNone:
      return true;
    case Precondition::Kind::kAbsent:
      return record == table.end();
    case Precondition::Kind::kVersion:
      return record != table.end() && record->second.version == precondition.version;
  }
  return false;
}

// What the batch makes of the tables, as version `version`; false, and no change, if it must be
// refused. Of several writes to a record the last one wins; it works on the state before the batch.
bool ApplyToModel(const std::vector<ModelOperation>& batch, Version version, Tables& tables) {
  for (const ModelOperation& operation : batch) {
    if (!Holds(operation.precondition, tables[operation.collection], operation.id)) return false;
  }
  std::set<std::pair<size_t, std::string>> written;
  for (auto operation = batch.rbegin(); operation != batch.rend(); ++operation) {
    if (operation->kind == storage::OperationKind::kRequire) continue;
    if (!written.emplace(operation->collection, operation->id).second) continue;
    Table& table = tables[operation->collection];
    if (operation->kind == storage::OperationKind::kDelete) {
      table.erase(operation->id);
      continue;
    }
    ModelRecord& record = table[operation->id];
    record.version = version;
    if (operation->kind == storage::OperationKind::kPut) record.fields.clear();
    for (const auto& [name, value] : operation->fields) record.fields[name] = value;
  }
  return true;
}

class ModelTest : public ::testing::Test {
 protected:
  void Open() {
    engine_ = testing::OpenEngine(directory_.path(), options_);
    ASSERT_NE(engine_, nullptr);
    for (size_t i = 0; i < kCollectionCount; ++i) {
      const bool is_new = collections_[i].id == 0;
      collections_[i] = testing::MakeCollection(*engine_, absl::StrCat("collection-", i));
      if (is_new) ++last_version_;
    }
  }

  size_t Random(size_t below) {
    return std::uniform_int_distribution<size_t>(0, below - 1)(random_);
  }
  bool OneIn(size_t count) { return Random(count) == 0; }

  std::string RandomId() {
    // Few enough that records are hit again, in three groups for the prefix scans.
    return absl::StrCat(std::string(1, static_cast<char>('a' + Random(3))), "/", Random(600));
  }
  Fields RandomFields() {
    static constexpr std::array<const char*, 4> kNames = {"alpha", "beta", "gamma", "delta"};
    Fields fields;
    for (size_t i = Random(4); i > 0; --i) {
      fields[kNames[Random(kNames.size())]] =
          std::string(OneIn(50) ? Random(4000) : Random(40), static_cast<char>('a' + Random(26)));
    }
    return fields;
  }
  // Mostly one that holds.
  Precondition RandomPrecondition(size_t collection, const std::string& id) {
    const Table& table = tables_[collection];
    const auto record = table.find(id);
    if (OneIn(20)) return Precondition::AtVersion(Random(last_version_ + 1));
    if (OneIn(20)) return Precondition::Absent();
    return record == table.end() ? Precondition::Absent()
                                 : Precondition::AtVersion(record->second.version);
  }
  std::vector<ModelOperation> RandomBatch() {
    std::vector<ModelOperation> batch;
    const size_t count = OneIn(3) ? 1 + Random(12) : 1;
    for (size_t i = 0; i < count; ++i) {
      ModelOperation operation{.collection = Random(kCollectionCount), .id = RandomId()};
      if (i > 0 && OneIn(4)) {
        operation.collection = batch.back().collection;
        operation.id = batch.back().id;
      }
      const size_t kind = Random(10);
      operation.kind = kind < 5   ? storage::OperationKind::kPut
                       : kind < 7 ? storage::OperationKind::kMerge
                       : kind < 9 ? storage::OperationKind::kDelete
                                  : storage::OperationKind::kRequire;
      if (kind < 7) operation.fields = RandomFields();
      if (operation.kind == storage::OperationKind::kRequire || OneIn(3)) {
        operation.precondition = RandomPrecondition(operation.collection, operation.id);
      }
      batch.push_back(std::move(operation));
    }
    return batch;
  }

  storage::WriteBatch BatchOf(const std::vector<ModelOperation>& operations) const {
    storage::WriteBatch batch;
    for (const ModelOperation& operation : operations) {
      const storage::Collection& collection = collections_[operation.collection];
      switch (operation.kind) {
        case storage::OperationKind::kPut:
          batch.Put(collection, operation.id, DocumentOf(operation.fields), operation.precondition);
          break;
        case storage::OperationKind::kMerge:
          batch.Merge(collection, operation.id, DocumentOf(operation.fields),
                      operation.precondition);
          break;
        case storage::OperationKind::kDelete:
          batch.Delete(collection, operation.id, operation.precondition);
          break;
        case storage::OperationKind::kRequire:
          batch.Require(collection, operation.id, operation.precondition);
          break;
        case storage::OperationKind::kLink:
        case storage::OperationKind::kUnlink:
          break;  // Links have a model of their own.
      }
    }
    return batch;
  }

  // Hands a batch over without waiting; the model says at once what the answer will be.
  void CommitRandomBatch() {
    const std::vector<ModelOperation> batch = RandomBatch();
    operation_count_ += batch.size();
    CommitOptions options;
    options.durability = static_cast<Durability>(OneIn(10) ? 0 : Random(3));
    Pending<CommitReceipt> pending = engine_->Commit(BatchOf(batch), options);
    std::optional<Version> want;
    if (ApplyToModel(batch, last_version_ + 1, tables_)) want = ++last_version_;
    in_flight_.push_back({std::move(pending), want});
    if (in_flight_.size() > kInFlightMax) Await(kInFlightMax / 2);
  }

  // Until at most `left` commits wait for their answer.
  void Await(size_t left) {
    while (in_flight_.size() > left) {
      InFlight commit = std::move(in_flight_.front());
      in_flight_.pop_front();
      const absl::StatusOr<CommitReceipt> receipt = commit.pending.Wait(absl::Minutes(2));
      if (commit.version.has_value()) {
        ASSERT_TRUE(receipt.ok()) << receipt.status();
        ASSERT_EQ(receipt->version, *commit.version);
      } else {
        ASSERT_EQ(receipt.status().code(), absl::StatusCode::kFailedPrecondition)
            << receipt.status();
        ASSERT_EQ(GetOutcome(receipt.status()), Outcome::kNotExecuted);
        ++refused_count_;
      }
    }
  }

  void CheckRange(const Snapshot& snapshot, size_t collection, const Table& table,
                  const storage::ScanRange& range) {
    auto want = table.begin();
    const auto skip = [&] {
      while (want != table.end() &&
             (!want->first.starts_with(range.prefix) || want->first < range.from ||
              (!range.to.empty() && want->first >= range.to))) {
        ++want;
      }
    };
    skip();
    bool equal = true;
    const absl::Status status =
        snapshot.Scan(collections_[collection], range, [&](const storage::RecordRef& record) {
          equal = want != table.end() && record.id == want->first &&
                  record.version == want->second.version &&
                  record.document == DocumentOf(want->second.fields).bytes();
          if (!equal) {
            ADD_FAILURE() << "found " << record.id << " at version " << record.version << ", want "
                          << (want == table.end() ? "the end" : want->first) << " at version "
                          << (want == table.end() ? 0 : want->second.version);
            return false;
          }
          ++want;
          skip();
          return true;
        });
    ASSERT_TRUE(status.ok()) << status;
    ASSERT_TRUE(equal);
    ASSERT_EQ(want, table.end()) << "missing: " << want->first;
  }

  void Check(const Snapshot& snapshot, const Tables& tables) {
    for (size_t i = 0; i < kCollectionCount; ++i) {
      const Table& table = tables[i];
      const absl::StatusOr<uint64_t> count = snapshot.Count(collections_[i]);
      ASSERT_TRUE(count.ok()) << count.status();
      ASSERT_EQ(*count, table.size());
      ASSERT_NO_FATAL_FAILURE(CheckRange(snapshot, i, table, {}));
      const std::string prefix = RandomId().substr(0, 1 + Random(4));
      std::string from = RandomId();
      std::string to = RandomId();
      ASSERT_NO_FATAL_FAILURE(CheckRange(snapshot, i, table, {.prefix = prefix}));
      ASSERT_NO_FATAL_FAILURE(CheckRange(snapshot, i, table, {.from = from, .to = to}));
      ASSERT_NO_FATAL_FAILURE(CheckRange(snapshot, i, table, {.prefix = prefix, .from = from}));
      for (int get = 0; get < 20; ++get) {
        const std::string id = RandomId();
        const absl::StatusOr<storage::Record> record = snapshot.Get(collections_[i], id);
        const auto want = table.find(id);
        if (want == table.end()) {
          ASSERT_EQ(record.status().code(), absl::StatusCode::kNotFound) << record.status();
          continue;
        }
        ASSERT_TRUE(record.ok()) << record.status();
        ASSERT_EQ(record->version, want->second.version);
        ASSERT_EQ(record->document, DocumentOf(want->second.fields));
      }
    }
  }

  void CheckNow() {
    ASSERT_NO_FATAL_FAILURE(Await(0));
    absl::StatusOr<Snapshot> snapshot = engine_->TakeSnapshot("model");
    ASSERT_TRUE(snapshot.ok()) << snapshot.status();
    ASSERT_EQ(snapshot->version(), last_version_);
    ASSERT_NO_FATAL_FAILURE(Check(*snapshot, tables_));
    if (saved_.size() == kSavedSnapshotsMax) saved_.erase(saved_.begin() + Random(saved_.size()));
    saved_.push_back({*std::move(snapshot), tables_});
  }

  void CheckSaved() {
    if (saved_.empty()) return;
    const Saved& saved = saved_[Random(saved_.size())];
    ASSERT_NO_FATAL_FAILURE(Check(saved.snapshot, saved.tables));
  }

  void Reopen() {
    ASSERT_NO_FATAL_FAILURE(Await(0));
    const ShutdownReport report = engine_->Shutdown();
    ASSERT_TRUE(report.Balanced()) << report.ToString();
    ASSERT_TRUE(report.within_deadline) << report.ToString();
    for (const Saved& saved : saved_) {
      ASSERT_EQ(saved.snapshot.Get(collections_[0], "a").status().code(),
                absl::StatusCode::kCancelled);
    }
    flush_count_ += engine_->GetStatus().manifest - manifest_at_open_;
    manifest_at_open_ = engine_->GetStatus().manifest;
    engine_.reset();
    saved_.clear();
    ASSERT_NO_FATAL_FAILURE(testing::ExpectSound(directory_.path()));
    ASSERT_NO_FATAL_FAILURE(Open());
    ASSERT_NO_FATAL_FAILURE(CheckNow());
  }

  // Everything a client may do, until `wanted` operations were committed. `before_flush` may make
  // flushes fail; `check_flush` looks at what a ticket says.
  void Run(uint64_t wanted, absl::FunctionRef<void()> before_flush,
           absl::FunctionRef<void(const absl::Status&)> check_flush) {
    ASSERT_NO_FATAL_FAILURE(Open());
    while (operation_count_ < wanted) {
      CommitRandomBatch();
      if (OneIn(200)) {
        ASSERT_NO_FATAL_FAILURE(CheckNow());
      }
      if (OneIn(200)) {
        ASSERT_NO_FATAL_FAILURE(CheckSaved());
      }
      if (OneIn(2'000)) {
        ASSERT_NO_FATAL_FAILURE(FlushBehindCommits(before_flush, check_flush));
      }
      if (OneIn(2'000)) {
        ASSERT_NO_FATAL_FAILURE(Reopen());
      }
      if (HasFatalFailure()) return;
    }
    ASSERT_NO_FATAL_FAILURE(CheckSaved());
    ASSERT_NO_FATAL_FAILURE(Reopen());
  }

  // The receipt comes later; commits go on.
  void FlushBehindCommits(absl::FunctionRef<void()> before_flush,
                          absl::FunctionRef<void(const absl::Status&)> check_flush) {
    before_flush();
    FlushTicket flush = engine_->Flush();
    const Version so_far = last_version_;
    for (int i = 0; i < 20; ++i) CommitRandomBatch();
    const absl::StatusOr<FlushReceipt> receipt = flush.Wait(absl::Minutes(2));
    check_flush(receipt.status());
    if (receipt.ok()) {
      ASSERT_GE(receipt->version, so_far);
    }
  }

  struct InFlight {
    Pending<CommitReceipt> pending;
    std::optional<Version> version;  // None: to be refused.
  };
  struct Saved {
    Snapshot snapshot;
    Tables tables;
  };

  EngineOptions options_ = testing::SmallEngine();
  std::mt19937_64 random_;
  testing::TemporaryDirectory directory_;
  std::unique_ptr<Engine> engine_;
  std::array<storage::Collection, kCollectionCount> collections_;
  Tables tables_;
  Version last_version_ = 0;
  std::deque<InFlight> in_flight_;
  std::vector<Saved> saved_;
  uint64_t operation_count_ = 0;
  uint64_t refused_count_ = 0;
  uint64_t flush_count_ = 0;
  uint64_t manifest_at_open_ = 0;
};

TEST_F(ModelTest, EngineHoldsWhatAMapWouldHold) {
  random_.seed(testing::Seed());
  const uint64_t wanted = testing::Scaled(100'000);
  ASSERT_NO_FATAL_FAILURE(Run(
      wanted, [] {}, [](const absl::Status& flushed) { EXPECT_TRUE(flushed.ok()) << flushed; }));
  // The test tested something: refusals, flushes, more than one file's worth of log.
  EXPECT_GT(refused_count_, wanted / 1000);
  EXPECT_GT(flush_count_, wanted / 2000);
}

// Up to four flushes in flight, LMDB's disk full now and then, engines that degrade and recover:
// no client notices but by his tickets.
TEST_F(ModelTest, EngineHoldsItWhileFlushesOverlapAndFail) {
  if (testing::RanWithIoShim()) return;
  random_.seed(testing::Seed());
  const uint64_t wanted = testing::Scaled(60'000);
  options_.rotate_rows = 100;
  options_.flush_retries_max = 1;
  uint64_t degraded_count = 0;
  const auto make_trouble = [&] {
    options_.pending_flushes_max = 1 + static_cast<uint32_t>(Random(4));  // At the next open.
    std::string rules;
    for (size_t times = Random(6); times > 0; --times) {
      absl::StrAppend(&rules, OneIn(2) ? "pwrite" : "writev",
                      " path=store.mdb from=8192 nth=", 1 + Random(9), " errno=28;");
    }
    testing::SetIoFaults(rules.c_str());
  };
  const auto check = [&](const absl::Status& flushed) {
    EXPECT_TRUE(flushed.ok() || IsDegraded(flushed)) << flushed;
    if (OneIn(2)) testing::SetIoFaults("");
    if (flushed.ok()) return;
    ++degraded_count;
    testing::SetIoFaults("");
    const absl::StatusOr<FlushReceipt> resumed = engine_->Resume();
    EXPECT_TRUE(resumed.ok()) << resumed.status();
  };
  ASSERT_NO_FATAL_FAILURE(Run(wanted, make_trouble, check));
  EXPECT_GT(flush_count_, wanted / 2000);
  std::cout << "degraded " << degraded_count << " times" << std::endl;
}

}  // namespace
}  // namespace millrace
