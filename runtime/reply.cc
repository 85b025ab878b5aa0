#include "millrace/runtime/reply.h"

#include <exception>

#include "absl/strings/cord.h"

#include "millrace/runtime/deferred_wakes.h"
#include "millrace/runtime/futex.h"
#include "millrace/runtime/short_poll.h"

namespace millrace {
namespace {

thread_local ShortPoll short_poll;
thread_local WaitDriver* wait_driver = nullptr;
thread_local ReplyCollector* reply_collector = nullptr;
thread_local bool on_actor_thread = false;

}  // namespace

absl::Status MarkNotExecuted(absl::Status status) {
  status.SetPayload(kOutcomePayload, absl::Cord("none"));
  return status;
}

absl::Status MarkOutcomeUnknown(absl::Status status) {
  status.SetPayload(kOutcomePayload, absl::Cord("unknown"));
  return status;
}

void ReplyCellBase::WaitUntil(MonotonicTime deadline, std::string_view what) {
  if (DriveWait([this] { return done(); }, deadline, what)) return;
  if (short_poll.Try([this] { return done(); })) return;
  // Acquire pairs with Publish(); release lets the replier see that someone sleeps.
  uint32_t seen = state_.fetch_or(kSleeping, std::memory_order_acq_rel) | kSleeping;
  while ((seen & kDone) == 0) {
    if (deadline != MonotonicTime::Infinite() && SystemClock().Now() >= deadline) return;
    SystemSync::Wait(state_, seen, deadline);
    seen = state_.load(std::memory_order_acquire);
  }
}

absl::Status ReplyCellBase::Abandon() {
  if (done()) return absl::OkStatus();
  // Whoever changes the word first, this or Claim() or Publish(), wins.
  const uint32_t before = state_.fetch_or(kAbandoned, std::memory_order_acq_rel);
  if ((before & kDone) != 0) return absl::OkStatus();
  if ((before & kClaimed) != 0) {
    return MarkOutcomeUnknown(absl::DeadlineExceededError(
        "no answer within the deadline: the request was being executed, its outcome is unknown"));
  }
  return MarkNotExecuted(absl::DeadlineExceededError(
      "no answer within the deadline: the request was not executed and never will be"));
}

void ReplyCellBase::PublishSlowly(uint32_t before) {
  if ((before & kReleased) != 0) {
    delete this;
    return;
  }
  // The waiter may have freed the cell by now.
  DeferredWakes::Wake(&state_);
}

WaitDriver* SetWaitDriver(WaitDriver* driver) {
  return std::exchange(wait_driver, driver);
}

bool DriveWait(absl::FunctionRef<bool()> ready, MonotonicTime deadline, std::string_view what) {
  if (wait_driver == nullptr) return false;
  wait_driver->RunUntil(ready, deadline, what);
  return true;
}

MonotonicTime WaitNow() {
  return wait_driver != nullptr ? wait_driver->Now() : SystemClock().Now();
}

ReplyCollector* SetReplyCollector(ReplyCollector* collector) {
  return std::exchange(reply_collector, collector);
}

void DropUnsent(ReplyCellBase* cell) {
  if (reply_collector != nullptr && std::uncaught_exceptions() > 0) {
    reply_collector->Collect(cell);
    return;
  }
  absl::Status status = absl::CancelledError("the request was dropped unanswered by its handler");
  cell->Fail(cell->claimed() ? MarkOutcomeUnknown(std::move(status))
                             : MarkNotExecuted(std::move(status)));
}

bool OnActorThread() {
  return on_actor_thread;
}

bool SetOnActorThread(bool on) {
  return std::exchange(on_actor_thread, on);
}

}  // namespace millrace
