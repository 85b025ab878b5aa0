// A fault at every point of a flush, once, some times, for ever, and a kill at every step, with the
// whole pipeline stepped by hand: at any moment the flush is before its publication or behind it,
// counts are exact, and the ticket says which. Each test runs in a child with the shim preloaded.
// (Rotations without memory and streams that throw: tests/actors/out_of_memory_test.cc.)

#include <cstdint>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/actors/fenced_pipeline.h"
#include "tests/testing/io_shim.h"

#include "millrace/messages/error.h"

namespace millrace::testing {
namespace {

// How often a point fails. Value.
enum class Times : uint8_t { kOnce, kThrice, kForEver };

enum class At : uint8_t {
  kStream,   // No reader slot is free.
  kSlices,   // The transaction of the first slices.
  kPublish,  // That of the last one: rows, manifest, head, the end of the flush row.
  kRecycle,  // The log's files behind the publication.
};

struct Point {
  const char* name;
  At at;
  const char* rule = "";  // Of the shim.
  bool final = false;     // Nobody may go on behind it but the next open.
};

constexpr Point kPoints[] = {
    {"stream", At::kStream},
    {"slices, disk full", At::kSlices, "writev path=store.mdb errno=28"},
    {"slices, quota of the user", At::kSlices, "writev path=store.mdb errno=122"},
    {"slices, short write", At::kSlices, "writev path=store.mdb short=512"},
    {"slices, data sync", At::kSlices, "fdatasync path=store.mdb errno=5", true},
    {"slices, meta page", At::kSlices, "pwrite path=store.mdb below=8192 errno=5", true},
    {"publish, disk full", At::kPublish, "writev path=store.mdb errno=28"},
    {"publish, short write", At::kPublish, "writev path=store.mdb short=512"},
    {"publish, data sync", At::kPublish, "fdatasync path=store.mdb errno=5", true},
    {"publish, meta page", At::kPublish, "pwrite path=store.mdb below=8192 errno=5", true},
    {"recycle, names", At::kRecycle, "rename path=/log/ errno=5"},
    {"recycle, removal", At::kRecycle, "unlink path=/log/ errno=5"},
};

// A store with a published flush and one under way, and what it must hold at any time.
class FaultedFlush : public FencedPipeline {
 public:
  static constexpr int kRows = 6'000;  // More slices than are under way at once.
  static constexpr int64_t kCount = kRows + 41;

  FaultedFlush() {
    reader_slots_max_ = 64;
    finalizer_options_.retries_max = 4;
    Open();
    storage::WriteBatch before;
    for (int i = 0; i < 100; ++i) before.Put(people_, absl::StrCat("old", i), {});
    Commit(std::move(before));
    FlushAll();
    const storage::Document large =
        *storage::DocumentBuilder().Set("t", std::string(1'000'000, 'x')).Finish();
    for (int i = 0; i < 16; ++i) {  // Several files of the log.
      Send(storage::WriteBatch().Put(people_, "large", large), Durability::kNone);
      driver_->StepUntilIdle();
    }
    storage::WriteBatch batch;
    for (int i = 0; i < kRows; ++i) batch.Put(people_, absl::StrCat(i), {});
    for (int i = 0; i < 60; ++i) batch.Delete(people_, absl::StrCat("old", i));
    version_ = Commit(std::move(batch));
    ticket_ = committer_->Ask(Fence{});
  }
  ~FaultedFlush() { SetIoFaults(""); }

  bool Step() { return driver_->StepNext(); }
  bool UnderWay() { return L1().flush.has_value(); }
  bool Degraded() { return !health_.degraded().ok(); }

  void Begin(const Point& point, Times times) {
    if (point.at == At::kPublish || point.at == At::kRecycle) {
      while (!UnderWay()) ASSERT_TRUE(Step());
    }
    if (point.at == At::kStream) return FailStreams();
    std::string rules;
    for (int i = times == Times::kThrice ? 3 : 1; i > 0; --i) {
      absl::StrAppend(&rules, point.rule, times == Times::kForEver ? " forever;" : ";");
    }
    SetIoFaults(rules.c_str());
  }
  void End() {
    Heal();
    SetIoFaults("");
  }
  // Until the ticket is answered, the clock going on where all wait for it.
  void AwaitTicket(const Point& point, Times times) {
    for (int i = 0; i < 400 && !ticket_->ready(); ++i) {
      while (Step()) CheckNow();
      const uint64_t enough = times == Times::kOnce ? 1 : 3;
      if (point.at == At::kStream && times != Times::kForEver && metrics_.retried.Get() >= enough) {
        Heal();
      }
      driver_->AdvanceBy(absl::Milliseconds(50));
    }
    ASSERT_TRUE(ticket_->ready()) << "the ticket is never answered";
    answer_ = ticket_->Wait().status();
  }
  const absl::Status& answer() const { return answer_; }

  // What readers find, where they find anything, is all of it; LMDB is before the flush, within or
  // behind it.
  void CheckNow() {
    const absl::StatusOr<storage::Snapshot> snapshot =
        storage::Snapshot::Take({.environment = *environment_, .view = view_, .leases = leases_},
                                "test", absl::UnixEpoch());
    if (!snapshot.ok()) return;  // No slot is free, or LMDB has failed for good.
    const absl::StatusOr<uint64_t> count = snapshot->Count(people_);
    if (!count.ok()) return;
    ASSERT_EQ(static_cast<int64_t>(*count), kCount);
  }
  void CheckTicketIsRight() {
    const storage::L1State l1 = L1();
    ASSERT_EQ(l1.head.id, answer_.ok() ? 2u : 1u) << answer_;
    if (answer_.ok()) CheckPublished(l1);
  }
  void CheckPublished(const storage::L1State& l1) {
    ASSERT_EQ(l1.head.id, 2u);
    ASSERT_EQ(l1.head.parent, 1u);
    ASSERT_EQ(l1.head.last_version, version_);
    ASSERT_FALSE(l1.flush.has_value());
    ASSERT_EQ(l1.RecordCount(storage::kTrunk, people_.id), kCount);
  }
  // Space has returned: no open is needed.
  void Recover() {
    const absl::StatusOr<FlushReceipt> resumed = Ask(Resume{}).Wait();
    ASSERT_TRUE(resumed.ok()) << resumed.status();
    ASSERT_NO_FATAL_FAILURE(CheckPublished(L1()));
    ASSERT_TRUE(health_.status().ok()) << health_.status();
  }
  // As behind a kill at this moment.
  void KillAndReopen() {
    Crash();
    Open();
    ASSERT_EQ(Count(), kCount);
    FlushAll();
    ASSERT_NO_FATAL_FAILURE(CheckPublished(L1()));
    ASSERT_EQ(Count(), kCount);
    Put("next", 1);
    FlushAll();
    ASSERT_EQ(L1Count(), kCount + 1);
  }

 private:
  void Open() {
    Committer::Options options = NeverRotate();
    options.probe_interval = absl::Hours(24);
    Start(options);
  }

  storage::Version version_ = storage::kNoVersion;
  std::optional<Pending<FlushReceipt>> ticket_;
  absl::Status answer_;
};

// One point, one number of failures.
void Fault(const Point& point, Times times) {
  FaultedFlush flush;
  ASSERT_NO_FATAL_FAILURE(flush.Begin(point, times));
  ASSERT_NO_FATAL_FAILURE(flush.AwaitTicket(point, times));
  const bool passes = point.at == At::kRecycle || (!point.final && times != Times::kForEver);
  EXPECT_EQ(flush.answer().ok(), passes) << flush.answer();
  EXPECT_EQ(IoFaultCount() > 0, point.at != At::kStream) << "the fault has struck";
  if (!point.final) {
    EXPECT_EQ(IsDegraded(flush.answer()), !passes) << flush.answer();
    flush.End();
    ASSERT_NO_FATAL_FAILURE(flush.CheckTicketIsRight());
    if (!passes) {
      ASSERT_NO_FATAL_FAILURE(flush.Recover());
    }
  }
  flush.End();
  ASSERT_NO_FATAL_FAILURE(flush.KillAndReopen());
}

TEST(FlushFaultTest, AtEveryPointTheTicketSaysWhetherTheFlushIsPublished) {
  if (RanWithIoShim()) return;
  for (const Point& point : kPoints) {
    for (const Times times : {Times::kOnce, Times::kThrice, Times::kForEver}) {
      SCOPED_TRACE(absl::StrCat(point.name, ", times ", static_cast<int>(times)));
      ASSERT_NO_FATAL_FAILURE(Fault(point, times));
      if (::testing::Test::HasFailure()) return;
    }
  }
}

// Between the steps of all actors; within them, at single calls: kill_test.cc.
TEST(FlushFaultTest, KilledAtEveryStepTheFlushIsBeforeOrBehindItsPublication) {
  if (RanWithIoShim()) return;
  int kill_count = 0;
  int within_count = 0;
  for (bool more = true; more; ++kill_count) {
    SCOPED_TRACE(absl::StrCat("killed behind step ", kill_count));
    FaultedFlush flush;
    for (int step = 0; step < kill_count && more; ++step) more = flush.Step();
    within_count += flush.UnderWay() ? 1 : 0;
    ASSERT_NO_FATAL_FAILURE(flush.KillAndReopen());
  }
  std::cout << kill_count << " kills, " << within_count << " within the flush" << std::endl;
  EXPECT_GT(kill_count, 8);
  EXPECT_GT(within_count, 1);
}

}  // namespace
}  // namespace millrace::testing
