#include "millrace/messages/error.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace millrace {
namespace {

constexpr char kOutcomeUrl[] = "millrace/outcome";
constexpr char kDegradedUrl[] = "millrace/degraded";
constexpr char kOwnerPidUrl[] = "millrace/owner-pid";
constexpr char kConflictIndexUrl[] = "millrace/conflict-index";
constexpr char kConflictOwnerUrl[] = "millrace/conflict-owner";

}  // namespace

absl::Status WithOutcome(absl::Status status, Outcome outcome) {
  status.SetPayload(kOutcomeUrl, absl::Cord(outcome == Outcome::kUnknown ? "unknown" : "none"));
  return status;
}

Outcome GetOutcome(const absl::Status& status) {
  const auto payload = status.GetPayload(kOutcomeUrl);
  return payload.has_value() && *payload == "unknown" ? Outcome::kUnknown : Outcome::kNotExecuted;
}

absl::Status WithDegraded(absl::Status status) {
  status.SetPayload(kDegradedUrl, absl::Cord());
  return status;
}

bool IsDegraded(const absl::Status& status) {
  return status.GetPayload(kDegradedUrl).has_value();
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

absl::Status WithIndexConflict(absl::Status status, const IndexConflict& conflict) {
  status.SetPayload(kConflictIndexUrl, absl::Cord(conflict.index));
  status.SetPayload(kConflictOwnerUrl, absl::Cord(conflict.owner));
  return status;
}

std::optional<IndexConflict> GetIndexConflict(const absl::Status& status) {
  const auto index = status.GetPayload(kConflictIndexUrl);
  const auto owner = status.GetPayload(kConflictOwnerUrl);
  if (!index.has_value() || !owner.has_value()) return std::nullopt;
  return IndexConflict{.index = std::string(*index), .owner = std::string(*owner)};
}

}  // namespace millrace
