#pragma once

#include <cstdint>

#include "absl/time/time.h"

#include "millrace/storage/index_task.h"

namespace millrace {

// The conversation about index builds.

// How far a build is. The phases follow each other, and within one `completed` only grows; at the
// end of each it is `total`. An attempt that begins anew (the sorted runs were lost) counts again
// from the start, under the next attempt number. Value.
struct BuildProgress {
  storage::TaskId task = 0;
  uint32_t attempt = 1;
  storage::BuildPhase phase = storage::BuildPhase::kWaiting;
  uint64_t completed = 0;  // Of the phase: rows of the source, or entries.
  uint64_t total = 0;
  double per_second = 0;   // Of `completed`, in this phase; 0 if no time has passed.
  absl::Duration elapsed;  // Under way, in all attempts.
  // To the end of the build, at the rate of now; infinite if that is not known.
  absl::Duration eta = absl::InfiniteDuration();
};

}  // namespace millrace
