#include "millrace/runtime/thread_driver.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"

#include "millrace/runtime/check.h"
#include "millrace/runtime/consumer_pace.h"

namespace millrace {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr size_t kStackBytes = 4u << 20;  // Sanitizers need much more of it.
#else
constexpr size_t kStackBytes = 512u << 10;
#endif
constexpr unsigned long kTimerSlackNs = 1000;
constexpr size_t kThreadNameMax = 15;

void RunActor(Cell& actor) {
  actor.Attach();
  ConsumerPace pace;
  for (;;) {
    StepOutcome outcome = actor.Step();
    if (outcome.finished) return;
    if (outcome.worked) {
      pace.Found(outcome.messages);
      continue;
    }
    if (pace.Poll([&] { return actor.Ready(); })) {
      outcome = actor.Step();
      if (outcome.finished) return;
      if (outcome.worked) continue;
    }
    // Announce, look once more, sleep: whoever sends after the look sees the announcement.
    actor.PrepareWait();
    outcome = actor.Step();
    if (outcome.finished) return;
    if (outcome.worked) {
      actor.CancelWait();
    } else {
      actor.Wait(outcome.next_deadline);
    }
  }
}

// Linux keeps a niceness for each thread. More of it needs no privilege, and is only a wish.
void BeNice(int niceness) {
  if (niceness == 0) return;
  const auto self = static_cast<id_t>(gettid());
  errno = 0;
  const int before = getpriority(PRIO_PROCESS, self);
  if (errno == 0) setpriority(PRIO_PROCESS, self, before + niceness);
}

void* ThreadMain(void* argument) {
  Cell& actor = *static_cast<Cell*>(argument);
  pthread_setname_np(pthread_self(), actor.name().substr(0, kThreadNameMax).c_str());
  prctl(PR_SET_TIMERSLACK, kTimerSlackNs, 0, 0, 0);
  BeNice(actor.niceness());
  RunActor(actor);
  return nullptr;
}

// Starts a thread that takes no signal: they are the embedder's.
int CreateThread(void* (*main)(void*), void* argument, pthread_t* thread) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const int error = pthread_create(thread, &attributes, main, argument);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  return error;
}

class ThreadStandby final : public Standby {
 public:
  explicit ThreadStandby(absl::AnyInvocable<void()> work) : work_(std::move(work)) {}
  ~ThreadStandby() override {
    if (!thread_.has_value()) return;
    Signal(Order::kLeave);
    pthread_join(*thread_, nullptr);
  }
  // 0, or the error.
  int Start() {
    pthread_t thread;
    const int error = CreateThread(&Main, this, &thread);
    if (error == 0) thread_ = thread;
    return error;
  }
  void Wake() override { Signal(Order::kWork); }

 private:
  enum class Order { kStandBy, kWork, kLeave };

  static void* Main(void* argument) {
    auto& self = *static_cast<ThreadStandby*>(argument);
    pthread_setname_np(pthread_self(), "standby");
    if (self.Await() == Order::kWork) self.work_();
    return nullptr;
  }
  Order Await() {
    absl::MutexLock lock(&mutex_);
    while (order_ == Order::kStandBy) changed_.Wait(&mutex_);
    return order_;
  }
  void Signal(Order order) {
    absl::MutexLock lock(&mutex_);
    if (order_ == Order::kStandBy) order_ = order;
    changed_.Signal();
  }

  absl::AnyInvocable<void()> work_;
  std::optional<pthread_t> thread_;
  absl::Mutex mutex_;
  absl::CondVar changed_;
  Order order_ ABSL_GUARDED_BY(mutex_) = Order::kStandBy;
};

}  // namespace

ThreadDriver::~ThreadDriver() {
  if (!threads_.empty()) DieOfBug("a thread driver is destroyed before its actors were joined");
}

absl::Status ThreadDriver::Start(Cell& actor) {
  pthread_t thread;
  if (const int error = CreateThread(&ThreadMain, &actor, &thread); error != 0) {
    // No thread will ever answer what is in its mailbox: this one does.
    actor.Close(CloseMode::kDiscard);
    actor.Attach();
    while (!actor.Step().finished) {
    }
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot start the thread of ", actor.name(), ": ", std::strerror(error)));
  }
  threads_.emplace(&actor, thread);
  return actor.AwaitStarted();
}

bool ThreadDriver::AwaitFinished(Cell& actor, absl::Duration timeout) {
  return actor.AwaitFinished(timeout);
}

void ThreadDriver::Join(Cell& actor) {
  const auto it = threads_.find(&actor);
  if (it == threads_.end()) return;
  pthread_join(it->second, nullptr);
  threads_.erase(it);
}

absl::StatusOr<std::unique_ptr<Standby>> ThreadDriver::MakeStandby(
    absl::AnyInvocable<void()> work) {
  auto standby = std::make_unique<ThreadStandby>(std::move(work));
  if (const int error = standby->Start(); error != 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot start a thread that stands by: ", std::strerror(error)));
  }
  return standby;
}

}  // namespace millrace
