// What does a message cost? Rates of 64-byte messages from 1, 2 and 4 threads to one consumer, and
// the round trip of a question to an actor and its answer.

#include <array>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "bench/harness.h"
#include "bench/mailbox_rivals.h"

#include "millrace/runtime/actor.h"
#include "millrace/runtime/consumer_pace.h"
#include "millrace/runtime/mailbox.h"
#include "millrace/runtime/runtime.h"

namespace millrace {
namespace {

constexpr MailboxLimits kLimits = {.data_count_max = 1u << 16};
constexpr uint32_t kBulk = 64;

// Consumes as an actor's thread does: drain, handle, release, pace, park; until closed and empty.
template <typename Box>
void Consume(Box& box, OrderCheck& check) {
  Batch<BenchMessage> batch(256);
  ConsumerPace pace;
  uint64_t taken = 0;
  const auto take = [&] {
    const size_t count = box.Drain(batch.Space(), batch.capacity());
    batch.Constructed(count);
    taken += count;
    for (; batch.size() > 0; batch.PopFront()) check.See(batch[0]);
    if (count > 0) box.gate().Release({.data = static_cast<uint32_t>(count)});
    return static_cast<uint32_t>(count);
  };
  for (;;) {
    if (const uint32_t count = take(); count > 0) {
      pace.Found(count);
      continue;
    }
    if (pace.Poll([&] { return box.gate().depth() > 0; })) continue;
    if (box.gate().TryFinish(taken)) return;
    box.gate().PrepareWait();
    if (take() > 0) {
      box.gate().CancelWait();
    } else if (box.gate().TryFinish(taken)) {
      return;
    } else {
      box.gate().Wait(MonotonicTime::Infinite());
    }
  }
}

template <template <typename> class Queue>
BenchResult RunMailbox(int senders, uint64_t per_sender, bool bulk) {
  Mailbox<BenchMessage, Queue> box(kLimits);
  OrderCheck check(senders);
  std::atomic<int> left = senders;
  const auto send_one_by_one = [&](int sender) {
    auto producer = box.MakeProducer();
    for (uint64_t i = 0; i < per_sender; ++i) {
      BenchMessage message{.sender = static_cast<uint64_t>(sender), .number = i};
      if (box.Send(producer, std::move(message), Slot::kData) == Admission::kAdmitted) continue;
      // Full: wait for room, as a client would.
      box.SendUntil(producer, std::move(message), Slot::kData, 0, MonotonicTime::Infinite());
    }
  };
  const auto send_bulk = [&](int sender) {
    auto producer = box.MakeProducer();
    std::array<BenchMessage, kBulk> messages;
    for (uint64_t i = 0; i < per_sender; i += kBulk) {
      const uint32_t count = static_cast<uint32_t>(std::min<uint64_t>(kBulk, per_sender - i));
      for (uint32_t k = 0; k < count; ++k) {
        messages[k].sender = static_cast<uint64_t>(sender);
        messages[k].number = i + k;
      }
      while (box.SendBulk(producer, messages.data(), count) != Admission::kAdmitted) {
        std::this_thread::yield();
      }
    }
  };
  const double rate = MeasureRate(
      senders, per_sender,
      [&](int sender) {
        bulk ? send_bulk(sender) : send_one_by_one(sender);
        if (left.fetch_sub(1) == 1) box.gate().Close(CloseMode::kDrain);
      },
      [&] { Consume(box, check); });
  return RateResult(check, per_sender, rate);
}

struct Pong {
  uint64_t number = 0;
};
struct Ping {
  using ReplyType = Pong;
  uint64_t number = 0;
};

// Answers at once. Owned by its thread.
class Ponger final : public Actor<Ponger, Ping> {
 public:
  Ponger() : Actor({.name = "ponger"}) {}

 private:
  friend Actor;
  void Handle(Ping ping, Reply<Pong> reply) { reply.Send(Pong{ping.number}); }
};

BenchResult RunActorRoundTrip(uint64_t rounds, int64_t pause_ns) {
  Ponger ponger;
  Runtime runtime({});
  runtime.Add(ponger);
  if (absl::Status status = runtime.Start(); !status.ok()) return status;
  std::vector<double> samples;
  samples.reserve(rounds);
  for (uint64_t i = 0; i < rounds; ++i) {
    if (pause_ns > 0) Pause(pause_ns);
    const MonotonicTime begin = SystemClock().Now();
    const absl::StatusOr<Pong> pong = ponger.Ask(Ping{i}).Wait();
    samples.push_back(absl::ToDoubleNanoseconds(SystemClock().Now() - begin));
    if (!pong.ok() || pong->number != i) return absl::InternalError("a wrong answer");
  }
  if (!runtime.Shutdown().Balanced()) return absl::InternalError("the report does not add up");
  return RoundTripResult(std::move(samples));
}

void AddRates(BenchSuite& suite, int senders) {
  const std::string name = absl::StrCat("producers=", senders);
  const auto each = static_cast<uint64_t>(suite.Scale(4'000'000, 20'000) / senders);
  suite.Add(name, "limit", [=] { return RunLimit(senders, each); });
  suite.Add(name, "millrace", [=] { return RunMailbox<MoodycamelQueue>(senders, each, true); });
  suite.Add(name, "millrace-single",
            [=] { return RunMailbox<MoodycamelQueue>(senders, each, false); });
  suite.Add(name, "prototype", [=] { return RunPrototype(senders, each); });
  suite.Add(name, "mutex-swap", [=] { return RunMutexSwap(senders, each); });
  suite.Add(name, "millrace-mutex", [=] { return RunMailbox<MutexQueue>(senders, each, false); });
  if (HasRust()) suite.Add(name, "rust-mpsc", [=] { return RunRust(senders, each); });
  const auto goal = [&](const char* system, const char* rival, double at_least) {
    suite.Goal({.case_name = name,
                .metric = "per_second",
                .system = system,
                .rival = rival,
                .at_least = at_least});
  };
  goal("millrace", "limit", 0.6);
  goal("millrace-single", "limit", 0.6);
  goal("millrace-mutex", "mutex-swap", 0.9);
  if (senders == 1) goal("millrace-single", "rust-mpsc", 2.0);
}

void AddRoundTrips(BenchSuite& suite, const std::string& name, int64_t pause_ns) {
  const auto rounds = static_cast<uint64_t>(suite.Scale(pause_ns > 0 ? 2'000 : 100'000, 100));
  suite.Add(name, "prototype", [=] { return RunPrototypeRoundTrip(rounds, pause_ns); });
  suite.Add(name, "millrace", [=] { return RunActorRoundTrip(rounds, pause_ns); });
  suite.Goal({.case_name = name,
              .metric = "p50_us",
              .system = "millrace",
              .rival = "prototype",
              .at_most = 1.1});
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  millrace::BenchSuite suite("mailbox", argc, argv);
  for (int senders : {1, 2, 4}) millrace::AddRates(suite, senders);
  millrace::AddRoundTrips(suite, "round-trip", 0);
  millrace::AddRoundTrips(suite, "round-trip parked", 100'000);
  return suite.Run();
}
