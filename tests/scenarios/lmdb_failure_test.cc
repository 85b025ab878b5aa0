// What the engine makes of I/O that fails under LMDB, and of a disk that is full. Each test runs in
// a child process with the shim preloaded.

#include <errno.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scenarios/numbered_batches.h"
#include "tests/testing/io_shim.h"
#include "tests/testing/sound_store.h"
#include "tests/testing/temporary_directory.h"
#include <sched.h>

namespace millrace {
namespace {

using storage::Collection;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using testing::MessageOf;
using testing::Numbered;
using testing::NumberedBatch;
using testing::NumberedCollection;
using testing::OpenEngine;
using testing::QuietOptions;
using testing::RanWithIoShim;
using testing::ReadNumbered;
using testing::SetIoFaults;
using testing::TemporaryDirectory;
using Code = absl::StatusCode;

constexpr size_t kPadding = 30'000;  // Three of them make a batch.

// Small limits on L0: some fourteen batches that are not flushed.
EngineOptions SmallL0() {
  EngineOptions options = QuietOptions();
  options.log_file_bytes = uint64_t{4} << 20;
  options.rotate_bytes = 64 << 10;
  options.l0_soft_bytes_max = 1 << 20;
  options.l0_hard_bytes_max = (1 << 20) + (256 << 10);
  options.commit_timeout = absl::Seconds(2);
  return options;
}

absl::Status CommitNumber(Engine& engine, const Collection& collection, int number) {
  return engine.Commit(NumberedBatch(collection, number, kPadding))
      .Wait(testing::kPatience)
      .status();
}

// Commits from `*number` on until one is refused, and answers why; *number is the refused one.
absl::Status CommitUntilRefused(Engine& engine, const Collection& collection, int* number,
                                int most) {
  for (const int end = *number + most; *number < end; ++*number) {
    const absl::Status status = CommitNumber(engine, collection, *number);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// Batches 0 to count - 1, and no other.
void ExpectExactly(Engine& engine, int count) {
  const Numbered found = ReadNumbered(engine);
  EXPECT_EQ(found.fault, "");
  EXPECT_TRUE(found.IsPrefix());
  EXPECT_EQ(found.batches.size(), static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) EXPECT_TRUE(found.Holds(i)) << i;
}

// LMDB's I/O fails for good: the engine stops, and the next open has everything, from the log.
void FailForGood(const char* rule, bool meta_page = false) {
  SCOPED_TRACE(rule);
  TemporaryDirectory directory;
  auto engine = OpenEngine(directory.path());
  const Collection collection = NumberedCollection(*engine);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(CommitNumber(*engine, collection, i).ok());
  ASSERT_TRUE(engine->Flush().Wait(testing::kPatience).ok());
  for (int i = 10; i < 20; ++i) ASSERT_TRUE(CommitNumber(*engine, collection, i).ok());
  SetIoFaults(rule);
  const auto flushed = engine->Flush().Wait(testing::kPatience);
  EXPECT_FALSE(flushed.ok());
  EXPECT_TRUE(testing::AwaitStopped(*engine));
  if (meta_page) {
    EXPECT_FALSE(engine->TakeSnapshot().ok()) << "nobody knows what LMDB holds";
  }
  const EngineStatus status = engine->GetStatus();
  EXPECT_EQ(status.health.code(), Code::kUnavailable);
  EXPECT_THAT(MessageOf(status.health), HasSubstr("store.mdb"));
  EXPECT_THAT(MessageOf(status.health), HasSubstr("Input/output error"));
  const absl::Status later = CommitNumber(*engine, collection, 1000);
  EXPECT_THAT(MessageOf(later), HasSubstr("Input/output error"));
  EXPECT_EQ(GetOutcome(later), Outcome::kNotExecuted);
  EXPECT_TRUE(engine->Shutdown().Balanced());
  engine.reset();
  SetIoFaults("");
  testing::ExpectSound(directory.path());
  engine = OpenEngine(directory.path());
  ASSERT_NE(engine, nullptr);
  ExpectExactly(*engine, 20);
  EXPECT_TRUE(engine->Flush().Wait(testing::kPatience).ok());
  ExpectExactly(*engine, 20);
}

TEST(LmdbFailureTest, FailedDataSyncStopsTheEngineAndTheNextOpenHasEverything) {
  if (RanWithIoShim()) return;
  FailForGood("fdatasync path=store.mdb errno=5");
  FailForGood("fdatasync path=store.mdb nth=2 forever errno=5; writev path=store.mdb errno=5");
}

TEST(LmdbFailureTest, FailedMetaWriteStopsTheEngineAndTheNextOpenHasEverything) {
  if (RanWithIoShim()) return;
  FailForGood("pwrite path=store.mdb below=8192 errno=5", /*meta_page=*/true);
  FailForGood("pwrite path=store.mdb below=8192 forever errno=5", /*meta_page=*/true);
}

// The k-th call fails with any error, while commits and flushes go on: every acknowledged commit is
// there afterwards, whether the engine went on or stopped.
TEST(LmdbFailureTest, WhateverCallFailsNothingAcknowledgedIsLost) {
  if (RanWithIoShim()) return;
  int stopped_count = 0;
  int went_on_count = 0;
  for (const char* operation : {"pwrite", "writev", "fdatasync"}) {
    for (const char* how : {"errno=5", "errno=28", "short=1"}) {
      if (std::string(operation) == "fdatasync" && std::string(how) == "short=1") continue;
      for (int nth = 1; nth <= 4; ++nth) {
        const std::string rule = absl::StrCat(operation, " path=store.mdb nth=", nth, " ", how);
        SCOPED_TRACE(rule);
        TemporaryDirectory directory;
        EngineOptions options = QuietOptions();
        options.rotate_rows = 12;
        auto engine = OpenEngine(directory.path(), options);
        const Collection collection = NumberedCollection(*engine);
        SetIoFaults(rule.c_str());
        int number = 0;
        const absl::Status status = CommitUntilRefused(*engine, collection, &number, 40);
        if (status.ok()) {
          const auto flushed = engine->Flush().Wait(testing::kPatience);
          ++(flushed.ok() ? went_on_count : stopped_count);
          if (flushed.ok()) {
            EXPECT_TRUE(engine->GetStatus().health.ok()) << engine->GetStatus().health;
          }
        } else {
          ++stopped_count;
        }
        SetIoFaults("");
        engine.reset();
        testing::ExpectSound(directory.path());
        engine = OpenEngine(directory.path(), options);
        ASSERT_NE(engine, nullptr);
        ExpectExactly(*engine, number);
      }
    }
  }
  EXPECT_GT(stopped_count, 3);
  EXPECT_GT(went_on_count, 3);
}

// A disk that is full only for LMDB: commits go on up to the hard limit, and all is published once
// there is room.
void FillAndEmpty(const char* rules, const char* reason) {
  SCOPED_TRACE(rules);
  TemporaryDirectory directory;
  auto engine = OpenEngine(directory.path(), SmallL0());
  const Collection collection = NumberedCollection(*engine);
  int number = 0;
  ASSERT_TRUE(CommitUntilRefused(*engine, collection, &number, 3).ok());
  ASSERT_TRUE(engine->Flush().Wait(testing::kPatience).ok());
  const uint64_t manifest = engine->GetStatus().manifest;
  SetIoFaults(rules);
  const absl::Status status = CommitUntilRefused(*engine, collection, &number, 200);
  EXPECT_GT(number, 8) << "commits do not go on while flushes fail";
  EXPECT_EQ(status.code(), Code::kResourceExhausted) << status;
  EXPECT_EQ(GetOutcome(status), Outcome::kNotExecuted);
  EXPECT_THAT(MessageOf(status), HasSubstr("L0 holds"));
  EXPECT_THAT(MessageOf(status), HasSubstr(reason));
  EXPECT_THAT(MessageOf(status), HasSubstr("store.mdb"));
  const EngineStatus troubled = engine->GetStatus();
  EXPECT_EQ(troubled.health.code(), Code::kResourceExhausted) << troubled.health;
  EXPECT_THAT(MessageOf(troubled.health), HasSubstr(reason));
  EXPECT_EQ(troubled.manifest, manifest);
  ExpectExactly(*engine, number);

  SetIoFaults("");
  const auto flushed = engine->Flush().Wait(testing::kPatience);
  ASSERT_TRUE(flushed.ok()) << flushed.status();
  EXPECT_TRUE(engine->GetStatus().health.ok()) << engine->GetStatus().health;
  EXPECT_EQ(engine->GetStatus().flushed_version, engine->GetStatus().published_version);
  ASSERT_TRUE(CommitUntilRefused(*engine, collection, &number, 10).ok());
  ExpectExactly(*engine, number);
  EXPECT_TRUE(engine->Shutdown().Balanced());
  engine = OpenEngine(directory.path());
  ExpectExactly(*engine, number);
}

TEST(LmdbFailureTest, FullDiskUnderLmdbHoldsFlushesBackUntilThereIsRoom) {
  if (RanWithIoShim()) return;
  FillAndEmpty("pwrite path=store.mdb forever errno=28; writev path=store.mdb forever errno=28",
               "No space left");
}

TEST(LmdbFailureTest, ShortWritesUnderLmdbHoldFlushesBackUntilThereIsRoom) {
  if (RanWithIoShim()) return;
  FillAndEmpty("writev path=store.mdb forever short=5000; pwrite path=store.mdb forever short=100",
               "the disk has");
}

// So often in a row, LMDB finds the disk full.
std::string FullDisk(int times) {
  std::string rules;
  for (int i = 0; i < times; ++i) {
    rules += "pwrite path=store.mdb from=8192 errno=28; writev path=store.mdb errno=28; ";
  }
  return rules;
}

TEST(LmdbFailureTest, FlushThatFailsAFewTimesIsPublishedAndItsTicketSaysSo) {
  if (RanWithIoShim()) return;
  for (const int times : {1, 3}) {
    SCOPED_TRACE(times);
    TemporaryDirectory directory;
    auto engine = OpenEngine(directory.path(), SmallL0());
    const Collection collection = NumberedCollection(*engine);
    int number = 0;
    ASSERT_TRUE(CommitUntilRefused(*engine, collection, &number, 6).ok());
    SetIoFaults(FullDisk(times).c_str());
    const auto flushed = engine->Flush().Wait(testing::kPatience);
    ASSERT_TRUE(flushed.ok()) << flushed.status();
    const EngineStatus status = engine->GetStatus();
    EXPECT_GT(status.flush.retried, 0u);
    EXPECT_EQ(status.flush.abandoned, 0u);
    EXPECT_TRUE(status.health.ok()) << status.health;
    ExpectExactly(*engine, number);
  }
}

// The disk fills up, the engine degrades, space returns: all of it without reopening.
TEST(LmdbFailureTest, FullDiskDegradesTheEngineUntilItIsResumedOrProbes) {
  if (RanWithIoShim()) return;
  for (const bool resume : {true, false}) {
    SCOPED_TRACE(resume);
    TemporaryDirectory directory;
    EngineOptions options = SmallL0();
    options.flush_retries_max = 2;
    auto engine = OpenEngine(directory.path(), options);
    const Collection collection = NumberedCollection(*engine);
    int number = 0;
    ASSERT_TRUE(CommitUntilRefused(*engine, collection, &number, 3).ok());
    ASSERT_TRUE(engine->Flush().Wait(testing::kPatience).ok());
    SetIoFaults("pwrite path=store.mdb forever errno=28; writev path=store.mdb forever errno=28");
    ASSERT_TRUE(CommitUntilRefused(*engine, collection, &number, 3).ok());
    const absl::Status ticket = engine->Flush().Wait(testing::kPatience).status();
    EXPECT_TRUE(IsDegraded(ticket)) << ticket;
    EXPECT_EQ(ticket.code(), Code::kResourceExhausted);
    EXPECT_THAT(MessageOf(ticket), HasSubstr("No space left"));
    const EngineStatus degraded = engine->GetStatus();
    EXPECT_EQ(degraded.degraded, ticket);
    EXPECT_EQ(degraded.health, ticket);
    EXPECT_TRUE(IsDegraded(engine->Drain(absl::Seconds(1)).status()));
    ASSERT_TRUE(CommitUntilRefused(*engine, collection, &number, 3).ok());
    ExpectExactly(*engine, number);

    SetIoFaults("");
    if (resume) {
      EXPECT_TRUE(engine->Resume(testing::kPatience).ok());
    } else {
      while (!engine->GetStatus().degraded.ok()) std::this_thread::yield();
    }
    EXPECT_TRUE(engine->GetStatus().health.ok()) << engine->GetStatus().health;
    EXPECT_TRUE(engine->Flush().Wait(testing::kPatience).ok());
    ExpectExactly(*engine, number);
    EXPECT_TRUE(engine->Shutdown().Balanced());
    engine = OpenEngine(directory.path());
    ExpectExactly(*engine, number);
  }
}

TEST(LmdbFailureTest, StoppingWhileTheDiskIsFullLosesNothing) {
  if (RanWithIoShim()) return;
  TemporaryDirectory directory;
  auto engine = OpenEngine(directory.path(), SmallL0());
  const Collection collection = NumberedCollection(*engine);
  SetIoFaults("pwrite path=store.mdb forever errno=28; writev path=store.mdb forever errno=28");
  int number = 0;
  ASSERT_TRUE(CommitUntilRefused(*engine, collection, &number, 6).ok());
  const ShutdownReport report = engine->Shutdown(absl::Seconds(20));
  EXPECT_TRUE(report.within_deadline) << report.ToString();
  EXPECT_TRUE(report.Balanced()) << report.ToString();
  engine.reset();
  SetIoFaults("");
  testing::ExpectSound(directory.path());
  engine = OpenEngine(directory.path());
  ExpectExactly(*engine, number);
}

// Fills the disk until a commit is refused, makes room, and expects everything to go on.
void FillReally(const std::string& directory, absl::FunctionRef<void()> make_room) {
  auto engine = OpenEngine(directory, SmallL0());
  ASSERT_NE(engine, nullptr);
  const Collection collection = NumberedCollection(*engine);
  int number = 0;
  const absl::Status status = CommitUntilRefused(*engine, collection, &number, 400);
  EXPECT_EQ(status.code(), Code::kResourceExhausted) << status;
  EXPECT_EQ(GetOutcome(status), Outcome::kNotExecuted) << status;
  std::cout << "refused after " << number << " batches: " << status.message() << std::endl;
  EXPECT_GT(number, 10);
  ExpectExactly(*engine, number);
  make_room();
  const auto flushed = engine->Flush().Wait(testing::kPatience);
  ASSERT_TRUE(flushed.ok()) << flushed.status();
  EXPECT_TRUE(engine->GetStatus().health.ok()) << engine->GetStatus().health;
  ASSERT_TRUE(CommitUntilRefused(*engine, collection, &number, 10).ok());
  ExpectExactly(*engine, number);
  engine.reset();
  testing::ExpectSound(directory);
  engine = OpenEngine(directory);
  ASSERT_NE(engine, nullptr);
  ExpectExactly(*engine, number);
}

// As a user's limit on file sizes: for LMDB's file alone, the log's are smaller.
void FillToTheFileSizeLimit() {
  TemporaryDirectory directory;
  signal(SIGXFSZ, SIG_IGN);
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlimit small = {6 << 20, limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  FillReally(directory.path(), [&] { ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0); });
}

TEST(LmdbFailureTest, LimitOnFileSizesHoldsFlushesBackUntilItIsRaised) {
  if (RanWithIoShim()) return;
  FillToTheFileSizeLimit();
}

TEST(LmdbFailureTest, DiskThatIsReallyFullHoldsFlushesBackUntilThereIsRoom) {
  if (RanWithIoShim()) return;  // For a process of its own: it mounts a file system.
  TemporaryDirectory directory;
  if (unshare(CLONE_NEWNS) != 0 || mount("", "/", "", MS_REC | MS_PRIVATE, nullptr) != 0 ||
      mount("tmpfs", directory.path().c_str(), "tmpfs", 0, "size=24m") != 0) {
    std::cout << "full disk: no tmpfs could be mounted, a limit on file sizes is used" << std::endl;
    RecordProperty("full_disk", "RLIMIT_FSIZE");
    return FillToTheFileSizeLimit();
  }
  std::cout << "full disk: a tmpfs of 24 MiB is used" << std::endl;
  RecordProperty("full_disk", "tmpfs");
  std::ofstream(directory.File("ballast")) << std::string(8 << 20, 'b');
  FillReally(directory.File("store"), [&] { std::filesystem::remove(directory.File("ballast")); });
  umount2(directory.path().c_str(), MNT_DETACH);
}

}  // namespace
}  // namespace millrace
