#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "millrace/testing/sim_driver.h"
#include "millrace/testing/sim_trace.h"

namespace millrace::testing {

// What a scenario came to. Value.
struct SimResult {
  std::string failure;  // Empty if all was well.
  uint64_t turns = 0;
  uint64_t trace_hash = 0;
  std::deque<SimTrace::Event> events;  // The last ones.
  // How often what is rare happened: SimDriver::Probe, and the strikes of fault points.
  std::map<std::string, uint64_t> probes;

  // Of a simulation that has ended.
  static SimResult Of(SimDriver& sim, std::string failure);
};

// Runs one simulation with these options; must depend on nothing else. It fails by what it
// returns, so that it can be run again to find the smallest failure.
using Scenario = absl::FunctionRef<SimResult(const SimOptions&)>;

// Which seeds are run.
struct SeedRange {
  uint64_t first = 1;
  uint64_t count = 100;

  // `count` seeds (a tenth under a sanitizer) from `first` on, unless the environment says
  // otherwise: MILLRACE_SIM_SEEDS=N runs so many, MILLRACE_SIM_FIRST=N from there on,
  // MILLRACE_SIM_SEED=N that one seed.
  static SeedRange FromEnvironment(uint64_t count, uint64_t first = 1);
};

// What all seeds came to. Value.
struct SeedsReport {
  uint64_t seed_count = 0;
  uint64_t turns = 0;
  std::map<std::string, uint64_t> probes;

  std::string ToString() const;
};

// Runs the scenario with each seed, twice: both runs must be well, and the same. Internal if not,
// with the smallest failure that was found, how to run it again, and its last events; or where two
// runs of a seed part. `name` stands in the message.
absl::StatusOr<SeedsReport> CheckSeeds(const std::string& name, const SeedRange& seeds,
                                       Scenario scenario);

// A failure in fewer turns: of this seed, by a shorter prefix that is left to chance, then of a few
// seeds behind it.
struct SmallestFailure {
  SimOptions options;
  SimResult result;
  uint64_t run_count = 0;
};
SmallestFailure Shrink(const SimOptions& failing, const SimResult& result, Scenario scenario);

}  // namespace millrace::testing
