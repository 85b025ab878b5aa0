#include "millrace/testing/fault_points.h"

namespace millrace::testing {

void FaultPoints::SetOdds(std::string_view point, const Odds& odds) {
  set_odds_[std::string(point)] = odds;
}

FaultPoints::Point& FaultPoints::Find(std::string_view name, const Odds& odds) {
  const auto known = points_.find(name);
  if (known != points_.end()) return known->second;
  const auto set = set_odds_.find(name);
  Point point{.odds = set != set_odds_.end() ? set->second : odds,
              .random = SimRandom(seed_, name)};
  point.count.enabled = point.random.Chance(point.odds.enabled);
  return points_.emplace(name, point).first->second;
}

bool FaultPoints::Strike(std::string_view name, const Odds& odds) {
  if (healed_) return false;
  Point& point = Find(name, odds);
  ++point.count.passed;
  if (!point.count.enabled || point.count.struck >= point.odds.count_max ||
      !point.random.Chance(point.odds.strike)) {
    return false;
  }
  ++point.count.struck;
  last_ = &point.random;
  return true;
}

std::map<std::string, FaultPoints::Count> FaultPoints::Counts() const {
  std::map<std::string, Count> counts;
  for (const auto& [name, point] : points_) counts[name] = point.count;
  return counts;
}

}  // namespace millrace::testing
