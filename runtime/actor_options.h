#pragma once

#include <cstdint>
#include <string>

#include "absl/time/time.h"

#include "millrace/runtime/clock.h"
#include "millrace/runtime/mailbox_gate.h"

namespace millrace {

// What happens when an actor fails: a handler threw, or the actor called Fail(). Value.
struct Supervision {
  enum class Kind : uint8_t {
    // The runtime is told; no handler of the actor runs again, and whoever asks is answered with
    // the cause. For what cannot go on without risk to data.
    kEscalate,
    // OnStop, a pause, OnStart on the same thread. The mailbox is kept, the awaited answers are
    // not.
    kRestart,
  };
  Kind kind = Kind::kEscalate;
  // kRestart: restarts within `window`; the next failure escalates. kEscalate: exceptions within
  // `window` that are only counted, the actor going on; Fail() always escalates.
  uint32_t failure_max = 0;
  absl::Duration window = absl::Seconds(60);
  // The pause before a restart: doubled with each failure within the window.
  absl::Duration backoff_min = absl::Milliseconds(10);
  absl::Duration backoff_max = absl::Seconds(5);

  static Supervision Escalate(uint32_t tolerated_max = 0) {
    return {.kind = Kind::kEscalate, .failure_max = tolerated_max};
  }
  static Supervision Restart(uint32_t restart_max = 5) {
    return {.kind = Kind::kRestart, .failure_max = restart_max};
  }
};

// What every actor is given beside its own dependencies. Value.
struct ActorOptions {
  std::string name;  // Also the thread's: the first 15 bytes are.
  MailboxLimits mailbox;
  Clock* clock = &SystemClock();  // Outlives the actor.
  Supervision supervision;
  // The most messages handled between two looks at timers, doorbell and control lane.
  uint32_t batch_max = 256;
  // Added to the niceness of the actor's thread, 0 to 19. Where cores are scarce, maintenance then
  // runs on what clients leave, and never less than a small share: the scheduler's pacing.
  int niceness = 0;
};

enum class StopReason : uint8_t {
  kShutdown,  // The mailbox is closed and done with.
  kRestart,   // OnStart follows.
  kFailed,    // No handler will run again.
};

}  // namespace millrace
