#include "millrace/actors/writer.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"

#include "millrace/storage/commit_failure.h"

namespace millrace {
namespace {

constexpr TimerId kPauseTimer = 1;

}  // namespace

Writer::Writer(const ActorOptions& actor_options, storage::Environment& environment,
               storage::WritePermit permit, const Pacing& pacing, Health& health)
    : Actor(actor_options),
      pacing_(pacing),
      health_(health),
      applier_(environment, std::move(permit)) {
}

absl::Status Writer::OnStart() {
  return applier_.Load();
}

void Writer::Handle(ApplySlice slice, Reply<SliceApplied> reply) {
  if (!failure_.ok()) return reply.Send(failure_);
  absl::StatusOr<SliceApplied> applied = applier_.Apply(slice);
  if (!applied.ok() && applied.status().code() != absl::StatusCode::kAborted) {
    // The transaction is gone with all that was in it.
    FailWaiting(absl::AbortedError(
        absl::StrCat("the transaction was aborted: ", applied.status().message())));
  }
  waiting_.push_back({std::move(reply), std::move(applied)});
}

// Somebody waits and nothing else is queued: commit. What clients are owed of the device comes
// first, so the answers, and with them the next slices, wait out the pause.
void Writer::OnBatchEnd() {
  if (waiting_.empty()) return;
  const MonotonicTime begin = clock().Now();
  EndTransaction();
  const absl::Duration pause = pacing_.PauseAfter(clock().Now() - begin);
  if (pause <= absl::ZeroDuration()) return Answer();
  SetTimer(kPauseTimer, pause);
}

void Writer::OnTimer(TimerId /*timer*/) {
  Answer();
}

void Writer::OnStop(StopReason /*reason*/) {
  EndTransaction();
  Answer();
}

// What is decided waits for its answer apart from what is still in a transaction.
void Writer::EndTransaction() {
  if (const absl::Status status = Commit(); !status.ok()) FailWaiting(status);
  std::move(waiting_.begin(), waiting_.end(), std::back_inserter(decided_));
  waiting_.clear();
}

absl::Status Writer::Commit() {
  absl::Status status = applier_.Commit();
  if (status.ok()) return status;
  const std::optional<storage::CommitFailure> failure = storage::GetCommitFailure(status);
  if (failure != storage::CommitFailure::kSyncFailed &&
      failure != storage::CommitFailure::kOutcomeUnknown) {
    return status;
  }
  failure_ = absl::UnavailableError(
      absl::StrCat("LMDB could not be written, the engine stops: ", status.message(),
                   "; mend the cause and open the store again"));
  LOG(ERROR) << "Writer: " << failure_.message();
  health_.Fail(failure_);
  Fail(failure_);
  return failure_;
}

// Everyone whose slice was in the transaction, and was to be told that it is applied.
void Writer::FailWaiting(const absl::Status& status) {
  for (Waiting& waiting : waiting_) {
    if (waiting.answer.ok()) waiting.answer = status;
  }
}

void Writer::Answer() {
  for (Waiting& decided : decided_) decided.reply.Send(std::move(decided.answer));
  decided_.clear();
}

}  // namespace millrace
