#pragma once

#include <cstdint>

#include "millrace/runtime/clock.h"
#include "millrace/runtime/futex.h"
#include "millrace/runtime/short_poll.h"

namespace millrace {

// When a consumer looks at its queue. While messages stream in, each look at a nearly empty queue
// takes its cache lines away from the sender; so a consumer that finds little right after it has
// handled something stays off for a microsecond and finds more then (worth a factor of 2 to 4); not
// if it finds a single one, which is what taking turns with one asker looks like. One
// that finds nothing polls a little, which saves both sides the futex when they take turns, and
// then sleeps. Owned by the consumer's thread.
class ConsumerPace {
 public:
  // A look found `count` messages, which are handled now. Returns after the time to stay off.
  void Found(uint32_t count) {
    if (at_once_ && count > 1 && count < kLittle) StayOff();
    at_once_ = true;
  }
  // A look found nothing: polls `ready` a bounded number of times. True if it came to be.
  template <typename F>
  bool Poll(F&& ready) {
    at_once_ = false;
    return poll_.Try(ready);
  }

 private:
  static constexpr uint32_t kLittle = 64;
  static constexpr int64_t kStayOffNs = 1000;

  static void StayOff() {
    const int64_t until = SystemClock().Now().nanoseconds() + kStayOffNs;
    while (SystemClock().Now().nanoseconds() < until) SystemSync::Pause();
  }

  ShortPoll poll_;
  bool at_once_ = false;  // The last look found something.
};

}  // namespace millrace
