// The child of kill_test, soak_test and engine_life_test: uses a store until it is killed.
//   kill_child commit STORE SEED   commits from several threads and reports each answer on
//                                  descriptor 1, reads, flushes and builds indexes; stops in order
//                                  when descriptor 0 ends
//   kill_child hold STORE          opens the store, says so with one byte, closes it when
//                                  descriptor 0 ends

#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <deque>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/scenarios/kill_work.h"

#include "millrace/actors/engine.h"

namespace millrace::testing {
namespace {

[[noreturn]] void Die(std::string_view what, const absl::Status& status) {
  std::cerr << "kill_child: " << what << ": " << status << std::endl;
  _exit(2);
}

std::unique_ptr<Engine> MustOpen(const std::string& directory, uint64_t seed) {
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Open(directory, KillEngine(seed));
  if (!engine.ok()) Die("open", engine.status());
  return *std::move(engine);
}

// Writes are small enough to be atomic, so threads do not mix theirs.
void Report(const KillAnswer& answer) {
  if (write(STDOUT_FILENO, &answer, sizeof(answer)) != sizeof(answer)) _exit(3);
}

void AwaitEndOfInput() {
  char byte;
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
}

// Commits batch after batch, a few ahead of the answers.
class Committing {
 public:
  Committing(Engine& engine, const KillSchema& schema, uint64_t thread, uint64_t seed)
      : engine_(engine), schema_(schema), thread_(thread), random_(seed + thread) {}

  void Run(const std::atomic<bool>& stopping) {
    const absl::StatusOr<storage::Snapshot> snapshot = engine_.TakeSnapshot("child");
    if (!snapshot.ok()) Die("snapshot", snapshot.status());
    next_ = NextBatch(*snapshot, schema_.work, thread_);
    const size_t ahead_max = random_() % 8;
    while (!stopping) {
      CommitOptions options;
      options.durability = static_cast<Durability>(random_() % 3);
      waiting_.push_back({next_, engine_.Commit(KillBatch(schema_, thread_, next_), options)});
      ++next_;
      while (waiting_.size() > ahead_max) TakeAnswer();
    }
    while (!waiting_.empty()) TakeAnswer();
  }

 private:
  void TakeAnswer() {
    absl::StatusOr<CommitReceipt> receipt = waiting_.front().second.Wait();
    if (!receipt.ok()) Die("commit", receipt.status());
    Report({.thread = thread_, .batch = waiting_.front().first, .version = receipt->version});
    waiting_.pop_front();
  }

  Engine& engine_;
  const KillSchema& schema_;
  const uint64_t thread_;
  std::mt19937_64 random_;
  uint64_t next_ = 0;
  std::deque<std::pair<uint64_t, Pending<CommitReceipt>>> waiting_;
};

// What goes on beside the commits: whole reads that must agree with themselves, flushes, builds of
// indexes, some of them cancelled.
class Maintaining {
 public:
  Maintaining(Engine& engine, const KillSchema& schema, uint64_t seed)
      : engine_(engine), schema_(schema), random_(seed) {}

  void Run(const std::atomic<bool>& stopping) {
    while (!stopping) {
      switch (random_() % 4) {
        case 0:
          Read();
          break;
        case 1:
          Expect("flush", engine_.Flush().Wait(absl::Minutes(2)).status());
          break;
        default:
          Build(stopping);
      }
    }
  }

 private:
  static void Expect(std::string_view what, const absl::Status& status) {
    if (!status.ok()) Die(what, status);
  }

  void Read() {
    const absl::StatusOr<storage::Snapshot> snapshot = engine_.TakeSnapshot("reader");
    Expect("snapshot", snapshot.status());
    const std::string fault = ReadKillStore(*snapshot).fault;
    if (!fault.empty()) Die("read", absl::DataLossError(fault));
  }

  void Build(const std::atomic<bool>& stopping) {
    const storage::IndexDefinition* const indexes[] = {&schema_.number, &schema_.key,
                                                       &schema_.slot};
    const absl::StatusOr<storage::IndexTask> task =
        engine_.ScheduleBuild({.index = indexes[random_() % 3]->id});
    Expect("build", task.status());
    const bool cancels = random_() % 4 == 0;
    for (;;) {
      const absl::Status done =
          engine_.WaitForBuild(task->id, absl::Milliseconds(random_() % 50)).status();
      if (!absl::IsDeadlineExceeded(done)) {
        if (!absl::IsCancelled(done)) Expect("build", done);
        return;
      }
      // Whether it can still be cancelled is a matter of luck.
      if (cancels || stopping) engine_.CancelBuild(task->id).status().IgnoreError();
      if (stopping) return;
    }
  }

  Engine& engine_;
  const KillSchema& schema_;
  std::mt19937_64 random_;
};

int Commit(const std::string& directory, uint64_t seed) {
  const std::unique_ptr<Engine> engine = MustOpen(directory, seed);
  const absl::StatusOr<KillSchema> schema = DefineKillSchema(*engine);
  if (!schema.ok()) Die("define", schema.status());
  std::atomic<bool> stopping = false;
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < kKillThreadCount; ++i) {
    threads.emplace_back([&, i] { Committing(*engine, *schema, i, seed).Run(stopping); });
  }
  threads.emplace_back([&] { Maintaining(*engine, *schema, seed).Run(stopping); });
  AwaitEndOfInput();
  stopping = true;
  for (std::thread& thread : threads) thread.join();
  const ShutdownReport report = engine->Shutdown();
  if (!report.Balanced()) Die("shutdown", absl::InternalError(report.ToString()));
  return 0;
}

int Hold(const std::string& directory) {
  const std::unique_ptr<Engine> engine = MustOpen(directory, 0);
  if (write(STDOUT_FILENO, "!", 1) != 1) return 3;
  AwaitEndOfInput();
  return 0;
}

}  // namespace
}  // namespace millrace::testing

int main(int argc, char** argv) {
  const std::string mode = argc > 2 ? argv[1] : "";
  if (mode == "commit" && argc == 4) {
    return millrace::testing::Commit(argv[2], std::strtoull(argv[3], nullptr, 10));
  }
  if (mode == "hold" && argc == 3) return millrace::testing::Hold(argv[2]);
  std::cerr << "usage: kill_child commit STORE SEED | hold STORE" << std::endl;
  return 64;
}
