#include "millrace/runtime/actor_metrics.h"

#include <algorithm>

namespace millrace {

uint64_t HistogramSnapshot::count() const {
  uint64_t sum = 0;
  for (uint64_t bucket : buckets) sum += bucket;
  return sum;
}

uint64_t HistogramSnapshot::Percentile(double share) const {
  const uint64_t total = count();
  if (total == 0) return 0;
  const auto rank =
      std::max<uint64_t>(1, static_cast<uint64_t>(share * static_cast<double>(total)));
  uint64_t seen = 0;
  for (size_t i = 0; i < buckets.size(); ++i) {
    seen += buckets[i];
    if (seen >= rank) return i == 0 ? 0 : (uint64_t{1} << i) - 1;
  }
  return (uint64_t{1} << (buckets.size() - 1)) - 1;
}

HistogramSnapshot Histogram::Snapshot() const {
  HistogramSnapshot snapshot;
  for (size_t i = 0; i < buckets_.size(); ++i) snapshot.buckets[i] = buckets_[i].Get();
  return snapshot;
}

std::string_view ActorStateName(ActorState state) {
  switch (state) {
    case ActorState::kNew:
      return "new";
    case ActorState::kRunning:
      return "running";
    case ActorState::kRestarting:
      return "restarting";
    case ActorState::kFailed:
      return "failed";
    case ActorState::kStopped:
      return "stopped";
  }
  return "unknown";
}

}  // namespace millrace
