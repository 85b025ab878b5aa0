#pragma once

#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "millrace/runtime/cell.h"
#include "millrace/runtime/clock.h"

namespace millrace::testing {

// A clock that moves when it is told to. Starts at one second past its origin, wall time at
// 2026-01-01 UTC; both move together unless the wall clock is set. Thread-safe.
class ManualClock final : public Clock {
 public:
  MonotonicTime Now() const override;
  absl::Time WallNow() const override;

  // Both clocks go on by `duration`, then the watched actors are woken to look at their timers.
  void Advance(absl::Duration duration);
  // The wall clock jumps; the monotonic one does not.
  void SetWall(absl::Time time);
  // An actor on a thread of its own cannot know that this clock moved: it is woken.
  void Watch(Cell& actor);

 private:
  mutable absl::Mutex mutex_;
  MonotonicTime now_ ABSL_GUARDED_BY(mutex_) = MonotonicTime::FromNanoseconds(1'000'000'000);
  absl::Time wall_ ABSL_GUARDED_BY(mutex_) = absl::FromUnixSeconds(1'767'225'600);
  std::vector<Cell*> watched_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace millrace::testing
