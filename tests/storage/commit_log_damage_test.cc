// Damage to a log that was written well: every byte changed, every length cut, every file removed.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "tests/storage/log_life.h"
#include "tests/testing/power_loss_file_system.h"

#include "millrace/storage/commit_log.h"

namespace millrace::storage {
namespace {

using testing::PowerLossFileSystem;

// A log of several files and lives, and what opening it must give.
struct Specimen {
  PowerLossFileSystem files;
  std::vector<std::string> names;  // Of log files, in order.
  LogStart start;
  Version first = 1;
  Version last = 0;
  Version last_but_one_group = 0;  // Where the last group begins, less one.
};

void Remember(Specimen& specimen) {
  const absl::StatusOr<std::vector<std::string>> names = specimen.files.List("/log");
  for (const std::string& name : *names) {
    if (ParseLogFileName(name).has_value()) specimen.names.push_back("/log/" + name);
  }
}

void WriteGroups(Specimen& specimen, CommitLog& log, uint64_t until_file, int further_groups) {
  while (log.current_file() < until_file) ASSERT_TRUE(AppendGroup(log, 2).ok());
  for (int i = 0; i < further_groups; ++i) ASSERT_TRUE(AppendGroup(log, 1 + i % 3).ok());
  specimen.last = log.last_version();
  specimen.last_but_one_group = specimen.last - (1 + (further_groups - 1) % 3);
}

// The first file was rewritten by recovery; the second holds old groups of a recycled one behind
// its own, and so does the last.
void BuildSpecimen(Specimen& specimen, bool stop_cleanly) {
  LogLife life = OpenLog(specimen.files, SmallLog());
  WriteGroups(specimen, *life.log, 3, 6);
  life = OpenLog(specimen.files, SmallLog());
  WriteGroups(specimen, *life.log, 5, 2);
  specimen.start = {.floor_file = life.log->current_file(),
                    .flushed_version = specimen.last,
                    .durable_version = specimen.last};
  ASSERT_TRUE(life.log->Recycle(5).ok());
  life = OpenLog(specimen.files, SmallLog(), specimen.start);
  ASSERT_TRUE(life.status.ok()) << life.status;
  specimen.first = life.first_replayed();
  WriteGroups(specimen, *life.log, 8, 7);
  if (stop_cleanly) {
    ASSERT_TRUE(life.log->CloseCleanly().ok());
  }
  Remember(specimen);
  ASSERT_EQ(specimen.names.size(), 3u);
}

// Opens a copy in which `path` has `contents`.
LogLife OpenDamaged(const Specimen& specimen, const LogStart& start, const std::string& path,
                    std::string contents) {
  PowerLossFileSystem files;
  files.CopyFrom(specimen.files);
  files.SetContents(path, std::move(contents));
  return OpenLog(files, SmallLog(), start);
}

// Empty if the outcome is one of the allowed ones: all is there; or DataLoss that names the file
// and an offset; or, where `may_cut`, all but the last group with a warning that names them.
std::string Verdict(const Specimen& specimen, const LogLife& life, const std::string& path,
                    bool may_cut) {
  const auto names_place = [&path](absl::string_view text) {
    return absl::StrContains(text, "log file " + path + ", offset ");
  };
  if (!life.status.ok()) {
    if (!absl::IsDataLoss(life.status)) return "not DataLoss: " + life.status.ToString();
    return names_place(life.status.message()) ? "" : "no place: " + life.status.ToString();
  }
  const std::string whole = ReplayFault(life, specimen.first, specimen.last);
  if (whole.empty()) return "";
  if (!may_cut) return whole;
  const std::string cut = ReplayFault(life, specimen.first, specimen.last_but_one_group);
  if (!cut.empty()) return cut;
  const bool warned = std::any_of(life.report.warnings.begin(), life.report.warnings.end(),
                                  [&](const std::string& text) { return names_place(text); });
  return warned ? "" : "cut without a warning";
}

struct Counts {
  int whole = 0;
  int cut = 0;
  int refused = 0;
};

void Count(const Specimen& specimen, const LogLife& life, Counts* counts) {
  if (!life.status.ok()) {
    ++counts->refused;
  } else {
    ++(life.last_replayed() == specimen.last ? counts->whole : counts->cut);
  }
}

// Changes each byte in several ways and judges what Open says.
Counts FlipEveryByte(const Specimen& specimen, const LogStart& start, bool may_cut) {
  Counts counts;
  for (const std::string& path : specimen.names) {
    const std::string good = specimen.files.Contents(path);
    for (size_t at = 0; at < good.size(); ++at) {
      for (const int mask : {0x01, 0x80, 0xff, static_cast<int>(static_cast<uint8_t>(good[at]))}) {
        if (mask == 0) continue;
        std::string damaged = good;
        damaged[at] = static_cast<char>(damaged[at] ^ mask);
        const LogLife life = OpenDamaged(specimen, start, path, std::move(damaged));
        const bool is_last = path == specimen.names.back();
        EXPECT_EQ(Verdict(specimen, life, path, may_cut && is_last), "")
            << path << " offset " << at << " mask " << mask;
        if (::testing::Test::HasFailure()) return counts;
        Count(specimen, life, &counts);
      }
    }
  }
  return counts;
}

TEST(CommitLogDamageTest, AFlippedByteIsFoundOrCutsTheLastGroup) {
  Specimen specimen;
  BuildSpecimen(specimen, /*stop_cleanly=*/false);
  const Counts counts = FlipEveryByte(specimen, specimen.start, /*may_cut=*/true);
  EXPECT_GT(counts.whole, 0) << "in the space behind the last group";
  EXPECT_GT(counts.cut, 0);
  EXPECT_GT(counts.refused, 1000);
}

TEST(CommitLogDamageTest, AfterACleanStopNothingIsCut) {
  Specimen specimen;
  BuildSpecimen(specimen, /*stop_cleanly=*/true);
  const Counts counts = FlipEveryByte(specimen, specimen.start, /*may_cut=*/false);
  EXPECT_EQ(counts.cut, 0);
}

TEST(CommitLogDamageTest, WhatLmdbKnowsDurableIsNeverCut) {
  Specimen specimen;
  BuildSpecimen(specimen, /*stop_cleanly=*/false);
  LogStart start = specimen.start;
  start.durable_version = specimen.last;
  const Counts counts = FlipEveryByte(specimen, start, /*may_cut=*/false);
  EXPECT_EQ(counts.cut, 0);
}

// After recovery the rewritten file vouches for itself, although nothing was appended to it.
TEST(CommitLogDamageTest, ARewrittenFileHasNoUnconfirmedGroup) {
  Specimen specimen;
  BuildSpecimen(specimen, /*stop_cleanly=*/false);
  ASSERT_TRUE(OpenLog(specimen.files, SmallLog(), specimen.start).status.ok());
  const Counts counts = FlipEveryByte(specimen, specimen.start, /*may_cut=*/false);
  EXPECT_EQ(counts.cut, 0);
}

TEST(CommitLogDamageTest, AShortenedFileIsFoundOrCutsTheLastGroup) {
  Specimen specimen;
  BuildSpecimen(specimen, /*stop_cleanly=*/false);
  for (const std::string& path : specimen.names) {
    const std::string good = specimen.files.Contents(path);
    for (size_t size = 0; size < good.size(); ++size) {
      const LogLife life = OpenDamaged(specimen, specimen.start, path, good.substr(0, size));
      ASSERT_FALSE(life.status.ok()) << path << " cut to " << size;
      EXPECT_EQ(Verdict(specimen, life, path, false), "");
    }
  }
}

// The same for files large enough that their length says nothing.
TEST(CommitLogDamageTest, ALargeLastFileCutAnywhereGivesAPrefix) {
  PowerLossFileSystem files;
  const CommitLogOptions options = SmallLog(16384);
  LogLife life = OpenLog(files, options);
  while (life.log->last_version() < 150) ASSERT_TRUE(AppendGroup(*life.log, 3, false).ok());
  ASSERT_EQ(life.log->current_file(), 1u);
  const std::string path = "/log/" + LogFileName(1);
  const std::string good = files.Contents(path);
  for (size_t size = 4096; size < good.size(); size += 1) {
    PowerLossFileSystem copy;
    copy.SetContents("/log", "");
    copy.CopyFrom(files);
    copy.SetContents(path, good.substr(0, size));
    const LogLife cut = OpenLog(copy, options);
    ASSERT_EQ(ReplayFault(cut, 1, cut.last_replayed()), "") << size;
    ASSERT_EQ(cut.last_replayed() % 3, 0u) << "a group comes whole or not at all";
    if (cut.last_replayed() < 150) {
      ASSERT_EQ(cut.report.warnings.size(), 1u) << size;
    }
  }
}

TEST(CommitLogDamageTest, AMissingFileIsNamed) {
  Specimen specimen;
  BuildSpecimen(specimen, /*stop_cleanly=*/false);
  for (size_t i = 0; i + 1 < specimen.names.size(); ++i) {
    PowerLossFileSystem files;
    files.CopyFrom(specimen.files);
    ASSERT_TRUE(files.Remove(specimen.names[i]).ok());
    const LogLife life = OpenLog(files, SmallLog(), specimen.start);
    EXPECT_TRUE(absl::IsDataLoss(life.status)) << life.status;
    EXPECT_TRUE(absl::StrContains(life.status.message(), "missing")) << life.status;
  }
  LogStart start = specimen.start;
  start.durable_version = specimen.last;
  PowerLossFileSystem files;
  files.CopyFrom(specimen.files);
  ASSERT_TRUE(files.Remove(specimen.names.back()).ok());
  EXPECT_TRUE(absl::IsDataLoss(OpenLog(files, SmallLog(), start).status)) << "LMDB knows more";
}

TEST(CommitLogDamageTest, AnEmptyDirectoryIsFreshOnlyWhereLmdbKnowsNoLog) {
  PowerLossFileSystem files;
  const LogStart start = {.floor_file = 3, .flushed_version = 5, .durable_version = 5};
  const LogLife life = OpenLog(files, SmallLog(), start);
  EXPECT_TRUE(absl::IsDataLoss(life.status));
  EXPECT_TRUE(absl::StrContains(life.status.message(), LogFileName(3))) << life.status;
  LogLife restored = OpenLog(files, SmallLog(), {.flushed_version = 5, .durable_version = 5});
  ASSERT_TRUE(restored.status.ok()) << restored.status;
  EXPECT_EQ(restored.log->last_version(), 5u) << "versions go on behind what LMDB holds";
  PowerLossFileSystem empty;
  EXPECT_TRUE(absl::IsDataLoss(
      OpenLog(empty, SmallLog(), {.flushed_version = 5, .durable_version = 6}).status));
}

TEST(CommitLogDamageTest, AGapBehindLmdbIsFound) {
  Specimen specimen;
  BuildSpecimen(specimen, /*stop_cleanly=*/false);
  LogStart start = specimen.start;
  start.flushed_version = specimen.first - 2;
  start.durable_version = start.flushed_version;
  EXPECT_TRUE(absl::IsDataLoss(OpenLog(specimen.files, SmallLog(), start).status));
}

// A group that was never durable may be torn anywhere, with old groups of a recycled file around.
TEST(CommitLogDamageTest, ATornLastWriteIsCutWithAWarning) {
  Specimen specimen;
  BuildSpecimen(specimen, /*stop_cleanly=*/false);
  const std::string path = specimen.names.back();
  const std::string before = specimen.files.Contents(path);
  // The group to tear is written by a life that goes on where the specimen stands.
  LogLife life = OpenLog(specimen.files, SmallLog(), specimen.start);
  const std::string rewritten = specimen.files.Contents(path);
  ASSERT_TRUE(AppendGroup(*life.log, 4, /*sync=*/false, 400).ok());
  const std::string after = specimen.files.Contents(path);
  const auto end = std::mismatch(rewritten.rbegin(), rewritten.rend(), after.rbegin());
  const size_t written_end = static_cast<size_t>(end.first.base() - rewritten.begin());
  const auto begin = std::mismatch(rewritten.begin(), rewritten.end(), after.begin());
  const size_t written_begin = static_cast<size_t>(begin.first - rewritten.begin());
  ASSERT_LT(written_begin, written_end);
  for (size_t cut = written_begin + 1; cut < written_end; ++cut) {
    // Either the first or the last part of the write arrived. Without its file number it looks like
    // what other files left; with it, it is a torn write.
    const std::string head = after.substr(0, cut) + rewritten.substr(cut);
    const std::string tail = rewritten.substr(0, cut) + after.substr(cut);
    const bool head_is_ours = cut >= written_begin + 24;
    const bool tail_is_ours = cut <= written_begin + 16;
    for (const auto& [torn, ours] :
         {std::pair(head, head_is_ours), std::pair(tail, tail_is_ours)}) {
      const LogLife reopened = OpenDamaged(specimen, specimen.start, path, torn);
      ASSERT_EQ(ReplayFault(reopened, specimen.first, specimen.last), "") << cut;
      ASSERT_LE(reopened.report.warnings.size(), 1u) << cut;
      if (ours) {
        ASSERT_EQ(reopened.report.warnings.size(), 1u) << cut;
      }
    }
  }
}

}  // namespace
}  // namespace millrace::storage
