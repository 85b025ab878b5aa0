// Every call that changes files fails once, or for ever, in every way it can, at every moment of an
// engine's life: log, LMDB, names. Each test runs in a child process with the shim preloaded.

#include <errno.h>

#include <cstdint>
#include <filesystem>
#include <iostream>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/scenarios/numbered_batches.h"
#include "tests/scenarios/test_engine.h"
#include "tests/testing/io_shim.h"
#include "tests/testing/sound_store.h"
#include "tests/testing/temporary_directory.h"

namespace millrace::testing {
namespace {

using storage::Collection;

// What failed is tried again by whoever waits for it.
EngineOptions FaultedOptions() {
  return FlushingOften(/*rotate_rows=*/12);
}

// What the commits of a life were answered.
struct Answers {
  std::set<int> acknowledged;
  std::set<int> refused;  // Not executed, for certain.
  int next = 0;
  std::vector<std::string> faults;  // What must not be.
};

// One open, some commits, a flush, a stop; the shim may end it at any call.
void LiveOnce(const std::string& directory, int commit_count, Answers* answers) {
  auto engine = Engine::Open(directory, FaultedOptions());
  if (!engine.ok()) {
    if (engine.status().message().find(directory) == absl::string_view::npos) {
      answers->faults.push_back(absl::StrCat("names no path: ", engine.status().ToString()));
    }
    return;
  }
  const auto collection = (*engine)->CreateCollection("numbered");
  if (!collection.ok()) return;
  for (int i = 0; i < commit_count; ++i) {
    const int number = answers->next++;
    const auto receipt =
        (*engine)->Commit(NumberedBatch(*collection, number, i == 3 ? 6'000 : 50)).Wait(kPatience);
    if (receipt.ok()) {
      answers->acknowledged.insert(number);
    } else if (GetOutcome(receipt.status()) == Outcome::kNotExecuted) {
      answers->refused.insert(number);
    } else if (GetOutcome(receipt.status()) != Outcome::kUnknown) {
      answers->faults.push_back(absl::StrCat("no outcome: ", receipt.status().ToString()));
    }
  }
  (*engine)->Flush().Wait(absl::Milliseconds(300)).status().IgnoreError();
  const ShutdownReport report = (*engine)->Shutdown();
  if (!report.Balanced()) answers->faults.push_back(report.ToString());
}

// What is there afterwards is what was answered; the store is sound and can be used.
void CheckAnswers(const std::string& directory, const Answers& answers) {
  EXPECT_TRUE(answers.faults.empty()) << answers.faults.front();
  if (!answers.acknowledged.empty()) {
    ASSERT_NO_FATAL_FAILURE(ExpectSound(directory));
  }
  auto engine = Engine::Open(directory, FaultedOptions());
  ASSERT_TRUE(engine.ok()) << engine.status();
  const Numbered found = ReadNumbered(**engine);
  EXPECT_EQ(found.fault, "");
  EXPECT_TRUE(found.IsPrefix() || found.version == 0);
  for (const int number : answers.acknowledged) EXPECT_TRUE(found.Holds(number)) << number;
  for (const int number : answers.refused) EXPECT_FALSE(found.Holds(number)) << number;
  const Collection collection = NumberedCollection(**engine);
  EXPECT_TRUE((*engine)->Commit(NumberedBatch(collection, 100'000)).Wait(kPatience).ok());
  const auto flushed = (*engine)->Flush().Wait(kPatience);
  EXPECT_TRUE(flushed.ok()) << flushed.status();
  engine->reset();
  ExpectSound(directory);
}

// A life under `rule`: a store is created, stopped, opened again and stopped. Whether it struck.
bool LivesUnder(const std::string& rule, Answers* answers) {
  SCOPED_TRACE(rule);
  TemporaryDirectory scratch = TemporaryDirectory::InMemory();
  const std::string directory = scratch.File("store");
  SetIoFaults(rule.c_str());
  LiveOnce(directory, 9, answers);
  LiveOnce(directory, 6, answers);
  const bool struck = IoFaultCount() > 0;
  SetIoFaults("");
  CheckAnswers(directory, *answers);
  return struck;
}

// The k-th call for every k up to the last one, or a choice of them.
void FailEveryCall(const std::string& operation, const std::vector<std::string>& effects) {
  std::mt19937_64 random(Seed());
  const int stride = static_cast<int>((10 + Scaled(10) - 1) / Scaled(10));
  int struck_count = 0;
  for (const std::string& effect : effects) {
    for (int nth = 1;; nth += 1 + static_cast<int>(random() % (2 * stride - 1))) {
      Answers answers;
      if (!LivesUnder(absl::StrCat(operation, " path=/store nth=", nth, " ", effect), &answers)) {
        break;
      }
      ++struck_count;
      if (::testing::Test::HasFailure()) return;
    }
  }
  std::cout << operation << ": " << struck_count << " faults" << std::endl;
  EXPECT_GT(struck_count, 0);
}

std::string Errno(int error) {
  return absl::StrCat("errno=", error);
}

TEST(IoFaultTest, AnyWriteMayFail) {
  if (RanWithIoShim()) return;
  FailEveryCall("pwrite", {Errno(EIO), Errno(ENOSPC), Errno(EDQUOT), "short=1"});
}

TEST(IoFaultTest, AnyWriteMayFailForEver) {
  if (RanWithIoShim()) return;
  FailEveryCall("pwrite", {"forever " + Errno(EIO)});
}

TEST(IoFaultTest, AnyWriteOfSeveralPagesMayFail) {
  if (RanWithIoShim()) return;
  FailEveryCall("writev", {Errno(EIO), Errno(ENOSPC), Errno(EDQUOT), "short=1", "short=4096",
                           "forever " + Errno(EIO)});
}

TEST(IoFaultTest, AnySyncMayFailOnceOrForEver) {
  if (RanWithIoShim()) return;
  FailEveryCall("fdatasync", {Errno(EIO), Errno(ENOSPC), "forever " + Errno(EIO)});
  FailEveryCall("fsync", {Errno(EIO), "forever " + Errno(EIO)});
}

TEST(IoFaultTest, AnyChangeOfNamesAndSizesMayFail) {
  if (RanWithIoShim()) return;
  FailEveryCall("open", {Errno(EIO), Errno(EMFILE), Errno(ENOSPC)});
  FailEveryCall("rename", {Errno(EIO), Errno(ENOSPC), Errno(EDQUOT)});
  FailEveryCall("mkdir", {Errno(EIO), Errno(ENOSPC)});
  FailEveryCall("ftruncate", {Errno(EIO), Errno(ENOSPC)});
  FailEveryCall("unlink", {Errno(EIO), Errno(EROFS)});
}

// A signal between is no failure: nobody notices. What LMDB opens and syncs it does not try again,
// which is as any other failure of it.
TEST(IoFaultTest, InterruptedCallsAreMadeAgain) {
  if (RanWithIoShim()) return;
  int struck_count = 0;
  for (const char* call :
       {"pwrite path=/store/LOCK", "ftruncate path=/store/LOCK", "open path=/store/LOCK",
        "pwrite path=/store/store.mdb", "writev path=/store/store.mdb", "pwrite path=/store/log",
        "fdatasync path=/store/log", "open path=/store/log", "fsync path=/store",
        "rename path=/store", "unlink path=/store"}) {
    for (int nth = 1; nth < 40; nth += 3) {
      Answers answers;
      const std::string rule = absl::StrCat(call, " nth=", nth, " ", Errno(EINTR));
      if (!LivesUnder(rule, &answers)) break;
      ++struck_count;
      EXPECT_EQ(answers.acknowledged.size(), 15u) << rule;
    }
  }
  EXPECT_GT(struck_count, 20);
}

}  // namespace
}  // namespace millrace::testing
