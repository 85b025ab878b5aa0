#include "millrace/testing/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include <cxxabi.h>
#include <ucontext.h>

#include "millrace/runtime/check.h"
#include "millrace/runtime/deferred_wakes.h"
#include "millrace/runtime/reply_cell.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace millrace::testing {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr size_t kStackBytes = size_t{2} << 20;  // Sanitizers need much more of it.
#else
constexpr size_t kStackBytes = size_t{256} << 10;
#endif

thread_local Fiber* current = nullptr;

// Of the C++ runtime: the exceptions that are being handled or thrown on this thread.
struct ExceptionState {
  void* caught = nullptr;
  unsigned uncaught_count = 0;
};

ExceptionState ExchangeExceptions(const ExceptionState& state) {
  auto* const globals = reinterpret_cast<char*>(abi::__cxa_get_globals());
  ExceptionState before;
  std::memcpy(&before.caught, globals, sizeof(before.caught));
  std::memcpy(&before.uncaught_count, globals + sizeof(void*), sizeof(before.uncaught_count));
  std::memcpy(globals, &state.caught, sizeof(state.caught));
  std::memcpy(globals + sizeof(void*), &state.uncaught_count, sizeof(state.uncaught_count));
  return before;
}

// Stacks are used again: a simulation makes thousands of fibers. The lowest page of each is a
// guard. What is kept when the thread ends is unmapped.
class StackPool {
 public:
  ~StackPool() {
    for (void* stack : free_) munmap(stack, kStackBytes);
  }
  void* Take() {
    if (!free_.empty()) {
      void* const stack = free_.back();
      free_.pop_back();
      return stack;
    }
    void* const stack = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED) DieOfBug("no memory for the stack of a fiber");
    mprotect(stack, static_cast<size_t>(sysconf(_SC_PAGESIZE)), PROT_NONE);
    return stack;
  }
  void Return(void* stack) { free_.push_back(stack); }

 private:
  std::vector<void*> free_;
};

StackPool& Stacks() {
  thread_local StackPool pool;
  return pool;
}

}  // namespace

struct Fiber::Context {
  Context() : stack(Stacks().Take()) {}
  ~Context() { Stacks().Return(stack); }

  void* const stack;
  ucontext_t inside = {};
  ucontext_t outside = {};
  ExceptionState exceptions;
#if defined(__SANITIZE_ADDRESS__)
  void* fake_stack_inside = nullptr;
  void* fake_stack_outside = nullptr;
  const void* outside_bottom = nullptr;
  size_t outside_bytes = 0;
#endif
#if defined(__SANITIZE_THREAD__)
  void* fiber_inside = __tsan_create_fiber(0);
  void* fiber_outside = nullptr;
#endif
};

Fiber::Fiber(absl::AnyInvocable<void()> body) : body_(std::move(body)) {
}

Fiber::~Fiber() {
  if (context_ != nullptr && !ended_) DieOfBug("a fiber is destroyed in the middle of its body");
#if defined(__SANITIZE_THREAD__)
  if (context_ != nullptr) __tsan_destroy_fiber(context_->fiber_inside);
#endif
}

Fiber* Fiber::Current() {
  return current;
}

void Fiber::Resume() {
  if (current != nullptr) DieOfBug("a fiber is resumed from another one");
  if (ended_) DieOfBug("a fiber that has ended is resumed");
  if (context_ == nullptr) {
    context_ = std::make_unique<Context>();
    getcontext(&context_->inside);
    context_->inside.uc_stack.ss_sp = context_->stack;
    context_->inside.uc_stack.ss_size = kStackBytes;
    context_->inside.uc_link = nullptr;
    makecontext(&context_->inside, &Fiber::Main, 0);
  }
  current = this;
  ExchangeThreadState();
  SwitchIn();
  ExchangeThreadState();
  current = nullptr;
  if (thrown_ != nullptr) std::rethrow_exception(std::exchange(thrown_, nullptr));
}

void Fiber::ExchangeThreadState() {
  on_actor_thread_ = SetOnActorThread(on_actor_thread_);
  collector_ = SetReplyCollector(collector_);
  wakes_ = DeferredWakes::Exchange(wakes_);
  context_->exceptions = ExchangeExceptions(context_->exceptions);
}

void Fiber::SwitchIn() {
  Context& context = *context_;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&context.fake_stack_outside, context.stack, kStackBytes);
#endif
#if defined(__SANITIZE_THREAD__)
  context.fiber_outside = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(context.fiber_inside, 0);
#endif
  swapcontext(&context.outside, &context.inside);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(context.fake_stack_outside, nullptr, nullptr);
#endif
}

void Fiber::SwitchOut(bool for_good) {
  Context& context = *context_;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(for_good ? nullptr : &context.fake_stack_inside,
                                 context.outside_bottom, context.outside_bytes);
#endif
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(context.fiber_outside, 0);
#endif
  swapcontext(&context.inside, &context.outside);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(context.fake_stack_inside, &context.outside_bottom,
                                  &context.outside_bytes);
#endif
}

void Fiber::Suspend() {
  if (current == nullptr) DieOfBug("suspended outside of a fiber");
  current->SwitchOut(/*for_good=*/false);
}

void Fiber::Main() {
  Fiber& self = *current;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &self.context_->outside_bottom,
                                  &self.context_->outside_bytes);
#endif
  try {
    self.body_();
  } catch (...) {
    self.thrown_ = std::current_exception();
  }
  self.body_ = nullptr;
  self.ended_ = true;
  self.SwitchOut(/*for_good=*/true);
}

}  // namespace millrace::testing
