#pragma once

#include <cassert>
#include <cstdint>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "millrace/runtime/check.h"
#include "millrace/runtime/clock.h"
#include "millrace/runtime/reply_cell.h"
#include "millrace/runtime/type_name.h"

namespace millrace {

// What a DeadlineExceeded, and every refusal of the kernel, says about the request: a payload of
// the status under this URL, "none" (it was not and will not be executed) or "unknown".
inline constexpr char kOutcomePayload[] = "millrace/outcome";
absl::Status MarkNotExecuted(absl::Status status);
absl::Status MarkOutcomeUnknown(absl::Status status);

// An answer that arrives as a message in the mailbox of the actor that asked. Value.
template <typename T>
struct Answer {
  uint64_t request = 0;  // The number the asker gave to ReplyTo().
  absl::StatusOr<T> result;
};

// The right, and the duty, to answer one request. Destroyed unsent it delivers Cancelled: a lost
// reply is an error, never a hang. Move-only; thread-compatible, may be sent from any thread.
template <typename T>
class Reply {
 public:
  Reply() = default;
  explicit Reply(ReplyCell<T>* cell) : cell_(cell) {}
  Reply(Reply&& other) noexcept : cell_(std::exchange(other.cell_, nullptr)) {}
  Reply& operator=(Reply&& other) noexcept {
    Reply dropped(std::exchange(cell_, std::exchange(other.cell_, nullptr)));
    return *this;
  }
  ~Reply() {
    if (cell_ != nullptr) DropUnsent(cell_);
  }

  // True until sent or moved from.
  bool valid() const { return cell_ != nullptr; }

  // Exactly once. Never blocks.
  void Send(absl::StatusOr<T> result) {
    if (cell_ == nullptr) DieOfBug("Reply sent twice");
    std::exchange(cell_, nullptr)->Send(std::move(result));
  }

  // Call before work that cannot be undone. False: the waiter has given up and was told that
  // nothing was executed, so skip the work (and drop the reply). After true a waiter that gives up
  // is told that the outcome is unknown.
  bool Claim() { return cell_->Claim(); }
  // A hint, for skipping work early.
  bool abandoned() const { return cell_->abandoned(); }
  // Tells senders apart: the actor whose ReplyTo() this is, null for every client's thread.
  const void* asker() const { return cell_->address().asker; }

  // For the kernel: the cell leaves the reply.
  ReplyCell<T>* Detach() { return std::exchange(cell_, nullptr); }
  ReplyCell<T>* cell() const { return cell_; }

 private:
  ReplyCell<T>* cell_ = nullptr;
};

// The other end: the answer to one request, waited for by a thread that is no actor's. Dropping it
// cancels nothing; the answer is thrown away. Move-only; thread-compatible.
template <typename T>
class Pending {
 public:
  Pending() = default;
  explicit Pending(ReplyCell<T>* cell) : cell_(cell) {}
  Pending(Pending&& other) noexcept : cell_(std::exchange(other.cell_, nullptr)) {}
  Pending& operator=(Pending&& other) noexcept {
    Pending dropped(std::exchange(cell_, std::exchange(other.cell_, nullptr)));
    return *this;
  }
  ~Pending() {
    if (cell_ != nullptr) cell_->ReleaseWaiter();
  }

  // True until the answer was taken or moved from.
  bool valid() const { return cell_ != nullptr; }
  bool ready() const { return cell_->done(); }

  // Waits for the answer and takes it. At the deadline it gives up: DeadlineExceeded, whose payload
  // says "none" if the handler had not claimed the request and now never will, else "unknown".
  absl::StatusOr<T> Wait(MonotonicTime deadline = MonotonicTime::Infinite()) {
    if (cell_ == nullptr) DieOfBug("Pending waited for twice");
    assert(!OnActorThread() && "an actor never waits for another actor");
    if (!cell_->done()) {
      cell_->WaitUntil(deadline, TypeName<T>());
      if (absl::Status given_up = cell_->Abandon(); !given_up.ok()) {
        std::exchange(cell_, nullptr)->ReleaseWaiter();
        return given_up;
      }
    }
    return Take();
  }
  absl::StatusOr<T> Wait(absl::Duration timeout) { return Wait(WaitNow() + timeout); }

  // The answer if it is there; never blocks.
  std::optional<absl::StatusOr<T>> TryTake() {
    if (cell_ == nullptr || !cell_->done()) return std::nullopt;
    return Take();
  }

 private:
  absl::StatusOr<T> Take() {
    absl::StatusOr<T> result = cell_->Take();
    std::exchange(cell_, nullptr)->ReleaseWaiter();
    return result;
  }

  ReplyCell<T>* cell_ = nullptr;
};

// Both ends of one request.
template <typename T>
std::pair<Reply<T>, Pending<T>> MakeReply() {
  auto* cell = new ReplyCell<T>;
  return {Reply<T>(cell), Pending<T>(cell)};
}

}  // namespace millrace
