#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "absl/status/status.h"

namespace millrace {

// What a status carries beside its code and text. Each detail is a typed payload of the status,
// written by With... and read by one function. All of this file is thread-safe.

// Whether the commit that failed may have been executed all the same.
enum class Outcome {
  kNotExecuted,  // Certain: nothing of it is in the store, and nothing will be.
  kUnknown,      // It may be found committed; Engine::GetOutcome resolves it.
};
absl::Status WithOutcome(absl::Status status, Outcome outcome);
// kNotExecuted where the status says nothing: only what says so is unknown.
Outcome GetOutcome(const absl::Status& status);

// Whether the status says that the engine is Degraded: flushes failed as often as they may, and
// wait for Engine::Resume() or for the next probe. Code and text are those of the cause.
absl::Status WithDegraded(absl::Status status);
bool IsDegraded(const absl::Status& status);

// The process that holds the store (code Unavailable).
absl::Status WithOwnerPid(absl::Status status, pid_t pid);
std::optional<pid_t> GetOwnerPid(const absl::Status& status);

// Who has the value that a unique index allows once (code AlreadyExists).
struct IndexConflict {
  std::string index;  // Its name.
  std::string owner;  // The id of the record that has the value.
};
absl::Status WithIndexConflict(absl::Status status, const IndexConflict& conflict);
std::optional<IndexConflict> GetIndexConflict(const absl::Status& status);

}  // namespace millrace
