#include "millrace/storage/log_format.h"

#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/escaping.h"
#include "gtest/gtest.h"
#include "tests/storage/log_life.h"

namespace millrace::storage {
namespace {

std::string Hex(std::string_view bytes) {
  return absl::BytesToHexString(ToAbsl(bytes));
}

TEST(LogFormatTest, LayoutOnDiskIsAsWritten) {
  testing::PowerLossFileSystem files;
  {
    LogLife life = OpenLog(files, SmallLog());
    ASSERT_TRUE(life.status.ok()) << life.status;
    LogGroup& group = life.log->BeginGroup();
    group.Add("one");
    group.Add("");
    ASSERT_TRUE(life.log->Append().ok());
    ASSERT_TRUE(life.log->CloseCleanly().ok());
  }
  const std::string file = files.Contents("/log/00000000000000000001.log");
  ASSERT_EQ(file.size(), 4096u);
  const std::string opening =
      "2800000000000000"
      "0e5ba0d53e11eeb7"
      "0100000000000000"
      "0100000000000000"
      "0000000000000000";
  EXPECT_EQ(Hex(file.substr(0, 40)), opening);
  EXPECT_EQ(Hex(file.substr(40, 40)), opening);
  EXPECT_EQ(Hex(file.substr(80, 51)),
            "3300000002000000"
            "db7645a283af42ab"
            "0100000000000000"
            "0100000000000000"
            "0000000000000000"
            "03000000"
            "6f6e65"
            "00000000");
  EXPECT_EQ(Hex(file.substr(131, 40)),
            "2800000000000000"
            "bb39a183f0d956f9"
            "0100000000000000"
            "0300000000000000"
            "0200000000000000");
  EXPECT_EQ(file.substr(171), std::string(4096 - 171, '\0'));
}

TEST(LogFormatTest, NamesRoundTripAndOthersAreNotTaken) {
  for (const uint64_t number : {uint64_t{1}, uint64_t{20261121}, kFileNumberMax}) {
    EXPECT_EQ(ParseLogFileName(LogFileName(number)), number);
    EXPECT_EQ(ParseSpareFileName(SpareFileName(number)), number);
    EXPECT_EQ(ParseLogFileName(SpareFileName(number)), std::nullopt);
    EXPECT_EQ(ParseSpareFileName(LogFileName(number)), std::nullopt);
  }
  EXPECT_LT(LogFileName(9), LogFileName(10));
  for (const std::string_view name :
       {"1.log", "99999999999999999999.log", "18446744073709551615.log", "00000000000000000000.log",
        "0000000000000000000x.log", "00000000000000000001.tmp", "", "spare-.log"}) {
    EXPECT_EQ(ParseLogFileName(name), std::nullopt) << name;
    EXPECT_EQ(ParseSpareFileName(name), std::nullopt) << name;
  }
}

std::string Record(const GroupHeader& fields, const std::vector<std::string>& batches) {
  std::string record(kGroupHeaderBytes, '\0');
  for (const std::string& batch : batches) {
    const auto size = static_cast<uint32_t>(batch.size());
    record.append(reinterpret_cast<const char*>(&size), sizeof(size));
    record.append(batch);
  }
  GroupHeader header = fields;
  header.length = static_cast<uint32_t>(record.size());
  header.batch_count = static_cast<uint32_t>(batches.size());
  SealGroup(header, record.data());
  return record;
}

TEST(LogFormatTest, EveryFlippedBitOfAGroupIsSeen) {
  const std::string record =
      Record({.file_number = 5, .first_version = 7, .durable_version = 6}, {"abc", "", "defgh"});
  ASSERT_EQ(ReadLogRecord(record, 0, 5).kind, RecordKind::kGroup);
  for (size_t bit = 0; bit < record.size() * 8; ++bit) {
    std::string damaged = record;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    EXPECT_NE(ReadLogRecord(damaged, 0, 5).kind, RecordKind::kGroup) << "bit " << bit;
    EXPECT_EQ(ReadAnyLogRecord(damaged, 0).kind, RecordKind::kBad) << "bit " << bit;
  }
}

TEST(LogFormatTest, WhatStandsInAFileIsTold) {
  const std::string record = Record({.file_number = 5, .first_version = 7}, {"abc"});
  const std::string zeros(64, '\0');
  EXPECT_EQ(ReadLogRecord(record, 0, 6).kind, RecordKind::kForeign);
  EXPECT_EQ(ReadLogRecord(zeros, 0, 6).kind, RecordKind::kEnd);
  EXPECT_EQ(ReadLogRecord(zeros, 61, 6).kind, RecordKind::kBad) << "no room for an end mark";
  EXPECT_EQ(ReadLogRecord(zeros, 64, 6).kind, RecordKind::kBad);
  EXPECT_EQ(ReadLogRecord(zeros, 65, 6).kind, RecordKind::kBad);
  std::string headless = record;
  headless.replace(0, 4, 4, '\0');
  EXPECT_EQ(ReadLogRecord(headless, 0, 5).kind, RecordKind::kBad) << "its length did not arrive";
  EXPECT_EQ(ReadLogRecord(headless, 0, 6).kind, RecordKind::kEnd);
  for (size_t size = 0; size < record.size(); ++size) {
    EXPECT_EQ(ReadLogRecord(record.substr(0, size), 0, 5).kind, RecordKind::kBad) << size;
  }
}

TEST(LogFormatTest, AnAbandonedBatchLeavesNoTrace) {
  LogGroup group;
  group.Add("first");
  const size_t bytes = group.bytes();
  group.OpenBatch().append("half a batch");
  group.AbandonBatch();
  EXPECT_EQ(group.bytes(), bytes);
  EXPECT_EQ(group.batch_count(), 1u);
  group.OpenBatch().append("second");
  EXPECT_EQ(group.CloseBatch(), "second");
  EXPECT_EQ(group.batch_count(), 2u);
}

}  // namespace
}  // namespace millrace::storage
