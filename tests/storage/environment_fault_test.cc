#include <errno.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/storage/test_store.h"
#include "tests/testing/io_shim.h"
#include <sched.h>

#include "millrace/storage/environment.h"

// What the environment makes of I/O that fails under LMDB. Each test runs in a child process with
// the shim preloaded.

namespace millrace::storage {
namespace {

using ::millrace::testing::RanWithIoShim;
using ::millrace::testing::SetIoFaults;
using ::testing::HasSubstr;
using Code = absl::StatusCode;

std::optional<CommitFailure> FailureOf(const absl::Status& status) {
  return GetCommitFailure(status);
}

std::string Rule(const char* text, int error) {
  return text + std::to_string(error);
}

// One transaction of many pages, so that LMDB writes several at once.
absl::Status PutMany(TestStore& store, char filler) {
  WriteTransaction write = store.BeginWrite();
  for (int i = 0; i < 1000; ++i) {
    const absl::Status status =
        write.Put(TreeId::kRecords, "many" + std::to_string(i), std::string(500, filler));
    if (!status.ok()) return status;
  }
  return write.Commit();
}

TEST(EnvironmentFaultTest, FailedDataSyncKeepsTheStateBeforeAndEndsWriting) {
  if (RanWithIoShim()) return;
  TestStore store;
  ASSERT_TRUE(store.Put("k", "before").ok());
  SetIoFaults(Rule("fdatasync path=store.mdb errno=", EIO).c_str());
  const absl::Status failed = store.Put("k", "after");
  EXPECT_EQ(FailureOf(failed), CommitFailure::kSyncFailed) << failed;
  EXPECT_EQ(failed.code(), Code::kInternal);
  EXPECT_THAT(std::string(failed.message()), HasSubstr(store.File("store.mdb")));
  EXPECT_EQ(store.Get("k"), "before");
  // The second sync would succeed: it must not be tried.
  EXPECT_EQ(store.Put("k", "again").code(), Code::kFailedPrecondition);
  store.Close();
  store.Open();
  EXPECT_EQ(store.Get("k"), "before");
  EXPECT_TRUE(store.Put("k", "reopened").ok());
}

TEST(EnvironmentFaultTest, FailedMetaWriteIsAnUnknownOutcomeAndEndsReadingToo) {
  if (RanWithIoShim()) return;
  TestStore store;
  ASSERT_TRUE(store.Put("k", "before").ok());
  ReadTransaction read = store.BeginRead();
  SetIoFaults(Rule("pwrite path=store.mdb below=8192 errno=", EIO).c_str());
  const absl::Status failed = store.Put("k", "after");
  EXPECT_EQ(FailureOf(failed), CommitFailure::kOutcomeUnknown) << failed;
  EXPECT_EQ(failed.code(), Code::kUnknown);
  EXPECT_EQ(std::string(*failed.GetPayload("millrace/outcome")), "unknown");
  EXPECT_EQ(store.environment().BeginRead().status().code(), Code::kUnavailable);
  EXPECT_EQ(store.Put("k", "again").code(), Code::kFailedPrecondition);
  EXPECT_EQ(**read.Get(TreeId::kRecords, "k"), "before");
  EXPECT_EQ(read.Renew().code(), Code::kUnavailable);
  read.End();
  store.Close();
  store.Open();
  EXPECT_THAT(store.Get("k"), ::testing::AnyOf("before", "after"));
  EXPECT_TRUE(store.Put("k", "reopened").ok());
}

TEST(EnvironmentFaultTest, MetaWriteThatAlsoCannotBeTakenBackIsUnknown) {
  if (RanWithIoShim()) return;
  TestStore store;
  ASSERT_TRUE(store.Put("k", "before").ok());
  SetIoFaults(Rule("pwrite path=store.mdb below=8192 forever errno=", ENOSPC).c_str());
  EXPECT_EQ(FailureOf(store.Put("k", "after")), CommitFailure::kOutcomeUnknown);
}

TEST(EnvironmentFaultTest, FullDiskFailsTheTransactionAndTheNextOneGoesThrough) {
  if (RanWithIoShim()) return;
  for (const int error : {ENOSPC, EDQUOT, EFBIG}) {
    TestStore store;
    ASSERT_TRUE(PutMany(store, 'a').ok());
    SetIoFaults(Rule("writev path=store.mdb errno=", error).c_str());
    const absl::Status failed = PutMany(store, 'b');
    EXPECT_EQ(FailureOf(failed), CommitFailure::kFull) << failed;
    EXPECT_EQ(failed.code(), Code::kResourceExhausted);
    EXPECT_THAT(std::string(failed.message()), HasSubstr("quota of 1073741824"));
    EXPECT_EQ(store.Get("many7"), std::string(500, 'a'));
    EXPECT_TRUE(PutMany(store, 'c').ok());
    EXPECT_EQ(store.Get("many7"), std::string(500, 'c'));
  }
}

TEST(EnvironmentFaultTest, LimitOnFileSizesCountsAsAFullDisk) {
  if (RanWithIoShim()) return;  // For a process of its own: the limit holds for all of it.
  TestStore store;
  ASSERT_TRUE(store.Put("k", "before").ok());
  signal(SIGXFSZ, SIG_IGN);
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlimit small = {200 << 10, limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const absl::Status failed = PutMany(store, 'a');
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  EXPECT_EQ(FailureOf(failed), CommitFailure::kFull) << failed;
  EXPECT_EQ(store.Get("k"), "before");
  EXPECT_TRUE(PutMany(store, 'a').ok());
}

TEST(EnvironmentFaultTest, DiskThatIsReallyFullKeepsWhatIsThereAndServesOnceThereIsRoom) {
  if (RanWithIoShim()) return;  // For a process of its own: it mounts a file system.
  testing::TemporaryDirectory directory;
  if (unshare(CLONE_NEWNS) != 0 || mount("", "/", "", MS_REC | MS_PRIVATE, nullptr) != 0 ||
      mount("tmpfs", directory.path().c_str(), "tmpfs", 0, "size=4m") != 0) {
    std::cout
        << "full disk: no tmpfs could be mounted, the tests of a limit on file sizes stand for it"
        << std::endl;
    return;
  }
  EnvironmentOptions options = SmallOptions(directory.File("store"));
  {
    absl::StatusOr<std::unique_ptr<Environment>> environment = Environment::Open(options);
    ASSERT_TRUE(environment.ok()) << environment.status();
    const WritePermit permit = *(*environment)->TakeWritePermit();
    std::ofstream(directory.File("ballast")) << std::string(1 << 20, 'b');
    absl::Status status;
    int rounds = 0;
    const auto append = [&]() -> absl::Status {
      WriteTransaction write = *(*environment)->BeginWrite(permit);
      for (int i = 0; i < 100; ++i) {
        const std::string key = std::to_string(1000000 + rounds * 100 + i);
        if (status = write.Put(TreeId::kRecords, key, std::string(1000, 'v')); !status.ok()) break;
      }
      return status.ok() ? write.Commit() : status;
    };
    while ((status = append()).ok()) ASSERT_LT(++rounds, 100);
    EXPECT_EQ(GetCommitFailure(status), CommitFailure::kFull) << status;
    EXPECT_GT(rounds, 10);
    ReadTransaction read = *(*environment)->BeginRead();
    const std::string last = std::to_string(1000000 + rounds * 100 - 1);
    EXPECT_TRUE(read.Get(TreeId::kRecords, last)->has_value());
    EXPECT_FALSE(append().ok());
    std::filesystem::remove(directory.File("ballast"));
    status = absl::OkStatus();
    EXPECT_TRUE((status = append()).ok()) << status;
  }
  umount2(directory.path().c_str(), MNT_DETACH);
}

TEST(EnvironmentFaultTest, ShortWriteCountsAsAFullDisk) {
  if (RanWithIoShim()) return;
  TestStore store;
  ASSERT_TRUE(PutMany(store, 'a').ok());
  SetIoFaults("writev path=store.mdb short=5000; pwrite path=store.mdb short=100");
  const absl::Status failed = PutMany(store, 'b');
  EXPECT_EQ(FailureOf(failed), CommitFailure::kFull) << failed;
  SetIoFaults("");
  EXPECT_EQ(store.Get("many7"), std::string(500, 'a'));
  EXPECT_TRUE(PutMany(store, 'c').ok());
  store.Close();
  store.Open();
  EXPECT_EQ(store.Get("many7"), std::string(500, 'c'));
}

TEST(EnvironmentFaultTest, WriteErrorOfTheDeviceEndsWriting) {
  if (RanWithIoShim()) return;
  TestStore store;
  ASSERT_TRUE(PutMany(store, 'a').ok());
  SetIoFaults(Rule("writev path=store.mdb errno=", EIO).c_str());
  EXPECT_EQ(FailureOf(PutMany(store, 'b')), CommitFailure::kSyncFailed);
  EXPECT_EQ(store.Put("k", "again").code(), Code::kFailedPrecondition);
  EXPECT_EQ(store.Get("many7"), std::string(500, 'a'));
}

TEST(EnvironmentFaultTest, FailedSyncWhileAStoreIsMadeFailsTheOpenAndTheNextOneSucceeds) {
  if (RanWithIoShim()) return;
  for (const char* rule : {"fdatasync path=store.mdb errno=", "fsync path=millrace errno="}) {
    testing::TemporaryDirectory directory;
    SetIoFaults(Rule(rule, EIO).c_str());
    EXPECT_FALSE(Environment::Open(SmallOptions(directory.path())).ok()) << rule;
    SetIoFaults("");
    EXPECT_TRUE(Environment::Open(SmallOptions(directory.path())).ok()) << rule;
  }
}

// Whatever write or sync of a commit fails, once or from then on: the store holds the state before
// or the one after, and which one agrees with what the status said.
TEST(EnvironmentFaultTest, EveryFailingCallLeavesTheStateBeforeOrAfter) {
  if (RanWithIoShim()) return;
  int failed_count = 0;
  for (const char* operation : {"pwrite", "writev", "fdatasync"}) {
    for (const char* how : {"errno=5", "errno=28", "short=1", "forever errno=5"}) {
      for (int nth = 1; nth <= 4; ++nth) {
        TestStore store;
        ASSERT_TRUE(PutMany(store, 'a').ok());
        const std::string rule =
            std::string(operation) + " path=store.mdb nth=" + std::to_string(nth) + " " + how;
        SetIoFaults(rule.c_str());
        const absl::Status status = PutMany(store, 'b');
        SetIoFaults("");
        failed_count += !status.ok();
        store.Close();
        store.Open();
        const std::string found = store.Get("many999");
        if (status.ok()) {
          EXPECT_EQ(found, std::string(500, 'b')) << rule;
        } else if (FailureOf(status) == CommitFailure::kOutcomeUnknown) {
          EXPECT_THAT(found, ::testing::AnyOf(std::string(500, 'a'), std::string(500, 'b')))
              << rule;
        } else {
          EXPECT_EQ(found, std::string(500, 'a')) << rule << ": " << status;
        }
        for (int i = 0; i < 1000; ++i) {
          ASSERT_EQ(store.Get("many" + std::to_string(i)), found) << rule;
        }
      }
    }
  }
  EXPECT_GT(failed_count, 10);
}

}  // namespace
}  // namespace millrace::storage
