#include "millrace/storage/lease_registry.h"

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace millrace::storage {
namespace {

using ::testing::HasSubstr;

absl::Time At(int seconds) {
  return absl::FromUnixSeconds(seconds);
}

// Says when it is freed.
class Holdings : public LeaseHoldings {
 public:
  Holdings(uint64_t bytes, std::atomic<int>* freed) : bytes_(bytes), freed_(freed) {}
  ~Holdings() override { ++*freed_; }
  uint64_t RetainedBytes() const override { return bytes_; }

 private:
  const uint64_t bytes_;
  std::atomic<int>* const freed_;
};

class LeaseRegistryTest : public ::testing::Test {
 protected:
  Lease Take(const char* owner, uint64_t bytes, int at) {
    absl::StatusOr<Lease> lease =
        registry_.Take(owner, std::make_unique<Holdings>(bytes, &freed_), At(at));
    EXPECT_TRUE(lease.ok()) << lease.status();
    return *std::move(lease);
  }
  static std::string Owners(const std::vector<LeaseInfo>& infos) {
    std::string owners;
    for (const LeaseInfo& info : infos) owners += info.owner + " ";
    return owners;
  }

  std::atomic<int> freed_{0};
  LeaseRegistry registry_{{.soft_age = absl::Seconds(10), .hard_age = absl::Seconds(100)}};
};

TEST_F(LeaseRegistryTest, ListsAgeOwnerAndRetainedBytesOldestFirst) {
  const Lease a = Take("a", 5, 0);
  const Lease b = Take("b", 7, 3);
  const std::vector<LeaseInfo> infos = registry_.List(At(4));
  ASSERT_EQ(Owners(infos), "a b ");
  EXPECT_EQ(infos[0].age, absl::Seconds(4));
  EXPECT_EQ(infos[1].age, absl::Seconds(1));
  EXPECT_EQ(infos[0].retained_bytes, 5u);
  EXPECT_LT(infos[0].id, infos[1].id);
}

TEST_F(LeaseRegistryTest, DroppingALeaseFreesWhatItHoldsWhereverItStands) {
  std::optional<Lease> leases[3] = {Take("a", 0, 0), Take("b", 0, 0), Take("c", 0, 0)};
  leases[1].reset();
  EXPECT_EQ(Owners(registry_.List(At(0))), "a c ");
  leases[0].reset();
  EXPECT_EQ(Owners(registry_.List(At(0))), "c ");
  *leases[2] = Take("d", 0, 0);
  EXPECT_EQ(Owners(registry_.List(At(0))), "d ");
  leases[2].reset();
  EXPECT_EQ(Owners(registry_.List(At(0))), "");
  EXPECT_EQ(freed_, 4);
}

TEST_F(LeaseRegistryTest, OldLeasesAreReportedOnceThenEnded) {
  const Lease a = Take("a", 0, 0);
  const Lease b = Take("b", 0, 50);
  EXPECT_EQ(Owners(registry_.EndOverAge(At(10)).overdue), "");
  EXPECT_EQ(Owners(registry_.EndOverAge(At(11)).overdue), "a ");
  EXPECT_EQ(Owners(registry_.EndOverAge(At(12)).overdue), "");
  const LeaseRegistry::AgeReport report = registry_.EndOverAge(At(101));
  EXPECT_EQ(Owners(report.overdue), "b ");
  EXPECT_EQ(Owners(report.ended), "a ");
  EXPECT_EQ(freed_, 1);
  EXPECT_TRUE(a.ended());
  const LeaseCall call(a);
  EXPECT_FALSE(call.ok());
  EXPECT_EQ(call.status().code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(call.status().message()), HasSubstr("of a ended"));
  EXPECT_TRUE(LeaseCall(b).ok());
  EXPECT_EQ(Owners(registry_.List(At(101))), "b ");
}

TEST_F(LeaseRegistryTest, ShortMemoryEndsTheOldestThatRetainSomething) {
  const Lease a = Take("a", 100, 0);
  const Lease b = Take("b", 0, 0);
  const Lease c = Take("c", 100, 0);
  const Lease d = Take("d", 100, 0);
  EXPECT_EQ(Owners(registry_.EndOldest(101, At(1))), "a c ");
  EXPECT_EQ(freed_, 2);
  EXPECT_EQ(a.EndedStatus().code(), absl::StatusCode::kAborted);
  EXPECT_FALSE(b.ended());
  EXPECT_FALSE(d.ended());
  EXPECT_EQ(Owners(registry_.EndOldest(101, At(1))), "d ");
}

TEST_F(LeaseRegistryTest, CallInProgressKeepsTheHoldingsUntilItLeaves) {
  const Lease lease = Take("a", 1, 0);
  {
    const LeaseCall outer(lease);
    {
      const LeaseCall inner(lease);
      ASSERT_TRUE(inner.ok());
      registry_.EndOldest(1, At(0));
      EXPECT_TRUE(lease.ended());
      EXPECT_TRUE(inner.ok());
      const LeaseCall late(lease);
      EXPECT_FALSE(late.ok());
    }
    EXPECT_EQ(freed_, 0);
  }
  EXPECT_EQ(freed_, 1);
}

TEST_F(LeaseRegistryTest, ClosingCancelsAllAndTakesNoMore) {
  const Lease lease = Take("a", 1, 0);
  registry_.Close();
  EXPECT_EQ(LeaseCall(lease).status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(freed_, 1);
  EXPECT_EQ(registry_.Take("b", std::make_unique<Holdings>(1, &freed_), At(0)).status().code(),
            absl::StatusCode::kCancelled);
  EXPECT_EQ(freed_, 2);
}

// Holdings that must be neither freed while a call reads them nor freed twice.
class Guarded : public LeaseHoldings {
 public:
  explicit Guarded(std::atomic<int>* alive) : alive_(alive) { ++*alive_; }
  ~Guarded() override {
    value_ = 0;
    --*alive_;
  }
  uint64_t RetainedBytes() const override { return 1; }
  int value() const { return value_; }

 private:
  int value_ = 42;
  std::atomic<int>* const alive_;
};

TEST_F(LeaseRegistryTest, EndingAndCallingOnManyThreadsFreesEachHoldingOnce) {
  std::atomic<int> alive{0};
  std::atomic<int> running{4};
  std::atomic<int> ended_count{0};
  std::vector<std::thread> holders;
  for (int t = 0; t < 4; ++t) {
    holders.emplace_back([&] {
      for (int i = 0; i < 300 || ended_count == 0; ++i) {
        auto holdings = std::make_unique<Guarded>(&alive);
        const Guarded* const raw = holdings.get();
        absl::StatusOr<Lease> lease = registry_.Take("t", std::move(holdings), At(0));
        ASSERT_TRUE(lease.ok());
        std::thread second;
        const auto use = [&] {
          for (int j = 0; j < 50; ++j) {
            const LeaseCall call(*lease);
            if (call.ok()) {
              EXPECT_EQ(raw->value(), 42);
            }
          }
        };
        if (i % 30 == 0) second = std::thread(use);
        use();
        if (second.joinable()) second.join();
        ended_count += lease->ended();
      }
      --running;
    });
  }
  while (running > 0) {
    registry_.EndOldest(1, At(0));
    registry_.List(At(0));
    std::this_thread::yield();
  }
  for (std::thread& holder : holders) holder.join();
  EXPECT_EQ(alive, 0);
  EXPECT_GT(ended_count, 0);
}

}  // namespace
}  // namespace millrace::storage
