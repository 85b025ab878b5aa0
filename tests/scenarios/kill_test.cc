// A child commits under load and is killed, again and again on the same store. What is found
// afterwards must be a prefix of its commits that holds every one it was answered; indexes and
// relations agree with it.

#include <algorithm>
#include <iostream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scenarios/killed_store.h"
#include "tests/scenarios/test_engine.h"
#include "tests/testing/temporary_directory.h"

namespace millrace {
namespace {

using ::testing::HasSubstr;
using testing::KilledStore;

void Report(const KilledStore& store) {
  std::cout << store.kill_count() << " kills, " << store.answer_count() << " answered commits"
            << std::endl;
}

TEST(KillTest, StoreHoldsAPrefixWithEveryAnsweredCommit) {
  std::mt19937_64 random(testing::Seed());
  KilledStore store;
  const uint64_t kill_count = testing::Scaled(120);
  for (uint64_t kill = 0; kill < kill_count; ++kill) {
    SCOPED_TRACE(absl::StrCat("kill ", kill));
    const uint64_t answers = random() % 5 == 0 ? 0 : 1 + random() % 3'000;
    ASSERT_NO_FATAL_FAILURE(store.RunAndKill(random(), answers, static_cast<int>(random() % 60)));
    // Sometimes the next child finds what this one left.
    if (random() % 4 == 0) continue;
    ASSERT_NO_FATAL_FAILURE(store.Check());
  }
  ASSERT_NO_FATAL_FAILURE(store.Check());
  EXPECT_GT(store.answer_count(), kill_count);
  Report(store);
}

// At each step of rotate (the log's sync), slice and publish (LMDB's pages, sync and meta page),
// preparing and recycling log files, and of a build's sorted runs: before it, and so after the one
// before.
TEST(KillTest, KilledAtAnyStepOfAFlushOrBuildTheStoreHoldsAPrefixAndGoesOn) {
  std::mt19937_64 random(testing::Seed());
  KilledStore store;
  const char* const steps[] = {
      "fdatasync path=/log/",              // Rotate owes a sync to what was not durable.
      "writev path=store.mdb",             // Pages of a slice.
      "pwrite path=store.mdb",             // A single page, or the meta page.
      "fdatasync path=store.mdb",          // Between pages and meta page.
      "pwrite path=store.mdb below=8192",  // The meta page: the publication itself.
      "rename path=/log/",                 // A file recycled, or made ready.
      "fsync path=/log",                   // The directory, behind it.
      "pwrite path=/log/",
      "pwrite path=/runs/",
      "unlink path=/runs/",
  };
  uint64_t fault_count = 0;
  const uint64_t nth_max = std::max<uint64_t>(5, testing::Scaled(25));
  for (const char* step : steps) {
    for (uint64_t round = 0; round < testing::Scaled(8); ++round) {
      const std::string rule = absl::StrCat(step, " nth=", 1 + random() % nth_max, " kill");
      SCOPED_TRACE(rule);
      fault_count += store.RunToFault(rule, random(), 1'000 + testing::Scaled(5'000)) ? 1 : 0;
      ASSERT_NO_FATAL_FAILURE(store.Check());
      if (::testing::Test::HasFailure()) return;
    }
  }
  EXPECT_GT(fault_count, testing::Scaled(8) * std::size(steps) / 2) << "most steps are come to";
  Report(store);
}

// The control: a reading that cannot see these shows nothing.
TEST(KillTest, ReadingSeesWhatIsNotAsTheBatchesLeftIt) {
  const testing::TemporaryDirectory directory;
  const std::unique_ptr<Engine> engine =
      testing::OpenEngine(directory.path(), testing::KillEngine());
  const absl::StatusOr<testing::KillSchema> schema = testing::DefineKillSchema(*engine);
  ASSERT_TRUE(schema.ok()) << schema.status();
  for (uint64_t batch = 0; batch < 20; ++batch) {
    testing::MustCommit(*engine, testing::KillBatch(*schema, /*thread=*/1, batch));
  }
  const auto fault = [&engine] {
    return testing::ReadKillStore(*engine->TakeSnapshot("test")).fault;
  };
  EXPECT_EQ(fault(), "");
  const auto change = [&](storage::WriteBatch batch) {
    testing::MustCommit(*engine, std::move(batch));
    return fault();
  };
  EXPECT_THAT(change(storage::WriteBatch().Unlink(schema->rows, "count/1", "1/16/0")),
              HasSubstr("index slot@rows lacks 1/16/0"));
  EXPECT_THAT(change(storage::WriteBatch().Link(schema->rows, "count/1", "1/16/0")),
              HasSubstr("version 27 after 25 commits"));
  EXPECT_THAT(change(storage::WriteBatch().Delete(schema->work, "1/17/0")),
              HasSubstr("records should be there"));
}

}  // namespace
}  // namespace millrace
