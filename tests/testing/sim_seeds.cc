#include "millrace/testing/sim_seeds.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace millrace::testing {
namespace {

// Runs of a shrinking search.
constexpr uint64_t kShrinkRunsMax = 60;
constexpr uint64_t kOtherSeeds = 20;
constexpr size_t kEventsShown = 40;

// Says which seed it was when the process dies of a bug.
class SeedOfTheDead {
 public:
  SeedOfTheDead() {
    struct sigaction action = {};
    action.sa_handler = &Tell;
    sigaction(SIGABRT, &action, &before_);
    sigaction(SIGSEGV, &action, &before_of_fault_);
  }
  ~SeedOfTheDead() {
    sigaction(SIGABRT, &before_, nullptr);
    sigaction(SIGSEGV, &before_of_fault_, nullptr);
  }
  static void Set(uint64_t seed) {
    std::snprintf(digits_, sizeof(digits_), "%llu", static_cast<unsigned long long>(seed));
  }

 private:
  static void Tell(int signal) {
    const auto say = [](const char* text) {
      [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, text, std::strlen(text));
    };
    say("the simulation dies; run it again with MILLRACE_SIM_SEED=");
    say(digits_);
    say("\n");
    sigaction(signal, signal == SIGSEGV ? &before_of_fault_ : &before_, nullptr);
    raise(signal);
  }

  static inline char digits_[32] = "";
  static inline struct sigaction before_ = {};
  static inline struct sigaction before_of_fault_ = {};
};

bool Environment(const char* name, uint64_t* number) {
  const char* const text = std::getenv(name);
  return text != nullptr && absl::SimpleAtoi(text, number);
}

std::string Lines(const std::deque<SimTrace::Event>& events, size_t begin, size_t end) {
  std::string text;
  for (size_t i = begin; i < std::min(end, events.size()); ++i) {
    absl::StrAppend(&text, "  ", events[i].ToString(), "\n");
  }
  return text;
}

// Where two runs of one seed part: run again, keeping every event.
std::string Difference(SimOptions options, Scenario scenario) {
  options.keep_trace = true;
  const SimResult one = scenario(options);
  const SimResult other = scenario(options);
  size_t at = 0;
  while (at < one.events.size() && at < other.events.size() && one.events[at] == other.events[at]) {
    ++at;
  }
  const size_t begin = at < 10 ? 0 : at - 10;
  return absl::StrCat("they part at event ", at, ":\n", Lines(one.events, begin, at + 5),
                      "and the other one:\n", Lines(other.events, at, at + 5));
}

std::string Describe(const SmallestFailure& smallest, uint64_t seed, std::string_view name) {
  const SimOptions& options = smallest.options;
  const std::string again =
      absl::StrCat("MILLRACE_SIM_SEED=", options.seed,
                   options.chaos_turns_max == SimOptions{}.chaos_turns_max
                       ? ""
                       : absl::StrCat(" MILLRACE_SIM_TURNS=", options.chaos_turns_max));
  const auto& events = smallest.result.events;
  const size_t begin = events.size() < kEventsShown ? 0 : events.size() - kEventsShown;
  return absl::StrCat(std::string(name), ", seed ", seed, ": ", smallest.result.failure,
                      "\nsmallest failure of ", smallest.run_count, " runs, ",
                      smallest.result.turns, " turns: ", again, "\nits last events:\n",
                      Lines(events, begin, events.size()));
}

}  // namespace

SimResult SimResult::Of(SimDriver& sim, std::string failure) {
  SimResult result{.failure = std::move(failure),
                   .turns = sim.turns(),
                   .trace_hash = sim.trace().hash(),
                   .events = sim.trace().events(),
                   .probes = sim.probes()};
  for (const auto& [point, count] : sim.faults().Counts()) result.probes[point] = count.struck;
  return result;
}

SeedRange SeedRange::FromEnvironment(uint64_t count, uint64_t first) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  SeedRange range{.first = first, .count = (count + 9) / 10};
#else
  SeedRange range{.first = first, .count = count};
#endif
  Environment("MILLRACE_SIM_SEEDS", &range.count);
  Environment("MILLRACE_SIM_FIRST", &range.first);
  if (Environment("MILLRACE_SIM_SEED", &range.first)) range.count = 1;
  return range;
}

std::string SeedsReport::ToString() const {
  std::string text = absl::StrCat(seed_count, " seeds, ", turns, " turns");
  for (const auto& [probe, count] : probes) absl::StrAppend(&text, "\n  ", probe, " ", count);
  return text;
}

absl::StatusOr<SeedsReport> CheckSeeds(const std::string& name, const SeedRange& seeds,
                                       Scenario scenario) {
  const SeedOfTheDead seed_of_the_dead;
  SeedsReport report;
  for (uint64_t seed = seeds.first; seed < seeds.first + seeds.count; ++seed) {
    SeedOfTheDead::Set(seed);
    SimOptions options{.seed = seed};
    Environment("MILLRACE_SIM_TURNS", &options.chaos_turns_max);
    const SimResult first = scenario(options);
    if (!first.failure.empty()) {
      return absl::InternalError(Describe(Shrink(options, first, scenario), seed, name));
    }
    const SimResult second = scenario(options);
    if (second.trace_hash != first.trace_hash || second.failure != first.failure) {
      return absl::InternalError(absl::StrCat(
          name, ", seed ", seed, ": two runs are not the same; ", Difference(options, scenario)));
    }
    ++report.seed_count;
    report.turns += first.turns;
    for (const auto& [probe, count] : first.probes) report.probes[probe] += count;
  }
  return report;
}

SmallestFailure Shrink(const SimOptions& failing, const SimResult& result, Scenario scenario) {
  SmallestFailure smallest{.options = failing, .result = result};
  const auto fails = [&](uint64_t seed, uint64_t chaos_turns_max) {
    if (smallest.run_count >= kShrinkRunsMax) return false;
    SimOptions options = failing;
    options.seed = seed;
    options.chaos_turns_max = chaos_turns_max;
    ++smallest.run_count;
    SimResult again = scenario(options);
    if (again.failure.empty()) return false;
    if (again.turns < smallest.result.turns) {
      smallest.options = options;
      smallest.result = std::move(again);
    }
    return true;
  };
  const auto halve = [&](uint64_t seed, uint64_t fails_at) {
    uint64_t passes_at = 0;
    while (passes_at + 1 < fails_at) {
      const uint64_t middle = passes_at + (fails_at - passes_at) / 2;
      (fails(seed, middle) ? fails_at : passes_at) = middle;
    }
  };
  halve(failing.seed, std::min(failing.chaos_turns_max, result.turns));
  for (uint64_t seed = failing.seed + 1; seed <= failing.seed + kOtherSeeds; ++seed) {
    const uint64_t length = std::min(smallest.options.chaos_turns_max, smallest.result.turns);
    if (fails(seed, length)) halve(seed, length);
  }
  return smallest;
}

}  // namespace millrace::testing
