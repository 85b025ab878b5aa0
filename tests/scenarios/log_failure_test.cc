// What the engine makes of a log that cannot be written or synced, and of a disk without room for
// the log's next file.

#include <errno.h>

#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scenarios/numbered_batches.h"
#include "tests/scenarios/steered_file_system.h"
#include "tests/testing/faulty_file_system.h"
#include "tests/testing/sound_store.h"
#include "tests/testing/temporary_directory.h"

namespace millrace {
namespace {

using storage::Collection;
using storage::SystemFileSystem;
using ::testing::AnyOf;
using testing::FaultyFileSystem;
using testing::FileCall;
using testing::FileFault;
using ::testing::HasSubstr;
using testing::MessageOf;
using testing::Numbered;
using testing::NumberedBatch;
using testing::NumberedCollection;
using testing::OpenEngine;
using testing::QuietOptions;
using testing::ReadNumbered;
using testing::TemporaryDirectory;

std::string Describe(const FileFault& fault) {
  return absl::StrCat(*fault.call == FileCall::kSync ? "sync " : "write ", fault.at, ", errno ",
                      fault.error, ", effect ", static_cast<int>(fault.effect));
}

const char* CauseText(int error) {
  return error == ENOSPC ? "No space left" : "Input/output error";
}

// All writes and names that the log has been asked for.
int64_t ChangeCount(const FaultyFileSystem& files) {
  return files.count(FileCall::kWrite) + files.count(FileCall::kRename) +
         files.count(FileCall::kRemove) + files.count(FileCall::kSync);
}

// One client commits until the fault strikes; everything behind it is then looked at.
void FailOnceAndReopen(const FileFault& fault) {
  SCOPED_TRACE(Describe(fault));
  TemporaryDirectory directory;
  FaultyFileSystem files(SystemFileSystem());
  auto engine = OpenEngine(directory.path(), QuietOptions(), {.files = files});
  const Collection collection = NumberedCollection(*engine);
  files.Fail(fault);
  int number = 0;
  absl::StatusOr<CommitReceipt> receipt;
  CommitToken token;
  do {
    token = engine->NewToken();
    receipt = engine->Commit(NumberedBatch(collection, ++number), {.token = token})
                  .Wait(testing::kPatience);
  } while (receipt.ok() && number < 50);
  ASSERT_TRUE(files.struck());
  ASSERT_FALSE(receipt.ok());
  EXPECT_EQ(number, fault.at);

  // The group's fate is not known, and the answer says so and why.
  EXPECT_EQ(receipt.status().code(), absl::StatusCode::kUnavailable) << receipt.status();
  EXPECT_EQ(GetOutcome(receipt.status()), Outcome::kUnknown);
  EXPECT_THAT(MessageOf(receipt.status()), HasSubstr(CauseText(fault.error)));
  EXPECT_THAT(MessageOf(receipt.status()), HasSubstr(directory.File("log")));
  const int64_t change_count = ChangeCount(files);

  // The engine stops by itself; before and after, later calls say why.
  for (int i = 0; i < 3; ++i) {
    if (i == 2) {
      ASSERT_TRUE(testing::AwaitStopped(*engine));
    }
    const auto later = engine->Commit(NumberedBatch(collection, 1000 + i)).Wait(testing::kPatience);
    EXPECT_THAT(later.status().code(),
                AnyOf(absl::StatusCode::kUnavailable, absl::StatusCode::kCancelled));
    EXPECT_EQ(GetOutcome(later.status()), Outcome::kNotExecuted);
    EXPECT_THAT(MessageOf(later.status()), HasSubstr(CauseText(fault.error)));
  }
  const auto flushed = engine->Flush().Wait(testing::kPatience);
  EXPECT_FALSE(flushed.ok());
  EXPECT_THAT(MessageOf(flushed.status()), HasSubstr(CauseText(fault.error)));
  EXPECT_FALSE(engine->CreateCollection("later").ok());
  EXPECT_FALSE(engine->GetOutcome(token).ok());
  EXPECT_THAT(MessageOf(engine->GetStatus().health), HasSubstr(CauseText(fault.error)));
  const ShutdownReport report = engine->Shutdown();
  EXPECT_TRUE(report.Balanced()) << report.ToString();
  EXPECT_EQ(engine->GetStatus().manifest, 0u) << "rotated after the log had failed";
  EXPECT_EQ(engine->GetStatus().flushed_version, 0u);
  EXPECT_EQ(ChangeCount(files), change_count) << "the log was touched after it had failed";
  engine.reset();
  testing::ExpectSound(directory.path());

  // What was acknowledged is there, the failed one whole or not at all.
  engine = OpenEngine(directory.path());
  ASSERT_NE(engine, nullptr);
  const Numbered found = ReadNumbered(*engine);
  EXPECT_EQ(found.fault, "");
  EXPECT_TRUE(found.IsPrefix());
  for (int i = 1; i < number; ++i) EXPECT_TRUE(found.Holds(i)) << i;
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(found.Holds(1000 + i));
  const auto outcome = engine->GetOutcome(token);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->state == CommitOutcome::State::kCommitted, found.Holds(number));
  EXPECT_TRUE(engine->Commit(NumberedBatch(collection, 2000)).Wait(testing::kPatience).ok());
}

TEST(LogFailureTest, FailedWriteStopsTheEngineAndLosesNothingAcknowledged) {
  for (const int error : {EIO, ENOSPC}) {
    for (const int64_t at : {1, 3}) {
      for (const auto effect :
           {FileFault::Effect::kNothing, FileFault::Effect::kPart, FileFault::Effect::kWhole}) {
        FailOnceAndReopen({.call = FileCall::kWrite, .at = at, .error = error, .effect = effect});
      }
    }
  }
}

TEST(LogFailureTest, FailedSyncStopsTheEngineAndLosesNothingAcknowledged) {
  for (const int error : {EIO, ENOSPC}) {
    for (const int64_t at : {1, 2, 5}) {
      for (const auto effect : {FileFault::Effect::kNothing, FileFault::Effect::kWhole}) {
        FailOnceAndReopen({.call = FileCall::kSync, .at = at, .error = error, .effect = effect});
      }
    }
  }
}

TEST(LogFailureTest, ShortWriteIsCompletedAndNobodyNotices) {
  TemporaryDirectory directory;
  FaultyFileSystem files(SystemFileSystem());
  const auto engine = OpenEngine(directory.path(), QuietOptions(), {.files = files});
  const Collection collection = NumberedCollection(*engine);
  for (int i = 1; i <= 5; ++i) {
    files.Fail({.call = FileCall::kWrite, .effect = FileFault::Effect::kShort});
    EXPECT_TRUE(engine->Commit(NumberedBatch(collection, i)).Wait(testing::kPatience).ok());
    EXPECT_TRUE(files.struck());
  }
  EXPECT_EQ(ReadNumbered(*engine).batches.size(), 5u);
  EXPECT_EQ(ReadNumbered(*engine).fault, "");
}

// Many clients, many groups: each answer keeps its word.
TEST(LogFailureTest, EveryAnswerUnderLoadHoldsAfterReopening) {
  for (int round = 0; round < 10; ++round) {
    SCOPED_TRACE(absl::StrCat("round ", round));
    TemporaryDirectory directory;
    FaultyFileSystem files(SystemFileSystem());
    EngineOptions options = QuietOptions();
    if (round % 2 == 1) options.rotate_rows = 30;
    auto engine = OpenEngine(directory.path(), options, {.files = files});
    const Collection collection = NumberedCollection(*engine);
    files.Fail({.call = round % 3 == 0 ? FileCall::kSync : FileCall::kWrite,
                .at = 3 + 4 * round,
                .effect = round % 4 < 2 ? FileFault::Effect::kWhole : FileFault::Effect::kPart});
    absl::Mutex mutex;
    std::map<int, absl::Status> answers;
    std::vector<std::thread> threads;
    for (int t = 0; t < 6; ++t) {
      threads.emplace_back([&, t] {
        int failed_count = 0;
        for (int i = 0; failed_count < 3; ++i) {
          const int number = t * 10'000 + i;
          const absl::Status status =
              engine->Commit(NumberedBatch(collection, number)).Wait(testing::kPatience).status();
          failed_count += !status.ok();
          absl::MutexLock lock(&mutex);
          answers[number] = status;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_TRUE(testing::AwaitStopped(*engine));
    EXPECT_TRUE(engine->Shutdown().Balanced());
    testing::ExpectSound(directory.path());
    engine = OpenEngine(directory.path());
    ASSERT_NE(engine, nullptr);
    const Numbered found = ReadNumbered(*engine);
    EXPECT_EQ(found.fault, "");
    EXPECT_TRUE(found.IsPrefix());
    int unknown_count = 0;
    for (const auto& [number, status] : answers) {
      if (status.ok()) {
        EXPECT_TRUE(found.Holds(number)) << number << " was acknowledged";
      } else if (GetOutcome(status) == Outcome::kNotExecuted) {
        EXPECT_FALSE(found.Holds(number)) << number << " was not to be executed: " << status;
      } else {
        ++unknown_count;
      }
      if (status.ok()) continue;
      EXPECT_THAT(MessageOf(status), HasSubstr("Input/output error")) << status;
    }
    EXPECT_GT(unknown_count, 0);
  }
}

TEST(LogFailureTest, DiskWithoutRoomForTheNextLogFileRefusesCommitsAndServesOnceThereIsRoom) {
  TemporaryDirectory directory;
  testing::SteeredFileSystem disk(SystemFileSystem());
  auto engine = OpenEngine(directory.path(), QuietOptions(), {.files = disk});
  const Collection collection = NumberedCollection(*engine);
  disk.set_full(true);
  int number = 0;
  absl::Status status;
  while (number < 100) {
    status = engine->Commit(NumberedBatch(collection, ++number, 10'000))
                 .Wait(testing::kPatience)
                 .status();
    if (!status.ok()) break;
  }
  EXPECT_GT(number, 20);  // The first file was used up.
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_EQ(GetOutcome(status), Outcome::kNotExecuted);
  EXPECT_THAT(MessageOf(status), HasSubstr("No space left"));
  EXPECT_THAT(MessageOf(status), HasSubstr(directory.File("log")));

  // Still refused, what is there can be read, and nothing of the refused one is.
  EXPECT_EQ(engine->Commit(NumberedBatch(collection, number, 10'000))
                .Wait(testing::kPatience)
                .status()
                .code(),
            absl::StatusCode::kResourceExhausted);
  Numbered found = ReadNumbered(*engine);
  EXPECT_EQ(found.fault, "");
  EXPECT_EQ(found.batches.size(), static_cast<size_t>(number - 1));

  disk.set_full(false);
  for (int i = number; i < number + 50; ++i) {
    const auto receipt =
        engine->Commit(NumberedBatch(collection, i, 10'000)).Wait(testing::kPatience);
    ASSERT_TRUE(receipt.ok()) << receipt.status();
  }
  found = ReadNumbered(*engine);
  EXPECT_EQ(found.fault, "");
  EXPECT_TRUE(found.IsPrefix());
  EXPECT_EQ(found.batches.size(), static_cast<size_t>(number + 49));
  EXPECT_TRUE(engine->Flush().Wait(testing::kPatience).ok());
  engine.reset();
  testing::ExpectSound(directory.path());
  engine = OpenEngine(directory.path());
  EXPECT_EQ(ReadNumbered(*engine).batches.size(), static_cast<size_t>(number + 49));
}

TEST(LogFailureTest, FailedSyncOfAnIntervalStopsTheEngineWithItsCause) {
  TemporaryDirectory directory;
  FaultyFileSystem files(SystemFileSystem());
  EngineOptions options = QuietOptions();
  options.sync_interval = absl::Milliseconds(1);
  options.durability = Durability::kInterval;
  const auto engine = OpenEngine(directory.path(), options, {.files = files});
  const Collection collection = NumberedCollection(*engine);
  files.Fail({.call = FileCall::kSync});
  absl::Status status;
  for (int i = 0; status.ok() && i < 100'000; ++i) {
    status = engine->Commit(NumberedBatch(collection, i)).Wait(testing::kPatience).status();
  }
  EXPECT_THAT(MessageOf(status), HasSubstr("Input/output error"));
  EXPECT_TRUE(testing::AwaitStopped(*engine));
  EXPECT_THAT(MessageOf(engine->GetStatus().health), HasSubstr("Input/output error"));
}

TEST(LogFailureTest, FailedSyncOfARotationPublishesNothing) {
  TemporaryDirectory directory;
  FaultyFileSystem files(SystemFileSystem());
  EngineOptions options = QuietOptions();
  options.durability = Durability::kNone;
  const auto engine = OpenEngine(directory.path(), options, {.files = files});
  const Collection collection = NumberedCollection(*engine);
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(engine->Commit(NumberedBatch(collection, i)).Wait(testing::kPatience).ok());
  }
  files.Fail({.call = FileCall::kSync});
  const auto flushed = engine->Flush().Wait(testing::kPatience);
  EXPECT_FALSE(flushed.ok());
  EXPECT_THAT(MessageOf(flushed.status()), HasSubstr("Input/output error"));
  EXPECT_TRUE(testing::AwaitStopped(*engine));
  engine->Shutdown();
  EXPECT_EQ(engine->GetStatus().manifest, 0u);
}

// Whatever call of the log fails while a store is opened, the open fails and names it, or succeeds;
// and the next one finds everything.
TEST(LogFailureTest, FailureOfAnyCallDuringRecoveryLosesNothing) {
  int failed_count = 0;
  for (int64_t at = 1; at <= 25; ++at) {
    TemporaryDirectory directory;
    {
      auto engine = OpenEngine(directory.path());
      const Collection collection = NumberedCollection(*engine);
      for (int i = 0; i < 5; ++i) {
        ASSERT_TRUE(engine->Commit(NumberedBatch(collection, i)).Wait(testing::kPatience).ok());
      }
    }
    FaultyFileSystem files(SystemFileSystem());
    files.Fail({.call = std::nullopt, .at = at});
    const absl::StatusOr<std::unique_ptr<Engine>> opened =
        Engine::Open(directory.path(), QuietOptions(), {.files = files});
    if (!opened.ok()) {
      ++failed_count;
      EXPECT_THAT(MessageOf(opened.status()), HasSubstr(directory.path())) << "call " << at;
    }
    if (opened.ok()) (*opened)->Shutdown();
    testing::ExpectSound(directory.path());
    const auto engine = opened.ok() ? nullptr : OpenEngine(directory.path());
    if (engine == nullptr) continue;
    const Numbered found = ReadNumbered(*engine);
    EXPECT_EQ(found.fault, "") << "call " << at;
    EXPECT_EQ(found.batches.size(), 5u) << "call " << at;
  }
  EXPECT_GT(failed_count, 5);
}

}  // namespace
}  // namespace millrace
