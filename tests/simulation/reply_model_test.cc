// The race of a handler and a waiter that gives up, under every interleaving of its atomic
// operations: who was told that nothing is executed is right, an answer is whole, nobody sleeps for
// ever, and what both share is freed once, by who leaves last.

#include <cstdint>
#include <iostream>
#include <memory>
#include <new>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/simulation/model_sync.h"

#include "millrace/runtime/reply_protocol.h"

namespace millrace {
namespace {

using testing::Explorer;
using testing::ModelSync;

constexpr int kAnswer = 7;

// The memory of cells. It stays until the run is over, so that a late use is seen.
class Arena {
 public:
  ~Arena() { Clear(); }
  void* Allocate(size_t size) { return memory_.emplace_back(::operator new(size)); }
  void Free(void* memory) {
    if (!freed_.insert(memory).second) Explorer::Fail("a cell is freed twice");
  }
  void Clear() {
    for (void* memory : memory_) ::operator delete(memory);
    memory_.clear();
    freed_.clear();
  }
  bool all_are_freed() const { return freed_.size() == memory_.size(); }

 private:
  std::vector<void*> memory_;
  std::set<void*> freed_;
};
Arena arena;

template <typename Sync>
class ModelCell final : public ReplyProtocol<Sync> {
 public:
  static void* operator new(size_t size) { return arena.Allocate(size); }
  static void operator delete(void* memory) { arena.Free(memory); }
  void Send(int value) {
    answer = value;
    this->Publish();
  }
  int answer = 0;
};

// The wakes of answers, all at the end: DeferredWakes.
struct DeferringSync : ModelSync<false> {
  static void WakeAll(const void* word) { deferred.push_back(word); }
  static inline std::vector<const void*> deferred;
};
struct DeafSync : ModelSync<false> {
  static void WakeAll(const void*) {}
};

enum class Waiter : uint8_t {
  kWaits,    // As long as it takes.
  kGivesUp,  // At its deadline, which has passed already.
  kLeaves,   // At once, without looking.
};

struct Plan {
  std::vector<Waiter> waiters = {Waiter::kWaits};  // One for each request.
  bool claims = true;
  int preemptions_max = 100;  // All there can be.
};

// One handler that answers every request, and a thread for each waiter.
template <typename Sync>
std::string ExploreReplies(const Plan& plan, uint64_t* run_count) {
  struct Request {
    ModelCell<Sync>* cell = nullptr;
    bool executed = false;
    std::optional<GivenUp> told;  // Nothing: the waiter has left.
    int answer = 0;
  };
  std::vector<Request> requests;
  const auto handle = [&] {
    for (Request& request : requests) {
      ModelCell<Sync>* const cell = request.cell;
      if (!plan.claims || cell->Claim()) request.executed = true;
      Explorer::Point();
      cell->Send(kAnswer);
    }
    for (const void* word : DeferringSync::deferred) ModelSync<false>::WakeAll(word);
    DeferringSync::deferred.clear();
  };
  // As Pending does.
  const auto wait = [](Request& request, MonotonicTime deadline) {
    request.told = GivenUp::kAnswered;
    if (!request.cell->done()) {
      request.cell->SleepUntil(deadline);
      request.told = request.cell->GiveUp();
    }
    if (request.told == GivenUp::kAnswered) request.answer = request.cell->answer;
    request.cell->ReleaseWaiter();
  };
  const auto check = [&]() -> std::string {
    if (!arena.all_are_freed()) return "a cell is not freed";
    for (const Request& request : requests) {
      if (request.told == GivenUp::kAnswered && request.answer != kAnswer) return "no answer";
      if (request.told == GivenUp::kNotExecuted && request.executed) {
        return "what was told not to be executed is executed";
      }
      if (request.told == GivenUp::kUnknown && !request.executed) {
        return "nobody would ever execute it, and the waiter does not know";
      }
      if (!request.executed && request.told != GivenUp::kNotExecuted) {
        return "skipped without having been given up";
      }
    }
    return "";
  };
  Explorer explorer(plan.preemptions_max);
  const std::string failure = explorer.Explore(
      [&] {
        arena.Clear();
        requests.assign(plan.waiters.size(), {});
        Explorer::Threads threads;
        threads.emplace_back(handle);
        for (size_t i = 0; i < requests.size(); ++i) {
          Request& request = requests[i];
          request.cell = new ModelCell<Sync>;
          threads.emplace_back([&request, &wait, waiter = plan.waiters[i]] {
            if (waiter == Waiter::kLeaves) return request.cell->ReleaseWaiter();
            wait(request, waiter == Waiter::kWaits ? MonotonicTime::Infinite() : MonotonicTime());
          });
        }
        return threads;
      },
      check);
  *run_count = explorer.run_count();
  return failure;
}

TEST(ReplyModelTest, WaiterAndHandlerAgreeInEveryOrder) {
  for (const Waiter waiter : {Waiter::kWaits, Waiter::kGivesUp, Waiter::kLeaves}) {
    uint64_t run_count = 0;
    EXPECT_EQ(ExploreReplies<ModelSync<false>>({.waiters = {waiter}}, &run_count), "");
    std::cout << run_count << " interleavings" << std::endl;
    EXPECT_GT(run_count, 10u);
  }
}

TEST(ReplyModelTest, DeferredWakesReachEverybodyAndTouchNoFreedWord) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr int kPreemptionsMax = 2;
#else
  constexpr int kPreemptionsMax = 4;
#endif
  for (const std::vector<Waiter>& waiters : {std::vector{Waiter::kWaits, Waiter::kWaits},
                                             {Waiter::kWaits, Waiter::kGivesUp},
                                             {Waiter::kGivesUp, Waiter::kLeaves}}) {
    uint64_t run_count = 0;
    EXPECT_EQ(ExploreReplies<DeferringSync>(
                  {.waiters = waiters, .preemptions_max = kPreemptionsMax}, &run_count),
              "");
    std::cout << run_count << " interleavings" << std::endl;
    EXPECT_GT(run_count, 100u);
  }
}

// The controls: a model that cannot see these shows nothing.
TEST(ReplyModelTest, HandlerThatDoesNotClaimIsFound) {
  uint64_t run_count = 0;
  EXPECT_EQ(ExploreReplies<ModelSync<false>>({.waiters = {Waiter::kGivesUp}, .claims = false},
                                             &run_count),
            "what was told not to be executed is executed");
}

TEST(ReplyModelTest, ChangeInTwoStepsIsFound) {
  uint64_t run_count = 0;
  EXPECT_NE(ExploreReplies<ModelSync<true>>({.waiters = {Waiter::kGivesUp}}, &run_count), "");
  EXPECT_NE(ExploreReplies<ModelSync<true>>({.waiters = {Waiter::kLeaves}}, &run_count), "");
}

TEST(ReplyModelTest, AnswerThatWakesNobodyIsFound) {
  uint64_t run_count = 0;
  EXPECT_EQ(ExploreReplies<DeafSync>({}, &run_count), "thread 1 sleeps for ever");
}

}  // namespace
}  // namespace millrace
