// The order of publication needs no heap: every flush is in the queue from its rotation on, with a
// deadline for its stream, so a result finds its place by its name and there is no number that
// could be missing. (Design of the ancestors: a min-heap over the results that have arrived.)

#include "millrace/actors/flush_finalizer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"

namespace millrace {
namespace {

constexpr TimerId kDueTimer = 1;

uint64_t NanosecondsOf(absl::Duration duration) {
  return static_cast<uint64_t>(absl::ToInt64Nanoseconds(duration));
}

// What a stream's result takes beside the sealed buffer, into which its rows point.
uint64_t BytesOf(const std::vector<Slice>& slices) {
  uint64_t bytes = 0;
  for (const Slice& slice : slices) {
    bytes += sizeof(Slice) + slice.rows.size() * sizeof(RowChange) +
             slice.counts.size() * sizeof(CountDelta) +
             slice.derived.size() * sizeof(DerivedChange) + slice.derived_keys.size() +
             slice.cursor.size();
  }
  return bytes;
}

}  // namespace

FlushFinalizer::FlushFinalizer(const ActorOptions& actor_options, const Options& options,
                               const Neighbours& neighbours)
    : Actor(actor_options),
      options_(options),
      health_(neighbours.health),
      metrics_(neighbours.metrics),
      writer_(neighbours.writer, kSlicesUnderWayMax, this) {
  for (const auto& streamer : neighbours.streamers) {
    streamers_.push_back(std::make_unique<Link<FlushStreamer>>(*streamer, 1, this));
  }
}

void FlushFinalizer::Handle(Rotated rotated, Reply<FlushPublished> reply) {
  const uint64_t sequence = rotated.job.sequence;
  if (next_sequence_ != 0 && sequence != next_sequence_) {
    return reply.Send(absl::AbortedError(absl::StrCat("flush ", sequence, " waits for flush ",
                                                      next_sequence_, ", which has failed")));
  }
  next_sequence_ = sequence + 1;
  if (const auto given_back = next_attempts_.extract(sequence)) {
    rotated.job.attempt = given_back.mapped();
  }
  flights_.push_back({.job = std::move(rotated.job),
                      .reply = std::move(reply),
                      .due = clock().Now() + options_.stream_timeout});
}

void FlushFinalizer::Handle(StopRetrying /*stop*/) {
  retrying_ = false;
  for (size_t i = 0; i < flights_.size(); ++i) {
    if (flights_[i].state != State::kDelayed) continue;
    return GiveBackFrom(i, flights_[i].failure);
  }
}

void FlushFinalizer::Handle(Answer<Streamed> answer) {
  const auto flight = std::find_if(flights_.begin(), flights_.end(), [&answer](const Flight& f) {
    return f.state == State::kStreaming && f.stream == answer.request;
  });
  if (flight == flights_.end()) return;  // It came too late.
  if (!answer.result.ok()) {
    return FailAttempt(static_cast<size_t>(flight - flights_.begin()), answer.result.status());
  }
  metrics_.stream_ns.Add(NanosecondsOf(clock().Now() - flight->began));
  flight->state = State::kStreamed;
  flight->result_bytes = BytesOf(answer.result->slices);
  flight->slices = std::move(answer.result->slices);
  flight->job.earlier.clear();
}

void FlushFinalizer::Handle(Answer<SliceApplied> answer) {
  --under_way_;
  if (!answer.result.ok() && slice_failure_.ok()) slice_failure_ = answer.result.status();
}

void FlushFinalizer::OnBatchEnd() {
  SendSlices();
  StartStreams();
  NoteDepths();
  MonotonicTime wake = MonotonicTime::Infinite();
  for (const Flight& flight : flights_) {
    if (flight.state < State::kStreamed) wake = std::min(wake, flight.due);
  }
  if (wake == MonotonicTime::Infinite()) return CancelTimer(kDueTimer);
  SetTimer(kDueTimer, wake - clock().Now());
}

void FlushFinalizer::NoteDepths() {
  uint64_t depth = 0;
  uint64_t bytes = 0;
  for (const Flight& flight : flights_) {
    depth += flight.state == State::kStreamed ? 1 : 0;
    bytes += flight.result_bytes;
  }
  metrics_.reorder_depth.Set(depth);
  metrics_.reorder_depth_high_water.Raise(depth);
  metrics_.result_bytes.Set(bytes);
}

void FlushFinalizer::OnTimer(TimerId /*timer*/) {
  const MonotonicTime now = clock().Now();
  for (size_t i = 0; i < flights_.size(); ++i) {
    Flight& flight = flights_[i];
    if (flight.state >= State::kStreamed || flight.due > now) continue;
    if (flight.state == State::kDelayed) {
      flight.state = State::kWaiting;
      flight.due = now + options_.stream_timeout;
      continue;
    }
    metrics_.timeouts.Add();
    FailAttempt(i, absl::DeadlineExceededError(
                       absl::StrCat("flush ", flight.job.sequence, " attempt ", flight.job.attempt,
                                    flight.state == State::kWaiting ? " found no free streamer for "
                                                                    : " was not streamed within ",
                                    absl::FormatDuration(options_.stream_timeout))));
  }
}

// While the Committer still is there to be told.
void FlushFinalizer::OnStop(StopReason /*reason*/) {
  if (!flights_.empty()) GiveBackFrom(0, absl::CancelledError("the engine is stopping"));
}

// In turn, so that one that always fails is not always asked first. A streamer that is stuck still
// holds its credit.
void FlushFinalizer::StartStreams() {
  for (Flight& flight : flights_) {
    if (flight.state != State::kWaiting) continue;
    const auto streamer = std::find_if(streamers_.begin(), streamers_.end(),
                                       [](const auto& link) { return link->available() > 0; });
    if (streamer == streamers_.end()) return;
    std::rotate(streamers_.begin(), streamer, streamers_.end());
    std::rotate(streamers_.begin(), streamers_.begin() + 1, streamers_.end());
    flight.state = State::kStreaming;
    flight.stream = ++last_stream_;
    flight.began = clock().Now();
    flight.due = flight.began + options_.stream_timeout;
    streamers_.back()->Ask(Stream{.job = flight.job, .timeout = options_.stream_timeout},
                           ReplyTo<Streamed>(flight.stream));
  }
}

// Keeps the Writer busy with the first flight, and ends its attempt when nothing of it is under
// way.
void FlushFinalizer::SendSlices() {
  while (!flights_.empty()) {
    Flight& flight = flights_.front();
    if (flight.state == State::kStreamed) {
      flight.state = State::kPublishing;
      flight.began = clock().Now();
    }
    if (flight.state != State::kPublishing) return;
    while (slice_failure_.ok() && flight.next_slice < flight.slices.size() &&
           under_way_ < kSlicesUnderWayMax) {
      Publish(flight);
    }
    if (under_way_ > 0) return;
    EndPublishing();
  }
}

void FlushFinalizer::Publish(Flight& flight) {
  ApplySlice message{.sequence = flight.job.sequence,
                     .attempt = flight.job.attempt,
                     .first_version = flight.job.first_version,
                     .last_version = flight.job.last_version,
                     .log_floor = flight.job.log_floor,
                     .sealed = flight.job.sealed,
                     .slice = std::move(flight.slices[flight.next_slice++])};
  if (message.slice.last) message.outcomes = flight.job.outcomes;
  const uint64_t number = message.slice.number;
  writer_.Ask(std::move(message), ReplyTo<SliceApplied>(number));
  ++under_way_;
}

void FlushFinalizer::EndPublishing() {
  const absl::Status failure = std::exchange(slice_failure_, absl::OkStatus());
  if (!failure.ok()) return FailAttempt(0, failure);
  Flight flight = std::move(flights_.front());
  flights_.pop_front();
  metrics_.published.Add();
  metrics_.publish_ns.Add(NanosecondsOf(clock().Now() - flight.began));
  const bool healthy = std::all_of(flights_.begin(), flights_.end(),
                                   [](const Flight& f) { return f.failure_count == 0; });
  if (healthy) health_.SetTrouble(absl::OkStatus());
  flight.reply.Send(FlushPublished{.sequence = flight.job.sequence,
                                   .manifest = flight.job.sequence,
                                   .last_version = flight.job.last_version});
}

void FlushFinalizer::FailAttempt(size_t index, const absl::Status& cause) {
  Flight& flight = flights_[index];
  LOG(WARNING) << "FlushFinalizer: flush " << flight.job.sequence << " attempt "
               << flight.job.attempt << " failed: " << cause;
  health_.SetTrouble(cause);
  if (!retrying_ || flight.failure_count >= options_.retries_max) {
    return GiveBackFrom(index, cause);
  }
  absl::Duration delay = options_.retry_delay_min;
  for (uint32_t i = 0; i < flight.failure_count && delay < options_.retry_delay_max; ++i)
    delay *= 2;
  metrics_.retried.Add();
  ++flight.failure_count;
  flight.failure = cause;
  ++flight.job.attempt;
  flight.state = State::kDelayed;
  flight.due = clock().Now() + std::min(delay, options_.retry_delay_max);
  flight.slices.clear();
  flight.result_bytes = 0;
  flight.next_slice = 0;
}

// In order, so that the Committer hears the cause first.
void FlushFinalizer::GiveBackFrom(size_t index, absl::Status cause) {
  next_sequence_ = flights_[index].job.sequence;
  for (size_t i = index; i < flights_.size(); ++i) {
    next_attempts_[flights_[i].job.sequence] = flights_[i].job.attempt + 1;
    flights_[i].reply.Send(i == index ? cause
                                      : absl::AbortedError(absl::StrCat("flush ", next_sequence_,
                                                                        " before it has failed")));
  }
  flights_.erase(flights_.begin() + static_cast<ptrdiff_t>(index), flights_.end());
}

}  // namespace millrace
