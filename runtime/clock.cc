#include "millrace/runtime/clock.h"

#include <ctime>

#include "absl/time/clock.h"

namespace millrace {
namespace {

class SystemClockImpl final : public Clock {
 public:
  MonotonicTime Now() const override {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return MonotonicTime::FromNanoseconds(int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec);
  }
  absl::Time WallNow() const override { return absl::Now(); }
};

}  // namespace

MonotonicTime operator+(MonotonicTime time, absl::Duration duration) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  if (time == MonotonicTime::Infinite() || duration == absl::InfiniteDuration()) {
    return MonotonicTime::Infinite();
  }
  const int64_t nanoseconds = absl::ToInt64Nanoseconds(duration);
  if (nanoseconds > 0 && time.nanoseconds_ > kMax - nanoseconds) return MonotonicTime::Infinite();
  return MonotonicTime::FromNanoseconds(time.nanoseconds_ + nanoseconds);
}

absl::Duration operator-(MonotonicTime later, MonotonicTime earlier) {
  if (later == MonotonicTime::Infinite()) return absl::InfiniteDuration();
  return absl::Nanoseconds(later.nanoseconds_ - earlier.nanoseconds_);
}

Clock& SystemClock() {
  static auto* const clock = new SystemClockImpl;
  return *clock;
}

}  // namespace millrace
