#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace millrace {

// A number that one thread counts and any thread reads, without a read-modify-write. Thread-safe.
class Counter {
 public:
  void Add(uint64_t n = 1) {
    // Relaxed: one writer, and readers want the number alone.
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  void Set(uint64_t value) { value_.store(value, std::memory_order_relaxed); }
  void Raise(uint64_t value) {
    if (value > Get()) Set(value);
  }
  uint64_t Get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

// A copy of a histogram: bucket i counts the values in [2^(i-1), 2^i); bucket 0 the zeros. Value.
struct HistogramSnapshot {
  static constexpr size_t kBuckets = 44;
  std::array<uint64_t, kBuckets> buckets{};
  uint64_t count() const;
  // The upper end of the bucket that holds the given share (0 to 1) of the values; 0 if empty.
  uint64_t Percentile(double share) const;
};

// Counts values by their power of two. One thread adds, any thread reads. Thread-safe.
class Histogram {
 public:
  void Add(uint64_t value, uint64_t count = 1) {
    const size_t bucket = value == 0 ? 0 : 64 - static_cast<size_t>(__builtin_clzll(value));
    buckets_[bucket < buckets_.size() ? bucket : buckets_.size() - 1].Add(count);
  }
  HistogramSnapshot Snapshot() const;

 private:
  std::array<Counter, HistogramSnapshot::kBuckets> buckets_;
};

enum class ActorState : uint8_t { kNew, kRunning, kRestarting, kFailed, kStopped };
// "new", "running", "restarting", "failed", "stopped".
std::string_view ActorStateName(ActorState state);

// What became of the messages of one type. Value.
struct MessageCounts {
  std::string_view name;
  uint64_t handled = 0;    // Reached a handler, failed ones included.
  uint64_t failed = 0;     // The handler threw.
  uint64_t expired = 0;    // Nobody waited for the answer any more: not handled.
  uint64_t discarded = 0;  // Answered with the reason why it is not handled.
};

// One actor as it is now. Value.
struct ActorStatus {
  std::string name;
  ActorState state = ActorState::kNew;
  uint32_t depth = 0;  // Messages admitted and not yet handled.
  uint64_t depth_high_water = 0;
  uint64_t accepted = 0;
  uint64_t handled = 0;
  uint64_t failed = 0;
  uint64_t expired = 0;
  uint64_t discarded = 0;
  uint64_t rejected_full = 0;
  uint64_t rejected_closed = 0;
  uint64_t restarts = 0;
  uint64_t wakeups = 0;   // How often the thread slept and woke.
  double busy_ratio = 0;  // Of the time since the start.
  // How long the current batch is being handled; zero if none is.
  absl::Duration current_age = absl::ZeroDuration();
  std::string_view current_message;
  // Age of the oldest message known to wait or be handled (one in 64 carries its time).
  absl::Duration oldest_age = absl::ZeroDuration();
  absl::Status last_error;
  HistogramSnapshot queue_delay_ns;  // Of one message in 64.
  HistogramSnapshot handling_ns;     // Each message at its batch's average.
  HistogramSnapshot batch_size;
  std::vector<MessageCounts> messages;
};

// The counters behind ActorStatus: written by the actor's thread, read by any. Thread-safe.
struct ActorMetrics {
  struct PerMessage {
    Counter handled, failed, expired, discarded;
  };
  Counter depth_high_water, restarts, wakeups, busy_ns, started_ns, batch_began_ns, oldest_ns;
  Counter current_message;  // Index of the message type, plus one; 0 outside of handlers.
  Histogram queue_delay_ns, handling_ns, batch_size;
};

}  // namespace millrace
