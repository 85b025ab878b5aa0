#include "millrace/runtime/reply.h"

#include <exception>

#include "absl/strings/cord.h"

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
  SleepUntil(deadline);
}

absl::Status ReplyCellBase::Abandon() {
  switch (GiveUp()) {
    case GivenUp::kAnswered:
      return absl::OkStatus();
    case GivenUp::kUnknown:
      return MarkOutcomeUnknown(absl::DeadlineExceededError(
          "no answer within the deadline: the request was being executed, its outcome is unknown"));
    case GivenUp::kNotExecuted:
      break;
  }
  return MarkNotExecuted(absl::DeadlineExceededError(
      "no answer within the deadline: the request was not executed and never will be"));
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
