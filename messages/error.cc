#include "millrace/messages/error.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace millrace {
namespace {

constexpr char kOutcomeUrl[] = "millrace/outcome";
constexpr char kOwnerPidUrl[] = "millrace/owner-pid";

}  // namespace

absl::Status WithOutcome(absl::Status status, Outcome outcome) {
  status.SetPayload(kOutcomeUrl, absl::Cord(outcome == Outcome::kUnknown ? "unknown" : "none"));
  return status;
}

Outcome GetOutcome(const absl::Status& status) {
  const auto payload = status.GetPayload(kOutcomeUrl);
  return payload.has_value() && *payload == "unknown" ? Outcome::kUnknown : Outcome::kNotExecuted;
}

absl::Status WithOwnerPid(absl::Status status, pid_t pid) {
  status.SetPayload(kOwnerPidUrl, absl::Cord(absl::StrCat(pid)));
  return status;
}

std::optional<pid_t> GetOwnerPid(const absl::Status& status) {
  const auto payload = status.GetPayload(kOwnerPidUrl);
  pid_t pid = 0;
  if (!payload.has_value() || !absl::SimpleAtoi(std::string(*payload), &pid)) return std::nullopt;
  return pid;
}

}  // namespace millrace
