#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

#include "millrace/actors/flush_metrics.h"
#include "millrace/actors/flush_streamer.h"
#include "millrace/actors/health.h"
#include "millrace/actors/writer.h"
#include "millrace/messages/flush.h"
#include "millrace/runtime/actor.h"
#include "millrace/runtime/link.h"

namespace millrace {

// FlushFinalizer brings flushes into L1 in the order of their rotation. Several are streamed at the
// same time; a stream that ends before one that was rotated earlier waits for it here.
//   In:   Rotated, in order, from the Committer; answers of FlushStreamers and of the Writer.
//   Out:  Stream to whichever FlushStreamer is free; ApplySlice to the Writer, a few under way at a
//         time; the flush's Reply to the Committer, in order.
//   Blocks on: nothing.
//   Fails: a stream or slice that fails, or a stream that takes too long, ends that attempt; the
//          flush is tried again from where L1 stands, after a delay that doubles. When it has
//          failed too often, it and all behind it are answered with the cause.
class FlushFinalizer final
    : public Actor<FlushFinalizer, Rotated, StopRetrying, Answer<Streamed>, Answer<SliceApplied>> {
 public:
  struct Options {
    absl::Duration stream_timeout = absl::Seconds(60);
    // So many failures of a flush are followed by another attempt.
    uint32_t retries_max = 8;
    absl::Duration retry_delay_min = absl::Milliseconds(50);
    absl::Duration retry_delay_max = absl::Seconds(5);
  };
  // What the stages around it share with it.
  struct Neighbours {
    Writer& writer;
    absl::Span<const std::unique_ptr<FlushStreamer>> streamers;
    Health& health;
    FlushMetrics& metrics;
  };
  // Slices under way at the Writer.
  static constexpr size_t kSlicesUnderWayMax = 160;

  FlushFinalizer(const ActorOptions& actor_options, const Options& options,
                 const Neighbours& neighbours);

 private:
  friend Actor;
  void Handle(Rotated rotated, Reply<FlushPublished> reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(StopRetrying stop) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(Answer<Streamed> answer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(Answer<SliceApplied> answer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void OnBatchEnd() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void OnTimer(TimerId timer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void OnStop(StopReason reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);

  enum class State : uint8_t {
    kDelayed,     // Until `due`, after a failure.
    kWaiting,     // For a free streamer; until `due`, which is the stream's deadline.
    kStreaming,   // As well.
    kStreamed,    // For the flushes before it.
    kPublishing,  // Slices are under way; only the first flight.
  };
  // A flush from its rotation to its answer.
  struct Flight {
    FlushJob job;
    Reply<FlushPublished> reply;
    State state = State::kWaiting;
    MonotonicTime due;
    uint64_t stream = 0;  // Names the stream under way: an answer to any other is dropped.
    MonotonicTime began;  // Its stream; later its publication.
    std::vector<Slice> slices;
    uint64_t result_bytes = 0;  // Of the slices.
    size_t next_slice = 0;
    uint32_t failure_count = 0;
    absl::Status failure;  // The last one.
  };

  void NoteDepths() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void StartStreams() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void SendSlices() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void EndPublishing() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Publish(Flight& flight) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void FailAttempt(size_t index, const absl::Status& cause) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void GiveBackFrom(size_t index, absl::Status cause) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);

  // Constant after construction.
  const Options options_;
  Health& health_;
  FlushMetrics& metrics_;

  // Touched only on the finalizer's thread.
  Link<Writer> writer_ ABSL_GUARDED_BY(owner_);
  // With one credit each; who was asked last stands last.
  std::vector<std::unique_ptr<Link<FlushStreamer>>> streamers_ ABSL_GUARDED_BY(owner_);
  std::deque<Flight> flights_ ABSL_GUARDED_BY(owner_);  // In rotate order.
  uint64_t next_sequence_ ABSL_GUARDED_BY(owner_) = 0;  // Of the next rotation; 0: any.
  // Of flushes that were given back, by sequence: an attempt's number is never used twice.
  std::map<uint64_t, uint32_t> next_attempts_ ABSL_GUARDED_BY(owner_);
  uint64_t last_stream_ ABSL_GUARDED_BY(owner_) = 0;
  size_t under_way_ ABSL_GUARDED_BY(owner_) = 0;        // Slices of the first flight.
  absl::Status slice_failure_ ABSL_GUARDED_BY(owner_);  // The first of them.
  bool retrying_ ABSL_GUARDED_BY(owner_) = true;
};

}  // namespace millrace
