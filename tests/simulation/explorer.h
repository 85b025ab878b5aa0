#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"

#include "millrace/testing/fiber.h"

namespace millrace::testing {

// Runs threads (fibers) again and again, each time in another order, until all orders with at most
// `preemptions_max` preemptions have been seen. Sequentially consistent; what weaker orders allow,
// TSan and the stress tests look for. Owned by the test's thread.
class Explorer {
 public:
  using Threads = std::vector<absl::AnyInvocable<void()>>;
  explicit Explorer(int preemptions_max) : preemptions_max_(preemptions_max) {}

  // `make` gives the threads of a fresh run, `check` says what is wrong after it. The first
  // failure, or "".
  std::string Explore(absl::FunctionRef<Threads()> make, absl::FunctionRef<std::string()> check);
  uint64_t run_count() const { return run_count_; }

  // In a thread: before each atomic operation.
  static void Point() { Fiber::Suspend(); }
  // In a thread: something is wrong with this run.
  static void Fail(const std::string& what);
  // In a thread: sleeps on `word` until it is woken.
  static void Sleep(const void* word);
  static void Wake(const void* word, bool all);

 private:
  struct Ended {};
  struct Thread {
    std::unique_ptr<Fiber> fiber;
    const void* asleep_on = nullptr;
  };
  struct Choice {
    size_t taken = 0;
    size_t count = 0;
  };

  void RunOnce(Threads bodies);
  bool CanRun(size_t i) const {
    return !threads_[i].fiber->ended() && threads_[i].asleep_on == nullptr;
  }
  void EndSleepers();
  size_t Choose(size_t count);
  bool NextOrder();

  static inline Explorer* current_ = nullptr;
  const int preemptions_max_;
  std::vector<Thread> threads_;
  std::vector<Choice> choices_;
  size_t depth_ = 0;
  size_t running_ = 0;
  bool ending_ = false;
  uint64_t run_count_ = 0;
  std::string failure_;
};

}  // namespace millrace::testing
