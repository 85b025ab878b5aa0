#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "millrace/runtime/actor_metrics.h"

namespace millrace {

// What became of everything one actor was ever sent. The numbers are counted apart from each
// other: `accepted` by the senders, the rest by the actor. Value.
struct ActorReport {
  std::string name;
  uint64_t accepted = 0;
  uint64_t handled = 0;
  uint64_t discarded = 0;  // Answered with the reason: by type, see messages.
  uint64_t expired = 0;    // Nobody waited for the answer any more.
  uint64_t rejected_after_close = 0;
  uint64_t restarts = 0;
  absl::Duration drain_time = absl::ZeroDuration();  // From the close to the end.
  absl::Status last_error;
  std::vector<MessageCounts> messages;  // Of each type.

  bool Balanced() const { return accepted == handled + discarded + expired; }
};

// How a runtime stopped. Value.
struct ShutdownReport {
  std::vector<ActorReport> actors;  // In the order they stopped.
  absl::Duration elapsed = absl::ZeroDuration();
  bool within_deadline = true;

  // Nothing that was accepted is unaccounted for.
  bool Balanced() const;
  // Null if there is no actor of that name.
  const ActorReport* Find(const std::string& name) const;
  // A line for each actor.
  std::string ToString() const;
};

}  // namespace millrace
