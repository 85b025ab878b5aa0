// A quota that is reached by puts and emptied by deletes.

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scenarios/numbered_batches.h"
#include "tests/testing/sound_store.h"
#include "tests/testing/temporary_directory.h"

namespace millrace {
namespace {

using storage::Collection;
using ::testing::HasSubstr;
using testing::MessageOf;
using testing::Numbered;
using testing::NumberedBatch;
using testing::NumberedCollection;
using testing::NumberedDelete;
using testing::OpenEngine;
using testing::ReadNumbered;
using testing::TemporaryDirectory;
using Code = absl::StatusCode;

constexpr size_t kPadding = 3'000;

// The engine's own limits shrink with the quota; the interval plays no part.
EngineOptions SmallQuota() {
  EngineOptions options;
  options.quota_bytes = uint64_t{8} << 20;
  options.rotate_interval = absl::InfiniteDuration();
  options.log_file_bytes = uint64_t{1} << 20;
  return options;
}

// Puts from *number on until the store is full with nothing left to flush; *number is the refused
// one.
absl::Status FillUp(Engine& engine, const Collection& collection, int* number) {
  absl::Status refusal;
  for (int refused_count = 0; refused_count < 2 && *number < 10'000;) {
    const absl::Status status = engine.Commit(NumberedBatch(collection, *number, kPadding))
                                    .Wait(testing::kPatience)
                                    .status();
    if (status.ok()) {
      ++*number;
      refused_count = 0;
      continue;
    }
    refusal = status;
    ++refused_count;
    const auto flushed = engine.Flush().Wait(testing::kPatience);
    EXPECT_TRUE(flushed.ok()) << flushed.status();
    if (!flushed.ok()) break;
  }
  return refusal;
}

void ExpectBatches(Engine& engine, int begin, int end) {
  const Numbered found = ReadNumbered(engine);
  EXPECT_EQ(found.fault, "");
  EXPECT_EQ(found.batches.size(), static_cast<size_t>(end - begin));
  for (int i = begin; i < end; ++i) EXPECT_TRUE(found.Holds(i)) << i;
}

TEST(QuotaTest, FullStoreRefusesPutsByBothFiguresAndCanBeEmptiedAndFilledAgain) {
  TemporaryDirectory directory;
  auto engine = OpenEngine(directory.path(), SmallQuota());
  const Collection collection = NumberedCollection(*engine);
  int number = 0;
  int first_fill = 0;
  for (int round = 0; round < 3; ++round) {
    SCOPED_TRACE(absl::StrCat("round ", round));
    const int begin = number;
    const absl::Status refusal = FillUp(*engine, collection, &number);
    EXPECT_EQ(refusal.code(), Code::kResourceExhausted) << refusal;
    EXPECT_EQ(GetOutcome(refusal), Outcome::kNotExecuted);
    const EngineStatus full = engine->GetStatus();
    EXPECT_THAT(MessageOf(refusal), HasSubstr(absl::StrCat("quota of ", full.quota_bytes)));
    EXPECT_THAT(MessageOf(refusal), HasSubstr("the store uses "));
    EXPECT_TRUE(full.health.ok()) << full.health;
    EXPECT_LE(full.used_bytes, full.quota_bytes);
    EXPECT_GT(full.used_bytes, full.quota_bytes / 2) << "refused long before the quota";
    if (round == 0) first_fill = number;
    EXPECT_GT(number - begin, first_fill * 8 / 10) << "space was not found again";
    ExpectBatches(*engine, begin, number);

    for (int i = begin; i < number; ++i) {
      const auto deleted = engine->Commit(NumberedDelete(collection, i)).Wait(testing::kPatience);
      ASSERT_TRUE(deleted.ok()) << deleted.status();
    }
    ASSERT_TRUE(engine->Flush().Wait(testing::kPatience).ok());
    ExpectBatches(*engine, number, number);
    EXPECT_LT(engine->GetStatus().used_bytes, full.used_bytes / 4) << "deletes free nothing";
  }
  EXPECT_TRUE(engine->Shutdown().Balanced());
  engine = OpenEngine(directory.path(), SmallQuota());
  ExpectBatches(*engine, number, number);
  EXPECT_TRUE(engine->Commit(NumberedBatch(collection, 1, kPadding)).Wait(testing::kPatience).ok());
}

TEST(QuotaTest, FullStoreStaysReadableAndReopens) {
  TemporaryDirectory directory;
  auto engine = OpenEngine(directory.path(), SmallQuota());
  const Collection collection = NumberedCollection(*engine);
  int number = 0;
  EXPECT_FALSE(FillUp(*engine, collection, &number).ok());
  engine.reset();
  testing::ExpectSound(directory.path());
  engine = OpenEngine(directory.path(), SmallQuota());
  ExpectBatches(*engine, 0, number);
  // What was unflushed may have become smaller in LMDB than was reckoned: fill that up too.
  EXPECT_EQ(FillUp(*engine, collection, &number).code(), Code::kResourceExhausted);
  ExpectBatches(*engine, 0, number);
  // A store that is opened with a larger quota goes on where it was refused.
  EngineOptions larger = SmallQuota();
  larger.quota_bytes *= 2;
  engine.reset();
  testing::ExpectSound(directory.path());
  engine = OpenEngine(directory.path(), larger);
  EXPECT_TRUE(
      engine->Commit(NumberedBatch(collection, number, kPadding)).Wait(testing::kPatience).ok());
  ExpectBatches(*engine, 0, number + 1);
}

// Half of what is refused shares groups with what is admitted: neither harms the other.
TEST(QuotaTest, RefusedPutsDoNotHarmTheDeletesInTheirGroup) {
  TemporaryDirectory directory;
  auto engine = OpenEngine(directory.path(), SmallQuota());
  const Collection collection = NumberedCollection(*engine);
  int number = 0;
  EXPECT_FALSE(FillUp(*engine, collection, &number).ok());
  std::vector<Pending<CommitReceipt>> puts;
  std::vector<Pending<CommitReceipt>> deletes;
  for (int i = 0; i < 20; ++i) {
    puts.push_back(engine->Commit(NumberedBatch(collection, number + i, kPadding)));
    deletes.push_back(engine->Commit(NumberedDelete(collection, i)));
  }
  int refused_count = 0;
  for (int i = 0; i < 20; ++i) {
    const auto put = puts[static_cast<size_t>(i)].Wait(testing::kPatience);
    const auto deleted = deletes[static_cast<size_t>(i)].Wait(testing::kPatience);
    EXPECT_TRUE(deleted.ok()) << deleted.status();
    refused_count += !put.ok();
    EXPECT_EQ(ReadNumbered(*engine).Holds(number + i), put.ok());
  }
  EXPECT_GT(refused_count, 0);
  const Numbered found = ReadNumbered(*engine);
  EXPECT_EQ(found.fault, "");
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(found.Holds(i));
  EXPECT_EQ(found.batches.size(), static_cast<size_t>(number - refused_count));
}

}  // namespace
}  // namespace millrace
