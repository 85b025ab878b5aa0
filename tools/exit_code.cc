#include "millrace/tools/exit_code.h"

#include "millrace/messages/error.h"

namespace millrace {

ExitCode ToExitCode(const absl::Status& status) {
  if (GetOwnerPid(status).has_value()) return ExitCode::kLocked;
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return ExitCode::kOk;
    case absl::StatusCode::kNotFound:
      return ExitCode::kNotFound;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kDataLoss:
      return ExitCode::kBadData;
    default:
      return ExitCode::kFailed;
  }
}

}  // namespace millrace
