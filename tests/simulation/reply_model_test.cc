// The race of a handler and a waiter that gives up, under every interleaving of its atomic
// operations: who was told that nothing is executed is right, an answer is whole, nobody sleeps for
// ever, and what both share is freed once, by who leaves last.

#include <algorithm>
#include <cstdint>
#include <iostream>
#include <memory>
#include <new>
#include <optional>
#include <set>
#include <string>
#include <utility>
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
  using Client = std::vector<Waiter>;  // A thread, and what it does with its requests, in order.
  std::vector<Client> clients = {{Waiter::kWaits}};
  bool claims = true;
  int preemptions_max = 100;  // All there can be.
};

template <typename Sync>
struct ModelRequest {
  Waiter waiter = Waiter::kWaits;
  ModelCell<Sync>* cell = nullptr;
  bool executed = false;
  std::optional<GivenUp> told;  // Nothing: the waiter has left.
  int answer = 0;
};

// As Pending does.
template <typename Sync>
void Await(ModelRequest<Sync>& request) {
  if (request.waiter == Waiter::kLeaves) return request.cell->ReleaseWaiter();
  const bool waits = request.waiter == Waiter::kWaits;
  request.told = GivenUp::kAnswered;
  if (!request.cell->done()) {
    request.cell->SleepUntil(waits ? MonotonicTime::Infinite() : MonotonicTime());
    request.told = request.cell->GiveUp();
  }
  if (request.told == GivenUp::kAnswered) request.answer = request.cell->answer;
  request.cell->ReleaseWaiter();
}

// What is wrong with it when all is over, or "".
template <typename Sync>
std::string FaultOf(const ModelRequest<Sync>& request) {
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
  return "";
}

// One handler that answers every request, and the clients.
template <typename Sync>
std::string ExploreReplies(const Plan& plan, uint64_t* run_count) {
  using Request = ModelRequest<Sync>;
  std::vector<std::vector<Request>> clients;
  size_t most = 0;
  for (const Plan::Client& client : plan.clients) most = std::max(most, client.size());
  const auto handle = [&] {
    for (size_t i = 0; i < most; ++i) {  // Of each client in turn.
      for (std::vector<Request>& requests : clients) {
        if (i >= requests.size()) continue;
        ModelCell<Sync>* const cell = requests[i].cell;
        if (!plan.claims || cell->Claim()) requests[i].executed = true;
        Explorer::Point();
        cell->Send(kAnswer);
      }
    }
    for (const void* word : DeferringSync::deferred) ModelSync<false>::WakeAll(word);
    DeferringSync::deferred.clear();
  };
  const auto check = [&]() -> std::string {
    if (!arena.all_are_freed()) return "a cell is not freed";
    for (const std::vector<Request>& requests : clients) {
      for (const Request& request : requests) {
        if (std::string fault = FaultOf(request); !fault.empty()) return fault;
      }
    }
    return "";
  };
  Explorer explorer(plan.preemptions_max);
  const std::string failure = explorer.Explore(
      [&] {
        arena.Clear();
        clients.assign(plan.clients.size(), {});
        Explorer::Threads threads;
        threads.emplace_back(handle);
        for (size_t i = 0; i < clients.size(); ++i) {
          for (const Waiter waiter : plan.clients[i]) {
            clients[i].push_back({.waiter = waiter, .cell = new ModelCell<Sync>});
          }
          threads.emplace_back([&requests = clients[i]] {
            for (Request& request : requests) Await(request);
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
    EXPECT_EQ(ExploreReplies<ModelSync<false>>({.clients = {{waiter}}}, &run_count), "");
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
  for (const std::pair<Waiter, Waiter>& waiters : {std::pair(Waiter::kWaits, Waiter::kWaits),
                                                   {Waiter::kWaits, Waiter::kGivesUp},
                                                   {Waiter::kGivesUp, Waiter::kLeaves}}) {
    uint64_t run_count = 0;
    EXPECT_EQ(ExploreReplies<DeferringSync>({.clients = {{waiters.first}, {waiters.second}},
                                             .preemptions_max = kPreemptionsMax},
                                            &run_count),
              "");
    std::cout << run_count << " interleavings" << std::endl;
    EXPECT_GT(run_count, 100u);
  }
}

// Three threads of four operations each, in all orders of up to two preemptions: more of them are
// millions of orders.
TEST(ReplyModelTest, ClientsWithSeveralRequestsAgreeWithTheHandler) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr int kPreemptionsMax = 1;
#else
  constexpr int kPreemptionsMax = 2;
#endif
  const Plan::Client first = {Waiter::kWaits, Waiter::kGivesUp, Waiter::kLeaves, Waiter::kWaits};
  const Plan::Client second = {Waiter::kGivesUp, Waiter::kWaits, Waiter::kWaits, Waiter::kLeaves};
  for (const std::vector<Plan::Client>& clients :
       {std::vector{first, second}, {first, first}, {second, second}}) {
    const Plan plan = {.clients = clients, .preemptions_max = kPreemptionsMax};
    uint64_t run_count = 0;
    EXPECT_EQ(ExploreReplies<ModelSync<false>>(plan, &run_count), "");
    std::cout << run_count << " interleavings" << std::endl;
    EXPECT_GT(run_count, 50u);
    EXPECT_EQ(ExploreReplies<DeferringSync>(plan, &run_count), "");
    std::cout << run_count << " interleavings with deferred wakes" << std::endl;
  }
}

// The controls: a model that cannot see these shows nothing.
TEST(ReplyModelTest, HandlerThatDoesNotClaimIsFound) {
  uint64_t run_count = 0;
  EXPECT_EQ(ExploreReplies<ModelSync<false>>({.clients = {{Waiter::kGivesUp}}, .claims = false},
                                             &run_count),
            "what was told not to be executed is executed");
}

TEST(ReplyModelTest, ChangeInTwoStepsIsFound) {
  uint64_t run_count = 0;
  EXPECT_NE(ExploreReplies<ModelSync<true>>({.clients = {{Waiter::kGivesUp}}}, &run_count), "");
  EXPECT_NE(ExploreReplies<ModelSync<true>>({.clients = {{Waiter::kLeaves}}}, &run_count), "");
}

TEST(ReplyModelTest, AnswerThatWakesNobodyIsFound) {
  uint64_t run_count = 0;
  EXPECT_EQ(ExploreReplies<DeafSync>({}, &run_count), "thread 1 sleeps for ever");
}

}  // namespace
}  // namespace millrace
