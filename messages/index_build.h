#pragma once

#include <cstdint>
#include <vector>

#include "absl/time/time.h"

#include "millrace/messages/task.h"
#include "millrace/storage/index_build.h"
#include "millrace/storage/index_task.h"

namespace millrace {

// The conversation of clients with the Rebuilder.

// How far a build is. The phases follow each other, and within one `completed` only grows; at the
// end of each it is `total`. An attempt that begins anew (the sorted runs were lost) counts again
// from the start, under the next attempt number; one that was paused, or that looks anew at what it
// finds, goes through its phases again from where its rows say. Value.
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

// What clients ask of the Rebuilder. All is durable when it is answered. Errors of all: NotFound,
// there is no such index or task; FailedPrecondition, it cannot happen to the task as it is (the
// message says how it is); Cancelled, the engine stops.

// Builds an index. An index that has a build which is not at its end keeps it: that is the answer.
// InvalidArgument: the index does not have that source.
struct ScheduleBuild {
  using ReplyType = storage::IndexTask;
  storage::BuildRequest request;
};
// Cancels, pauses, resumes or retries a build. A build under way stops at its next batch.
struct ControlBuild {
  enum class Action : uint8_t { kCancel, kPause, kResume, kRetry };
  using ReplyType = storage::IndexTask;
  storage::TaskId task = 0;
  Action action = Action::kCancel;
  bool reset = false;  // kRetry: also if its attempts are used up, which are then counted anew.
};
// Retries all that have failed; with `reset` also those whose attempts are used up.
struct BuildsRetried {
  std::vector<storage::TaskId> tasks;
};
struct RetryFailedBuilds {
  using ReplyType = BuildsRetried;
  bool reset = false;
};
// Forgets the builds that are at their end.
struct CleanUpBuilds {
  using ReplyType = TasksForgotten;
};
// An index is no longer defined: its build ends, what was built is deleted in time.
struct ForgetIndex {
  using ReplyType = GenerationsRetired;
  storage::IndexDefinition definition;
};

}  // namespace millrace
