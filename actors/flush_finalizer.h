#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "millrace/actors/writer.h"
#include "millrace/messages/flush.h"
#include "millrace/runtime/actor.h"
#include "millrace/runtime/link.h"

namespace millrace {

// FlushFinalizer publishes flushes one after the other, in the order of their rotation: it sends
// their slices to the Writer, a few under way at a time.
//   In:   Streamed from the FlushStreamer; SliceApplied from the Writer.
//   Out:  ApplySlice to the Writer; the flush's Reply to the Committer, when its last slice is
//   synced
//         or one has failed.
//   Blocks on: nothing.
//   Fails: the first slice that fails ends the attempt; those under way are waited for.
class FlushFinalizer final : public Actor<FlushFinalizer, Streamed, Answer<SliceApplied>> {
 public:
  // Slices under way at the Writer.
  static constexpr size_t kSlicesUnderWayMax = 4;

  FlushFinalizer(const ActorOptions& actor_options, Writer& writer);

 private:
  friend Actor;
  void Handle(Streamed streamed, Reply<FlushPublished> reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void Handle(Answer<SliceApplied> answer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);

  // A flush that is being published or waits for its turn.
  struct Flight {
    FlushJob job;
    std::vector<Slice> slices;
    Reply<FlushPublished> reply;
  };

  void SendSlices() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);
  void EndFlight() ABSL_EXCLUSIVE_LOCKS_REQUIRED(owner_);

  // Touched only on the finalizer's thread.
  Link<Writer> writer_ ABSL_GUARDED_BY(owner_);
  std::deque<Flight> flights_ ABSL_GUARDED_BY(owner_);  // The first is being published.
  size_t next_slice_ ABSL_GUARDED_BY(owner_) = 0;       // Of the first flight: index of the next.
  size_t under_way_ ABSL_GUARDED_BY(owner_) = 0;
  uint64_t manifest_ ABSL_GUARDED_BY(owner_) = 0;
  absl::Status failure_ ABSL_GUARDED_BY(owner_);
};

}  // namespace millrace
