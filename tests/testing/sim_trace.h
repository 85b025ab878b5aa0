#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <string>
#include <string_view>

#include "millrace/runtime/clock.h"

namespace millrace::testing {

// What happened in a simulation: a hash over all of it, the same for two runs of one seed, and the
// last events. Value.
class SimTrace {
 public:
  struct Event {
    MonotonicTime when;
    std::string who;
    std::string_view what;
    uint64_t number = 0;

    std::string ToString() const;
    friend bool operator==(const Event&, const Event&) = default;
  };

  // One event: who did what, with a number that belongs to it. `what` lives for ever.
  void Note(MonotonicTime when, std::string_view who, std::string_view what, uint64_t number = 0);

  uint64_t hash() const { return hash_; }
  uint64_t event_count() const { return event_count_; }
  // Keeps every event from now on, to compare two runs.
  void KeepAll() { kept_max_ = std::numeric_limits<size_t>::max(); }
  // The last ones, oldest first.
  const std::deque<Event>& events() const { return events_; }
  // The last `count` of them, one a line.
  std::string Tail(size_t count) const;

 private:
  uint64_t hash_ = 0;
  uint64_t event_count_ = 0;
  size_t kept_max_ = 64;
  std::deque<Event> events_;
};

}  // namespace millrace::testing
