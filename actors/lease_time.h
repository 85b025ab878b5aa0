#pragma once

#include "absl/time/time.h"

#include "millrace/runtime/clock.h"

namespace millrace {

// What the lease registry is told, which asks for times of one clock that never jumps and knows no
// clock of ours.
inline absl::Time LeaseTime(MonotonicTime time) {
  return absl::UnixEpoch() + absl::Nanoseconds(time.nanoseconds());
}

}  // namespace millrace
