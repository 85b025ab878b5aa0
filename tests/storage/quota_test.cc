#include "millrace/storage/quota.h"

#include <cstdint>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace millrace::storage {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
constexpr uint64_t kMiB = 1 << 20;

TEST(QuotaTest, ReserveIsFivePercentAndAtLeastFourTimesTheHardLimit) {
  struct Case {
    const char* name;
    uint64_t quota, l0_hard, want_l0_hard, want_reserve;
  };
  const Case cases[] = {
      {"large", 102400 * kMiB, 192 * kMiB, 192 * kMiB, 5120 * kMiB},
      {"hard limit decides", 10240 * kMiB, 192 * kMiB, 192 * kMiB, 768 * kMiB},
      {"hard limit just fits", 6144 * kMiB, 192 * kMiB, 192 * kMiB, 768 * kMiB},
      {"small", 3072 * kMiB, 192 * kMiB, 96 * kMiB, 384 * kMiB},
      {"tiny", 32 * kMiB, 192 * kMiB, 1 * kMiB, 4 * kMiB},
      {"tiny hard limit", 1000 * kMiB, 1 * kMiB, 1 * kMiB, 50 * kMiB},
  };
  for (const Case& c : cases) {
    const Quota quota(c.quota, c.l0_hard);
    EXPECT_EQ(quota.quota_bytes(), c.quota) << c.name;
    EXPECT_EQ(quota.l0_hard_bytes(), c.want_l0_hard) << c.name;
    EXPECT_EQ(quota.reserve_bytes(), c.want_reserve) << c.name;
    EXPECT_EQ(quota.l0_hard_bytes_for_deletes(), c.want_l0_hard + c.want_l0_hard / 8) << c.name;
  }
}

TEST(QuotaTest, PutsStopAtTheReserveAndDeletesAtTheQuota) {
  const Quota quota(1000 * kMiB, 1 * kMiB);  // Reserve 50, growth 2.
  struct Case {
    const char* name;
    uint64_t used, unflushed;
    bool want_put, want_delete;
  };
  const Case cases[] = {
      {"empty", 0, 0, true, true},
      {"up to the reserve", 948 * kMiB, 1 * kMiB, true, true},
      {"a byte into the reserve", 948 * kMiB + 1, 1 * kMiB, false, true},
      {"unflushed counts by its growth", 0, 475 * kMiB, true, true},
      {"unflushed passes", 0, 475 * kMiB + 1, false, true},
      {"up to the quota", 998 * kMiB, 1 * kMiB, false, true},
      {"a byte past the quota", 998 * kMiB + 1, 1 * kMiB, false, false},
      {"far past", UINT64_MAX / 2, UINT64_MAX / 2, false, false},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(quota.AdmitPut(c.used, c.unflushed).ok(), c.want_put) << c.name;
    EXPECT_EQ(quota.AdmitDelete(c.used, c.unflushed).ok(), c.want_delete) << c.name;
  }
}

TEST(QuotaTest, RefusalNamesUsedBytesAndQuota) {
  const Quota quota(1000, 1000);
  const absl::Status status = quota.AdmitPut(900, 77);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("900 bytes"), HasSubstr("77"), HasSubstr("1000 bytes")));
}

TEST(QuotaTest, CommitsThatDoNotGrowTheStoreAlwaysPass) {
  const Quota quota(800, 1000);
  struct Case {
    uint64_t before, after;
    bool reclaiming, want;
  };
  const Case cases[] = {
      {700, 800, false, true}, {700, 801, false, false}, {900, 900, false, true},
      {900, 850, false, true}, {900, 901, false, false}, {800, 900, true, true},
      {800, 901, true, false}, {950, 940, true, true},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(quota.AdmitCommit(c.before, c.after, c.reclaiming).ok(), c.want)
        << c.before << " to " << c.after << (c.reclaiming ? ", reclaiming" : "");
  }
}

TEST(QuotaTest, GrowthRisesAtOnceAndFallsSlowlyWithinBounds) {
  Quota quota(1000 * kMiB, 1 * kMiB);
  EXPECT_DOUBLE_EQ(quota.growth(), 2.0);
  quota.RecordFlush(10 * kMiB, 50 * int64_t{kMiB});
  EXPECT_DOUBLE_EQ(quota.growth(), 5.0);
  quota.RecordFlush(10 * kMiB, 10 * int64_t{kMiB});
  EXPECT_DOUBLE_EQ(quota.growth(), 4.0);
  quota.RecordFlush(1000, 1 << 20);  // Says nothing.
  EXPECT_DOUBLE_EQ(quota.growth(), 4.0);
  quota.RecordFlush(1 * kMiB, 1000 * int64_t{kMiB});
  EXPECT_DOUBLE_EQ(quota.growth(), 16.0);
  for (int i = 0; i < 100; ++i) quota.RecordFlush(1 * kMiB, -int64_t{kMiB});
  EXPECT_NEAR(quota.growth(), 1.0, 0.001);
}

}  // namespace
}  // namespace millrace::storage
