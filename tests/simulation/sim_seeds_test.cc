#include "millrace/testing/sim_seeds.h"

#include <string>

#include "absl/strings/match.h"
#include "gtest/gtest.h"

namespace millrace::testing {
namespace {

TEST(SimSeedsTest, EverySeedRunsTwice) {
  std::string runs;
  const absl::Status status = CheckSeeds("two", {.first = 3, .count = 2}, [&](const SimOptions& o) {
                                runs += std::to_string(o.seed);
                                return SimResult{.trace_hash = o.seed};
                              }).status();
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(runs, "3344");
}

TEST(SimSeedsTest, RunsThatDifferAreToldWithTheEventWhereTheyPart) {
  uint64_t run = 0;
  const absl::Status status = CheckSeeds("two", {.count = 1}, [&](const SimOptions& options) {
                                SimDriver sim(options);
                                sim.trace().Note(sim.Now(), "actor", "the same");
                                sim.trace().Note(sim.Now(), "actor", "another", ++run);
                                return SimResult::Of(sim, "");
                              }).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(absl::StrContains(status.message(), "they part at event 1")) << status;
}

// Fails when 100 turns are left to chance, of seed 2 when 40 are.
TEST(SimSeedsTest, FailureIsShrunkByLengthAndBySeed) {
  const absl::Status status = CheckSeeds("two", {.count = 1}, [&](const SimOptions& options) {
                                const uint64_t fails_at = options.seed == 2 ? 40 : 100;
                                const uint64_t chaos =
                                    std::min<uint64_t>(options.chaos_turns_max, 1000);
                                if (chaos < fails_at) return SimResult{.turns = chaos};
                                return SimResult{.failure = "it broke", .turns = chaos};
                              }).status();
  EXPECT_TRUE(absl::StrContains(status.message(), "seed 1: it broke")) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "MILLRACE_SIM_SEED=2 MILLRACE_SIM_TURNS=40\n"))
      << status;
}

}  // namespace
}  // namespace millrace::testing
