// The Committer's part of a flush: it rotates, sends the sealed buffer on its way, and lets go of
// it when it hears that LMDB holds it. Here fences are answered, and here the engine is Degraded.

#include <algorithm>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"

#include "millrace/actors/committer.h"
#include "millrace/messages/error.h"

namespace millrace {
namespace {

using storage::Version;

// How soon a rotation that failed for lack of memory is tried again.
constexpr absl::Duration kRotateRetryDelay = absl::Milliseconds(50);

}  // namespace

void Committer::StartFlushes() {
  neighbours_.flush_metrics.pending.Set(flights_.size());
  SendFlights();
  MaybeRotate();
}

void Committer::Handle(Fence fence, Reply<FlushReceipt> reply) {
  CloseGroup();
  if (!log_failure_.ok()) return reply.Send(log_failure_);
  const Version last = log_->last_version();
  if (fence.version > last) {
    return reply.Send(absl::InvalidArgumentError(
        absl::StrCat("version ", fence.version, " is not committed yet; the newest is ", last)));
  }
  const Version version = fence.version == storage::kNoVersion ? last : fence.version;
  if (version <= flushed_version()) return reply.Send(Published());
  if (!degraded_.ok()) return reply.Send(degraded_);
  waiters_.emplace(version, std::move(reply));
}

void Committer::Handle(EndFences /*end*/, Reply<FlushReceipt> reply) {
  for (auto waiter = waiters_.begin(); waiter != waiters_.end();) {
    if (waiter->second.asker() != reply.asker()) {
      ++waiter;
      continue;
    }
    waiter->second.Send(absl::CancelledError("who asked for this fence stops"));
    waiter = waiters_.erase(waiter);
  }
  reply.Send(Published());
}

void Committer::Handle(Drain /*drain*/, Reply<FlushReceipt> reply) {
  if (!log_failure_.ok()) return reply.Send(log_failure_);
  Version version = flights_.empty() ? storage::kNoVersion : flights_.back().job.last_version;
  if (!waiters_.empty()) version = std::max(version, waiters_.rbegin()->first);
  if (version <= flushed_version()) return reply.Send(Published());
  if (!degraded_.ok()) return reply.Send(degraded_);
  waiters_.emplace(version, std::move(reply));
}

void Committer::Handle(Resume /*resume*/, Reply<FlushReceipt> reply) {
  if (!log_failure_.ok()) return reply.Send(log_failure_);
  if (degraded_.ok()) return reply.Send(Published());
  waiters_.emplace(flights_.back().job.last_version, std::move(reply));
  SendFlights();
}

void Committer::Handle(Answer<FlushPublished> answer) {
  if (answer.result.ok()) return FinishFlush(*answer.result);
  const auto flight = std::find_if(
      flights_.begin(), flights_.end(),
      [&answer](const Flight& candidate) { return candidate.job.sequence == answer.request; });
  if (flight == flights_.end()) return;
  neighbours_.flush_metrics.abandoned.Add();
  flight->sent = false;
  if (!std::exchange(flight->returning, false)) {
    for (auto later = flight + 1; later != flights_.end(); ++later) later->returning = later->sent;
    Degrade(answer.result.status());
  }
  if (send_again_ && !stopping_) SendFlights();
}

// Of several flushes that come back the first names the cause. Whoever waits is answered: nobody
// can say how long it will take. An engine that stops leaves them to the next open.
void Committer::Degrade(const absl::Status& cause) {
  if (stopping_) {
    const absl::Status final_cause = neighbours_.health.final_cause();
    return FailWaiters(!final_cause.ok() ? final_cause
                                         : absl::CancelledError(absl::StrCat(
                                               "the engine is stopping, the next open flushes what "
                                               "could not be: ",
                                               cause.message())));
  }
  if (degraded_.ok()) {
    degraded_ = WithDegraded(absl::Status(
        cause.code(), absl::StrCat("the engine is degraded, flushes fail: ", cause.message(),
                                   "; mend the cause and resume, nothing is lost")));
    LOG(ERROR) << "Committer: " << degraded_.message();
    neighbours_.health.SetDegraded(degraded_);
  }
  FailWaiters(degraded_);
  SetTimer(kProbeTimer, options_.probe_interval);
}

// Everything the finalizer does not have, in order: after an open, or when flushes came back.
void Committer::SendFlights() {
  if (!log_failure_.ok()) return;
  send_again_ = std::any_of(flights_.begin(), flights_.end(),
                            [](const Flight& flight) { return flight.returning; });
  if (send_again_) return;
  storage::BufferList earlier;
  for (Flight& flight : flights_) {
    if (!flight.sent) {
      flight.sent = true;
      FlushJob job = flight.job;
      job.earlier = earlier;
      finalizer_.Ask(Rotated{.job = std::move(job)}, ReplyTo<FlushPublished>(flight.job.sequence));
    }
    earlier.insert(earlier.begin(), flight.job.sealed);
  }
}

// LMDB holds the buffer: the Committer's own view moves on first, then readers lose it.
void Committer::FinishFlush(const FlushPublished& published) {
  current_.Renew();
  for (const storage::RememberedCommit& commit : flights_.front().job.outcomes) {
    recent_outcomes_.erase(commit.token);
  }
  const uint64_t log_floor = flights_.front().job.log_floor;
  flights_.pop_front();
  neighbours_.flush_metrics.pending.Set(flights_.size());
  std::shared_ptr<const storage::L0Buffer> retired = l0_->DropOldest();
  for (Flight& flight : flights_) flight.carried_bytes += retired->bytes();
  current_.SetBuffers(neighbours_.view.buffers());
  flushed_version_.store(published.last_version, std::memory_order_relaxed);
  manifest_.store(published.manifest, std::memory_order_relaxed);
  const size_t streamer = published.sequence % neighbours_.streamers.size();
  neighbours_.streamers[streamer]
      ->Tell(Retired{.buffer = std::move(retired), .log_floor = log_floor})
      .IgnoreError();  // Refused at stop: then it is freed here, and the next open recycles.
  if (!degraded_.ok() && NothingCameBack()) {
    LOG(INFO) << "Committer: flushes succeed again";
    degraded_ = absl::OkStatus();
    neighbours_.health.SetDegraded(degraded_);
  }
  AnswerPublished();
  for (Cell* actor : rung_after_publish_) actor->Ring();
}

uint64_t Committer::BytesOfSnapshots() {
  const uint64_t retired = l0_->RetiredBytes();
  const uint64_t carried = flights_.empty() ? 0 : flights_.front().carried_bytes;
  return retired - std::min(retired, carried);
}

bool Committer::NothingCameBack() const {
  return std::all_of(flights_.begin(), flights_.end(),
                     [](const Flight& flight) { return flight.sent; });
}

uint64_t Committer::UnflushedBytes() {
  return l0_->Bytes() + neighbours_.flush_metrics.result_bytes.Get();
}

FlushReceipt Committer::Published() const {
  return {.manifest = manifest(), .version = flushed_version()};
}

void Committer::AnswerPublished() {
  while (!waiters_.empty() && waiters_.begin()->first <= flushed_version()) {
    waiters_.begin()->second.Send(Published());
    waiters_.erase(waiters_.begin());
  }
}

void Committer::FailWaiters(const absl::Status& status) {
  for (auto& [version, reply] : waiters_) reply.Send(status);
  waiters_.clear();
}

bool Committer::WantsRotation() {
  if (active_first_version_ == storage::kNoVersion) return false;
  if (stopping_) return NothingCameBack() && !last_rotation_tried_;
  if (!waiters_.empty() && waiters_.rbegin()->first >= active_first_version_) return true;
  return RotationIsDue();
}

// The triggers that nobody waits for.
bool Committer::RotationIsDue() {
  const storage::L0Buffer& active = l0_->active();
  if (active.bytes() >= options_.rotate_bytes || active.row_count() >= options_.rotate_rows) {
    return true;
  }
  if (active.row_count() < options_.rotate_interval_rows_min) return false;
  const MonotonicTime due = active_since_ + options_.rotate_interval;
  if (due <= clock().Now()) return true;
  if (due != rotate_due_ && due != MonotonicTime::Infinite()) {
    rotate_due_ = due;
    SetTimer(kRotateTimer, due - clock().Now());
  }
  return false;
}

// A fence may wait on an otherwise idle store, so a rotation that fails is tried again by the
// clock.
void Committer::MaybeRotate() {
  if (!log_failure_.ok() || !degraded_.ok() || clock().Now() < rotate_not_before_ ||
      !WantsRotation()) {
    return;
  }
  if (flights_.size() >= options_.pending_flushes_max) {
    if (!std::exchange(active_was_skipped_, true)) neighbours_.flush_metrics.skipped.Add();
    return;
  }
  last_rotation_tried_ = stopping_;
  const absl::Status status = Rotate();
  if (status.ok() || !log_failure_.ok()) return;
  LOG(WARNING) << "Committer: cannot rotate now: " << status;
  neighbours_.health.SetTrouble(status);
  rotate_not_before_ = clock().Now() + kRotateRetryDelay;
  SetTimer(kRotateTimer, kRotateRetryDelay);
}

// LMDB never gets ahead of the log on the disk: what is rotated is synced first. A sequence is
// given only to what is sealed; without memory for that the buffer stays the active one.
absl::Status Committer::Rotate() {
  if (absl::Status status = log_->Sync(); !status.ok()) {
    FailLog(status);
    return status;
  }
  const MonotonicTime begin = clock().Now();
  try {
    flights_.emplace_back();  // What may fail comes before anything is consumed.
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("no memory for another flush; it is tried again");
  }
  absl::StatusOr<std::shared_ptr<const storage::L0Buffer>> sealed = l0_->Rotate();
  if (!sealed.ok()) {
    flights_.pop_back();
    return sealed.status();
  }
  current_.SetBuffers(neighbours_.view.buffers());
  flights_.back().job = {.sequence = next_sequence_++,
                         .first_version = active_first_version_,
                         .last_version = log_->last_version(),
                         .log_floor = log_->current_file(),
                         .sealed = *std::move(sealed),
                         .marks = catalog_.marks(),
                         .outcomes = std::exchange(active_outcomes_, {})};
  active_first_version_ = storage::kNoVersion;
  active_was_skipped_ = false;
  SendFlights();
  FlushMetrics& metrics = neighbours_.flush_metrics;
  metrics.rotated.Add();
  metrics.pending.Set(flights_.size());
  metrics.rotate_ns.Add(static_cast<uint64_t>(absl::ToInt64Nanoseconds(clock().Now() - begin)));
  return absl::OkStatus();
}

}  // namespace millrace
