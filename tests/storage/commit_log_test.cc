#include "millrace/storage/commit_log.h"

#include <errno.h>

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/storage/log_life.h"
#include "tests/testing/faulty_file_system.h"

namespace millrace::storage {
namespace {

using testing::FaultyFileSystem;
using testing::FileCall;
using testing::FileEvent;
using testing::PowerLossFileSystem;

TEST(CommitLogTest, AFreshLogIsEmptyAndBeginsWithVersionOne) {
  PowerLossFileSystem files;
  const LogLife life = OpenLog(files, SmallLog());
  ASSERT_TRUE(life.status.ok()) << life.status;
  EXPECT_EQ(life.log->epoch(), 1u);
  EXPECT_EQ(life.log->current_file(), 1u);
  EXPECT_EQ(life.log->last_version(), 0u);
  EXPECT_EQ(life.log->synced_version(), 0u);
  EXPECT_EQ(life.report.file_count, 0u);
}

TEST(CommitLogTest, BatchesComeBackInOrderWithTheirVersions) {
  PowerLossFileSystem files;
  {
    LogLife life = OpenLog(files, SmallLog());
    ASSERT_TRUE(AppendGroup(*life.log, 3).ok());
    EXPECT_EQ(life.log->last_version(), 3u);
    EXPECT_EQ(life.log->synced_version(), 3u);
    ASSERT_TRUE(AppendGroup(*life.log, 1, /*sync=*/false).ok());
    EXPECT_EQ(life.log->last_version(), 4u);
    EXPECT_EQ(life.log->synced_version(), 3u);
  }
  const LogLife life = OpenLog(files, SmallLog());
  EXPECT_EQ(ReplayFault(life, 1, 4), "");
  EXPECT_EQ(life.report.group_count, 2u);
  EXPECT_EQ(life.report.batch_count, 4u);
  EXPECT_EQ(life.report.file_count, 1u);
  EXPECT_TRUE(life.report.warnings.empty());
  EXPECT_EQ(life.log->synced_version(), 4u) << "recovery syncs what it keeps";
}

TEST(CommitLogTest, EveryLifeHasAnEpochOfItsOwn) {
  PowerLossFileSystem files;
  uint64_t epoch = 0;
  Version last = 0;
  for (int life_number = 0; life_number < 40; ++life_number) {
    LogLife life = OpenLog(files, SmallLog());
    ASSERT_EQ(ReplayFault(life, 1, last), "");
    EXPECT_GT(life.log->epoch(), epoch);
    EXPECT_EQ(life.log->epoch(), life.log->current_file());
    epoch = life.log->epoch();
    // Some lives write nothing, some several files; every second one stops cleanly.
    for (int group = 0; group < life_number % 4 * 15; ++group) {
      ASSERT_TRUE(AppendGroup(*life.log, 2).ok());
    }
    last = life.log->last_version();
    if (life_number % 2 == 0) {
      ASSERT_TRUE(life.log->CloseCleanly().ok());
    }
  }
}

TEST(CommitLogTest, GroupsRollOverToTheNextFile) {
  PowerLossFileSystem files;
  Version last = 0;
  {
    LogLife life = OpenLog(files, SmallLog());
    while (life.log->current_file() < 4) {
      ASSERT_TRUE(AppendGroup(*life.log, 2, /*sync=*/false).ok());
    }
    EXPECT_GE(life.log->synced_version() + 2, life.log->last_version()) << "a roll syncs";
    last = life.log->last_version();
  }
  const LogLife life = OpenLog(files, SmallLog());
  EXPECT_EQ(ReplayFault(life, 1, last), "");
  EXPECT_EQ(life.report.file_count, 4u);
}

TEST(CommitLogTest, AGroupIsOneWriteAndOneSyncAndNothingElse) {
  PowerLossFileSystem memory;
  FaultyFileSystem files(memory);
  LogLife life = OpenLog(files, SmallLog(64 << 10));
  const uint64_t size = memory.Contents("/log/00000000000000000001.log").size();
  files.ClearEvents();
  uint64_t end = kOpeningBytes;
  for (int group = 0; group < 20; ++group) {
    ASSERT_TRUE(AppendGroup(*life.log, 5).ok());
    const std::vector<FileEvent> events = files.events();
    ASSERT_EQ(events.size(), 2u * (group + 1));
    const FileEvent& write = events[events.size() - 2];
    EXPECT_EQ(write.call, FileCall::kWrite);
    EXPECT_EQ(write.offset, end);
    EXPECT_EQ(events.back().call, FileCall::kSync);
    end += write.size - kEndMarkBytes;
  }
  EXPECT_LE(end + kEndMarkBytes, size) << "the file was as long before";
  ASSERT_TRUE(life.log->Sync().ok());
  EXPECT_EQ(files.total_count(), 40) << "nothing was owed";
}

TEST(CommitLogTest, APreparedRollOverTouchesNoMetadata) {
  PowerLossFileSystem memory;
  FaultyFileSystem files(memory);
  LogLife life = OpenLog(files, SmallLog());
  ASSERT_FALSE(life.log->wants_next_file());
  while (!life.log->wants_next_file()) ASSERT_TRUE(AppendGroup(*life.log, 1).ok());
  int steps = 1;
  absl::StatusOr<bool> more = life.log->PrepareStep();
  while (more.ok() && *more) {
    more = life.log->PrepareStep();
    ++steps;
  }
  ASSERT_TRUE(more.ok()) << more.status();
  EXPECT_EQ(steps, 4) << "4096 bytes in steps of 1024";
  EXPECT_FALSE(life.log->wants_next_file());
  files.ClearEvents();
  while (life.log->current_file() == 1) ASSERT_TRUE(AppendGroup(*life.log, 1).ok());
  for (const FileEvent& event : files.events()) {
    EXPECT_TRUE(event.call == FileCall::kWrite || event.call == FileCall::kSync)
        << static_cast<int>(event.call) << " of " << event.path;
  }
}

TEST(CommitLogTest, RecycledFilesNeverGiveTheirOldGroupsBack) {
  PowerLossFileSystem files;
  Version last = 0;
  Version flushed = 0;
  LogStart start;
  {
    LogLife life = OpenLog(files, SmallLog());
    for (int round = 0; round < 12; ++round) {
      flushed = life.log->last_version();
      start = {.floor_file = life.log->current_file(),
               .flushed_version = flushed,
               .durable_version = flushed};
      const uint64_t file = life.log->current_file();
      while (life.log->current_file() < file + 2) ASSERT_TRUE(AppendGroup(*life.log, 1).ok());
      ASSERT_TRUE(life.log->Recycle(start.floor_file).ok());
    }
    last = life.log->last_version();
  }
  const absl::StatusOr<std::vector<std::string>> names = files.List("/log");
  ASSERT_TRUE(names.ok());
  int spares = 0;
  for (const std::string& name : *names) spares += ParseSpareFileName(name).has_value();
  EXPECT_LE(spares, 2);
  const LogLife life = OpenLog(files, SmallLog(), start);
  ASSERT_TRUE(life.status.ok()) << life.status;
  EXPECT_LE(life.first_replayed(), flushed + 1);
  EXPECT_EQ(ReplayFault(life, life.first_replayed(), last), "");
}

TEST(CommitLogTest, RecyclingReusesFilesAndLimitsSpares) {
  PowerLossFileSystem memory;
  FaultyFileSystem files(memory);
  LogLife life = OpenLog(files, SmallLog());
  while (life.log->current_file() < 6) ASSERT_TRUE(AppendGroup(*life.log, 1).ok());
  ASSERT_TRUE(life.log->Recycle(6).ok());
  EXPECT_EQ(memory.List("/log")->size(), 3u) << "the current one and two spares";
  files.ClearEvents();
  while (life.log->wants_next_file() || life.log->current_file() == 6) {
    ASSERT_TRUE(AppendGroup(*life.log, 1).ok());
  }
  for (const FileEvent& event : files.events()) {
    if (event.call == FileCall::kWrite) {
      EXPECT_NE(event.path, "/log/next.tmp") << "a spare needs no zeros";
    }
  }
  EXPECT_EQ(memory.List("/log")->size(), 3u);
  EXPECT_TRUE(life.log->Recycle(100).ok());  // Never the current one.
}

TEST(CommitLogTest, ReopeningWritesWhatTheLastFileHoldsAndNoZeros) {
  PowerLossFileSystem memory;
  FaultyFileSystem files(memory);
  for (const bool exchanges : {true, false}) {
    memory.set_cannot_exchange(!exchanges);
    LogLife life = OpenLog(files, SmallLog(64 << 10));
    life = OpenLog(files, SmallLog(64 << 10));
    ASSERT_TRUE(AppendGroup(*life.log, 5).ok());
    const Version last = life.log->last_version();
    files.ClearEvents();
    life = OpenLog(files, SmallLog(64 << 10));
    EXPECT_EQ(ReplayFault(life, 1, last), "");
    uint64_t written = 0;
    for (const FileEvent& event : files.events()) {
      if (event.call == FileCall::kWrite) written += event.size;
    }
    if (exchanges) {
      EXPECT_LT(written, 2000u);
    }
    EXPECT_LE(memory.List("/log")->size(), 2u);
  }
}

TEST(CommitLogTest, TheFirstErrorIsTheAnswerToEverythingAfterIt) {
  struct Case {
    const char* name;
    testing::FileFault fault;
  };
  const Case cases[] = {
      {"write", {.call = FileCall::kWrite}},
      {"half a write", {.call = FileCall::kWrite, .effect = testing::FileFault::Effect::kPart}},
      {"full disk", {.call = FileCall::kWrite, .error = 28}},
      {"sync", {.call = FileCall::kSync}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    PowerLossFileSystem memory;
    FaultyFileSystem files(memory);
    LogLife life = OpenLog(files, SmallLog());
    ASSERT_TRUE(AppendGroup(*life.log, 1).ok());
    files.Fail(c.fault);
    const absl::Status first = AppendGroup(*life.log, 1);
    EXPECT_FALSE(first.ok());
    EXPECT_NE(first.message().find("/log/00000000000000000001.log"), absl::string_view::npos)
        << first;
    files.ClearEvents();
    EXPECT_EQ(AppendGroup(*life.log, 1), first);
    EXPECT_EQ(life.log->Append(), first);
    EXPECT_EQ(life.log->Sync(), first);
    EXPECT_EQ(life.log->Reserve(1), first);
    EXPECT_EQ(life.log->Recycle(1).code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(life.log->CloseCleanly(), first);
    EXPECT_EQ(files.total_count(), 0) << "nothing was tried again";
    EXPECT_EQ(life.log->synced_version(), 1u);
  }
}

TEST(CommitLogTest, InterruptedAndShortTransfersAreFinished) {
  PowerLossFileSystem memory;
  FaultyFileSystem files(memory);
  {
    LogLife life = OpenLog(files, SmallLog());
    files.Fail({.call = FileCall::kWrite, .effect = testing::FileFault::Effect::kShort});
    ASSERT_TRUE(AppendGroup(*life.log, 2).ok());
    EXPECT_TRUE(files.struck());
    files.Fail({.call = FileCall::kWrite, .error = EINTR});
    ASSERT_TRUE(AppendGroup(*life.log, 2).ok());
    EXPECT_TRUE(files.struck());
    files.Fail({.call = FileCall::kSync, .error = EINTR});
    ASSERT_TRUE(AppendGroup(*life.log, 2).ok());
    EXPECT_TRUE(files.struck());
  }
  files.Fail({.call = FileCall::kRead, .effect = testing::FileFault::Effect::kShort});
  EXPECT_EQ(ReplayFault(OpenLog(files, SmallLog()), 1, 6), "");
  EXPECT_TRUE(files.struck());
}

TEST(CommitLogTest, AFullDiskInPreparationLeavesTheLogAsItWas) {
  PowerLossFileSystem memory;
  FaultyFileSystem files(memory);
  Version last = 0;
  {
    LogLife life = OpenLog(files, SmallLog());
    while (!life.log->wants_next_file()) ASSERT_TRUE(AppendGroup(*life.log, 1).ok());
    ASSERT_TRUE(*life.log->PrepareStep());
    files.Fail({.call = FileCall::kWrite, .error = ENOSPC, .forever = true});
    EXPECT_EQ(life.log->PrepareStep().status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(life.log->Reserve(3000).code(), absl::StatusCode::kResourceExhausted);
    files.Heal();
    EXPECT_EQ(life.log->current_file(), 1u);
    ASSERT_TRUE(AppendGroup(*life.log, 1).ok()) << "there is room in the current file";
    EXPECT_EQ(life.log->current_file(), 1u);
    ASSERT_TRUE(life.log->Reserve(3000).ok()) << "space came back";
    EXPECT_EQ(life.log->current_file(), 2u);
    ASSERT_TRUE(AppendGroup(*life.log, 3).ok());
    last = life.log->last_version();
  }
  EXPECT_EQ(ReplayFault(OpenLog(files, SmallLog()), 1, last), "");
}

TEST(CommitLogTest, AGroupThatFitsNoFileIsRefused) {
  PowerLossFileSystem files;
  LogLife life = OpenLog(files, SmallLog());
  LogGroup& group = life.log->BeginGroup();
  group.Add(std::string(4096 - kFileTailBytes - kGroupHeaderBytes - kBatchHeaderBytes, 'x'));
  EXPECT_TRUE(life.log->Reserve(group.bytes()).ok());
  EXPECT_EQ(life.log->current_file(), 2u) << "it needs a whole file";
  EXPECT_EQ(life.log->Reserve(group.bytes() + 1).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(life.log->Append().ok());
  EXPECT_TRUE(life.log->CloseCleanly().ok());
  for (int i = 0; i < 3; ++i) {
    life = OpenLog(files, SmallLog());
    ASSERT_TRUE(life.status.ok()) << life.status;
    EXPECT_EQ(life.replayed.size(), 1u);
    EXPECT_TRUE(life.log->CloseCleanly().ok());
  }
}

TEST(CommitLogTest, UnusableOptionsAreRefused) {
  PowerLossFileSystem files;
  CommitLogOptions options = SmallLog();
  options.file_bytes = 100;
  EXPECT_EQ(OpenLog(files, options).status.code(), absl::StatusCode::kInvalidArgument);
  options = SmallLog();
  options.directory.clear();
  EXPECT_EQ(OpenLog(files, options).status.code(), absl::StatusCode::kInvalidArgument);
  options = SmallLog();
  options.preallocate_step_bytes = 0;
  EXPECT_EQ(OpenLog(files, options).status.code(), absl::StatusCode::kInvalidArgument);
}

TEST(CommitLogTest, FileSizesMayChangeBetweenLives) {
  PowerLossFileSystem files;
  Version last = 0;
  for (const uint64_t bytes : {16384, 4096, 8192, 32768, 4096}) {
    LogLife life = OpenLog(files, SmallLog(bytes));
    ASSERT_EQ(ReplayFault(life, 1, last), "");
    for (int group = 0; group < 60; ++group) ASSERT_TRUE(AppendGroup(*life.log, 3).ok());
    last = life.log->last_version();
  }
}

TEST(CommitLogTest, AnErrorOfReplayIsTheAnswer) {
  PowerLossFileSystem files;
  ASSERT_TRUE(AppendGroup(*OpenLog(files, SmallLog()).log, 5).ok());
  const auto refuse = [](const LoggedBatch& batch) {
    return batch.version == 3 ? absl::AbortedError("no third") : absl::OkStatus();
  };
  EXPECT_EQ(CommitLog::Open(files, SmallLog(), {}, refuse, nullptr).status(),
            absl::AbortedError("no third"));
  EXPECT_EQ(ReplayFault(OpenLog(files, SmallLog()), 1, 5), "");
}

}  // namespace
}  // namespace millrace::storage
