#pragma once

#include <compare>
#include <cstdint>
#include <limits>

#include "absl/time/time.h"

namespace millrace {

// A point of a clock that never jumps; the origin is arbitrary. Value.
class MonotonicTime {
 public:
  constexpr MonotonicTime() = default;
  static constexpr MonotonicTime FromNanoseconds(int64_t nanoseconds) {
    MonotonicTime time;
    time.nanoseconds_ = nanoseconds;
    return time;
  }
  // Later than every other time: a wait until then has no deadline.
  static constexpr MonotonicTime Infinite() {
    return FromNanoseconds(std::numeric_limits<int64_t>::max());
  }
  constexpr int64_t nanoseconds() const { return nanoseconds_; }
  friend constexpr auto operator<=>(MonotonicTime, MonotonicTime) = default;

  // Saturates: adding an infinite duration gives Infinite().
  friend MonotonicTime operator+(MonotonicTime time, absl::Duration duration);
  // Infinite if `later` is Infinite().
  friend absl::Duration operator-(MonotonicTime later, MonotonicTime earlier);

 private:
  int64_t nanoseconds_ = 0;
};

// Where actors take the time from: the only source, so that tests and simulation can own it.
// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  // For waiting and measuring.
  virtual MonotonicTime Now() const = 0;
  // For dates that outlive the process (expiry of a fork). May jump.
  virtual absl::Time WallNow() const = 0;
};

// The machine's clocks. Lives for ever.
Clock& SystemClock();

}  // namespace millrace
