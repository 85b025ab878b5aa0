// Crashes and power losses at every call, and a random model of many lives.

#include <errno.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/storage/log_life.h"
#include "tests/testing/faulty_file_system.h"
#include "tests/testing/power_loss_file_system.h"

#include "millrace/storage/commit_log.h"

namespace millrace::storage {
namespace {

using testing::FaultyFileSystem;
using testing::FileFault;
using testing::PowerLossFileSystem;

// What the test knows of the log from outside. `start` is what LMDB would hold.
struct Oracle {
  LogStart start;
  Version synced = 0;     // Acknowledged as durable.
  Version attempted = 0;  // Handed to Append at most.
};

// Empty if a reopened log holds a prefix of what was attempted that contains what was synced.
std::string PrefixFault(const Oracle& oracle, const LogLife& life) {
  if (!life.status.ok()) return life.status.ToString();
  const Version last = life.log->last_version();
  if (last < oracle.synced) {
    return "version " + std::to_string(oracle.synced) + " was durable, but the log ends with " +
           std::to_string(last);
  }
  if (last > oracle.attempted) return "version " + std::to_string(last) + " was never written";
  if (life.replayed.empty()) {
    return last > oracle.start.flushed_version ? "nothing was replayed" : "";
  }
  if (life.first_replayed() > oracle.start.flushed_version + 1) return "replay begins too late";
  return ReplayFault(life, life.first_replayed(), last);
}

// One life that does everything a log can do, until something fails. Returns the first error.
absl::Status LiveOnce(FileSystem& files, Oracle& oracle, uint64_t* epoch) {
  LogLife life = OpenLog(files, SmallLog(), oracle.start);
  if (!life.status.ok()) return life.status;
  CommitLog& log = *life.log;
  *epoch = log.epoch();
  oracle.synced = std::max(oracle.synced, log.last_version());
  oracle.attempted = log.last_version();
  const uint64_t first_file = log.current_file();
  LogStart rotated;
  int group = 0;
  while (log.current_file() < first_file + 4) {
    ++group;
    oracle.attempted = log.last_version() + 3;
    if (absl::Status s = AppendGroup(log, 3, /*sync=*/group % 3 != 0); !s.ok()) return s;
    oracle.synced = log.synced_version();
    if (log.wants_next_file() && log.current_file() % 2 == 0) {
      if (absl::Status s = log.PrepareStep().status(); !s.ok()) return s;
    }
    if (group % 16 == 5) {
      if (absl::Status s = log.Sync(); !s.ok()) return s;
      oracle.synced = log.synced_version();
      rotated = {.floor_file = log.current_file(),
                 .flushed_version = log.last_version(),
                 .durable_version = log.last_version()};
    }
    if (group % 16 == 15) {
      oracle.start = rotated;
      if (absl::Status s = log.Recycle(rotated.floor_file); !s.ok()) return s;
    }
  }
  return log.CloseCleanly();
}

// Builds the past that the crashing life finds: several files, a recycled one, a torn tail.
Oracle BuildPast(PowerLossFileSystem& files) {
  Oracle oracle;
  uint64_t epoch = 0;
  EXPECT_TRUE(LiveOnce(files, oracle, &epoch).ok());
  LogLife life = OpenLog(files, SmallLog(), oracle.start);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(AppendGroup(*life.log, 2).ok());
  oracle.synced = oracle.attempted = life.log->last_version();
  const std::string path = "/log/" + LogFileName(life.log->current_file());
  oracle.attempted += 2;
  EXPECT_TRUE(AppendGroup(*life.log, 2, /*sync=*/false).ok());
  return oracle;
}

// Reopens twice: recovery must not depend on how often it ran.
void ExpectPrefix(const Oracle& oracle, PowerLossFileSystem& files, uint64_t dead_epoch,
                  const std::string& what) {
  const LogLife once = OpenLog(files, SmallLog(), oracle.start);
  ASSERT_EQ(PrefixFault(oracle, once), "") << what;
  EXPECT_GT(once.log->epoch(), dead_epoch) << what;
  const LogLife twice = OpenLog(files, SmallLog(), oracle.start);
  ASSERT_EQ(PrefixFault(oracle, twice), "") << what;
  ASSERT_EQ(twice.log->last_version(), once.log->last_version()) << what;
  EXPECT_GT(twice.log->epoch(), once.log->epoch()) << what;
}

TEST(CommitLogCrashTest, AProcessMayDieAtAnyFileCall) {
  PowerLossFileSystem past;
  const Oracle before = BuildPast(past);
  for (const FileFault::Effect effect :
       {FileFault::Effect::kNothing, FileFault::Effect::kPart, FileFault::Effect::kWhole}) {
    int64_t calls = 0;
    for (int64_t k = 1;; ++k) {
      PowerLossFileSystem memory;
      memory.CopyFrom(past);
      FaultyFileSystem files(memory);
      files.Fail({.at = k, .effect = effect, .forever = true});
      Oracle oracle = before;
      uint64_t epoch = 0;
      const absl::Status status = LiveOnce(files, oracle, &epoch);
      if (!files.struck()) {
        EXPECT_TRUE(status.ok()) << status;
        break;
      }
      calls = k;
      ExpectPrefix(oracle, memory, epoch, "call " + std::to_string(k));
      if (HasFatalFailure()) return;
    }
    EXPECT_GT(calls, 150);
  }
}

TEST(CommitLogCrashTest, ThePowerMayFailAtAnyFileCall) {
  PowerLossFileSystem past;
  const Oracle before = BuildPast(past);
  for (int64_t k = 1;; ++k) {
    bool struck = true;
    for (uint64_t seed = 0; seed < 12 && struck; ++seed) {
      PowerLossFileSystem memory;
      memory.CopyFrom(past);
      FaultyFileSystem files(memory);
      files.Fail({.at = k, .effect = FileFault::Effect::kPart, .forever = true});
      Oracle oracle = before;
      uint64_t epoch = 0;
      LiveOnce(files, oracle, &epoch).IgnoreError();
      struck = files.struck();
      memory.PowerLoss(seed);
      ExpectPrefix(oracle, memory, epoch,
                   "call " + std::to_string(k) + ", seed " + std::to_string(seed));
      if (HasFatalFailure()) return;
    }
    if (!struck) break;
  }
}

// A failed sync loses for good what it should have written, and the machine goes on: first without
// the log noticing anything but the error, then without power.
TEST(CommitLogCrashTest, WhatAFailedSyncLostIsNeverPromised) {
  PowerLossFileSystem past;
  const Oracle before = BuildPast(past);
  int failures = 0;
  for (int64_t at = 1; at < 120; ++at) {
    PowerLossFileSystem memory;
    memory.CopyFrom(past);
    memory.FailSync(at);
    Oracle oracle = before;
    uint64_t epoch = 0;
    LogLife life = OpenLog(memory, SmallLog(), oracle.start);
    failures += !life.status.ok();
    if (!life.status.ok()) life = OpenLog(memory, SmallLog(), oracle.start);
    ASSERT_TRUE(life.status.ok()) << life.status;
    epoch = life.log->epoch();
    oracle.synced = life.log->synced_version();
    for (int group = 0; group < 90; ++group) {
      oracle.attempted = life.log->last_version() + 3;
      failures += !AppendGroup(*life.log, 3, group % 3 != 0).ok();
      if (group % 4 == 0) failures += !life.log->PrepareStep().ok();
      oracle.synced = life.log->synced_version();
    }
    memory.FailSync(0);
    memory.PowerLoss(static_cast<uint64_t>(at));
    ExpectPrefix(oracle, memory, epoch, "sync " + std::to_string(at));
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(failures, 100);
}

// A call fails once, the machine goes on: what is answered afterwards must still be true.
TEST(CommitLogCrashTest, OneFailingCallNeverMakesAFalsePromise) {
  PowerLossFileSystem past;
  const Oracle before = BuildPast(past);
  for (const int error : {EIO, ENOSPC}) {
    for (int64_t k = 1;; ++k) {
      PowerLossFileSystem memory;
      memory.CopyFrom(past);
      FaultyFileSystem files(memory);
      files.Fail({.at = k, .error = error});
      Oracle oracle = before;
      uint64_t epoch = 0;
      LogLife life = OpenLog(files, SmallLog(), oracle.start);
      if (!life.status.ok()) life = OpenLog(files, SmallLog(), oracle.start);
      ASSERT_TRUE(life.status.ok()) << life.status;
      epoch = life.log->epoch();
      for (int group = 0; group < 60; ++group) {
        oracle.attempted = std::max(oracle.attempted, life.log->last_version() + 3);
        AppendGroup(*life.log, 3, group % 3 != 0).IgnoreError();
        oracle.synced = std::max(oracle.synced, life.log->synced_version());
        life.log->Recycle(oracle.start.floor_file).IgnoreError();
        if (group % 2 == 0) life.log->PrepareStep().IgnoreError();
      }
      memory.PowerLoss(static_cast<uint64_t>(k));
      ExpectPrefix(oracle, memory, epoch, "call " + std::to_string(k));
      if (HasFatalFailure()) return;
      if (!files.struck()) break;
    }
  }
}

// Random lives, each ended by a clean stop, a crash or a power loss; some power losses hit
// recovery.
class Model {
 public:
  explicit Model(uint64_t seed, bool sync_lies = false) : dice_(seed) {
    files_.set_sync_lies(sync_lies);
    files_.set_cannot_exchange(seed % 3 == 0);
  }

  // Empty, or the first wrong thing.
  std::string Run(int lives) {
    for (int life = 0; life < lives; ++life) {
      if (std::string fault = LiveAndEnd(); !fault.empty()) {
        return "life " + std::to_string(life) + ": " + fault;
      }
    }
    return {};
  }

 private:
  std::string LiveAndEnd() {
    if (Roll(4) == 0) CrashInRecovery();
    options_.file_bytes = 4096 << Roll(2);
    LogLife life = OpenLog(files_, options_, oracle_.start);
    if (std::string fault = PrefixFault(oracle_, life); !fault.empty()) return fault;
    if (life.log->epoch() <= epoch_) return "the epoch did not grow";
    epoch_ = life.log->epoch();
    oracle_.synced = oracle_.attempted = life.log->last_version();
    const bool durable = Roll(2) == 0;
    for (uint64_t step = Roll(150); step > 0; --step) {
      if (absl::Status s = Step(*life.log, durable); !s.ok()) return s.ToString();
    }
    if (Roll(3) == 0) {
      if (absl::Status s = life.log->CloseCleanly(); !s.ok()) return s.ToString();
      oracle_.synced = life.log->synced_version();
    }
    life.log = nullptr;
    if (Roll(2) == 0) files_.PowerLoss(dice_());
    return {};
  }

  absl::Status Step(CommitLog& log, bool durable) {
    switch (Roll(12)) {
      case 0:
        return log.PrepareStep().status();
      case 1: {  // A rotation: the log is synced, its place becomes the next floor.
        if (absl::Status s = log.Sync(); !s.ok()) return s;
        oracle_.synced = log.synced_version();
        next_start_ = {.floor_file = log.current_file(),
                       .flushed_version = log.last_version(),
                       .durable_version = log.last_version()};
        next_start_life_ = epoch_;
        return absl::OkStatus();
      }
      case 2: {  // The flush is published, or only its first slice.
        if (next_start_life_ != epoch_) return absl::OkStatus();
        if (Roll(2) == 0) {
          oracle_.start.durable_version =
              std::max(oracle_.start.durable_version, next_start_.durable_version);
          return absl::OkStatus();
        }
        oracle_.start = next_start_;
        return log.Recycle(oracle_.start.floor_file);
      }
      default: {
        const int count = 1 + static_cast<int>(Roll(6));
        oracle_.attempted = log.last_version() + count;
        absl::Status s = AppendGroup(log, count, durable || Roll(8) == 0);
        oracle_.synced = log.synced_version();
        return s;
      }
    }
  }

  void CrashInRecovery() {
    FaultyFileSystem faulty(files_);
    faulty.Fail({.at = 1 + static_cast<int64_t>(Roll(25)),
                 .effect = FileFault::Effect::kPart,
                 .forever = true});
    const LogLife life = OpenLog(faulty, options_, oracle_.start);
    if (life.status.ok()) epoch_ = life.log->epoch();
    if (Roll(2) == 0) files_.PowerLoss(dice_());
  }

  uint64_t Roll(uint64_t sides) { return dice_() % sides; }

  std::mt19937_64 dice_;
  PowerLossFileSystem files_;
  CommitLogOptions options_ = SmallLog();
  Oracle oracle_;
  LogStart next_start_;
  uint64_t next_start_life_ = 0;
  uint64_t epoch_ = 0;
};

TEST(CommitLogCrashTest, RandomLivesKeepEveryPromise) {
  constexpr uint64_t kFirstSeed = 20261121;
  for (uint64_t seed = kFirstSeed; seed < kFirstSeed + 60; ++seed) {
    ASSERT_EQ(Model(seed).Run(25), "") << "seed " << seed;
  }
}

// The control: with a sync that does nothing, the same test must fail.
TEST(CommitLogCrashTest, RandomLivesFailWhereSyncDoesNothing) {
  int broken = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    broken += !Model(seed, /*sync_lies=*/true).Run(10).empty();
  }
  EXPECT_GE(broken, 18);
}

TEST(CommitLogCrashTest, TheNextFileIsMadeReadyOnAnotherThread) {
  PowerLossFileSystem files;
  LogLife life = OpenLog(files, SmallLog());
  CommitLog& log = *life.log;
  std::atomic<bool> done = false;
  std::thread streamer([&] {
    while (!done.load()) {
      if (log.wants_next_file()) {
        EXPECT_TRUE(log.PrepareStep().ok());
      }
      EXPECT_LE(log.synced_version(), 30'000u);
    }
  });
  uint64_t floor = 1;
  for (int group = 0; group < 3000; ++group) {
    ASSERT_TRUE(AppendGroup(log, 10, group % 4 == 0).ok());
    if (group % 100 == 99) {
      ASSERT_TRUE(log.Recycle(floor).ok());
      floor = log.current_file();
    }
  }
  done = true;
  streamer.join();
  const Version last = log.last_version();
  ASSERT_TRUE(log.CloseCleanly().ok());
  const LogLife reopened = OpenLog(
      files, SmallLog(), {.floor_file = floor, .flushed_version = last, .durable_version = last});
  EXPECT_EQ(ReplayFault(reopened, reopened.first_replayed(), last), "");
}

}  // namespace
}  // namespace millrace::storage
