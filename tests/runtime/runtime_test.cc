#include "millrace/runtime/runtime.h"

#include <pthread.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"
#include "tests/runtime/probe_actor.h"
#include <dirent.h>

#include "millrace/testing/manual_clock.h"

namespace millrace {
namespace {

size_t EntriesOf(const char* directory) {
  size_t count = 0;
  DIR* dir = opendir(directory);
  while (readdir(dir) != nullptr) ++count;
  closedir(dir);
  return count;
}

// The kernel strikes a thread off the list a moment after it can be joined.
void ExpectThreads(size_t count) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (EntriesOf("/proc/self/task") > count && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
  }
  EXPECT_EQ(EntriesOf("/proc/self/task"), count);
}

TEST(RuntimeTest, StartsInOrderAndStopsInTheDeclaredOrder) {
  Probe a({.name = "a"}), b({.name = "b"}), c({.name = "c"});
  std::vector<std::string> events;  // Appended to by one thread at a time.
  for (Probe* probe : {&a, &b, &c}) {
    probe->on_start = [&events, probe] { events.push_back("start " + probe->name()); };
    probe->on_stop = [&events, probe] { events.push_back("stop " + probe->name()); };
  }
  Runtime runtime({});
  for (Probe* probe : {&a, &b, &c}) runtime.Add(*probe);
  std::vector<StopStep> steps;
  steps.push_back({.name = "b", .actors = {&b}, .then = [&] { events.push_back("then"); }});
  steps.push_back({.name = "a", .actors = {&a}});
  runtime.SetStopOrder(std::move(steps));
  ASSERT_TRUE(runtime.Start().ok());
  const ShutdownReport report = runtime.Shutdown();
  EXPECT_EQ(events, (std::vector<std::string>{"start a", "start b", "start c", "stop b", "then",
                                              "stop a", "stop c"}));
  ASSERT_EQ(report.actors.size(), 3u);
  EXPECT_EQ(report.actors[0].name, "b");
  EXPECT_TRUE(report.within_deadline);
}

TEST(RuntimeTest, OnStopMaySendToActorsThatStopLater) {
  Probe first({.name = "first"}), last({.name = "last"});
  first.on_stop = [&] { EXPECT_TRUE(last.Tell(Note{1}).ok()); };
  Runtime runtime({});
  runtime.Add(last);
  runtime.Add(first);
  ASSERT_TRUE(runtime.Start().ok());
  runtime.Shutdown();
  EXPECT_TRUE(absl::StrContains(last.TakeTranscript(), "note1"));
}

TEST(RuntimeTest, ActorThatCannotStartFailsTheStartAndLeaksNothing) {
  std::thread([] {}).join();  // What the first thread of a process opens stays open.
  const size_t files = EntriesOf("/proc/self/fd"), threads = EntriesOf("/proc/self/task");
  for (int i = 0; i < 10; ++i) {
    Probe a({.name = "a"}), b({.name = "b"}), c({.name = "c"});
    b.start_status = absl::DataLossError("bad tree");
    Pending<Done> early = c.Ask(Echo{1});
    Runtime runtime({});
    for (Probe* probe : {&a, &b, &c}) runtime.Add(*probe);
    const absl::Status status = runtime.Start();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_EQ(status.message(), "bad tree");
    EXPECT_EQ(a.TakeTranscript(), "start closing | stop");
    EXPECT_EQ(b.TakeTranscript(), "start");
    EXPECT_EQ(c.TakeTranscript(), "");
    EXPECT_EQ(early.Wait().status().code(), absl::StatusCode::kCancelled);
    EXPECT_EQ(runtime.Shutdown().actors.size(), 3u);
    EXPECT_EQ(runtime.Start().code(), absl::StatusCode::kFailedPrecondition);
  }
  EXPECT_EQ(EntriesOf("/proc/self/fd"), files);
  ExpectThreads(threads);
}

TEST(RuntimeTest, ConcurrentShutdownsGetTheSameReport) {
  Probe probe({.name = "probe"});
  Runtime runtime({});
  runtime.Add(probe);
  ASSERT_TRUE(runtime.Start().ok());
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(probe.Tell(Note{i}).ok());
  std::vector<std::string> reports(4);
  std::vector<std::thread> callers;
  for (std::string& report : reports) {
    callers.emplace_back([&] { report = runtime.Shutdown().ToString(); });
  }
  for (std::thread& caller : callers) caller.join();
  for (const std::string& report : reports) EXPECT_EQ(report, reports[0]);
  EXPECT_EQ(runtime.Shutdown().Find("probe")->handled, 100u);
}

TEST(RuntimeTest, PastTheDeadlineTheQueueIsDiscardedAndTheWaitGoesOn) {
  Probe probe({.name = "probe", .batch_max = 1});
  Runtime runtime({.log_interval = absl::Milliseconds(1)});
  runtime.Add(probe);
  ASSERT_TRUE(runtime.Start().ok());
  absl::Notification entered, leave;
  ASSERT_TRUE(probe
                  .Tell(Call{[&] {
                    entered.Notify();
                    leave.WaitForNotification();
                  }})
                  .ok());
  entered.WaitForNotification();
  Pending<Done> waiter = probe.Ask(Echo{1});
  std::thread stopper([&] {
    const ShutdownReport report = runtime.Shutdown(absl::ZeroDuration());
    EXPECT_FALSE(report.within_deadline);
    EXPECT_TRUE(report.Balanced()) << report.ToString();
    EXPECT_EQ(report.Find("probe")->discarded, 1u);
  });
  while (!probe.discarding()) std::this_thread::yield();
  std::thread releaser([&] { leave.Notify(); });
  const absl::StatusOr<Done> answer = waiter.Wait();
  stopper.join();
  releaser.join();
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kCancelled);
}

TEST(RuntimeTest, EscalationStopsEveryActorWhereThatIsAskedFor) {
  std::thread([] {}).join();  // TSan starts one of its own with the first.
  const size_t threads = EntriesOf("/proc/self/task");
  Probe a({.name = "a"}), b({.name = "b"});
  absl::Notification told, stopped;
  a.on_stop = [&] { stopped.Notify(); };
  {
    Runtime runtime({.on_escalate = [&](Cell&, const absl::Status&) { told.Notify(); },
                     .stop_on_escalate = true});
    runtime.Add(a);
    runtime.Add(b);
    ASSERT_TRUE(runtime.Start().ok());
    ASSERT_TRUE(b.Tell(Break{"broken"}).ok());
    stopped.WaitForNotification();
    EXPECT_TRUE(told.HasBeenNotified());
    EXPECT_EQ(runtime.Shutdown().Find("b")->last_error.message(), "broken");
  }
  ExpectThreads(threads);
}

// An actor may escalate while others are being started.
TEST(RuntimeTest, EscalationDuringTheStartStopsEveryActorToo) {
  Probe a({.name = "a"}), b({.name = "b"});
  absl::Notification told, stopped;
  b.on_start = [&] {
    ASSERT_TRUE(a.Tell(Break{"broken"}).ok());
    told.WaitForNotification();
  };
  b.on_stop = [&] { stopped.Notify(); };
  Runtime runtime({.on_escalate = [&](Cell&, const absl::Status&) { told.Notify(); },
                   .stop_on_escalate = true});
  runtime.Add(a);
  runtime.Add(b);
  ASSERT_TRUE(runtime.Start().ok());
  stopped.WaitForNotification();
}

TEST(RuntimeTest, ThreadsAreNamedAfterTheirActors) {
  Probe probe({.name = "a-rather-long-actor-name"});
  Runtime runtime({});
  runtime.Add(probe);
  ASSERT_TRUE(runtime.Start().ok());
  std::string name;
  absl::Notification done;
  ASSERT_TRUE(probe
                  .Tell(Call{[&] {
                    char buffer[16];
                    pthread_getname_np(pthread_self(), buffer, sizeof(buffer));
                    name = buffer;
                    done.Notify();
                  }})
                  .ok());
  done.WaitForNotification();
  EXPECT_EQ(name, "a-rather-long-a");
}

TEST(RuntimeTest, ThreadsAreAsNiceAsTheirActors) {
  Probe probe({.name = "nice", .niceness = 3});
  Runtime runtime({});
  runtime.Add(probe);
  ASSERT_TRUE(runtime.Start().ok());
  const int before = getpriority(PRIO_PROCESS, 0);
  int niceness = 0;
  absl::Notification done;
  ASSERT_TRUE(probe
                  .Tell(Call{[&] {
                    niceness = getpriority(PRIO_PROCESS, 0);  // Of the calling thread.
                    done.Notify();
                  }})
                  .ok());
  done.WaitForNotification();
  EXPECT_EQ(niceness, std::min(before + 3, 19));
  EXPECT_EQ(getpriority(PRIO_PROCESS, 0), before);
}

TEST(RuntimeTest, IdleActorsDoNotWake) {
  Probe probe({.name = "probe"});
  Runtime runtime({});
  runtime.Add(probe);
  ASSERT_TRUE(runtime.Start().ok());
  ASSERT_TRUE(probe.Ask(Echo{1}).Wait().ok());
  while (probe.Status().wakeups == 0) std::this_thread::yield();
  const uint64_t before = probe.Status().wakeups;
  // Another actor's thread works meanwhile: thousands of messages, none for the probe.
  Probe other({.name = "other"});
  Runtime second({});
  second.Add(other);
  ASSERT_TRUE(second.Start().ok());
  for (int i = 0; i < 2000; ++i) ASSERT_TRUE(other.Ask(Echo{i}).Wait().ok());
  EXPECT_LE(probe.Status().wakeups, before + 1);
}

TEST(RuntimeTest, TimersOfThreadsFollowAManualClock) {
  testing::ManualClock clock;
  Probe probe({.name = "probe", .clock = &clock});
  absl::Notification fired;
  probe.on_start = [&] { probe.SetTimer(1, absl::Hours(1)); };
  probe.on_timer = [&] { fired.Notify(); };
  clock.Watch(probe);
  Runtime runtime({});
  runtime.Add(probe);
  ASSERT_TRUE(runtime.Start().ok());
  clock.Advance(absl::Hours(2));
  fired.WaitForNotification();
}

TEST(RuntimeTest, EveryAcceptedRequestIsAnsweredUnderStartAndStop) {
  std::mt19937 random(20261121);
  uint64_t asked = 0, answered = 0;
  for (int round = 0; round < 100; ++round) {
    Probe probe({.name = "probe", .mailbox = {.data_count_max = 64}});
    Runtime runtime({});
    runtime.Add(probe);
    ASSERT_TRUE(runtime.Start().ok());
    std::atomic<uint64_t> round_asked = 0, round_answered = 0;
    std::vector<std::thread> clients;
    for (int c = 0; c < 3; ++c) {
      clients.emplace_back([&] {
        for (;;) {
          std::vector<Pending<Done>> pendings;
          for (int i = 0; i < 20; ++i) pendings.push_back(probe.Ask(Echo{i}));
          round_asked += pendings.size();
          bool stopped = false;
          for (Pending<Done>& pending : pendings) {
            const absl::StatusOr<Done> result = pending.Wait();
            ++round_answered;
            stopped |= result.status().code() == absl::StatusCode::kCancelled;
          }
          if (stopped) return;
        }
      });
    }
    const uint64_t stop_at = random() % 2000;
    while (round_answered < stop_at) std::this_thread::yield();
    const bool discard = random() % 2 == 0;
    if (discard) probe.Close(CloseMode::kDiscard);
    const ShutdownReport report = runtime.Shutdown();
    for (std::thread& client : clients) client.join();
    EXPECT_TRUE(report.Balanced()) << report.ToString();
    EXPECT_EQ(round_asked, round_answered);
    asked += round_asked;
    answered += round_answered;
  }
  EXPECT_EQ(asked, answered);
}

TEST(RuntimeDeathTest, DestroyingItFromAnActorsThreadIsABug) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        Probe probe({.name = "probe"});
        auto runtime = std::make_unique<Runtime>(Runtime::Options{});
        runtime->Add(probe);
        (void)runtime->Start();
        absl::Notification never;
        (void)probe.Tell(Call{[&] { runtime.reset(); }});
        never.WaitForNotification();
      },
      "from an actor's thread");
}

TEST(RuntimeDeathTest, DestroyingItFromAMessagesDestructorIsABug) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  struct Destroyer {
    std::unique_ptr<Runtime>* runtime;
    Destroyer(std::unique_ptr<Runtime>* r) : runtime(r) {}
    Destroyer(Destroyer&& other) noexcept : runtime(std::exchange(other.runtime, nullptr)) {}
    ~Destroyer() {
      if (runtime != nullptr) runtime->reset();
    }
  };
  EXPECT_DEATH(
      {
        Probe probe({.name = "probe"});
        auto runtime = std::make_unique<Runtime>(Runtime::Options{});
        runtime->Add(probe);
        (void)runtime->Start();
        absl::Notification never;
        (void)probe.Tell(Call{[destroyer = Destroyer(&runtime)] {}});
        never.WaitForNotification();
      },
      "from an actor's thread");
}

TEST(RuntimeDeathTest, ActorDestroyedBeforeItHasStoppedIsABug) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        auto probe = std::make_unique<Probe>(ActorOptions{.name = "probe"});
        Runtime runtime({});
        runtime.Add(*probe);
        (void)runtime.Start();
        probe.reset();
      },
      "before it has stopped");
}

}  // namespace
}  // namespace millrace
