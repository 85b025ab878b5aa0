// The mailbox's gate under every interleaving of its atomic operations, up to a number of
// preemptions.

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
#include "tests/simulation/model_sync.h"

#include "millrace/runtime/mailbox_gate.h"

namespace millrace {
namespace {

using testing::Explorer;
using testing::ModelSync;

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
       {Plan{.sends_each = 4, .preemptions_max = 2 - kFewer}, Plan{.preemptions_max = 3 - kFewer},
        Plan{.capacity = 1, .preemptions_max = 3 - kFewer},
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
