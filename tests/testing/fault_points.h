#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "millrace/testing/sim_random.h"

namespace millrace::testing {

// Where a simulation makes something go wrong: named points, as FoundationDB's BUGGIFY. Whether a
// point is enabled is drawn once per seed and point, then each passing is drawn; so one run meets a
// few kinds of faults, often, and not a little of every kind. What one point draws does not move
// the others. Owned by one thread.
class FaultPoints {
 public:
  struct Odds {
    double enabled = 0.25;   // Of a point in a run.
    double strike = 0.05;    // Of an enabled one, when it is passed.
    uint64_t count_max = 5;  // Strikes of a point in a run.
  };
  struct Count {
    bool enabled = false;
    uint64_t passed = 0;
    uint64_t struck = 0;
  };

  explicit FaultPoints(uint64_t seed) : FaultPoints(seed, Odds{}) {}
  FaultPoints(uint64_t seed, const Odds& odds) : seed_(seed), odds_(odds) {}

  // Odds of one point, whatever it says itself. Before it is passed.
  void SetOdds(std::string_view point, const Odds& odds);
  // Passes the point: true if something shall go wrong here and now.
  bool Strike(std::string_view point) { return Strike(point, odds_); }
  // The same of a point with odds of its own.
  bool Strike(std::string_view point, const Odds& odds);
  // A number that belongs to the last strike: how, how much.
  uint64_t Below(uint64_t limit) { return last_->Below(limit); }
  // Nothing strikes from now on.
  void Heal() { healed_ = true; }

  // By name.
  std::map<std::string, Count> Counts() const;

 private:
  struct Point {
    Odds odds;
    Count count;
    SimRandom random{0};
  };
  Point& Find(std::string_view name, const Odds& odds);

  const uint64_t seed_;
  const Odds odds_;
  std::map<std::string, Odds, std::less<>> set_odds_;
  std::map<std::string, Point, std::less<>> points_;
  SimRandom* last_ = nullptr;
  bool healed_ = false;
};

}  // namespace millrace::testing
