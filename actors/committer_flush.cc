// The Committer's part of a flush: it rotates, sends the sealed buffer on its way, and lets go of
// it when it hears that LMDB holds it. A flush that fails is sent again from where L1 stands, which
// is just what a restart does.

#include <algorithm>
#include <utility>

#include "glog/logging.h"

#include "millrace/actors/committer.h"
#include "millrace/messages/error.h"

namespace millrace {
namespace {

using storage::Version;

constexpr absl::Duration kRetryDelayFirst = absl::Milliseconds(50);
constexpr absl::Duration kRetryDelayMax = absl::Seconds(5);

}  // namespace

void Committer::StartFlushes() {
  if (!flights_.empty()) SendToStreamer(flights_.front());
  MaybeRotate();
}

void Committer::Handle(Flush /*flush*/, Reply<FlushReceipt> reply) {
  CloseGroup();
  if (!log_failure_.ok()) return reply.Send(log_failure_);
  flush_waiters_.push_back({log_->last_version(), std::move(reply)});
  AnswerFlushWaiters(absl::OkStatus());
}

void Committer::Handle(Answer<FlushPublished> answer) {
  if (flights_.empty() || flights_.front().sequence != answer.request) return;
  if (answer.result.ok()) {
    FinishFlush(*answer.result);
    return;
  }
  retry_delay_ = std::clamp(2 * retry_delay_, kRetryDelayFirst, kRetryDelayMax);
  LOG(WARNING) << "Committer: flush " << answer.request << " attempt " << flights_.front().attempt
               << " failed: " << answer.result.status() << "; again in " << retry_delay_;
  neighbours_.health.SetTrouble(answer.result.status());
  retrying_ = true;
  SetTimer(kRetryTimer, retry_delay_);
}

// As after a restart: the flush row says where to go on.
void Committer::RetryFlush() {
  if (!retrying_ || !log_failure_.ok()) return;
  FlushJob& job = flights_.front();
  const absl::StatusOr<storage::ReadTransaction> transaction = neighbours_.environment.BeginRead();
  const absl::StatusOr<storage::L1State> l1 =
      transaction.ok() ? storage::ReadL1State(*transaction)
                       : absl::StatusOr<storage::L1State>(transaction.status());
  if (!l1.ok()) {
    neighbours_.health.SetTrouble(l1.status());
    SetTimer(kRetryTimer, retry_delay_);
    return;
  }
  if (l1->head.id >= job.sequence) {
    // It was published after all; only the answer was lost.
    FinishFlush(
        {.sequence = job.sequence, .manifest = l1->head.id, .last_version = job.last_version});
    return;
  }
  retrying_ = false;
  ++job.attempt;
  job.resume_after = l1->flush.has_value() ? l1->flush->cursor : "";
  job.resume_slice = l1->flush.has_value() ? l1->flush->next_slice : 0;
  SendToStreamer(job);
}

// LMDB holds the buffer: the Committer's own view moves on first, then readers lose it.
void Committer::FinishFlush(const FlushPublished& published) {
  retrying_ = false;
  retry_delay_ = absl::ZeroDuration();
  neighbours_.health.SetTrouble(absl::OkStatus());
  current_.Renew();
  for (const storage::RememberedCommit& commit : flights_.front().outcomes) {
    recent_outcomes_.erase(commit.token);
  }
  const uint64_t log_floor = flights_.front().log_floor;
  flights_.pop_front();
  std::shared_ptr<const storage::L0Buffer> retired = l0_->DropOldest();
  current_.SetBuffers(l0_->buffers());
  flushed_version_.store(published.last_version, std::memory_order_relaxed);
  manifest_.store(published.manifest, std::memory_order_relaxed);
  neighbours_.streamer.Tell(Retired{.buffer = std::move(retired), .log_floor = log_floor})
      .IgnoreError();  // Refused at stop: then it is freed here, and the next open recycles.
  AnswerFlushWaiters(absl::OkStatus());
}

// A waiter is answered when everything up to its version is in LMDB; on an error, all are.
void Committer::AnswerFlushWaiters(const absl::Status& status) {
  const Version flushed = flushed_version_.load(std::memory_order_relaxed);
  while (!flush_waiters_.empty() && (!status.ok() || flush_waiters_.front().version <= flushed)) {
    Reply<FlushReceipt> reply = std::move(flush_waiters_.front().reply);
    flush_waiters_.pop_front();
    if (status.ok()) {
      reply.Send(
          FlushReceipt{.manifest = manifest_.load(std::memory_order_relaxed), .version = flushed});
    } else {
      reply.Send(status);
    }
  }
}

bool Committer::WantsRotation() {
  if (active_first_version_ == storage::kNoVersion) return false;
  if (stopping_) return !retrying_ && !last_rotation_tried_;
  const storage::L0Buffer& active = l0_->active();
  if (active.bytes() >= options_.rotate_bytes || active.row_count() >= options_.rotate_rows) {
    return true;
  }
  if (!flush_waiters_.empty() && flush_waiters_.back().version >= active_first_version_) {
    return true;
  }
  const MonotonicTime due = active_since_ + options_.rotate_interval;
  if (due <= clock().Now()) return true;
  if (due != rotate_due_ && due != MonotonicTime::Infinite()) {
    rotate_due_ = due;
    SetTimer(kRotateTimer, due - clock().Now());
  }
  return false;
}

void Committer::MaybeRotate() {
  if (!log_failure_.ok() || flights_.size() >= kPendingFlushesMax || !WantsRotation()) return;
  last_rotation_tried_ = stopping_;
  const absl::Status status = Rotate();
  if (!status.ok()) neighbours_.health.SetTrouble(status);
}

// LMDB never gets ahead of the log on the disk: what is rotated is synced first.
absl::Status Committer::Rotate() {
  if (absl::Status status = log_->Sync(); !status.ok()) {
    FailLog(status);
    return status;
  }
  absl::StatusOr<std::shared_ptr<const storage::L0Buffer>> sealed = l0_->Rotate();
  if (!sealed.ok()) return sealed.status();
  current_.SetBuffers(l0_->buffers());
  flights_.push_back({.sequence = next_sequence_++,
                      .first_version = active_first_version_,
                      .last_version = log_->last_version(),
                      .log_floor = log_->current_file(),
                      .sealed = *std::move(sealed),
                      .outcomes = std::exchange(active_outcomes_, {})});
  active_first_version_ = storage::kNoVersion;
  SendToStreamer(flights_.back());
  return absl::OkStatus();
}

void Committer::SendToStreamer(const FlushJob& job) {
  streamer_.Ask(Rotated{.job = job}, ReplyTo<FlushPublished>(job.sequence));
}

}  // namespace millrace
