#include "bench/mailbox_rivals.h"

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <string>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include <concurrentqueue.h>

#include "millrace/runtime/clock.h"
#include "millrace/runtime/consumer_pace.h"
#include "millrace/runtime/futex.h"
#include "millrace/runtime/short_poll.h"

namespace millrace {
namespace {

using Queue = moodycamel::ConcurrentQueue<BenchMessage>;
constexpr size_t kBulk = 64;

// One word: asleep or not. Notify after publishing; Prepare, look again, Sleep. Thread-safe.
class EventCount {
 public:
  void Notify() {
    if (word_.exchange(0, std::memory_order_acq_rel) == 1) SystemSync::WakeOne(&word_);
  }
  void Prepare() { word_.exchange(1, std::memory_order_acq_rel); }
  void Cancel() { word_.store(0, std::memory_order_release); }
  void Sleep() { SystemSync::Wait(word_, 1, MonotonicTime::Infinite()); }

 private:
  alignas(64) std::atomic<uint32_t> word_{0};
};

// A word that one side sets and the other takes, with polls and then a futex. Thread-safe.
class Handoff {
 public:
  void Set() {
    if (word_.exchange(kSet, std::memory_order_acq_rel) == kAsleep) SystemSync::WakeOne(&word_);
  }
  void Take() {
    poll_.Try([this] { return word_.load(std::memory_order_acquire) == kSet; });
    uint32_t seen = kEmpty;
    if (word_.compare_exchange_strong(seen, kAsleep, std::memory_order_acq_rel)) {
      while (word_.load(std::memory_order_acquire) != kSet) {
        SystemSync::Wait(word_, kAsleep, MonotonicTime::Infinite());
      }
    }
    word_.store(kEmpty, std::memory_order_release);
  }

 private:
  static constexpr uint32_t kEmpty = 0, kSet = 1, kAsleep = 2;
  alignas(64) std::atomic<uint32_t> word_{kEmpty};
  alignas(64) ShortPoll poll_;  // The taker's.
};

}  // namespace

void Pause(int64_t nanoseconds) {
  const std::atomic<uint32_t> word{0};
  const MonotonicTime until = SystemClock().Now() + absl::Nanoseconds(nanoseconds);
  while (SystemClock().Now() < until) SystemSync::Wait(word, 0, until);
}

absl::Status OrderCheck::Finish(uint64_t per_sender) const {
  if (wrong_ || seen_ != per_sender * next_.size()) {
    return absl::InternalError(
        absl::StrCat("messages lost or out of order: ", seen_, " of ", per_sender * next_.size()));
  }
  return absl::OkStatus();
}

double MeasureRate(int senders, uint64_t per_sender, absl::AnyInvocable<void(int)> send,
                   absl::AnyInvocable<void()> consume) {
  std::atomic<int> ready = 0;
  std::atomic<bool> go = false;
  std::vector<std::thread> threads;
  for (int s = 0; s < senders; ++s) {
    threads.emplace_back([&, s] {
      ready.fetch_add(1);
      while (!go.load()) std::this_thread::yield();
      send(s);
    });
  }
  while (ready.load() < senders) std::this_thread::yield();
  const MonotonicTime begin = SystemClock().Now();
  go.store(true);
  consume();
  const absl::Duration elapsed = SystemClock().Now() - begin;
  for (std::thread& thread : threads) thread.join();
  return static_cast<double>(per_sender) * senders / absl::ToDoubleSeconds(elapsed);
}

BenchResult RateResult(const OrderCheck& check, uint64_t per_sender, double rate) {
  if (absl::Status status = check.Finish(per_sender); !status.ok()) return status;
  return std::vector<BenchMetric>{{.name = "per_second", .unit = "messages/s", .value = rate}};
}

BenchResult RoundTripResult(std::vector<double> nanoseconds) {
  const double p50 = PercentileOf(nanoseconds, 0.5) / 1000;
  const double p99 = PercentileOf(nanoseconds, 0.99) / 1000;
  return std::vector<BenchMetric>{{.name = "p50_us", .unit = "us", .value = p50},
                                  {.name = "p99_us", .unit = "us", .value = p99}};
}

BenchResult RunLimit(int senders, uint64_t per_sender) {
  Queue queue;
  OrderCheck check(senders);
  const double rate = MeasureRate(
      senders, per_sender,
      [&](int sender) {
        moodycamel::ProducerToken token(queue);
        std::array<BenchMessage, kBulk> bulk;
        for (uint64_t i = 0; i < per_sender; i += kBulk) {
          const size_t count = std::min<uint64_t>(kBulk, per_sender - i);
          for (size_t k = 0; k < count; ++k) {
            bulk[k].sender = static_cast<uint64_t>(sender);
            bulk[k].number = i + k;
          }
          queue.enqueue_bulk(token, bulk.begin(), count);
        }
      },
      [&] {
        moodycamel::ConsumerToken token(queue);
        std::vector<BenchMessage> batch(256);
        while (check.seen() < per_sender * static_cast<uint64_t>(senders)) {
          const size_t count = queue.try_dequeue_bulk(token, batch.begin(), batch.size());
          for (size_t i = 0; i < count; ++i) check.See(batch[i]);
        }
      });
  return RateResult(check, per_sender, rate);
}

BenchResult RunPrototype(int senders, uint64_t per_sender) {
  Queue queue;
  EventCount event;
  OrderCheck check(senders);
  const double rate = MeasureRate(
      senders, per_sender,
      [&](int sender) {
        moodycamel::ProducerToken token(queue);
        for (uint64_t i = 0; i < per_sender; ++i) {
          queue.enqueue(token, BenchMessage{.sender = static_cast<uint64_t>(sender), .number = i});
          event.Notify();
        }
      },
      [&] {
        moodycamel::ConsumerToken token(queue);
        std::vector<BenchMessage> batch(256);
        ConsumerPace pace;
        const auto take = [&] {
          const size_t count = queue.try_dequeue_bulk(token, batch.begin(), batch.size());
          for (size_t i = 0; i < count; ++i) check.See(batch[i]);
          return static_cast<uint32_t>(count);
        };
        while (check.seen() < per_sender * static_cast<uint64_t>(senders)) {
          if (const uint32_t count = take(); count > 0) {
            pace.Found(count);
            continue;
          }
          if (pace.Poll([&] { return queue.size_approx() > 0; })) continue;
          event.Prepare();
          if (take() > 0) {
            event.Cancel();
          } else {
            event.Sleep();
          }
        }
      });
  return RateResult(check, per_sender, rate);
}

BenchResult RunMutexSwap(int senders, uint64_t per_sender) {
  std::mutex mutex;
  std::condition_variable filled;
  std::vector<BenchMessage> queue;
  bool asleep = false;
  OrderCheck check(senders);
  const double rate = MeasureRate(
      senders, per_sender,
      [&](int sender) {
        for (uint64_t i = 0; i < per_sender; ++i) {
          bool wake;
          {
            std::lock_guard lock(mutex);
            queue.push_back({.sender = static_cast<uint64_t>(sender), .number = i});
            wake = std::exchange(asleep, false);
          }
          if (wake) filled.notify_one();
        }
      },
      [&] {
        std::vector<BenchMessage> batch;
        while (check.seen() < per_sender * static_cast<uint64_t>(senders)) {
          {
            std::unique_lock lock(mutex);
            while (queue.empty()) {
              asleep = true;
              filled.wait(lock);
            }
            batch.swap(queue);
          }
          for (const BenchMessage& message : batch) check.See(message);
          batch.clear();
        }
      });
  return RateResult(check, per_sender, rate);
}

#ifdef MILLRACE_RUST_MPSC
bool HasRust() {
  return true;
}

BenchResult RunRust(int senders, uint64_t per_sender) {
  const std::string command = absl::StrCat(MILLRACE_RUST_MPSC, " ", senders, " ", per_sender);
  std::FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return absl::UnavailableError("cannot run the Rust program");
  char line[64] = {};
  const bool read = std::fgets(line, sizeof(line), pipe) != nullptr;
  double rate = 0;
  if (pclose(pipe) != 0 || !read || !absl::SimpleAtod(line, &rate)) {
    return absl::InternalError("the Rust program failed");
  }
  return std::vector<BenchMetric>{{.name = "per_second", .unit = "messages/s", .value = rate}};
}
#else
bool HasRust() {
  return false;
}
BenchResult RunRust(int, uint64_t) {
  return absl::UnimplementedError("built without rustc");
}
#endif

BenchResult RunPrototypeRoundTrip(uint64_t rounds, int64_t pause_ns) {
  Handoff there, back;
  uint64_t value = 0;
  std::thread answerer([&] {
    for (uint64_t i = 0; i < rounds; ++i) {
      there.Take();
      ++value;
      back.Set();
    }
  });
  std::vector<double> samples;
  samples.reserve(rounds);
  for (uint64_t i = 0; i < rounds; ++i) {
    if (pause_ns > 0) Pause(pause_ns);
    const MonotonicTime begin = SystemClock().Now();
    there.Set();
    back.Take();
    samples.push_back(absl::ToDoubleNanoseconds(SystemClock().Now() - begin));
  }
  answerer.join();
  if (value != rounds) return absl::InternalError("round trips were lost");
  return RoundTripResult(std::move(samples));
}

}  // namespace millrace
