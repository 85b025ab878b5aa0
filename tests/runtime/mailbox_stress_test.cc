// Mailboxes of random limits under senders of every kind, who wait, give up, and are closed upon:
// no message is lost, none comes twice or out of its sender's order, and nobody sleeps for ever.
// For a moment in every test run; ./run stress MINUTES goes on, under TSan.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <random>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "gtest/gtest.h"

#include "millrace/runtime/envelope.h"
#include "millrace/runtime/mailbox.h"

namespace millrace {
namespace {

struct Item {
  uint32_t sender = 0;
  uint32_t number = 0;
  uint64_t bytes = 0;
  Slot slot = Slot::kData;
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
class MailboxStressTest : public ::testing::Test {
 protected:
  using Box = Mailbox<Item, Backend::template Queue>;
  static constexpr uint32_t kSenders = 4;
  static constexpr uint32_t kMessagesMax = 400;

  // One mailbox, from its first message to its end.
  void RunRound(uint64_t seed) {
    std::mt19937_64 random(seed);
    const MailboxLimits limits = {.data_count_max = 1 + static_cast<uint32_t>(random() % 64),
                                  .control_count_max = 1 + static_cast<uint32_t>(random() % 4),
                                  .data_bytes_max = 100 + random() % 1'000};
    Box box(limits);
    std::vector<uint64_t> admitted(kSenders);
    std::atomic<uint32_t> senders_left = kSenders;
    std::vector<std::thread> threads;
    threads.reserve(kSenders + 1);
    for (uint32_t sender = 0; sender < kSenders; ++sender) {
      threads.emplace_back([&, sender, seed = random()] {
        admitted[sender] = SendAll(box, sender, seed);
        senders_left.fetch_sub(1);
      });
    }
    // Among them, or behind the last; twice does no harm.
    const uint64_t close_at = random() % (kSenders * kMessagesMax);
    const CloseMode mode = random() % 2 == 0 ? CloseMode::kDrain : CloseMode::kDiscard;
    threads.emplace_back([&] {
      while (box.gate().accepted() < close_at && senders_left > 0) std::this_thread::yield();
      box.gate().Close(mode);
      box.gate().Close(CloseMode::kDrain);
    });
    const std::vector<uint64_t> taken = TakeAll(box, random());
    for (std::thread& thread : threads) thread.join();
    uint64_t total = 0;
    for (uint32_t sender = 0; sender < kSenders; ++sender) {
      ASSERT_EQ(taken[sender], admitted[sender]) << "sender " << sender << ", seed " << seed;
      total += taken[sender];
    }
    ASSERT_EQ(box.gate().accepted(), total) << "seed " << seed;
    ASSERT_EQ(box.Send(Item{}, Slot::kData), Admission::kClosed);
    message_count_ += total;
  }

  // Each sender is of one kind: refused, waiting for room until a deadline, with slots of its own,
  // or control. Returns how many were admitted.
  static uint64_t SendAll(Box& box, uint32_t sender, uint64_t seed) {
    std::mt19937_64 random(seed);
    auto producer = box.MakeProducer();
    uint32_t number = 0;
    for (uint32_t i = random() % kMessagesMax; i > 0; --i) {
      const uint64_t bytes = sender < 2 ? random() % 100 : 0;
      Item item{.sender = sender, .number = number, .bytes = bytes};
      Admission admission = Admission::kClosed;
      switch (sender) {
        case 0:
          admission = box.Send(std::move(item), Slot::kData, bytes);
          break;
        case 1:
          admission = box.SendUntil(
              std::move(item), Slot::kData, bytes,
              SystemClock().Now() + absl::Microseconds(static_cast<int64_t>(random() % 200)));
          break;
        case 2:
          item.slot = Slot::kReserved;
          admission = box.Send(producer, std::move(item), Slot::kReserved);
          break;
        default:
          item.slot = Slot::kControl;
          admission = box.Send(std::move(item), Slot::kControl);
      }
      if (admission == Admission::kClosed) break;
      if (admission == Admission::kAdmitted) ++number;
    }
    return number;
  }

  // To the end, in batches of any size; how many came of each sender.
  static std::vector<uint64_t> TakeAll(Box& box, uint64_t seed) {
    std::mt19937_64 random(seed);
    Batch<Item> batch(64);
    std::vector<uint64_t> counts(kSenders);
    uint64_t taken = 0;
    const auto take = [&] {
      const size_t count = box.Drain(batch.Space(), 1 + random() % batch.capacity());
      batch.Constructed(count);
      taken += count;
      SlotCounts released;
      for (; batch.size() > 0; batch.PopFront()) {
        EXPECT_EQ(batch[0].number, counts[batch[0].sender]++) << "of " << batch[0].sender;
        released.Add(batch[0].slot, batch[0].bytes);
      }
      if (count > 0) box.gate().Release(released);
      return count > 0;
    };
    for (;;) {
      if (take()) continue;
      if (box.gate().TryFinish(taken)) return counts;
      box.gate().PrepareWait();
      if (take()) {
        box.gate().CancelWait();
      } else if (box.gate().TryFinish(taken)) {
        return counts;
      } else {
        box.gate().Wait(MonotonicTime::Infinite());
      }
    }
  }

  uint64_t message_count_ = 0;
};
using Backends = ::testing::Types<Moodycamel, Locked>;
TYPED_TEST_SUITE(MailboxStressTest, Backends);

TYPED_TEST(MailboxStressTest, EveryMessageComesOnceAndInOrder) {
  const char* const minutes = std::getenv("MILLRACE_STRESS_MINUTES");
  const absl::Time end =
      absl::Now() + absl::Minutes(minutes == nullptr ? 0 : std::strtoll(minutes, nullptr, 10)) / 2;
  const uint64_t first = std::random_device()();
  uint64_t round = 0;
  for (; round < 100 || absl::Now() < end; ++round) {
    ASSERT_NO_FATAL_FAILURE(this->RunRound(first + round));
    if (this->HasFailure()) return;
  }
  std::cout << round << " mailboxes, " << this->message_count_ << " messages" << std::endl;
}

}  // namespace
}  // namespace millrace
