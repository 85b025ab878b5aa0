#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "millrace/runtime/clock.h"
#include "millrace/runtime/deferred_wakes.h"
#include "millrace/runtime/futex.h"
#include "millrace/runtime/reply_protocol.h"

namespace millrace {

class LinkCredits;

// Futexes, but that the wakes of answers may be deferred.
struct ReplySync : SystemSync {
  static void WakeAll(const void* word) { DeferredWakes::Wake(word); }
};

// What is behind every Reply and its Pending, whatever they are about. Thread-safe.
class ReplyCellBase : public ReplyProtocol<ReplySync> {
 public:
  // The replier's half. Answers with an error without knowing the type, and leaves the cell.
  virtual void Fail(absl::Status status) = 0;

  // The waiter's half. Polls a little, then sleeps. On a thread with a WaitDriver, that runs
  // instead. `what` is waited for, for people.
  void WaitUntil(MonotonicTime deadline, std::string_view what);
  // Ok if the answer came first; else DeadlineExceeded that says whether the handler had claimed.
  absl::Status Abandon();
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
