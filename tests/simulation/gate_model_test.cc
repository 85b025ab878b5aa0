// The mailbox's gate under every interleaving of its atomic operations, up to a number of
// preemptions: the real code, with atomics that let other threads go first. Sequentially
// consistent; what weaker orders allow, TSan and the stress tests look for.

#include <algorithm>
#include <cstdint>
#include <deque>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "gtest/gtest.h"

#include "millrace/runtime/mailbox_gate.h"
#include "millrace/testing/fiber.h"

namespace millrace {
namespace {

using testing::Fiber;

// Runs threads (fibers) again and again, each time in another order, until all orders with at most
// `preemptions_max` preemptions have been seen. Owned by the test's thread.
class Explorer {
 public:
  using Threads = std::vector<absl::AnyInvocable<void()>>;
  explicit Explorer(int preemptions_max) : preemptions_max_(preemptions_max) {}

  // `make` gives the threads of a fresh run, `check` says what is wrong after it. The first
  // failure, or "".
  std::string Explore(absl::FunctionRef<Threads()> make, absl::FunctionRef<std::string()> check) {
    current_ = this;
    std::string failure;
    do {
      ++run_count_;
      failure = RunOnce(make());
      if (failure.empty()) failure = check();
    } while (failure.empty() && NextOrder());
    current_ = nullptr;
    return failure;
  }
  uint64_t run_count() const { return run_count_; }

  // In a thread: before each atomic operation.
  static void Point() { Fiber::Suspend(); }
  // Sleeps on `word` until it is woken.
  static void Sleep(const void* word) {
    current_->threads_[current_->running_].asleep_on = word;
    Fiber::Suspend();
    if (current_->ending_) throw Ended();
  }
  static void Wake(const void* word, bool all) {
    for (Thread& thread : current_->threads_) {
      if (thread.asleep_on != word) continue;
      thread.asleep_on = nullptr;
      if (!all) return;
    }
  }

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

  std::string RunOnce(Threads bodies) {
    threads_.clear();
    depth_ = 0;
    running_ = 0;
    ending_ = false;
    for (auto& body : bodies) {
      threads_.push_back({std::make_unique<Fiber>([body = std::move(body)]() mutable {
        try {
          body();
        } catch (const Ended&) {
        }
      })});
    }
    int preemptions = 0;
    for (;;) {
      std::vector<size_t> able;  // The running one first: to go on with it is no preemption.
      if (CanRun(running_)) able.push_back(running_);
      const bool may_preempt = able.empty() || preemptions < preemptions_max_;
      for (size_t i = 0; i < threads_.size(); ++i) {
        if (i != running_ && may_preempt && CanRun(i)) able.push_back(i);
      }
      if (able.empty()) break;
      const bool preempts = able[0] == running_;
      const size_t next = able[Choose(able.size())];
      if (preempts && next != running_) ++preemptions;
      running_ = next;
      threads_[running_].fiber->Resume();
    }
    return EndSleepers();
  }
  bool CanRun(size_t i) const {
    return !threads_[i].fiber->ended() && threads_[i].asleep_on == nullptr;
  }
  // Nobody will wake those who still sleep.
  std::string EndSleepers() {
    ending_ = true;
    std::string failure;
    for (size_t i = 0; i < threads_.size(); ++i) {
      if (threads_[i].fiber->ended()) continue;
      failure = "thread " + std::to_string(i) + " sleeps for ever";
      running_ = i;
      while (!threads_[i].fiber->ended()) threads_[i].fiber->Resume();
    }
    return failure;
  }
  size_t Choose(size_t count) {
    if (depth_ == choices_.size()) choices_.push_back({.count = count});
    return choices_[depth_++].taken;
  }
  bool NextOrder() {
    choices_.resize(depth_);
    while (!choices_.empty() && choices_.back().taken + 1 == choices_.back().count) {
      choices_.pop_back();
    }
    if (choices_.empty()) return false;
    ++choices_.back().taken;
    return true;
  }

  static inline Explorer* current_ = nullptr;
  const int preemptions_max_;
  std::vector<Thread> threads_;
  std::vector<Choice> choices_;
  size_t depth_ = 0;
  size_t running_ = 0;
  bool ending_ = false;
  uint64_t run_count_ = 0;
};

// The gate's atomics under the explorer. kBroken: compare-and-swap is a load and a store.
template <bool kBroken>
struct ModelSync {
  template <typename T>
  class Atom {
   public:
    Atom(T value) : value_(value) {}  // NOLINT(google-explicit-constructor): as std::atomic.
    T load(std::memory_order) const { return Explorer::Point(), value_; }
    void store(T value, std::memory_order) { Explorer::Point(), value_ = value; }
    T fetch_add(T by, std::memory_order) {
      return Change([by](T v) { return v + by; });
    }
    T fetch_sub(T by, std::memory_order) {
      return Change([by](T v) { return v - by; });
    }
    T fetch_or(T bits, std::memory_order) {
      return Change([bits](T v) { return v | bits; });
    }
    T fetch_and(T bits, std::memory_order) {
      return Change([bits](T v) { return v & bits; });
    }
    bool compare_exchange_weak(T& expected, T desired, std::memory_order,
                               std::memory_order = std::memory_order_relaxed) {
      Explorer::Point();
      if (value_ != expected) return expected = value_, false;
      if (kBroken) Explorer::Point();
      value_ = desired;
      return true;
    }
    T now() const { return value_; }

   private:
    template <typename F>
    T Change(F change) {
      Explorer::Point();
      return std::exchange(value_, static_cast<T>(change(value_)));
    }
    T value_;
  };

  template <typename T>
  static void Wait(const Atom<T>& word, T expected, MonotonicTime) {
    Explorer::Point();
    if (static_cast<uint32_t>(word.now()) == static_cast<uint32_t>(expected)) {
      Explorer::Sleep(&word);
    }
  }
  static void WakeOne(const void* word) { Explorer::Point(), Explorer::Wake(word, false); }
  static void WakeAll(const void* word) { Explorer::Point(), Explorer::Wake(word, true); }
};

struct Plan {
  uint32_t capacity = 2;
  int sends_each = 2;
  bool blocking = false;    // Senders wait for room.
  bool looks_again = true;  // The consumer, after PrepareWait.
  int preemptions_max = 3;
};

// Two senders, the second of which closes, and the consumer.
template <typename Sync>
std::string ExploreGate(const Plan& plan, uint64_t* run_count) {
  struct Run {
    explicit Run(const MailboxLimits& limits) : gate(limits) {}
    MailboxGate<Sync> gate;
    std::deque<int> queue;
    uint64_t admitted = 0, taken = 0;
    size_t queued_max = 0;
    bool finished = false;
  };
  std::unique_ptr<Run> run;
  const auto send = [&](bool closes) {
    for (int i = 0; i < plan.sends_each; ++i) {
      const Admission admission =
          plan.blocking ? run->gate.AdmitUntil(Slot::kData, 0, MonotonicTime::Infinite())
                        : run->gate.TryAdmit(Slot::kData, 0);
      if (admission != Admission::kAdmitted) continue;
      ++run->admitted;
      Explorer::Point();
      run->queue.push_back(i);
      run->queued_max = std::max(run->queued_max, run->queue.size());
      run->gate.Publish();
    }
    if (closes) run->gate.Close(CloseMode::kDrain);
  };
  const auto take = [&] {
    Explorer::Point();
    if (run->queue.empty()) return false;
    SlotCounts counts;
    for (; !run->queue.empty(); run->queue.pop_front()) counts.Add(Slot::kData, 0);
    run->taken += counts.data;
    run->gate.Release(counts);
    return true;
  };
  const auto consume = [&] {
    for (;;) {
      if (take()) continue;
      if (run->gate.TryFinish(run->taken)) break;
      run->gate.PrepareWait();
      if (plan.looks_again) {
        if (take()) {
          run->gate.CancelWait();
          continue;
        }
        if (run->gate.TryFinish(run->taken)) break;
      }
      run->gate.Wait(MonotonicTime::Infinite());
    }
    run->finished = true;
  };
  Explorer explorer(plan.preemptions_max);
  const std::string failure = explorer.Explore(
      [&] {
        run = std::make_unique<Run>(MailboxLimits{.data_count_max = plan.capacity});
        Explorer::Threads threads;
        threads.emplace_back(consume);
        threads.emplace_back([&] { send(false); });
        threads.emplace_back([&] { send(true); });
        return threads;
      },
      [&]() -> std::string {
        if (!run->finished) return "the consumer has not finished";
        if (run->taken != run->admitted || !run->queue.empty()) return "a message is lost";
        return run->queued_max > plan.capacity ? "the bound was passed" : "";
      });
  *run_count = explorer.run_count();
  return failure;
}

TEST(GateModelTest, NothingIsLostAndNobodySleepsForEver) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr int kFewer = 1;
#else
  constexpr int kFewer = 0;
#endif
  for (const Plan& plan :
       {Plan{.preemptions_max = 3 - kFewer}, Plan{.capacity = 1, .preemptions_max = 3 - kFewer},
        Plan{.capacity = 1, .blocking = true, .preemptions_max = 1}}) {
    uint64_t run_count = 0;
    EXPECT_EQ(ExploreGate<ModelSync<false>>(plan, &run_count), "");
    std::cout << run_count << " interleavings" << std::endl;
    EXPECT_GT(run_count, 100u);
  }
}

// The controls: a model that cannot see these shows nothing.
TEST(GateModelTest, ConsumerThatDoesNotLookAgainIsFound) {
  uint64_t run_count = 0;
  EXPECT_NE(ExploreGate<ModelSync<false>>({.looks_again = false}, &run_count), "");
}

TEST(GateModelTest, ExchangeInTwoStepsIsFound) {
  uint64_t run_count = 0;
  EXPECT_NE(ExploreGate<ModelSync<true>>({.capacity = 1}, &run_count), "");
}

}  // namespace
}  // namespace millrace
