#pragma once

#include <atomic>
#include <cstdint>

#include "millrace/runtime/clock.h"

namespace millrace {

// How a waiter that gave up stands.
enum class GivenUp : uint8_t {
  kAnswered,     // It has not: the answer came first.
  kNotExecuted,  // The handler had not claimed the request, and now never will.
  kUnknown,      // The handler had.
};

// The word on which handler and waiter of one request race, and who frees what they share. Every
// change is a read-modify-write of that word, so who came first is never in doubt. Two halves share
// the object; the one that leaves last frees it. Sync is SystemSync, or a model checker's.
// Thread-safe.
template <typename Sync>
class ReplyProtocol {
 public:
  ReplyProtocol() = default;
  ReplyProtocol(const ReplyProtocol&) = delete;
  ReplyProtocol& operator=(const ReplyProtocol&) = delete;
  virtual ~ReplyProtocol() = default;

  // The replier's half. False: the waiter was told that nothing is executed.
  bool Claim() { return (state_.fetch_or(kClaimed, std::memory_order_acq_rel) & kAbandoned) == 0; }
  // Relaxed: only a hint; who needs certainty claims.
  bool abandoned() const { return (state_.load(std::memory_order_relaxed) & kAbandoned) != 0; }
  bool claimed() const { return (state_.load(std::memory_order_relaxed) & kClaimed) != 0; }

  // The waiter's half. Acquire pairs with the release in Publish().
  bool done() const { return (state_.load(std::memory_order_acquire) & kDone) != 0; }
  // Sleeps until the answer is there, or the deadline.
  void SleepUntil(MonotonicTime deadline) {
    // Acquire pairs with Publish(); release lets the replier see that someone sleeps.
    uint32_t seen = state_.fetch_or(kSleeping, std::memory_order_acq_rel) | kSleeping;
    while ((seen & kDone) == 0) {
      if (deadline != MonotonicTime::Infinite() && SystemClock().Now() >= deadline) return;
      Sync::Wait(state_, seen, deadline);
      seen = state_.load(std::memory_order_acquire);
    }
  }
  // Whoever changes the word first, this or Claim() or Publish(), wins.
  GivenUp GiveUp() {
    if (done()) return GivenUp::kAnswered;
    const uint32_t before = state_.fetch_or(kAbandoned, std::memory_order_acq_rel);
    if ((before & kDone) != 0) return GivenUp::kAnswered;
    return (before & kClaimed) != 0 ? GivenUp::kUnknown : GivenUp::kNotExecuted;
  }
  // The waiter leaves; nobody will look at the answer.
  void ReleaseWaiter() {
    if ((state_.fetch_or(kReleased, std::memory_order_acq_rel) & kDone) != 0) delete this;
  }

 protected:
  // The answer is in place: publishes it, wakes the waiter, leaves.
  void Publish() {
    const uint32_t before = state_.fetch_or(kDone, std::memory_order_acq_rel);
    if ((before & kReleased) != 0) {
      delete this;
    } else if ((before & kSleeping) != 0) {
      Sync::WakeAll(&state_);  // The waiter may have freed the word by now.
    }
  }

 private:
  static constexpr uint32_t kClaimed = 1;    // The handler has begun what cannot be undone.
  static constexpr uint32_t kDone = 2;       // The answer is there; the replier has left.
  static constexpr uint32_t kAbandoned = 4;  // The waiter was told that it waits no longer.
  static constexpr uint32_t kReleased = 8;   // The waiter has left.
  static constexpr uint32_t kSleeping = 16;  // The waiter may sleep on the word.

  typename Sync::template Atom<uint32_t> state_{0};
};

}  // namespace millrace
