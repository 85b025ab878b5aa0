#include "millrace/storage/commit_failure.h"

#include <utility>

#include "absl/strings/cord.h"

namespace millrace::storage {
namespace {

constexpr char kCommitFailureUrl[] = "millrace/commit-failure";
constexpr char kOutcomeUrl[] = "millrace/outcome";  // Read by messages/error.h.

constexpr std::pair<CommitFailure, const char*> kNames[] = {
    {CommitFailure::kFull, "full"},
    {CommitFailure::kQuota, "quota"},
    {CommitFailure::kTransactionFull, "transaction-full"},
    {CommitFailure::kSyncFailed, "sync-failed"},
    {CommitFailure::kOutcomeUnknown, "outcome-unknown"},
    {CommitFailure::kOther, "other"},
};

}  // namespace

std::optional<CommitFailure> GetCommitFailure(const absl::Status& status) {
  const auto payload = status.GetPayload(kCommitFailureUrl);
  if (!payload.has_value()) return std::nullopt;
  for (const auto& [failure, name] : kNames) {
    if (*payload == name) return failure;
  }
  return CommitFailure::kOther;
}

absl::Status WithCommitFailure(absl::Status status, CommitFailure failure) {
  for (const auto& [candidate, name] : kNames) {
    if (candidate == failure) status.SetPayload(kCommitFailureUrl, absl::Cord(name));
  }
  if (failure == CommitFailure::kOutcomeUnknown) {
    status.SetPayload(kOutcomeUrl, absl::Cord("unknown"));
  }
  return status;
}

}  // namespace millrace::storage
