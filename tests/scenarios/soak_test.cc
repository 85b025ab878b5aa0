// Life after life of one store under random load, ended by kills at random moments and at single
// calls, and in order; checked after each, with what must not grow. A few lives in every test run,
// MILLRACE_SOAK_MINUTES=N of them with ./run soak N.

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "tests/scenarios/killed_store.h"
#include "tests/scenarios/test_engine.h"

#include "millrace/storage/environment.h"
#include "millrace/storage/verify.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using testing::KilledStore;

uint64_t CountFiles(const fs::path& directory) {
  return static_cast<uint64_t>(
      std::distance(fs::directory_iterator(directory), fs::directory_iterator()));
}

// What this process holds in memory, in bytes.
uint64_t ResidentBytes() {
  std::ifstream statistics("/proc/self/statm");
  uint64_t all = 0;
  uint64_t resident = 0;
  statistics >> all >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

// What a store of bounded contents takes. Value.
struct Footprint {
  uint64_t pages_used = 0;
  uint64_t pages = 0;
  uint64_t log_files = 0;
  uint64_t run_files = 0;
};
Footprint FootprintOf(const std::string& store) {
  const absl::StatusOr<storage::VerifyReport> report = storage::VerifyStore(store);
  EXPECT_TRUE(report.ok()) << report.status();
  if (!report.ok()) return {};
  return {.pages_used = report->page_count - report->free_page_count,
          .pages = report->page_count,
          .log_files = CountFiles(store + "/log"),
          .run_files = fs::exists(store + "/runs") ? CountFiles(store + "/runs") : 0};
}

// Children die with reader slots in their hands: whoever opens the store behind them has them all.
void CheckReaderSlots(const std::string& store) {
  const auto environment = storage::Environment::Open(
      {.directory = store, .create_if_missing = false, .quota_bytes = uint64_t{1} << 30});
  ASSERT_TRUE(environment.ok()) << environment.status();
  const absl::StatusOr<int> dead_count = (*environment)->CheckReaders();
  ASSERT_TRUE(dead_count.ok()) << dead_count.status();
  EXPECT_EQ(*dead_count, 0) << "slots of dead processes are left behind an open";
  std::vector<storage::ReadTransaction> readers;
  for (int i = (*environment)->Usage().reader_slots_max; i > 0; --i) {
    absl::StatusOr<storage::ReadTransaction> reader = (*environment)->BeginRead();
    ASSERT_TRUE(reader.ok()) << i << " reader slots are leaked: " << reader.status();
    readers.push_back(*std::move(reader));
  }
}

class SoakTest : public ::testing::Test {
 protected:
  void LiveOnce() {
    const uint64_t seed = random_();
    const uint64_t answers = 1 + random_() % 4'000;
    switch (random_() % 8) {
      case 0:
        return store_.RunAndStop(seed, answers);
      case 1:
      case 2: {
        const char* const calls[] = {"fdatasync path=store.mdb", "writev path=store.mdb",
                                     "pwrite path=store.mdb",    "pwrite path=/log/",
                                     "rename path=/log/",        "pwrite path=/runs/"};
        const std::string rule = absl::StrCat(calls[random_() % std::size(calls)],
                                              " nth=", 1 + random_() % 200, " kill");
        store_.RunToFault(rule, seed, answers);
        return;
      }
      default:
        return store_.RunAndKill(seed, random_() % 6 == 0 ? 0 : answers,
                                 static_cast<int>(random_() % 100));
    }
  }

  // Nothing piles up: not here, where the store is opened after each life, nor in the store, whose
  // records are always about as many.
  void CheckFootprint(uint64_t life) {
    const Footprint now = FootprintOf(store_.path());
    pages_used_max_ = std::max(pages_used_max_, now.pages_used);
    pages_max_ = std::max(pages_max_, now.pages);
    EXPECT_LT(now.pages_used, 4'000u);
    EXPECT_LT(now.pages, 30'000u) << "free pages are not used again";
    // Once it has met its load, the file and its free list stay as large as they are.
    if (life < kSettled) {
      pages_settled_ = pages_max_;
    } else {
      EXPECT_LE(now.pages, 2 * pages_settled_) << "the file grows";
    }
    EXPECT_LE(now.log_files, 40u);
    EXPECT_LE(now.run_files, 64u);
    const uint64_t descriptors = CountFiles("/proc/self/fd");
    const uint64_t bytes = ResidentBytes();
    if (life < kWarmUp) return;
    if (descriptors_ == 0) {
      descriptors_ = descriptors;
      bytes_ = bytes;
    }
    EXPECT_EQ(descriptors, descriptors_) << "descriptors are leaked";
    EXPECT_LT(bytes, bytes_ + (uint64_t{256} << 20)) << "memory is leaked";
  }

  void Report(uint64_t life_count) const {
    std::cout << life_count << " lives, " << store_.kill_count() << " kills, "
              << store_.answer_count() << " answered commits; pages used at most "
              << pages_used_max_ << " of " << pages_max_ << std::endl;
  }

  static constexpr uint64_t kWarmUp = 10;
  static constexpr uint64_t kSettled = 200;
  std::mt19937_64 random_{testing::Seed()};
  KilledStore store_;
  uint64_t descriptors_ = 0;
  uint64_t bytes_ = 0;
  uint64_t pages_used_max_ = 0;
  uint64_t pages_max_ = 0;
  uint64_t pages_settled_ = 0;
};

TEST_F(SoakTest, EveryLifeLeavesWhatItWasAnswered) {
  const char* const minutes = std::getenv("MILLRACE_SOAK_MINUTES");
  const absl::Time end =
      absl::Now() + absl::Minutes(minutes == nullptr ? 0 : std::strtoll(minutes, nullptr, 10));
  const uint64_t life_min = testing::Scaled(30);
  uint64_t life = 0;
  for (; life < life_min || absl::Now() < end; ++life) {
    SCOPED_TRACE(absl::StrCat("life ", life));
    ASSERT_NO_FATAL_FAILURE(LiveOnce());
    if (random_() % 4 == 0) continue;
    ASSERT_NO_FATAL_FAILURE(store_.Check());
    ASSERT_NO_FATAL_FAILURE(CheckFootprint(life));
    ASSERT_NO_FATAL_FAILURE(CheckReaderSlots(store_.path()));
    if (HasFailure()) return;
    if (life % 100 == 99) Report(life + 1);
  }
  ASSERT_NO_FATAL_FAILURE(store_.Check());
  Report(life);
}

}  // namespace
}  // namespace millrace
