#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "millrace/runtime/clock.h"

namespace millrace {

class LinkCredits;

// The one allocation behind a Reply and its Pending, and the word on which handler and waiter race.
// Every change is a read-modify-write of that word, so who came first is never in doubt. Two
// halves share the cell; the one that leaves last frees it. Thread-safe.
class ReplyCellBase {
 public:
  ReplyCellBase() = default;
  ReplyCellBase(const ReplyCellBase&) = delete;
  ReplyCellBase& operator=(const ReplyCellBase&) = delete;
  virtual ~ReplyCellBase() = default;

  // The replier's half.
  bool Claim() { return (state_.fetch_or(kClaimed, std::memory_order_acq_rel) & kAbandoned) == 0; }
  // Relaxed: only a hint; who needs certainty claims.
  bool abandoned() const { return (state_.load(std::memory_order_relaxed) & kAbandoned) != 0; }
  bool claimed() const { return (state_.load(std::memory_order_relaxed) & kClaimed) != 0; }
  // Answers with an error without knowing the type, and leaves the cell.
  virtual void Fail(absl::Status status) = 0;

  // The waiter's half. Acquire pairs with the release in Publish().
  bool done() const { return (state_.load(std::memory_order_acquire) & kDone) != 0; }
  // Polls a little, then sleeps. On a thread with a WaitDriver, that runs instead. `what` is waited
  // for, for people.
  void WaitUntil(MonotonicTime deadline, std::string_view what);
  // Ok if the answer came first; else DeadlineExceeded that says whether the handler had claimed.
  absl::Status Abandon();
  // The waiter leaves; nobody will look at the answer.
  void ReleaseWaiter() {
    if ((state_.fetch_or(kReleased, std::memory_order_acq_rel) & kDone) != 0) delete this;
  }

 protected:
  // The answer is in place: publishes it, wakes the waiter, leaves the cell.
  void Publish() {
    const uint32_t before = state_.fetch_or(kDone, std::memory_order_acq_rel);
    if ((before & (kSleeping | kReleased)) != 0) PublishSlowly(before);
  }

 private:
  static constexpr uint32_t kClaimed = 1;    // The handler has begun what cannot be undone.
  static constexpr uint32_t kDone = 2;       // The answer is there; the replier has left.
  static constexpr uint32_t kAbandoned = 4;  // The waiter was told that it waits no longer.
  static constexpr uint32_t kReleased = 8;   // The waiter has left.
  static constexpr uint32_t kSleeping = 16;  // The waiter may sleep on the word.

  void PublishSlowly(uint32_t before);

  std::atomic<uint32_t> state_{0};
};

// Where an answer goes that is not waited for: into the mailbox of the actor that asked.
struct AnswerAddress {
  void* asker = nullptr;
  uint64_t request = 0;            // The asker's own number for its question.
  uint32_t incarnation = 0;        // The asker's life that asked.
  LinkCredits* credits = nullptr;  // Gets its slot back when the answer is taken in.
};

// Adds the answer. See ReplyCellBase for threads.
template <typename T>
class ReplyCell final : public ReplyCellBase {
 public:
  static_assert(std::is_nothrow_move_constructible_v<T>);
  using Deliver = void (*)(const AnswerAddress& address, absl::StatusOr<T>&& result);

  ReplyCell() = default;
  ReplyCell(const AnswerAddress& address, Deliver deliver) : deliver_(deliver), address_(address) {}

  void Send(absl::StatusOr<T>&& result) {
    if (deliver_ != nullptr) {
      deliver_(address_, std::move(result));
      delete this;
      return;
    }
    result_.emplace(std::move(result));
    Publish();
  }
  void Fail(absl::Status status) override { Send(absl::StatusOr<T>(std::move(status))); }

  // Once, after done().
  absl::StatusOr<T> Take() { return *std::move(result_); }
  AnswerAddress& address() { return address_; }

 private:
  const Deliver deliver_ = nullptr;
  AnswerAddress address_;
  std::optional<absl::StatusOr<T>> result_;
};

// Takes the place of sleeping on a thread that runs the actors itself (stepped tests, simulation).
// Owned by the thread it is installed on.
class WaitDriver {
 public:
  virtual ~WaitDriver() = default;
  // Runs actors until `ready` or until the driver's time has reached `deadline`. `what` the caller
  // waits for, for people.
  virtual void RunUntil(absl::FunctionRef<bool()> ready, MonotonicTime deadline,
                        std::string_view what) = 0;
  virtual MonotonicTime Now() const = 0;
};
// Installs `driver` (or null) for waits of the calling thread; returns the one before.
WaitDriver* SetWaitDriver(WaitDriver* driver);
// False, and nothing done, if the calling thread has none; else its RunUntil.
bool DriveWait(absl::FunctionRef<bool()> ready, MonotonicTime deadline, std::string_view what);
// The time that waits of the calling thread are measured in.
MonotonicTime WaitNow();

// What happens to replies that go out of scope while an exception unwinds a handler: the cell
// around the handler collects them here and answers Internal. Null outside of handlers.
class ReplyCollector {
 public:
  virtual ~ReplyCollector() = default;
  virtual void Collect(ReplyCellBase* cell) = 0;
};
ReplyCollector* SetReplyCollector(ReplyCollector* collector);
// Answers Cancelled, or hands the cell to the collector of the unwinding handler.
void DropUnsent(ReplyCellBase* cell);

// True inside a handler: waiting for another actor is a bug there.
bool OnActorThread();
// Set by the kernel around a step; returns what it was before.
bool SetOnActorThread(bool on);

}  // namespace millrace
