// The flush pipeline of an engine on real threads: what the ancestors' own tests ask for, and the
// waits of clients.

#include <array>
#include <atomic>
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
using testing::MakeCollection;
using testing::MustCommit;
using testing::MustFlush;
using testing::OpenEngine;
using testing::PutNumber;
using testing::TemporaryDirectory;

class FlushTest : public ::testing::Test {
 protected:
  void Open(const EngineOptions& options) {
    engine_.reset();
    engine_ = OpenEngine(directory_.path(), options);
    ASSERT_NE(engine_, nullptr);
    collection_ = MakeCollection(*engine_, "c");
  }
  storage::WriteBatch Rows(int begin, int count) const {
    storage::WriteBatch batch;
    for (int i = begin; i < begin + count; ++i) {
      batch.Put(collection_, absl::StrCat(i), testing::Number(i));
    }
    return batch;
  }
  void ExpectRows(int count) {
    const absl::StatusOr<storage::Snapshot> snapshot = engine_->TakeSnapshot("test");
    ASSERT_TRUE(snapshot.ok()) << snapshot.status();
    EXPECT_EQ(*snapshot->Count(collection_), static_cast<uint64_t>(count));
    for (int i = 0; i < count; ++i) {
      ASSERT_EQ(testing::NumberOf(*snapshot, collection_, absl::StrCat(i)), i);
    }
  }

  const TemporaryDirectory directory_ = TemporaryDirectory::InMemory();
  std::unique_ptr<Engine> engine_;
  Collection collection_;
};

// 200 transactions of 50 rows, rotated every 1,000: all rows are there, whatever is in flight.
TEST_F(FlushTest, AllRowsAreVisibleWithAnyNumberOfFlushesInFlight) {
  for (const uint32_t pending_flushes_max : {1, 2, 4}) {
    SCOPED_TRACE(pending_flushes_max);
    EngineOptions options = testing::QuietEngine();
    options.rotate_rows = 1'000;
    options.pending_flushes_max = pending_flushes_max;
    Open(options);
    std::vector<Pending<CommitReceipt>> pending;
    for (int i = 0; i < 200; ++i) pending.push_back(engine_->Commit(Rows(50 * i, 50)));
    for (auto& commit : pending) ASSERT_TRUE(commit.Wait().ok());
    ExpectRows(10'000);
    MustFlush(*engine_);
    EXPECT_EQ(engine_->GetStatus().flush.pending, 0u);
    ExpectRows(10'000);
    engine_->Shutdown();
    Open(options);
    ExpectRows(10'000);
  }
}

TEST_F(FlushTest, FlushOfNothingChangesNothing) {
  Open(testing::QuietEngine());
  const FlushReceipt first = MustFlush(*engine_);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(MustFlush(*engine_).manifest, first.manifest);
  EXPECT_EQ(engine_->GetStatus().flush.rotated, 1u);
}

// What a commit is checked against includes the buffers that are being flushed.
TEST_F(FlushTest, PreconditionsSeeRowsThatAreBeingFlushed) {
  EngineOptions options = testing::SmallEngine();
  options.rotate_rows = 3;
  Open(options);
  // However slow the device is, flushes are under way most of the time.
  for (int i = 0; i < 500 || engine_->GetStatus().flush.rotated <= 20; ++i) {
    const std::string id = absl::StrCat(i % 7);
    const storage::Version version = MustCommit(*engine_, PutNumber(collection_, id, i));
    const auto taken =
        engine_->Commit(PutNumber(collection_, id, -1, storage::Precondition::Absent())).Wait();
    ASSERT_EQ(taken.status().code(), absl::StatusCode::kFailedPrecondition) << i;
    if (i % 3 == 0) continue;
    storage::WriteBatch batch;
    batch.Delete(collection_, id, storage::Precondition::AtVersion(version));
    MustCommit(*engine_, std::move(batch));
    MustCommit(*engine_, PutNumber(collection_, id, i, storage::Precondition::Absent()));
  }
}

// A read after a publication never gives what was there before.
TEST_F(FlushTest, ReadsNeverGoBackWhileFlushesArePublished) {
  EngineOptions options = testing::SmallEngine();
  options.rotate_rows = 5;
  Open(options);
  MustCommit(*engine_, PutNumber(collection_, "x", 0));
  std::atomic<bool> done{false};
  std::thread writer([&] {
    for (int i = 1; i <= 3'000; ++i) MustCommit(*engine_, PutNumber(collection_, "x", i));
    done = true;
  });
  int64_t last = 0;
  while (!done) {
    const int64_t now = testing::NumberOf(*engine_, collection_, "x");
    EXPECT_GE(now, last);
    last = now;
  }
  writer.join();
  EXPECT_EQ(testing::NumberOf(*engine_, collection_, "x"), 3'000);
}

TEST_F(FlushTest, TicketThatIsDroppedCancelsNothing) {
  Open(testing::QuietEngine());
  const storage::Version version = MustCommit(*engine_, Rows(0, 10));
  engine_->Flush();
  ASSERT_TRUE(engine_->Drain(absl::Seconds(30)).ok());
  EXPECT_EQ(engine_->GetStatus().flushed_version, version);
}

TEST_F(FlushTest, TicketsOfAnEngineThatStopsAreAllAnswered) {
  for (int round = 0; round < 20; ++round) {
    Open(testing::SmallEngine());
    std::vector<FlushTicket> tickets;
    for (int i = 0; i < 50; ++i) {
      engine_->Commit(Rows(10 * i, 10));
      tickets.push_back(engine_->Flush());
    }
    std::thread stopper([&] { engine_->Shutdown(); });
    for (FlushTicket& ticket : tickets) {
      const absl::Status status = ticket.Wait(absl::Minutes(1)).status();
      EXPECT_TRUE(status.ok() || status.code() == absl::StatusCode::kCancelled) << status;
    }
    stopper.join();
    EXPECT_EQ(engine_->GetStatus().flush.pending, 0u);
  }
}

// No wake-up is lost: one that were would end this test with DeadlineExceeded.
TEST_F(FlushTest, DrainsReturnHoweverTheyMeetPublications) {
  EngineOptions options = testing::SmallEngine();
  options.rotate_rows = 20;
  options.durability = Durability::kNone;
  Open(options);
  constexpr uint64_t kDrainers = 4;
  const uint64_t drains_each = testing::Scaled(100'000) / kDrainers;
  std::atomic<uint64_t> done{0};
  std::vector<std::thread> drainers;
  for (uint64_t i = 0; i < kDrainers; ++i) {
    drainers.emplace_back([&] {
      storage::Version last = 0;
      for (uint64_t n = 0; n < drains_each; ++n) {
        const absl::StatusOr<FlushReceipt> drained = engine_->Drain(absl::Seconds(30));
        if (!drained.ok() || drained->version < last) {
          ADD_FAILURE() << "drain " << n << ": " << drained.status();
          break;
        }
        last = drained->version;
      }
      ++done;
    });
  }
  for (int i = 0; done < kDrainers; ++i) MustCommit(*engine_, PutNumber(collection_, "x", i));
  for (std::thread& drainer : drainers) drainer.join();
}

// A drain is not prolonged by what is rotated later, and says when its time is over.
TEST_F(FlushTest, DrainEndsInTimeUnderSteadyLoadAndWithATypedError) {
  EngineOptions options = testing::SmallEngine();
  options.rotate_rows = 10;
  Open(options);
  std::atomic<bool> done{false};
  std::thread writer([&] {
    for (int i = 0; !done; ++i) MustCommit(*engine_, Rows(i % 100, 10));
  });
  for (int i = 0; i < 50; ++i) EXPECT_TRUE(engine_->Drain(absl::Seconds(30)).ok());
  absl::Status late;
  for (int i = 0; i < 10'000 && late.ok(); ++i) {
    late = engine_->Drain(absl::Nanoseconds(1)).status();
  }
  EXPECT_EQ(late.code(), absl::StatusCode::kDeadlineExceeded);
  done = true;
  writer.join();
}

}  // namespace
}  // namespace millrace
