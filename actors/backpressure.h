#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "millrace/messages/commit.h"
#include "millrace/runtime/clock.h"
#include "millrace/runtime/reply.h"

namespace millrace {

// Where commits wait when L0 is full: before admission, in order, never in a mailbox. Clients park
// what may not be sent; the Committer takes it out again when there is room. Past the soft limit
// commits are let in one delay apart, 10 ms doubling up to 1 s while the pressure lasts; past the
// hard limit none is, until a flush has made room or its deadline has passed. Thread-safe.
class Backpressure {
 public:
  struct Limits {
    uint64_t soft_bytes_max = 0;
    uint64_t hard_bytes_max = 0;
    size_t parked_count_max = 10'000;
    size_t parked_bytes_max = size_t{64} << 20;
  };
  // One commit that waits.
  struct Parked {
    Commit commit;
    Reply<CommitReceipt> reply;
    MonotonicTime deadline;
  };

  explicit Backpressure(const Limits& limits) : limits_(limits) {}

  // --- Clients ---

  // True if a commit may go straight to the Committer's mailbox: nothing waits before it, and L0 is
  // below the soft limit.
  bool Open() const {
    return parked_count_.load(std::memory_order_acquire) == 0 &&
           l0_bytes_.load(std::memory_order_relaxed) < limits_.soft_bytes_max;
  }
  // Lets the commit wait; the caller then rings the Committer. ResourceExhausted (through the
  // reply) if too much waits already; Cancelled after Close.
  void Park(Parked parked);

  // --- The Committer ---

  // Bytes that L0 holds now: active, sealed and retired buffers.
  void SetL0Bytes(uint64_t bytes) { l0_bytes_.store(bytes, std::memory_order_relaxed); }
  uint64_t l0_bytes() const { return l0_bytes_.load(std::memory_order_relaxed); }
  // The next commit that may go in now; the Committer handles it as if it had just been received.
  std::optional<Parked> Take(MonotonicTime now);
  // Answers ResourceExhausted to what is past its deadline, with `reason` if that is not OK: why
  // nothing is flushed.
  void Expire(MonotonicTime now, const absl::Status& reason);
  // L0's part of the soft limit.
  double fill() const {
    return static_cast<double>(l0_bytes()) / static_cast<double>(limits_.soft_bytes_max);
  }
  // When Take or Expire must be called again; Infinite if nothing waits.
  MonotonicTime NextWake() const;
  // How far apart commits past the soft limit are let in now.
  absl::Duration delay() const {
    absl::MutexLock lock(&mutex_);
    return delay_;
  }
  const Limits& limits() const { return limits_; }
  size_t parked_count() const { return parked_count_.load(std::memory_order_acquire); }
  // Nothing more is parked; what waits is answered with `cause`.
  void Close(const absl::Status& cause);

 private:
  // Deletes may pass the hard limit by an eighth, so that a full store can be emptied.
  bool PastHardLimit(bool adds_rows) const {
    const uint64_t limit = limits_.hard_bytes_max;
    return l0_bytes() >= (adds_rows ? limit : limit + limit / 8);
  }
  bool PastSoftLimit() const { return l0_bytes() >= limits_.soft_bytes_max; }

  const Limits limits_;
  std::atomic<uint64_t> l0_bytes_{0};
  std::atomic<size_t> parked_count_{0};
  mutable absl::Mutex mutex_;
  std::deque<Parked> parked_ ABSL_GUARDED_BY(mutex_);
  size_t parked_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Duration delay_ ABSL_GUARDED_BY(mutex_);
  MonotonicTime next_admission_ ABSL_GUARDED_BY(mutex_);
  absl::Status closed_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace millrace
