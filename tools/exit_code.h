#pragma once

#include "absl/status/status.h"

namespace millrace {

// What the process ends with. Scripts rely on these numbers.
enum class ExitCode : int {
  kOk = 0,
  kNotFound = 1,  // The store, the collection or the record that was asked for is not there.
  kUsage = 64,
  kBadData = 65,  // Input that is no record, or damage in the store.
  kFailed = 70,
  kLocked = 71,  // Another process has the store open.
};

// The exit code of an operation on a store that ended with `status`.
ExitCode ToExitCode(const absl::Status& status);

}  // namespace millrace
