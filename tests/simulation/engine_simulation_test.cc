#include "tests/simulation/engine_simulation.h"

#include <cstdlib>
#include <iostream>

#include "gtest/gtest.h"
#include "tests/testing/io_shim.h"

namespace millrace::testing {
namespace {

constexpr uint64_t kSeedsPerBlock = 50;

// Blocks of seeds, so that they run beside each other. What the environment asks for is in the
// first.
class EngineSimulationTest : public ::testing::TestWithParam<uint64_t> {};
INSTANTIATE_TEST_SUITE_P(Block, EngineSimulationTest, ::testing::Range<uint64_t>(0, 5));

TEST_P(EngineSimulationTest, EveryLifeAgreesWithTheHistory) {
  for (const char* given : {"MILLRACE_SIM_SEED", "MILLRACE_SIM_SEEDS", "MILLRACE_SIM_FIRST"}) {
    if (std::getenv(given) != nullptr && GetParam() > 0) GTEST_SKIP() << "in the first block";
  }
  const absl::StatusOr<SeedsReport> report = CheckSeeds(
      "engine", SeedRange::FromEnvironment(kSeedsPerBlock, 1 + GetParam() * kSeedsPerBlock),
      [](const SimOptions& options) { return RunEngine(options); });
  ASSERT_TRUE(report.ok()) << report.status().message();
  std::cout << report->ToString() << std::endl;
  if (report->seed_count < kSeedsPerBlock) return;
  // A simulation that never gets there shows nothing.
  for (const char* probe :
       {"commit/OK", "commit/FAILED_PRECONDITION", "flush/published", "machine/killed",
        "machine/power lost", "outcome/committed", "outcome/aborted", "snapshot/OK",
        "store/compared", "commit/ALREADY_EXISTS", "build/complete", "build/paused",
        "build wait/OK"}) {
    EXPECT_TRUE(report->probes.contains(probe)) << probe;
  }
}

TEST(LmdbSimulationTest, LmdbMayFailAtAnyCall) {
  if (RanWithIoShim()) return;
  const absl::StatusOr<SeedsReport> report =
      CheckSeeds("engine_lmdb", SeedRange::FromEnvironment(kSeedsPerBlock, 10'001),
                 [](const SimOptions& options) { return RunEngine(options, {.lmdb = true}); });
  ASSERT_TRUE(report.ok()) << report.status().message();
  std::cout << report->ToString() << std::endl;
  EXPECT_TRUE(report->seed_count < kSeedsPerBlock || report->probes.contains("lmdb/struck"));
}

TEST(EngineSimulationControlTest, DiskThatDoesNotSyncIsSeen) {
  int seen = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    seen += RunEngine({.seed = seed}, {.lying_disk = true}).failure.empty() ? 0 : 1;
  }
  EXPECT_GT(seen, 5);
}

}  // namespace
}  // namespace millrace::testing
