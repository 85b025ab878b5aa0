#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "absl/time/time.h"

#include "millrace/runtime/clock.h"

namespace millrace {

// An actor's own number for one of its timers.
using TimerId = uint32_t;

// What a periodic timer does about ticks that passed while the actor was busy.
enum class MissedTick : uint8_t {
  kSkip,   // One call; the next tick is the next multiple of the period.
  kDelay,  // One call; the next tick is a period after it.
  kBurst,  // A call for each.
};

enum class FirstTick : uint8_t { kAtOnce, kAfterPeriod };

// The timers of one actor. Setting an id again replaces it; a cancelled timer never fires, even if
// it was already due. Owned by the actor's thread.
class TimerHeap {
 public:
  void Set(TimerId id, MonotonicTime when);
  // A period that is not positive, or infinite, is a disabled timer: none is set.
  void SetPeriodic(TimerId id, MonotonicTime now, absl::Duration period, MissedTick missed,
                   FirstTick first);
  void Cancel(TimerId id);
  void Clear();

  // The earliest timer that is due at `now`, which it takes out or sets to its next tick.
  std::optional<TimerId> PopDue(MonotonicTime now);
  // When the next one is due; Infinite() if none is set.
  MonotonicTime NextDeadline();

 private:
  struct Timer {
    uint64_t order = 0;  // Of setting; the heap's entry with another one is stale.
    absl::Duration period = absl::ZeroDuration();
    MissedTick missed = MissedTick::kSkip;
  };
  struct Entry {
    MonotonicTime when;
    uint64_t order;
    TimerId id;
    bool operator<(const Entry& other) const {  // The standard heap has its largest on top.
      return when != other.when ? when > other.when : order > other.order;
    }
  };

  void Push(TimerId id, MonotonicTime when, Timer timer);
  void DropStale();
  static MonotonicTime NextTick(MonotonicTime when, MonotonicTime now, const Timer& timer);

  std::map<TimerId, Timer> timers_;
  std::vector<Entry> heap_;
  uint64_t next_order_ = 1;
};

}  // namespace millrace
