#include "millrace/actors/flush_finalizer.h"

#include <utility>

namespace millrace {

FlushFinalizer::FlushFinalizer(const ActorOptions& actor_options, Writer& writer)
    : Actor(actor_options), writer_(writer, kSlicesUnderWayMax, this) {
}

void FlushFinalizer::Handle(Streamed streamed, Reply<FlushPublished> reply) {
  flights_.push_back({std::move(streamed.job), std::move(streamed.slices), std::move(reply)});
  if (flights_.size() == 1) SendSlices();
}

void FlushFinalizer::Handle(Answer<SliceApplied> answer) {
  --under_way_;
  if (!answer.result.ok()) {
    if (failure_.ok()) failure_ = answer.result.status();
  } else if (answer.result->manifest != 0) {
    manifest_ = answer.result->manifest;
  }
  SendSlices();
}

// Keeps the Writer busy with the first flight, and ends the flight when nothing of it is under way.
void FlushFinalizer::SendSlices() {
  Flight& flight = flights_.front();
  while (failure_.ok() && next_slice_ < flight.slices.size() && under_way_ < kSlicesUnderWayMax) {
    Slice& slice = flight.slices[next_slice_++];
    ApplySlice message{.sequence = flight.job.sequence,
                       .attempt = flight.job.attempt,
                       .first_version = flight.job.first_version,
                       .last_version = flight.job.last_version,
                       .log_floor = flight.job.log_floor,
                       .sealed = flight.job.sealed,
                       .slice = std::move(slice)};
    if (message.slice.last) message.outcomes = std::move(flight.job.outcomes);
    const uint64_t number = message.slice.number;
    writer_.Ask(std::move(message), ReplyTo<SliceApplied>(number));
    ++under_way_;
  }
  if (under_way_ == 0) EndFlight();
}

void FlushFinalizer::EndFlight() {
  Flight flight = std::move(flights_.front());
  flights_.pop_front();
  next_slice_ = 0;
  const absl::Status failure = std::exchange(failure_, absl::OkStatus());
  if (failure.ok()) {
    flight.reply.Send(FlushPublished{.sequence = flight.job.sequence,
                                     .manifest = std::exchange(manifest_, 0),
                                     .last_version = flight.job.last_version});
  } else {
    flight.reply.Send(failure);
  }
  if (!flights_.empty()) SendSlices();
}

}  // namespace millrace
