#pragma once

#include <cstddef>
#include <exception>
#include <memory>

#include "absl/functional/any_invocable.h"

namespace millrace {
class DeferredWakes;
class ReplyCollector;
}  // namespace millrace

namespace millrace::testing {

// A function that runs on the thread of whoever resumes it, on a stack of its own, and can be
// suspended anywhere in between: how a simulation has many threads in one. What the kernel keeps
// per thread (whether an actor runs, who collects replies, which wakes are deferred) belongs to the
// fiber while it is suspended. Nothing may be suspended while it holds a mutex. Owned by one
// thread.
class Fiber {
 public:
  explicit Fiber(absl::AnyInvocable<void()> body);
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  // It has ended, or has never been resumed.
  ~Fiber();

  // Goes on with the body until it suspends or ends. Not from another fiber. Throws what the body
  // has thrown.
  void Resume();
  bool ended() const { return ended_; }

  // In a body: returns to the caller of Resume(), until the next one.
  static void Suspend();
  // The fiber whose body calls this; null outside.
  static Fiber* Current();

 private:
  struct Context;

  static void Main();
  void ExchangeThreadState();
  void SwitchIn();
  void SwitchOut(bool for_good);

  absl::AnyInvocable<void()> body_;
  std::unique_ptr<Context> context_;
  bool ended_ = false;
  std::exception_ptr thrown_;
  // The kernel's state of the thread, while another runs.
  bool on_actor_thread_ = false;
  ReplyCollector* collector_ = nullptr;
  DeferredWakes* wakes_ = nullptr;
};

}  // namespace millrace::testing
