#include "millrace/actors/committer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"

#include "millrace/actors/lease_time.h"
#include "millrace/messages/error.h"
#include "millrace/runtime/deferred_wakes.h"
#include "millrace/storage/lease_registry.h"
#include "millrace/storage/outcome_rows.h"

namespace millrace {
namespace {

using storage::CommitToken;
using storage::Version;

// Tokens that were ruled out are remembered in case the commit still comes.
constexpr size_t kRuledOutMax = 65'536;

// How soon commits that wait for room look again whether a retired buffer is gone: nobody says so.
constexpr absl::Duration kRetiredCheckPeriod = absl::Milliseconds(5);

// How often old snapshots are looked at.
constexpr absl::Duration kReaderCheckPeriod = absl::Seconds(30);

}  // namespace

Committer::Committer(const ActorOptions& actor_options, const Options& options, Recovered recovered,
                     const Neighbours& neighbours)
    : Actor(actor_options),
      options_(options),
      neighbours_(neighbours),
      flushed_version_(recovered.l1.head.last_version),
      manifest_(recovered.l1.head.id),
      log_(std::move(recovered.log)),
      l0_(std::move(recovered.l0)),
      current_(neighbours.environment),
      effects_(current_),
      group_(*log_),
      finalizer_(neighbours.finalizer, options.pending_flushes_max, this),
      next_sequence_(recovered.l1.head.id + 1),
      active_first_version_(recovered.active_first_version),
      active_since_(clock().Now()),
      active_outcomes_(std::move(recovered.active_outcomes)) {
  if (recovered.resumed.has_value()) {
    flights_.push_back({.job = *std::move(recovered.resumed)});
    next_sequence_ = flights_.back().job.sequence + 1;
    for (const auto& commit : flights_.back().job.outcomes)
      recent_outcomes_[commit.token] = commit.version;
  }
  for (const auto& commit : active_outcomes_) recent_outcomes_[commit.token] = commit.version;
  current_.SetBuffers(neighbours_.view.buffers());
}

absl::Status Committer::OnStart() {
  const absl::StatusOr<storage::RowView> view = current_.View();
  if (!view.ok()) return view.status();
  absl::Status status = catalog_.Load(*view);
  current_.Renew();
  if (!status.ok()) return status;
  for (const auto& [name, id] : catalog_.collections()) effects_.AddCollection(id);
  effects_.SetMarks(catalog_.marks());
  for (Flight& flight : flights_) flight.job.marks = catalog_.marks();
  neighbours_.backpressure.SetL0Bytes(UnflushedBytes());
  SetPeriodic(kReaderTimer, kReaderCheckPeriod);
  StartFlushes();
  return absl::OkStatus();
}

void Committer::Handle(Commit commit, Reply<CommitReceipt> reply) {
  if (!log_failure_.ok()) return reply.Send(WithOutcome(log_failure_, Outcome::kNotExecuted));
  if (!reply.Claim()) return;
  const absl::StatusOr<Version> version = Accept(commit.batch, commit.token);
  if (!version.ok()) {
    refused_.push_back({std::move(reply), version.status()});
    return;
  }
  accepted_.push_back({std::move(reply), *version});
  group_is_durable_ = group_is_durable_ || commit.durability == Durability::kDurable;
  interval_is_owed_ = interval_is_owed_ || commit.durability == Durability::kInterval;
}

// What is neither committed nor in LMDB will never be: its token is ruled out from now on.
void Committer::Handle(FindOutcome find, Reply<CommitOutcome> reply) {
  CloseGroup();
  if (!log_failure_.ok()) return reply.Send(log_failure_);
  const auto recent = recent_outcomes_.find(find.token);
  if (recent != recent_outcomes_.end()) {
    return reply.Send(
        CommitOutcome{.state = CommitOutcome::State::kCommitted, .version = recent->second});
  }
  absl::StatusOr<storage::ReadTransaction> transaction = neighbours_.environment.BeginRead();
  if (!transaction.ok()) return reply.Send(transaction.status());
  const absl::StatusOr<storage::CommitLookup> found = storage::FindCommit(*transaction, find.token);
  if (!found.ok()) return reply.Send(found.status());
  if (found->version != storage::kNoVersion) {
    return reply.Send(
        CommitOutcome{.state = CommitOutcome::State::kCommitted, .version = found->version});
  }
  if (found->pruned) return reply.Send(CommitOutcome{.state = CommitOutcome::State::kPruned});
  ruled_out_.insert(find.token);
  if (ruled_out_.size() > kRuledOutMax) ruled_out_.erase(ruled_out_.begin());
  reply.Send(CommitOutcome{.state = CommitOutcome::State::kAborted});
}

void Committer::OnBatchEnd() {
  AdmitParked();
  CloseGroup();
  MaybeRotate();
  PrepareLog();
  neighbours_.backpressure.SetL0Bytes(UnflushedBytes());
}

// Asks once a step; the answer is that the log is further.
void Committer::PrepareLog() {
  const std::pair behind(log_->current_file(), log_->prepared_bytes());
  if (!log_->wants_next_file() || prepared_behind_ == behind) return;
  prepared_behind_ = behind;
  for (const auto& streamer : neighbours_.streamers) {     // Whichever is free.
    streamer->Tell(millrace::PrepareLog{}).IgnoreError();  // Reserve makes it if need be.
  }
}

void Committer::OnDoorbell() {
}  // The end of the batch looks after who is parked.

void Committer::OnTimer(TimerId timer) {
  if (timer == kSyncTimer) {
    sync_timer_set_ = false;
    if (const absl::Status status = log_->Sync(); !status.ok()) FailLog(status);
  }
  if (timer == kProbeTimer && !stopping_) SendFlights();
  if (timer == kReaderTimer) CheckReaders();
  OnBatchEnd();
}

// A batch is accepted when nothing in it can fail any more.
absl::StatusOr<Version> Committer::Accept(const storage::WriteBatch& batch, CommitToken token) {
  const bool ruled_out = token.epoch != 0 && ruled_out_.contains(token);
  if (ruled_out) {
    return absl::AbortedError("the commit's outcome was asked for before it began: it is aborted");
  }
  const uint64_t unflushed_bytes = l0_->Bytes() + group_.bytes() + batch.bytes();
  absl::Status status = batch.adds_rows() ? neighbours_.environment.AdmitPut(unflushed_bytes)
                                          : neighbours_.environment.AdmitDelete(unflushed_bytes);
  if (!status.ok()) return status;
  if (!group_.empty() && group_.bytes() + batch.bytes() > options_.group_bytes_max) CloseGroup();
  if (!log_failure_.ok()) return log_failure_;
  if (status = effects_.Prepare(batch); !status.ok()) return status;
  if (effects_.reads_rows()) group_.InsertInto(l0_->active());
  std::string& buffer = group_.OpenBatch(token);
  status = effects_.Append(batch, group_.next_version(), &buffer);
  if (!status.ok()) {
    group_.AbandonBatch();
    return status;
  }
  absl::StatusOr<Version> version = group_.AcceptBatch(l0_->active(), effects_.row_count());
  if (!version.ok()) return version;
  if (active_first_version_ == storage::kNoVersion) {
    active_first_version_ = *version;
    active_since_ = clock().Now();
  }
  if (token.epoch != 0) {
    active_outcomes_.push_back({token, *version});
    recent_outcomes_[token] = *version;
  }
  return version;
}

// Old snapshots keep memory and LMDB's pages from being used again; slots of processes that died
// are freed.
void Committer::CheckReaders() {
  const storage::LeaseRegistry::AgeReport report =
      neighbours_.leases->EndOverAge(LeaseTime(clock().Now()));
  for (const storage::LeaseInfo& info : report.overdue) {
    LOG(WARNING) << "Committer: snapshot " << info.id << " of '" << info.owner << "' is "
                 << info.age << " old and keeps LMDB's file growing; release it";
  }
  for (const storage::LeaseInfo& info : report.ended) {
    LOG(WARNING) << "Committer: ended snapshot " << info.id << " of '" << info.owner << "', "
                 << info.age << " old";
  }
  if (const absl::Status status = neighbours_.environment.CheckReaders().status(); !status.ok()) {
    LOG(WARNING) << "Committer: " << status;
  }
}

// Lets in who waits, as far as the limits and the time allow, and sets the timer for the rest.
void Committer::AdmitParked() {
  Backpressure& backpressure = neighbours_.backpressure;
  backpressure.SetL0Bytes(UnflushedBytes());  // A flush may have made room.
  if (backpressure.parked_count() == 0) return;
  const MonotonicTime now = clock().Now();
  backpressure.Expire(now, neighbours_.health.status());
  // What a client sent before it parked something is handled first. Counting who waits before
  // looking into the mailbox makes sure that it is seen there.
  size_t admissible_count = backpressure.parked_count();
  if (queued_count() > 0) return;  // Another turn follows.
  while (admissible_count-- > 0) {
    std::optional<Backpressure::Parked> parked = backpressure.Take(now);
    if (!parked.has_value()) break;
    Handle(std::move(parked->commit), std::move(parked->reply));
    backpressure.SetL0Bytes(UnflushedBytes() + group_.bytes());  // The group will be in L0 soon.
  }
  MonotonicTime wake = backpressure.NextWake();
  if (const uint64_t bytes = BytesOfSnapshots(); backpressure.parked_count() > 0 && bytes > 0) {
    neighbours_.leases->EndOldest(bytes, LeaseTime(now));
    wake = std::min(wake, now + kRetiredCheckPeriod);
  }
  if (wake != MonotonicTime::Infinite()) SetTimer(kAdmissionTimer, wake - now);
}

// Durable, then visible, then answered.
void Committer::CloseGroup() {
  if (group_.empty()) {
    current_.Renew();  // What was refused has read, too.
    return AnswerGroup(absl::OkStatus());
  }
  group_.InsertInto(l0_->active());
  const Version last_version = group_.last_version();
  const MonotonicTime begin = clock().Now();
  const absl::Status status = group_.Write(group_is_durable_);
  if (!status.ok()) return FailLog(status);
  if (group_is_durable_ && sync_timer_set_) {
    CancelTimer(kSyncTimer);
    sync_timer_set_ = false;
  }
  if (!group_is_durable_ && interval_is_owed_ && !sync_timer_set_) {
    SetTimer(kSyncTimer, options_.sync_interval);
    sync_timer_set_ = true;
  }
  neighbours_.view.Publish(last_version);
  if (group_is_durable_) neighbours_.pacing.NoteGroup(begin, neighbours_.backpressure.fill());
  current_.Renew();
  AnswerGroup(absl::OkStatus());
}

void Committer::AnswerGroup(const absl::Status& status) {
  const DeferredWakes wakes;
  for (Accepted& accepted : accepted_) {
    if (status.ok()) {
      accepted.reply.Send(CommitReceipt{.version = accepted.version});
    } else {
      accepted.reply.Send(WithOutcome(status, Outcome::kUnknown));
    }
  }
  for (Defined& defined : defined_) std::move(defined)(status);
  for (Refused& refused : refused_) {
    // What stood in its way may have been a batch of this very group.
    if (!status.ok()) refused.status = status;
    refused.reply.Send(WithOutcome(std::move(refused.status), Outcome::kNotExecuted));
  }
  accepted_.clear();
  defined_.clear();
  refused_.clear();
  group_is_durable_ = false;
  interval_is_owed_ = false;
}

// Nothing more is written, rotated or recycled; what stands in the log's file decides at the next
// open. The rows of the failed group are in L0 but were never published.
void Committer::FailLog(const absl::Status& cause) {
  if (!log_failure_.ok()) return;
  log_failure_ = absl::UnavailableError(
      absl::StrCat("the commit log failed, the engine stops: ", cause.message(),
                   "; mend the cause and open the store again"));
  LOG(ERROR) << "Committer: " << log_failure_.message();
  neighbours_.health.Fail(log_failure_);
  AnswerGroup(log_failure_);
  FailWaiters(log_failure_);
  neighbours_.backpressure.Close(log_failure_);
  Fail(log_failure_);
}

// What waits outside is turned away; what was accepted is still committed, then flushed.
void Committer::OnClosing() {
  stopping_ = true;
  neighbours_.backpressure.Close(absl::CancelledError("the engine is stopping"));
  neighbours_.finalizer.Tell(StopRetrying{}).IgnoreError();  // Refused: it has failed.
}

// A flush that cannot end now is left to the next open: the log holds it.
bool Committer::ReadyToStop() {
  const bool flushing = std::any_of(flights_.begin(), flights_.end(),
                                    [](const Flight& flight) { return flight.sent; });
  return !log_failure_.ok() || (!flushing && !WantsRotation());
}

void Committer::OnStop(StopReason /*reason*/) {
  current_.Renew();  // No read transaction may outlive the environment.
  FailWaiters(log_failure_.ok() ? absl::CancelledError("the engine is stopping") : log_failure_);
}

}  // namespace millrace
