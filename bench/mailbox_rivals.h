#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/harness.h"

namespace millrace {

// 64 bytes, as in the table of goals.
struct BenchMessage {
  uint64_t sender = 0;
  uint64_t number = 0;
  uint64_t payload[6] = {};
};

// What every receiver checks: each sender's messages, all of them, in order. Owned by the consumer.
class OrderCheck {
 public:
  explicit OrderCheck(int senders) : next_(static_cast<size_t>(senders), 0) {}
  void See(const BenchMessage& message) {
    wrong_ |= message.number != next_[message.sender]++;
    ++seen_;
  }
  uint64_t seen() const { return seen_; }
  absl::Status Finish(uint64_t per_sender) const;

 private:
  std::vector<uint64_t> next_;
  uint64_t seen_ = 0;
  bool wrong_ = false;
};

// Runs `send(sender)` on a thread for each sender and `consume()` on this one; the rate of
// `senders * per_sender` messages, from the common start until consume() returns.
double MeasureRate(int senders, uint64_t per_sender, absl::AnyInvocable<void(int)> send,
                   absl::AnyInvocable<void()> consume);

using BenchResult = absl::StatusOr<std::vector<BenchMetric>>;
BenchResult RateResult(const OrderCheck& check, uint64_t per_sender, double rate);
// p50_us and p99_us of round trips given in nanoseconds.
BenchResult RoundTripResult(std::vector<double> nanoseconds);

// Raw moodycamel, a token for each side, in bulk both ways: what the queue itself can do.
BenchResult RunLimit(int senders, uint64_t per_sender);
// moodycamel and a bare event count; the consumer stays off an empty queue for a microsecond.
BenchResult RunPrototype(int senders, uint64_t per_sender);
// std::mutex, two vectors that swap, a condition variable.
BenchResult RunMutexSwap(int senders, uint64_t per_sender);
// Rust's std::sync::mpsc, if the program could be built.
bool HasRust();
BenchResult RunRust(int senders, uint64_t per_sender);

// One client and one thread that answers, over two words with 50 polls and a futex; the client
// thinks for `pause_ns` before each question.
BenchResult RunPrototypeRoundTrip(uint64_t rounds, int64_t pause_ns);

// Lets `nanoseconds` pass, asleep.
void Pause(int64_t nanoseconds);

}  // namespace millrace
