#include "millrace/runtime/mailbox.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"

#include "millrace/runtime/envelope.h"

#if defined(__SANITIZE_THREAD__)
// moodycamel's stand-alone fences are not modelled by the sanitizer. This is the one program of the
// TSan build that runs on it.
extern "C" const char* __tsan_default_suppressions() {
  return "race:moodycamel\n";
}
constexpr int kScale = 10;
#else
constexpr int kScale = 1;
#endif

namespace millrace {
namespace {

struct Item {
  uint32_t sender = 0;
  uint32_t number = 0;
};

struct Moodycamel {
  template <typename E>
  using Queue = MoodycamelQueue<E>;
};
struct Locked {
  template <typename E>
  using Queue = MutexQueue<E>;
};

template <typename Backend>
class MailboxTest : public ::testing::Test {
 protected:
  using Box = Mailbox<Item, Backend::template Queue>;
};
using Backends = ::testing::Types<Moodycamel, Locked>;
TYPED_TEST_SUITE(MailboxTest, Backends);

constexpr MailboxLimits kRoomy = {.data_count_max = 1u << 20};

// What a consumer's thread does: handles everything until the mailbox is closed and done with.
// Returns how often it went to sleep.
template <typename Box, typename F>
uint64_t ConsumeAll(Box& box, F&& handle) {
  Batch<Item> batch(64);
  uint64_t taken = 0, sleeps = 0;
  const auto take = [&] {
    const size_t count = box.Drain(batch.Space(), batch.capacity());
    batch.Constructed(count);
    taken += count;
    SlotCounts counts;
    for (; batch.size() > 0; batch.PopFront()) {
      handle(batch[0]);
      counts.Add(Slot::kData, 0);
    }
    if (count > 0) box.gate().Release(counts);
    return count > 0;
  };
  for (;;) {
    if (take()) continue;
    if (box.gate().TryFinish(taken)) return sleeps;
    box.gate().PrepareWait();
    if (take()) {
      box.gate().CancelWait();
    } else if (box.gate().TryFinish(taken)) {
      return sleeps;
    } else {
      ++sleeps;
      box.gate().Wait(MonotonicTime::Infinite());
    }
  }
}

TYPED_TEST(MailboxTest, ClosingLosesNothingThatWasSentBefore) {
  typename TestFixture::Box box(kRoomy);
  std::thread sender([&] {
    for (uint32_t i = 0; i < 1000; ++i) {
      ASSERT_EQ(box.Send(Item{0, i}, Slot::kData), Admission::kAdmitted);
    }
  });
  sender.join();
  std::thread closer([&] { box.gate().Close(CloseMode::kDrain); });
  uint32_t next = 0;
  ConsumeAll(box, [&](const Item& item) { EXPECT_EQ(item.number, next++); });
  closer.join();
  EXPECT_EQ(next, 1000u);
  EXPECT_EQ(box.Send(Item{0, 0}, Slot::kData), Admission::kClosed);
  EXPECT_EQ(box.gate().rejected_closed(), 1u);
}

TYPED_TEST(MailboxTest, EachSendersMessagesStayInOrder) {
  constexpr uint32_t kSenders = 8, kMessages = 10'000 / kScale;
  typename TestFixture::Box box({.data_count_max = 256});
  std::vector<std::thread> senders;
  std::atomic<uint32_t> left = kSenders;
  for (uint32_t s = 0; s < kSenders; ++s) {
    senders.emplace_back([&, s] {
      for (uint32_t i = 0; i < kMessages; ++i) {
        ASSERT_EQ(box.SendUntil(Item{s, i}, Slot::kData, 0, MonotonicTime::Infinite()),
                  Admission::kAdmitted);
      }
      if (left.fetch_sub(1) == 1) box.gate().Close(CloseMode::kDrain);
    });
  }
  std::vector<uint32_t> next(kSenders, 0);
  ConsumeAll(box, [&](const Item& item) { ASSERT_EQ(item.number, next[item.sender]++); });
  for (std::thread& sender : senders) sender.join();
  for (uint32_t count : next) EXPECT_EQ(count, kMessages);
  EXPECT_EQ(box.gate().accepted(), uint64_t{kSenders} * kMessages);
}

TYPED_TEST(MailboxTest, BoundByCountIsExact) {
  typename TestFixture::Box box({.data_count_max = 100});
  std::atomic<int> admitted = 0, refused = 0;
  std::vector<std::thread> senders;
  for (int s = 0; s < 4; ++s) {
    senders.emplace_back([&] {
      for (uint32_t i = 0; i < 1000; ++i) {
        (box.Send(Item{0, i}, Slot::kData) == Admission::kAdmitted ? admitted : refused)++;
      }
    });
  }
  for (std::thread& sender : senders) sender.join();
  EXPECT_EQ(admitted, 100);
  EXPECT_EQ(refused, 3900);
  EXPECT_EQ(box.gate().depth(), 100u);
  EXPECT_EQ(box.gate().rejected_full(), 3900u);
}

TYPED_TEST(MailboxTest, BoundByBytesIsExact) {
  typename TestFixture::Box box({.data_bytes_max = 100});
  EXPECT_EQ(box.Send(Item{}, Slot::kData, 101), Admission::kFull);
  EXPECT_EQ(box.Send(Item{}, Slot::kData, 60), Admission::kAdmitted);
  EXPECT_EQ(box.Send(Item{}, Slot::kData, 41), Admission::kFull);
  EXPECT_EQ(box.Send(Item{}, Slot::kData, 40), Admission::kAdmitted);
  EXPECT_EQ(box.Send(Item{}, Slot::kData, 1), Admission::kFull);
  EXPECT_EQ(box.Send(Item{}, Slot::kData, 0), Admission::kAdmitted);
  SlotCounts counts;
  counts.Add(Slot::kData, 60);
  box.gate().Release(counts);
  EXPECT_EQ(box.Send(Item{}, Slot::kData, 60), Admission::kAdmitted);
}

TYPED_TEST(MailboxTest, DataCannotStarveControl) {
  typename TestFixture::Box box({.data_count_max = 10, .control_count_max = 2});
  for (uint32_t i = 0; i < 10; ++i) {
    ASSERT_EQ(box.Send(Item{0, i}, Slot::kData), Admission::kAdmitted);
  }
  EXPECT_EQ(box.Send(Item{0, 10}, Slot::kData), Admission::kFull);
  EXPECT_EQ(box.Send(Item{7, 0}, Slot::kControl), Admission::kAdmitted);
  EXPECT_EQ(box.Send(Item{7, 1}, Slot::kControl), Admission::kAdmitted);
  EXPECT_EQ(box.Send(Item{7, 2}, Slot::kControl), Admission::kFull);
  Batch<Item> batch(4);
  batch.Constructed(box.Drain(batch.Space(), 4));
  ASSERT_EQ(batch.size(), 4u);
  EXPECT_EQ(batch[0].sender, 7u);
  EXPECT_EQ(batch[1].sender, 7u);
  EXPECT_EQ(batch[2].sender, 0u);
}

TYPED_TEST(MailboxTest, ReservedSlotsAreNotRefusedByAFullMailbox) {
  typename TestFixture::Box box({.data_count_max = 1});
  ASSERT_EQ(box.Send(Item{}, Slot::kData), Admission::kAdmitted);
  EXPECT_EQ(box.Send(Item{}, Slot::kReserved), Admission::kAdmitted);
  EXPECT_EQ(box.Send(Item{}, Slot::kReserved), Admission::kAdmitted);
  EXPECT_EQ(box.Send(Item{}, Slot::kData), Admission::kFull);
  box.gate().Close(CloseMode::kDrain);
  EXPECT_EQ(box.Send(Item{}, Slot::kReserved), Admission::kClosed);
  EXPECT_EQ(box.Send(Item{}, Slot::kReserved, 0, /*even_closed=*/true), Admission::kAdmitted);
  EXPECT_EQ(box.gate().depth(), 4u);
}

TYPED_TEST(MailboxTest, BlockedSenderGoesOnWhenThereIsRoom) {
  typename TestFixture::Box box({.data_count_max = 1});
  ASSERT_EQ(box.Send(Item{0, 0}, Slot::kData), Admission::kAdmitted);
  EXPECT_EQ(box.SendUntil(Item{0, 1}, Slot::kData, 0, SystemClock().Now()), Admission::kFull);
  std::thread sender([&] {
    EXPECT_EQ(box.SendUntil(Item{0, 1}, Slot::kData, 0, MonotonicTime::Infinite()),
              Admission::kAdmitted);
    box.gate().Close(CloseMode::kDrain);
  });
  uint32_t seen = 0;
  ConsumeAll(box, [&](const Item& item) { EXPECT_EQ(item.number, seen++); });
  sender.join();
  EXPECT_EQ(seen, 2u);
}

TYPED_TEST(MailboxTest, CloseWakesBlockedSenders) {
  typename TestFixture::Box box({.data_count_max = 1, .data_bytes_max = 10});
  ASSERT_EQ(box.Send(Item{}, Slot::kData, 10), Admission::kAdmitted);
  std::vector<std::thread> senders;
  for (uint64_t bytes : {0, 5, 10}) {
    senders.emplace_back([&, bytes] {
      EXPECT_EQ(box.SendUntil(Item{}, Slot::kData, bytes, MonotonicTime::Infinite()),
                Admission::kClosed);
    });
  }
  box.gate().Close(CloseMode::kDiscard);
  for (std::thread& sender : senders) sender.join();
  EXPECT_TRUE(box.gate().discarding());
}

TYPED_TEST(MailboxTest, SleepingConsumerIsNeverForgotten) {
  // Strictly by turns: each message finds the other side asleep or about to.
  typename TestFixture::Box there(kRoomy), back(kRoomy);
  constexpr uint32_t kTurns = 50'000 / kScale;
  std::thread echo([&] {
    ConsumeAll(there, [&](const Item& item) {
      ASSERT_EQ(back.Send(Item{item}, Slot::kData), Admission::kAdmitted);
    });
    back.gate().Close(CloseMode::kDrain);
  });
  ASSERT_EQ(there.Send(Item{0, 0}, Slot::kData), Admission::kAdmitted);
  uint32_t turns = 0;
  ConsumeAll(back, [&](const Item& item) {
    ASSERT_EQ(item.number, turns++);
    if (turns < kTurns) {
      ASSERT_EQ(there.Send(Item{0, turns}, Slot::kData), Admission::kAdmitted);
    } else {
      there.gate().Close(CloseMode::kDrain);
    }
  });
  echo.join();
  EXPECT_EQ(turns, kTurns);
}

TYPED_TEST(MailboxTest, ClosingAmongSendersAccountsForEveryMessage) {
  std::mt19937 random(20261121);
  for (int round = 0; round < 200 / kScale; ++round) {
    typename TestFixture::Box box({.data_count_max = 64});
    std::atomic<uint64_t> admitted = 0;
    std::vector<std::thread> senders;
    for (int s = 0; s < 3; ++s) {
      senders.emplace_back([&] {
        for (uint32_t i = 0; i < 500; ++i) {
          const Admission admission = box.Send(Item{0, i}, Slot::kData);
          if (admission == Admission::kAdmitted) admitted.fetch_add(1);
          if (admission == Admission::kClosed) return;
        }
      });
    }
    const uint64_t close_at = random() % 800;
    std::thread closer([&] {
      while (box.gate().accepted() < close_at && admitted < 1400) std::this_thread::yield();
      box.gate().Close(CloseMode::kDrain);
    });
    uint64_t handled = 0;
    // Senders give up when all their tries are refused as full, so the closer must not wait for
    // them for ever: whoever is last closes.
    std::thread joiner([&] {
      for (std::thread& sender : senders) sender.join();
      box.gate().Close(CloseMode::kDrain);
      admitted.fetch_add(1'000'000);
    });
    ConsumeAll(box, [&](const Item&) { ++handled; });
    joiner.join();
    closer.join();
    EXPECT_EQ(handled, admitted - 1'000'000);
    EXPECT_EQ(box.gate().accepted(), handled);
  }
}

TEST(MoodycamelMailboxTest, ShortLivedSendersLeaveNothingBehind) {
  constexpr int kThreads = 100'000 / kScale / kScale;
  Mailbox<Item, MoodycamelQueue> box(kRoomy);
  Batch<Item> batch(64);
  uint64_t seen = 0;
  // The queue keeps a list of its senders, told apart by the address of a thread-local variable. It
  // stays short because addresses of ended threads are used again.
  static thread_local char address_of_thread;
  std::set<const void*> addresses;
  for (int i = 0; i < kThreads; ++i) {
    std::thread([&] {
      addresses.insert(&address_of_thread);
      ASSERT_EQ(box.Send(Item{}, Slot::kData), Admission::kAdmitted);
    }).join();
    batch.Constructed(box.Drain(batch.Space(), 64));
    SlotCounts counts;
    for (; batch.size() > 0; batch.PopFront(), ++seen) counts.Add(Slot::kData, 0);
    box.gate().Release(counts);
  }
  EXPECT_EQ(seen, uint64_t{kThreads});
  EXPECT_LT(addresses.size(), 16u);
}

// Counts how often a sender looks for room; the third time there is some. Owned by its thread.
class LookCounter final : public WaitDriver {
 public:
  explicit LookCounter(absl::AnyInvocable<void()> make_room)
      : make_room_(std::move(make_room)), before_(SetWaitDriver(this)) {}
  ~LookCounter() override { SetWaitDriver(before_); }
  int count = 0;
  void RunUntil(absl::FunctionRef<bool()> ready, MonotonicTime /*deadline*/,
                std::string_view /*what*/) override {
    if (ready()) ++woken_by_itself;
    if (++count == 3) make_room_();
  }
  MonotonicTime Now() const override { return MonotonicTime(); }
  int woken_by_itself = 0;

 private:
  absl::AnyInvocable<void()> make_room_;
  WaitDriver* const before_;
};

// It had given back the bytes that it held in passing, and so woken everyone who waits: itself.
TYPED_TEST(MailboxTest, SenderThatWaitsForASlotIsNotWokenByItsOwnBytes) {
  typename TestFixture::Box box({.data_count_max = 1, .data_bytes_max = 100});
  ASSERT_EQ(box.Send(Item{0, 0}, Slot::kData, 10), Admission::kAdmitted);
  LookCounter looks([&] {
    SlotCounts counts;
    counts.Add(Slot::kData, 10);
    box.gate().Release(counts);
  });
  EXPECT_EQ(box.SendUntil(Item{0, 1}, Slot::kData, 10, MonotonicTime::Infinite()),
            Admission::kAdmitted);
  EXPECT_EQ(looks.count, 3);
  EXPECT_EQ(looks.woken_by_itself, 0);
}

// Lanes chosen by a seed. Owned by the test's thread.
class SeededSelector final : public LaneSelector {
 public:
  explicit SeededSelector(uint32_t seed) : random_(seed) {}
  uint32_t sender = 0;
  uint32_t SenderLane() override { return sender; }
  size_t Choose(absl::Span<const uint32_t> waiting) override { return random_() % waiting.size(); }
  size_t BatchSize(size_t max) override { return 1 + random_() % max; }

 private:
  std::mt19937 random_;
};

TYPED_TEST(MailboxTest, SelectorGivesOrdersThatThreadsCouldGive) {
  std::set<std::string> orders;
  for (uint32_t seed = 0; seed < 20; ++seed) {
    typename TestFixture::Box box(kRoomy);
    SeededSelector selector(seed);
    box.SetLaneSelector(&selector);
    for (uint32_t i = 0; i < 5; ++i) {
      for (selector.sender = 0; selector.sender < 3; ++selector.sender) {
        ASSERT_EQ(box.Send(Item{selector.sender, i}, Slot::kData), Admission::kAdmitted);
      }
    }
    box.gate().Close(CloseMode::kDrain);
    std::string order;
    uint32_t next[3] = {0, 0, 0};
    ConsumeAll(box, [&](const Item& item) {
      EXPECT_EQ(item.number, next[item.sender]++);
      order += static_cast<char>('a' + item.sender);
    });
    EXPECT_EQ(order.size(), 15u);
    orders.insert(order);
  }
  EXPECT_GT(orders.size(), 10u);
}

// A producer is a sender of its own, whatever thread it belongs to.
TYPED_TEST(MailboxTest, SelectorMayReorderWhatTravelsThroughAProducerAndWhatDoesNot) {
  std::set<std::string> orders;
  for (uint32_t seed = 0; seed < 100; ++seed) {
    typename TestFixture::Box box(kRoomy);
    SeededSelector selector(seed);
    box.SetLaneSelector(&selector);
    auto producer = box.MakeProducer();
    ASSERT_EQ(box.Send(Item{0, 0}, Slot::kData), Admission::kAdmitted);
    for (uint32_t i = 0; i < 3; ++i) {
      ASSERT_EQ(box.Send(producer, Item{1, i}, Slot::kData), Admission::kAdmitted);
    }
    box.gate().Close(CloseMode::kDrain);
    std::string order;
    uint32_t next[2] = {0, 0};
    ConsumeAll(box, [&](const Item& item) {
      EXPECT_EQ(item.number, next[item.sender]++);
      order += static_cast<char>('a' + item.sender);
    });
    EXPECT_EQ(order.size(), 4u);
    orders.insert(order);
  }
  EXPECT_EQ(orders.size(), 4u);
}

TEST(MutexMailboxTest, SelectorSeesWhatIsSentInBulk) {
  Mailbox<Item, MutexQueue> box(kRoomy);
  SeededSelector selector(1);
  box.SetLaneSelector(&selector);
  auto producer = box.MakeProducer();
  Item bulk[] = {{1, 0}, {1, 1}};
  ASSERT_EQ(box.SendBulk(producer, bulk, 2), Admission::kAdmitted);
  box.gate().Close(CloseMode::kDrain);
  uint32_t next = 0;
  ConsumeAll(box, [&](const Item& item) { EXPECT_EQ(item.number, next++); });
  EXPECT_EQ(next, 2u);
}

TEST(MoodycamelMailboxTest, BusySenderDoesNotStarveAnother) {
  Mailbox<Item, MoodycamelQueue> box(kRoomy);
  auto hot = box.MakeProducer();
  auto slow = box.MakeProducer();
  for (uint32_t i = 0; i < 10'000; ++i) {
    ASSERT_EQ(box.Send(hot, Item{0, i}, Slot::kData), Admission::kAdmitted);
  }
  ASSERT_EQ(box.Send(slow, Item{1, 0}, Slot::kData), Admission::kAdmitted);
  box.gate().Close(CloseMode::kDrain);
  uint32_t position = 0, found_at = 0;
  ConsumeAll(box, [&](const Item& item) {
    ++position;
    if (item.sender == 1) found_at = position;
  });
  EXPECT_EQ(position, 10'001u);
  EXPECT_LE(found_at, 1024u);  // The consumer token moves on every 256 elements.
}

// A queue whose Push stops between admission and enqueue until told to go on, and then succeeds or
// fails. Thread-safe.
absl::Notification* stalled = nullptr;
absl::Notification* go_on = nullptr;
bool push_fails = false;

template <typename Queue>
class StallingQueue : public Queue {
 public:
  using Queue::Queue;
  template <typename E>
  bool Push(E&& element) {
    stalled->Notify();
    go_on->WaitForNotification();
    return !push_fails && Queue::Push(std::forward<E>(element));
  }
};
template <typename E>
using StallingMutexQueue = StallingQueue<MutexQueue<E>>;
template <typename E>
using StallingMoodycamelQueue = StallingQueue<MoodycamelQueue<E>>;

template <template <typename> class Queue>
void CloseBesideAStalledSender(bool fails) {
  absl::Notification at_push, proceed;
  stalled = &at_push;
  go_on = &proceed;
  push_fails = fails;
  Mailbox<Item, Queue> box(kRoomy);
  std::thread sender([&] {
    EXPECT_EQ(box.Send(Item{0, 1}, Slot::kData),
              fails ? Admission::kNoMemory : Admission::kAdmitted);
  });
  at_push.WaitForNotification();
  box.gate().Close(CloseMode::kDrain);
  // The consumer by hand: nothing to take, not the end yet, so it is about to sleep.
  Batch<Item> batch(4);
  EXPECT_EQ(box.Drain(batch.Space(), 4), 0u);
  EXPECT_FALSE(box.gate().TryFinish(0));
  box.gate().PrepareWait();
  EXPECT_EQ(box.Drain(batch.Space(), 4), 0u);
  EXPECT_FALSE(box.gate().TryFinish(0));
  std::thread releaser([&] { proceed.Notify(); });
  box.gate().Wait(MonotonicTime::Infinite());
  sender.join();
  releaser.join();
  uint64_t seen = 0;
  const uint64_t sleeps = ConsumeAll(box, [&](const Item& item) { seen += item.number; });
  EXPECT_EQ(seen, fails ? 0u : 1u);
  EXPECT_EQ(sleeps, 0u);
  EXPECT_EQ(box.gate().accepted(), seen);
}

class StalledSenderTest : public ::testing::TestWithParam<bool> {};

TEST_P(StalledSenderTest, ClosingWaitsForHimAsleepAndLosesNothing) {
  CloseBesideAStalledSender<StallingMutexQueue>(GetParam());
}
TEST_P(StalledSenderTest, ClosingWaitsForHimOnMoodycamelToo) {
  CloseBesideAStalledSender<StallingMoodycamelQueue>(GetParam());
}

INSTANTIATE_TEST_SUITE_P(PushSucceedsOrFails, StalledSenderTest, ::testing::Bool());

}  // namespace
}  // namespace millrace
