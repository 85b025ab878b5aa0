#include "millrace/runtime/thread_driver.h"

#include <sys/prctl.h>

#include <csignal>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"

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

void* ThreadMain(void* argument) {
  Cell& actor = *static_cast<Cell*>(argument);
  pthread_setname_np(pthread_self(), actor.name().substr(0, kThreadNameMax).c_str());
  prctl(PR_SET_TIMERSLACK, kTimerSlackNs, 0, 0, 0);
  RunActor(actor);
  return nullptr;
}

// Starts a thread that takes no signal: they are the embedder's.
int CreateThread(Cell& actor, pthread_t* thread) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const int error = pthread_create(thread, &attributes, &ThreadMain, &actor);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  return error;
}

}  // namespace

ThreadDriver::~ThreadDriver() {
  if (!threads_.empty()) DieOfBug("a thread driver is destroyed before its actors were joined");
}

absl::Status ThreadDriver::Start(Cell& actor) {
  pthread_t thread;
  if (const int error = CreateThread(actor, &thread); error != 0) {
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

}  // namespace millrace
