#include "millrace/testing/manual_clock.h"

namespace millrace::testing {

MonotonicTime ManualClock::Now() const {
  absl::MutexLock lock(&mutex_);
  return now_;
}

absl::Time ManualClock::WallNow() const {
  absl::MutexLock lock(&mutex_);
  return wall_;
}

void ManualClock::Advance(absl::Duration duration) {
  std::vector<Cell*> watched;
  {
    absl::MutexLock lock(&mutex_);
    now_ = now_ + duration;
    wall_ += duration;
    watched = watched_;
  }
  for (Cell* actor : watched) actor->Wake();
}

void ManualClock::SetWall(absl::Time time) {
  absl::MutexLock lock(&mutex_);
  wall_ = time;
}

void ManualClock::Watch(Cell& actor) {
  absl::MutexLock lock(&mutex_);
  watched_.push_back(&actor);
}

}  // namespace millrace::testing
