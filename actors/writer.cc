#include "millrace/actors/writer.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"

#include "millrace/storage/commit_failure.h"

namespace millrace {
namespace {

constexpr TimerId kPauseTimer = 1;

// A transaction that others still add to is committed at this age.
constexpr absl::Duration kTransactionAgeMax = absl::Milliseconds(20);

// Work that needs links, and what they scope, to be whole.
template <typename M>
bool NeedsWholeFlushes(const M& /*message*/) {
  return false;
}
bool NeedsWholeFlushes(const RepairLinks& /*repair*/) {
  return true;
}
bool NeedsWholeFlushes(const RepairEntries& repair) {
  return repair.definition.scoped();
}

}  // namespace

Writer::Writer(const ActorOptions& actor_options, storage::Environment& environment,
               storage::WritePermit permit, Pacing& pacing, Health& health)
    : Actor(actor_options),
      pacing_(pacing),
      health_(health),
      transaction_(environment, std::move(permit)),
      slices_(environment) {
  transaction_.Add(slices_);
  transaction_.Add(builds_);
  transaction_.Add(repairs_);
}

absl::Status Writer::OnStart() {
  return slices_.Load();
}

void Writer::Handle(ApplySlice slice, Reply<SliceApplied> reply) {
  Queue(slices_, std::move(slice), std::move(reply));
}

void Writer::Handle(CreateTask create, Reply<TaskChanged> reply) {
  Queue(builds_, std::move(create), std::move(reply));
}

void Writer::Handle(ChangeTask change, Reply<TaskChanged> reply) {
  Queue(builds_, std::move(change), std::move(reply));
}

void Writer::Handle(ForgetTasks forget, Reply<TasksForgotten> reply) {
  Queue(builds_, forget, std::move(reply));
}

void Writer::Handle(ApplyEntries apply, Reply<TaskChanged> reply) {
  Queue(builds_, std::move(apply), std::move(reply));
}

void Writer::Handle(RetireGenerations retire, Reply<GenerationsRetired> reply) {
  Queue(builds_, std::move(retire), std::move(reply));
}

void Writer::Handle(DeleteEntries remove, Reply<GenerationsRetired> reply) {
  Queue(builds_, std::move(remove), std::move(reply));
}

void Writer::Handle(RemoveEntries remove, Reply<GenerationsRetired> reply) {
  Queue(builds_, std::move(remove), std::move(reply));
}

void Writer::Handle(RepairEntries repair, Reply<Repaired> reply) {
  QueueBetweenFlushes(std::move(repair), std::move(reply));
}

void Writer::Handle(RepairLinks repair, Reply<Repaired> reply) {
  QueueBetweenFlushes(std::move(repair), std::move(reply));
}

void Writer::Handle(RepairCount repair, Reply<Repaired> reply) {
  Queue(slices_, repair, std::move(reply));
}

// Somebody waits: commit, unless more is queued that can go with it. What clients are owed of the
// device comes first, so the answers, and whatever is queued, wait out the pause: a transaction
// that went on growing meanwhile would hold the device for longer.
void Writer::OnBatchEnd() {
  while (!pausing_) {
    const uint64_t bytes_max = pacing_.BytesMax();
    while (!queue_.empty() && !Full(bytes_max)) ApplyNext();
    if (!transaction_.awaited()) return Answer();
    if (!Full(bytes_max) && queued_count() > 0) return;  // Another turn follows at once.
    const MonotonicTime begin = clock().Now();
    const uint64_t bytes = transaction_.written_bytes();
    pacing_.BeginCommit();
    EndTransaction();
    const absl::Duration work = clock().Now() - begin;
    pacing_.EndCommit(bytes, work);
    const absl::Duration pause = pacing_.PauseAfter(work);
    if (pause <= absl::ZeroDuration()) {
      Answer();
      if (queue_.empty()) return;
    } else {
      pausing_ = true;
      SetTimer(kPauseTimer, pause);
    }
  }
}

// The step's OnBatchEnd follows.
void Writer::OnTimer(TimerId /*timer*/) {
  pausing_ = false;
  Answer();
}

void Writer::OnStop(StopReason reason) {
  if (reason == StopReason::kFailed && failure_.ok()) {
    failure_ = absl::CancelledError("the Writer failed before this was applied");
  }
  while (!queue_.empty()) ApplyNext();
  between_flushes_.clear();
  EndTransaction();
  Answer();
}

bool Writer::Full(uint64_t bytes_max) {
  return transaction_.open() && (transaction_.written_bytes() >= bytes_max ||
                                 clock().Now() - began_ >= kTransactionAgeMax);
}

template <typename KindOfApplier, Request M>
void Writer::Queue(KindOfApplier& applier, M message, Reply<typename M::ReplyType> reply) {
  queue_.push_back(
      [this, &applier, message = std::move(message), reply = std::move(reply)]() mutable {
        owner_.AssertOwned();
        Apply(applier, message, std::move(reply));
      });
}

template <Request M>
void Writer::QueueBetweenFlushes(M message, Reply<typename M::ReplyType> reply) {
  queue_.push_back([this, message = std::move(message), reply = std::move(reply)]() mutable {
    owner_.AssertOwned();
    const bool waits = NeedsWholeFlushes(message) && slices_.flush_under_way();
    absl::AnyInvocable<void()> work = [this, message = std::move(message),
                                       reply = std::move(reply)]() mutable {
      owner_.AssertOwned();
      Apply(repairs_, message, std::move(reply));
    };
    if (!waits) return work();
    between_flushes_.push_back(std::move(work));
  });
}

void Writer::ApplyNext() {
  absl::AnyInvocable<void()> next = std::move(queue_.front());
  queue_.pop_front();
  next();
  if (between_flushes_.empty() || slices_.flush_under_way()) return;
  std::move(between_flushes_.rbegin(), between_flushes_.rend(), std::front_inserter(queue_));
  between_flushes_.clear();
}

// An exception leaves a part of the message's work in the transaction: that must not stay.
template <typename KindOfApplier, Request M>
void Writer::Apply(KindOfApplier& applier, const M& message, Reply<typename M::ReplyType> reply) {
  if (!failure_.ok()) return reply.Send(failure_);
  if constexpr (std::is_same_v<M, ApplySlice>) builds_.Note(message.slice);
  const void* const sender = reply.asker();
  if (!transaction_.Admits(sender)) EndTransaction();
  if (!transaction_.open()) began_ = clock().Now();
  const absl::StatusOr<storage::WriteTransaction*> transaction = transaction_.Begin();
  if (!transaction.ok()) {
    NoticeFailure(transaction.status());
    return reply.Send(failure_.ok() ? transaction.status() : failure_);
  }
  if (NeedsWholeFlushes(message) && slices_.flush_under_way()) {
    return reply.Send(absl::AbortedError("the transaction with the flush's last slice was lost"));
  }
  const uint64_t written_before = (*transaction)->written_bytes();
  absl::StatusOr<typename M::ReplyType> answer = absl::InternalError("not applied");
  try {
    answer = applier.Apply(**transaction, message);
  } catch (...) {
    transaction_.Abort(absl::InternalError("an exception while a message was applied"));
    throw;
  }
  if (!answer.ok() &&
      ((*transaction)->doomed() || (*transaction)->written_bytes() != written_before)) {
    transaction_.Abort(answer.status());
    NoticeFailure(answer.status());
  }
  transaction_.Wait(sender, [reply = std::move(reply),
                             answer = std::move(answer)](const absl::Status& status) mutable {
    if (status.ok() || !answer.ok()) return reply.Send(std::move(answer));
    reply.Send(status);
  });
}

// What is decided waits for its answer apart from what is still in a transaction.
void Writer::EndTransaction() {
  NoticeFailure(transaction_.Commit());
}

// Where the device could not be written, nobody knows what it holds: nothing more is tried.
void Writer::NoticeFailure(const absl::Status& status) {
  const std::optional<storage::CommitFailure> failure = storage::GetCommitFailure(status);
  if (failure != storage::CommitFailure::kSyncFailed &&
      failure != storage::CommitFailure::kOutcomeUnknown) {
    return;
  }
  failure_ = absl::UnavailableError(
      absl::StrCat("LMDB could not be written, the engine stops: ", status.message(),
                   "; mend the cause and open the store again"));
  LOG(ERROR) << "Writer: " << failure_.message();
  for (SharedTransaction::Decided& decided : transaction_.decided()) {
    if (!decided.status.ok()) decided.status = failure_;
  }
  health_.Fail(failure_);
  Fail(failure_);
}

void Writer::Answer() {
  for (SharedTransaction::Decided& decided : transaction_.decided()) {
    decided.answer(decided.status);
  }
  transaction_.decided().clear();
}

}  // namespace millrace
